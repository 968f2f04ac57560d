import { assertEquals } from "@std/assert";
import { signInterval } from "../timing/stats.ts";
import { MIN_ROUNDS } from "./conventions.ts";
import { atMost, COMPARING, mixedSeconds, mostSeconds, type Timed, usualSeconds } from "./duration.ts";

const timed = (more: Partial<Timed> = {}): Timed => ({
  scenario: "throughput",
  connections: 100,
  rounds: 10,
  seconds: 0.5,
  slices: 8,
  settleSeconds: 10,
  ...more,
});

Deno.test("a comparison takes the start, the connections, the warm-up and the slices of both servers in each round", () => {
  // 1.5 s to start, 0.05 s for 100 connections, 10 s to warm up, 8 slices of 0.5 s; for two servers, in 10 rounds
  assertEquals(Math.round(mostSeconds(timed(), 1)), 311);
  assertEquals(mostSeconds(timed(), 3), 3 * mostSeconds(timed(), 1));
  assertEquals(mostSeconds(timed({ rounds: 30 }), 1), 3 * mostSeconds(timed(), 1));
  assertEquals(mostSeconds(timed({ seconds: 1 }), 1) - mostSeconds(timed(), 1), 2 * 10 * 8 * 0.5);
  assertEquals(Math.round(mostSeconds(timed({ connections: 10_000 }), 1) - mostSeconds(timed(), 1)), 99);
});

Deno.test("where connections are held and nothing else there is no warm-up and no slice", () => {
  assertEquals(mostSeconds(timed({ scenario: "hold", seconds: 1, connections: 10_000 }), 1), 2 * 10 * (1.5 + 5 + 1));
});

Deno.test("the usual comparison is that of the flags that nobody names", () => {
  const { full, settleSeconds, seconds } = COMPARING;
  const rate = timed({ scenario: "rate", connections: 1000, ...full, settleSeconds, seconds: seconds.rate });
  assertEquals(usualSeconds("rate", 1000), mostSeconds(rate, 1));
  assertEquals(mixedSeconds(2), 4 * 2 * usualSeconds("mixed"));
});

Deno.test("a full comparison has the fewest rounds with an interval: with up to three more it would be wider", () => {
  const spans = (rounds: number) => {
    const { low, high } = signInterval(Array.from({ length: rounds }, (_, i) => i));
    return low === 0 && high === rounds - 1;
  };
  assertEquals([7, 8, 9, 10, 11].map(spans), [true, true, true, true, false]);
  assertEquals([COMPARING.full.rounds, MIN_ROUNDS], [7, 7]);
});

Deno.test("the words round up to whole minutes", () => {
  assertEquals([0, 59, 61, 60 * 1234].map(atMost), [1, 1, 2, "1 234"].map((text) => `at most about ${text} min`));
});
