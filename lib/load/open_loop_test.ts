import { assert, assertEquals } from "@std/assert";
import { ask } from "./connect_and_ask.ts";
import { Connections, type Steps } from "./connections.ts";
import { openLoop } from "./open_loop.ts";
import { cutter } from "./window.ts";
import { PATIENCE_MS, until } from "../testing/client.ts";
import { testEngines } from "../testing/engines.ts";
import { FakeServer, HELLO } from "../testing/fake_server.ts";

testEngines("a stall of 300 ms delays all that was due meanwhile, but only one request sees it raw", async (start) => {
  let stalls = 1;
  await using server = new FakeServer(async ({ write }) => {
    if (stalls-- > 0) await new Promise((resolve) => setTimeout(resolve, 300));
    await write(HELLO);
  });
  await using generator = await start(server.port);
  await generator.connect(1);
  const openedMs = performance.now();
  const window = await generator.open({ rate: 100, seconds: 1, warmupSeconds: 0 });
  const elapsedUs = (performance.now() - openedMs) * 1000;
  assertEquals([window.scheduled, window.requests, window.unanswered], [100, 100, 0]);
  assertEquals([window.histogram.count, window.raw!.count], [100, 100]);
  // 30 requests were due in the stall, one each 10 ms: the eleventh longest wait is at least 300 − 10 × 10 ms.
  assert(window.histogram.percentile(90) >= 195_000, `${window.histogram.percentile(90)}`);
  const raw = window.raw!;
  assert(raw.percentile(100) >= 295_000);
  // One connection waits for one request at a time: raw latencies add up to no more than the time, delays do.
  assert(raw.mean * raw.count <= 1.001 * elapsedUs, `${raw.mean * raw.count} of ${elapsedUs} µs`);
  const delayedUs = window.histogram.mean * window.histogram.count;
  assert(delayedUs >= 30 * 295_000 / 2, `${delayedUs} µs`);
});

testEngines("an open loop goes on with the connections that are left", async (start) => {
  let broken = false;
  await using server = new FakeServer(async ({ write }, number) => {
    const breaks = number === 2 && !broken;
    broken ||= breaks;
    await write(breaks ? "SSH-2.0-x\r\n" : HELLO);
  });
  await using generator = await start(server.port);
  await generator.connect(3);
  const { requests, scheduled, dropped, connections, unanswered, stopped_early } = await generator.open({
    rate: 100,
    seconds: 0.5,
    warmupSeconds: 0,
  });
  assertEquals({ requests, scheduled, unanswered }, { requests: 49, scheduled: 50, unanswered: 0 });
  assertEquals({ dropped, connections, stopped_early }, { dropped: 1, connections: 2, stopped_early: null });
});

testEngines("requests that could not be sent count as unanswered when all connections are lost", async (start) => {
  await using server = new FakeServer(({ write }, number) => write(number === 1 ? HELLO : "SSH-2.0-x\r\n"));
  await using generator = await start(server.port);
  await generator.connect(2);
  const window = await generator.open({ rate: 20, seconds: 1, warmupSeconds: 0 });
  assertEquals([window.requests, window.lost, window.dropped, window.connections], [2, 0, 2, 0]);
  assertEquals([window.errors, window.unanswered, window.censored.count], [{ no_http: 2 }, 16, 16]);
  assertEquals(window.stopped_early, "All connections were lost.");
});

testEngines(
  "requests without an answer are censored latencies, and the window ends with its schedule",
  async (start) => {
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    await using server = new FakeServer(async ({ write }) => {
      if (server.paths.length > 50) await over;
      await write(HELLO);
    });
    await using generator = await start(server.port);
    await generator.connect(2);
    const window = await generator.open({ rate: 100, seconds: 1, warmupSeconds: 0 });
    end();
    assertEquals([window.scheduled, window.requests, window.unanswered], [100, 50, 50]);
    assertEquals([window.histogram.count, window.censored.count], [50, 50]);
    assert(window.seconds > 0.9 && window.seconds < 3, `${window.seconds} s`);
    // Answers were waited for until 5 s had passed without one: the request that was due last had waited almost as long.
    assert(
      window.censored.percentile(0) > 4.4e6 && window.censored.percentile(100) > 4.9e6,
      `${window.censored.percentile(0)} ${window.censored.percentile(100)}`,
    );
  },
);

testEngines("a heavy share is spread evenly, and its latencies are left out", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port);
  await generator.connect(1);
  const window = await generator.open({
    rate: 500,
    seconds: 0.2,
    warmupSeconds: 0,
    heavyShare: 0.29,
    heavyPath: "/work/9",
  });
  assertEquals([window.requests, window.histogram.count, window.raw!.count], [100, 71, 71]);
  const heavyAt = server.paths.flatMap((path, at) => path === "/work/9" ? [at] : []);
  assertEquals(server.paths.filter((path) => path === "/").length, 71);
  const gaps = heavyAt.slice(1).map((at, i) => at - heavyAt[i]!);
  assertEquals([Math.min(...gaps), Math.max(...gaps)], [3, 4]);
});

testEngines("slow clients send a byte a second of a head that never ends, and are no loss", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port);
  await generator.connect(2);
  // The bytes are due at 0, ⅓, ⅔ s and so on, from one client after the other: the seventh at 2 s, and the eighth would at
  // 2⅓ s. A busy machine may send fewer, and none out of turn.
  const window = await generator.slow({ slow: 3, rate: 50, seconds: 2.2 });
  assertEquals([window.requests, window.lost, window.connections, window.errors], [110, 0, 2, {}]);
  const heads = server.clients.map(({ rest }) => rest).sort((a, b) => a.length - b.length);
  assertEquals([heads.length, ...heads.slice(0, 2)], [5, "", ""]);
  const sent = heads.slice(2).map((head) => head.length);
  assert(heads.every((head) => "GET".startsWith(head)) && sent[0]! >= 1 && sent[2]! - sent[0]! <= 1, heads.join(","));
  assert(sent[0]! + sent[1]! + sent[2]! <= 7, heads.join(","));
  const { connections, lost } = await generator.totals();
  assertEquals({ connections, lost }, { connections: 5, lost: 0 });
  assertEquals((await generator.ask()).asked, 2);
  await until(() => server.open === 2, PATIENCE_MS, "the end of the slow clients");
});

testEngines("a server that throws slow clients out loses none", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const throwOut = setInterval(() => server.throwOut((rest) => rest !== ""), 50);
  await using generator = await start(server.port);
  await generator.connect(1);
  const { requests, lost } = await generator.slow({ slow: 2, rate: 20, seconds: 1 });
  clearInterval(throwOut);
  assertEquals({ requests, lost }, { requests: 20, lost: 0 });
});

/**
 * Connections to a server that answers each request 100 µs after it was sent, in a time that passes only while a loop waits:
 * so outcomes are exact. In `serverStall` the server answers nothing, and in `ownStall` the generator does not run.
 */
class Simulation extends Connections {
  #timeUs = 0;
  readonly #answers: { id: number; atUs: number }[] = [];
  readonly #encoded = new TextEncoder().encode(HELLO);
  serverStall = { fromUs: Infinity, toUs: Infinity };
  ownStall = { fromUs: Infinity, toUs: Infinity };
  /** When requests were sent. */
  readonly sentAtUs: number[] = [];

  constructor(held: number) {
    super(new Uint8Array(1));
    for (let id = 0; id < held; id++) {
      this.opened(id);
      this.settled(id, "");
      this.hold(id);
    }
  }

  override clockUs(): number {
    return this.#timeUs;
  }

  override open(): number {
    return -1;
  }

  protected override transmit(id: number): string {
    const { fromUs, toUs } = this.serverStall;
    this.sentAtUs.push(this.#timeUs);
    const atUs = this.#timeUs + 100;
    this.#answers.push({ id, atUs: atUs >= fromUs && atUs < toUs ? toUs : atUs });
    return "";
  }

  protected override hangUp(): void {}

  override drive<T>(steps: Steps<T>): T {
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      const nextUs = Math.min(step.value, this.#answers[0]?.atUs ?? Infinity);
      const { fromUs, toUs } = this.ownStall;
      this.#timeUs = this.now = Math.max(this.#timeUs, nextUs >= fromUs && nextUs < toUs ? toUs : nextUs);
      while ((this.#answers[0]?.atUs ?? Infinity) <= this.#timeUs) {
        this.answers.inbox.set(this.#encoded);
        this.received(this.#answers.shift()!.id, this.#encoded.length, false);
      }
    }
  }

  /** `first` and `step`: which of the requests are due for this process. */
  run(rate: number, seconds: number, [first, step] = [0, 1], heavyShare = 0) {
    const part = { startUs: 0, endUs: seconds * 1e6, rate, total: rate * seconds, first, step };
    return this.drive(openLoop(this, cutter(this, () => 0), { ...part, heavyShare, heavyPath: "/" }, []));
  }
}

Deno.test("each process has its share of the heavy requests", () => {
  const heavyOf = (first: number, step: number) => {
    const { requests, histogram } = new Simulation(1).run(1000, 1, [first, step], 0.01);
    return requests - histogram.count;
  };
  assertEquals(heavyOf(0, 1), 10);
  assertEquals([0, 1].map((first) => heavyOf(first, 2)), [5, 5]);
  assertEquals([0, 1, 2, 3].map((first) => heavyOf(first, 4)), [3, 3, 2, 2]);
});

testEngines("of a hundredth the heavy one is the fiftieth: its work is a part of the window", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port);
  await generator.connect(1);
  await generator.open({ rate: 1000, seconds: 0.2, warmupSeconds: 0, heavyShare: 0.01, heavyPath: "/heavy" });
  assertEquals(server.paths.flatMap((path, at) => path === "/heavy" ? [at + 1] : []), [50, 150]);
});

Deno.test("connections are asked at no more than a rate, where there is one", () => {
  const sentBy = (ratePerS: number | undefined, answersAtUs = 0) => {
    const connections = new Simulation(5);
    connections.serverStall = { fromUs: 0, toUs: answersAtUs };
    const options = { onlyNew: false, window: 2, timeoutMs: 10, ...(ratePerS !== undefined && { ratePerS }) };
    const { asked, answered, unanswered } = connections.drive(ask(connections, options));
    return [connections.sentAtUs, asked, answered, unanswered];
  };
  assertEquals(sentBy(undefined), [[0, 0, 100, 100, 200], 5, 5, 0]); // as fast as answers come
  assertEquals(sentBy(2), [[0, 1, 2, 3, 4].map((i) => i * 500_000), 5, 5, 0]); // longer apart than a server may be silent
  // A server that is slow is not asked faster behind that: two are under way until 2 ms.
  assertEquals(sentBy(1000, 2000), [[0, 1000, 2000, 3000, 4000], 5, 5, 0]);
});

Deno.test("a server that stands still for S in a run of T shows S − (1 − p) T at percentile p, and hardly a trace raw", () => {
  const connections = new Simulation(10);
  connections.serverStall = { fromUs: 5e6, toUs: 6e6 };
  const { histogram, raw, late_sends, requests, unanswered } = connections.run(1000, 20);
  assertEquals({ late_sends, requests, unanswered }, { late_sends: 0, requests: 20_000, unanswered: 0 });
  for (const percent of [96, 97, 98, 99, 99.5, 99.9]) {
    const expectedUs = 1e6 - (1 - percent / 100) * 20e6;
    const foundUs = histogram.percentile(percent);
    assert(Math.abs(foundUs - expectedUs) < 15_000, `p${percent}: ${foundUs}, expected ${expectedUs}`);
    assertEquals(raw!.percentile(percent), 100);
  }
  assert(Math.abs(raw!.percentile(100) - 1e6) < 1e4);
});

Deno.test("requests that the generator sends late by its own fault are counted, and wait all the same", () => {
  const connections = new Simulation(10);
  connections.ownStall = { fromUs: 1e6, toUs: 1.2e6 };
  const { histogram, raw, late_sends, lateness, requests } = connections.run(1000, 2);
  assertEquals([requests, raw!.percentile(100) <= 101], [2000, true]);
  assertEquals([lateness!.count, lateness!.percentile(80)], [2000, 0]);
  assert(Math.abs(lateness!.percentile(100) - 200_000) < 1000, `${lateness!.percentile(100)}`);
  assertEquals(late_sends, 201); // due from 1 s to 1.2 s, one each millisecond; those due later find idle connections again
  assert(Math.abs(histogram.percentile(100) - 200_000) < 1000, `${histogram.percentile(100)}`);
});

Deno.test("a request that waits because all connections are busy is not late, but its latency shows it", () => {
  const { late_sends, lateness, requests, drained, histogram, raw, seconds } = new Simulation(1).run(20_000, 1);
  assertEquals([late_sends, lateness!.percentile(100), requests, raw!.percentile(100)], [0, 0, 20_000, 100]);
  assertEquals([seconds, Math.abs(drained - 10_000) <= 2], [1, true]); // it can do 10 000 per second: the rest comes later
  assert(Math.abs(histogram.percentile(100) - 1e6) < 1e4);
});

Deno.test("processes send in turns: each request is due at its own time, and at that of no other process", () => {
  const sent = [0, 1].map((first) => {
    const connections = new Simulation(10);
    const { requests, late_sends } = connections.run(1000, 1, [first, 2]);
    assertEquals([requests, late_sends], [500, 0]);
    return connections.sentAtUs;
  });
  assertEquals(sent[0], Array.from({ length: 500 }, (_, j) => 2000 * j));
  assertEquals(sent[1], Array.from({ length: 500 }, (_, j) => 2000 * j + 1000));
  const odd = new Simulation(10);
  assertEquals(odd.run(1000, 0.005, [2, 3]).scheduled, 1); // of five requests only number 2: number 5 is none of them
  assertEquals(odd.sentAtUs, [2000]);
});
