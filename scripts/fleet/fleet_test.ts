/** What a coordinator does with agents that only speak the protocol: of another version, out of order, and very many. */
import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { delay } from "@std/async";
import { measureCost } from "./cost.ts";
import { NO_PLAN, planOf, processesFor, storedPlan } from "./plan.ts";
import { CLIENTS, CLOCK_US, DIGEST, outcomeOf, simulate } from "./simulated.ts";
import { readBroker } from "../../lib/fleet/address.ts";
import { connectBroker, type NatsConnection } from "../../lib/fleet/broker.ts";
import { DRAIN_MS, Fleet, patienceMs } from "../../lib/fleet/coordinator.ts";
import {
  BEAT_MS,
  CALL,
  CALL_SUBJECT,
  type FleetCommand,
  offerSubject,
  randomId,
  readMessage,
} from "../../lib/fleet/protocol.ts";
import { Unavailable } from "../../lib/cli/errors.ts";
import { LoadLost } from "../../lib/load/generator.ts";
import { machinesIn } from "../../lib/results/machine.ts";
import type { ProbeRow } from "../../lib/results/rows.ts";
import { readStored } from "../../lib/results/stored.ts";
import { monotonicUs } from "../../lib/sampling/process.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { filesIn, project, ROOT, runTask } from "../../lib/testing/task.ts";

const ignore = !HAS_BROKER || Deno.build.os !== "linux";
const AGENTS = 64;
/** So long an agent of this process may take to answer; where one is missing, the test takes as long. */
const WAIT_S = 5;

interface Opened extends AsyncDisposable {
  connections: NatsConnection[];
  gather(agents: number, graceMs?: number): Promise<Fleet>;
}

/** A broker, a connection for each agent, and a way to gather them. */
async function open(agents: number): Promise<Opened> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await BrokerProcess.start());
  const address = readBroker("fleet", `nats://127.0.0.1:${broker.port}`, {});
  const connecting = Array.from({ length: agents }, (_, i) => connectBroker(address, `sim${i}`, false));
  const connections = await Promise.all(connecting);
  for (const connection of connections) stack.defer(() => connection.close());
  const owned = stack.move();
  const target = { host: "127.0.0.1", addresses: ["127.0.0.1"], port: 80 };
  const common = { broker: address.display, target, digest: DIGEST, signal: new AbortController().signal };
  return {
    connections,
    gather: async (agents, graceMs = 30_000) =>
      await Fleet.gather(await connectBroker(address, "test", false), {
        ...common,
        agents,
        waitSeconds: WAIT_S,
        graceMs,
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const flush = (connections: NatsConnection[]) => Promise.all(connections.map((each) => each.flush()));

Deno.test("an agent of another version takes no part, and the sentence names both versions", { ignore }, async () => {
  await using opened = await open(2);
  simulate(opened.connections[0]!, { seed: 1 });
  simulate(opened.connections[1]!, { seed: 2, digest: "fedcba9876543210" });
  await flush(opened.connections);
  const { message } = await assertRejects(() => opened.gather(2), Unavailable);
  assertStringIncludes(message, "Only 1 of 2 agents can take part at nats://127.0.0.1:");
  assertStringIncludes(
    message,
    `sim2: it has version fedcba9876543210 of the load generator, this coordinator ${DIGEST}.`,
  );
});

Deno.test("an offer that is not understood is that of another version, and said once", { ignore }, async () => {
  await using opened = await open(1);
  const [broker] = opened.connections;
  broker!.subscribe(CALL_SUBJECT, {
    callback: (_, message) => broker!.publish(offerSubject(JSON.parse(message.string()).run), `{"agent":7}`),
  });
  await flush(opened.connections);
  const { message } = await assertRejects(() => opened.gather(1), Unavailable);
  assertMatch(
    message,
    /^Only 0 of 1 agent .*: an offer is not understood, so that agent has another version \(agent: .*\)\.$/,
  );
});

Deno.test("an agent that has gone since its offer is not waited for in vain", { ignore }, async () => {
  await using opened = await open(2);
  const [gone, there] = opened.connections;
  simulate(there!, { seed: 2 });
  const agent = randomId();
  gone!.subscribe(CALL_SUBJECT, {
    callback: (_, message) => {
      const { run } = readMessage(CALL, message.string());
      const bounds = { connections: 1, rate_per_s: 1, seconds: 1, open_only: false };
      const offer = { agent, name: "gone", digest: DIGEST, processes: 1, bounds, refuses: null };
      gone!.publish(offerSubject(run), JSON.stringify(offer));
    },
  });
  await flush(opened.connections);
  {
    await using fleet = await opened.gather(1);
    assertStringIncludes(fleet.describe(), "1 agent (sim2) with 1 load process");
  }
  const { message } = await assertRejects(() => opened.gather(2), Unavailable);
  assertMatch(message, /^Only 1 of 2 agents .*: gone: it does not answer correctly \(no responders/);
});

Deno.test("an agent whose answer is not understood makes the run limited", { ignore }, async () => {
  await using opened = await open(1);
  simulate(opened.connections[0]!, { answer: () => ({ requested: -1 }) });
  await flush(opened.connections);
  await using fleet = await opened.gather(1);
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, {});
  const error = await assertRejects(() => generator.connect(1), LoadLost);
  assertStringIncludes(error.message, "agent sim1 sent an answer that is not understood: ");
  assertEquals(fleet.lost, error.message);
});

Deno.test("a load process that shows no progress is given up, and the sentence names it", { ignore }, async () => {
  await using opened = await open(1);
  simulate(opened.connections[0]!, { processes: 2, answer: () => undefined });
  await flush(opened.connections);
  await using fleet = await opened.gather(1, 100);
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, {});
  const error = await assertRejects(() => generator.connect(1, { timeoutMs: 100 }), LoadLost);
  assertEquals(error.message, "load process 1 of agent sim1 hangs: no progress in connect for 0.2 s");
  assertEquals(fleet.lost, error.message);
});

Deno.test("agents whose clocks differ begin at one time, each with its own requests", { ignore }, async () => {
  await using opened = await open(2);
  const starts: number[] = []; // on the clock of the coordinator
  const turns: [first: number, step: number][] = [];
  for (const [i, connection] of opened.connections.entries()) {
    const aheadUs = (i + 1) * CLOCK_US;
    simulate(connection, {
      seed: i + 1,
      answer: (command, window) => {
        if (command.name === "open") {
          starts.push(command.options.startUs - aheadUs);
          turns.push([command.options.first, command.options.step]);
        }
        return outcomeOf(command, window);
      },
    });
  }
  await flush(opened.connections);
  await using fleet = await opened.gather(2);
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, {});
  await generator.connect(2 * CLIENTS);
  const beforeUs = monotonicUs();
  await generator.open({ rate: 100, seconds: 0.1, warmupSeconds: 0 });
  assertEquals(turns.toSorted(), [[0, 2], [1, 2]]);
  // The time of an agent was read within an exchange: it is off by half of that at the most.
  const apartUs = Math.max(...starts) - Math.min(...starts);
  assert(apartUs <= 2 * fleet.clockErrorUs, `${apartUs} µs apart, ${fleet.clockErrorUs} µs of error each`);
  assertLess(beforeUs, Math.min(...starts));
});

Deno.test("what a coordinator runs beside its server is no stranger in a window", { ignore }, async () => {
  await using opened = await open(1);
  simulate(opened.connections[0]!, {
    answer: async (command, window) => {
      await delay(command.name === "open" ? 500 : 0);
      return outcomeOf(command, window);
    },
  });
  await flush(opened.connections);
  await using fleet = await opened.gather(1);
  await using backend = new Deno.Command(Deno.execPath(), { args: ["eval", "for (;;);"] }).spawn();
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, { kernelThreads: [backend.pid] });
  await generator.connect(CLIENTS);
  const { own_cpu } = await generator.open({ rate: 100, seconds: 0.4, warmupSeconds: 0 });
  assertGreater(own_cpu.beside_us!, 0);
});

Deno.test("how long a command may take follows from the command", () => {
  const times = { startUs: 2e6, endUs: 12e6 };
  const open: FleetCommand = {
    name: "open",
    options: { ...times, rate: 1, total: 10, first: 0, step: 1, heavyShare: 0, heavyPath: "/" },
  };
  assertEquals(patienceMs(open, 1e6, 500), 11_000 + DRAIN_MS + 500);
  assertEquals(patienceMs(open, 20e6, 500), DRAIN_MS + 500);
  assertEquals(patienceMs({ name: "ask", options: { onlyNew: true, window: 1, timeoutMs: 2000 } }, 0, 500), 2500);
  assertEquals(patienceMs({ name: "drop", options: null }, 0, 500), 500);
});

Deno.test("what a fleet makes together are the shares that each of its processes may have", { ignore }, async () => {
  await using opened = await open(2);
  const bounds = { connections: 30, rate_per_s: 500, seconds: 60, open_only: false };
  simulate(opened.connections[0]!, { seed: 1, processes: 4, bounds });
  simulate(opened.connections[1]!, {
    seed: 2,
    processes: 1,
    bounds: { ...bounds, connections: 20, seconds: 9, open_only: true },
  });
  await flush(opened.connections);
  await using fleet = await opened.gather(2);
  const { connections, seconds, openOnly, ratePerS } = fleet.bounds;
  assertEquals([connections, seconds, openOnly], [5 * 7, 9, true]); // 30 / 4 is 7 and no half one
  // Four processes of the first agent send 4/5 of a rate; of two that hold a connection each, both may be its own.
  assertEquals([ratePerS(100), ratePerS(2), ratePerS(1)], [625, 500, 500]);
});

Deno.test(`${AGENTS} agents cost a coordinator few messages, and short ones`, { ignore }, async () => {
  const { signal } = new AbortController();
  const rows = await measureCost({ agents: AGENTS, rate: 300_000, windows: 2, signal });
  const value = (metric: string) => rows.find((row) => row.metric === metric)!.value!;
  console.log(`    ${rows.map(({ metric, value }) => `${metric} ${value!.toFixed(0)}`).join(", ")}`);
  // 16 exchanges for the clocks, and a command with its answer. In a while of so many ms there are signs of life too, and while
  // agents are gathered twice as often calls, which each of them answers.
  const exchanges = AGENTS * 2 * (16 + 1);
  const signs = (metric: string) => (value(metric) / BEAT_MS + 2) * (AGENTS + 1);
  assert(value("window_messages") >= exchanges, "a message is not counted");
  assertLess(value("window_messages"), exchanges + signs("window_ms"));
  assertLess(value("gather_messages"), exchanges + 3 * signs("gather_ms"));
  assertLess(value("answer_bytes"), 64 * 1024); // of the megabyte that a broker takes in a message
  assert(value("window_bytes") >= AGENTS * 0.9 * value("answer_bytes"), "an answer is not counted");
  assertLess(value("window_bytes"), AGENTS * (value("answer_bytes") + 4096) + 256 * signs("window_ms"));
  for (const metric of ["gather_ms", "window_ms", "merge_ms"]) assert(value(metric) > 0, metric);
});

const row = (metric: string, value: number) => ({
  probe: "fleet",
  variant: "64 agents",
  metric,
  value,
  low: null,
  high: null,
  runs: 1,
  note: null,
});
const ROWS = [row("window_messages", 640), row("window_bytes", 64 * 1024), row("window_ms", 32), row("merge_ms", 16)];

Deno.test("a plan for many hosts is made of figures, and says what is estimated", () => {
  const basis = { rate: 300_000, agents: 64, machine: "mine", rows: ROWS };
  assertEquals(processesFor(300_000, 10), 6);
  const plan = planOf({ ...basis, cpuUs: 53 });
  assertStringIncludes(plan, "300 000 requests/s take at least 32 load processes, each on a core of its own.");
  assertStringIncludes(plan, "| 4 | 8 |\n| 16 | 2 |");
  assertStringIncludes(plan, "estimated in proportion.\n\n| | 32 agents, estimated | 64 agents, measured |\n");
  assertStringIncludes(plan, "| messages of a window | 320 | 640 |\n");
  assertStringIncludes(plan, "| of it: merge of counts and histograms | 8.0 ms | 16.0 ms |\n");
  const bare = planOf({ ...basis, cpuUs: null });
  assertStringIncludes(bare, "`deno task crosscheck epoll` comes first");
  assertEquals([bare.includes("estimated"), bare.includes("| 64 agents, measured |")], [false, true]);
});

Deno.test("the plan of a document is that of the newest full study of one machine", async () => {
  const { stored } = await readStored(`${ROOT}/results`, "none");
  const { host } = stored;
  const study = (quick: boolean, rows: ProbeRow[]) => ({
    ...{ schema: 2 as const, kind: "probe" as const, id: "0", time: "2026-01-01T00:00:00.000Z", quick, host },
    ...{ lab: { commit: null, load: null, served: null }, command: "deno task fleet", manifests: {}, rows },
  });
  const of = (...probe: ReturnType<typeof study>[]) =>
    storedPlan({ machine: "mine", studies: { ...stored.studies, probe } }, 300_000);
  assertEquals(of(), null);
  assertEquals(of(study(true, ROWS), study(false, [{ ...ROWS[0]!, probe: "timer" }])), null);
  const expected = planOf({ rate: 300_000, agents: 64, machine: "mine", rows: ROWS, cpuUs: null });
  assertEquals(of(study(false, ROWS), study(true, [row("window_messages", 1)])), expected);
});

Deno.test("the document for many hosts has no plan but that of what is stored", async () => {
  const readme = Deno.readTextFileSync(`${ROOT}/scripts/fleet/README.md`);
  const plan = /<!-- plan:begin -->\n(.*)<!-- plan:end -->/s.exec(readme)![1]!.trim();
  const rate = Number(/deno task fleet --rate (\d+) --write/.exec(readme)![1]);
  const plans = [NO_PLAN];
  for (const machine of await machinesIn(`${ROOT}/results`)) {
    const { stored } = await readStored(`${ROOT}/results`, machine);
    plans.push(storedPlan(stored, rate) ?? NO_PLAN);
  }
  assert(plans.includes(plan), plan);
});

Deno.test("a plan is written from stored rows alone", async () => {
  using dir = project();
  for (const args of [["--no-save"], ["--windows", "3"]]) {
    const { code, stderr } = await runTask("fleet", ["--write", ...args], dir.path);
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, "--write needs rows that are stored, of 7 windows at least.");
  }
});

Deno.test("fleet stores its rows, and shows the plan", { ignore }, async () => {
  using dir = project();
  const { code, stdout, stderr } = await runTask(
    "fleet",
    ["--agents", "3", "--windows", "1", "--rate", "900"],
    dir.path,
  );
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^\| messages of a window \| \d+ \|$/m);
  const [stored] = filesIn(dir.path, ".json").map((path) => JSON.parse(Deno.readTextFileSync(path)));
  assertEquals([stored.kind, stored.quick], ["probe", true]);
  assertEquals(stored.rows.map((row: { variant: string }) => row.variant), Array(7).fill("3 agents"));
});

Deno.test("the plan that fleet writes is the one that its stored rows give", { ignore }, async () => {
  using dir = project();
  const document = `${dir.path}/scripts/fleet/README.md`;
  Deno.mkdirSync(`${dir.path}/scripts/fleet`, { recursive: true });
  Deno.writeTextFileSync(document, `Before\n<!-- plan:begin -->\n\n${NO_PLAN}\n\n<!-- plan:end -->\nBehind\n`);
  const { code, stdout, stderr } = await runTask("fleet", ["--agents", "3", "--rate", "900", "--write"], dir.path);
  assertEquals(code, 0, stderr);
  const { stored } = await readStored(`${dir.path}/results`);
  const plan = storedPlan(stored, 900)!;
  assertEquals(stdout, `${plan}\n`);
  const written = Deno.readTextFileSync(document);
  assertEquals(written, `Before\n<!-- plan:begin -->\n\n${plan}\n\n<!-- plan:end -->\nBehind\n`);
  assertStringIncludes(plan, "`deno task crosscheck epoll` comes first");
});
