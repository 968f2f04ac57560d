/** A load generator of several processes is one load generator. */
import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { UsageError } from "../cli/errors.ts";
import { closesAfter, mergeWindows } from "./merge.ts";
import { answersPerS, LoadGenerator, type Progress, startProcesses, type Window } from "./generator.ts";
import { Histogram } from "../timing/histogram.ts";
import { seededRandom } from "../timing/random.ts";
import { countCpus } from "../sampling/proc_parse.ts";
import { readProc } from "../sampling/procfs.ts";
import { startServer } from "../server/server.ts";
import { testEngines, withAnswers } from "../testing/engines.ts";
import { FakeServer, HELLO } from "../testing/fake_server.ts";
import type { WindowPart } from "./types.ts";

const ignore = Deno.build.os !== "linux";

const epollServer = () =>
  startServer({
    command: Deno.execPath(),
    args: ["run", "--allow-ffi", fileURLToPath(new URL("../../experiments/epoll.ts", import.meta.url)), "--port", "0"],
  });

Deno.test("the counts of three processes are the server's own to the last one", { ignore }, async () => {
  await using server = await epollServer();
  const target = { host: "127.0.0.1", port: server.port };
  await using generator = await LoadGenerator.start(target, { processes: 3, serverPid: server.pid });
  assertEquals(new Set(generator.pids).size, 3);
  assertEquals((await generator.connect(50)).connected, 50);
  assertEquals((await generator.ask({ window: 2 })).answered, 50);
  const closed = await withAnswers(() => generator.closed({ seconds: 0.4, warmupSeconds: 0.1 }));
  const heavy = { heavyShare: 0.1, heavyPath: "/work/50" };
  const open = await generator.open({ rate: 500, seconds: 0.4, warmupSeconds: 0.1, ...heavy });
  const slow = await generator.slow({ slow: 10, rate: 100, seconds: 0.3 });
  const churn = await withAnswers(() => generator.churn({ concurrency: 8, seconds: 0.3, warmupSeconds: 0.1 }));
  const all: Window[] = [closed, open, slow, churn];
  for (const window of all) {
    const { errors, lost, dropped, closed, unanswered, stopped_early } = window;
    assertEquals({ errors, lost, dropped, closed, unanswered, stopped_early }, {
      errors: {},
      lost: 0,
      dropped: 0,
      closed: 0,
      unanswered: 0,
      stopped_early: null,
    });
    assertGreater(window.requests, 0);
    if (window !== open) assertEquals(window.requests, window.histogram.count);
  }
  for (const { client_processes, client_cpu_us, server_cpu_us, own_cpu } of all) {
    assertEquals(client_processes, 3);
    assert(client_cpu_us > 0 && server_cpu_us! > 0 && own_cpu.client_us >= 0 && own_cpu.server_us! > 0);
  }
  assertEquals([open.requests, open.histogram.count, open.raw!.count, open.lateness!.count], [200, 180, 180, 200]);
  assertEquals([slow.requests, slow.connections], [30, 50]);
  await generator.drop();
  const { connections, answered, lost, errors } = await generator.totals();
  const { stopped } = await server.stop();
  assertEquals([answered, connections], [stopped!.served, stopped!.accepted]);
  assertEquals({ lost, errors, server: stopped!.errors }, { lost: 0, errors: {}, server: {} });
});

Deno.test(
  "one process and four ask the same server alike at an equal rate, to the last request",
  { ignore },
  async () => {
    await using server = await epollServer();
    const target = { host: "127.0.0.1", port: server.port };
    let [answered, accepted] = [0, 0];
    for (const processes of [1, 4]) {
      await using generator = await LoadGenerator.start(target, { processes, serverPid: server.pid });
      assertEquals((await generator.connect(20)).connected, 20);
      const window = await generator.open({ rate: 200, seconds: 0.5, warmupSeconds: 0.1 });
      const { client_processes, scheduled, requests, histogram, raw, lateness, errors, lost, unanswered } = window;
      assertEquals([client_processes, scheduled, requests, errors, lost, unanswered], [processes, 100, 100, {}, 0, 0]);
      assertEquals([histogram.count, raw!.count, lateness!.count], [100, 100, 100]);
      await generator.drop();
      const totals = await generator.totals();
      assertEquals(totals.answered, 120); // the warm-up included
      answered += totals.answered;
      accepted += totals.connections;
    }
    const { stopped } = await server.stop();
    assertEquals([stopped!.served, stopped!.accepted, stopped!.errors], [answered, accepted, {}]);
  },
);

Deno.test("latencies that four processes have recorded have the histogram of one that recorded all", () => {
  const random = seededRandom(7);
  const one = new Histogram();
  const parts = Array.from({ length: 4 }, () => new Histogram());
  for (let i = 0; i < 4000; i++) {
    const us = Math.ceil(Math.exp(random() * 14)); // 1 µs to a second, evenly on a scale of ratios
    one.record(us);
    parts[i % 4]!.record(us);
  }
  const { histogram } = mergeWindows(parts.map((histogram) => part({ requests: 1000, histogram })));
  for (const percent of [0, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100]) {
    assertEquals(histogram.percentile(percent), one.percentile(percent), String(percent));
  }
  assertEquals([histogram.count, histogram.mean, histogram.toJSON()], [one.count, one.mean, one.toJSON()]);
});

testEngines("connections are shared out evenly, and a process without any takes no part in a loop", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port, { processes: 3 });
  await generator.connect(2);
  assertEquals((await generator.ask({ onlyNew: true })).asked, 2);
  const window = await generator.open({ rate: 100, seconds: 0.2, warmupSeconds: 0 });
  assertEquals([window.client_processes, window.scheduled, window.requests, window.connections], [2, 20, 20, 2]);
  await generator.connect(5);
  assertEquals((await generator.ask({ onlyNew: true })).asked, 5);
  const more = await generator.open({ rate: 100, seconds: 0.2, warmupSeconds: 0 });
  assertEquals([more.client_processes, more.requests, more.connections], [3, 20, 7]);
  await generator.drop();
  assertEquals((await generator.ask()).asked, 0);
});

Deno.test("heavy requests are numbered over all processes", { ignore }, async () => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const target = { host: "127.0.0.1", port: server.port };
  await using generator = await LoadGenerator.start(target, { processes: 2 });
  await generator.connect(4);
  const heavy = { heavyShare: 0.25, heavyPath: "/work/9" };
  const { requests, histogram } = await generator.open({ rate: 50, seconds: 1, warmupSeconds: 0, ...heavy });
  assertEquals([requests, histogram.count], [50, 38]);
  // Every fourth of all requests is heavy, whichever process sends it: if each numbered its own, they would come in pairs.
  const heavyAt = server.paths.flatMap((path, at) => path === "/work/9" ? [at] : []);
  const gaps = heavyAt.slice(1).map((at, i) => at - heavyAt[i]!);
  assert(gaps.every((gap) => gap >= 2 && gap <= 6), gaps.join());
});

testEngines(
  "every command asks for the path of its generator, but for a closed loop with one of its own",
  async (start) => {
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using generator = await start(server.port, { path: "/search?q=1" });
    await generator.connect(2);
    await generator.ask();
    await generator.open({ rate: 50, seconds: 0.1, warmupSeconds: 0.1 });
    await generator.churn({ concurrency: 2, seconds: 0.1, warmupSeconds: 0 });
    await generator.closed({ seconds: 0.1, warmupSeconds: 0 });
    assertEquals([...new Set(server.paths)], ["/search?q=1"]);
    await generator.closed({ seconds: 0.1, warmupSeconds: 0, path: "/work/100" });
    await generator.ask();
    assertEquals([...new Set(server.paths)], ["/search?q=1", "/work/100"]);
    assertEquals(server.paths.slice(-2), ["/search?q=1", "/search?q=1"]);
  },
);

testEngines("a closed loop asks for its path, and the next command for / again", async (start) => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using generator = await start(server.port, { processes: 2 });
  await generator.connect(4);
  await withAnswers(() => generator.closed({ seconds: 0.1, warmupSeconds: 0, path: "/work/100" }));
  assert(server.paths.every((path) => path === "/work/100"), server.paths.slice(0, 4).join());
  const before = server.paths.length;
  await generator.ask();
  assertEquals(server.paths.slice(before), ["/", "/", "/", "/"]);
});

Deno.test("time spent on spinning until a request is due has a figure of its own", { ignore }, async () => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  for (const spinUs of [0, 2000]) {
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, { spinUs });
    await generator.connect(4);
    const window = await generator.open({ rate: 200, seconds: 0.5, warmupSeconds: 0 });
    assertEquals([window.requests, window.lateness!.count], [100, 100]);
    assertEquals(window.client_spin_us > 0, spinUs > 0);
    const closed = await generator.closed({ seconds: 0.2, warmupSeconds: 0 });
    assertEquals([closed.client_spin_us, closed.lateness], [0, null]); // nothing is due there
  }
});

Deno.test("progress is that of all processes", { ignore }, async () => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const seen: Progress[] = [];
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
    processes: 2,
    onProgress: (progress) => seen.push(progress),
  });
  await generator.connect(6);
  await generator.closed({ seconds: 1, warmupSeconds: 0 });
  assertEquals(seen.at(-1)!.connections, 6);
});

Deno.test("if one of the processes cannot start none is left", { ignore }, async () => {
  let message = "";
  try {
    await LoadGenerator.start({ host: "127.0.0.1", port: 1 }, { cpus: [0, 1000] });
  } catch (error) {
    message = (error as Error).message;
  }
  assertStringIncludes(message, "The load generator ended with");
});

const part = (over: Partial<WindowPart>): WindowPart => ({
  seconds: 1,
  from_us: 0,
  to_us: 1e6,
  connections: 1,
  requests: 0,
  drained: 0,
  errors: {},
  lost: 0,
  dropped: 0,
  closed: 0,
  reconnects: 0,
  redials: 0,
  closes: {},
  unanswered: 0,
  histogram: new Histogram(),
  censored: new Histogram(),
  raw: null,
  lateness: null,
  client_cpu_us: 0,
  client_spin_us: 0,
  late_sends: 0,
  scheduled: null,
  stopped_early: null,
  ...over,
});

Deno.test("windows merge without loss", () => {
  const of = (...values: number[]) => {
    const histogram = new Histogram();
    for (const us of values) histogram.record(us);
    return histogram;
  };
  const merged = mergeWindows([
    part({
      requests: 2,
      histogram: of(10, 20),
      errors: { http_503: 1 },
      closes: { 100: 3 },
      client_cpu_us: 5,
      scheduled: 3,
    }),
    part({
      requests: 1,
      histogram: of(30),
      censored: of(500),
      errors: { http_503: 1, closed: 2 },
      closes: { 100: 1 },
      client_cpu_us: 7,
      client_spin_us: 3,
      scheduled: 2,
    }),
  ]);
  assertEquals([merged.requests, merged.histogram.count, merged.histogram.percentile(100), merged.censored.count], [
    3,
    3,
    30,
    1,
  ]);
  assertEquals([merged.errors, merged.closes_after, merged.client_cpu_us], [{ http_503: 2, closed: 2 }, 100, 12]);
  assertEquals([merged.client_processes, merged.client_busy_us], [2, [5, 4]]);
  assertEquals([merged.scheduled, merged.stopped_early, merged.seconds], [5, null, 1]);
});

Deno.test("a process that loses all its connections leaves the time and the rate of the others as they are, and is named", () => {
  const lost = "All connections were lost.";
  const goesOn = part({ requests: 100 });
  const inWarmup = part({ seconds: 0, stopped_early: lost });
  const halfway = part({ seconds: 0.5, requests: 30, stopped_early: lost });
  const some = mergeWindows([goesOn, inWarmup, halfway]);
  assertEquals([some.seconds, answersPerS(some)], [1, 130]);
  assertEquals(some.stopped_early, "2 of 3 load processes stopped early (all connections were lost).");
  const all = mergeWindows([inWarmup, halfway]);
  assertEquals([all.seconds, answersPerS(all), all.stopped_early], [0.5, 60, lost]);
});

Deno.test(
  "the window says that one process has lost its connections, and lasts as long as the other",
  { ignore },
  async () => {
    await using server = new FakeServer(async ({ connection, write }, number) => {
      const breaks = number === 3 && connection === server.clients[0]!.connection;
      await write(breaks ? "SSH-2.0-x\r\n" : HELLO);
    });
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, { processes: 2 });
    await generator.connect(2); // one in each
    const closed = () => generator.closed({ seconds: 0.5, warmupSeconds: 0.2 });
    const { seconds, stopped_early, connections } = await withAnswers(closed);
    assertEquals([connections, stopped_early], [1, "1 of 2 load processes stopped early (all connections were lost)."]);
    assert(seconds > 0.4, `${seconds} s`); // the mean of both would be half of it
    const open = await generator.open({ rate: 100, seconds: 0.2, warmupSeconds: 0 });
    assertEquals([open.client_processes, open.requests, open.stopped_early], [1, 20, null]);
  },
);

Deno.test(
  "a generator that is limited to some of its processes connects again, from these alone",
  { ignore },
  async () => {
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, { processes: 3 });
    for (const processes of [1, 2, 3]) {
      await generator.limitTo(processes);
      assertEquals((await generator.connect(6)).connected, 6);
      const window = await generator.closed({ seconds: 0.1, warmupSeconds: 0 });
      assertEquals([window.client_processes, window.client_busy_us.length, window.connections], [
        processes,
        processes,
        6,
      ]);
    }
    await assertRejects(() => generator.limitTo(4), UsageError, "The load generator has 3 processes, and not 4.");
  },
);

Deno.test("an open loop that begins later than it was asked for is read from its beginning", { ignore }, async () => {
  await using server = new FakeServer(({ write }) => write(HELLO));
  const children = await startProcesses({ host: "127.0.0.1", port: server.port }, { processes: 2 }, () => {});
  const leadUs = 3e6; // as of hosts far away: idle time that would make any share of the cores smaller
  await using generator = LoadGenerator.over(children, { barrier: () => Promise.resolve(leadUs) });
  await generator.connect(2);
  const { requests, host_cpu } = await generator.open({ rate: 100, seconds: 0.4, warmupSeconds: 0 });
  const elapsedUs = host_cpu!.total_us / countCpus(readProc("/proc/stat"));
  assertEquals(requests, 40);
  assert(elapsedUs > 0.3e6 && elapsedUs < leadUs, `${elapsedUs} µs between the readings`);
});

Deno.test("a limit of requests per connection is one that nine closes in ten agree on", () => {
  assertEquals(closesAfter({}), null);
  assertEquals(closesAfter({ 100: 9, 37: 1 }), 100);
  assertEquals(closesAfter({ 100: 8, 37: 2 }), null);
});

const NAMESPACES = !ignore && new Deno.Command("unshare", { args: ["-n", "true"] }).outputSync().success;

Deno.test("where one address has few ports, others of 127/8 are used", { ignore: !NAMESPACES }, async () => {
  const script = `
    import { LoadGenerator } from ${JSON.stringify(new URL("./generator.ts", import.meta.url).href)};
    import { FakeServer, HELLO } from ${JSON.stringify(new URL("../testing/fake_server.ts", import.meta.url).href)};
    await using server = new FakeServer(({ write }) => write(HELLO), "127.0.0.1", 8080);
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: 8080 });
    const { connected, errors } = await generator.connect(350);
    const { answered } = await generator.ask();
    const sources = new Set(server.clients.map(({ from }) => from)).size;
    console.log(JSON.stringify({ connected, errors, answered, sources }));`;
  const url = `data:text/typescript,${encodeURIComponent(script)}`;
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const inside = `ip link set lo up && echo "40000 40099" >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"`;
  const words = [Deno.execPath(), "run", "--quiet", "--allow-all", "--config", config, url];
  const { stdout, stderr } = await new Deno.Command("unshare", { args: ["-n", "sh", "-c", inside, "sh", ...words] })
    .output();
  const text = new TextDecoder().decode(stdout);
  assert(text !== "", new TextDecoder().decode(stderr));
  assertEquals(JSON.parse(text), { connected: 350, errors: {}, answered: 350, sources: 4 });
});
