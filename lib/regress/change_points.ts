/**
 * Where a series of numbers changed, by E-divisive: a hierarchical search that assumes no distribution, for changes that are
 * too small for one night and stay for many.
 *
 * Source: Matteson and James, A nonparametric approach for multiple change point analysis of multivariate data, Journal of the
 * American Statistical Association 109, 2014. As there, the two sides of a split are compared by their energy distance; the
 * best split of any segment is a change if it is better than the best one of nearly all series with the same values in another
 * order; then its two sides are segments. Other than there, the right side of a split always reaches to the end of its segment,
 * which the search for the next change makes up for. MongoDB watches its performance tests in this way (Daly et al., The use of
 * change point detection to identify software performance regressions in a continuous integration system, ICPE 2020).
 *
 * @module
 */
import { seededRandom } from "../timing/random.ts";

/** A segment is at least so long: of fewer values nobody can tell a change from an outlier. */
export const LEAST_SEGMENT = 5;
/** Of series without a change, one in a hundred is said to have one. */
const LEVEL = 0.01;
/** Orders that are tried besides the real one: enough to tell 1 in 100. */
const PERMUTATIONS = 499;
/** Values that are looked at, the newest: the search takes the square of their number. More than a year of nights. */
export const MOST_VALUES = 400;

/** The best split of a segment: where its right side begins, and how unlike the two sides are. */
export interface Split {
  at: number;
  distance: number;
}

/**
 * The best split of the values from `start` to before `end`; null if they are too few. By the sums of the distances within
 * both sides and between them, which change by one row of distances as the split moves on by one value.
 */
export function bestSplit(values: Float64Array, start: number, end: number): Split | null {
  let best: Split | null = null;
  let within = 0;
  let between = 0;
  let beyond = 0; // sums over pairs: left, across, right
  for (let i = start; i < end; i++) for (let k = i + 1; k < end; k++) beyond += Math.abs(values[i]! - values[k]!);
  for (let at = start + 1; at <= end - LEAST_SEGMENT; at++) {
    const moved = values[at - 1]!; // from the right side to the left
    let toLeft = 0;
    let toRight = 0;
    for (let i = start; i < at - 1; i++) toLeft += Math.abs(moved - values[i]!);
    for (let i = at; i < end; i++) toRight += Math.abs(moved - values[i]!);
    within += toLeft;
    between += toRight - toLeft;
    beyond -= toRight;
    const n = at - start;
    const m = end - at;
    if (n < LEAST_SEGMENT) continue;
    const energy = 2 * between / (n * m) - 2 * within / (n * (n - 1)) - 2 * beyond / (m * (m - 1));
    const distance = energy * n * m / (n + m);
    if (best === null || distance > best.distance) best = { at, distance };
  }
  return best;
}

/** The best of the best splits of all segments. `bounds` are where they begin, and the end. */
function bestOf(values: Float64Array, bounds: readonly number[]): Split | null {
  const splits = bounds.slice(1).flatMap((end, i) => bestSplit(values, bounds[i]!, end) ?? []);
  return splits.reduce<Split | null>(
    (best, split) => best !== null && best.distance >= split.distance ? best : split,
    null,
  );
}

/** Brings the values of each segment into a random order (Fisher and Yates). */
function shuffleWithin(values: Float64Array, bounds: readonly number[], random: () => number): void {
  for (const [segment, end] of bounds.slice(1).entries()) {
    const start = bounds[segment]!;
    for (let i = end - 1; i > start; i--) {
      const k = start + Math.floor(random() * (i - start + 1));
      [values[i], values[k]] = [values[k]!, values[i]!];
    }
  }
}

/** Whether so great a distance is rare among other orders of the same values. */
function isChange(values: Float64Array, bounds: readonly number[], { distance }: Split, random: () => number): boolean {
  const shuffled = values.slice();
  let asGreat = 1; // the real order is one of the orders
  for (let i = 0; i < PERMUTATIONS && asGreat <= LEVEL * (PERMUTATIONS + 1); i++) {
    shuffleWithin(shuffled, bounds, random);
    if (bestOf(shuffled, bounds)!.distance >= distance) asGreat++;
  }
  return asGreat <= LEVEL * (PERMUTATIONS + 1);
}

/**
 * Finds where a series changed.
 *
 * @param values In order of time; at most {@linkcode MOST_VALUES} of them, give the newest.
 * @param seed Of the orders that are tried: the same finds the same.
 * @returns The indices at which something new begins, in order; none if nothing changed.
 * @throws {RangeError} If there are more values.
 *
 * @example
 * ```ts
 * changePoints([...Array(10).fill(1), ...Array(10).fill(2)]); // [10]
 * ```
 */
export function changePoints(values: readonly number[], seed = 1): number[] {
  if (values.length > MOST_VALUES) throw new RangeError(`${values.length} values are more than ${MOST_VALUES}`);
  const series = Float64Array.from(values);
  const random = seededRandom(seed);
  const bounds = [0, values.length];
  for (;;) {
    const split = bestOf(series, bounds);
    if (split === null || !isChange(series, bounds, split, random)) return bounds.slice(1, -1);
    bounds.push(split.at);
    bounds.sort((a, b) => a - b);
  }
}
