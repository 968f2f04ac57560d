/**
 * Two or three hosts in one: network namespaces joined by veth pairs, for programs that need a network of their own.
 *
 * The namespaces have no names. A process holds each of them, and ends when the pipe to this process does; so they are gone
 * with it, by SIGKILL as well, and there is nothing to sweep up later. Needs root.
 *
 * @example
 * ```ts
 * await using net = await openNetwork();
 * const server = await startServer(net.server.command({ command: "deno", args: [..., "--interface", net.interface] }));
 * await net.client.run("curl", ["-sS", `http://${net.address}:${server.port}/`]);
 * ```
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { isInstalled } from "../catalogue/tools.ts";
import type { GroupCommand } from "../server/process_group.ts";

/** The interface and the address of the server's end. The kernel there has no address: whoever serves answers on it. */
export const SERVER_INTERFACE = "lab0";
export const SERVER_ADDRESS = "10.0.0.1";
/** The client's end: a network of 16 million addresses, so that one host can have many sources. */
export const CLIENT_INTERFACE = "lab1";
export const CLIENT_ADDRESS = "10.0.0.2";
const CLIENT_NETWORK = `${CLIENT_ADDRESS}/8`;
export const SERVER_MAC = "02:00:00:00:00:01";
export const CLIENT_MAC = "02:00:00:00:00:02";
const PROGRAMS = ["ip", "nsenter", "unshare", "sysctl", "mount", "taskset"];
const OFFLOAD = fileURLToPath(new URL("offload.ts", import.meta.url));

/** The ports of the client's end. The kernel's own choice has 28 232 of them, and one source address has no more. */
const CLIENT_PORTS = "1024 65535";

// Says that the namespace is there, and lives as long as the pipe of its standard input.
const HOLD = "echo ready; exec cat";

/** A program that passes frames on between two interfaces, `near` and `far`, and ends with its standard input. */
export interface Relay {
  /** Its file, which `deno run --allow-ffi` runs; it says `ready` on its first line. */
  file: string;
  /** What stands behind the names of the interfaces. */
  argument: string;
}

/** A step of making a network failed: the message says which, and what the program said. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** Why there can be no namespaces here; null if there can. Needs `--allow-run` and `--allow-sys=uid`. */
export async function networkObstacle(): Promise<string | null> {
  if (Deno.build.os !== "linux") return "network namespaces are a part of Linux";
  if (Deno.uid() !== 0) return "network namespaces need root";
  for (const program of PROGRAMS) if (!await isInstalled(program)) return `${program} is missing`;
  const { code, stderr } = await output("unshare", ["--net", "true"]); // root in a container may lack the permission
  return code === 0 ? null : `no network namespace can be made: ${stderr.trim()}`;
}

/** Runs a program to its end. */
async function output(command: string, args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  const [said, complained] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, stdout: said!, stderr: complained! };
}

/** Resolves once a program has written its first line. */
async function firstLine(child: Deno.ChildProcess): Promise<string> {
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    if (text.includes("\n")) break;
  }
  await reader.cancel();
  return text.split("\n")[0]!;
}

/** A network namespace, and the process that holds it. */
export class Namespace implements AsyncDisposable {
  readonly pid: number;
  readonly #holder: Deno.ChildProcess;

  private constructor(holder: Deno.ChildProcess) {
    this.#holder = holder;
    this.pid = holder.pid;
  }

  /** Makes one. IPv6 is off: its router solicitations would be frames that no test has sent. */
  static async make(): Promise<Namespace> {
    const holder = new Deno.Command("unshare", {
      args: ["--net", "sh", "-c", HOLD],
      detached: true, // Ctrl-C in the terminal reaches this process alone, which ends the servers first
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const namespace = new Namespace(holder);
    if (await firstLine(holder) !== "ready") {
      throw new NetworkError("Cannot make a network namespace: unshare(1) has failed.");
    }
    await namespace.run("sysctl", [
      "-qw",
      "net.ipv6.conf.all.disable_ipv6=1",
      "net.ipv6.conf.default.disable_ipv6=1",
    ]);
    return namespace;
  }

  /** The command that runs a command here. */
  command<T extends GroupCommand>(command: T): T {
    return {
      ...command,
      command: "nsenter",
      args: [`--net=/proc/${this.pid}/ns/net`, command.command, ...command.args],
    };
  }

  /**
   * Runs a program here to its end. Returns its standard output.
   *
   * @throws {NetworkError} If it fails: with what it has said.
   */
  async run(command: string, args: string[]): Promise<string> {
    const wrapped = this.command({ command, args });
    const { code, stdout, stderr } = await output(wrapped.command, wrapped.args);
    if (code !== 0) throw new NetworkError(`${command} ${args.join(" ")} ended with ${code}: ${stderr || stdout}`);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.stdin.close();
    await this.#holder.status;
  }
}

/** A set of cores as the kernel reads one: hexadecimal, in groups of 32 bits, the highest first. */
export function cpuMask(cores: readonly number[]): string {
  const mask = cores.reduce((bits, core) => bits | 1n << BigInt(core), 0n).toString(16);
  const digits = mask.padStart(Math.ceil(mask.length / 8) * 8, "0");
  return digits.match(/.{8}/g)!.join(",");
}

/** Which cores do the kernel's work on what arrives at each end. */
export interface ReceivingCores {
  server: readonly number[];
  load: readonly number[];
}

/**
 * Has cores do the kernel's work on what arrives at interfaces that are made later. Without it the sender's core does, inside
 * its own system call: then each end's core would be busy with the other's half of TCP. It is for the kernel's own stack: see
 * `receiveAtServer` for a server around it.
 */
const receiveOn = (namespace: Namespace, cores: readonly number[]) =>
  namespace.run("sysctl", ["-qw", `net.core.rps_default_mask=${cpuMask(cores)}`]);

/** A server's and a client's namespace, and what joins them. */
export interface Network extends AsyncDisposable {
  server: Namespace;
  client: Namespace;
  /** The server's interface and address. */
  interface: string;
  address: string;
}

// $1: the interface, $2: its cores. The namespace of mounts is left at the end, and its sysfs with it. A thread has its name
// from the interface, and another network of the lab may have the same: those that were there before belong to it.
const THREADED = `
mount -t sysfs sysfs /sys || exit
threads() {
  for comm in /proc/[0-9]*/comm; do
    { read -r name < "$comm"; } 2> /dev/null || continue
    case $name in napi/"$1"-*) comm=\${comm%/comm}; echo "\${comm#/proc/}" ;; esac
  done
}
before=$(threads "$1" | tr '\\n' ' ')
echo 1 > "/sys/class/net/$1/threaded" || exit
found=0
for thread in $(threads "$1"); do
  case " $before" in *" $thread "*) continue ;; esac
  taskset -pc "$2" "$thread" > /dev/null || exit
  echo "$thread"
  found=1
done
[ "$found" = 1 ] || { echo "no thread takes in what arrives at $1" >&2; exit 1; }
`;

/**
 * Has cores do the kernel's work on what arrives for a server around the kernel. In native mode that is the driver's receive
 * function (NAPI), which on a veth runs on the core of the sender. A thread of the kernel takes its place, and is bound to the
 * cores. To be called when the server is ready: before, there is no such function.
 *
 * @returns The pids of these threads.
 * @throws {NetworkError} If it cannot be had: in generic mode, before Linux 5.12, or where the kernel's threads cannot be seen.
 */
export async function receiveAtServer(
  { server, interface: name }: Network,
  cores: readonly number[],
): Promise<number[]> {
  try {
    const pids = await server.run("unshare", ["--mount", "sh", "-c", THREADED, "sh", name, cores.join(",")]);
    return pids.trim().split("\n").map(Number);
  } catch (error) {
    const what =
      `what arrives at ${name} cannot be handled on the server's cores: that takes native mode, threaded NAPI (Linux 5.12), ` +
      "and access to the kernel's threads";
    if (error instanceof NetworkError) throw new NetworkError(`${what} (${error.message.trim()})`, { cause: error });
    throw error;
  }
}

/**
 * Joins two namespaces by a veth pair. One queue on each side, so that every frame takes the same way. What an end sends
 * has its checksum and is one frame: nothing behind a veth completes or divides what a network card would.
 */
export async function join(one: Namespace, oneName: string, other: Namespace, otherName: string): Promise<void> {
  const queues = ["numrxqueues", "1", "numtxqueues", "1"];
  await one.run("ip", [
    ...["link", "add", oneName, ...queues, "type", "veth"],
    ...["peer", "name", otherName, ...queues, "netns", String(other.pid)],
  ]);
  for (const [namespace, name] of [[one, oneName], [other, otherName]] as const) {
    await namespace.run(Deno.execPath(), ["run", "--no-config", "--allow-ffi", OFFLOAD, name]);
  }
}

async function address(server: Namespace, client: Namespace): Promise<void> {
  await server.run("ip", ["link", "set", SERVER_INTERFACE, "address", SERVER_MAC, "up"]);
  await client.run("ip", ["link", "set", CLIENT_INTERFACE, "address", CLIENT_MAC, "up"]);
  await client.run("ip", ["addr", "add", CLIENT_NETWORK, "dev", CLIENT_INTERFACE]);
  await client.run("sysctl", ["-qw", `net.ipv4.ip_local_port_range=${CLIENT_PORTS}`]);
}

/** Gives the address of the server's end to the kernel there, for a server that speaks by the kernel's TCP. */
export async function addressKernel({ server, address, interface: name }: Network): Promise<void> {
  await server.run("ip", ["link", "set", "lo", "up"]);
  await server.run("ip", ["addr", "add", `${address}/8`, "dev", name]);
}

/** Starts the relay in a namespace of its own, between the two others. */
async function openRelay(
  { file, argument }: Relay,
  server: Namespace,
  client: Namespace,
  stack: AsyncDisposableStack,
): Promise<void> {
  const relay = stack.use(await Namespace.make());
  await join(relay, "near", server, SERVER_INTERFACE);
  await join(relay, "far", client, CLIENT_INTERFACE);
  for (const name of ["near", "far"]) await relay.run("ip", ["link", "set", name, "up", "promisc", "on"]);
  const { command, args } = relay.command({
    command: Deno.execPath(),
    args: ["run", "--no-config", "--allow-ffi", file, "near", "far", argument],
  });
  const child = new Deno.Command(command, { args, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
  stack.defer(async () => {
    await child.stdin.close(); // it ends then, as it does when this process is killed
    await child.status;
  });
  const said = await firstLine(child);
  if (said !== "ready") throw new Error(`The relay is not ready: ${said || "it has ended"}.`);
}

/**
 * Makes two namespaces and what joins them: a veth pair, or two with a relay between. `cores`: those that work on what arrives
 * at each end; that of the sender if none are given.
 *
 * @throws {Error} If a step fails. Nothing is left then.
 */
export async function openNetwork(relay?: Relay, cores?: ReceivingCores): Promise<Network> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await Namespace.make());
  const client = stack.use(await Namespace.make());
  if (cores !== undefined) {
    await receiveOn(server, cores.server);
    await receiveOn(client, cores.load);
  }
  if (relay === undefined) await join(client, CLIENT_INTERFACE, server, SERVER_INTERFACE);
  else await openRelay(relay, server, client, stack);
  await address(server, client);
  const owned = stack.move();
  return {
    server,
    client,
    interface: SERVER_INTERFACE,
    address: SERVER_ADDRESS,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
