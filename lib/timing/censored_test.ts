import { assertEquals } from "@std/assert";
import { percentileOf } from "./censored.ts";
import { Histogram } from "./histogram.ts";

function of(...latencies: [us: number, times: number][]): Histogram {
  const histogram = new Histogram();
  for (const [us, times] of latencies) histogram.record(us, times);
  return histogram;
}

Deno.test("without censored latencies a percentile is that of the answers", () => {
  assertEquals(percentileOf(of([100, 99], [500, 1]), of(), 99), { us: 100, atLeast: false });
  assertEquals(percentileOf(of(), of(), 50), { us: NaN, atLeast: false });
});

Deno.test("a percentile whose rank lies among the unanswered is a lower bound", () => {
  const answered = of([100, 70]);
  const censored = of([1000, 30]);
  assertEquals(percentileOf(answered, censored, 70), { us: 100, atLeast: false });
  assertEquals(percentileOf(answered, censored, 71), { us: 1000, atLeast: true });
  assertEquals(percentileOf(answered, censored, 99), { us: 1000, atLeast: true });
});

Deno.test("a percentile above a wait that was cut short is a lower bound: that request may have waited longer than any", () => {
  const answered = of([100, 50], [900, 40]);
  const censored = of([10, 10]);
  assertEquals(percentileOf(answered, censored, 5), { us: 10, atLeast: true });
  assertEquals(percentileOf(answered, censored, 60), { us: 100, atLeast: true });
  assertEquals(percentileOf(of([100, 50], [900, 40]), of([950, 10]), 90), { us: 900, atLeast: false });
});

Deno.test("only unanswered requests give bounds, too", () => {
  assertEquals(percentileOf(of(), of([500, 3]), 50), { us: 500, atLeast: true });
});
