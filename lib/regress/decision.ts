/**
 * Whether a server got slower, from the rounds of paired measurements: the rules, and nothing that measures.
 *
 * What is judged is a ratio of CPU time per request, by its 98 % interval (lib/timing/stats.ts). Against a baseline it is
 * today's ratio to the reference divided by the baseline's: the interval carries the uncertainty of both samples and, of a
 * baseline of several nights, what differs from night to night. Without one it is the ratio itself.
 *
 * There are three verdicts, with a margin of 2 %: less is not of interest, and where code and stack happen to lie in memory
 * moves a program by as much (Mytkowicz et al., Producing wrong data without doing anything obviously wrong, 2009).
 *
 * - **slower**: the lower bound of all rounds is over +2 %, and the fresh rounds by themselves have their median over it.
 * - **not slower**: the upper bound of all rounds is under +2 %. It is a result of its own, not the absence of the other.
 * - **inconclusive**: neither, or too few rounds are valid.
 *
 * What the first rounds do not show to be not slower is measured again: as many fresh rounds, which are pooled with the
 * first ones. So a verdict of "slower" never stands on one stretch of time alone, and a wide interval gets narrower.
 *
 * @module
 */
import { MIN_ROUNDS } from "../results/conventions.ts";
import { count, counted } from "../text/format.ts";
import { type Interval, medianInterval, medianShift, toRatio } from "../timing/stats.ts";

/** The margin, as a logarithm. */
export const MARGIN = Math.log(1.02);
/** Half-width of an interval, as a logarithm, up to which a baseline is good enough. */
const MOST_HALF_WIDTH = Math.log(1.03);
/** With more rounds than a third lost, what is left may be what the machine let through, and no fair sample. */
export const LEAST_VALID_SHARE = 2 / 3;
const CONFIDENCE = 0.98;

/** The natural logarithms of candidate / reference, one for each valid round. */
export type Logs = readonly number[];

/** What there is to judge. */
export interface Samples {
  first: Logs;
  /** Fresh rounds; null: there were none yet. */
  fresh: Logs | null;
  /** The rounds of each night of the baseline; null: the candidate is judged against the reference itself. */
  baseline: readonly Logs[] | null;
  /** Rounds that were wanted, of the first as of the fresh ones. */
  rounds: number;
}

/** What a sample says by itself. */
export type Says = "slower" | "not_slower" | "undecided" | "too_few";

/** What a sample says, and the ratio by which it says so; null: there was no valid round. */
export interface Judgement {
  says: Says;
  change: Interval | null;
}

export type Verdict = "slower" | "not_slower" | "inconclusive";

/** The verdict on all evidence. */
export interface Decision {
  verdict: Verdict;
  /** Why, where the verdict alone does not say it; begins in lower case. */
  reason: string | null;
  /** Of all rounds, the first and the fresh ones. */
  all: Judgement;
  /** Of the fresh rounds alone; null: there were none. */
  fresh: Judgement | null;
  /** Whether fresh rounds could change the verdict: they were not measured yet. */
  wantsFresh: boolean;
}

/** Judges one sample. The seed makes the interval repeatable. */
export function judgeChange(logs: Logs, baseline: Samples["baseline"], rounds: number, seed = 1): Judgement {
  const nights = baseline?.filter((night) => night.length > 0) ?? null;
  if (logs.length === 0 || nights?.length === 0) return { says: "too_few", change: null };
  const interval = nights === null ? medianInterval(logs, CONFIDENCE) : medianShift(logs, nights, CONFIDENCE, seed);
  const { low, high } = interval;
  const change = toRatio(interval);
  if (low === null || high === null || logs.length < rounds * LEAST_VALID_SHARE) return { says: "too_few", change };
  if (low > MARGIN) return { says: "slower", change };
  return { says: high < MARGIN ? "not_slower" : "undecided", change };
}

/** Whether the median of a sample is over the margin. */
function isOver({ change }: Judgement): boolean {
  return change !== null && Math.log(change.estimate) > MARGIN;
}

/** The reason where too few rounds are left to judge by. */
export const TOO_FEW = "too few rounds were valid";

/**
 * Decides on arrays of log-ratios. It measures nothing and keeps nothing, so that stored rounds can be resampled through it.
 *
 * @example
 * ```ts
 * const { wantsFresh } = decide({ first, fresh: null, baseline: [night], rounds: 30 }); // true: measure 30 fresh rounds
 * ```
 */
export function decide({ first, fresh, baseline, rounds }: Samples, seed = 1): Decision {
  if (fresh === null) {
    const all = judgeChange(first, baseline, rounds, seed);
    if (all.says === "not_slower") return { verdict: "not_slower", reason: null, all, fresh: null, wantsFresh: false };
    const reason = all.says === "slower"
      ? "slower, and not confirmed by fresh rounds"
      : all.says === "too_few"
      ? TOO_FEW
      : "the interval includes +2 %";
    return { verdict: "inconclusive", reason, all, fresh: null, wantsFresh: all.says !== "too_few" };
  }
  const alone = judgeChange(fresh, baseline, rounds, seed + 1);
  const all = judgeChange([...first, ...fresh], baseline, 2 * rounds, seed);
  const found = { all, fresh: alone, wantsFresh: false };
  if (all.says === "too_few" || alone.says === "too_few") return { verdict: "inconclusive", reason: TOO_FEW, ...found };
  if (all.says === "slower" && isOver(alone)) return { verdict: "slower", reason: null, ...found };
  if (all.says === "not_slower") return { verdict: "not_slower", reason: null, ...found };
  const reason = all.says === "slower" ? "slower, and fresh rounds do not confirm it" : "the interval includes +2 %";
  return { verdict: "inconclusive", reason, ...found };
}

/** Why the median of the rounds is not known well enough to be compared with later; null: it is. */
export function whyNoBaseline(logs: Logs, rounds: number): string | null {
  const { says, change } = judgeChange(logs, null, rounds);
  if (says === "too_few") {
    const least = Math.max(MIN_ROUNDS, Math.ceil(rounds * LEAST_VALID_SHARE));
    return `${count(logs.length)} of ${counted(rounds, "round")} were valid, and ${count(least)} are needed`;
  }
  const halfWidth = Math.log(change!.high! / change!.low!) / 2;
  if (halfWidth <= MOST_HALF_WIDTH) return null;
  const percent = (log: number) => `±${count((Math.exp(log) - 1) * 100, 1)} %`;
  return `its rounds are too unlike: their median is known to ${percent(halfWidth)}, ` +
    `and ${percent(MOST_HALF_WIDTH)} is the most`;
}

/** Whether it is. */
export const isBaseline = (logs: Logs, rounds: number): boolean => whyNoBaseline(logs, rounds) === null;
