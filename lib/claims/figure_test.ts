import { assertEquals } from "@std/assert";
import {
  about,
  all,
  atLeast,
  atMost,
  exactly,
  favours,
  gains,
  isTimes,
  MARGIN,
  once,
  quotient,
  sumOf,
  times,
} from "./figure.ts";

const between = (low: number, high: number) => ({ estimate: (low + high) / 2, low, high });

Deno.test("an interval on one side of a threshold decides, one on both sides leaves it open", () => {
  assertEquals([between(5, 6), between(3, 6), between(3, 4)].map((of) => atLeast(of, 5)), [true, null, false]);
  assertEquals([between(3, 5), between(3, 6), between(6, 7)].map((of) => atMost(of, 5)), [true, null, false]);
});

Deno.test("what is not about a size is less or more, and one that straddles an end is neither", () => {
  assertEquals([between(6, 19), between(4, 8), between(1, 4), between(21, 30)].map((of) => about(of, 10)), [
    { holds: true },
    { holds: null },
    { holds: false, side: "less" },
    { holds: false, side: "more" },
  ]);
});

Deno.test("N times is within a factor of two on either side; no difference is never twice", () => {
  const hundred = [60, 150, 2000, 40].map((ratio) => isTimes(exactly(ratio), 100));
  assertEquals(hundred, [{ holds: true }, { holds: true }, { holds: false, side: "more" }, {
    holds: false,
    side: "less",
  }]);
  const twice = [1, 1.4, 1.5, 3, 4.2, 4.3].map((ratio) => isTimes(exactly(ratio), 2, 3).side ?? "within");
  assertEquals(twice, ["less", "less", "within", "within", "within", "more"]);
  assertEquals(isTimes(between(1.3, 1.5), 2), { holds: null });
});

Deno.test("a sum is as wide as all of its figures together, with the margin of one that has no interval", () => {
  assertEquals(sumOf([between(4, 8), once(10, 0.1)]), { estimate: 16, low: 13, high: 19 });
});

Deno.test("between two thresholds nothing is decided", () => {
  assertEquals([between(1, 1.9), between(1, 2), between(2, 4), between(5, 6)].map((of) => atLeast(of, 5, 2)), [
    false,
    null,
    null,
    true,
  ]);
  assertEquals([between(4, 5), between(6, 8), between(9, 10)].map((of) => atMost(of, 5, 8)), [true, null, false]);
});

Deno.test("a figure without an interval is taken to be off by its margin", () => {
  const cpu = once(100, MARGIN.other);
  const memory = once(100, MARGIN.memory);
  assertEquals([cpu, memory].map((of) => atMost(of, 115)), [null, true]);
  assertEquals([cpu, memory].map((of) => atLeast(of, 85)), [null, true]);
  assertEquals(atLeast({ estimate: 100, low: null, high: null }, 80), null);
  assertEquals(atLeast(exactly(100), 100), true);
  assertEquals(atMost(times(memory, 2), 230), true);
});

Deno.test("a gain of less than a tenth is none, and one that may be either is open", () => {
  assertEquals([between(1.1, 1.3), between(1.01, 1.3), between(0.9, 1.3), between(0.9, 1.09)].map(gains), [
    true,
    null,
    null,
    false,
  ]);
});

Deno.test("a ratio of about one speaks for neither of the two", () => {
  assertEquals([between(1.1, 1.3), between(0.95, 1.05), between(0.8, 1), between(0.8, 0.9)].map(favours), [
    true,
    null,
    null,
    false,
  ]);
});

Deno.test("a quotient of intervals is as wide as both at their worst", () => {
  assertEquals(quotient(between(4, 8), between(1, 2)), { estimate: 4, low: 2, high: 8 });
  assertEquals(quotient(once(6, 0.1), between(1, 2)), { estimate: 4, low: null, high: null });
});

Deno.test("of several answers one no is a no, and one open leaves all open", () => {
  assertEquals([all([true, true]), all([true, null]), all([null, false])], [true, null, false]);
});
