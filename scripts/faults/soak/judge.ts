/**
 * The rule by which a series of a soak is flat.
 *
 * @module
 */
import { median } from "../../../lib/timing/stats.ts";

/** What is judged. */
export type Quantity = "memory" | "descriptors" | "threads" | "latency";

/** By how much a series may rise over the second half of a soak. */
interface Allowed {
  /** Of its level, the median of the third quarter. */
  share: number;
  /** Beyond that, in the unit of the series. */
  more: number;
}

/** A heap is collected when it likes, and a p99 of some hundred requests is noisy: what is kept by intention is not. */
export const ALLOWED: Readonly<Record<Quantity, Allowed>> = {
  memory: { share: 0.05, more: 2 * 2 ** 20 },
  descriptors: { share: 0, more: 2 },
  threads: { share: 0, more: 1 },
  latency: { share: 0.25, more: 5 },
};

/** Fewer points in the second half make no interval. */
export const MIN_POINTS = 8;
const Z = 2.326; // of the normal distribution: both tails together have 2 %

/** The rule in words. */
export const FLAT_RULE =
  "flat: over the second half a series rises by no more than is allowed, neither by the lower bound of its slope " +
  "(Theil and Sen, 98 %) nor between the upper quartile of the third quarter and the lower quartile of the last; " +
  `allowed are 5 % + 2 MiB of memory, 2 descriptors, 1 thread, 25 % + 5 ms of latency; fewer than ${2 * MIN_POINTS} ` +
  "points are not judged";

/** How a series went. Null: too few points. */
export interface Course {
  verdict: "flat" | "rising" | "unclear";
  /** The median of the third quarter. */
  level: number | null;
  /** What it rose by over the second half, by its slope, with the interval. */
  rise: number | null;
  rise_low: number | null;
  rise_high: number | null;
  /** From the upper quartile of the third quarter to the lower quartile of the last. */
  step: number | null;
  allowed: number | null;
}

const UNCLEAR: Course = {
  verdict: "unclear",
  level: null,
  rise: null,
  rise_low: null,
  rise_high: null,
  step: null,
  allowed: null,
};

/** The slopes of all pairs of points, the least first. */
function slopes(at: readonly number[], values: readonly number[]): number[] {
  const all: number[] = [];
  for (let i = 0; i < at.length; i++) {
    for (let j = i + 1; j < at.length; j++) all.push((values[j]! - values[i]!) / (at[j]! - at[i]!));
  }
  return all.sort((a, b) => a - b);
}

/** Sen's interval of the median slope: how many pairs lie on either side of it, by the variance of Kendall's S. */
function slopeInterval(at: readonly number[], values: readonly number[]) {
  const all = slopes(at, values);
  const n = at.length;
  const spread = Z * Math.sqrt(n * (n - 1) * (2 * n + 5) / 18);
  const low = Math.max(0, Math.floor((all.length - spread) / 2));
  const high = Math.min(all.length - 1, Math.ceil((all.length + spread) / 2));
  return { slope: median(all), low: all[low]!, high: all[high]! };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))]!;
}

/**
 * Judges a series by its second half: the first one belongs to warming up.
 *
 * @param at When each value was, in any unit of time, rising.
 *
 * @example
 * ```ts
 * judgeSeries("descriptors", [0, 1, 2, …], [12, 12, 13, …]).verdict; // "flat"
 * ```
 */
export function judgeSeries(quantity: Quantity, at: readonly number[], values: readonly number[]): Course {
  const half = values.length >> 1;
  const [times, second] = [at.slice(half), values.slice(half)];
  if (second.length < MIN_POINTS) return UNCLEAR;
  const { slope, low, high } = slopeInterval(times, second);
  const duration = times.at(-1)! - times[0]!;
  const middle = second.length >> 1;
  const level = median(second.slice(0, middle));
  const { share, more } = ALLOWED[quantity];
  const allowed = share * level + more;
  const step = quantile(second.slice(middle), 0.25) - quantile(second.slice(0, middle), 0.75);
  const isRising = low * duration > allowed || step > allowed;
  return {
    verdict: isRising ? "rising" : "flat",
    level,
    rise: slope * duration,
    rise_low: low * duration,
    rise_high: high * duration,
    step,
    allowed,
  };
}
