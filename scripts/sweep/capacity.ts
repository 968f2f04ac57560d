/**
 * What a sweep says: where latency bends, and the highest rate that meets an objective.
 *
 * @module
 */
import { UsageError } from "../../lib/cli/errors.ts";
import type { SweepRow } from "../../lib/results/rows.ts";
import { type Interval, signInterval } from "../../lib/timing/stats.ts";

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

/** The rate to try next between one that meets and one that fails, on a scale of ratios; null: they are close enough. */
export function nextRate(met: number, failed: number, closeness: number): number | null {
  return failed / met <= 1 + closeness ? null : Math.sqrt(met * failed);
}

/** The capacity of a server over rounds. A round in which no rate met the objective counts as 0. */
export function capacity(rows: readonly SweepRow[], slo: Slo): { interval: Interval | null; rounds: number } {
  const rounds = [...Map.groupBy(rows.filter(({ round }) => round > 0), ({ round }) => round).values()];
  const found = rounds.map((of) => bracket(of, (point) => meets(point, slo)).met ?? 0);
  return { interval: found.length === 0 ? null : signInterval(found), rounds: found.length };
}
