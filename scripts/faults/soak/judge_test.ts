import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/timing/random.ts";
import { judgeSeries, MIN_POINTS, type Quantity } from "./judge.ts";

const POINTS = 60;
const MIB = 2 ** 20;
const at = Array.from({ length: POINTS }, (_, i) => i * 15);
const series = (value: (i: number, noise: number) => number, seed = 1) => {
  const random = seededRandom(seed);
  return at.map((_, i) => value(i, random()));
};
const verdict = (quantity: Quantity, values: readonly number[]) => judgeSeries(quantity, at, values).verdict;

Deno.test("series that are flat, whatever their noise, are flat", () => {
  for (let seed = 1; seed <= 50; seed++) {
    assertEquals(verdict("descriptors", series((_, noise) => 20 + Math.floor(noise * 3), seed)), "flat", `${seed}`);
    assertEquals(verdict("memory", series((_, noise) => (30 + 4 * noise) * MIB, seed)), "flat", `${seed}`);
    assertEquals(verdict("latency", series((_, noise) => 2 + 3 * noise * noise, seed)), "flat", `${seed}`);
  }
  assertEquals(verdict("threads", series(() => 6)), "flat");
});

Deno.test("a heap that is collected now and then is flat", () => {
  assertEquals(verdict("memory", series((i) => (40 + i % 7) * MIB)), "flat");
});

Deno.test("what warms up in the first half is flat", () => {
  assertEquals(verdict("memory", series((i, noise) => (Math.min(60, 20 + 2 * i) + noise) * MIB)), "flat");
  assertEquals(verdict("threads", series((i) => i < 25 ? 4 : 12)), "flat");
});

Deno.test("a leak is rising, also a slow one below noise", () => {
  for (let seed = 1; seed <= 50; seed++) {
    assertEquals(verdict("descriptors", series((i, noise) => 20 + i / 5 + noise * 2, seed)), "rising", `${seed}`);
    assertEquals(verdict("memory", series((i, noise) => (30 + 0.4 * i + 4 * noise) * MIB, seed)), "rising", `${seed}`);
    assertEquals(verdict("latency", series((i, noise) => 2 + i + 3 * noise, seed)), "rising", `${seed}`);
  }
  assertEquals(verdict("threads", series((i) => 4 + Math.floor(i / 6))), "rising");
});

Deno.test("a leak that goes in steps is rising, and so is one step between the last two quarters", () => {
  assertEquals(verdict("descriptors", series((i) => 20 + 10 * Math.floor(i / 10))), "rising");
  for (const where of [42, 45, 48]) {
    assertEquals(verdict("memory", series((i) => (i < where ? 30 : 45) * MIB)), "rising");
  }
});

Deno.test("what falls is flat", () => assertEquals(verdict("memory", series((i) => (100 - i) * MIB)), "flat"));

Deno.test("too few points are not judged", () => {
  const few = at.slice(0, 2 * MIN_POINTS - 1);
  assertEquals(judgeSeries("threads", few.slice(1), few.slice(1)).verdict, "unclear");
});

Deno.test("the interval holds the slope, and is what the rule says", () => {
  const { rise, rise_low, rise_high, level, allowed } = judgeSeries("descriptors", at, series((i) => 10 + i));
  assertEquals([rise, rise_low, rise_high, level, allowed], [29, 29, 29, 47, 2]);
  const noisy = judgeSeries("latency", at, series((i, noise) => i + 10 * noise));
  assert(noisy.rise_low! < noisy.rise! && noisy.rise! < noisy.rise_high!);
});
