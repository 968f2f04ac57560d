import { assertEquals } from "@std/assert";
import { isWarm, wrongIn } from "./side.ts";

const LONG_SECONDS = 1000;

Deno.test("costs that fall or rise have not settled, however many there are", () => {
  const falling = Array.from({ length: 30 }, (_, i) => 100 * 0.9 ** i);
  assertEquals(isWarm(falling, LONG_SECONDS), false);
  assertEquals(isWarm(falling.toReversed(), LONG_SECONDS), false);
  assertEquals(isWarm([5, 5, 9], LONG_SECONDS), false);
});

Deno.test("costs have settled once three in a row lie within a tenth, whatever was before", () => {
  assertEquals(isWarm([100, 40, 10, 10.9, 10.4], LONG_SECONDS), true);
  assertEquals(isWarm([100, 40, 10, 11.1, 10.4], LONG_SECONDS), false);
  assertEquals(isWarm([10, 10, 10, 40], LONG_SECONDS), false);
});

Deno.test("fewer than three alike costs are not enough", () => {
  for (const costs of [[], [10], [10, 10]]) assertEquals(isWarm(costs, LONG_SECONDS), false);
  assertEquals(isWarm([10, 10, 10], LONG_SECONDS), true);
});

Deno.test("after its time a warm-up is over although nothing has settled, and not before", () => {
  const falling = (length: number) => Array.from({ length }, (_, i) => 100 * 0.5 ** i);
  assertEquals(isWarm(falling(19), 10), false); // stretches of half a second
  assertEquals(isWarm(falling(20), 10), true);
  assertEquals(isWarm(falling(1), 0.5), true);
});

const GOOD = {
  ...{ seconds: 0.5003, requests: 900, lost: 0, dropped: 0, unanswered: 0 },
  ...{ errors: {}, scheduled: null, stopped_early: null },
};

Deno.test("a slice in which all was answered is not wrong, and one that lost something says what, without zeros", () => {
  assertEquals(wrongIn(GOOD), null);
  assertEquals(wrongIn({ ...GOOD, stopped_early: "It ended early." }), null);
  const wrong = (change: Partial<typeof GOOD>) => wrongIn({ ...GOOD, ...change });
  assertEquals(wrong({ lost: 1, unanswered: 2, errors: { ECONNRESET: 1 } }), {
    what: "in a slice of 0.5 s 900 answers, 1 connection lost, 2 requests unanswered, 1 ECONNRESET",
    ended: "crashed",
  });
  assertEquals(wrong({ dropped: 3 }), {
    what: "in a slice of 0.5 s 900 answers, 3 connections with an answer that cannot be followed",
    ended: "crashed",
  });
  assertEquals(wrong({ seconds: 0.12503, requests: 0, unanswered: 10 }), {
    what: "no request was answered in a slice of 0.125 s: 10 requests unanswered",
    ended: "crashed",
  });
});

Deno.test("a slice without an answer in which nothing was lost is not the fault of the server", () => {
  assertEquals(wrongIn({ ...GOOD, requests: 0 }), {
    what: "no request was answered in a slice of 0.5 s, and no connection was lost: " +
      "an answer takes longer, or others use the cores",
    ended: "limited",
  });
  assertEquals(wrongIn({ ...GOOD, requests: 0, scheduled: 0 }), {
    what: "no request was due in a slice of 0.5 s: the rate is too low",
    ended: "limited",
  });
});
