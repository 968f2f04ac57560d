import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { UsageError } from "../../lib/cli/errors.ts";
import { newResult } from "../../lib/results/results.ts";
import type { SweepRow } from "../../lib/results/rows.ts";
import { HOST } from "../../lib/testing/fixtures.ts";
import { capacity, knee, nextRate, readSlo } from "./capacity.ts";
import { describe } from "./describe.ts";
import { CannotSweep, sweep, type SweepPlan } from "./sweep.ts";

/** Sweeps a server whose p99 is 1 ms at no load and grows without bound towards `limit`, as that of a queue does. */
async function swept(limit: number, more: Partial<SweepPlan> = {}): Promise<SweepRow[]> {
  const rows: SweepRow[] = [];
  const run: SweepPlan["run"] = ({ scenario, parameters }) => {
    const rate = parameters.rate_per_s ?? limit;
    const p99_us = rate < limit ? 1000 / (1 - rate / limit) : 1e6;
    const metrics = { requests_per_s: Math.min(rate, limit * 0.9), p50_us: p99_us / 4, p99_us, p99_9_us: 2 * p99_us };
    const common = { experiment: "epoll", family: "readiness", host: HOST, histogram: null, findings: [], command: "" };
    return Promise.resolve(
      newResult({ ...common, scenario, parameters, metrics, ended: "ok", reason: null }),
    );
  };
  const plan = { connections: 10, seconds: 1, warmupSeconds: 0, rates: null, slo: null, rounds: 7, setup: {} };
  await sweep({ ...plan, quick: false, run, onRow: (row) => rows.push(row), ...more });
  return rows;
}

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

Deno.test("where no connection was made nothing saturates: the sweep ends with the reason", async () => {
  const reason = "stopped at 0 of 10: descriptors, limit 64 per process";
  const run: SweepPlan["run"] = ({ scenario, parameters }) => {
    const common = { experiment: "epoll", family: "readiness", host: HOST, histogram: null, findings: [], command: "" };
    return Promise.resolve(newResult({ ...common, scenario, parameters, metrics: {}, ended: "limited", reason }));
  };
  await assertRejects(() => swept(10_000, { rates: [100], run }), CannotSweep, `nothing was measured, ${reason}`);
});

Deno.test("the capacity is found by bisection within its closeness, with an interval over the rounds", async () => {
  const slo = readSlo("p99=2ms"); // met up to half of the limit
  const rows = await swept(10_000, { slo });
  const { interval, rounds } = capacity(rows, slo);
  assertEquals(rounds, 7);
  assert(interval!.estimate <= 5000 && interval!.estimate > 4700, String(interval!.estimate));
  assert(interval!.low !== null && interval!.high !== null);
  const { table, sentences } = describe(rows, slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80));
  assertMatch(sentences.at(-1)!, /^epoll: the capacity at p99=2ms is 4 \d{3} requests\/s \(98 % interval/);
});

Deno.test("an objective outside of the ladder gives a bound, and no bisection", async () => {
  const low = readSlo("p99=1us");
  assertStringIncludes(
    describe(await swept(10_000, { slo: low }), low, 80).sentences.at(-1)!,
    "not even 900 requests/s",
  );
  const high = readSlo("p99=9s");
  const rows = await swept(10_000, { slo: high, rates: [100, 200] });
  assertEquals(rows.length, 2);
  assertStringIncludes(describe(rows, high, 80).sentences.at(-1)!, "at least 200 requests/s");
  assertStringIncludes(describe(rows, null, 80).sentences.at(-1)!, "no knee up to 200 requests/s");
});

Deno.test("bisection works on ratios and ends when the rates are close", () => {
  assertEquals(nextRate(100, 400, 0.05), 200);
  assertEquals(nextRate(100, 104, 0.05), null);
});
