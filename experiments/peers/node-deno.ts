/**
 * @title      node-deno: the same file of node:http on another runtime
 * @family     runtime
 * @question   Is it the interface or the runtime below that costs?
 * @idea       The very same server.mjs as in node-http, run by Deno: it makes node:http out of its own parts, so
 *             whatever differs between the two is neither the engine (V8) nor the program.
 * @prediction A request costs less CPU than in node-http and more than in deno-serve.
 * @expect     throughput(100).cpu_us_per_request < 1 * node-http
 *             throughput(100).cpu_us_per_request > 1 * deno-serve
 * @compare    node-http, deno-serve, event-loop
 * @requires   linux | darwin
 * @fairness   One thread runs JavaScript, the others help it to collect garbage; no time limits. Deno obeys the options
 *             of node-http that it knows.
 * @cannot     share-work Callbacks of setImmediate() run before all sockets, so a pipeline of work is served to its
 *             end.
 * @cannot     hear-signals For the same reason signals are handled after it.
 * @cannot     head-deadline Deno does not know the time limit for a head.
 * @cannot     keepalive No probes are sent.
 * @cannot     any-form The parser knows HTTP/0.9, 1.0, 1.1 and 2.0: any other version gets 400.
 * @cannot     refuse-version The preface of HTTP/2 is answered with 400.
 * @cannot     exact-parser It skips bodies, knows the methods of a list, and has limits of its own.
 * @cannot     bound-head A head of up to 16 KiB and more is served: names and values are counted, what stands between
 *             them is not.
 * @cannot     close-after-body A request with a body is answered and the connection stays: the parser skips the body.
 * @cannot     any-method The parser knows the methods of a list; any other gets 400 in place of 405, and the connection
 *             closes.
 * @cannot     bound-memory What it does not refuse it keeps: a thousand heads of 256 KiB take more than 128 MiB.
 * @cannot     drain A client that asks for much before it reads is forgotten: once its answers did not fit into the socket, the
 *             connection is never read, written or closed again.
 * @cannot     return-memory For the same reason its answers are kept.
 * @cannot     share-pipelines All requests of one read are answered before others are read.
 * @cannot     recover-emfile Once descriptors have run out no connection is ever accepted again, and nothing reports it.
 * @cannot     wait-at-emfile For the same reason a connection that comes then waits for ever.
 * @cannot     recover-accept-errors After any error of accept(2) no connection is ever accepted again, and nothing
 *             reports it.
 * @cannot     pass-accept-errors For the same reason a connection that comes then waits for ever.
 * @cannot     stop-backlog What has completed its handshake but is not accepted is reset when the listener closes.
 * @cannot     stop-in-flight A request whose head is not complete at SIGTERM is dropped: closeIdleConnections() closes
 *             it.
 * @cannot     give-up There is no time limit for an answer: a peer that takes nothing is held for ever, a dead one for
 *             a quarter of an hour.
 * @run        deno run --allow-read --allow-ffi node-deno.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work burns the CPU of the only thread, so every client waits for it.
 * @sources    node:http (nodejs.org/api); Node and npm compatibility (docs.deno.com)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "node-deno";

// ---- The architecture: what this process becomes -------------------------------------------------------------------

const SOURCE = `${import.meta.dirname}/node/server.mjs`;

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/**
 * Replaces this process by another program, execv(3): process id, limits, pinning and streams stay, nothing of the
 * runtime does. The program says itself that it is ready, hears the signals itself, and its memory is its own.
 */
function become(program: string, args: string[]): never {
  const libc = Deno.dlopen(Deno.build.os === "darwin" ? "libSystem.dylib" : "libc.so.6", {
    execv: { parameters: ["buffer", "buffer"], result: "i32" },
  }).symbols;
  const words = [program, ...args].map((word) => new TextEncoder().encode(`${word}\0`));
  const argv = BigUint64Array.from([...words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))), 0n]);
  libc.execv(words[0]!, argv); // returns only if it failed
  return unavailable(`${program}, which runs this very file, cannot be started once more.`);
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
    const flags = ["run", "--no-config", "--no-lock", "--no-prompt", `--allow-net=${host}`];
    become(Deno.execPath(), [...flags, SOURCE, "--experiment", EXPERIMENT, "--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
