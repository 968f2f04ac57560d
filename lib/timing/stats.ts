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

/**
 * The interval of a median: exact, by order statistics. A bootstrap of 20 to 30 values is narrower, and covers half a
 * per cent less than it promises.
 */
export const medianInterval = (values: readonly number[], confidence = 0.98): Interval =>
  signInterval(values, confidence);

/**
 * The ratio of two paired measurements with its interval, computed on logarithms so that 2 and 1/2 are equally far from 1.
 *
 * @param rounds For each round the natural logarithm of candidate / reference.
 * @throws {RangeError} If there is no round.
 */
export function ratioInterval(rounds: readonly number[], confidence = 0.98): Interval {
  return toRatio(medianInterval(rounds, confidence));
}

/** An interval of logarithms as one of ratios. */
export function toRatio({ estimate, low, high }: Interval): Interval {
  const back = (log: number | null) => log === null ? null : Math.exp(log);
  return { estimate: Math.exp(estimate), low: back(low), high: back(high) };
}

/** Of fewer values a bootstrap is too narrow. */
const BOOTSTRAP_FROM = 20;
/** What a percentile bootstrap of 20 to 30 values loses of its confidence. A simulation in the tests holds it. */
const BOOTSTRAP_LOSS = 0.005;

/** Draws of the mean of nights: each night is resampled by itself, and the nights are resampled among themselves. */
function resampledNights(nights: readonly (readonly number[])[], random: () => number): Float64Array {
  const drawn = nights.map((night) => resampledMedians(night, random));
  const means = new Float64Array(RESAMPLES);
  for (let i = 0; i < RESAMPLES; i++) {
    let sum = 0;
    for (let k = 0; k < nights.length; k++) sum += drawn[Math.floor(random() * nights.length)]![i]!;
    means[i] = sum / nights.length;
  }
  return means;
}

/** How far one night lies from the mean of all: drawn from those that are known, and widened for their small number. */
function nightEffects(nights: readonly (readonly number[])[], random: () => number): Float64Array {
  const effects = new Float64Array(RESAMPLES);
  if (nights.length < 2) return effects; // one night shows nothing of what differs between nights
  const levels = nights.map(median);
  const mean = levels.reduce((sum, level) => sum + level, 0) / levels.length;
  const widen = Math.sqrt(levels.length / (levels.length - 1));
  for (let i = 0; i < RESAMPLES; i++) effects[i] = (levels[Math.floor(random() * levels.length)]! - mean) * widen;
  return effects;
}

/**
 * The interval of the difference between the median of a sample and the mean level of a baseline of one or more nights.
 *
 * With values enough it is a percentile bootstrap: sample and nights are resampled each by itself, the nights among
 * themselves, and the sample is moved by what one night differs from the others (Efron and Tibshirani, An Introduction to
 * the Bootstrap, 1993, ch. 8; Davison and Hinkley, Bootstrap Methods, 1997, section 3.8). A baseline of one night carries
 * no variance between nights. With few values it is made of the exact intervals of sample and nights: each misses with half
 * of what is allowed (Bonferroni), and it is wider.
 *
 * @param values One independent value a round, as in each of the nights.
 * @throws {RangeError} If the sample, the baseline or one of its nights is empty.
 */
export function medianShift(
  values: readonly number[],
  nights: readonly (readonly number[])[],
  confidence = 0.98,
  seed = 1,
): Interval {
  if (nights.length === 0) throw new RangeError("A baseline without a night has no level");
  const estimate = median(values) - nights.map(median).reduce((sum, level) => sum + level, 0) / nights.length;
  if (Math.min(values.length, ...nights.map((night) => night.length)) < BOOTSTRAP_FROM) {
    const each = (1 + confidence) / 2;
    const { low, high } = signInterval(values, each);
    const { low: baseLow, high: baseHigh } = signInterval(nights.flat(), each);
    const known = low !== null && high !== null && baseLow !== null && baseHigh !== null;
    return { estimate, low: known ? low - baseHigh : null, high: known ? high - baseLow : null };
  }
  const random = seededRandom(seed);
  const drawn = resampledMedians(values, random);
  const base = resampledNights(nights, random);
  const effects = nightEffects(nights, random);
  const shifts = drawn.map((value, i) => value + effects[i]! - base[i]!);
  return { estimate, ...between(shifts, confidence + BOOTSTRAP_LOSS) };
}
