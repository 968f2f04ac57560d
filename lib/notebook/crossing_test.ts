import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { crossing, crossingChart, crossingLive, type CrossingPoint, loadOf, pointOf } from "./crossing.ts";
import type { Found } from "../results/findings.ts";
import { found } from "../testing/fixtures.ts";
import { showing } from "../testing/jupyter.ts";
import type { ComparisonRow } from "../results/rows.ts";

const point = (heavyUs: number, ratio: number | null, cpuRatio: number | null = 1.1): CrossingPoint => ({
  heavyUs,
  p99: { reference_value: 100, candidate_value: ratio && 100 * ratio, ratio },
  bounds: [],
  rounds: ratio === null ? [] : [ratio],
  cpuRatio,
  reason: ratio === null ? "it needs gcc." : null,
});
const from = (...points: CrossingPoint[]) => crossing(points, "epoll", "pool").fromUs;

Deno.test("the crossing is the smallest size from which on the candidate stays ahead", () => {
  assertEquals(from(point(0, 1), point(100, 1.3), point(1000, 0.8), point(10_000, 0.2)), 1000);
  assertEquals(from(point(100, 0.8), point(1000, 1.2), point(10_000, 0.5)), 10_000);
  assertEquals(from(point(10, 1.2), point(100, 0.8), point(1000, 1.2), point(10_000, 0.5)), 10_000);
  assertEquals(from(point(100, 0.5), point(1000, 0.4)), 100);
  assertEquals(from(point(100, 0.5), point(1000, 1.4)), null);
});

Deno.test("a ratio no farther from 1 than that of doing the same is chance, whichever side that one lies on", () => {
  assertEquals(from(point(0, 1.5), point(100, 0.7), point(1000, 0.5)), 1000);
  assertEquals(from(point(0, 0.6), point(100, 0.7), point(1000, 0.5)), 1000);
});

Deno.test("chance is what the farthest of all rounds without work shows, and unknown where none has a ratio", () => {
  const control = { ...point(0, 1), rounds: [1.02, 0.6, 1] };
  assertEquals(from(control, point(100, 0.7), point(1000, 0.5)), 1000);
  const { text } = crossing([control, point(1000, 0.5)], "epoll", "pool");
  assert(
    text.startsWith("Without work the ratio was 1.02, 0.60, 1.00 in 3 rounds: so much is chance at least. "),
    text,
  );
  const { text: none } = crossing([point(0, null), point(1000, 0.5)], "epoll", "pool");
  assert(none.startsWith("There is no ratio without work, so how much is chance is not known. "), none);
});

Deno.test("where p99 of one server is a bound there is no ratio of it, the ratio of CPU stands", () => {
  const row = (metric: string, ratio: number, findings: Found[]) =>
    ({ reference: "epoll", candidate: "pool", metric, ratio, findings, reason: null }) as ComparisonRow;
  const at = (...findings: Found[]) =>
    pointOf(100, [row("p99_us", 0.5, findings), row("cpu_us_per_request", 1.1, findings)], [0.5]);
  const known = at(found("epoll", "short_run"));
  assertEquals([known.p99.ratio, known.rounds, known.bounds, known.reason], [0.5, [0.5], [], null]);
  const weak = at(found("epoll", "short_run"), found("pool", "late_sends"));
  assertEquals([weak.p99.ratio, weak.rounds, weak.cpuRatio, weak.bounds], [null, [], 1.1, ["pool"]]);
  assertEquals(weak.reason, "p99 is an upper bound for pool: the ratio says nothing");
});

Deno.test("the sentence names the crossing, the size before it and the cost", () => {
  const { text } = crossing([point(0, 1.05), point(100, 1.3), point(1000, 0.8, 1.07)], "epoll", "pool");
  assertEquals(
    text,
    "Without work the ratio was 1.05 in 1 round: so much is chance at least. As far as ratios go beyond that: p99 is " +
      "lower with pool from 1.0 ms of work on, and at 100 µs not. There a request takes 1.07 × the CPU of epoll.",
  );
  const nothing = crossing([point(0, null), point(100, null)], "epoll", "pool");
  assertEquals(nothing, { fromUs: null, text: "There is no figure: it needs gcc." });
});

Deno.test("heavy requests of any size take the same CPU, beside the same number of light ones", () => {
  for (const heavyUs of [100, 1000, 10_000]) {
    const { ratePerS, share } = loadOf(heavyUs);
    assertAlmostEquals(ratePerS * share * heavyUs, loadOf(100).ratePerS * loadOf(100).share * 100, 1e-6);
    assertAlmostEquals(ratePerS * (1 - share), loadOf(0).ratePerS * (1 - loadOf(0).share), 1e-6);
  }
  assert(loadOf(0).share > 0, "the load generator needs a share of requests that are counted as heavy");
});

Deno.test("a size that was not measured is a gap with its reason", () => {
  const { items } = crossingChart([point(100, 1.3), point(1000, null)], "epoll", "reactor-pool");
  assertEquals(items.map(({ name, value, note }) => [name, value, note ?? null]), [
    ["/work/100", 1.3, null],
    ["/work/1000", null, "it needs gcc."],
  ]);
});

Deno.test({
  name: "a server that cannot run here leaves gaps, in the same kinds of output",
  ignore: Deno.build.os !== "linux", // iocp runs elsewhere
  fn: async () => {
    const shown = await showing(() => crossingLive("epoll", "iocp", [0, 100]));
    assertEquals(shown.map(({ type, data }) => `${type} ${Object.keys(data)[0]}`), [
      "display_data image/png",
      "update_display_data image/png",
      "display_data text/markdown",
      "display_data text/markdown",
    ]);
    assert(shown[3]!.data["text/markdown"]!.startsWith("There is no figure: iocp needs Windows"));
  },
});
