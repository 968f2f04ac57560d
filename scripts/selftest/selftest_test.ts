import { assert, assertEquals, assertRejects } from "@std/assert";
import { EXTRA_PERCENT, selftest, type SelftestPlan } from "./selftest.ts";
import { folder } from "../../lib/testing/folder.ts";
import { SELFTEST, type SelftestRow } from "../../lib/results/rows.ts";
import { HOST } from "../../lib/testing/fixtures.ts";

const ignore = Deno.build.os !== "linux";

const tiny = (dir: string, more: Partial<SelftestPlan> = {}): SelftestPlan => ({
  rounds: 1,
  load: { slices: 2, seconds: 0.5, settleSeconds: 0.5 },
  host: HOST,
  signal: new AbortController().signal,
  dir,
  say: () => {},
  ...more,
});
const placeOf = ({ extra_percent, round }: SelftestRow) => [extra_percent, round];

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
