/** An estimate with the bounds of its confidence interval, all in the unit of the sample. */
export interface Interval {
  estimate: number;
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
export function bootstrapMedian(values: readonly number[], confidence = 0.98, seed = 1): Interval {
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
 * The ratio of two paired measurements with its interval, computed on logarithms so that 2 and 1/2 are equally far from 1.
 *
 * @param rounds For each round the natural logarithm of candidate / reference.
 * @throws {RangeError} If there is no round.
 */
export function ratioInterval(rounds: readonly number[], confidence = 0.98, seed = 1): Interval {
  const { estimate, low, high } = bootstrapMedian(rounds, confidence, seed);
  return { estimate: Math.exp(estimate), low: Math.exp(low), high: Math.exp(high) };
}
