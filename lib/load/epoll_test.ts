/** Against a real server: experiments/epoll.ts. */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { type EngineName, LoadGenerator, sharesOf } from "./generator.ts";
import { type Server, startServer } from "../server/server.ts";
import { ENGINES } from "../testing/engines.ts";

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
    const windows = await generator.closed({ seconds: 0.4, warmupSeconds: 0.1, slices: 2 });
    const open = await generator.open({
      rate: 500,
      seconds: 0.4,
      warmupSeconds: 0.1,
      heavyShare: 0.1,
      heavyPath: "/work/50",
    });
    const slow = await generator.slow({ slow: 10, rate: 100, seconds: 0.3 });
    const churn = await generator.churn({ concurrency: 8, seconds: 0.3, warmupSeconds: 0.1 });
    await generator.drop();
    for (const window of [...windows, open, slow, churn]) {
      assertEquals([window.errors, window.lost, window.unanswered, window.stopped_early], [{}, 0, 0, null]);
      assert(window.requests > 0 && window.client_cpu_us > 0 && window.server_cpu_us! > 0);
      const { steal, foreign } = sharesOf([window]);
      assert(steal! >= 0 && foreign! >= 0);
    }
    assertEquals([open.requests, open.heavy!.count, slow.requests], [200, 20, 30]);
    assert(open.heavy!.min >= 50);
    const { connections, sent, answered, lost, errors } = await generator.totals();
    const { stopped } = await server.stop();
    assertEquals([sent, answered, connections], [stopped!.served, stopped!.served, stopped!.accepted]);
    assertEquals({ lost, errors, server: stopped!.errors }, { lost: 0, errors: {}, server: {} });
  });
}

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
  assertEquals(stopped, { event: "stopped", accepted: 3010, served: 3010, errors: {} });
  const { asked, answered, closed, lost } = await generator.ask();
  assertEquals({ asked, answered, closed, lost }, { asked: 10, answered: 0, closed: 10, lost: 0 });
  const totals = await generator.totals();
  assertEquals([totals.closed, totals.lost, totals.errors], [10, 0, {}]);
});

/**
 * A server that stands still for S seconds in a run of T makes all wait that was due meanwhile: the first for S, the last not
 * at all. So percentile p of the latency is S − (1 − p) T, as long as p is above 1 − S/T. That is what coordinated omission
 * hides: of the raw latencies, only one for each connection is long.
 */
async function stopAndGo(engine: EngineName, stopMs: number, seconds: number) {
  await using server = await epollServer();
  const { promise: amid, resolve } = Promise.withResolvers<void>();
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
    engine,
    onProgress: ({ phase, seconds }) => phase === "open" && seconds > 1 && resolve(),
  });
  await generator.connect(10);
  const running = generator.open({ rate: 1000, seconds, warmupSeconds: 0 });
  await amid;
  const startMs = performance.now();
  Deno.kill(server.pid, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, stopMs));
  Deno.kill(server.pid, "SIGCONT");
  const stoppedS = (performance.now() - startMs) / 1000;
  return { window: await running, expectedS: (percent: number) => stoppedS - (1 - percent / 100) * seconds };
}

for (const engine of ENGINES) {
  Deno.test(`a server that stops for half a second delays what was due in it (${engine})`, { ignore }, async () => {
    const { window, expectedS } = await stopAndGo(engine, 500, 5);
    assertEquals([window.requests, window.scheduled, window.unanswered, window.lost], [5000, 5000, 0, 0]);
    for (const percent of [95, 97, 99]) {
      const foundS = window.histogram.percentile(percent) / 1e6;
      const expected = expectedS(percent);
      const rawS = window.raw!.percentile(percent) / 1e6;
      assert(Math.abs(foundS - expected) < 0.15, `p${percent}: ${foundS} s, expected ${expected} s`); // a busy host adds some
      assert(rawS < expected / 2, `p${percent} raw: ${rawS} s`);
    }
    assert(window.raw!.max >= 450_000); // the one on each connection that was under way
  });
}
