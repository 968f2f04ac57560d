import { assertEquals } from "@std/assert";
import { Scores, Tally } from "./tally.ts";

const NOTHING = { lost: 0, dropped: 0, closed: 0, reconnects: 0, redials: 0, errors: {}, closes: {} };

Deno.test("a tally counts over the whole life, and what is new apart", () => {
  const tally = new Tally();
  tally.error("http_500");
  tally.lost++;
  assertEquals(tally.take(), { ...NOTHING, lost: 1, errors: { http_500: 1 } });
  tally.error("http_500", 2);
  tally.error("timeout");
  tally.close(100);
  tally.close(100);
  tally.close(7);
  tally.reconnects += 2;
  tally.redials += 64;
  tally.dropped++;
  assertEquals(tally.take(), {
    lost: 0,
    dropped: 1,
    closed: 3,
    reconnects: 2,
    redials: 64,
    errors: { http_500: 2, timeout: 1 },
    closes: { 100: 2, 7: 1 },
  });
  assertEquals(tally.take(), NOTHING);
  assertEquals(tally.totals(), {
    connections: 0,
    answered: 0,
    lost: 1,
    dropped: 1,
    closed: 3,
    reconnects: 2,
    redials: 64,
    errors: { http_500: 3, timeout: 1 },
  });
});

Deno.test("closes after ever new numbers of answers take no more memory", () => {
  const tally = new Tally();
  for (let answers = 1; answers <= 1000; answers++) tally.close(answers);
  const { closed, closes } = tally.take();
  assertEquals([closed, Object.keys(closes).length], [1000, 64]);
});

Deno.test("a request that is given up is censored: it has waited at least so long", () => {
  const scores = new Scores(true);
  scores.giveUp(5000);
  scores.giveUp(7000, true);
  scores.giveUp(-1); // it was due at the very end
  const { unanswered, censored } = scores.take();
  assertEquals([unanswered, censored.count], [3, 2]); // latencies of heavy requests are left out
  assertEquals([censored.percentile(0), censored.percentile(100)], [0, 5003]);
  assertEquals(scores.take().unanswered, 0);
});
