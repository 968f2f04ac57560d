/**
 * What becomes of a run over a fleet when one of its parts is lost: one sentence, and no load that goes on.
 *
 * deno test -A --lock=scripts/all.lock scripts/measure/fleet_loss_test.ts -- --seed=7
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async";
import { seededRandom } from "../../lib/timing/random.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { PATIENCE_MS, until } from "../../lib/testing/client.ts";
import { FakeServer, HELLO } from "../../lib/testing/fake_server.ts";
import { crash, loadOf, measureArgs, startAgent, urlOf } from "../../lib/testing/fleet.ts";
import { filesIn, project, RunningTask, runTask } from "../../lib/testing/task.ts";

const ignore = !HAS_BROKER || Deno.build.os !== "linux";
/** A load that would go on for long. */
const LONG = ["--scenario", "throughput", "--connections", "20", "--seconds", "60"];
const UNDER_LOAD = /^throughput 20: closed/m;
const STOPPED = "No load is left.";

const stored = (dir: string) => filesIn(dir, ".json").map((path) => JSON.parse(Deno.readTextFileSync(path)));

Deno.test("an agent that is killed makes the run limited, and the other one ends its load", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one");
  await using two = await startAgent(broker, dir.path, "two");
  await using run = new RunningTask("measure", [...measureArgs(broker, server, 2), ...LONG], dir.path);
  await run.hear(UNDER_LOAD);
  assertEquals([loadOf(one).length > 0, loadOf(two).length > 0], [true, true]);
  crash(one);
  const { code, stdout, stderr } = await run.end();
  assertEquals(code, 1, stderr);
  assertMatch(stdout, /^throughput .* limited$/m);
  const [{ ended, reason, metrics, parameters }] = stored(dir.path);
  assertEquals([ended, reason], ["limited", "agent one was lost: no heartbeat for 5 s"]);
  assertEquals([metrics.answered, metrics.requests_per_s, parameters.agents], [null, null, 2]);
  await two.hear(/over, its coordinator is done\. No load is left\./);
  assertEquals([one.leftovers(), loadOf(two)], [[], []]);
});

Deno.test("an agent that is stopped says so, and the run is limited at once", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one");
  await using run = new RunningTask("measure", [...measureArgs(broker, server, 1), ...LONG], dir.path);
  await run.hear(UNDER_LOAD);
  one.signal("SIGTERM");
  const { code, stderr } = await one.end();
  assertEquals(code, 130, stderr);
  assertStringIncludes(stderr, `the agent was interrupted. ${STOPPED}`);
  assertEquals((await run.end()).code, 1);
  assertEquals(stored(dir.path)[0].reason, "agent one has ended its load: the agent was interrupted");
  assertEquals(one.leftovers(), []);
});

Deno.test(
  "a broker that is killed makes the run limited; once it is back the agents work again",
  { ignore },
  async () => {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using one = await startAgent(broker, dir.path, "one");
    await using two = await startAgent(broker, dir.path, "two");
    await using run = new RunningTask("measure", [...measureArgs(broker, server, 2), ...LONG], dir.path);
    await run.hear(UNDER_LOAD);
    await broker.kill();
    const { code, stderr } = await run.end();
    assertEquals(code, 1, stderr);
    const [{ ended, reason }] = stored(dir.path);
    assertEquals(ended, "limited");
    assertEquals(reason, `the broker at ${urlOf(broker)} was lost during the run: its agents end their load`);
    for (const agent of [one, two]) {
      await agent.hear(/over, the broker was lost\. No load is left\./);
      assertEquals(loadOf(agent), []);
    }
    await using again = await BrokerProcess.start([], broker.port);
    for (const agent of [one, two]) await agent.hear(/^The broker at .* is back\.$/m);
    const short = ["--scenario", "throughput", "--connections", "4", "--seconds", "0.2", "--no-save"];
    const second = await runTask("measure", [...measureArgs(again, server, 2), ...short], dir.path);
    assertEquals(second.code, 0, second.stderr);
  },
);

Deno.test("an agent that is to end after one run does so where the broker ends that run", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one", "--once");
  await using run = new RunningTask("measure", [...measureArgs(broker, server, 1), ...LONG], dir.path);
  await run.hear(UNDER_LOAD);
  await broker.kill();
  assertEquals((await run.end()).code, 1);
  const { code, stderr } = await one.end();
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /over, the broker was lost\. No load is left\.\n$/);
  assertEquals(one.leftovers(), []);
});

Deno.test(
  "a broker that hangs makes the run limited, and its agents end their load by themselves",
  { ignore },
  async () => {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using one = await startAgent(broker, dir.path, "one");
    await using two = await startAgent(broker, dir.path, "two");
    await using run = new RunningTask("measure", [...measureArgs(broker, server, 2), ...LONG], dir.path);
    await run.hear(UNDER_LOAD);
    broker.freeze();
    const { code, stderr } = await run.end();
    assertEquals(code, 1, stderr);
    const [{ ended, reason }] = stored(dir.path);
    assertEquals(ended, "limited");
    // Its silence is noticed by heartbeats or by pings of the connection, whichever comes first.
    assertMatch(
      reason,
      /^(no agent was heard for 5 s: |)the broker at nats:\/\/127\.0\.0\.1:\d+ (or the network is gone|was lost during the run: )/,
    );
    for (const agent of [one, two]) {
      await agent.hear(/over, (no heartbeat of its coordinator for 5 s|the broker was lost)\. No load is left\./);
      assertEquals(loadOf(agent), []);
    }
  },
);

Deno.test("an agent whose coordinator vanishes ends its load by itself", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one");
  await using run = new RunningTask("measure", [...measureArgs(broker, server, 1), ...LONG], dir.path);
  await run.hear(UNDER_LOAD);
  assert(loadOf(one).length > 0);
  crash(run);
  await run.end();
  await one.hear(/over, no heartbeat of its coordinator for 5 s\. No load is left\./);
  assertEquals([loadOf(one), run.leftovers()], [[], []]);
});

Deno.test("an interrupted run ends the load of its agents, which wait for the next", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one");
  await using run = new RunningTask("measure", [...measureArgs(broker, server, 1), ...LONG], dir.path);
  await run.hear(UNDER_LOAD);
  run.signal("SIGINT");
  const { code, stderr } = await run.end();
  assertEquals(code, 130, stderr);
  await one.hear(/over, its coordinator is done\. No load is left\./);
  assertEquals([loadOf(one), run.leftovers()], [[], []]);
});

Deno.test("an agent ends a run that takes longer than it may", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one", "--max-seconds", "2");
  const hold = ["--scenario", "hold", "--connections", "5", "--seconds", "2"];
  const { code, stdout } = await runTask("measure", [...measureArgs(broker, server, 1), ...hold], dir.path);
  assertEquals(code, 1, stdout);
  assertEquals(stored(dir.path)[0].reason, "agent one has ended its load: its time of 2 s is over (--max-seconds)");
  await one.hear(/its time of 2 s is over/);
  assertEquals(loadOf(one), []);
});

Deno.test("an interrupt while agents are gathered releases those that are there", { ignore }, async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using one = await startAgent(broker, dir.path, "one", "--once");
    const wait = ["--wait", "600"];
    await using run = new RunningTask("measure", [...measureArgs(broker, server, 2), ...LONG, ...wait], dir.path);
    await one.hear(/^Run [0-9a-f]+: works on /m);
    run.signal(signal);
    const { code, stderr } = await run.end();
    assertEquals([code, stderr], [130, "Interrupted.\n"]);
    await one.hear(/over, its coordinator is done\. No load is left\./);
    one.signal(signal);
    const ended = await one.end();
    assertEquals(ended.code, 130);
    assertMatch(ended.stderr, /^Interrupted\.$/m);
    assertEquals([one.leftovers(), run.leftovers()], [[], []]);
  }
});

Deno.test("an interrupt ends the wait for a broker that does not answer", { ignore }, async () => {
  using dir = project();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = urlOf(listener.addr);
  const target = ["--name", "mine", "--url", "http://127.0.0.1:9"];
  for (const [task, ...args] of [["agent", "--nats", url], ["measure", ...target, "--fleet", url]] as const) {
    await using running = new RunningTask(task!, args, dir.path);
    using _silent = await listener.accept();
    running.signal("SIGTERM");
    const { code, stderr } = await running.end();
    assertEquals([code, stderr], [130, "Interrupted.\n"]);
    assertEquals(running.leftovers(), []);
  }
});

Deno.test(
  "where setpriv(1) is missing an agent still ends with the process that the user started",
  { ignore },
  async () => {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    Deno.mkdirSync(`${dir.path}/bin`);
    Deno.writeTextFileSync(`${dir.path}/bin/setpriv`, "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const path = { PATH: `${dir.path}/bin:${Deno.env.get("PATH")}` };
    await using one = new RunningTask("agent", ["--nats", urlOf(broker), "--name", "one"], dir.path, path);
    await one.hear(/ waits at /);
    await using run = new RunningTask("measure", [...measureArgs(broker, server, 1), ...LONG], dir.path);
    await run.hear(UNDER_LOAD);
    one.signal("SIGKILL");
    assertEquals((await run.end()).code, 1);
    assertEquals(stored(dir.path)[0].reason, "agent one has ended its load: the agent was interrupted");
    await until(() => one.leftovers().length === 0, PATIENCE_MS, "the agent to be gone");
  },
);

const KILLS = 6;
/** So long after its start a task is killed at the latest: by then an agent waits, and a coordinator gathers or measures. */
const LATEST_MS = 1500;

Deno.test("agents and coordinators that are killed at random moments leave no process behind", { ignore }, async () => {
  using dir = project();
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using one = await startAgent(broker, dir.path, "one");
  const given = Deno.args.find((arg) => arg.startsWith("--seed="));
  const seed = given === undefined ? Date.now() % 1_000_000 : Number(given.slice("--seed=".length));
  console.log(`The moments follow from --seed=${seed}.`);
  const random = seededRandom(seed);
  for (let i = 0; i < KILLS; i++) {
    // Of the coordinators one waits for an agent more than there is: agent one is engaged, and has no process yet.
    const coordinator = ["measure", ...measureArgs(broker, server, i % 3), ...LONG, "--wait", "60"];
    const [task, ...args] = i % 3 === 0 ? ["agent", "--nats", urlOf(broker)] : coordinator;
    await using killed = new RunningTask(task!, args, dir.path);
    await delay(Math.floor(random() * LATEST_MS));
    killed.signal("SIGKILL");
    await until(() => killed.pids().length === 0, PATIENCE_MS, `${task} to be gone (${i})`);
    await until(() => loadOf(one).length === 0, PATIENCE_MS, `the load to be gone (${i})`);
  }
  // The agent that was there all the time works for the next one.
  const short = ["--scenario", "hold", "--connections", "4", "--seconds", "0", "--no-save", "--wait", "60"];
  const { code, stderr } = await runTask("measure", [...measureArgs(broker, server, 1), ...short], dir.path);
  assertEquals(code, 0, stderr);
});
