import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { find } from "../catalogue/catalogue.ts";
import type { FindingId } from "../results/findings.ts";
import { behind, type Frame, latenciesOf, type Wanted, watch, watchTogether } from "./watch.ts";
import { StartError } from "../server/server.ts";
import { Histogram } from "../timing/histogram.ts";
import type { CustomServer } from "../server/subject.ts";
import { FakeServer, HELLO } from "../testing/fake_server.ts";

const ignore = Deno.build.os !== "linux";
const SHORT = /^400 requests\/s were due .* falls behind/;

/** The frames of a load that changes from frame to frame. */
async function frames(of: string | CustomServer, wishes: Wanted[]): Promise<Frame[]> {
  const stop = new AbortController();
  const seen: Frame[] = [];
  for await (
    const frame of watch(
      typeof of === "string" ? find(of) : of,
      () => wishes[seen.length]!,
      stop.signal,
      0.1,
    )
  ) {
    if (seen.push(frame) === wishes.length) stop.abort();
  }
  return seen;
}

Deno.test({
  name: "the load follows what is wanted, up, down, open and closed, and each frame tells what was",
  ignore,
  fn: async () => {
    const wishes = [20, 50, 5].map((connections) => ({ connections, rate_per_s: null }));
    const seen = await frames("epoll", [...wishes, { connections: 5, rate_per_s: 10 }]);
    assertEquals(seen.map(({ connections }) => connections), [20, 50, 5, 5]);
    assert(seen[2]!.requests_per_s > seen[3]!.requests_per_s, "a closed loop asks as fast as it can");
    // One request is due in a tenth of a second, which a busy machine can make longer but not shorter.
    assert(seen[3]!.requests_per_s <= 10, `10/s were asked for: ${seen[3]!.requests_per_s}`);
    for (const frame of seen) {
      assert(frame.p50_us! <= frame.p99_us! && frame.cpu_percent! >= 0 && frame.threads! > 0 && frame.pss_bytes! > 0);
      assertEquals(frame.reason, behind(frame.wanted, frame.requests_per_s, frame.findings));
    }
    assert(seen[3]!.elapsed_s > seen[0]!.elapsed_s);
    assertEquals(seen.map(({ open }) => open), [20, 50, 5, 5], "the server counts the same");
  },
});

Deno.test({
  name: "two servers get the same load in turns, and a frame each",
  ignore,
  fn: async () => {
    const stop = new AbortController();
    const rounds: Frame[][] = [];
    const wanted = { connections: 10, rate_per_s: null };
    for await (const round of watchTogether([find("epoll"), find("deno-serve")], () => wanted, stop.signal, 0.2)) {
      if (rounds.push(round) === 3) stop.abort();
    }
    for (const [one, other] of rounds) {
      assertEquals([one!.connections, other!.connections], [10, 10]);
      assertEquals(one!.elapsed_s, other!.elapsed_s);
      assert(one!.requests_per_s > 0 && other!.requests_per_s > 0);
      assertEquals([one!.open, other!.open], [10, null], "deno-serve shows no counts");
      for (const { latencies } of [one!, other!]) {
        assertEquals(latencies.map(({ us }) => us), latencies.map(({ us }) => us).toSorted((a, b) => a - b));
      }
    }
    assert(rounds[2]![0]!.latencies.length > 0);
  },
});

Deno.test({
  name: "of two servers the one that cannot start is named",
  ignore,
  fn: async () => {
    const own = { name: "mine", family: "custom", host: null, port: 1, pid: null, words: null } as const;
    const wanted = () => ({ connections: 1, rate_per_s: null });
    await assertRejects(
      async () => {
        for await (const _ of watchTogether([find("epoll"), own], wanted, new AbortController().signal)) break;
      },
      StartError,
      "mine: nothing listens on 127.0.0.1:1",
    );
  },
});

Deno.test("a distribution has the steps above which ten requests lie, and bounds where answers are missing", () => {
  const histogramOf = (...values: [us: number, times: number][]) => {
    const histogram = new Histogram();
    for (const [us, times] of values) histogram.record(us, times);
    return histogram;
  };
  const none = new Histogram();
  const seconds = [{ histogram: histogramOf([100, 150]), censored: none }, {
    histogram: histogramOf([900, 50]),
    censored: none,
  }];
  assertEquals(latenciesOf(seconds), [
    { one_in: 2, us: 100, at_least: false },
    { one_in: 4, us: 100, at_least: false },
    { one_in: 10, us: 900, at_least: false },
    { one_in: 20, us: 900, at_least: false },
  ]);
  const missing = latenciesOf([{ histogram: histogramOf([100, 80]), censored: histogramOf([500, 20]) }]);
  assertEquals(missing.map(({ at_least }) => at_least), [false, false, true]);
  assertEquals(latenciesOf([]), []);
});

Deno.test({
  name: "a server that cannot hold all says so in every frame",
  ignore,
  fn: async () => {
    const seen = await frames("blocking", [{ connections: 3, rate_per_s: 10 }, { connections: 3, rate_per_s: null }]);
    for (const { reason } of seen) assert(/2 of 3 connections got no answer/.test(reason!), String(reason));
  },
});

Deno.test({
  name: "where nothing listens there is no frame, and the error says so",
  ignore,
  fn: async () => {
    const own = { name: "mine", family: "custom", host: "127.0.0.1", port: 1, pid: null, words: null } as const;
    await assertRejects(
      async () => {
        for await (const _ of watch(own, () => ({ connections: 1, rate_per_s: null }), new AbortController().signal)) {
          break;
        }
      },
      StartError,
      "nothing listens on 127.0.0.1:1",
    );
  },
});

Deno.test({
  name: "a server that answers fewer requests than are due falls behind, and the frame says so",
  ignore,
  fn: async () => {
    await using slow = new FakeServer(async ({ write }) => {
      await delay(20);
      await write(HELLO);
    });
    const own = { name: "slow", family: "custom", host: "127.0.0.1", port: slow.port, pid: null, words: null } as const;
    const [frame] = await frames(own, [{ connections: 1, rate_per_s: 400 }]); // 50 at the most: one after the other
    assertEquals(frame!.reason, behind(frame!.wanted, frame!.requests_per_s, frame!.findings));
    assertMatch(String(behind(frame!.wanted, frame!.requests_per_s, [])), SHORT); // of whichever finding there is none
  },
});

Deno.test("falling behind is reported for an open loop that lacks a tenth of its answers, unless the generator may be why", () => {
  const due = { connections: 1, rate_per_s: 400 };
  const finding = (id: FindingId) => [{ server: "epoll", id, sentence: "" }];
  assertMatch(behind(due, 50, [])!, /^400 requests\/s were due and 50 were answered: it falls behind/);
  assertEquals([behind(due, 360, []), behind(due, 359, []) === null], [null, false]);
  assertEquals([behind(due, 50, finding("client_bound")), behind(due, 50, finding("late_sends"))], [null, null]);
  assertMatch(behind(due, 50, finding("lost_connections"))!, SHORT);
  assertEquals(behind({ rate_per_s: null }, 0, []), null);
});
