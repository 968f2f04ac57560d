/**
 * Percentiles where some latencies are known to be long, but not how long: the requests without an answer.
 *
 * @module
 */
import { Histogram } from "./histogram.ts";

/** A percentile in µs. `atLeast`: it is a lower bound, since requests that have not been answered may have waited longer. */
export interface BoundedPercentile {
  us: number;
  atLeast: boolean;
}

/**
 * The latency that `percent` per cent of all requests did not exceed, those included that were never answered.
 *
 * Each of these has waited at least for so long, so that the percentile over both is never too high. It is exact as long as it lies
 * below the shortest of these waits: none of them would change its rank, whenever its answer had come.
 *
 * @param answered The latencies of the requests that were answered.
 * @param censored How long the others had waited when waiting ended.
 *
 * @example
 * ```ts
 * const { us, atLeast } = percentileOf(window.histogram, window.censored, 99);
 * console.log(`p99 ${atLeast ? "≥ " : ""}${us} µs`);
 * ```
 */
export function percentileOf(answered: Histogram, censored: Histogram, percent: number): BoundedPercentile {
  if (censored.count === 0) return { us: answered.percentile(percent), atLeast: false };
  const us = new Histogram().merge(answered).merge(censored).percentile(percent);
  return { us, atLeast: us >= censored.percentile(0) };
}
