/**
 * @title      node-http: the server that made event loops popular
 * @family     runtime
 * @question   What does a request cost where JavaScript sees every request, and a library in C and JavaScript does the
 *             rest?
 * @idea       libuv waits with epoll and reads, llhttp parses, and node:http makes two streams of each request, written
 *             in JavaScript: the handler gets objects in place of bytes.
 * @prediction A request costs at least three times the CPU that epoll.ts needs, the same language on the same engine:
 *             the cost is not JavaScript but the objects that node:http makes for each request.
 * @expect     throughput(100).cpu_us_per_request >= 3 * epoll
 * @compare    node-deno, deno-serve, event-loop, epoll
 * @requires   linux | darwin
 * @needs      node (nodejs)
 * @version    node --version
 * @fairness   One thread runs JavaScript, the others help it to collect garbage; reads of up to 64 KiB; no Date and no
 *             Connection field, so that the answers are those of the others, byte for byte; no time limits.
 * @cannot     head-deadline Its time limit for a head starts with the connection and not with the first byte of the
 *             head, so it would end idle connections, and is off.
 * @cannot     any-form The parser knows HTTP/0.9, 1.0, 1.1 and 2.0: any other version gets 400.
 * @cannot     refuse-version The preface of HTTP/2 is answered with 400.
 * @cannot     exact-parser It skips bodies, knows the methods of a list, and has limits of its own.
 * @cannot     bound-head A head of up to 16 KiB is served: the parser counts names and values but not what stands
 *             between them, so no option of it gives an exact bound.
 * @cannot     close-after-body A request with a body is answered and the connection stays: the parser skips the body.
 * @cannot     any-method The parser knows the methods of a list; any other gets 400 in place of 405, and the connection
 *             closes.
 * @cannot     bound-memory It stops reading where a client does not read, but one read of 64 KiB has become objects for two
 *             thousand requests by then: a hundred clients that pipeline and read nothing take more than 128 MiB.
 * @cannot     share-pipelines For the same reason: all requests of one read are answered before others are read.
 * @cannot     return-memory The engine keeps the memory of these objects for later.
 * @cannot     recover-emfile It recovers, but never learns of it: without a free descriptor libuv accepts connections,
 *             closes them at once, and reports nothing.
 * @cannot     wait-at-emfile For the same reason a connection that comes when descriptors have run out is lost.
 * @cannot     give-up There is no time limit for an answer: a peer that takes nothing is held for ever, a dead one for
 *             a quarter of an hour.
 * @run        deno run --allow-read --allow-ffi node-http.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work burns the CPU of the only thread, so every client waits for it.
 * @sources    node:http, node:net (nodejs.org/api); libuv, Design overview (docs.libuv.org); llhttp
 *             (github.com/nodejs/llhttp)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "node-http";

// ---- The architecture: what this process becomes -------------------------------------------------------------------

const NODE = "node", INSTALL = "apt-get install -y nodejs"; // found on the PATH by execvp(3)
const SOURCE = `${import.meta.dirname}/node/server.mjs`;

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
