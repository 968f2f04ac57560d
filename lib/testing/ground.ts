/**
 * The ground of experiments that go around the kernel: servers run in a network namespace, and the test in another one whose
 * 127.0.0.1 is, by the port, a server at the other end of a veth pair. So every test of a server holds for them unchanged.
 *
 * @module
 */
import { type Experiment, runsHere } from "../catalogue/catalogue.ts";
import { join, Namespace, networkObstacle } from "../network/namespaces.ts";
import type { ServerCommand } from "../server/server.ts";
import { HAS_WINE, Wine, WineError, wineObstacle } from "../server/wine.ts";

/** Wires, so many servers at a time: a test may start others beside the one that all share. */
const WIRES = 4;
/** The ports of the first wire; those of the others follow. The port of 127.0.0.1 says over which wire it goes. */
const FIRST_PORT = 20_000;
const PORTS = 1000;
const FIRST_TABLE = 100;
const CLONE_NEWNET = 0x40000000; // <sched.h>
const O_RDONLY = 0;

function openLibc() {
  return Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
}

/** Joins the namespaces by one more wire, over which some ports of 127.0.0.1 are the server's. */
async function addWire(server: Namespace, client: Namespace, wire: number): Promise<void> {
  const near = `lab${wire}`;
  const first = FIRST_PORT + wire * PORTS;
  const table = String(FIRST_TABLE + wire);
  await join(client, near, server, near);
  for (const namespace of [server, client]) await namespace.run("ip", ["link", "set", near, "up"]);
  await client.run("ip", ["addr", "add", `10.${wire}.0.2/16`, "dev", near]);
  const setting = `net.ipv4.conf.${near}`;
  await client.run("sysctl", ["-qw", `${setting}.route_localnet=1`, `${setting}.rp_filter=0`]);
  await client.run("ip", ["route", "add", "127.0.0.1/32", "dev", near, "src", `10.${wire}.0.2`, "table", table]);
  const range = `${first}-${first + PORTS - 1}`;
  await client.run("ip", ["rule", "add", "to", "127.0.0.1", "ipproto", "tcp", "dport", range, "lookup", table]);
}

/** Two namespaces, and the way into the client's. */
export class WireGround implements AsyncDisposable {
  readonly #server: Namespace;
  readonly #client: Namespace;
  readonly #owned: AsyncDisposableStack;
  #started = 0;

  private constructor(server: Namespace, client: Namespace, owned: AsyncDisposableStack) {
    this.#server = server;
    this.#client = client;
    this.#owned = owned;
  }

  /** @throws {Error} If a step fails. Nothing is left then. */
  static async open(): Promise<WireGround> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await Namespace.make());
    const client = stack.use(await Namespace.make());
    for (let wire = 0; wire < WIRES; wire++) await addWire(server, client, wire);
    await client.run("sysctl", ["-qw", "net.ipv4.conf.all.rp_filter=0"]);
    return new WireGround(server, client, stack.move());
  }

  /** The command that starts a server in its namespace: the first one over a wire of its own, the others by turns. */
  command(command: ServerCommand): ServerCommand {
    const words = command.args;
    const wanted = Number(words[words.lastIndexOf("--port") + 1]);
    const isChosen = wanted >= FIRST_PORT && wanted < FIRST_PORT + WIRES * PORTS;
    const wire = isChosen ? Math.floor((wanted - FIRST_PORT) / PORTS) : this.#nextWire();
    const port = isChosen ? wanted : FIRST_PORT + wire * PORTS + this.#started % PORTS;
    const given: Record<string, string> = { "--interface": `lab${wire}`, "--address": "127.0.0.1" };
    if (wanted === 0) given["--port"] = String(port);
    const args = words.map((word, i) => given[words[i - 1] ?? ""] ?? word);
    for (const [flag, value] of Object.entries(given)) if (!args.includes(flag)) args.push(flag, value);
    return this.#server.command({ ...command, args });
  }

  #nextWire(): number {
    const wire = this.#started === 0 ? 0 : 1 + this.#started % (WIRES - 1);
    this.#started++;
    return wire;
  }

  /**
   * Runs `act` in the client's namespace: sockets that it opens and programs that it starts belong there. The namespace is
   * one of this thread, so nothing else may run on it meanwhile that opens sockets.
   */
  async inside<T>(act: () => Promise<T>): Promise<T> {
    const library = openLibc();
    const libc = library.symbols;
    const enter = (path: string) => {
      const namespace = libc.open(new TextEncoder().encode(`${path}\0`), O_RDONLY);
      if (namespace < 0) throw new Error(`Cannot open ${path}.`);
      return namespace;
    };
    const home = enter("/proc/thread-self/ns/net");
    const away = enter(`/proc/${this.#client.pid}/ns/net`);
    try {
      if (libc.setns(away, CLONE_NEWNET) < 0) throw new Error("Cannot enter the client's namespace.");
      return await act();
    } finally {
      libc.setns(home, CLONE_NEWNET); // it was left a moment ago, so it is there
      for (const namespace of [home, away]) libc.close(namespace);
      library.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

/**
 * What an experiment can run on: this system (`wine` and `wire` are null), Wine, or two namespaces with a wire between them
 * where it goes around the kernel. Else the reason, and whether this system should be able to. Needs `--allow-sys=osRelease`, and `--allow-run` for Wine.
 */
export async function findGround(
  experiment: Experiment,
): Promise<{ wine: Wine | null; wire: WireGround | null } | { reason: string; isOurs: boolean }> {
  const here = runsHere(experiment);
  if (here.runs && experiment.family === "bypass") {
    const reason = await networkObstacle();
    return reason === null ? { wine: null, wire: await WireGround.open() } : { reason, isOurs: false };
  }
  if (here.runs) return { wine: null, wire: null };
  const needs = (wanted: string) => experiment.requires.some(({ os }) => os === wanted);
  if (!needs("windows") || !HAS_WINE) return { reason: here.reason, isOurs: needs("any") || needs(Deno.build.os) };
  try {
    const reason = await wineObstacle();
    return reason === null ? { wine: await Wine.start(), wire: null } : { reason, isOurs: true };
  } catch (error) {
    if (error instanceof WineError) return { reason: error.message, isOurs: true };
    throw error;
  }
}
