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

Deno.test("what killed writes have left is removed, whatever the clock says; what is being written and other files stay", async () => {
  using dir = folder();
  const epoll = join(dir.path, "epoll");
  Deno.mkdirSync(epoll);
  for (const name of ["left.json.tmp", "future.json.tmp", "held.json.tmp", "old.json"]) {
    Deno.writeTextFileSync(join(epoll, name), "");
  }
  const ahead = new Date(Date.now() + 3_600_000); // the clock was set back since
  Deno.utimeSync(join(epoll, "future.json.tmp"), ahead, ahead);
  using held = Deno.openSync(join(epoll, "held.json.tmp"), { write: true });
  held.lockSync(true);
  await mustStore(dir.path);
  assertEquals(namesIn(epoll), ["held.json.tmp", "old.json"]);
});

Deno.test("a folder that a killed command has left in .tmp goes with the next look for room", async () => {
  using dir = folder();
  const left = join(dir.path, ".tmp", "0badcafe");
  Deno.mkdirSync(left, { recursive: true });
  Deno.writeTextFileSync(`${left}.lock`, "");
  await mustStore(dir.path);
  assertEquals(namesIn(join(dir.path, ".tmp")), ["mutex"]);
});

Deno.test("writers of one file wait for each other, and it is whole after each of them", async () => {
  using dir = folder();
  const path = join(dir.path, "a.json");
  const texts = Array.from({ length: 20 }, (_, i) => String(i).repeat(100_000));
  await Promise.all(texts.map((text) => store(path, text)));
  assert(texts.includes(Deno.readTextFileSync(path)));
  assertEquals(namesIn(dir.path), ["a.json"]);
});

Deno.test("a write that fails ends nothing: what comes after it is not tried, and the failure is reported at the end", async () => {
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
