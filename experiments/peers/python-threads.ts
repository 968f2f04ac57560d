/**
 * @title      python-threads: a thread for each connection, and one lock for all of them
 * @family     blocking
 * @question   What are threads good for if only one of them may run at a time?
 * @idea       Each connection has a thread that blocks in recv(2). CPython's interpreter lock (GIL) is released around
 *             every blocking call and taken again after it, so threads that wait cost nothing, but those that compute
 *             take turns of 5 ms: the kernel schedules them, and the lock decides.
 * @prediction While some clients ask for /work, light requests wait longer than in c-threads at the same load, and a
 *             second core does not raise the throughput.
 * @expect     mixed(100).p99_us > 1 * c-threads
 * @compare    python-asyncio, python-prefork, thread-per-conn
 * @requires   linux
 * @needs      python3 (python3)
 * @version    /usr/bin/python3 --version
 * @fairness   A thread per connection, of which one runs Python at a time; stacks of the default size (8 MiB, virtual);
 *             reads of up to 16 KiB.
 * @run        deno run --allow-read --allow-ffi python-threads.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 * @sources    threading, socket (docs.python.org); pthread_create(3), recv(2)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "python-threads";

// ---- The architecture: what this process becomes -------------------------------------------------------------------

// Always this one, which Debian and others install: a `python3` that is found first on the PATH may be any.
const PYTHON = "/usr/bin/python3", INSTALL = "apt-get install -y python3";
const SOURCE = `${import.meta.dirname}/python/threads_server.py`;

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
