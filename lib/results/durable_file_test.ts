import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { CannotStore, mustStore, store, Storing } from "./durable_file.ts";
import { folder } from "../testing/folder.ts";

const namesIn = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();

Deno.test("room is looked for before the load, and the look leaves nothing", async () => {
  using dir = folder();
  await mustStore(join(dir.path, "results"));
  assertEquals(namesIn(join(dir.path, "results")), []);
});

Deno.test("a folder that cannot be written is one sentence with path, cause and remedy", async () => {
  using dir = folder();
  const file = join(dir.path, "results");
  Deno.writeTextFileSync(file, "");
  const error = await assertRejects(() => mustStore(file), CannotStore, `Cannot store in ${file}: `);
  assert(error.message.endsWith("Make the folder writable, or measure with --no-save."), error.message);
});

Deno.test("what killed writes have left is removed once it is old, and other files stay", async () => {
  using dir = folder();
  const epoll = join(dir.path, "epoll");
  Deno.mkdirSync(epoll);
  for (const name of ["old.json.tmp", "new.json.tmp", "old.json"]) Deno.writeTextFileSync(join(epoll, name), "");
  const long = new Date(Date.now() - 3_600_000);
  for (const name of ["old.json.tmp", "old.json"]) Deno.utimeSync(join(epoll, name), long, long);
  await mustStore(dir.path);
  assertEquals(namesIn(epoll), ["new.json.tmp", "old.json"]);
});

Deno.test("a write that fails ends nothing: what comes after it is not tried, and the failure is told at the end", async () => {
  using dir = folder();
  const storing = new Storing(true);
  const path = join(dir.path, "a.json");
  const write = async () => {
    await store(path, "{}");
    return path;
  };
  await storing.begin(dir.path);
  await storing.add(write);
  await storing.add(() => Promise.reject(new CannotStore("The disk is full.")));
  await storing.add(() => {
    throw new Error("it was tried");
  });
  assertEquals(storing.paths, [path]);
  assertThrows(() => storing.finish(), CannotStore, "The disk is full.");
});

Deno.test("with --no-save nothing is written, and no room is needed", async () => {
  using dir = folder();
  const storing = new Storing(false);
  await storing.begin(join(dir.path, "absent"));
  await storing.add(() => {
    throw new Error("it was tried");
  });
  storing.finish();
  assertEquals([storing.paths, namesIn(dir.path)], [[], []]);
});
