/** An agent, asked by whoever is on its broker. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { join } from "node:path";
import { Agent } from "./agent.ts";
import { asked } from "./asked.ts";
import { within } from "./descriptors.ts";
import { Targets } from "./targets.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { readBroker } from "../../lib/fleet/address.ts";
import { connectBroker, type NatsConnection } from "../../lib/fleet/broker.ts";
import { BEAT_MS, beatSubject, CALL_SUBJECT, offerSubject, randomId, verbSubject } from "../../lib/fleet/protocol.ts";
import { monotonicUs } from "../../lib/sampling/process.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { PATIENCE_MS, until } from "../../lib/testing/client.ts";
import { FakeServer, HELLO } from "../../lib/testing/fake_server.ts";
import { folder } from "../../lib/testing/folder.ts";

const ignore = !HAS_BROKER || Deno.build.os !== "linux";
const DIGEST = "0123456789abcdef";
const BOUNDS = { connections: 20, rate_per_s: 100, seconds: 30, open_only: false };

Deno.test("an address is a target if it is loopback or in an allowed network", () => {
  const targets = new Targets(["10.1.0.0/16", "192.0.2.7", "fd00::/8"]);
  const forbidden = (...addresses: string[]) => targets.forbidden(addresses);
  assertEquals(forbidden("127.0.0.1", "::1", "10.1.200.3", "192.0.2.7", "fd12::9"), null);
  for (const address of ["10.2.0.1", "192.0.2.8", "2001:db8::1", "8.8.8.8", "no-address"]) {
    assertEquals(forbidden("127.0.0.1", address), address);
  }
  assertEquals(new Targets([]).forbidden(["10.1.0.1"]), "10.1.0.1");
  for (const cidr of ["10.0.0.0/33", "10.0.0/8", "host", "10.0.0.0/8/8", "::/129", "10.0.0.0/", "10.0.0.0/-1"]) {
    assertThrows(() => new Targets([cidr]), UsageError, `--allow-target ${cidr} is no network`);
  }
});

Deno.test("the command line of an agent has bounds even if nobody names some", () => {
  const { bounds, targets, cpus, processes, once } = asked(["--nats", "10.0.0.1"]);
  assertEquals(bounds, { connections: 20_000, rate_per_s: 100_000, seconds: 3600, open_only: false });
  assertEquals(asked(["--nats", "a", "--max-rate", "9"]).bounds.open_only, true); // what has no rate breaks no such promise
  assertEquals([targets.cidrs, cpus, processes, once], [[], null, 1, false]);
  const two = asked(["--nats", "a", "--allow-target", "10.0.0.0/8,fd00::/8", "--allow-target", "192.0.2.1"]);
  assertEquals(two.targets.cidrs, ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]);
  for (
    const [args, says] of [
      [[], "Name the broker"],
      [["--nats", "a", "--max-connections", "0"], "--max-connections 0 is not"],
      [["--nats", "a", "--name", "a b"], "--name a b"],
      [["--nats", "a", "--processes", "2", "--load-cores", "0"], "one of the two"],
      [["--nats", "a", "--load-cores", "0-64"], "an agent has up to 64 processes"],
      [["--nats", "a", "b"], "Unexpected b"],
    ] as const
  ) assertThrows(() => asked(args), UsageError, says);
});

/** An agent in this process, and a connection that asks it. */
async function openAgent(broker: { port: number }, { bounds = BOUNDS, processes = 1 } = {}) {
  const address = readBroker("nats", `nats://127.0.0.1:${broker.port}`, {});
  await using stack = new AsyncDisposableStack();
  const [own, other] = await Promise.all(["agent", "test"].map((name) => connectBroker(address, name, false)));
  for (const connection of [own!, other!]) stack.defer(() => connection.close());
  const lines: string[] = [];
  const agent = stack.use(
    new Agent(own!, {
      name: "one",
      digest: DIGEST,
      bounds,
      targets: new Targets([]),
      cpus: null,
      processes,
      say: (line) => lines.push(line),
    }),
  );
  await own!.flush();
  const run = randomId();
  // Without a sign of life an agent ends its load, and nobody knows how long a test takes.
  const beat = setInterval(() => other!.publish(beatSubject(run), "{}"), BEAT_MS);
  stack.defer(() => clearInterval(beat));
  const owned = stack.move();
  return { agent, other: other!, run, lines, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Asks for something, and returns the answer. */
async function ask(connection: NatsConnection, subject: string, body: unknown): Promise<Record<string, unknown>> {
  return JSON.parse((await connection.request(subject, JSON.stringify(body), { timeout: 30_000 })).string());
}

const targetOf = (port: number, address = "127.0.0.1") => ({ host: address, addresses: [address], port });

Deno.test("an agent of another version, or of a target that it may not load, does not engage", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using opened = await openAgent(broker);
  const { agent, other, run } = opened;
  const engage = (body: unknown) => ask(other, verbSubject(run, agent.id, "engage"), body);
  const version = await engage({ target: targetOf(80), digest: "fedcba9876543210" });
  assertEquals(version, { refused: "it has another version of the load generator" });
  const target = await engage({ target: targetOf(80, "10.0.0.1"), digest: DIGEST });
  assertMatch(String(target.refused), /^it may not load 10\.0\.0\.1: start it with --allow-target/);
  const host = "a\r\n\r\nGET / HTTP/1.1\r\nHost: b"; // two requests for each that is counted
  const injected = await engage({ target: { ...targetOf(80), host }, digest: DIGEST });
  assertMatch(String(injected.refused), /^"a\\r.* is no host$/);
  const malformed = await engage({ target: targetOf(80), digest: DIGEST, more: 1 });
  assertMatch(String(malformed.refused), /more/);
  const offers = other.subscribe(offerSubject(run), { max: 1 });
  await other.flush();
  other.publish(CALL_SUBJECT, JSON.stringify({ run, target: targetOf(80, "10.0.0.1") }));
  for await (const message of offers) {
    const { digest, refuses, bounds } = JSON.parse(message.string());
    assertEquals([digest, bounds], [DIGEST, BOUNDS]);
    assertMatch(refuses, /^it may not load 10\.0\.0\.1/);
  }
});

Deno.test(
  "an agent does nothing for a run that it is not engaged for, and nothing that the protocol lacks",
  { ignore },
  async () => {
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    await using opened = await openAgent(broker);
    const { agent, other, run } = opened;
    const engaged = await ask(other, verbSubject(run, agent.id, "engage"), {
      target: targetOf(server.port),
      digest: DIGEST,
    });
    assertEquals(engaged, { ok: true });
    const foreign = randomId();
    const connect = { process: 0, command: { name: "connect", options: { count: 1, timeoutMs: PATIENCE_MS } } };
    for (
      const [verb, body] of [["start", { head: "client", method: "GET", path: "/" }], ["do", connect], [
        "release",
        {},
      ]] as const
    ) {
      assertEquals(await ask(other, verbSubject(foreign, agent.id, verb), body), {
        refused: "it does not work for this run",
      });
    }
    const again = await ask(other, verbSubject(foreign, agent.id, "engage"), { target: targetOf(1), digest: DIGEST });
    assertEquals(again, { refused: "it works for another run" });
    assertMatch(String((await ask(other, `c10k.run.${run}.${agent.id}.format`, {})).refused), /^it knows no /);
    assertEquals(await ask(other, verbSubject(run, agent.id, "do"), connect), { refused: "it has no process 0" });
    const stress = { process: 0, command: { name: "stress", options: {} } };
    assert("refused" in await ask(other, verbSubject(run, agent.id, "do"), stress));
    assertEquals(server.clients.length, 0);
  },
);

Deno.test("a command that comes after its beginning is refused, as is one beyond a bound", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using opened = await openAgent(broker);
  const { agent, other, run, lines } = opened;
  const verb = (name: Parameters<typeof verbSubject>[2]) => verbSubject(run, agent.id, name);
  const run_ = (command: unknown) => ask(other, verb("do"), { process: 0, command });
  await ask(other, verb("engage"), { target: targetOf(server.port), digest: DIGEST });
  const { offsets_us } = await ask(other, verb("start"), { head: "client", method: "GET", path: "/" });
  assertEquals(offsets_us, [0]);
  const connected = await run_({ name: "connect", options: { count: 20, timeoutMs: PATIENCE_MS } });
  assertEquals(connected.clients, 20);
  const more = await run_({ name: "slow", options: { count: 1, timeoutMs: PATIENCE_MS } });
  assertEquals(more, { refused: "it makes up to 20 connections (--max-connections)" });
  const nowUs = monotonicUs();
  const past = { startUs: nowUs - 2000, fromUs: nowUs, toUs: nowUs + 1e5, endUs: nowUs + 1e5 };
  const late = await run_({ name: "closed", options: { ...past, path: "/" } });
  assertMatch(String(late.refused), /^the command came \d+\.\d ms after its beginning$/);
  const soon = { startUs: nowUs + 1e6, fromUs: nowUs + 1e6, toUs: nowUs + 60e6, endUs: nowUs + 60e6 };
  assertMatch(
    String((await run_({ name: "closed", options: { ...soon, path: "/" } })).refused),
    /^it works for up to 30 s/,
  );
  await ask(other, verb("release"), {});
  assertMatch(lines.at(-1)!, /over, its coordinator is done\. No load is left\.$/);
});

Deno.test("an agent has no more connections than descriptors", () => {
  assertEquals(within(BOUNDS, 2, 70).connections, 2 * 6);
  assertEquals([within(BOUNDS, 2, 1000), within(BOUNDS, 1, null)], [BOUNDS, BOUNDS]);
});

/** An agent that is engaged for a server, and what asks it. */
async function engaged(opened: Awaited<ReturnType<typeof openAgent>>, server: FakeServer) {
  const { agent, other, run } = opened;
  const verb = (name: Parameters<typeof verbSubject>[2], body: unknown = {}) =>
    ask(other, verbSubject(run, agent.id, name), body);
  const start = () => verb("start", { head: "client", method: "GET", path: "/" });
  const command = (process: number, command: unknown) => verb("do", { process, command });
  assertEquals(await verb("engage", { target: targetOf(server.port), digest: DIGEST }), { ok: true });
  return { verb, start, command };
}

Deno.test("an agent keeps its bounds over all of its processes, to the last one", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using opened = await openAgent(broker, { processes: 3, bounds: { ...BOUNDS, seconds: 600, open_only: true } });
  const { verb, start, command } = await engaged(opened, server);
  await start();
  const connect = (process: number, count: number) =>
    command(process, { name: "connect", options: { count, timeoutMs: PATIENCE_MS } });
  const shares = await Promise.all([7, 7, 6].map((count, process) => connect(process, count)));
  assertEquals(shares.map(({ clients }) => clients), [7, 7, 6]);
  assertEquals(await connect(2, 1), { refused: "it makes up to 20 connections (--max-connections)" });
  const laterUs = monotonicUs() + 20e6; // behind the end of this test
  const common = { startUs: laterUs, endUs: laterUs + 100_000, total: 10, heavyShare: 0, heavyPath: "/" };
  const open = (process: number, rate: number, step: number) =>
    command(process, { name: "open", options: { ...common, rate, first: process, step } });
  // Of a rate over two processes that hold connections, both may be those of this agent.
  const accepted = [open(0, 100, 2), open(1, 100, 2)];
  assertEquals(await open(2, 1, 2), { refused: "it sends up to 100 requests/s (--max-rate)" });
  const times = { startUs: laterUs, fromUs: laterUs, toUs: laterUs, endUs: laterUs };
  const says = /^it sends up to 100 requests\/s \(--max-rate\), and a (closed loop|churn) has no rate$/;
  const closed = { name: "closed", options: { ...times, path: "/" } };
  const churn = { name: "churn", options: { ...times, concurrency: 0 } };
  for (const loop of [closed, churn]) assertMatch(String((await command(0, loop)).refused), says);
  assertEquals(await verb("stop"), { ok: true });
  const stopped = { refused: "its load was stopped" };
  assertEquals(await Promise.all(accepted), [stopped, stopped]);
});

Deno.test("an agent with a rate asks connections no faster, all of its processes together", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  const asks = async (open_only: boolean) => {
    await using opened = await openAgent(broker, { processes: 2, bounds: { ...BOUNDS, open_only } });
    const { start, command } = await engaged(opened, server);
    await start();
    const both = (command_: unknown) => Promise.all([0, 1].map((process) => command(process, command_)));
    await both({ name: "connect", options: { count: 10, timeoutMs: PATIENCE_MS } });
    const ask = { name: "ask", options: { onlyNew: true, window: 10, timeoutMs: PATIENCE_MS } };
    return (await both(ask)).map(({ done }) => done as { answered: number; seconds: number });
  };
  // 100 requests/s are 50 of each process: from the first of ten to the last nine fiftieths of a second pass, on any machine.
  for (const { answered, seconds } of await asks(true)) {
    assertEquals(answered, 10);
    assert(seconds >= 9 / 50, `${seconds} s`);
  }
  assertEquals((await asks(false)).map(({ answered }) => answered), [10, 10]);
});

Deno.test("an agent refuses a rate that others of its processes ask at", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(() => {}); // no answer comes: a request is under way until it is given up
  await using opened = await openAgent(broker, { processes: 2, bounds: { ...BOUNDS, open_only: true } });
  const { verb, start, command } = await engaged(opened, server);
  await start();
  await command(0, { name: "connect", options: { count: 1, timeoutMs: PATIENCE_MS } });
  const asking = command(0, { name: "ask", options: { onlyNew: true, window: 1, timeoutMs: 60_000 } });
  await until(() => server.paths.length === 1, PATIENCE_MS, "the request");
  const times = { startUs: monotonicUs() + 20e6, endUs: monotonicUs() + 20.1e6 };
  const open = { ...times, rate: 51, total: 5, first: 0, step: 1, heavyShare: 0, heavyPath: "/" };
  const refused = await command(1, { name: "open", options: open });
  assertEquals(refused, { refused: "it sends up to 100 requests/s (--max-rate)" });
  assertEquals(await verb("stop"), { ok: true });
  assertEquals(await asking, { refused: "its load was stopped" });
});

Deno.test("of two starts at once the second is refused, and no process is left of either", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using opened = await openAgent(broker);
  const { verb, start, command } = await engaged(opened, server);
  const [one, two] = await Promise.all([start(), start()]);
  assertEquals([one, two], [{ offsets_us: [0] }, { refused: "it starts its processes already" }]);
  await command(0, { name: "connect", options: { count: 3, timeoutMs: PATIENCE_MS } });
  const [again, released] = await Promise.all([start(), verb("release")]);
  assertEquals([again, released], [{ refused: "the run has ended" }, { ok: true }]);
  await until(() => server.open === 0, PATIENCE_MS, "all connections to be closed");
});

Deno.test("a load that is stopped in mid-command is no failure of the agent", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(() => {}); // no answer comes: a command is under way until it is stopped
  await using opened = await openAgent(broker);
  const { verb, start, command } = await engaged(opened, server);
  await start();
  await command(0, { name: "connect", options: { count: 3, timeoutMs: PATIENCE_MS } });
  const running = command(0, { name: "ask", options: { onlyNew: true, window: 3, timeoutMs: 60_000 } });
  await until(() => server.paths.length === 3, PATIENCE_MS, "the load to run");
  assertEquals(await verb("stop"), { ok: true });
  assertEquals(await running, { refused: "its load was stopped" });
  assertEquals(opened.lines.filter((line) => line.includes("failed")), []);
});

Deno.test("an answer that the broker does not take is a refusal, and the agent lives on", { ignore }, async () => {
  using dir = folder();
  const config = join(dir.path, "broker.conf");
  Deno.writeTextFileSync(config, "max_payload: 300");
  await using broker = await BrokerProcess.start(["-c", config]);
  let status = 500; // each connection has another one, and the answer of the agent counts them one by one
  await using server = new FakeServer(({ write }) => write(`HTTP/1.1 ${status++} No\r\nContent-Length: 0\r\n\r\n`));
  await using opened = await openAgent(broker);
  const { start, command } = await engaged(opened, server);
  await start();
  await command(0, { name: "connect", options: { count: 20, timeoutMs: PATIENCE_MS } });
  const { refused } = await command(0, { name: "ask", options: { onlyNew: true, window: 20, timeoutMs: PATIENCE_MS } });
  assertMatch(String(refused), /^its answer of [\d ]+ bytes is more than the broker takes in a message$/);
  assert("done" in await command(0, { name: "drop", options: null }));
});

Deno.test("an agent has served once it has made load, and not when it is released before", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using opened = await openAgent(broker);
  let isServed = false;
  const served = opened.agent.served.then(() => isServed = true);
  const first = await engaged(opened, server);
  await first.verb("release");
  const second = await engaged(opened, server); // behind the end of the first
  assertEquals(isServed, false);
  await second.start();
  await second.verb("release");
  await served;
});

Deno.test("slow clients of an agent count as connections until they are closed", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using opened = await openAgent(broker);
  const { start, command } = await engaged(opened, server);
  await start();
  const slow = { name: "slow", options: { count: 20, timeoutMs: PATIENCE_MS } };
  assert("done" in await command(0, slow));
  await until(() => server.open === 20, PATIENCE_MS, "all slow clients");
  assert("done" in await command(0, { name: "drop", options: null }));
  assertEquals(await command(0, slow), { refused: "it makes up to 20 connections (--max-connections)" });
  assertEquals(server.open, 20);
  assert("done" in await command(0, { name: "slowEnd", options: null }));
  await until(() => server.open === 0, PATIENCE_MS, "no client to be left");
  assert("done" in await command(0, slow));
});

Deno.test("a run that asks an agent twice to engage has it, and another one has not", { ignore }, async () => {
  await using broker = await BrokerProcess.start();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using opened = await openAgent(broker);
  const { start } = await engaged(opened, server);
  await engaged(opened, server);
  assertEquals(await start(), { offsets_us: [0] });
  const { agent, other } = opened;
  const foreign = await ask(other, verbSubject(randomId(), agent.id, "engage"), {
    target: targetOf(server.port),
    digest: DIGEST,
  });
  assertEquals(foreign, { refused: "it works for another run" });
  assertEquals(opened.lines.filter((line) => line.includes("works on")).length, 1);
});
