import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { Window } from "../load/generator.ts";
import { Histogram } from "../timing/histogram.ts";
import { figuresOf, percentileOver, type Round } from "./pair.ts";

/** A slice of one second with a latency for each request. */
function slice(latencies: readonly number[], cpuUs: number): Window {
  const histogram = new Histogram();
  for (const us of latencies) histogram.record(us);
  return {
    seconds: 1,
    connections: 1,
    requests: latencies.length,
    drained: 0,
    errors: {},
    lost: 0,
    dropped: 0,
    closed: 0,
    reconnects: 0,
    redials: 0,
    closes_after: null,
    unanswered: 0,
    histogram,
    censored: new Histogram(),
    raw: null,
    lateness: null,
    server_cpu_us: cpuUs,
    client_cpu_us: 0,
    client_spin_us: 0,
    client_processes: 1,
    client_busy_us: [],
    host_cpu: null,
    cores: [],
    own_cpu: { server_us: cpuUs, client_us: 0 },
    slices: [],
    late_sends: 0,
    scheduled: null,
    stopped_early: null,
  };
}

const times = (count: number, us: number): number[] => Array(count).fill(us);

Deno.test("the p99 of a round is that of all its latencies, and no middle of the p99 of its slices", () => {
  const quick = () => slice(times(100, 10), 500);
  const stalled = slice([...times(90, 10), ...times(10, 1000)], 500);
  const { reference, candidate, logs } = figuresOf({
    reference: [quick(), quick(), quick()],
    candidate: [quick(), stalled, quick()],
  });
  assertEquals([reference.p99_us, candidate.p99_us], [10, 1000]); // 10 of 300 took 1000 µs: over one in a hundred
  assertAlmostEquals(logs.p99_us!, Math.log(100), 1e-9);
  assertEquals([reference.p50_us, candidate.p50_us, logs.p50_us], [10, 10, 0]);
});

Deno.test("costs are compared between neighbours, so that what slows both down cancels out", () => {
  const one = (cpuUs: number) => slice(times(100, 10), cpuUs);
  const { reference, candidate, logs } = figuresOf({
    reference: [one(500), one(5000), one(700)],
    candidate: [one(550), one(5500), one(770)],
  });
  assertAlmostEquals(logs.cpu_us_per_request!, Math.log(1.1), 1e-9);
  assertEquals([reference.cpu_us_per_request, candidate.cpu_us_per_request], [7, 7.7]);
  assert(Number.isNaN(logs.core_us_per_request)); // no core was read
});

Deno.test("a slice in which nothing was answered spoils no cost; where none was, there is no cost", () => {
  const one = (cpuUs: number) => slice(times(100, 10), cpuUs), silent = slice([], 0);
  const { reference, candidate, logs } = figuresOf({
    reference: [one(500), one(500), silent, one(500)],
    candidate: [one(550), silent, one(550), one(550)],
  });
  assertAlmostEquals(logs.cpu_us_per_request!, Math.log(1.1), 1e-9);
  assertEquals([reference.cpu_us_per_request, candidate.cpu_us_per_request], [5, 5.5]);
  const none = figuresOf({ reference: [one(500)], candidate: [silent] });
  assert(Number.isNaN(none.logs.cpu_us_per_request) && Number.isNaN(none.candidate.cpu_us_per_request));
});

Deno.test("the p99 of a comparison is that of all its latencies, and no middle of the p99 of its rounds", () => {
  const round = (latencies: readonly number[]): Round => {
    const all = slice(latencies, 500).histogram;
    const own = { all, last: new Histogram() };
    return {
      reference: {},
      candidate: {},
      logs: {},
      ratePerS: null,
      findings: [],
      latencies: { reference: own, candidate: own },
    };
  };
  const rounds = [round(times(100, 10)), round([...times(90, 10), ...times(10, 1000)]), round(times(100, 10))];
  assertEquals(percentileOver(rounds, "reference", "p99_us"), 1000);
  assertEquals(percentileOver(rounds, "candidate", "p50_us"), 10);
  assertEquals(percentileOver(rounds, "reference", "last_p50_us"), undefined); // there was no broadcast
  assertEquals(percentileOver(rounds, "reference", "requests_per_s"), undefined);
});
