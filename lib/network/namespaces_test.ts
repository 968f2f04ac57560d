/** Networks for tests and measurements: they carry frames, and nothing of them stays behind, not even after SIGKILL. */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { fileURLToPath } from "node:url";
import { find } from "../catalogue/catalogue.ts";
import { experimentCommand, startServer } from "../server/server.ts";
import { PATIENCE_MS, until } from "../testing/client.ts";
import { BPF_KINDS, bpfObjects, isInhabited, namespaces, receivers } from "../testing/traces.ts";
import { processCpuUs } from "../sampling/process.ts";
import { cpuMask, NetworkError, networkObstacle, openNetwork, receiveAtServer } from "./namespaces.ts";

const MODULE = new URL("namespaces.ts", import.meta.url).href;
const SERVER_MODULE = new URL("../server/server.ts", import.meta.url).href;
const CONFIG = fileURLToPath(new URL("../../deno.json", import.meta.url));

const obstacle = await networkObstacle();
const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: obstacle === null ? name : `${name} (${obstacle})`, ignore: obstacle !== null, fn });

test("two namespaces are joined, and gone when they are disposed of", async () => {
  const own: string[] = [];
  {
    await using net = await openNetwork();
    for (const { pid } of [net.server, net.client]) own.push(...await namespaces(String(pid)));
    assertNotEquals(own[0], own[1]);
    assertEquals([own.length, await isInhabited(own)], [2, true]);
    const links = await net.client.run("ip", ["-o", "link", "show", "up"]);
    assert(links.includes("lab1@"), links);
  }
  assertEquals(await isInhabited(own), false);
});

test("what arrives at each end is work of the cores that were named", async () => {
  const last = Math.min(navigator.hardwareConcurrency, 32) - 1;
  await using net = await openNetwork(undefined, { server: [0], load: [last] });
  for (const [end, name, mask] of [[net.server, "lab0", 1], [net.client, "lab1", 2 ** last]] as const) {
    // sysfs shows the namespace that mounts it
    const show = `mount -t sysfs sysfs /sys && cat /sys/class/net/${name}/queues/rx-0/rps_cpus`;
    assertEquals(Number(`0x${(await end.run("unshare", ["--mount", "sh", "-c", show])).trim()}`), mask);
  }
});

test("what arrives at a server with kernel bypass is handled by a thread on the cores that were named, and ends with it", async () => {
  const before = receivers();
  let own: [string, string][] = [];
  {
    await using net = await openNetwork();
    await assertRejects(() => receiveAtServer(net, [0]), NetworkError); // nothing has attached to the interface
    const args = ["--interface", net.interface, "--address", net.address];
    await using server = await startServer(net.server.command(experimentCommand(find("xdp"), args)));
    const threads = await receiveAtServer(net, [0]);
    assert(threads.every((pid) => receivers().has(String(pid)) && processCpuUs(pid) !== null), threads.join());
    own = [...receivers()].filter(([pid]) => !before.has(pid)); // and, where other tests run, those of their networks
    assert(own.some(([, cores]) => cores === "0"), JSON.stringify(own));
    const url = `http://${net.address}:${server.port}/`;
    assertEquals(await net.client.run("curl", ["-sS", "--noproxy", "*", "--max-time", "10", url]), "Hello World");
  }
  await until(() => own.some(([pid]) => !receivers().has(pid)), PATIENCE_MS, "its end");
});

Deno.test("a set of cores is a mask in groups of 32 bits", () => {
  assertEquals([[], [0], [1, 3], [31], [32], [0, 65]].map(cpuMask), [
    "00000000",
    "00000001",
    "0000000a",
    "80000000",
    "00000001,00000000",
    "00000002,00000000,00000001",
  ]);
});

// The harness: a network and a server in it, both ready, when it says so.
const HARNESS = `
import { openNetwork } from ${JSON.stringify(MODULE)};
import { startServer } from ${JSON.stringify(SERVER_MODULE)};
const net = await openNetwork();
const { command, args } = JSON.parse(Deno.args[0]);
const server = await startServer(net.server.command({ command, args }));
console.log(JSON.stringify([net.server.pid, net.client.pid, server.pid]));
await new Promise(() => setInterval(() => {}, 1000));
`;

/** The interfaces and the named namespaces of this system. */
async function listIp(): Promise<string[]> {
  const lists = [["-br", "link"], ["netns"]].map((args) => new Deno.Command("ip", { args }).output());
  const lines = (await Promise.all(lists)).flatMap(({ stdout }) => new TextDecoder().decode(stdout).split("\n"));
  return lines.map((line) => line.split(" ")[0]!);
}

test("nothing is left after SIGKILL: no interface, no namespace, no process, no program, no map and no link of bpf(2)", async () => {
  const before = new Set(bpfObjects());
  const listed = await listIp();
  const argument = JSON.stringify(experimentCommand(find("xdp"), ["--interface", "lab0", "--address", "10.0.0.1"]));
  const script = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(script, HARNESS);
  await using harness = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", CONFIG, script, argument],
    stdout: "piped",
  }).spawn();
  const [line] = await Array.fromAsync(take(harness.stdout, 1));
  const pids = JSON.parse(line!) as number[];
  const own = (await Promise.all(pids.map((pid) => namespaces(String(pid))))).flat();
  const ours = bpfObjects().filter((object) => !before.has(object));
  for (const kind of BPF_KINDS) assert(ours.some((object) => object.startsWith(kind)), `${kind}: ${ours}`);
  harness.kill("SIGKILL");
  await until(async () => !await isInhabited(own), PATIENCE_MS, "the namespaces to be gone");
  await until(() => !bpfObjects().some((object) => ours.includes(object)), PATIENCE_MS, `${ours} to be gone`);
  assertEquals(await listIp(), listed);
  await Deno.remove(script);
});

/** The first lines of a stream. */
async function* take(stream: ReadableStream<Uint8Array<ArrayBuffer>>, count: number): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      yield line;
      if (--count === 0) return;
    }
  }
}
