/** Against a real server: experiments/epoll.ts. */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { type EngineName, LoadGenerator, sharesOf, type Slice } from "./generator.ts";
import { type Server, startServer } from "../server/server.ts";
import { ENGINES, withAnswers } from "../testing/engines.ts";

const CONNECTIONS = 10;
const ignore = Deno.build.os !== "linux";

const epollServer = (): Promise<Server> =>
  startServer({
    command: Deno.execPath(),
    args: ["run", "--allow-ffi", fileURLToPath(new URL("../../experiments/epoll.ts", import.meta.url)), "--port", "0"],
  });

for (const engine of ENGINES) {
  Deno.test(`totals are the server's own to the last one, whatever was done (${engine})`, { ignore }, async () => {
    await using server = await epollServer();
    const target = { host: "localhost", port: server.port };
    await using generator = await LoadGenerator.start(target, { engine, serverPid: server.pid });
    assertEquals((await generator.connect(50)).connected, 50);
    assertEquals((await generator.ask()).answered, 50);
    const closed = await withAnswers(() => generator.closed({ seconds: 0.4, warmupSeconds: 0.1 }));
    const open = await generator.open({
      rate: 500,
      seconds: 0.4,
      warmupSeconds: 0.1,
      heavyShare: 0.1,
      heavyPath: "/work/50",
    });
    const slow = await generator.slow({ slow: 10, rate: 100, seconds: 0.3 });
    const churn = await withAnswers(() => generator.churn({ concurrency: 8, seconds: 0.3, warmupSeconds: 0.1 }));
    await generator.drop();
    for (const window of [closed, open, slow, churn]) {
      assertEquals([window.errors, window.lost, window.unanswered, window.stopped_early], [{}, 0, 0, null]);
      assert(window.requests > 0 && window.client_cpu_us > 0 && window.server_cpu_us! > 0);
      const { steal, foreign } = sharesOf([window]);
      assert(steal! >= 0 && foreign! >= 0);
    }
    assertEquals([open.requests, open.histogram.count, slow.requests], [200, 180, 30]); // the heavy ones stand apart
    const { connections, answered, lost, errors } = await generator.totals();
    const { stopped } = await server.stop();
    assertEquals([answered, connections], [stopped!.served, stopped!.accepted]);
    assertEquals({ lost, errors, server: stopped!.errors }, { lost: 0, errors: {}, server: {} });
  });
}

Deno.test("a window that lasts carries its half seconds, and they add up to it, in a closed loop as in an open one", {
  ignore,
}, async () => {
  await using server = await epollServer();
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
    serverPid: server.pid,
  });
  await generator.connect(2);
  const closed = await generator.closed({ seconds: 2, warmupSeconds: 0.1 });
  const open = await generator.open({ rate: 500, seconds: 2, warmupSeconds: 0 });
  for (const { slices, own_cpu, host_cpu } of [closed, open]) {
    assert(slices.length > 1, `${slices.length} slices`);
    const sum = (of: (slice: Slice) => number) => slices.reduce((total, slice) => total + of(slice), 0);
    assertEquals(Math.round(sum((slice) => slice.own_cpu.client_us)), Math.round(own_cpu.client_us));
    assertEquals(Math.round(sum((slice) => slice.own_cpu.server_us!)), Math.round(own_cpu.server_us!));
    assertEquals(sum((slice) => slice.host_cpu!.total_us), host_cpu!.total_us);
  }
});

Deno.test("a thousand connections are held, closed, and closed by the server, without an error on either side", {
  ignore,
}, async () => {
  await using server = await epollServer();
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  for (let round = 0; round < 3; round++) {
    assertEquals((await generator.connect(1000)).errors, {});
    const { answered, lost } = await generator.ask();
    assertEquals({ answered, lost }, { answered: 1000, lost: 0 });
    await generator.drop();
  }
  await generator.connect(10);
  await generator.ask(); // now the server has them: they wait in the kernel no more
  const { stopped } = await server.stop();
  assertEquals([stopped!.accepted, stopped!.served, stopped!.errors], [3010, 3010, {}]);
  const { asked, answered, closed, lost } = await generator.ask();
  assertEquals({ asked, answered, closed, lost }, { asked: 10, answered: 0, closed: 10, lost: 0 });
  const totals = await generator.totals();
  assertEquals([totals.closed, totals.lost, totals.errors], [10, 0, {}]);
});

/**
 * A server that stops for S seconds in a run of T delays all that is due meanwhile: the first request by S, the last one not
 * at all. So percentile p of the latency is at least S − (1 − p) T. That is what coordinated omission hides: of the raw
 * latencies, at most one for each connection is long. A busy host only adds to what is found.
 */
async function stopAndGo(engine: EngineName, stopMs: number, load: { rate: number; seconds: number }) {
  await using server = await epollServer();
  const { promise: amid, resolve } = Promise.withResolvers<void>();
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
    engine,
    onProgress: ({ phase, seconds }) => phase === "open" && seconds > 1 && resolve(),
  });
  await generator.connect(CONNECTIONS);
  const openedMs = performance.now();
  const running = generator.open({ ...load, warmupSeconds: 0 });
  await amid;
  Deno.kill(server.pid, "SIGSTOP");
  const stoppedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, stopMs));
  const stoppedS = (performance.now() - stoppedMs) / 1000;
  Deno.kill(server.pid, "SIGCONT");
  const window = await running;
  return { window, stoppedS, elapsedS: (performance.now() - openedMs) / 1000 };
}

for (const engine of ENGINES) {
  Deno.test(`a server that stops for half a second delays what was due in it (${engine})`, { ignore }, async () => {
    const rate = 1000;
    const seconds = 5;
    const { window, stoppedS, elapsedS } = await stopAndGo(engine, 500, { rate, seconds });
    assertEquals([window.requests, window.scheduled, window.unanswered, window.lost], [5000, 5000, 0, 0]);
    const raw = window.raw!;
    for (const percent of [95, 97, 99]) {
      const found = window.histogram.percentile(percent) / 1e6;
      const least = stoppedS - (1 - percent / 100) * seconds - 2 / rate; // ranks are whole requests
      assert(found >= 0.999 * least, `p${percent}: ${found} s, expected ${least} s`);
      assert(raw.percentile(percent) <= window.histogram.percentile(percent));
    }
    assert(
      window.histogram.percentile(100) <= elapsedS * 1.001e6,
      `${window.histogram.percentile(100)} µs of ${elapsedS} s`,
    );
    // A connection waits for one request at a time, so all raw latencies fit into the time of all connections.
    const rawS = raw.mean * raw.count / 1e6;
    assert(rawS <= 1.001 * CONNECTIONS * elapsedS, `${rawS} s in ${elapsedS} s`);
    const delayedS = window.histogram.mean * window.histogram.count / 1e6;
    assert(delayedS >= 0.99 * rate * stoppedS ** 2 / 2, `${delayedS} s`);
  });
}
