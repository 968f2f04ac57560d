/**
 * A fleet of four agents on two hosts, and the server on a third one: network namespaces. More connections than one process can
 * have are held so:
 *
 * deno test -A --lock=scripts/all.lock scripts/measure/fleet_hosts_test.ts --filter hold -- --connections=40000
 */
import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { networkObstacle } from "../../lib/network/namespaces.ts";
import { startServer } from "../../lib/server/server.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { crash, loadOf } from "../../lib/testing/fleet.ts";
import { type Hosts, openHosts } from "../../lib/testing/hosts.ts";
import { folder } from "../../lib/testing/folder.ts";
import { filesIn, project, ROOT, RunningTask } from "../../lib/testing/task.ts";

const obstacle = HAS_BROKER ? await networkObstacle() : "nats-server is missing";
if (obstacle !== null) console.log(`A fleet over several hosts is not tested: ${obstacle}.`);
const ignore = obstacle !== null;

const USUAL = Deno.args.includes("--require-all") ? 4000 : 400;
const CONNECTIONS = Number(Deno.args.find((arg) => arg.startsWith("--connections="))?.split("=")[1] ?? USUAL);
/** The second one holds more connections than a process may open descriptors. */
const SERVER = CONNECTIONS < 15_000 ? "epoll" : "io-uring-direct";
const PORT = 8080;
const BROKER_PORT = 4222;
/** Of a hold: requests on each of the first tenth of the connections, before memory is read. */
const WARM_ROUNDS = 5;

/** The words that run a command on a host. */
const inside = (host: Hosts["left"]) => ([command, ...args]: string[]): string[] => {
  const wrapped = host.command({ command: command!, args });
  return [wrapped.command, ...wrapped.args];
};

/** The broker on the left host, and two agents on each side. */
async function openFleet(hosts: Hosts, dir: string) {
  await using stack = new AsyncDisposableStack();
  const { left, right, address } = hosts;
  const start = (port: number) => BrokerProcess.start([], port, { host: address.left, wrap: inside(left) });
  const broker = stack.use(await start(BROKER_PORT));
  const url = `nats://${address.left}:${BROKER_PORT}`;
  const agents = await Promise.all(
    [["l1", left], ["l2", left], ["r1", right], ["r2", right]].map(async ([name, host]) => {
      const args = ["--nats", url, "--name", String(name), "--allow-target", `${address.middle}/32`];
      const agent = stack.use(new RunningTask("agent", args, dir, {}, inside(host as Hosts["left"])));
      await agent.hear(/ waits at /);
      return agent;
    }),
  );
  const owned = stack.move();
  const measure = (...args: string[]) => {
    const fleet = ["--fleet", url, "--agents", "4", "--name", "mine"];
    return new RunningTask("measure", [...fleet, ...args], dir, {}, inside(left));
  };
  return { broker, start, agents, measure, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function serverOn({ middle, address }: Hosts) {
  const file = fileURLToPath(new URL(`../../experiments/${SERVER}.ts`, import.meta.url));
  const args = ["run", "--allow-ffi", file, "--host", address.middle, "--port", String(PORT)];
  return startServer(middle.command({ command: Deno.execPath(), args }));
}

const stored = (dir: string) => filesIn(dir, ".json").map((path) => JSON.parse(Deno.readTextFileSync(path)));

Deno.test(`four agents on two hosts hold ${CONNECTIONS} connections to a third, each counted by the server`, {
  ignore,
}, async () => {
  using dir = project();
  await using hosts = await openHosts();
  await using server = await serverOn(hosts);
  await using fleet = await openFleet(hosts, dir.path);
  const url = ["--url", `http://${hosts.address.middle}:${PORT}`];
  const hold = ["--scenario", "hold", "--connections", String(CONNECTIONS), "--seconds", "1"];
  await using run = fleet.measure(...url, ...hold);
  const { code, stdout, stderr } = await run.end();
  assertEquals(code, 0, `${stdout}${stderr}`);
  console.log(`    ${stderr.split("\n")[0]}\n${stdout}`);
  const [{ ended, metrics, errors, parameters, command }] = stored(dir.path);
  assertEquals([ended, metrics.answered, metrics.lost, errors], ["ok", CONNECTIONS, 0, {}]);
  assertEquals([metrics.kernel_bytes_per_conn, parameters.agents], [null, 4]);
  assertStringIncludes(command, `--url http://10.77.0.1:${PORT}`);
  const { stopped } = await server.stop();
  const served = 2 * CONNECTIONS + WARM_ROUNDS * Math.ceil(CONNECTIONS / 10);
  assertEquals([stopped!.accepted, stopped!.served, stopped!.errors], [CONNECTIONS, served, {}]);
});

Deno.test("four agents on two hosts load a third, which both sides must have named", { ignore }, async () => {
  using dir = project();
  await using hosts = await openHosts();
  await using _server = await serverOn(hosts);
  await using fleet = await openFleet(hosts, dir.path);
  const load = ["--scenario", "throughput,rate", "--connections", "40", "--seconds", "1", "--rate", "200"];
  await using run = fleet.measure("--url", `http://${hosts.address.middle}:${PORT}`, ...load);
  const { code, stdout, stderr } = await run.end();
  assertEquals(code, 0, `${stdout}${stderr}`);
  const results = stored(dir.path);
  assertEquals(results.map(({ ended, metrics }) => [ended, metrics.connections]), [["ok", 40], ["ok", 40]]);
  for (const { metrics } of results) assertGreater(metrics.requests_per_s, 0);
  console.log(`    ${stderr.split("\n")[0]}\n${stdout}`);
  // The same server by another address, which no agent may load.
  await using forbidden = fleet.measure("--url", `http://10.77.1.1:${PORT}`, "--wait", "5");
  const refused = await forbidden.end();
  assertEquals(refused.code, 69, refused.stdout);
  assertMatch(refused.stderr, /l1: it may not load 10\.77\.1\.1: start it with --allow-target 10\.77\.1\.1/);
});

Deno.test("on several hosts too a lost agent or broker ends the load of all", { ignore }, async () => {
  using dir = project();
  await using hosts = await openHosts();
  await using _server = await serverOn(hosts);
  await using fleet = await openFleet(hosts, dir.path);
  const { agents: [l1, ...others] } = fleet;
  const load = ["--url", `http://${hosts.address.middle}:${PORT}`, "--scenario", "throughput", "--seconds", "60"];
  const reasons = () => stored(dir.path).map(({ ended, reason }) => [ended, reason]);
  await using first = fleet.measure(...load);
  await first.hear(/^throughput 100: closed/m);
  await fleet.broker.kill();
  assertEquals((await first.end()).code, 1);
  const lost = `the broker at nats://10.77.1.2:${BROKER_PORT} was lost during the run: its agents end their load`;
  assertEquals(reasons(), [["limited", lost]]);
  for (const agent of fleet.agents) await agent.hear(/over, the broker was lost\. No load is left\./);
  await using _again = await fleet.start(BROKER_PORT);
  for (const agent of fleet.agents) await agent.hear(/ is back\.$/m);
  await using second = fleet.measure(...load);
  await second.hear(/^throughput 100: closed/m);
  crash(l1!);
  assertEquals((await second.end()).code, 1);
  assert(reasons().some(([ended, reason]) => ended === "limited" && /^agent l1 was lost: /.test(reason)));
  for (const agent of others) {
    await agent.hear(/over, its coordinator is done\. No load is left\./);
    assertEquals(loadOf(agent), []);
  }
});

Deno.test(
  "an agent on another host takes part with the token of the broker, and none with another one",
  { ignore },
  async () => {
    using dir = project();
    await using hosts = await openHosts();
    await using _server = await serverOn(hosts);
    const { left, right, address } = hosts;
    const at = { host: address.left, wrap: inside(left) };
    await using _broker = await BrokerProcess.start(["--auth", "t0ken"], BROKER_PORT, at);
    const url = `nats://${address.left}:${BROKER_PORT}`;
    const agentOf = (token: string) => {
      const args = ["--nats", url, "--name", "r1", "--allow-target", `${address.middle}/32`];
      return new RunningTask("agent", args, dir.path, { NATS_TOKEN: token }, inside(right));
    };
    const measureWith = (token: string) => {
      const target = ["--name", "mine", "--url", `http://${address.middle}:${PORT}`, "--fleet", url];
      const size = ["--scenario", "hold", "--connections", "10", "--seconds", "0"];
      return new RunningTask("measure", [...target, ...size], dir.path, { NATS_TOKEN: token }, inside(left));
    };
    await using agent = agentOf("t0ken");
    await agent.hear(/ waits at /);
    for (const task of [agentOf("wrong"), measureWith("wrong")]) {
      await using wrong = task;
      const { code, stderr } = await wrong.end();
      assertEquals(code, 69, stderr);
      assertMatch(stderr, /^The broker at nats:\/\/10\.77\.1\.2:\d+ refuses these credentials/);
    }
    await using run = measureWith("t0ken");
    const { code, stderr } = await run.end();
    assertEquals(code, 0, stderr);
    assertEquals(stored(dir.path).map(({ ended, metrics }) => [ended, metrics.answered]), [["ok", 10]]);
  },
);

Deno.test("an agent of another version on another host is refused, with both versions", { ignore }, async () => {
  using dir = project();
  using copy = folder();
  const args = ["-r", "deno.json", "deno.lock", "lib", "scripts", copy.path];
  assert((await new Deno.Command("cp", { args, cwd: ROOT }).output()).success);
  Deno.writeTextFileSync(`${copy.path}/lib/timing/histogram.ts`, "\n", { append: true });
  await using hosts = await openHosts();
  const { left, right, address } = hosts;
  const at = { host: address.left, wrap: inside(left) };
  await using _broker = await BrokerProcess.start([], BROKER_PORT, at);
  const url = `nats://${address.left}:${BROKER_PORT}`;
  const ofCopy = (words: string[]) => inside(right)(words.map((word) => word.replaceAll(ROOT, `${copy.path}/`)));
  const allowed = ["--allow-target", `${address.middle}/32`];
  await using agent = new RunningTask("agent", ["--nats", url, "--name", "r1", ...allowed], dir.path, {}, ofCopy);
  await agent.hear(/ waits at /);
  await using _server = await serverOn(hosts);
  const target = ["--name", "mine", "--url", `http://${address.middle}:${PORT}`, "--fleet", url, "--wait", "5"];
  await using run = new RunningTask("measure", target, dir.path, {}, inside(left));
  const { code, stderr } = await run.end();
  assertEquals(code, 69, stderr);
  assertMatch(stderr, /r1: it has version \w{16} of the load generator, this coordinator \w{16}\.$/m);
});
