import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CannotStore } from "./errors.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { folder } from "../testing/folder.ts";

const namesIn = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();

Deno.test("a temporary folder goes with what is in it, and those of living processes stay", () => {
  using dir = folder();
  const first = temporaryFolder(dir.path);
  Deno.writeTextFileSync(join(first.path, "x"), "x");
  {
    using second = temporaryFolder(dir.path);
    assert(Deno.statSync(join(first.path, "x")).isFile && Deno.statSync(second.path).isDirectory);
  }
  first[Symbol.dispose]();
  assertEquals(namesIn(dir.path), ["mutex"]);
});

Deno.test({
  name: "what a killed process has left is removed by the next one",
  ignore: Deno.build.os === "windows", // SIGKILL
  fn: async () => {
    using dir = folder();
    const module = new URL("./temporary_folder.ts", import.meta.url).href;
    const script = `
      import { temporaryFolder } from ${JSON.stringify(module)};
      const made = temporaryFolder(${JSON.stringify(dir.path)});
      Deno.writeTextFileSync(made.path + "/x", "x");
      console.log(made.path);
      setInterval(() => {}, 1000);`;
    const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
    await using child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-check", "--quiet", "--config", config, "--allow-read", `--allow-write=${dir.path}`, "-"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode(script));
    await input.close();
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    const left = new TextDecoder().decode(value).trim();
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    assert(Deno.statSync(join(left, "x")).isFile);
    using made = temporaryFolder(dir.path);
    assertThrows(() => Deno.statSync(left), Deno.errors.NotFound);
    assertEquals(namesIn(dir.path).length, 3); // the mutex, and the new folder with its lock
    assert(Deno.statSync(made.path).isDirectory);
  },
});

Deno.test("a folder that cannot be made is a failure of storage, with its path", () => {
  using dir = folder();
  const file = join(dir.path, "file");
  Deno.writeTextFileSync(file, "");
  assertThrows(() => temporaryFolder(join(file, ".tmp")), CannotStore, join(file, ".tmp"));
});
