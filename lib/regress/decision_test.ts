import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { decide, isBaseline, judgeChange, type Samples } from "./decision.ts";
import { seededRandom } from "../timing/random.ts";

/** Log-ratios as rounds give them: normal noise (Box and Muller 1958) of a standard deviation around a change. */
function rounds(random: () => number, change: number, deviation = 0.02, n = 30): number[] {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Array.from({ length: n }, () => Math.log(1 + change) + deviation * normal());
}

/** Nights against one baseline each, with the true change; the second sample is drawn only where the first alarms. */
function nights(change: number, times: number, deviation?: number) {
  const random = seededRandom(99);
  return Array.from({ length: times }, (_, i) => {
    const baseline = rounds(random, 0, deviation);
    const first = rounds(random, change, deviation);
    const evidence: Samples = { first, confirmation: null, baseline, rounds: 30 };
    const once = decide(evidence, i);
    return once.verdict === "alarm"
      ? decide({ ...evidence, confirmation: rounds(random, change, deviation) }, i).verdict
      : once.verdict;
  });
}
const share = (verdicts: string[], wanted: string) =>
  verdicts.filter((each) => each === wanted).length / verdicts.length;

Deno.test("where nothing changed no night of 150 says regression, and what is 10 % slower is caught", () => {
  assertEquals(share(nights(0, 150), "unchanged"), 1);
  assertEquals(share(nights(0.1, 20), "regression"), 1);
  assertEquals(share(nights(-0.1, 20), "improvement"), 1);
});

Deno.test("what is 5 % slower is caught in more than 8 of 10 nights where rounds differ by 2 %", () => {
  assertGreater(share(nights(0.05, 60), "regression"), 0.8);
});

Deno.test("a change of 2 % is a regression in hardly one of 100 nights, a smaller one in none", () => {
  assertLess(share(nights(0.02, 200), "regression"), 0.025);
  assertEquals(share(nights(0.01, 60), "regression"), 0);
});

const flat = (log: number, n = 30): number[] => Array(n).fill(log);
const base: Samples = { first: flat(0), confirmation: null, baseline: flat(0), rounds: 30 };

Deno.test("an alarm is a lower bound over 2 %, and asks for a confirmation", () => {
  const verdict = (first: number[]) => decide({ ...base, first }).verdict;
  assertEquals(verdict(flat(Math.log(1.021))), "alarm");
  assertEquals(verdict(flat(Math.log(1.019))), "unchanged");
  assertEquals(verdict(flat(Math.log(0.979))), "improvement");
  assertEquals(verdict(flat(Math.log(0.981))), "unchanged");
});

Deno.test("fresh rounds decide about an alarm: confirmed, not confirmed, or not to be told", () => {
  const after = (confirmation: number[]) => {
    const { verdict, reason } = decide({ ...base, first: flat(0.1), confirmation });
    return [verdict, reason];
  };
  assertEquals(after(flat(0.1)), ["regression", null]);
  assertEquals(after(flat(0)), ["unchanged", "an alarm that fresh rounds did not confirm"]);
  assertEquals(after(flat(0.1, 10)), ["inconclusive", "an alarm, and in the fresh rounds too few rounds were valid"]);
  const without = decide({ ...base, confirmation: flat(0.1) }); // who did not alarm needs no confirmation
  assertEquals([without.verdict, without.confirmation], ["unchanged", null]);
});

Deno.test("with over a third of the rounds lost, or without a baseline's rounds, nothing is decided", () => {
  assertEquals(decide({ ...base, first: flat(0.1, 19) }).verdict, "inconclusive");
  assertEquals(decide({ ...base, first: flat(0.1, 20) }).verdict, "alarm");
  assertEquals(decide({ ...base, first: flat(0.1), baseline: [] }).first, { says: "too_few", change: null });
  assertEquals(decide({ ...base, first: [] }).verdict, "inconclusive");
  assertEquals(decide({ ...base, first: flat(0.1, 6), rounds: 6 }).verdict, "inconclusive"); // no interval of 98 %
});

Deno.test("an interval that is wide and on no side is inconclusive, one that is wide and on one side is not", () => {
  const spread = (around: number) => Array.from({ length: 30 }, (_, i) => around + (i % 2 === 0 ? 0.06 : -0.06));
  const wide = decide({ ...base, first: spread(0) });
  assertEquals([wide.verdict, wide.reason], ["inconclusive", "the interval is too wide to tell"]);
  assertEquals(decide({ ...base, first: spread(0.5) }).verdict, "alarm");
});

Deno.test("the uncertainty of the baseline is in the interval", () => {
  const random = seededRandom(4);
  const first = rounds(random, 0);
  const width = (baseline: number[]) => {
    const { low, high } = judgeChange(first, baseline, 30).change!;
    return high! - low!;
  };
  assertGreater(width(rounds(random, 0)), width(flat(0)) * 1.1);
});

Deno.test("without a baseline the ratio itself is judged", () => {
  assertEquals(decide({ ...base, first: flat(0.1), baseline: null }).verdict, "alarm");
  assertEquals(decide({ ...base, first: flat(0.001), baseline: null }).verdict, "unchanged");
});

Deno.test("the same seed and values give the same interval, in whatever order, and whatever both were shifted by", () => {
  const random = seededRandom(8);
  for (let i = 0; i < 10; i++) {
    const first = rounds(random, random() * 0.1);
    const baseline = rounds(random, 0);
    const shift = random() - 0.5;
    const here = judgeChange(first, baseline, 30, i).change!;
    assertEquals(judgeChange(first.toReversed(), baseline.toReversed(), 30, i).change, here);
    const there = judgeChange(first.map((log) => log + shift), baseline.map((log) => log + shift), 30, i).change!;
    for (const key of ["estimate", "low", "high"] as const) assert(Math.abs(there[key]! - here[key]!) < 1e-9, key);
  }
});

Deno.test("a baseline is made of rounds that are enough and alike", () => {
  const random = seededRandom(1);
  assertEquals(isBaseline(rounds(random, 0), 30), true);
  assertEquals(isBaseline(rounds(random, 0).slice(0, 19), 30), false);
  assertEquals(isBaseline(rounds(random, 0, 0.3), 30), false);
  assertEquals(isBaseline(rounds(random, 0.5), 30), true); // a candidate may well cost more than the reference
});
