import { assert, assertAlmostEquals, assertThrows } from "@std/assert";
import { proportionInterval } from "./proportion.ts";
import { seededRandom } from "../../timing/random.ts";

Deno.test("the exact interval is that of published tables of 95 %", () => {
  for (
    const [successes, trials, low, high] of [
      [0, 10, 0, 0.3085],
      [1, 10, 0.0025, 0.4450],
      [5, 10, 0.1871, 0.8129],
      [10, 10, 0.6915, 1],
      [10, 100, 0.0490, 0.1762],
    ] as const
  ) {
    const interval = proportionInterval(successes, trials, 0.95);
    assertAlmostEquals(interval.low, low, 5e-5);
    assertAlmostEquals(interval.high, high, 5e-5);
  }
});

Deno.test("where nothing happened in n trials, the bound is where that has the probability of the tail", () => {
  const { low, high } = proportionInterval(0, 60, 0.98);
  assertAlmostEquals((1 - high) ** 60, 0.01, 1e-9);
  assertAlmostEquals(low, 0);
  const all = proportionInterval(1000, 1000, 0.98);
  assertAlmostEquals(all.low ** 1000, 0.01, 1e-9);
  assertAlmostEquals(all.high, 1);
});

Deno.test("successes and failures mirror each other, and more trials make the interval narrower", () => {
  for (const [successes, trials] of [[0, 7], [3, 20], [499, 500]] as const) {
    const of = proportionInterval(successes, trials);
    const mirrored = proportionInterval(trials - successes, trials);
    assertAlmostEquals(of.low, 1 - mirrored.high, 1e-12);
    assertAlmostEquals(of.high, 1 - mirrored.low, 1e-12);
  }
  const width = (n: number) => proportionInterval(n / 10, n).high - proportionInterval(n / 10, n).low;
  assert(width(1000) < width(100) && width(100) < width(10));
});

Deno.test("an interval of 98 % misses the true share in at most 2 of 100 experiments", () => {
  const random = seededRandom(5);
  const experiments = 2000;
  const p = 0.03;
  let missed = 0;
  for (let i = 0; i < experiments; i++) {
    const { low, high } = proportionInterval(Array.from({ length: 80 }, random).filter((u) => u < p).length, 80);
    if (p < low || p > high) missed++;
  }
  assert(missed <= 65, `${missed} of ${experiments} missed`); // 2 % are 40; over 65 has a probability under 1e-4
});

Deno.test("a share of nothing is refused", () => {
  assertThrows(() => proportionInterval(0, 0), RangeError, "There is no share of 0 in 0");
  assertThrows(() => proportionInterval(2, 1), RangeError);
});
