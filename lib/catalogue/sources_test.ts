import { assert, assertEquals } from "@std/assert";
import { basename } from "node:path";
import { catalogue, find } from "./catalogue.ts";
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
