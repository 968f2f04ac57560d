/** What a coordinator does with agents that only speak the protocol: of another version, out of order, and very many. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Fleet } from "./fleet.ts";
import { readBroker } from "../../lib/fleet/address.ts";
import { connectBroker, type NatsConnection } from "../../lib/fleet/broker.ts";
import {
  agentSubject,
  beatSubject,
  CALL,
  CALL_SUBJECT,
  DO,
  type FleetCommand,
  offerSubject,
  partsOf,
  pulseSubject,
  randomId,
  readMessage,
} from "../../lib/fleet/protocol.ts";
import { Unavailable } from "../../lib/cli/errors.ts";
import { LoadLost } from "../../lib/load/generator.ts";
import { mergeWindows, revive } from "../../lib/load/merge.ts";
import type { WindowPart } from "../../lib/load/types.ts";
import { monotonicUs } from "../../lib/sampling/process.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { Histogram } from "../../lib/timing/histogram.ts";

const ignore = !HAS_BROKER || Deno.build.os !== "linux";
const DIGEST = "0123456789abcdef";
const AGENTS = 64;
/** What 64 agents would send of 300 000 requests/s in ten seconds, each. */
const REQUESTS = Math.round(300_000 * 10 / AGENTS);

/** Latencies that look like those of a server: most of them near the median, few far above. */
function latencies(seed: number): Histogram {
  const histogram = new Histogram();
  for (let i = 0; i < REQUESTS; i++) {
    const spread = ((i * 7919 + seed * 104_729) % 9973 + 1) / 9974;
    histogram.record(Math.round(200 * Math.exp(3 * spread ** 4)));
  }
  return histogram;
}

const windowOf = (histogram: string) => ({
  ...{ seconds: 0.1, from_us: 0, to_us: 1e5, connections: 100, requests: REQUESTS, drained: 0, errors: {}, lost: 0 },
  ...{ dropped: 0, closed: 0, reconnects: 0, redials: 0, closes: {}, unanswered: 0, histogram },
  ...{ censored: JSON.parse(JSON.stringify(new Histogram())), raw: histogram, lateness: histogram },
  ...{ client_cpu_us: 1000, client_spin_us: 0, late_sends: 0, scheduled: REQUESTS, stopped_early: null },
});

/** What a simulated process answers to a command. */
function outcomeOf(command: FleetCommand, histogram: string): unknown {
  const none = { lost: 0, dropped: 0, closed: 0, unanswered: 0, errors: {}, seconds: 0.01 };
  if (command.name === "connect") {
    const { count } = command.options;
    return { requested: count, connected: count, failed: 0, redials: 0, seconds: 0.01, errors: {} };
  }
  if (command.name === "ask") return { ...none, asked: 100, answered: 100, histogram };
  return windowOf(histogram);
}

/** An agent without any load. Its clock runs ahead of that of the coordinator. */
function simulate(
  broker: NatsConnection,
  { seed = 1, digest = DIGEST, answer = outcomeOf }: { seed?: number; digest?: string; answer?: typeof outcomeOf },
): void {
  const agent = randomId();
  const histogram = latencies(seed).toJSON();
  const bounds = { connections: 10_000, rate_per_s: 10_000, seconds: 600 };
  broker.subscribe(CALL_SUBJECT, {
    callback: (_, message) => {
      const { run } = readMessage(CALL, message.string());
      const offer = { agent, name: `sim${seed}`, digest, processes: 1, bounds, refuses: null };
      broker.publish(offerSubject(run), JSON.stringify(offer));
    },
  });
  broker.subscribe(agentSubject(agent), {
    callback: (_, message) => {
      const { run, verb } = partsOf(message.subject);
      const reply = (body: unknown): void => void message.respond(JSON.stringify(body));
      if (verb === "engage") {
        broker.subscribe(beatSubject(run), {
          callback: () => broker.publish(pulseSubject(run), JSON.stringify({ agent, progress: [null], ended: null })),
        });
      }
      if (verb === "clock") return reply({ at_us: monotonicUs() + seed * 1e6 });
      if (verb === "start") return reply({ offsets_us: [0] });
      if (verb !== "do") return reply({ ok: true });
      const { command } = readMessage(DO, message.string());
      reply({ done: answer(command, histogram), clients: 100 });
    },
  });
}

interface Opened extends AsyncDisposable {
  connections: NatsConnection[];
  gather(agents: number): Promise<Fleet>;
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
    gather: async (agents) =>
      await Fleet.gather(await connectBroker(address, "test", false), { ...common, agents, waitSeconds: 1 }),
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
      const bounds = { connections: 1, rate_per_s: 1, seconds: 1 };
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
  assertMatch(message, /^Only 1 of 2 agents .*: gone: it does not answer as it should \(no responders/);
});

Deno.test("an agent whose answer is not understood makes the run limited", { ignore }, async () => {
  await using opened = await open(1);
  simulate(opened.connections[0]!, { answer: () => ({ requested: -1 }) });
  await flush(opened.connections);
  await using fleet = await opened.gather(1);
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, {});
  const error = await assertRejects(() => generator.connect(1), LoadLost);
  assertStringIncludes(error.message, "agent sim1 answers what is not understood: ");
  assertEquals(fleet.lost, error.message);
});

Deno.test(`the messages and merges of ${AGENTS} agents cost a coordinator little`, { ignore }, async () => {
  await using opened = await open(AGENTS);
  opened.connections.forEach((connection, i) => simulate(connection, { seed: i + 1 }));
  await flush(opened.connections);
  const steps: string[] = [];
  let messages = 0;
  let atMs = performance.now();
  await using fleet = await opened.gather(AGENTS);
  const note = (step: string) => {
    const now = performance.now();
    steps.push(`${step} ${fleet.messages - messages} messages in ${Math.round(now - atMs)} ms`);
    [messages, atMs] = [fleet.messages, now];
  };
  note("gather and read clocks");
  assert(fleet.clockErrorUs < 1e6, "clocks that are seconds apart are known to less");
  const generator = await fleet.start({ host: "127.0.0.1", port: 80 }, {});
  note("start");
  assertEquals((await generator.connect(AGENTS * 100)).connected, AGENTS * 100);
  note("connect");
  const window = await generator.open({ rate: 300_000, seconds: 0.1, warmupSeconds: 0 });
  note("barrier, window and merge"); // the window itself takes no time here
  assertEquals([window.requests, window.histogram.count, window.raw!.count], Array(3).fill(AGENTS * REQUESTS));
  assertEquals([window.client_processes, window.connections], [AGENTS, AGENTS * 100]);
  assertEquals([window.host_cpu, window.cores, window.server_cpu_us], [null, [], null]); // nobody of them is on this host
  const parts = Array.from({ length: AGENTS }, (_, i) => windowOf(latencies(i + 1).toJSON()));
  const bytes = JSON.stringify(parts[0]).length;
  const mergeFromMs = performance.now();
  const merged = mergeWindows(parts.map((part) => revive<WindowPart>(part)));
  const mergeMs = performance.now() - mergeFromMs;
  assertEquals(merged.histogram.toJSON(), window.histogram.toJSON());
  console.log(`    ${AGENTS} agents: ${steps.join("; ")}; merge ${Math.round(mergeMs)} ms of ${bytes} bytes each`);
});
