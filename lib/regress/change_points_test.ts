import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { bestSplit, changePoints, LEAST_SEGMENT, MOST_VALUES } from "./change_points.ts";
import { seededRandom } from "../timing/random.ts";

/** Numbers of a normal distribution with mean 0 and deviation 1 (Box and Muller). */
function normal(seed: number): () => number {
  const random = seededRandom(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Levels for so many values each, with noise of deviation 1 around them. */
function levels(seed: number, ...of: [level: number, many: number][]): number[] {
  const noise = normal(seed);
  return of.flatMap(([level, many]) => Array.from({ length: many }, () => level + noise()));
}

const SEEDS = Array.from({ length: 20 }, (_, i) => i + 1);

/** The distance of two samples as the paper writes it: sums over all pairs, and nothing carried on. */
function distance(left: readonly number[], right: readonly number[]): number {
  const n = left.length;
  const m = right.length;
  const between = left.flatMap((x) => right.map((y) => Math.abs(x - y)));
  const within = (of: readonly number[]) => of.flatMap((x, i) => of.slice(i + 1).map((y) => Math.abs(x - y)));
  const sum = (of: readonly number[]) => of.reduce((total, x) => total + x, 0);
  const energy = 2 / (n * m) * sum(between) - 2 / (n * (n - 1)) * sum(within(left)) -
    2 / (m * (m - 1)) * sum(within(right));
  return n * m / (n + m) * energy;
}

Deno.test("the best split of a part of a series is the one with the greatest distance of the paper", () => {
  for (const seed of SEEDS) {
    const values = levels(seed, [0, 9], [1, 12], [0.5, 8]);
    const [start, end] = [seed % 4, 29 - seed % 3];
    const all = values.map((_, at) => at).filter((at) => at - start >= LEAST_SEGMENT && end - at >= LEAST_SEGMENT)
      .map((at) => ({ at, distance: distance(values.slice(start, at), values.slice(at, end)) }));
    const best = all.toSorted((a, b) => b.distance - a.distance)[0]!;
    const found = bestSplit(Float64Array.from(values), start, end)!;
    assertEquals(found.at, best.at);
    assertAlmostEquals(found.distance, best.distance, 1e-9);
  }
  assertEquals(bestSplit(new Float64Array(9), 0, 9), null);
});

Deno.test("a change that was planted is found, where it was planted or nearly there", () => {
  for (const seed of SEEDS) {
    const found = changePoints(levels(seed, [0, 25], [4, 15]));
    assert(found.some((at) => Math.abs(at - 25) <= 1), `seed ${seed}: ${found}`);
  }
});

Deno.test("several changes are found, also one that takes the other back", () => {
  let exact = 0;
  for (const seed of SEEDS) {
    const found = changePoints(levels(seed, [0, 20], [5, 20], [0, 20]));
    if (found.length === 2 && Math.abs(found[0]! - 20) <= 1 && Math.abs(found[1]! - 40) <= 1) exact++;
  }
  assert(exact >= 17, `in ${exact} of ${SEEDS.length} series`); // each has one too many in about 1 of 100
});

Deno.test("in noise a change is found in about 1 of 100 series", () => {
  const many = 400;
  let wrong = 0;
  for (let seed = 1; seed <= many; seed++) if (changePoints(levels(seed, [0, 24]), seed).length > 0) wrong++;
  assert(wrong <= 12, `in ${wrong} of ${many}`); // 4 are to be expected; over 12 has a probability under 1e-3
  assert(wrong >= 1, "a test that never errs has no power");
});

Deno.test("an outlier is no change, and a change of the spread alone is one", () => {
  const quiet = levels(3, [0, 30]);
  const outlier = quiet.with(15, 30);
  assertEquals(changePoints(outlier), []);
  const noise = normal(8);
  const spread = [...Array.from({ length: 60 }, () => noise()), ...Array.from({ length: 60 }, () => 9 * noise())];
  assert(changePoints(spread).some((at) => Math.abs(at - 60) <= 6), String(changePoints(spread)));
});

Deno.test("it does not matter where zero is, how large the unit is, or which way up", () => {
  const values = levels(5, [0, 15], [3, 15], [6, 10]);
  const found = changePoints(values);
  assert(found.length > 0);
  for (const change of [(x: number) => x * 1024, (x: number) => -x, (x: number) => x + 64]) {
    assertEquals(changePoints(values.map(change)), found);
  }
});

Deno.test("what is constant, empty or short has no change, and the sides of one are never too short", () => {
  for (
    const values of [[], [1], Array(40).fill(7), [...Array(LEAST_SEGMENT - 1).fill(0), ...Array(LEAST_SEGMENT).fill(9)]]
  ) {
    assertEquals(changePoints(values), []);
  }
  assertEquals(changePoints([...Array(10).fill(0), ...Array(LEAST_SEGMENT).fill(9)]), [10]);
  for (const seed of SEEDS) {
    const bounds = [0, ...changePoints(levels(seed, [0, 7], [9, 7], [0, 7])), 21];
    assert(bounds.slice(1).every((to, i) => to - bounds[i]! >= LEAST_SEGMENT), String(bounds));
  }
});

Deno.test("the same series with the same seed has the same changes, and one that is too long is refused", () => {
  const values = levels(9, [0, 20], [1.2, 20]);
  assertEquals(changePoints(values, 4), changePoints(values, 4));
  assertThrows(() => changePoints(Array(MOST_VALUES + 1).fill(0)), RangeError, "401 values are more than 400");
});
