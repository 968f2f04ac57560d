import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "../../catalogue/catalogue.ts";
import { PatchedCopies } from "../../catalogue/patched_copies.ts";
import { CannotCompare } from "../../compare/side.ts";
import { experimentCommand, startServer } from "../../server/server.ts";
import { burntUs, guessTurns, REFERENCE, slowed } from "./slowed_epoll.ts";

const ignore = Deno.build.os !== "linux";
const textOf = ({ path }: { path: string }) => Deno.readTextFileSync(path);

Deno.test("a copy that burns nothing is the same file, and one that burns differs only where it does", () => {
  using changed = new PatchedCopies();
  const source = textOf(find(REFERENCE));
  assertEquals(textOf(slowed(changed, "same", 0)), source);
  const lines = new Set(source.split("\n"));
  const added = textOf(slowed(changed, "slow", 500)).split("\n");
  assertEquals(source.split("\n").filter((line) => !added.includes(line)), []); // nothing of it is gone
  assertEquals(added.filter((line) => line === "    at = spin(at);" && !lines.has(line)).length, 1); // once in a request
});

Deno.test(
  { name: "a copy serves as epoll does, and tells once what its loop costs by the clock of its thread", ignore },
  async () => {
    using changed = new PatchedCopies();
    const copy = slowed(changed, "slow", 20_000);
    const requests = 512;
    await assertRejects(() => burntUs(copy), CannotCompare, "slow has not reported what it burnt");
    const server = await startServer(experimentCommand(copy));
    for (let i = 0; i < requests; i++) {
      assertEquals(await (await fetch(`http://127.0.0.1:${server.port}/`)).text(), "Hello World");
    }
    await server.stop();
    const took = await burntUs(copy);
    assert(took > 1, `${took} µs`); // twenty thousand dependent turns: no processor does 20 in a nanosecond
    await assertRejects(() => burntUs(copy), CannotCompare, "slow has not reported what it burnt");
    assert(guessTurns(1000) > guessTurns(1));
  },
);
