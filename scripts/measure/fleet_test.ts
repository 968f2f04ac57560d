/** Load from several agents: what they count, and what they refuse. */
import { assert, assertEquals, assertGreater, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readBroker } from "../../lib/fleet/address.ts";
import { connectBroker } from "../../lib/fleet/broker.ts";
import { Fleet } from "../../lib/fleet/coordinator.ts";
import { Unavailable } from "../../lib/cli/errors.ts";
import { LoadLost } from "../../lib/load/generator.ts";
import { loadDigest } from "../../lib/results/lab.ts";
import { readProc } from "../../lib/sampling/procfs.ts";
import { startServer } from "../../lib/server/server.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { loadOf, measureArgs, startAgent, urlOf } from "../../lib/testing/fleet.ts";
import { filesIn, project, RunningTask, runTask } from "../../lib/testing/task.ts";
import { FakeServer, HELLO } from "../../lib/testing/fake_server.ts";

const ignore = !HAS_BROKER || Deno.build.os !== "linux";
/** So long agents that are there may take to answer; where one is missing, the test takes as long. */
const WAIT_S = 5;

const epollServer = () =>
  startServer({
    command: Deno.execPath(),
    args: ["run", "--allow-ffi", fileURLToPath(new URL("../../experiments/epoll.ts", import.meta.url)), "--port", "0"],
  });

async function gather(
  broker: { port: number },
  port: number,
  agents: number,
  waitSeconds = 60,
  graceMs = 30_000,
): Promise<Fleet> {
  const address = readBroker("fleet", urlOf(broker), {});
  return await Fleet.gather(await connectBroker(address, "test", false), {
    broker: address.display,
    agents,
    target: { host: "127.0.0.1", addresses: ["127.0.0.1"], port },
    digest: await loadDigest(),
    signal: new AbortController().signal,
    waitSeconds,
    graceMs,
  });
}

/** Whether a process is one of a load generator. */
const isLoad = (pid: string) => readProc(`/proc/${pid}/cmdline`).includes("lib/load/main.ts");

Deno.test("what two agents with three processes got answered is what the server counted", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = await epollServer();
  await using _one = await startAgent(broker, dir.path, "one", "--processes", "2");
  await using _two = await startAgent(broker, dir.path, "two");
  await using fleet = await gather(broker, server.port, 2);
  assertMatch(fleet.describe(), /2 agents \(.*\) with 3 load processes, clocks within \d+\.\d+ ms\.$/);
  const target = { host: "127.0.0.1", port: server.port };
  await using generator = await fleet.start(target, { serverPid: server.pid });
  assertEquals((await generator.connect(50)).connected, 50);
  assertEquals((await generator.ask({ window: 3 })).answered, 50);
  const closed = await generator.closed({ seconds: 0.5, warmupSeconds: 0.1 });
  const open = await generator.open({ rate: 600, seconds: 0.5, warmupSeconds: 0.1 });
  const slow = await generator.slow({ slow: 9, rate: 100, seconds: 0.3 });
  const churn = await generator.churn({ concurrency: 8, seconds: 0.3, warmupSeconds: 0.1 });
  for (const window of [closed, open, slow, churn]) {
    const { errors, lost, unanswered, stopped_early, client_processes } = window;
    assertEquals({ errors, lost, unanswered, stopped_early, client_processes }, {
      errors: {},
      lost: 0,
      unanswered: 0,
      stopped_early: null,
      client_processes: 3,
    });
    assertEquals(window.requests, window.histogram.count);
    assert(window.client_cpu_us > 0 && window.server_cpu_us! > 0);
  }
  assertEquals([open.requests, open.raw!.count, open.lateness!.count, open.scheduled], [300, 300, 300, 300]);
  await generator.drop();
  const { connections, answered, lost, errors } = await generator.totals();
  const { stopped } = await server.stop();
  assertEquals([answered, connections], [stopped!.served, stopped!.accepted]);
  assertEquals({ lost, errors, server: stopped!.errors }, { lost: 0, errors: {}, server: {} });
});

Deno.test("agents ask for the path that the coordinator names", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using _one = await startAgent(broker, dir.path, "one");
  await using fleet = await gather(broker, server.port, 1);
  await using generator = await fleet.start({ host: "127.0.0.1", port: server.port }, { path: "/healthz" });
  await generator.connect(2);
  await generator.ask();
  await generator.closed({ seconds: 0.1, warmupSeconds: 0 });
  assertEquals([...new Set(server.paths)], ["/healthz"]);
});

Deno.test("measure stores a run of two agents, with a command that repeats it", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = await epollServer();
  await using one = await startAgent(broker, dir.path, "one", "--once");
  await using two = await startAgent(broker, dir.path, "two", "--once");
  const size = ["--connections", "20", "--seconds", "0.5"];
  const { code, stderr } = await runTask("measure", [...measureArgs(broker, server, 2), ...size], dir.path);
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /^Run [0-9a-f]{16}: 2 agents \(/m);
  const stored = filesIn(join(dir.path, "results"), ".json").map((path) => JSON.parse(Deno.readTextFileSync(path)));
  assertEquals(stored.map(({ scenario }) => scenario).sort(), ["hold", "rate", "throughput"]);
  for (const { scenario, ended, reason, parameters, metrics, command } of stored) {
    // A busy machine may miss the rate.
    assert(ended === "ok" || scenario === "rate" && ended === "limited", `${scenario}: ${reason}`);
    assertEquals([parameters.agents, metrics.connections], [2, 20]);
    assertGreater(metrics.answered, 0);
    assertStringIncludes(command, `--agents 2 --fleet ${urlOf(broker)} --url http://127.0.0.1:${server.port}`);
  }
  for (const agent of [one, two]) {
    const { code, stderr } = await agent.end();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /over, its coordinator is done\. No load is left\.$/m);
  }
});

Deno.test("too few agents, and none at all, are one sentence each and code 69", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await assertRejects(() => gather(broker, server.port, 1, 1), Unavailable, "No agent answers at nats://127.0.0.1:");
  await using _one = await startAgent(broker, dir.path, "one");
  const { code, stdout, stderr } = await runTask(
    "measure",
    [...measureArgs(broker, server, 2), "--wait", String(WAIT_S)],
    dir.path,
  );
  assertEquals([code, stdout], [69, ""], stderr);
  const where = `can take part at ${urlOf(broker)}: the others have not answered.\n`;
  assertEquals(stderr, `Only 1 of 2 agents ${where}`);
  await using fleet = await gather(broker, server.port, 1); // the one agent was released
  assertEquals(fleet.lost, null);
});

Deno.test("a target outside of the networks of an agent is refused", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using _one = await startAgent(broker, dir.path, "one", "--allow-target", "10.9.0.0/16");
  const args = ["--name", "mine", "--url", "http://10.8.0.1:80", "--fleet", urlOf(broker), "--wait", String(WAIT_S)];
  const { code, stdout, stderr } = await runTask("measure", args, dir.path);
  assertEquals([code, stdout], [69, ""], stderr);
  assertStringIncludes(stderr, "one: it may not load 10.8.0.1: start it with --allow-target 10.8.0.1.\n");
});

Deno.test("a second run at the same time is refused, and the first one goes on", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using _one = await startAgent(broker, dir.path, "one");
  await using fleet = await gather(broker, server.port, 1);
  await using generator = await fleet.start({ host: "127.0.0.1", port: server.port }, {});
  await generator.connect(5);
  const error = await assertRejects(() => gather(broker, server.port, 1, WAIT_S), Unavailable);
  assertStringIncludes(error.message, "Only 0 of 1 agent can take part");
  assertStringIncludes(error.message, "one: it works for another run.");
  assertEquals((await generator.ask()).answered, 5);
});

Deno.test("an agent keeps its bounds, whatever a coordinator asks for", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  const bounds = ["--max-connections", "30", "--max-rate", "500", "--max-seconds", "40"];
  await using _one = await startAgent(broker, dir.path, "one", ...bounds);
  const args = [...measureArgs(broker, server, 1), "--no-save"];
  const run = (...more: string[]) => runTask("measure", [...args, ...more], dir.path);
  const held = await run("--scenario", "hold", "--connections", "50", "--seconds", "0");
  assertEquals(held.code, 0, held.stderr);
  assertStringIncludes(held.stdout, "stopped at 30 of 50: the agents make 30 at the most");
  const fast = await run("--scenario", "rate", "--rate", "600");
  assertEquals(fast.code, 2, fast.stdout);
  assertStringIncludes(fast.stderr, "--rate 600: these agents send up to 500 requests/s (--max-rate).");
  const closed = await run("--scenario", "throughput");
  assertEquals(closed.code, 2, closed.stdout);
  assertStringIncludes(
    closed.stderr.replaceAll("\n", " "),
    "--scenario throughput: it has no rate, and these agents bound theirs (--max-rate).",
  );
  const long = await run("--scenario", "rate", "--seconds", "50");
  assertEquals(long.code, 2, long.stdout);
  assertStringIncludes(long.stderr, "This takes 51 s at least, and these agents work for up to 40 s (--max-seconds)");
  await using fleet = await gather(broker, server.port, 1);
  await using generator = await fleet.start({ host: "127.0.0.1", port: server.port }, {});
  await assertRejects(() => generator.connect(31), Error, "it makes up to 30 connections (--max-connections)");
  await generator.connect(10);
  await assertRejects(
    () => generator.open({ rate: 501, seconds: 1 }),
    Error,
    "it sends up to 500 requests/s (--max-rate)",
  );
  await assertRejects(
    () => generator.open({ rate: 10, seconds: 60, warmupSeconds: 0 }),
    Error,
    "it works for up to 40 s",
  );
  await assertRejects(() => generator.closed({ seconds: 1 }), Error, "and a closed loop has no rate");
  assertEquals((await generator.ask()).answered, 10);
});

Deno.test("a fleet holds as many connections as it says, to the last one, and no more", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using _one = await startAgent(broker, dir.path, "one", "--processes", "4", "--max-connections", "30");
  await using fleet = await gather(broker, server.port, 1);
  assertEquals(fleet.connections, 30);
  await using generator = await fleet.start({ host: "127.0.0.1", port: server.port }, {});
  assertEquals((await generator.connect(1)).connected, 1);
  assertEquals((await generator.connect(29)).connected, 29);
  await assertRejects(() => generator.connect(1), Error, "it makes up to 30 connections (--max-connections)");
  assertEquals((await generator.ask()).answered, 30);
});

Deno.test(
  "a usual run of agents with a rate of their own leaves out what has no rate, and says so",
  { ignore },
  async () => {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using _one = await startAgent(broker, dir.path, "one", "--max-rate", "50", "--processes", "2");
    const size = ["--connections", "1", "--seconds", "0.5"];
    const { code, stderr } = await runTask("measure", [...measureArgs(broker, server, 1), ...size], dir.path);
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /^throughput is left out: a closed loop has no rate, .*\(--max-rate\)\.$/m);
    assertMatch(stderr, /^rate: 50 requests\/s in place of 1 000 \(--max-rate\)\.$/m);
    const stored = filesIn(dir.path, ".json").map((path) => JSON.parse(Deno.readTextFileSync(path)));
    const found = stored.map(({ scenario, parameters }) => [scenario, parameters.rate_per_s ?? null]).sort();
    assertEquals(found, [["hold", null], ["rate", 50]]); // whether a busy machine reaches the rate is another matter
  },
);

Deno.test("an agent offers no more connections than it has descriptors for", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  const few = ["prlimit", "--nofile=200:200"];
  await using agent = new RunningTask("agent", ["--nats", urlOf(broker), "--processes", "2"], dir.path, {}, few);
  await agent.hear(/ up to 272 connections \(200 descriptors per process\), /);
  await using fleet = await gather(broker, 80, 1);
  assertEquals(fleet.connections, 2 * (200 - 64));
});

Deno.test(
  "an agent that is to end after one run is there for the next if its first one never began",
  { ignore },
  async () => {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using one = await startAgent(broker, dir.path, "one", "--once");
    const error = await assertRejects(() => gather(broker, server.port, 2, WAIT_S), Unavailable);
    assertStringIncludes(error.message, "Only 1 of 2 agents");
    {
      await using fleet = await gather(broker, server.port, 1);
      await using generator = await fleet.start({ host: "127.0.0.1", port: server.port }, {});
      assertEquals((await generator.connect(2)).connected, 2);
    }
    assertEquals((await one.end()).code, 0);
  },
);

Deno.test("a load process that hangs is given up, and its agent ends it", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one");
  {
    await using fleet = await gather(broker, server.port, 1, 60, 300);
    await using generator = await fleet.start({ host: "127.0.0.1", port: server.port }, {});
    await generator.connect(3);
    for (const pid of one.pids().filter(isLoad)) Deno.kill(Number(pid), "SIGSTOP");
    const error = await assertRejects(() => generator.ask({ timeoutMs: 200 }), LoadLost);
    assertEquals(error.message, "load process 1 of agent one hangs: no progress in ask for 0.5 s");
  }
  await one.hear(/over, its coordinator is done\. No load is left\./);
  assertEquals(loadOf(one), []);
});

Deno.test("a target may have an IPv6 address", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO), "::1");
  await using _one = await startAgent(broker, dir.path, "one");
  const target = ["--name", "mine", "--url", `http://[::1]:${server.port}`, "--fleet", urlOf(broker)];
  const size = ["--scenario", "hold", "--connections", "4", "--seconds", "0"];
  const { code, stderr } = await runTask("measure", [...target, ...size], dir.path);
  assertEquals(code, 0, stderr);
  const [stored] = filesIn(dir.path, ".json").map((path) => JSON.parse(Deno.readTextFileSync(path)));
  assertEquals([stored.metrics.answered, stored.ended], [4, "ok"]);
  assertStringIncludes(stored.command, `--url 'http://[::1]:${server.port}'`);
});
