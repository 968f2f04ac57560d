import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { UsageError } from "../cli/errors.ts";
import { capacities, capacity, capacityRatio, knee, nextRate, readSlo } from "../results/capacity.ts";
import { newResult } from "../results/results.ts";
import type { SweepRow } from "../results/rows.ts";
import { describeCapacities, describeSweep, sweepTable, sweptOf } from "../tables/sweep.ts";
import { HOST } from "../testing/fixtures.ts";
import { CannotSweep, sweep, type SweepPlan } from "./sweep.ts";

/** What a made-up server answers at a rate: its p99 is 1 ms at no load and grows without bound towards `limit`, as that of a queue does. */
function answerOf(limit: number, rate: number) {
  const p99_us = rate < limit ? 1000 / (1 - rate / limit) : 1e6;
  return { requests_per_s: Math.min(rate, limit * 0.9), p50_us: p99_us / 4, p99_us, p99_9_us: 2 * p99_us };
}

type Answer = ReturnType<typeof answerOf>;

/** Runs of made-up servers. @param answer Null: it does not run here. */
const runOf =
  (answer: (server: string, rate: number | undefined) => Answer | null): SweepPlan["run"] =>
  (experiment, { scenario, parameters }) => {
    const metrics = answer(experiment, parameters.rate_per_s);
    const end = metrics === null
      ? { ended: "skipped", reason: "it needs gcc" } as const
      : { ended: "ok", reason: null } as const;
    const common = { experiment, family: "readiness", host: HOST, histogram: null, findings: [], command: "" };
    return Promise.resolve(newResult({ ...common, scenario, parameters, metrics: metrics ?? {}, ...end }));
  };

/** Sweeps made-up servers, each with its limit; null: it does not run here. */
async function sweptAll(limits: Record<string, number | null>, more: Partial<SweepPlan> = {}) {
  const rows: SweepRow[] = [];
  const run = runOf((server, rate) => limits[server] == null ? null : answerOf(limits[server], rate ?? limits[server]));
  const plan = { connections: 10, seconds: 1, warmupSeconds: 0, rates: null, slo: null, rounds: 7, setup: {} };
  const onRow = (row: SweepRow) => void rows.push(row);
  const failed = await sweep(Object.keys(limits), { ...plan, quick: false, run, onRow, ...more });
  return { rows, failed };
}

const swept = async (limit: number, more: Partial<SweepPlan> = {}) => (await sweptAll({ epoll: limit }, more)).rows;

Deno.test("an objective is read, and refused where it is none", () => {
  assertEquals(readSlo("p99=5ms"), { percentile: "p99_us", us: 5000, text: "p99=5ms" });
  assertEquals(readSlo("p99.9=0.5s").us, 5e5);
  for (const text of ["p99", "p98=5ms", "p99=0ms", "p99=5", "p99=-1ms"]) assertThrows(() => readSlo(text), UsageError);
});

Deno.test("a ladder ends where the server saturates, and the knee lies before latency bends", async () => {
  const rows = await swept(10_000);
  assert(rows.every(({ round }) => round === 0));
  assertEquals(knee(rows), 8100);
  assertEquals((await swept(10_000, { rates: [1000, 20_000, 30_000] })).map((of) => of.rate_per_s), [1000, 20_000]);
});

Deno.test("the capacity is found by bisection within its closeness, with an interval over the rounds", async () => {
  const slo = readSlo("p99=2ms"); // met up to half of the limit
  const rows = await swept(10_000, { slo });
  const { interval, rounds } = capacity(rows, slo);
  assertEquals(rounds, 7);
  assert(interval!.estimate <= 5000 && interval!.estimate > 4700, String(interval!.estimate));
  assert(interval!.low !== null && interval!.high !== null);
  const { table, sentences } = describeSweep(rows, slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80));
  assertMatch(sentences.at(-1)!, /^epoll: the capacity at p99=2ms is 4 \d{3} requests\/s \(98 % interval/);
});

Deno.test("a ladder that lies on one side of the objective goes on; where that does not help there is a bound", async () => {
  const low = readSlo("p99=1us");
  const none = await swept(10_000, { slo: low });
  assertEquals(none.map((of) => of.rate_per_s).toSorted((a, b) => a - b).slice(0, 2), [4, 14]);
  assertStringIncludes(describeSweep(none, low, 80).sentences.at(-1)!, "not even 4 requests/s");
  const high = readSlo("p99=9s");
  const rows = await swept(10_000, { slo: high, rates: [100, 200] });
  assertEquals(rows.length, 2);
  assertStringIncludes(describeSweep(rows, high, 80).sentences.at(-1)!, "at least 200 requests/s");
  assertStringIncludes(describeSweep(rows, null, 80).sentences.at(-1)!, "no knee up to 200 requests/s");
});

Deno.test("a server whose objective lies far below a tenth of its throughput is bisected there", async () => {
  const slo = readSlo("p99=1010us"); // met up to a hundredth of the limit
  const { interval } = capacity(await swept(10_000, { slo }), slo);
  assert(interval!.estimate <= 100 && interval!.estimate > 94, String(interval!.estimate));
});

Deno.test("bisection works on ratios, and tries an end that it runs into, and beyond it", () => {
  const between = { low: 100, high: 400 };
  const next = (...tried: [rate: number, isMet: boolean][]) =>
    nextRate(tried.map(([rate, isMet]) => ({ rate, isMet })), between, 0.05);
  assertEquals(next(), 200);
  assertEquals(next([200, true], [400, false]), Math.sqrt(200 * 400));
  assertEquals(next([200, true], [208, false]), null);
  assertEquals(next([104, false]), 100);
  assertEquals(next([104, false], [100, false]), 100 / 1.5);
  assertEquals(next([390, true]), 400);
  assertEquals(next([390, true], [400, true]), 600);
});

Deno.test("the capacity of every round is found also where the ladder was wrong about it", async () => {
  const slo = readSlo("p99=2ms");
  const rates = [1000, 14_000, 16_000];
  let points = 0; // the ladder sees a faster server
  const run = runOf((_, rate) => answerOf(points++ < rates.length ? 30_000 : 10_000, rate!));
  const { rows } = await sweptAll({ epoll: 10_000 }, { slo, rates, run });
  const found = [...capacities(rows, slo).values()];
  assertEquals(found.length, 7);
  assert(found.every((each) => each > 4700 && each <= 5000), found.join());
});

Deno.test("several servers have one table and one answer, and one that does not run here is named", async () => {
  const slo = readSlo("p99=2ms");
  const { rows, failed } = await sweptAll({ epoll: 10_000, missing: null, "go-net": 40_000 }, { slo });
  assertEquals(failed.map(({ server, ended }) => [server, ended]), [["missing", "skipped"]]);
  assert(failed[0] instanceof CannotSweep);
  const { table, sentences } = describeSweep(rows, slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80), table);
  assertEquals(table.split("\n").filter((line) => /^(epoll|go-net)/.test(line)).length, 2, table);
  assertMatch(
    sentences.at(-1)!,
    /^Capacity at p99=2ms, requests\/s with 98 % interval: go-net 19 \d{3} \[.*\]; epoll 4 \d{3} \[.*\]\.$/,
  );
});

Deno.test("capacities are compared by rounds, with a verdict", async () => {
  const slo = readSlo("p99=2ms");
  const { rows } = await sweptAll({ epoll: 10_000, same: 10_000, half: 5000, twice: 20_000 }, {
    slo,
    closeness: 0.001,
  });
  const verdicts = ["same", "half", "twice"].map((name) => {
    const { ratio, rounds, verdict } = capacityRatio(rows, "epoll", name, slo);
    assertEquals(rounds, 7);
    assert(ratio!.low! <= ratio!.estimate && ratio!.estimate <= ratio!.high!);
    return [name, verdict, Math.round(100 * ratio!.estimate)];
  });
  assertEquals(verdicts, [["same", "not slower", 100], ["half", "slower", 50], ["twice", "not slower", 200]]);
  const { table, sentences } = describeCapacities(rows, "epoll", slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80), table);
  assertMatch(
    sentences[1]!,
    /^half bears × 0\.5\d\d \[.*\] of the requests\/s of epoll at p99=2ms, 7 rounds: slower\.$/,
  );
  const few = rows.filter(({ round }) => round < 3);
  const { verdict, reason } = capacityRatio(few, "epoll", "half", slo);
  assertEquals([verdict, reason], ["inconclusive", "too few rounds for an interval"]);
  const weak = rows.map((row): SweepRow => ({ ...row, findings: [{ server: row.server, id: "foreign_load" }] }));
  const half = capacityRatio(weak, "epoll", "half", slo); // it may have failed by others
  assertEquals([half.verdict, half.reason], ["inconclusive", "the capacity of half is a lower bound"]);
  const none = capacityRatio(rows, "epoll", "missing", slo);
  assertEquals([none.ratio, none.rounds, none.verdict], [null, 0, "inconclusive"]);
});

Deno.test("a capacity is a lower bound where the rates that fail may fail by the load", async () => {
  const slo = readSlo("p99=2ms");
  const { rows } = await sweptAll({ epoll: 10_000 }, { slo });
  const weak = (change: (row: SweepRow) => boolean): SweepRow[] =>
    rows.map((row) => change(row) ? { ...row, findings: [{ server: "epoll", id: "client_bound" }] } : row);
  const isBound = (of: SweepRow[]) => sweptOf(of, slo)[0]!.isBound;
  assertEquals(isBound(rows), false);
  assertEquals(isBound(weak(({ round }) => round === 0)), false); // the top of the ladder decides nothing
  assertEquals(isBound(weak(({ rate_per_s }) => rate_per_s <= 5000)), false); // these met it
  const failing = weak(({ rate_per_s }) => rate_per_s > 5000);
  assertEquals(isBound(failing), true);
  const { sentences } = describeSweep(failing, slo, 80);
  assertStringIncludes(sentences.join("\n"), "epoll: what fails may fail by the load generator");
});

Deno.test("a stored sweep in Markdown has the capacities and the latencies of the ladders", async () => {
  const slo = readSlo("p99=2ms");
  const { rows } = await sweptAll({ epoll: 10_000, "go-net": 40_000 }, { slo });
  const text = sweepTable({ rows, command: "deno task sweep", quick: false });
  assertMatch(text, /\| go-net \| 19 \d{3} \| 19 \d{3} to 19 \d{3} \| 7 \|/);
  assertMatch(text, /\| epoll \| ladder \| 900 \| 900 \|/);
  assertStringIncludes(text, "Reproduce: `deno task sweep`.");
  assertEquals(
    sweepTable({ rows: rows.map((row) => ({ ...row, slo: null })), command: "", quick: true }).includes("98 %"),
    false,
  );
});
