import { assert, assertEquals } from "@std/assert";
import { PATIENCE_MS, until } from "./testing/client.ts";
import { testEngines } from "./testing/engines.ts";
import { FakeServer, HELLO } from "./testing/fake_server.ts";

testEngines("a stall of 300 ms delays all that was due meanwhile, but only one request sees it raw", async (start) => {
  let stalls = 1;
  await using server = new FakeServer(async ({ write }) => {
    if (stalls-- > 0) await new Promise((resolve) => setTimeout(resolve, 300));
    await write(HELLO);
  });
  await using generator = await start(server.port);
  await generator.connect(1);
  const window = await generator.open({ rate: 100, seconds: 1, warmupSeconds: 0 });
  assertEquals([window.scheduled, window.requests, window.unanswered], [100, 100, 0]);
  assertEquals([window.histogram.count, window.raw!.count, window.heavy], [100, 100, null]);
  // 30 requests were due in the stall, one each 10 ms: the eleventh longest wait is at least 300 − 10 × 10 ms.
  assert(window.histogram.percentile(90) >= 195_000, `${window.histogram.percentile(90)}`);
  assert(window.raw!.percentile(90) < window.histogram.percentile(90) / 2, `${window.raw!.percentile(90)}`);
  assert(window.raw!.max >= 295_000);
  assert(window.late_sends < 20, `${window.late_sends}`); // requests waited for the server, and that is not the generator's fault
});

testEngines("a stall of the generator itself is told as late sends", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const { promise: running, resolve } = Promise.withResolvers<void>();
  await using generator = await start(server.port, { onProgress: () => resolve() });
  await generator.connect(5);
  const window = generator.open({ rate: 1000, seconds: 1.5, warmupSeconds: 0 });
  await running;
  Deno.kill(generator.pid, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 200));
  Deno.kill(generator.pid, "SIGCONT");
  const { late_sends, requests, histogram, raw } = await window;
  assertEquals(requests, 1500);
  assert(late_sends >= 190, `${late_sends}`);
  assert(histogram.max >= 195_000 && raw!.max < histogram.max);
});

testEngines("an open loop goes on with the connections that are left", async (start) => {
  let closed = false;
  await using server = new FakeServer(async (client, number) => {
    await client.write(HELLO);
    if (number !== 2 || closed) return;
    closed = true;
    server.hangUp(client);
  });
  await using generator = await start(server.port);
  await generator.connect(3);
  const { requests, scheduled, lost, connections, unanswered, stopped_early } = await generator.open({
    rate: 100,
    seconds: 0.5,
    warmupSeconds: 0,
  });
  assertEquals({ requests, scheduled, unanswered }, { requests: 50, scheduled: 50, unanswered: 0 });
  assertEquals({ lost, connections, stopped_early }, { lost: 1, connections: 2, stopped_early: null });
});

testEngines("requests that could not be sent count as unanswered when all connections are lost", async (start) => {
  await using server = new FakeServer(async (client) => {
    await client.write(HELLO);
    server.hangUp(client);
  });
  await using generator = await start(server.port);
  await generator.connect(2);
  const window = await generator.open({ rate: 20, seconds: 1, warmupSeconds: 0 });
  assertEquals([window.requests, window.lost, window.unanswered, window.connections], [2, 2, 18, 0]);
  assertEquals(window.stopped_early, "All connections were lost.");
});

testEngines("a heavy share is spread evenly and timed apart", async (start) => {
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
  assertEquals([window.histogram.count, window.raw!.count, window.heavy!.count], [71, 71, 29]);
  const heavyAt = server.paths.flatMap((path, at) => path === "/work/9" ? [at] : []);
  assertEquals(server.paths.filter((path) => path === "/").length, 71);
  const gaps = heavyAt.slice(1).map((at, i) => at - heavyAt[i]!);
  assertEquals([Math.min(...gaps), Math.max(...gaps)], [3, 4]);
});

testEngines("slow clients send a byte a second of a head that never ends, and are no loss", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port);
  await generator.connect(2);
  // The bytes leave at 0, ⅓, ⅔ s and so on, to one client after the other: the seventh at 2 s, and the eighth would at 2⅓ s.
  const window = await generator.slow({ slow: 3, rate: 50, seconds: 2.2 });
  assertEquals([window.requests, window.lost, window.connections, window.errors], [110, 0, 2, {}]);
  assertEquals(server.clients.map(({ rest }) => rest).sort(), ["", "", "GE", "GE", "GET"]);
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
