import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { decide, isBaseline, judgeChange, type Samples, whyNoBaseline } from "./decision.ts";
import { seededRandom } from "../timing/random.ts";

/** Log-ratios as rounds give them: normal noise (Box and Muller 1958) of a standard deviation around a change. */
function rounds(random: () => number, change: number, deviation = 0.02, n = 30): number[] {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Array.from({ length: n }, () => Math.log(1 + change) + deviation * normal());
}

/** Decisions against one baseline night each, with the true change; fresh rounds are drawn where they are wanted. */
function decisions(change: number, times: number, deviation?: number) {
  const random = seededRandom(99);
  return Array.from({ length: times }, (_, i) => {
    const baseline = [rounds(random, 0, deviation)];
    const first = rounds(random, change, deviation);
    const evidence: Samples = { first, fresh: null, baseline, rounds: 30 };
    const once = decide(evidence, i);
    return once.wantsFresh
      ? decide({ ...evidence, fresh: rounds(random, change, deviation) }, i).verdict
      : once.verdict;
  });
}
const share = (verdicts: string[], wanted: string) =>
  verdicts.filter((each) => each === wanted).length / verdicts.length;

Deno.test("where nothing changed no decision of 150 says slower, and what is 10 % slower is found", () => {
  assertEquals(share(decisions(0, 150), "slower"), 0);
  assertGreater(share(decisions(0, 150), "not_slower"), 0.9);
  assertEquals(share(decisions(0.1, 20), "slower"), 1);
  assertEquals(share(decisions(-0.1, 20), "not_slower"), 1);
});

Deno.test("what is 5 % slower is found in more than 95 of 100 decisions where rounds differ by 2 %", () => {
  assertGreater(share(decisions(0.05, 100), "slower"), 0.95);
});

Deno.test("a true +1 % is hardly ever called slower, a true +4 % hardly ever not slower, however noisy the machine", () => {
  for (const deviation of [0.007, 0.02, 0.04]) {
    assertLess(share(decisions(0.01, 100, deviation), "slower"), 0.02, `+1 %, ${deviation}`);
    assertLess(share(decisions(0.04, 100, deviation), "not_slower"), 0.02, `+4 %, ${deviation}`);
  }
});

const flat = (log: number, n = 30): number[] => Array(n).fill(log);
const base: Samples = { first: flat(0), fresh: null, baseline: [flat(0)], rounds: 30 };

Deno.test("not slower is an upper bound under 2 %; anything else wants fresh rounds", () => {
  const decided = (first: number[]) => {
    const { verdict, wantsFresh } = decide({ ...base, first });
    return [verdict, wantsFresh];
  };
  assertEquals(decided(flat(Math.log(1.019))), ["not_slower", false]);
  assertEquals(decided(flat(Math.log(0.9))), ["not_slower", false]);
  assertEquals(decided(flat(Math.log(1.021))), ["inconclusive", true]);
});

Deno.test("an interval that includes +2 % is inconclusive, also where its estimate is below: [+1 %, +7 %] is no 'not slower'", () => {
  const wide = Array.from({ length: 30 }, (_, i) => Math.log(1.045) + (i % 2 === 0 ? 0.03 : -0.03));
  const once = decide({ ...base, first: wide });
  assertEquals([once.verdict, once.wantsFresh, once.reason], ["inconclusive", true, "the interval includes +2 %"]);
  const again = decide({ ...base, first: wide, fresh: wide });
  assertEquals([again.verdict, again.reason], ["inconclusive", "the interval includes +2 %"]);
});

Deno.test("first and fresh rounds are judged together, and fresh ones must agree by themselves", () => {
  const after = (fresh: number[], first = flat(0.1)) => {
    const { verdict, reason } = decide({ ...base, first, fresh });
    return [verdict, reason];
  };
  assertEquals(after(flat(0.1)), ["slower", null]);
  assertEquals(after(flat(0.01)), ["inconclusive", "the interval includes +2 %"]);
  assertEquals(after(flat(0, 60)), ["not_slower", null]);
  assertEquals(after(flat(0.1, 10)), ["inconclusive", "too few rounds were valid"]);
  const slowOnce = [...flat(0.1), ...flat(0.1)]; // the fresh rounds show nothing, and are too few to pull the bound down
  assertEquals(after(flat(0.015), slowOnce), ["inconclusive", "slower, and fresh rounds do not confirm it"]);
});

Deno.test("a baseline of nights that differ does not call a night like them slower", () => {
  const nights = [-0.04, -0.02, 0, 0.02, 0.04].map((level) => flat(level));
  assertEquals(decide({ ...base, first: flat(0.045), fresh: flat(0.045), baseline: nights }).verdict, "inconclusive");
  assertEquals(decide({ ...base, first: flat(0.3), fresh: flat(0.3), baseline: nights }).verdict, "slower");
});

Deno.test("with over a third of the rounds lost, or without a baseline's rounds, nothing is decided", () => {
  assertEquals(decide({ ...base, first: flat(0.1, 19) }).wantsFresh, false);
  assertEquals(decide({ ...base, first: flat(0.1, 20) }).wantsFresh, true);
  assertEquals(decide({ ...base, first: flat(0.1), baseline: [] }).all, { says: "too_few", change: null });
  assertEquals(decide({ ...base, first: [] }).verdict, "inconclusive");
  assertEquals(decide({ ...base, first: flat(0.1, 6), rounds: 6 }).verdict, "inconclusive"); // no interval of 98 %
});

Deno.test("the uncertainty of the baseline is in the interval", () => {
  const random = seededRandom(4);
  const first = rounds(random, 0);
  const width = (baseline: number[]) => {
    const { low, high } = judgeChange(first, [baseline], 30).change!;
    return high! - low!;
  };
  assertGreater(width(rounds(random, 0)), width(flat(0)) * 1.1);
});

Deno.test("without a baseline the ratio itself is judged", () => {
  assertEquals(decide({ ...base, first: flat(0.1), baseline: null }).all.says, "slower");
  assertEquals(decide({ ...base, first: flat(0.001), baseline: null }).verdict, "not_slower");
});

Deno.test("the same seed and values give the same interval, in whatever order, and whatever both were shifted by", () => {
  const random = seededRandom(8);
  for (let i = 0; i < 10; i++) {
    const first = rounds(random, random() * 0.1);
    const baseline = rounds(random, 0);
    const shift = random() - 0.5;
    const here = judgeChange(first, [baseline], 30, i).change!;
    assertEquals(judgeChange(first.toReversed(), [baseline.toReversed()], 30, i).change, here);
    const there = judgeChange(first.map((log) => log + shift), [baseline.map((log) => log + shift)], 30, i).change!;
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

Deno.test("why there is no baseline is one of two reasons, with its numbers", () => {
  const unlike = Array.from({ length: 30 }, (_, i) => i % 2 === 0 ? 0.1 : -0.1);
  assertEquals(whyNoBaseline(flat(0.5), 30), null);
  assertEquals(whyNoBaseline(flat(0, 19), 30), "19 of 30 rounds were valid, and 20 are needed");
  assertEquals(whyNoBaseline([], 30), "0 of 30 rounds were valid, and 20 are needed");
  assertEquals(whyNoBaseline(flat(0, 6), 6), "6 of 6 rounds were valid, and 7 are needed"); // no interval of 98 %
  assertEquals(
    whyNoBaseline(unlike, 30),
    "its rounds are too unlike: their median is known to ±10.5 %, and ±3.0 % is the most",
  );
});
