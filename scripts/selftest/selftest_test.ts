import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "../../lib/catalogue/catalogue.ts";
import { PatchedCopies } from "../../lib/catalogue/patched_copies.ts";
import { EXTRA_PERCENT, selftest, type SelftestPlan } from "./selftest.ts";
import { CannotCompare } from "../../lib/compare/side.ts";
import { burntUs, guessTurns, REFERENCE, slowed } from "../../lib/regress/selftest/slowed_epoll.ts";
import { experimentCommand, startServer } from "../../lib/server/server.ts";
import { folder } from "../../lib/testing/folder.ts";
import { SELFTEST, type SelftestRow } from "../../lib/results/rows.ts";
import { HOST } from "../../lib/testing/fixtures.ts";

const ignore = Deno.build.os !== "linux";
const textOf = ({ path }: { path: string }) => Deno.readTextFileSync(path);

const tiny = (dir: string, more: Partial<SelftestPlan> = {}): SelftestPlan => ({
  rounds: 1,
  load: { slices: 2, seconds: 0.2, settleSeconds: 0.5 },
  host: HOST,
  signal: new AbortController().signal,
  dir,
  say: () => {},
  ...more,
});
const placeOf = ({ extra_percent, round }: SelftestRow) => [extra_percent, round];

Deno.test("a copy that burns nothing is the same file, and one that burns differs only where it does", () => {
  using changed = new PatchedCopies();
  const source = textOf(find(REFERENCE));
  assertEquals(textOf(slowed(changed, "same", 0)), source);
  const lines = new Set(source.split("\n"));
  const added = textOf(slowed(changed, "slow", 500)).split("\n");
  assertEquals(source.split("\n").filter((line) => !added.includes(line)), []); // nothing of it is gone
  assertEquals(added.filter((line) => line === "    spin();" && !lines.has(line)).length, 1); // once in a request
});

Deno.test(
  { name: "a copy serves as epoll does, and tells once what its loop costs by the clock of its thread", ignore },
  async () => {
    using changed = new PatchedCopies();
    const copy = slowed(changed, "slow", 20_000);
    const requests = 512;
    await assertRejects(() => burntUs(copy), CannotCompare, "slow has not told what it burnt");
    const server = await startServer(experimentCommand(copy));
    for (let i = 0; i < requests; i++) {
      assertEquals(await (await fetch(`http://127.0.0.1:${server.port}/`)).text(), "Hello World");
    }
    await server.stop();
    const took = await burntUs(copy);
    assert(took > 1, `${took} µs`); // twenty thousand dependent turns: no processor does 20 in a nanosecond
    await assertRejects(() => burntUs(copy), CannotCompare, "slow has not told what it burnt");
    assert(guessTurns(1000) > guessTurns(1));
  },
);

Deno.test({
  name: "a self-test that is ended goes on from the rounds that it has, until there are some of every copy",
  ignore,
}, async () => {
  using dir = folder();
  const names = () => [...Deno.readDirSync(dir.path)].map(({ name }) => name);
  const stop = new AbortController();
  const said: string[] = [];
  const stored: SelftestRow[][] = [];
  const store = (rows: SelftestRow[]) => Promise.resolve(void stored.push(rows));
  let seen = 0;
  const ended = tiny(dir.path, { signal: stop.signal, onRound: () => ++seen === 2 && stop.abort(new Error("enough")) });
  await assertRejects(() => selftest(ended, store), Error, "enough");
  assertEquals([names(), stored], [["selftest-run.jsonl"], []]);
  const rows = await selftest(tiny(dir.path, { say: (sentence) => said.push(sentence) }), store);
  assertEquals(said, ["Resuming with 2 rounds of an interrupted run."]);
  assertEquals([names(), stored], [[], [rows]]);
  assertEquals(rows.map(placeOf).sort(), [[0, 1], ...EXTRA_PERCENT.map((percent) => [percent, 1])].sort());
  for (const row of rows) {
    assertEquals(Object.keys(row).sort(), Object.keys(SELFTEST.entries).sort());
    assert(row.log_ratio !== null && row.seconds > 0, JSON.stringify(row));
    assertEquals([row.turns > 0, row.extra_cpu_us !== 0], [row.extra_percent > 0, row.extra_percent > 0]);
  }
  assertEquals(new Set(rows.map((row) => row.rate_per_s)).size, 1);
});
