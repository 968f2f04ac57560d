/**
 * @title      python-asyncio: an event loop in an interpreter
 * @family     runtime
 * @question   What is left of the event loop's promise if every callback runs in an interpreter?
 * @idea       asyncio waits with epoll and calls a method of an object for each connection that is ready. The system
 *             calls are those of epoll.ts; between them stand some hundred bytecodes of the library and of the server.
 * @prediction A request costs at least three times the CPU that epoll.ts needs, and 10 000 connections are held all the
 *             same: waiting costs memory, not interpretation.
 * @expect     throughput(100).cpu_us_per_request >= 3 * epoll
 *             hold(10000).answered >= 10000
 * @compare    python-threads, python-prefork, event-loop, epoll
 * @requires   linux
 * @needs      python3 (python3)
 * @version    /usr/bin/python3 --version
 * @fairness   One thread; asyncio's own event loop, no uvloop; a BufferedProtocol, so reads of up to 16 KiB into one
 *             buffer. asyncio sets TCP_NODELAY for each connection once more.
 * @run        deno run --allow-read --allow-ffi python-asyncio.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 * @sources    asyncio, Transports and Protocols (docs.python.org); epoll(7)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "python-asyncio";

// ---- The architecture: what this process becomes -------------------------------------------------------------------

// Always this one, which Debian and others install: a `python3` that is found first on the PATH may be any.
const PYTHON = "/usr/bin/python3", INSTALL = "apt-get install -y python3";
const SOURCE = `${import.meta.dirname}/python/asyncio_server.py`;

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
  const libc = Deno.dlopen("libc.so.6", { execv: { parameters: ["buffer", "buffer"], result: "i32" } }).symbols;
  const words = [program, ...args].map((word) => new TextEncoder().encode(`${word}\0`));
  const argv = BigUint64Array.from([...words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))), 0n]);
  libc.execv(words[0]!, argv); // returns only if it failed
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
  if (Deno.build.os !== "linux") unavailable(`its system calls are those of Linux, this is ${Deno.build.os}.`);
  try {
    Deno.statSync(SOURCE);
    become(PYTHON, ["-B", SOURCE, "--host", host, "--port", port]); // -B: no __pycache__ beside the source
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
