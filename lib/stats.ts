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
 * A generator of uniform numbers in [0, 1) whose sequence is fixed by its seed, so that an interval can be computed again.
 *
 * Source: mulberry32 by Tommy Ettinger (public domain), 32 bits of state: enough for resampling, nothing for secrets.
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
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
  const random = seededRandom(seed);
  const medians = new Float64Array(RESAMPLES), draw = new Float64Array(values.length);
  for (let i = 0; i < RESAMPLES; i++) {
    for (let k = 0; k < draw.length; k++) draw[k] = values[Math.floor(random() * values.length)]!;
    medians[i] = median(draw);
  }
  medians.sort();
  const tail = (1 - confidence) / 2;
  return {
    estimate: median(values),
    low: medians[Math.floor(tail * RESAMPLES)]!,
    high: medians[Math.ceil((1 - tail) * RESAMPLES) - 1]!,
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
  const sorted = Float64Array.from(values).sort(), n = sorted.length;
  let outside = 0, heads = 2 ** -n, k = 0; // heads: the probability of exactly k heads; outside: of at most k, both ends
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
  const { estimate, low, high } = medianInterval(rounds, confidence, seed);
  const back = (log: number | null) => log === null ? null : Math.exp(log);
  return { estimate: Math.exp(estimate), low: back(low), high: back(high) };
}
