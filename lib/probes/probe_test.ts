import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../cli/errors.ts";
import { StartError } from "../server/server.ts";
import { findProbe, PROBES } from "./mod.ts";
import { Histogram } from "../timing/histogram.ts";
import { rowsOf, RUNS } from "./probe.ts";
import { CannotProbe, orMissing } from "./rig.ts";

Deno.test("a row is the median of its runs, with an interval from seven runs on", () => {
  const { of } = rowsOf("p", "v");
  const common = { probe: "p", variant: "v", metric: "x_us" };
  assertEquals(of("x_us", [3, 1, 2]), { ...common, value: 2, low: null, high: null, runs: 3, note: null });
  const seven = Array.from({ length: RUNS }, (_, i) => i);
  assertEquals(of("x_us", seven, "why"), { ...common, value: 3, low: 0, high: 6, runs: 7, note: "why" });
});

Deno.test("a percentile of runs is that of all their latencies, within the interval of its runs", () => {
  const run = (slow: number) => {
    const histogram = new Histogram();
    for (let i = 0; i < 100; i++) histogram.record(i < slow ? 1000 : 10);
    return histogram;
  };
  const { ofLatencies } = rowsOf("p", "v");
  const runs = [run(10), ...Array.from({ length: RUNS - 1 }, () => run(0))];
  const { value, low, high, runs: count } = ofLatencies("p99_us", 99, runs);
  assertEquals([value, low, high, count], [1000, 10, 1000, RUNS]); // 10 of 700 are over one in a hundred
  assertEquals(ofLatencies("p99_us", 99, [new Histogram()]).note, "nothing was answered");
});

Deno.test("runs without a figure are left out, and where none has one the row says so and holds no zero", () => {
  const { of, missing } = rowsOf("p", "v");
  const none = { value: null, low: null, high: null, runs: 0 };
  assertEquals(of("x", [null, 4, NaN]).value, 4);
  assertEquals(of("x", [null, 4, NaN]).runs, 1);
  assertEquals(of("x", [null]), { probe: "p", variant: "v", metric: "x", ...none, note: "the system does not report it" });
  assertEquals(missing(["a", "b"], "no tool").map((row) => [row.metric, row.value, row.note]), [
    ["a", null, "no tool"],
    ["b", null, "no tool"],
  ]);
});

Deno.test("a ratio is computed on logarithms", () => {
  assertEquals(rowsOf("p", "v").ofLogs("x_ratio", [Math.log(0.5), Math.log(2)]).value, 1);
});

Deno.test("what cannot be measured is a row with its reason; any other error and an interrupt are not hidden", async () => {
  const signal = new AbortController().signal;
  const rows = [rowsOf("p", "a"), rowsOf("p", "b")];
  const failing = (error: Error, of = signal) => orMissing(rows, ["x"], { signal: of }, () => Promise.reject(error));
  for (const error of [new CannotProbe("why"), new StartError({ ended: "skipped", reason: "why" })]) {
    assertEquals((await failing(error)).map(({ variant, note }) => [variant, note]), [["a", "why"], ["b", "why"]]);
  }
  const messageOf = (promise: Promise<unknown>) => promise.then(() => "none", (error: Error) => error.message);
  assertEquals(await messageOf(failing(new TypeError("a bug"))), "a bug");
  assertEquals(await messageOf(failing(new CannotProbe("why"), AbortSignal.abort())), "why");
});

Deno.test("every probe has a name of its own, and a misspelt one is reported", () => {
  const names = PROBES.map(({ name }) => name);
  assertEquals(names.length, new Set(names).size);
  for (const name of names) assertEquals(findProbe(name).name, name);
  assertThrows(() => findProbe("contxt-switch"), UsageError, "Did you mean context-switch?");
});
