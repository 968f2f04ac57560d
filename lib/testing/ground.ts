/**
 * The ground of experiments that go around the kernel: the server runs in a network namespace, and the test in another one
 * whose 127.0.0.1 is the server at the other end of a veth pair. So every test of a server holds for them unchanged.
 *
 * @module
 */
import type { ServerCommand } from "../server.ts";
import { leadLoopback, type Network, openNetwork } from "./namespaces.ts";

const CLONE_NEWNET = 0x40000000; // <sched.h>
const O_RDONLY = 0;

function openLibc() {
  return Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
}

/** Two namespaces, and the way into the client's. */
export class WireGround implements AsyncDisposable {
  readonly #network: Network;

  private constructor(network: Network) {
    this.#network = network;
  }

  /** @throws {Error} If a step fails. Nothing is left then. */
  static async open(): Promise<WireGround> {
    const network = await openNetwork();
    await leadLoopback(network);
    return new WireGround(network);
  }

  /** The command that starts a server in its namespace, on the interface and the address that are there. */
  command(command: ServerCommand): ServerCommand {
    const given: Record<string, string> = { "--interface": this.#network.interface, "--address": "127.0.0.1" };
    const args = command.args.map((word, i, words) => given[words[i - 1] ?? ""] ?? word);
    for (const [flag, value] of Object.entries(given)) if (!args.includes(flag)) args.push(flag, value);
    return this.#network.server.command({ ...command, args });
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
    const away = enter(`/proc/${this.#network.client.pid}/ns/net`);
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
    await this.#network[Symbol.asyncDispose]();
  }
}
