/**
 * What a sweep says: where latency bends, and the highest rate that meets an objective.
 *
 * @module
 */
import { UsageError } from "../cli/errors.ts";
import { type Interval, ratioInterval, signInterval } from "../timing/stats.ts";
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

/** An end of the bracket that turns out wrong is moved by this factor. */
const MOVED = 1.5;

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
  const isClose = (a: number, b: number) => b / a <= 1 + closeness;
  if (Number.isFinite(met) && Number.isFinite(failed)) return isClose(met, failed) ? null : Math.sqrt(met * failed);
  if (Number.isFinite(failed)) {
    if (failed <= low) return failed / MOVED;
    return isClose(low, failed) ? low : Math.sqrt(low * failed);
  }
  if (Number.isFinite(met)) {
    if (met >= high) return met * MOVED;
    return isClose(met, high) ? high : Math.sqrt(met * high);
  }
  return Math.sqrt(low * high);
}

/** A bisection ends when the rates lie so close, or after so many of them. */
export const CLOSENESS = 0.05;
const MAX_STEPS = 10;
/** What a bisection takes, about: the bracket of a ladder is halved on a scale of ratios until its ends are close. */
export const USUAL_STEPS = 4;

/** A search for the highest rate that meets an objective. It says which rate to try, and is given the answer. */
export class Bisection {
  readonly #tried: { rate: number; isMet: boolean }[] = [];
  constructor(readonly between: Between, readonly closeness: number = CLOSENESS) {}

  /** The rate to try next; null: it is over. */
  next(): number | null {
    if (this.#tried.length >= MAX_STEPS) return null;
    const next = nextRate(this.#tried, this.between, this.closeness);
    const rate = next === null ? null : wholeRate(next);
    return this.#tried.some((of) => of.rate === rate) ? null : rate;
  }

  answer(rate: number, isMet: boolean): void {
    this.#tried.push({ rate, isMet });
  }
}

/** A rate that can be asked for: one request/s at least. */
export const wholeRate = (rate: number): number => Math.max(1, Math.round(rate));

/** The capacity that each bisection of one server found, by its round. One in which no rate met the objective counts as 0. */
export function capacities(rows: readonly SweepRow[], slo: Slo): Map<number, number> {
  const rounds = Map.groupBy(rows.filter(({ round }) => round > 0), ({ round }) => round);
  return new Map([...rounds].map(([round, points]) => [round, bracket(points, (point) => meets(point, slo)).met ?? 0]));
}

/** The capacity of a server over rounds. */
export function capacity(rows: readonly SweepRow[], slo: Slo): { interval: Interval | null; rounds: number } {
  const found = [...capacities(rows, slo).values()];
  return { interval: found.length === 0 ? null : signInterval(found), rounds: found.length };
}

/** Whether more was the limit of a point than its server. */
const isWeak = ({ findings }: SweepRow): boolean => {
  const ids = findings.map(({ id }) => id);
  return ids.includes("late_sends") || boundOf("requests_per_s", ids) !== null;
};

/** The lowest rate that fails in each bisection, or in the ladder where there is none: these decide what a server bears. */
function deciding(rows: readonly SweepRow[], slo: Slo | null): SweepRow[] {
  const fails = (row: SweepRow) => slo === null ? !keepsUp(row) : !meets(row, slo);
  const rounds = [...Map.groupBy(rows, ({ round }) => round)];
  const bisections = rounds.filter(([round]) => round > 0);
  return (bisections.length > 0 ? bisections : rounds).flatMap(([, points]) =>
    byRate(points.filter(fails)).slice(0, 1)
  );
}

/** Whether the rates that fail may do so by the load generator or by other processes: the capacity is a lower bound. */
export function isLowerBound(rows: readonly SweepRow[], slo: Slo | null): boolean {
  const limits = deciding(rows, slo);
  return limits.filter(isWeak).length * 2 > limits.length;
}

/** How the capacity of a candidate stands to that of a reference. */
export interface CapacityRatio {
  candidate: string;
  /** candidate / reference; null: there is no round of both, or one in which no rate met the objective. */
  ratio: Interval | null;
  rounds: number;
  verdict: "slower" | "not slower" | "inconclusive";
  /** Why it is inconclusive; null: it is not. */
  reason: string | null;
}

/** Less is not of interest, as in `deno task regress`. */
const MARGIN = 1.02;

/** Compares capacities by rounds: both of a pair bisected in the same stretch of time, step by step. */
export function capacityRatio(
  rows: readonly SweepRow[],
  reference: string,
  candidate: string,
  slo: Slo,
): CapacityRatio {
  const of = (name: string) => rows.filter(({ server }) => server === name);
  const [a, b] = [capacities(of(reference), slo), capacities(of(candidate), slo)];
  const pairs = [...a].flatMap(([round, value]) => b.has(round) ? [[value, b.get(round)!] as const] : []);
  const isKnown = pairs.length > 0 && pairs.every(([from, to]) => from > 0 && to > 0);
  const ratio = isKnown ? ratioInterval(pairs.map(([from, to]) => Math.log(to / from))) : null;
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
  if (ratio === null) return "one has no capacity in some round";
  return ratio.low === null ? "too few rounds for an interval" : "the interval lies on both sides of −2 %";
}
