import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { clearestPair, crossingChart, crossingSentence, crossingTable, shownPairs } from "./pairs.ts";
import type { Facts, Point } from "./facts.ts";

const sure = (us: number) => ({ us, low: us * 0.9, high: us * 1.1 });
const line = (...points: [connections: number, us: number][]): Point[] =>
  points.map(([connections, us]) => ({ connections, ...sure(us) }));
const facts = (name: string, more: Partial<Facts>): Facts => ({
  name,
  held: 10_000,
  limit: "descriptors",
  setting: null,
  reach: more.held ?? 10_000,
  memory: { processBytes: 2e7, connectionBytes: 100, kernelBytes: 3900 },
  cpu: line([100, 10]),
  isWired: false,
  wait: [],
  beside: [],
  isQuick: false,
  results: [`results/machine/${name}.json`],
  ...more,
});

/** It looks at every connection: a µs for ten of them. */
const scan = facts("scan", { cpu: line([100, 6]), wait: line([1, 0.1], [10_000, 1000]) });
const flat = facts("flat", { cpu: line([100, 20]) });
const costly = facts("costly", { cpu: line([100, 60]) });
const load = { connections: 1000, cpuUs: 0, idlePercent: 90 };

Deno.test("of all pairs that cross, the one that differs most on both sides is shown, and its bounds do not overlap", () => {
  const pair = clearestPair([scan, flat, costly], load, "connections")!;
  assertEquals([pair.before.name, pair.after.name], ["scan", "costly"]);
  const { at, told } = pair.crossing;
  assert(at > 550 && at < 650 && told! > at, `${at} ${told}`); // 6 + 0.09 x = 60
  assertEquals([pair.costs[0]!.at, pair.costs.at(-1)!.at], [1, 10_000]);
  assertEquals(clearestPair([flat, costly], load, "connections"), null);
});

Deno.test("what one of the two cannot do is no crossing of costs", () => {
  const small = facts("small", { held: 100, cpu: line([100, 1]) });
  assertEquals(clearestPair([small, flat], load, "connections"), null);
});

Deno.test("the sentence has the crossing, its margin and its evidence; chart and table mark both lines", () => {
  const pair = clearestPair([scan, flat], load, "idlePercent")!;
  assertEquals(
    crossingSentence(pair),
    "With 1 000 connections, flat costs less CPU time than scan from 15 % idle on, and for certain from 17 % idle on: at 100 % idle a " +
      "request takes 20.0 µs [18.0 µs, 22.0 µs] instead of 106 µs [105 µs, 107 µs] (2 stored results).",
  );
  const chart = crossingChart(pair, () => "readiness");
  assertEquals(chart.series.map(({ name, points }) => [name, points.length]), [["scan", 13], ["flat", 13]]);
  assert(chart.series.every(({ points }) => points.every(({ value, low, high }) => low! <= value! && value! <= high!)));
  const rows = crossingTable(pair, 80).split("\n").slice(2);
  assertStringIncludes(rows[0]!, "6.0 µs [5.4 µs, 6.6 µs] *");
  assert(rows.at(-1)!.trimEnd().endsWith("*"));
});

Deno.test("each number of a load that has a crossing has one pair", () => {
  assertEquals(shownPairs([scan, flat]).map(({ axis }) => axis), ["connections", "idlePercent"]);
  assertEquals(shownPairs([]), []);
});
