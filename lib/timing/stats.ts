/**
 * Medians and ratios with their confidence intervals.
 *
 * @module
 */
import { seededRandom } from "./random.ts";

/**
 * An estimate with the bounds of its confidence interval, all in the unit of the sample. Null: there are too few values for
 * an interval of that confidence.
 */
export interface Interval {
  estimate: number;
  low: number | null;
  high: number | null;
}

/** An interval that has its bounds. */
export interface Bounded extends Interval {
  low: number;
  high: number;
}

/**
 * The median; of an even number of values the mean of the middle two.
 *
 * @throws {RangeError} If there is no value.
 */
export function median(values: ArrayLike<number>): number {
  if (values.length === 0) throw new RangeError("The median of no values is not defined");
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of the values that are known; null if none is. */
export function medianOf(values: readonly (number | null | undefined)[]): number | null {
  const known = values.filter((value) => value !== null && value !== undefined && Number.isFinite(value)) as number[];
  return known.length === 0 ? null : median(known);
}

/** Resamples of one bootstrap: the bounds then move by less than their last printed digit from seed to seed. */
const RESAMPLES = 4000;

/**
 * The percentile bootstrap interval of the median (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
 *
 * @param values One independent value a round; never slices of one round, which share what disturbed them.
 * @param confidence Share of repetitions whose interval would hold the true median, 0 to 1.
 * @throws {RangeError} If there is no value.
 */
export function bootstrapMedian(values: readonly number[], confidence = 0.98, seed = 1): Bounded {
  return { estimate: median(values), ...between(resampledMedians(values, seededRandom(seed)), confidence) };
}

/** The medians of so many samples, each drawn from the values with replacement. */
function resampledMedians(values: readonly number[], random: () => number): Float64Array {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  const times = new Int32Array(n);
  const medians = new Float64Array(RESAMPLES);
  // How often each value was drawn is the sample in order: its middle is found by counting, which is faster than sorting.
  const ranked = (rank: number) => {
    let i = 0;
    for (let seen = times[0]!; seen < rank; seen += times[i]!) i++;
    return sorted[i]!;
  };
  for (let i = 0; i < RESAMPLES; i++) {
    times.fill(0);
    for (let k = 0; k < n; k++) times[Math.floor(random() * n)]!++;
    medians[i] = (ranked((n + 1) >> 1) + ranked((n >> 1) + 1)) / 2;
  }
  return medians;
}

/** The percentiles that leave as much outside on either side. Sorts what it is given. */
function between(resampled: Float64Array, confidence: number): { low: number; high: number } {
  resampled.sort();
  const tail = (1 - confidence) / 2;
  return {
    low: resampled[Math.floor(tail * RESAMPLES)]!,
    high: resampled[Math.ceil((1 - tail) * RESAMPLES) - 1]!,
  };
}

/**
 * The exact interval of the median by order statistics: between the k-th smallest and the k-th largest value, with the
 * largest k that keeps the confidence. For that the median must lie outside with at most 1 − confidence, and it lies below
 * the k-th smallest as often as fewer than k of n fair coins show heads. For 98 % it takes 7 values at least.
 *
 * Source: Conover, Practical Nonparametric Statistics, 3rd edition, 1999, section 3.2.
 *
 * @param values One independent value a round.
 * @throws {RangeError} If there is no value.
 */
export function signInterval(values: readonly number[], confidence = 0.98): Interval {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  let outside = 0;
  let heads = 2 ** -n;
  let k = 0; // heads: the probability of exactly k heads; outside: of at most k, both ends
  while (k < n / 2 && outside + 2 * heads <= 1 - confidence) {
    outside += 2 * heads;
    heads *= (n - k) / (k + 1);
    k++;
  }
  const bounds = k === 0 ? { low: null, high: null } : { low: sorted[k - 1]!, high: sorted[n - k]! };
  return { estimate: median(sorted), ...bounds };
}

/** From so many values on the bootstrap covers what it promises; with 10 its 98 % are 95 %, with 5 they are 92 %. */
const BOOTSTRAP_FROM = 20;

/** The interval of a median: by the bootstrap where there are values enough for it, else the exact and wider one. */
export function medianInterval(values: readonly number[], confidence = 0.98, seed = 1): Interval {
  return values.length < BOOTSTRAP_FROM ? signInterval(values, confidence) : bootstrapMedian(values, confidence, seed);
}

/**
 * The ratio of two paired measurements with its interval, computed on logarithms so that 2 and 1/2 are equally far from 1.
 *
 * @param rounds For each round the natural logarithm of candidate / reference.
 * @throws {RangeError} If there is no round.
 */
export function ratioInterval(rounds: readonly number[], confidence = 0.98, seed = 1): Interval {
  return toRatio(medianInterval(rounds, confidence, seed));
}

/** An interval of logarithms as one of ratios. */
export function toRatio({ estimate, low, high }: Interval): Interval {
  const back = (log: number | null) => log === null ? null : Math.exp(log);
  return { estimate: Math.exp(estimate), low: back(low), high: back(high) };
}

/**
 * The interval of the difference of two medians, `values` less `base`, of samples that know nothing of each other. Where
 * both have values enough it is the percentile bootstrap of both at once: each is resampled by itself, so that the bounds
 * carry the uncertainty of both (Efron and Tibshirani 1993, ch. 8). Else it is made of the two exact intervals: each misses
 * with half of what is allowed, so that both together hold at least as often as promised (Bonferroni), and it is wider.
 *
 * @param values One independent value a round, as are those of `base`.
 * @throws {RangeError} If one of them has no value.
 */
export function medianShift(
  values: readonly number[],
  base: readonly number[],
  confidence = 0.98,
  seed = 1,
): Interval {
  const estimate = median(values) - median(base);
  if (Math.min(values.length, base.length) < BOOTSTRAP_FROM) {
    const each = (1 + confidence) / 2;
    const { low, high } = signInterval(values, each);
    const { low: baseLow, high: baseHigh } = signInterval(base, each);
    const known = low !== null && high !== null && baseLow !== null && baseHigh !== null;
    return { estimate, low: known ? low - baseHigh : null, high: known ? high - baseLow : null };
  }
  const random = seededRandom(seed);
  const drawn = resampledMedians(values, random);
  const baseDrawn = resampledMedians(base, random);
  return { estimate, ...between(drawn.map((value, i) => value - baseDrawn[i]!), confidence) };
}
