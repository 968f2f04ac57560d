import { assertEquals } from "@std/assert";
import { type Reading, Tally, timesBetween } from "./tally.ts";

const reading = (over: Partial<Reading>): Reading => ({
  beganUs: 0,
  endedUs: 0,
  ownBeganUs: 0,
  ownEndedUs: 0,
  serverUs: null,
  host: null,
  ...over,
});

Deno.test("a window reaches from the end of one reading to the start of the next", () => {
  const from = reading({ beganUs: 1e6, endedUs: 1.5e6, ownBeganUs: 100, ownEndedUs: 150 });
  const to = reading({ beganUs: 3.5e6, endedUs: 3.6e6, ownBeganUs: 1150, ownEndedUs: 1200 });
  const { seconds, client_cpu_us } = timesBetween(from, to);
  assertEquals([seconds, client_cpu_us], [2, 1000]);
});

Deno.test("what neither server nor generator nor the idle loop used is foreign", () => {
  const from = reading({ serverUs: 500, host: { busy: 10_000, steal: 1000, total: 50_000 } });
  const to = reading({ serverUs: 20_500, ownBeganUs: 30_000, host: { busy: 80_000, steal: 6000, total: 150_000 } });
  const { server_cpu_us, server_steal_share, foreign_cpu_share } = timesBetween(from, to);
  assertEquals([server_cpu_us, server_steal_share, foreign_cpu_share], [20_000, 0.05, 0.2]);
});

Deno.test("what the system does not tell is null, and shares stay in 0..1", () => {
  const unknown = timesBetween(reading({}), reading({}));
  assertEquals([unknown.server_cpu_us, unknown.server_steal_share, unknown.foreign_cpu_share], [null, null, null]);
  const host = { busy: 0, steal: 0, total: 0 };
  const noServer = timesBetween(reading({ host }), reading({ host: { busy: 10, steal: 0, total: 20 } }));
  assertEquals([noServer.server_steal_share, noServer.foreign_cpu_share], [0, null]);
  const short = timesBetween(reading({ host, serverUs: 0 }), reading({ host, serverUs: 5 }));
  assertEquals(short.foreign_cpu_share, null); // not one tick has passed
  const later = { busy: 10_000, steal: 0, total: 20_000 };
  assertEquals(
    timesBetween(reading({ host, serverUs: 0 }), reading({ host: later, serverUs: 12_000 })).foreign_cpu_share,
    0,
  );
});

Deno.test("a tally counts over the whole life, and what is new apart", () => {
  const tally = new Tally();
  tally.error("http_500");
  tally.lost++;
  assertEquals(tally.take(), { errors: { http_500: 1 }, lost: 1 });
  tally.error("http_500", 2);
  tally.error("timeout");
  assertEquals(tally.take(), { errors: { http_500: 2, timeout: 1 }, lost: 0 });
  assertEquals(tally.take(), { errors: {}, lost: 0 });
  assertEquals(tally.totals(), {
    connections: 0,
    answered: 0,
    lost: 1,
    errors: { http_500: 3, timeout: 1 },
  });
});
