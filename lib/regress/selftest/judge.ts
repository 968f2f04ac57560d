/**
 * How often the verdicts of lib/regress/decision.ts are right, from rounds whose truth is known.
 *
 * A decision takes three times as many rounds as one sample has: the baseline, the first, and fresh ones after an alarm. To
 * measure hundreds of them would take weeks, so each is drawn from the stored rounds, without replacement: within a decision
 * no round stands twice. Different decisions share rounds. So the intervals of the counts tell what more draws could change,
 * and not what other rounds could.
 *
 * @module
 */
import { find } from "../../catalogue/catalogue.ts";
import { type Decision, isBaseline } from "../decision.ts";
import { CONNECTIONS, ROUND } from "../command.ts";
import { proportionInterval } from "./proportion.ts";
import { type Candidate, outcomeOf, type PlacedRound, validLogs } from "../rounds.ts";
import { REFERENCE } from "./slowed_epoll.ts";
import { type Interval, medianInterval, medianOf, ratioInterval, toRatio } from "../../timing/stats.ts";
import { seededRandom, shuffled } from "../../timing/random.ts";
import type { SelftestRow } from "../../results/rows.ts";

/** Decisions of each copy: if none of so many is wrong, fewer than one in a hundred are, with 98 % confidence. */
export const DECISIONS = 500;
/** What is promised of decisions, by what a copy burns more, in per cent. */
const MOST_WRONG = 0.01;
const LEAST_FOUND = 0.95;
const PROMISES: readonly { of: (extra: number) => boolean; says: string; isKept: (of: CaseJudged) => boolean }[] = [
  { of: (extra) => extra === 0, says: "is never called slower", isKept: ({ failed }) => failed === 0 },
  {
    of: (extra) => extra > 0 && extra < 2,
    says: "is called slower in less than 1 % of decisions",
    isKept: ({ failedShare }) => failedShare.estimate < MOST_WRONG,
  },
  {
    of: (extra) => extra >= 4,
    says: "is called not slower in less than 1 % of decisions",
    isKept: ({ notSlowerShare }) => notSlowerShare.estimate < MOST_WRONG,
  },
  {
    of: (extra) => extra >= 5,
    says: "is found in over 95 % of decisions",
    isKept: ({ failedShare }) => failedShare.estimate > LEAST_FOUND,
  },
];

/** The promises that decisions did not keep, in a sentence each. */
export const brokenPromises = (cases: readonly CaseJudged[]): string[] =>
  PROMISES.flatMap(({ of, says, isKept }) =>
    cases.filter((one) => of(one.extraPercent) && !isKept(one)).map(({ extraPercent }) =>
      `Promise broken: what costs ${extraPercent} % more ${says}.`
    )
  );
/** The samples of one decision: baseline, first, confirmation. */
export const SAMPLES = 3;

/** What became of one copy. */
export interface CaseJudged {
  extraPercent: number;
  rounds: number;
  /** Of one sample. */
  sampleRounds: number;
  /** What was burnt, by the meter: CPU time of a request with the loop by that without it. */
  added: Interval | null;
  /** What all rounds together found. */
  found: Interval | null;
  decisions: number;
  /** How many said slower, and fresh rounds agreed, or that it is broken: those that a job fails by. */
  failed: number;
  /** The share of them, exact for decisions that share no round. */
  failedShare: Interval;
  /** How many said that it is not slower. */
  notSlower: number;
  notSlowerShare: Interval;
  /** How many could not decide. */
  inconclusive: number;
  /** Of the interval of a decision, as a share: the median one, and the one that 9 of 10 are under. */
  halfWidth: { median: number; most: number } | null;
  /** That one experiment takes, without an alarm. After one it is twice that. */
  minutes: number | null;
}

const placed = (rows: readonly SelftestRow[], phase: PlacedRound["phase"]): PlacedRound[] =>
  rows.map((row) => ({ ...row, experiment: REFERENCE, phase }));

const candidate = (rounds: PlacedRound[], baseline: number[][]): Candidate => ({
  subject: find(REFERENCE),
  connections: CONNECTIONS,
  ratePerS: null,
  baseline,
  rounds,
});

const logsOf = (rows: readonly SelftestRow[]) => validLogs(candidate(placed(rows, "first"), []), "first");

/** The rounds of one decision. */
export interface Drawn {
  baseline: SelftestRow[];
  first: SelftestRow[];
  confirmation: SelftestRow[];
}

/** Draws the samples of a decision without replacement. Of a copy of its own only the baseline is from `same`. */
export function draw(
  same: readonly SelftestRow[],
  copy: readonly SelftestRow[] | null,
  size: number,
  random: () => number,
): Drawn {
  const ofSame = shuffled(same, random);
  const rest = copy === null ? ofSame.slice(size) : shuffled(copy, random);
  return { baseline: ofSame.slice(0, size), first: rest.slice(0, size), confirmation: rest.slice(size, 2 * size) };
}

/** Decides on drawn rounds; null: the baseline would not have been taken, or the rounds end without a decision. */
function decideOn({ baseline, first, confirmation }: Drawn, size: number): Decision | "broken" | null {
  const logs = logsOf(baseline);
  if (!isBaseline(logs, size)) return null;
  const outcome = outcomeOf(
    candidate([...placed(first, "first"), ...placed(confirmation, "confirmation")], [logs]),
    { rounds: size },
  );
  return outcome.ended === "decided" ? outcome.decision : outcome.ended === "broken" ? "broken" : null;
}

const percentile = (values: number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))]!;

function halfWidths(decisions: readonly (Decision | "broken" | null)[]): CaseJudged["halfWidth"] {
  const widths = decisions.flatMap((of) => {
    const { low, high } = of === null || of === "broken" ? { low: null, high: null } : of.all.change ?? {};
    return low && high ? [Math.sqrt(high / low) - 1] : [];
  });
  return widths.length === 0 ? null : { median: percentile(widths, 0.5), most: percentile(widths, 0.9) };
}

/** By how much a request was slowed, round by round. */
function addedBy(rows: readonly SelftestRow[]): Interval | null {
  const logs = rows.flatMap(({ extra_cpu_us: extra, reference_cpu_us_per_request: cpu }) =>
    cpu === null || extra === 0 ? [] : [Math.log1p(extra / cpu)]
  );
  return logs.length === 0 ? null : toRatio(medianInterval(logs));
}

/**
 * Judges the rounds of each copy, the one that is the same first.
 *
 * @param decisions Of each copy.
 * @returns None if there are too few rounds for a decision.
 */
export function judgeSelftest(rows: readonly SelftestRow[], decisions = DECISIONS): CaseJudged[] {
  const same = rows.filter((row) => row.extra_percent === 0);
  const random = seededRandom(1);
  const cases = Map.groupBy(rows, (row) => row.extra_percent);
  return [...cases].toSorted(([a], [b]) => a - b).flatMap(([extraPercent, own]) => {
    const isSame = extraPercent === 0;
    const sampleRounds = Math.min(ROUND.rounds, Math.floor(same.length / SAMPLES), Math.floor(own.length / 2));
    if (sampleRounds === 0) return [];
    const made = Array.from(
      { length: decisions },
      () => decideOn(draw(same, isSame ? null : own, sampleRounds, random), sampleRounds),
    );
    const verdicts = made.map((of) => of === null || of === "broken" ? of : of.verdict);
    const failed = verdicts.filter((verdict) => verdict === "slower" || verdict === "broken").length;
    const notSlower = verdicts.filter((verdict) => verdict === "not_slower").length;
    const inconclusive = verdicts.filter((verdict) => verdict === null || verdict === "inconclusive").length;
    const logs = logsOf(own);
    const seconds = medianOf(own.map((row) => row.seconds));
    return [{
      extraPercent,
      rounds: own.length,
      sampleRounds,
      added: isSame ? null : addedBy(own),
      decisions,
      found: logs.length === 0 ? null : ratioInterval(logs),
      failed,
      failedShare: proportionInterval(failed, decisions),
      notSlower,
      notSlowerShare: proportionInterval(notSlower, decisions),
      inconclusive,
      halfWidth: halfWidths(made),
      minutes: seconds === null ? null : seconds * sampleRounds / 60,
    }];
  });
}
