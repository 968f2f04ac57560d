import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Interval, median, medianInterval, medianShift, ratioInterval, signInterval } from "./stats.ts";
import { seededRandom } from "./random.ts";

Deno.test("the median is the middle value, or the mean of the middle two, and does not sort its argument", () => {
  const values = [9, 1, 5];
  assertEquals(median(values), 5);
  assertEquals(values, [9, 1, 5]);
  assertEquals(median([4, 1, 3, 2]), 2.5);
  assertThrows(() => median([]), RangeError);
});

Deno.test("the same seed gives the same numbers, another seed others, all in [0, 1) with mean one half", () => {
  const take = (seed: number) => Array.from({ length: 10_000 }, seededRandom(seed));
  const first = take(7);
  assertEquals(first, take(7));
  assert(first[0] !== take(8)[0]);
  assert(first.every((x) => x >= 0 && x < 1));
  assertAlmostEquals(first.reduce((sum, x) => sum + x, 0) / first.length, 0.5, 0.02);
});

Deno.test("an interval holds its estimate and collapses where all rounds agree", () => {
  const random = seededRandom(3);
  const values = Array.from({ length: 30 }, () => random() - 0.5);
  const { low, estimate, high } = medianInterval(values);
  assert(low! <= estimate && estimate <= high!);
  assertEquals(medianInterval(Array(7).fill(2)), { estimate: 2, low: 2, high: 2 });
});

Deno.test("more confidence makes the interval wider, more rounds make it narrower", () => {
  const random = seededRandom(5);
  const values = Array.from({ length: 200 }, () => random());
  const width = ({ low, high }: Interval) => high! - low!;
  assert(width(medianInterval(values, 0.99)) > width(medianInterval(values, 0.5)));
  assert(width(medianInterval(values)) < width(medianInterval(values.slice(0, 20))));
});

Deno.test("a 98 % interval misses the true median in about 2 of 100 experiments", () => {
  const random = seededRandom(11);
  let missed = 0;
  for (let i = 0; i < 1000; i++) {
    const { low, high } = medianInterval(Array.from({ length: 30 }, () => random()), 0.98);
    if (low! > 0.5 || high! < 0.5) missed++;
  }
  assert(missed <= 38, `${missed} of 1000 intervals missed`); // 2 % is 20; over 38 is 4 deviations off, and of 95 % it is 50
  assert(missed >= 1, "an interval that never misses is too wide");
});

Deno.test("a ratio and its inverse have inverse intervals", () => {
  const random = seededRandom(2);
  const rounds = Array.from({ length: 30 }, () => 0.1 + random() * 0.05);
  const there = ratioInterval(rounds);
  const back = ratioInterval(rounds.map((x) => -x));
  assertAlmostEquals(there.estimate * back.estimate, 1, 1e-12);
  assertAlmostEquals(there.low! * back.high!, 1, 0.002);
});

Deno.test("the exact interval lies between the order statistics that tables of the binomial distribution give", () => {
  const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
  const bounds = (n: number, confidence?: number) => {
    const { low, high } = signInterval(upTo(n), confidence);
    return [low, high];
  };
  assertEquals(bounds(6), [null, null]); // 1 − 2/64 is 96.9 %
  assertEquals(bounds(7), [1, 7]); // 1 − 2/128 is 98.4 %
  assertEquals(bounds(10), [1, 10]); // from the second to the ninth it would be 97.9 %
  assertEquals(bounds(11), [2, 10]); // 1 − 2 · 12/2048 is 98.8 %
  assertEquals(bounds(20, 0.95), [6, 15]); // Conover, table A3
  assertEquals(signInterval([3]), { estimate: 3, low: null, high: null });
});

Deno.test("of few values too a 98 % interval misses the true median in at most 2 of 100 experiments", () => {
  const random = seededRandom(17);
  for (const n of [7, 10, 15]) {
    let missed = 0;
    for (let i = 0; i < 1000; i++) {
      const { low, high } = medianInterval(Array.from({ length: n }, () => random()));
      if (low! > 0.5 || high! < 0.5) missed++;
    }
    assert(missed <= 40, `${missed} of 1000 intervals of ${n} values missed`); // 20 are 2 %; over 40 is 4.5 deviations off
  }
});

Deno.test("the shift of a sample against another holds the true one as often as promised, of many values and of few", () => {
  const random = seededRandom(23);
  for (const [n, m, most] of [[30, 30, 14], [30, 8, 14], [8, 12, 14]] as const) {
    let missed = 0;
    for (let i = 0; i < 250; i++) {
      const draw = (length: number, plus: number) => Array.from({ length }, () => random() + plus);
      const { low, high } = medianShift(draw(n, 0.3), [draw(m, 0)], 0.98, i);
      if (low! > 0.3 || high! < 0.3) missed++;
    }
    assert(missed <= most, `${missed} of 250 intervals of ${n} and ${m} values missed`); // 5 are 2 %; over 14 is 4 deviations off
  }
  assertEquals(medianShift([1, 2, 3], [[0, 0, 0]]), { estimate: 2, low: null, high: null });
});

/** In how many ways ranks chosen from 1 to n add up to each sum: the exact null distribution of the signed-rank sum. */
function waysBySum(n: number): number[] {
  let ways = [1];
  for (let rank = 1; rank <= n; rank++) {
    const without = ways;
    ways = Array.from({ length: without.length + rank }, (_, sum) => (without[sum] ?? 0) + (without[sum - rank] ?? 0));
  }
  return ways;
}

/** The sum of the ranks, by distance from 0, of the values above 0. It takes values without ties. */
function positiveRankSum(values: number[]): number {
  const ranked = values.toSorted((a, b) => Math.abs(a) - Math.abs(b));
  return ranked.reduce((sum, value, i) => value > 0 ? sum + i + 1 : sum, 0);
}

/** The p-value of Wilcoxon's signed-rank test against "above 0"; exact, 2^n splits of the ranks are equally likely. */
function aboveZero(values: number[]): number {
  const atLeast = waysBySum(values.length).slice(positiveRankSum(values));
  return atLeast.reduce((sum, ways) => sum + ways, 0) / 2 ** values.length;
}

Deno.test("the signed-rank test of the next test agrees with an enumeration of all signs and with printed tables", () => {
  const distances = [3, 1, 4, 15, 9, 2, 6, 5, 35, 8];
  const signed = (bits: number) => distances.map((distance, i) => bits & (1 << i) ? distance : -distance);
  const all = Array.from({ length: 2 ** distances.length }, (_, bits) => signed(bits));
  const sums = all.map(positiveRankSum);
  for (const [i, values] of all.entries()) {
    const expected = sums.filter((sum) => sum >= sums[i]!).length / all.length;
    assertEquals(aboveZero(values), expected, String(values));
  }
  // As textbooks print it for one side and 1 %: the greatest sum that is still refused.
  for (const [n, greatest] of [[8, 1], [10, 5], [15, 19], [20, 43], [25, 76], [30, 120]] as const) {
    const ways = waysBySum(n);
    const upTo = (sum: number) => ways.slice(0, sum + 1).reduce((total, of) => total + of, 0) / 2 ** n;
    assert(upTo(greatest) <= 0.01 && upTo(greatest + 1) > 0.01, `of ${n}: ${upTo(greatest)}, ${upTo(greatest + 1)}`);
  }
});

Deno.test("what the interval puts on one side, the exact signed-rank test refuses too", () => {
  const random = seededRandom(31);
  let clear = 0;
  let contrary = 0;
  for (let i = 0; i < 60; i++) {
    const shift = (random() - 0.5) * 0.2; // symmetric around it, as that test wants
    const values = Array.from({ length: 30 }, () => shift + (random() + random() + random() - 1.5) * 0.1);
    const { low, high } = medianInterval(values);
    const [above, below] = [aboveZero(values) <= 0.01, aboveZero(values.map((value) => -value)) <= 0.01];
    if (low! > 0 || high! < 0) clear++;
    if ((low! > 0 && below) || (high! < 0 && above)) contrary++;
    // The median needs more rounds than the rank sum does, so it may see less, and hardly ever more.
    if (low! > 0.01) assert(above, `sample ${i}: [${low}, ${high}], and the other test sees nothing above 0`);
    if (high! < -0.01) assert(below, `sample ${i}: [${low}, ${high}], and the other test sees nothing below 0`);
  }
  assertEquals(contrary, 0);
  assert(clear > 20, `${clear} of 60 were clear: too few to compare`);
});

Deno.test("a baseline of several nights makes the interval as wide as nights differ", () => {
  const random = seededRandom(41);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()); // Box and Muller
  const night = (level: number) => Array.from({ length: 30 }, () => level + 0.005 * normal());
  const width = ({ low, high }: Interval) => high! - low!;
  const alike = Array.from({ length: 6 }, () => night(0));
  const unlike = Array.from({ length: 6 }, () => night(0.02 * normal()));
  assert(width(medianShift(night(0), unlike)) > 3 * width(medianShift(night(0), alike)));
  assert(width(medianShift(night(0), alike)) < width(medianShift(night(0), alike.slice(0, 1))) * 1.2);
});

Deno.test("where nights differ, a night like the others is outside of the interval as rarely as promised", () => {
  const random = seededRandom(43);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const night = () => {
    const level = 0.01 * normal();
    return Array.from({ length: 30 }, () => level + 0.007 * normal());
  };
  let missed = 0;
  for (let i = 0; i < 200; i++) {
    const { low, high } = medianShift(night(), Array.from({ length: 10 }, night), 0.98, i);
    if (low! > 0 || high! < 0) missed++;
  }
  assert(missed <= 24, `${missed} of 200`); // ten nights show little of the tails of their distribution
});
