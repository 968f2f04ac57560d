/**
 * What a sweep says: where latency bends, and the highest rate that meets an objective.
 *
 * @module
 */
import { UsageError } from "../cli/errors.ts";
import { type Interval, median, signInterval, toRatio } from "../timing/stats.ts";
import { boundOf } from "./findings.ts";
import type { SweepRow } from "./rows.ts";

/** A bound of latency, such as p99 ≤ 5 ms. */
export interface Slo {
  percentile: "p50_us" | "p99_us" | "p99_9_us";
  us: number;
  /** As the user wrote it. */
  text: string;
}

const PERCENTILES = { p50: "p50_us", p99: "p99_us", "p99.9": "p99_9_us" } as const;
const UNITS = { us: 1, µs: 1, ms: 1e3, s: 1e6 } as const;
const SLO = /^(p50|p99|p99\.9)=(\d+(?:\.\d+)?)(us|µs|ms|s)$/;

/** @throws {UsageError} If it is none. */
export function readSlo(text: string): Slo {
  const [, percentile, value, unit] = SLO.exec(text) ?? [];
  const us = Number(value) * UNITS[unit as keyof typeof UNITS];
  if (!(us > 0)) throw new UsageError(`--slo ${text} is not such as p99=5ms: p50, p99 or p99.9, and us, ms or s.`);
  return { percentile: PERCENTILES[percentile as keyof typeof PERCENTILES], us, text };
}

/** The objective that a sweep looked for; null: none. */
export function sloOf(rows: readonly Pick<SweepRow, "slo">[]): Slo | null {
  const text = rows[0]?.slo ?? null;
  return text === null ? null : readSlo(text);
}

/** Less than this share of what was asked is saturation: the backlog grows for as long as the load lasts. */
const ANSWERED_SHARE = 0.95;
/** The knee lies below the first rate whose p99 is over so many times that of the lowest rate. */
const KNEE_FACTOR = 5;

type Point = Pick<SweepRow, "rate_per_s" | "answered_per_s" | "p50_us" | "p99_us" | "p99_9_us" | "ended">;

/** Whether a server answered as fast as it was asked, and without errors. */
export const keepsUp = (of: Point): boolean =>
  of.ended === "ok" && (of.answered_per_s ?? 0) >= ANSWERED_SHARE * of.rate_per_s;

/** Whether a point meets the objective. A latency that is a lower bound ends a run as `limited`, which never does. */
export const meets = (of: Point, { percentile, us }: Slo): boolean =>
  keepsUp(of) && of[percentile] !== null && of[percentile] <= us;

const byRate = <P extends Point>(points: readonly P[]) => points.toSorted((a, b) => a.rate_per_s - b.rate_per_s);

/** Splits at the first rate that fails: the highest one below it, and that one. Null: there is none. */
export function bracket(points: readonly Point[], holds: (of: Point) => boolean) {
  const sorted = byRate(points);
  const at = sorted.findIndex((of) => !holds(of));
  const met = at < 0 ? sorted.at(-1) : sorted[at - 1];
  return { met: met?.rate_per_s ?? null, failed: at < 0 ? null : sorted[at]!.rate_per_s };
}

/** The last rate of a ladder before latency bends upwards; null if not even the lowest is kept up with. */
export function knee(ladder: readonly Point[]): number | null {
  const lowest = byRate(ladder)[0]?.p99_us ?? null;
  if (lowest === null) return null;
  return bracket(ladder, (of) => keepsUp(of) && of.p99_us !== null && of.p99_us <= KNEE_FACTOR * lowest).met;
}

/** Where a bisection begins; neither end was tried in it. */
export interface Between {
  low: number;
  high: number;
}

/** An end of the bracket that turns out wrong is moved by this factor, so many times at most. */
const MOVED = 1.5;
const MOVES = 4;
/** What a stored ratio may lose by rounding. */
const ROUNDING = 1e-9;

/** Whether a rate that meets and one that fails are close enough. Rates are whole numbers: no other lies between neighbours. */
const isClose = (met: number, failed: number, closeness: number): boolean =>
  failed <= met * (1 + closeness) * (1 + ROUNDING) || failed - met <= 1;

/**
 * The rate that a bisection tries next, on a scale of ratios: between the ends, then at an end that it ran into and did not
 * try, then beyond it. Null: one that meets and one that fails are close enough.
 *
 * @param tried Of this bisection, each with its answer.
 */
export function nextRate(
  tried: readonly { rate: number; isMet: boolean }[],
  { low, high }: Between,
  closeness: number,
): number | null {
  const met = Math.max(...tried.filter(({ isMet }) => isMet).map(({ rate }) => rate));
  const failed = Math.min(...tried.filter(({ isMet }) => !isMet).map(({ rate }) => rate));
  if (Number.isFinite(met) && Number.isFinite(failed)) {
    return isClose(met, failed, closeness) ? null : Math.sqrt(met * failed);
  }
  if (Number.isFinite(failed)) {
    if (failed <= low) return failed / MOVED;
    return isClose(low, failed, closeness) ? low : Math.sqrt(low * failed);
  }
  if (Number.isFinite(met)) {
    if (met >= high) return met * MOVED;
    return isClose(met, high, closeness) ? high : Math.sqrt(met * high);
  }
  return Math.sqrt(low * high);
}

/** A bisection ends when the rates lie so close. */
export const CLOSENESS = 0.05;
/** The same where capacities are compared: small against the margin of the verdict. */
export const COMPARED_CLOSENESS = 0.005;

/** How often a bracket is halved, on a scale of ratios, until its ends are close. */
const halvings = (ratio: number, closeness: number): number =>
  Math.max(0, Math.ceil(Math.log2(Math.log(ratio) / Math.log1p(closeness))));

/** What lies between two neighbours of a ladder, widened. */
const USUAL_BRACKET = 1.8;

/** What a bisection takes, about. */
export const usualSteps = (closeness: number = CLOSENESS): number => halvings(USUAL_BRACKET, closeness);

/**
 * A bisection takes no more. It is enough to run into an end, to try it, to move it as often as that is allowed, and to
 * halve what then lies between; one more is for rates that were rounded.
 */
const mostSteps = ({ low, high }: Between, closeness: number): number =>
  halvings(high / low, closeness) + 1 + MOVES + halvings(MOVED, closeness) + 1;

/** A search for the highest rate that meets an objective. It says which rate to try, and is given the answer. */
export class Bisection {
  readonly #tried: { rate: number; isMet: boolean }[] = [];
  readonly #between: Between;
  readonly #mostSteps: number;

  constructor({ low, high }: Between, readonly closeness: number = CLOSENESS) {
    this.#between = { low: wholeRate(low), high: wholeRate(high) };
    this.#mostSteps = mostSteps(this.#between, closeness);
  }

  /** The rate to try next; null: it is over. */
  next(): number | null {
    if (this.#tried.length >= this.#mostSteps) return null;
    const next = nextRate(this.#tried, this.#between, this.closeness);
    const rate = next === null ? null : wholeRate(next);
    return this.#tried.some((of) => of.rate === rate) ? null : rate;
  }

  answer(rate: number, isMet: boolean): void {
    this.#tried.push({ rate, isMet });
  }
}

/** A rate that can be asked for: one request/s at least. */
export const wholeRate = (rate: number): number => Math.max(1, Math.round(rate));

/** Between which rates the capacity lies in one round; never both null. Null: none met the objective, or none failed. */
export interface Found {
  met: number | null;
  failed: number | null;
}

/** What the bisections of one server came to. */
export interface Bisected {
  /** By its round, what each found that came to its end. */
  found: Map<number, Found>;
  /** The rounds that did not: interrupted, broken, or without a step more. They count for nothing. */
  unfinished: number[];
}

/**
 * A bisection is over when its rates lie close enough. One in which all met, or all failed, says so itself: its rows alone
 * cannot be distinguished from those of an interrupted one.
 */
function isOver(points: readonly SweepRow[], { met, failed }: Found): boolean {
  if (met !== null && failed !== null) return isClose(met, failed, points[0]?.closeness ?? CLOSENESS);
  return points.some(({ over }) => over === true);
}

/** Reads the bisections of one server. */
export function bisected(rows: readonly SweepRow[], slo: Slo): Bisected {
  const found = new Map<number, Found>();
  const unfinished: number[] = [];
  for (const [round, points] of Map.groupBy(rows.filter(({ round }) => round > 0), ({ round }) => round)) {
    const ends = bracket(points, (point) => meets(point, slo));
    if (isOver(points, ends)) found.set(round, ends);
    else unfinished.push(round);
  }
  return { found, unfinished };
}

/** The rate in the middle of what was found, on a scale of ratios; a bound stands for itself. */
const middle = ({ met, failed }: Found): number => Math.sqrt((met ?? failed)! * (failed ?? met)!);

/** A value of a round with the bounds that its bracket leaves it. */
interface Covered {
  low: number;
  value: number;
  high: number;
}

/** The interval that holds whatever the values are within their brackets: its low end is that of the low ends. */
function covering(rounds: readonly Covered[]): Interval {
  return {
    estimate: median(rounds.map(({ value }) => value)),
    low: signInterval(rounds.map(({ low }) => low)).low,
    high: signInterval(rounds.map(({ high }) => high)).high,
  };
}

/** The capacity of a server over rounds. */
export interface Capacity {
  /** From 0 where rounds found nothing that meets, to infinity where they found nothing that fails. Null: no round ended. */
  interval: Interval | null;
  /** How many rounds it comes from. */
  rounds: number;
  /** Those of them in which nothing failed, and those in which nothing met the objective: each is a bound. */
  atLeast: number[];
  below: number[];
  /** The rounds that are left out. */
  unfinished: number[];
}

/** The capacity of a server over its rounds. */
export function capacity(rows: readonly SweepRow[], slo: Slo): Capacity {
  const { found, unfinished } = bisected(rows, slo);
  const all = [...found.values()].map((of) => ({ low: of.met ?? 0, value: middle(of), high: of.failed ?? Infinity }));
  const roundsOf = (end: keyof Found) => [...found].filter(([, of]) => of[end] === null).map(([round]) => round);
  return {
    interval: all.length === 0 ? null : covering(all),
    rounds: all.length,
    atLeast: roundsOf("failed"),
    below: roundsOf("met"),
    unfinished,
  };
}

/** Whether more was the limit of a point than its server. */
const isWeak = ({ findings }: SweepRow): boolean => {
  const ids = findings.map(({ id }) => id);
  return ids.includes("late_sends") || boundOf("requests_per_s", ids) !== null;
};

/** The lowest rate that fails in each bisection that counts, or in the ladder where there is none: these decide. */
function deciding(rows: readonly SweepRow[], slo: Slo | null): SweepRow[] {
  const fails = (row: SweepRow) => slo === null ? !keepsUp(row) : !meets(row, slo);
  const found = slo === null ? new Map<number, Found>() : bisected(rows, slo).found;
  const counts = (round: number) => found.size > 0 ? found.has(round) : round === 0;
  return [...Map.groupBy(rows.filter(({ round }) => counts(round)), ({ round }) => round).values()]
    .flatMap((points) => byRate(points.filter(fails)).slice(0, 1));
}

/** Whether the rates that fail may do so by the load generator or by other processes: the capacity is a lower bound. */
export function isLowerBound(rows: readonly SweepRow[], slo: Slo | null): boolean {
  const limits = deciding(rows, slo);
  return limits.filter(isWeak).length * 2 > limits.length;
}

/** How the capacity of a candidate stands to that of a reference. */
export interface CapacityRatio {
  candidate: string;
  /** candidate / reference; null: there is no round that both finished. */
  ratio: Interval | null;
  rounds: number;
  verdict: "slower" | "not slower" | "inconclusive";
  /** Why it is inconclusive; null: it is not. */
  reason: string | null;
}

/** Less is not of interest, as in `deno task regress`. */
const MARGIN = 1.02;

/** The ratio of two capacities of one round, as a logarithm: at worst for either of them. */
const logRatio = (from: Found, to: Found): Covered => ({
  low: Math.log((to.met ?? 0) / (from.failed ?? Infinity)),
  value: Math.log(middle(to) / middle(from)),
  high: Math.log((to.failed ?? Infinity) / (from.met ?? 0)),
});

/** Compares capacities by rounds: both of a pair bisected in the same stretch of time, step by step. */
export function capacityRatio(
  rows: readonly SweepRow[],
  reference: string,
  candidate: string,
  slo: Slo,
): CapacityRatio {
  const of = (name: string) => rows.filter(({ server }) => server === name);
  const [a, b] = [bisected(of(reference), slo).found, bisected(of(candidate), slo).found];
  const pairs = [...a].flatMap(([round, from]) => b.has(round) ? [logRatio(from, b.get(round)!)] : []);
  const ratio = pairs.length === 0 ? null : toRatio(covering(pairs));
  const says = verdictOf(ratio);
  const bound = says === "slower" ? candidate : says === "not slower" ? reference : null;
  const isVoid = bound !== null && isLowerBound(of(bound), slo);
  return {
    candidate,
    ratio,
    rounds: pairs.length,
    verdict: isVoid ? "inconclusive" : says,
    reason: isVoid ? `the capacity of ${bound} is a lower bound` : says === "inconclusive" ? whyOpen(ratio) : null,
  };
}

function verdictOf(ratio: Interval | null): CapacityRatio["verdict"] {
  if (ratio === null || ratio.low === null || ratio.high === null) return "inconclusive";
  return ratio.high < 1 / MARGIN ? "slower" : ratio.low > 1 / MARGIN ? "not slower" : "inconclusive";
}

/** Why a ratio gives no verdict. */
function whyOpen(ratio: Interval | null): string {
  if (ratio === null) return "no round of both was finished";
  if (ratio.low === null) return "too few rounds for an interval";
  if (ratio.low === 0 || ratio.high === Infinity) return "a round found no more than a bound";
  return "the interval lies on both sides of −2 %";
}
