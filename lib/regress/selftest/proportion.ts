/**
 * How often something happens, from how often it did.
 *
 * @module
 */
import type { Bounded } from "../../timing/stats.ts";

const HALVINGS = 60; // of [0, 1]: beyond what a double tells apart

/** The probability of at most `most` successes in `trials`, each with probability `p` in (0, 1). */
function atMost(most: number, trials: number, p: number): number {
  let log = trials * Math.log1p(-p);
  let sum = 0; // of exactly k successes; as a logarithm, because it may be under 1e-308
  for (let k = 0; k <= most; k++) {
    sum += Math.exp(log);
    log += Math.log((trials - k) / (k + 1)) + Math.log(p) - Math.log1p(-p);
  }
  return sum;
}

/** The p at which a probability that rises with p is `wanted`. */
function solve(rising: (p: number) => number, wanted: number): number {
  let low = 0;
  let high = 1;
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (rising(middle) < wanted) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * The share of successes with its exact interval: those probabilities under which so few, and so many, are not too rare. It
 * holds the true one at least as often as promised, also where nothing or everything succeeded.
 *
 * Source: Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
 * Biometrika 26, 1934.
 *
 * @param trials That know nothing of each other.
 * @param confidence 0 to 1.
 * @throws {RangeError} If there are no trials, or more successes than trials.
 *
 * @example
 * ```ts
 * proportionInterval(0, 60).high; // 0.063: of 60 none, and yet it may be 6 of 100
 * ```
 */
export function proportionInterval(successes: number, trials: number, confidence = 0.98): Bounded {
  if (!(trials >= 1 && successes >= 0 && successes <= trials)) {
    throw new RangeError(`There is no share of ${successes} in ${trials}`);
  }
  const tail = (1 - confidence) / 2;
  return {
    estimate: successes / trials,
    low: successes === 0 ? 0 : solve((p) => 1 - atMost(successes - 1, trials, p), tail),
    high: successes === trials ? 1 : solve((p) => 1 - atMost(successes, trials, p), 1 - tail),
  };
}
