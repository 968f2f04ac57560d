/**
 * Whether a server got slower, from the rounds of paired measurements: the rules, and nothing that measures.
 *
 * What is judged is a ratio of CPU time per request, by its 98 % interval (lib/timing/stats.ts). Against a baseline it is today's
 * ratio to the reference by the baseline's: the interval carries the uncertainty of both samples, because a baseline is
 * measured too. Without one it is the ratio itself.
 *
 * - **Alarm**: the lower bound is over +2 %. What is not slower alarms in 1 of 100 times at the most, as only one end of
 *   the interval counts; what is slower by less than 2 % is not of interest.
 * - **Regression**: as many fresh rounds alarm as well. By themselves two tests at 1 % would both be wrong once in 10 000
 *   times; the baseline is in both, so that its own error by chance is not tested twice, and it may be up to 1 in 100.
 * - **Improvement**: the upper bound is under −2 %. It is told and needs no confirmation, for nothing fails by it.
 * - **Inconclusive**: too few rounds are valid, or the half-width is over 3 % and the interval is on no side: then
 *   "unchanged" would say only that nobody could see. An interval on one side, however wide, has its answer.
 *
 * @module
 */
import { type Interval, medianInterval, medianShift, toRatio } from "../timing/stats.ts";

/**
 * The least change that is told. Where code and stack happen to lie in memory moves a program by as much (Mytkowicz et al.,
 * Producing wrong data without doing anything obviously wrong, 2009).
 */
const MATTERS = Math.log(1.02);
/** Of the interval on logarithms, where both sides are as long. */
const MOST_HALF_WIDTH = Math.log(1.03);
/** With more rounds than a third lost, what is left may be what the machine let through, and no fair sample. */
const LEAST_VALID_SHARE = 2 / 3;
const CONFIDENCE = 0.98;

/** The natural logarithms of candidate / reference, one for each valid round. */
export type Logs = readonly number[];

/** What there is to judge. */
export interface Samples {
  first: Logs;
  /** Fresh rounds after an alarm; null: there were none yet. */
  confirmation: Logs | null;
  /** The rounds of the baseline; null: the candidate is judged against the reference itself. */
  baseline: Logs | null;
  /** Rounds that were wanted, of the first as of the confirmation. */
  rounds: number;
}

/** What one sample says by itself. */
export type Says = "slower" | "faster" | "unchanged" | "too_few" | "too_wide";

/** What one sample says, and the ratio by which it says so; null: there was no valid round. */
export interface Judgement {
  says: Says;
  change: Interval | null;
}

/** How it ends: `alarm` asks for a confirmation. */
export type Verdict = "alarm" | "regression" | "improvement" | "unchanged" | "inconclusive";

/** The verdict on all evidence. */
export interface Decision {
  verdict: Verdict;
  /** Why, where the verdict alone does not tell; begins in lower case. */
  reason: string | null;
  first: Judgement;
  confirmation: Judgement | null;
}

/** Judges one sample. The seed makes the interval repeatable. */
export function judgeChange(logs: Logs, baseline: Logs | null, rounds: number, seed = 1): Judgement {
  if (logs.length === 0 || baseline?.length === 0) return { says: "too_few", change: null };
  const interval = baseline === null
    ? medianInterval(logs, CONFIDENCE, seed)
    : medianShift(logs, baseline, CONFIDENCE, seed);
  const { low, high } = interval;
  const change = toRatio(interval);
  if (low === null || high === null || logs.length < rounds * LEAST_VALID_SHARE) return { says: "too_few", change };
  if (low > MATTERS) return { says: "slower", change };
  if (high < -MATTERS) return { says: "faster", change };
  return { says: (high - low) / 2 > MOST_HALF_WIDTH ? "too_wide" : "unchanged", change };
}

const WHY: Partial<Record<Says, string>> = {
  too_few: "too few rounds were valid",
  too_wide: "the interval is too wide to tell",
};
const FIRST: Record<Says, Verdict> = {
  slower: "alarm",
  faster: "improvement",
  unchanged: "unchanged",
  too_few: "inconclusive",
  too_wide: "inconclusive",
};

/**
 * Decides on arrays of log-ratios. It measures nothing and keeps nothing, so that stored rounds can be resampled through it.
 *
 * @example
 * ```ts
 * const { verdict } = decide({ first, confirmation: null, baseline, rounds: 30 }); // alarm: measure 30 fresh rounds
 * ```
 */
export function decide({ first, confirmation, baseline, rounds }: Samples, seed = 1): Decision {
  const judged = judgeChange(first, baseline, rounds, seed);
  const { says } = judged;
  if (says !== "slower" || confirmation === null) {
    return { verdict: FIRST[says], reason: WHY[says] ?? null, first: judged, confirmation: null };
  }
  const again = judgeChange(confirmation, baseline, rounds, seed + 1); // other draws: the second test owes nothing to the first
  const found = { first: judged, confirmation: again };
  if (again.says === "slower") return { verdict: "regression", reason: null, ...found };
  const why = WHY[again.says];
  return why === undefined
    ? { verdict: "unchanged", reason: "an alarm that fresh rounds did not confirm", ...found }
    : { verdict: "inconclusive", reason: `an alarm, and in the fresh rounds ${why}`, ...found };
}

/** Whether the median of the rounds is known well enough to be compared with later. */
export function isBaseline(logs: Logs, rounds: number): boolean {
  const { says, change } = judgeChange(logs, null, rounds);
  return says !== "too_few" && Math.log(change!.high! / change!.low!) / 2 <= MOST_HALF_WIDTH;
}
