/**
 * A network for a server around the kernel: a namespace for it, another for its clients, and a veth pair between them.
 *
 * All clients of faults connect to 127.0.0.1. In the namespace of the clients that address leads over the wire to the
 * server, and the others of 127/8 are their own, as sources. So the same clients do the same things to every server.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";
import {
  CLIENT_ADDRESS,
  CLIENT_INTERFACE,
  type Namespace,
  NetworkError,
  networkObstacle,
  openNetwork,
  SERVER_MAC,
} from "../../lib/network/namespaces.ts";
import { StartError } from "../../lib/server/server.ts";
import type { Place } from "../../lib/server/subject.ts";

/** Faults that find the server's end of a connection among the sockets of the kernel. */
export const OF_SOCKETS: readonly string[] = ["worker-killed", "peers-gone"];

const SERVER = "127.0.0.1";
const CLONE_NEWNET = 0x40000000; // <linux/sched.h>
const O_CLOEXEC = 0o2000000; // <asm-generic/fcntl.h>

/** What was made. Disposing of it brings the thread back, and removes the network. */
export interface Wire extends AsyncDisposable {
  /** Where the server is to be started. */
  place: Place;
  /** Listens at a port of 127.0.0.1 in the network of the server. */
  hold(port: number): Disposable;
}

/** Makes 127.0.0.1 the address of the server's end, and leaves the rest of 127/8 to the clients. */
async function leadToServer(client: Namespace): Promise<void> {
  const dev = ["dev", CLIENT_INTERFACE];
  // Without this option the kernel drops what comes from 127/8 by another interface than `lo`: it takes it for forged.
  await client.run("sysctl", ["-qw", `net.ipv4.conf.${CLIENT_INTERFACE}.route_localnet=1`]);
  await client.run("ip", ["route", "add", "local", "127.0.0.0/8", ...dev, "table", "local"]);
  const toServer = [
    "route",
    "add",
    "unicast",
    SERVER,
    ...dev,
    "table",
    "local",
    "scope",
    "link",
    "src",
    CLIENT_ADDRESS,
  ];
  await client.run("ip", toServer);
  await client.run("ip", ["neigh", "add", SERVER, "lladdr", SERVER_MAC, ...dev, "nud", "permanent"]);
}

/** Takes the calling thread, and all that it starts from now on, into a network; back, when it is disposed of. */
function enter(network: Namespace): Disposable {
  const library = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  });
  const libc = library.symbols;
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));
  const must = (result: number, action: string): number => {
    if (result < 0) throw new NetworkError(`cannot ${action}: ${getSystemErrorName(-errno[0]!)}`);
    return result;
  };
  const open = (path: string) => must(libc.open(new TextEncoder().encode(`${path}\0`), O_CLOEXEC), `open ${path}`);
  const own = open("/proc/thread-self/ns/net");
  const other = open(`/proc/${network.pid}/ns/net`);
  must(libc.setns(other, CLONE_NEWNET), "enter a network");
  libc.close(other);
  return {
    [Symbol.dispose]() {
      must(libc.setns(own, CLONE_NEWNET), "leave a network");
      libc.close(own);
      library.close();
    },
  };
}

/**
 * Makes a network, and takes the calling thread to the side of the clients. Needs root.
 *
 * @throws {StartError} If there can be none here. Nothing of it is left then.
 */
export async function openWire(server: string): Promise<Wire> {
  const skipped = (reason: string) =>
    new StartError({ ended: "skipped", reason: `${server} needs a network of its own: ${reason}.` });
  const obstacle = await networkObstacle();
  if (obstacle !== null) throw skipped(obstacle);
  try {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await openNetwork());
    await leadToServer(network.client);
    stack.use(enter(network.client));
    const owned = stack.move();
    return {
      place: {
        command: (command) => network.server.command(command),
        interface: network.interface,
        address: SERVER,
      },
      hold(port) {
        using _ = enter(network.server);
        try {
          return Deno.listen({ hostname: SERVER, port });
        } catch (error) {
          if (!(error instanceof Deno.errors.AddrInUse)) throw error;
          return new DisposableStack(); // who has it, has it still
        }
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  } catch (error) {
    if (error instanceof NetworkError) throw skipped(error.message);
    throw error;
  }
}
