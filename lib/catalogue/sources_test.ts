import { assert, assertEquals } from "@std/assert";
import { basename, join, relative } from "node:path";
import { catalogue, find } from "./catalogue.ts";
import { folder } from "../testing/folder.ts";
import { readSources } from "./sources.ts";

const names = (name: string) => readSources(find(name).path).map(([path]) => basename(path));

Deno.test("the sources of an experiment are its one file, those of a peer what it builds too", () => {
  assertEquals(names("epoll"), ["epoll.ts"]);
  const [launcher, ...built] = names("c-epoll");
  assertEquals(launcher, "c-epoll.ts");
  assert(["c-epoll.c", "lab.h"].every((name) => built.includes(name)), built.join());
});

Deno.test("each peer has more sources than its launcher", () => {
  const alone = catalogue().filter(({ peer, name }) => peer && names(name).length === 1).map(({ name }) => name);
  assertEquals(alone, []);
});

Deno.test({
  name: "what tools leave beside sources is none, nor is what is no file",
  ignore: Deno.build.os === "windows",
  fn: () => {
    using dir = folder();
    const write = (path: string) => {
      const file = join(dir.path, "peers", path);
      Deno.mkdirSync(join(file, ".."), { recursive: true });
      Deno.writeTextFileSync(file, "`${here}rust/main.rs`");
    };
    for (const path of ["a.ts", "rust/main.rs", "rust/src/b.rs"]) write(path);
    for (const path of ["rust/target/a.o", "rust/node_modules/a.js", "rust/.main.rs.swp", "rust/.cache/a"]) write(path);
    const pipe = join(dir.path, "peers/rust/pipe"); // reading it would block for ever
    assert(new Deno.Command("mkfifo", { args: [pipe] }).outputSync().success);
    const found = readSources(join(dir.path, "peers/a.ts")).map(([path]) => relative(join(dir.path, "peers"), path));
    assertEquals(found, ["a.ts", "rust/main.rs", "rust/src/b.rs"]);
  },
});
