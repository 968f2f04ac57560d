import { assert, assertEquals, assertThrows } from "@std/assert";
import { Counts, Histogram, MAX_US } from "./histogram.ts";

/** Values of all magnitudes from a linear congruential generator (Numerical Recipes), the same in every run. */
function latencies(count: number): number[] {
  let state = 1;
  const random = () => (state = (state * 1664525 + 1013904223) >>> 0) / 2 ** 32;
  return Array.from({ length: count }, () => Math.floor(2 ** (random() * 31)));
}

function histogramOf(values: number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

const PERCENTS = [0, 1, 10, 50, 90, 99, 99.9, 100];
const percentiles = (histogram: Histogram) => PERCENTS.map((percent) => histogram.percentile(percent));

Deno.test("a percentile is a value that was recorded, to three digits", () => {
  const values = latencies(10_000);
  const histogram = histogramOf(values);
  const sorted = values.toSorted((a, b) => a - b);
  for (const percent of PERCENTS) {
    const rank = Math.ceil(percent * sorted.length / 100 - 1e-9); // 99.9 % of 10 000 is a little over 9 990 in doubles
    const exact = sorted[Math.max(rank, 1) - 1]!;
    const found = histogram.percentile(percent);
    assert(Math.abs(found - exact) <= exact / 1000, `p${percent}: ${found}, exactly ${exact}`);
  }
  const mean = values.reduce((sum, value) => sum + value) / values.length;
  assert(Math.abs(histogram.mean - mean) <= mean / 1000, `${histogram.mean}, exactly ${mean}`);
});

Deno.test("percentiles never fall as the percentage rises, and min and max frame them", () => {
  const histogram = histogramOf(latencies(1000));
  const found = percentiles(histogram);
  assertEquals(found, found.toSorted((a, b) => a - b));
  assertEquals([histogram.percentile(0), histogram.percentile(100)], [found[0]!, found.at(-1)!]);
});

Deno.test("merging gives what recording all values in one histogram gives", () => {
  const values = latencies(3000);
  const merged = histogramOf(values.slice(0, 1000)).merge(histogramOf(values.slice(1000)));
  assertEquals(merged.toJSON(), histogramOf(values).toJSON());
  assertEquals(merged.merge(new Histogram()).count, 3000);
});

Deno.test("an empty histogram has no latencies, and claims none", () => {
  const empty = new Histogram();
  assertEquals(empty.count, 0);
  assertEquals([empty.mean, empty.percentile(0), empty.percentile(99)], [NaN, NaN, NaN]);
  assertEquals(Histogram.parse(empty.toJSON()).count, 0);
  assertEquals(new Histogram().merge(empty).merge(histogramOf([5])).percentile(0), 5);
});

Deno.test("writing and reading changes nothing", () => {
  const histogram = histogramOf([0, 1, MAX_US, ...latencies(5000)]);
  const { read } = JSON.parse(JSON.stringify({ read: histogram }));
  const parsed = Histogram.parse(read);
  assertEquals(percentiles(parsed), percentiles(histogram));
  assertEquals([parsed.count, parsed.mean], [histogram.count, histogram.mean]);
  assertEquals(parsed.toJSON(), histogram.toJSON());
});

Deno.test("text that is no histogram is refused by name", () => {
  for (const text of ["", "no base64", "aGVsbG8gd29ybGQ="]) {
    assertThrows(() => Histogram.parse(text), Error, "Cannot read the histogram");
  }
});

Deno.test("values are rounded to whole µs, and counts go beyond 32 bits", () => {
  const histogram = new Histogram();
  histogram.record(1.4);
  histogram.record(1.6, 2 ** 33);
  assertEquals([histogram.percentile(0), histogram.percentile(100), histogram.count], [1, 2, 2 ** 33 + 1]);
  assertEquals(Histogram.parse(histogram.toJSON()).count, 2 ** 33 + 1);
});

Deno.test("what would be counted wrong is refused", () => {
  const histogram = new Histogram();
  for (const us of [-1, NaN, Infinity, MAX_US + 1]) assertThrows(() => histogram.record(us), RangeError);
  for (const times of [-1, 0.5, NaN]) assertThrows(() => histogram.record(1, times), RangeError);
  for (const percent of [-1, 101, NaN]) assertThrows(() => histogram.percentile(percent), RangeError);
  assertEquals(histogram.count, 0);
});

Deno.test("bare counters fill the same buckets as the histogram", () => {
  const edges = Array.from({ length: 31 }, (_, power) => [2 ** power - 1, 2 ** power, 2 ** power + 1]).flat();
  const values = [...edges, MAX_US, ...latencies(20_000), 0.4, 0.6, 1023.4, 1023.6];
  const counts = new Counts();
  for (const value of values) counts.record(value);
  assertEquals(counts.take().toJSON(), histogramOf(values).toJSON());
  assertEquals(counts.take().count, 0);
});
