/**
 * @title      node-net: the sockets of Node, without its HTTP
 * @family     runtime
 * @question   How much of node:http's price is the runtime below, and how much the objects that it makes of a request?
 * @idea       libuv waits with epoll and reads, and a stream in JavaScript hands each piece to the program, which parses
 *             it in place as epoll.ts does. It is event-loop.ts with callbacks in place of promises.
 * @prediction A request costs at most half the CPU that it costs with node-http, and less than with event-loop.
 * @expect     throughput(100).cpu_us_per_request <= 0.5 * node-http
 *             throughput(100).cpu_us_per_request < 1 * event-loop
 * @compare    node-http, event-loop, python-uvloop, epoll
 * @requires   linux | darwin
 * @needs      node (nodejs)
 * @version    node --version
 * @fairness   One thread runs JavaScript, the others help it to collect garbage. Reads of up to 64 KiB into a buffer of
 *             their own, copied once into an inbox that all share; one write for the answers of one read. TCP_NODELAY
 *             and keepalive are set for each connection.
 * @cannot     recover-emfile It recovers, but never learns of it: without a free descriptor libuv accepts connections,
 *             closes them at once, and reports nothing.
 * @cannot     wait-at-emfile For the same reason a connection that comes when descriptors have run out is lost.
 * @cannot     give-up Node does not set TCP_USER_TIMEOUT: a peer that is gone while an answer is on its way is held
 *             until the kernel has tried for a quarter of an hour. One that takes nothing is dropped after more than
 *             30 s: a time limit of Node starts again if the peer took something since the last one.
 * @run        deno run --allow-read --allow-ffi node-net.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work burns the CPU of the only thread, so every client waits for it.
 * @sources    node:net, node:stream (nodejs.org/api); libuv, Design overview (docs.libuv.org)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "node-net";

// ---- The architecture: what this process becomes -------------------------------------------------------------------

const NODE = "node", INSTALL = "apt-get install -y nodejs"; // found on the PATH by execvp(3)
const SOURCE = `${import.meta.dirname}/node/net_server.mjs`;

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/**
 * Replaces this process by another program, execvp(3): process id, limits, pinning and streams stay, nothing of the
 * runtime does. The program says itself that it is ready, hears the signals itself, and its memory is its own.
 */
function become(program: string, args: string[]): never {
  const libc = Deno.dlopen(Deno.build.os === "darwin" ? "libSystem.dylib" : "libc.so.6", {
    execvp: { parameters: ["buffer", "buffer"], result: "i32" },
  }).symbols;
  const words = [program, ...args].map((word) => new TextEncoder().encode(`${word}\0`));
  const argv = BigUint64Array.from([...words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))), 0n]);
  libc.execvp(words[0]!, argv); // returns only if it failed
  return unavailable(`${program} is not installed: ${INSTALL}`);
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: string } {
  try {
    const { values: { host, port } } = parseArgs({
      args: Deno.args,
      options: { port: { type: "string", default: "8080" }, host: { type: "string", default: "127.0.0.1" } },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    return { host, port };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS]`);
    Deno.exit(2);
  }
}

if (import.meta.main) {
  const { host, port } = readOptions();
  try {
    Deno.statSync(SOURCE);
    become(NODE, [SOURCE, "--experiment", EXPERIMENT, "--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
