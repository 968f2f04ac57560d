import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { tellChanges, trendChart, trends } from "./trend.ts";
import { night } from "../testing/fixtures.ts";

const NOISE = [0.996, 1.002, 1, 1.004, 0.998]; // the median of five nights is what it would be without

/** So many nights, in fives, at each ratio. */
function nights(...stretches: [ratio: number, many: number][]) {
  return stretches.flatMap(([ratio, many]) => Array.from({ length: many }, (_, i) => ratio * NOISE[i % NOISE.length]!))
    .map((ratio, i) => night(i, { ratio }));
}

Deno.test("a change in the history is reported with its size, its first night and how many nights show it", () => {
  assertEquals(tellChanges(trends(nights([1.4, 20], [1.4 * 1.05, 10]))), [
    "event-loop: +5.0 % since 2026-01-21 (10 nights, 20 before)",
  ]);
  const [line] = tellChanges(trends(nights([1, 15], [1.04, 10], [1, 10])));
  assertEquals(
    line,
    "event-loop: +4.0 % since 2026-01-16 (10 nights, 15 before); −3.8 % since 2026-01-26 (10 nights, 10 before)",
  );
  assertEquals(tellChanges(trends(nights([1, 30]))), []);
  assertEquals(trends([]), []);
});

Deno.test("where the runtime changed with it, the sentence says from which version to which", () => {
  const history = nights([1, 10], [1.05, 10]).map((of, i) => ({ ...of, deno: i < 10 ? "2.9.6" : "2.10.0" }));
  assertEquals(tellChanges(trends(history)), [
    "event-loop: +5.0 % since 2026-01-11 (10 nights, 10 before, Deno 2.9.6 before and 2.10.0 then)",
  ]);
});

Deno.test("nights of another machine, reference or number of connections, and without a figure, are not put together", () => {
  const mine = nights([1, 10]);
  const kind = { ...mine[0]!.kind, cpu: "another CPU" };
  const other = nights([2, 10]).map((of) => ({ ...of, kind }));
  assertEquals(trends([...other, ...mine]).map(({ points, changes }) => [points.length, changes]), [[10, []]]);
  assertEquals(trends([...mine, night(10, { ratio: 3, connections: 1 })])[0]!.points.length, 1);
  assertEquals(trends([...mine, night(10, { ratio: null })])[0]!.points.length, 10);
  assertEquals(trends([night(0, { ratio: null })]), []);
});

Deno.test("each experiment has its own trend, by name", () => {
  const both = nights([1, 20]).map((of, i) => ({
    ...of,
    experiments: [{ ...of.experiments[0]!, experiment: "select" }, {
      ...of.experiments[0]!,
      ratio: of.experiments[0]!.ratio! * (i < 10 ? 1 : 1.1),
    }],
  }));
  assertEquals(trends(both).map(({ experiment, changes }) => [experiment, changes]), [["event-loop", [10]], [
    "select",
    [],
  ]]);
});

Deno.test("a chart has every night with its interval, and a level for each stretch, against the first one", () => {
  const [course] = trends(nights([2, 10], [2.2, 10]));
  const { series, x, y } = trendChart(course!, "runtime");
  assertEquals(series.map(({ name, points }) => [name, points.length]), [
    ["event-loop", 20],
    ["median", 10],
    ["+10.0 % since 2026-01-11", 10],
  ]);
  assertEquals([x.unit, y.unit], ["nights", "percent"]);
  assertEquals(series[1]!.points[0], { x: 1, value: 0 });
  assertAlmostEquals(series[2]!.points[0]!.value!, 10, 1e-9);
  assertEquals(series[2]!.points[0]!.x, 11);
  const { value, low, high } = series[0]!.points[3]!;
  assert(low! < value! && value! < high!);
});
