/**
 * Latency histograms: HdrHistogram's buckets and percentiles, by way of `hdr-histogram-js`.
 *
 * Percentiles of several runs must never be averaged: merge the histograms and ask the sum.
 *
 * @module
 */
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64 } from "hdr-histogram-js";

/** The longest time that can be recorded, in µs: 35 minutes, longer than any run. */
export const MAX_US = 2 ** 31 - 1;
/** Values are told apart to three digits: 1 µs up to 2 ms, and 0.1 % above. */
const DIGITS = 3;
// A count of 8, 16 or 32 bits wraps around without a word. As doubles, counts are exact up to 2⁵³.
const COUNT_BITS = 64;

const create = () =>
  build({
    bitBucketSize: COUNT_BITS,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: MAX_US,
    numberOfSignificantValueDigits: DIGITS,
  });

/**
 * How often each latency occurred, to three significant digits.
 *
 * @example
 * ```ts
 * const histogram = new Histogram();
 * for (const latencyUs of [120, 130, 4_000]) histogram.record(latencyUs);
 * console.log(histogram.percentile(50), histogram.count); // 130 3
 * ```
 */
export class Histogram {
  #hdr = create();

  /**
   * Counts one latency, or several alike.
   *
   * @param us Microseconds, 0..2³¹−1; rounded, since the buckets know integers only.
   * @param times How many there were, a whole number.
   * @throws {RangeError} If `us` or `times` is out of range: it would be counted wrong, or not at all.
   */
  record(us: number, times = 1): void {
    const whole = Math.round(us);
    if (!(whole >= 0 && whole <= MAX_US)) throw new RangeError(`Cannot record ${us} µs: choose 0..${MAX_US}.`);
    if (!(Number.isSafeInteger(times) && times >= 0)) throw new RangeError(`Cannot record a latency ${times} times.`);
    if (times > 0) this.#hdr.recordValueWithCount(whole, times);
  }

  /** How many latencies were recorded. */
  get count(): number {
    return this.#hdr.totalCount;
  }

  /** The mean in µs, up to 0.05 % off; NaN (null in JSON) if nothing was recorded, since 0 would be a claim. */
  get mean(): number {
    return this.count === 0 ? NaN : this.#hdr.mean;
  }

  /**
   * The latency in µs that `percent` per cent of all did not exceed, up to 0.1 % high; NaN if nothing was recorded.
   *
   * @param percent 0..100, such as 99.9.
   * @throws {RangeError} If `percent` is out of range.
   */
  percentile(percent: number): number {
    if (!(percent >= 0 && percent <= 100)) throw new RangeError(`There is no percentile ${percent}: choose 0..100.`);
    return this.count === 0 ? NaN : this.#hdr.getValueAtPercentile(percent);
  }

  /** Adds all that another histogram has counted. Returns this one. */
  merge(other: Histogram): this {
    this.#hdr.add(other.#hdr);
    return this;
  }

  /**
   * The whole histogram as text: HdrHistogram's V2 format, compressed, in base64, as its tools in other languages read it.
   * `JSON.stringify` calls it, so that a histogram can stand in any object that is written.
   */
  toJSON(): string {
    return encodeIntoCompressedBase64(this.#hdr);
  }

  /**
   * Reads what `toJSON` has written.
   *
   * @throws {Error} If the text is not a histogram, or one with other buckets.
   */
  static parse(text: string): Histogram {
    const histogram = new Histogram();
    try {
      histogram.#hdr.add(decodeFromCompressedBase64(text, COUNT_BITS)); // into buckets of our own, whatever the text's are
    } catch (error) {
      throw new Error(`Cannot read the histogram ${JSON.stringify(text.slice(0, 40))}: ${error}`, { cause: error });
    }
    return histogram;
  }
}

// HdrHistogram.java, "bucket" and "sub-bucket": 2¹¹ sub-buckets are the power of two that holds 2 × 10³ values.
const SUB_BITS = 11;
const HALF = 2 ** (SUB_BITS - 1);
const BUCKETS = 31 - SUB_BITS + 1;

/**
 * The same buckets as bare counters, for a loop that serves requests: `record` takes 2 ns, against 80 ns of
 * `Histogram.record`. It does not check, so the caller must know that values stay in 0..2³¹−1.
 *
 * @example
 * ```ts
 * const counts = new Counts();
 * counts.record(120.4);
 * const histogram = counts.take(); // and counts are zero again
 * ```
 */
export class Counts {
  #counts = new Uint32Array((BUCKETS + 1) * HALF); // a run of 35 minutes with 2 million a second would fill 32 bits

  /** Counts a latency of `us` microseconds. */
  record(us: number): void {
    const whole = (us + 0.5) | 0;
    // The bucket is the number of low bits that are not looked at: none below 2¹¹, one below 2¹², and so on.
    const bucket = 32 - SUB_BITS - Math.clz32(whole | (2 * HALF - 1));
    this.#counts[(bucket << (SUB_BITS - 1)) + (whole >> bucket)]!++;
  }

  /** Moves everything counted so far into a histogram. */
  take(): Histogram {
    const histogram = new Histogram();
    for (let index = 0; index < this.#counts.length; index++) {
      const times = this.#counts[index]!;
      if (times === 0) continue;
      const bucket = Math.max((index >> (SUB_BITS - 1)) - 1, 0);
      histogram.record((index - bucket * HALF) * 2 ** bucket, times);
    }
    this.#counts.fill(0);
    return histogram;
  }
}
