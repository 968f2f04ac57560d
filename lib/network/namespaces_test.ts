/** Networks for tests and measurements: they carry frames, and nothing of them stays behind, not even after SIGKILL. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { find } from "../catalogue/catalogue.ts";
import { experimentCommand } from "../server/server.ts";
import { PATIENCE_MS, until } from "../testing/client.ts";
import { networkObstacle, openNetwork } from "./namespaces.ts";

const MODULE = new URL("namespaces.ts", import.meta.url).href;
const SERVER_MODULE = new URL("../server/server.ts", import.meta.url).href;
const CONFIG = fileURLToPath(new URL("../../deno.json", import.meta.url));
const SYS_BPF = Deno.build.arch === "x86_64" ? 321n : 280n;
const BPF_PROG_GET_NEXT_ID = 11n;
const BPF_MAP_GET_NEXT_ID = 12n;
const BPF_LINK_GET_NEXT_ID = 31n;

const obstacle = await networkObstacle();
const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: obstacle === null ? name : `${name} (${obstacle})`, ignore: obstacle !== null, fn });

/** The numbers of what bpf(2) has of one kind in the whole system. */
function bpfIds(command: bigint): number[] {
  using library = new BpfLibrary();
  const ids: number[] = [];
  const attribute = new Uint32Array(32); // start_id, next_id
  while (library.bpf(command, attribute) >= 0) {
    ids.push(attribute[1]!);
    attribute[0] = attribute[1]!;
  }
  return ids;
}

/** bpf(2). */
class BpfLibrary implements Disposable {
  readonly #library = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "i64", "buffer", "i64"], result: "i64" },
  });

  bpf(command: bigint, attribute: Uint32Array<ArrayBuffer>): number {
    return Number(this.#library.symbols.syscall(SYS_BPF, command, attribute, BigInt(attribute.byteLength)));
  }

  [Symbol.dispose](): void {
    this.#library.close();
  }
}

/** The network namespaces that processes are in; those of one process, if it is named. */
async function namespaces(pid = "[0-9]*"): Promise<string[]> {
  // Deno itself reads /proc for a process with all permissions only.
  const args = ["-c", `readlink /proc/${pid}/ns/net`];
  const { stdout } = await new Deno.Command("sh", { args, stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim().split("\n");
}

/** Whether a process is in one of these namespaces. */
async function isInhabited(names: string[]): Promise<boolean> {
  const all = await namespaces();
  return names.some((name) => all.includes(name));
}

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

test("nothing is left after SIGKILL: no namespace, no process, no program, no map and no link of bpf(2)", async () => {
  const kinds = [BPF_PROG_GET_NEXT_ID, BPF_MAP_GET_NEXT_ID, BPF_LINK_GET_NEXT_ID];
  const before = kinds.map((kind) => new Set(bpfIds(kind)));
  const fresh = () => kinds.map((kind, i) => bpfIds(kind).filter((id) => !before[i]!.has(id)));
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
  assert(fresh().every((ids) => ids.length > 0), `${fresh()}`); // the program, its map and its link
  const ours = fresh();
  harness.kill("SIGKILL");
  await until(async () => !await isInhabited(own), PATIENCE_MS, "the namespaces to be gone");
  await until(
    () => kinds.every((kind, i) => bpfIds(kind).every((id) => !ours[i]!.includes(id))),
    PATIENCE_MS,
    "program, map and link to be gone",
  );
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
