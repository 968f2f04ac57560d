/**
 * @title      python-prefork: processes made beforehand, each with an interpreter
 * @family     blocking
 * @question   How do servers in Python use more than one core?
 * @idea       One process forks N workers that share its listening socket, and with it the pages of its memory until
 *             they write to them. Each serves one connection at a time by blocking calls, under a lock (GIL) of its
 *             own.
 * @prediction Connection N + 1 waits until another is closed, even if all N of them sit idle; up to there a request
 *             costs less CPU than in python-asyncio, because nothing stands between it and the system calls.
 * @expect     throughput(100).cpu_us_per_request < 1 * python-asyncio
 * @compare    python-threads, python-asyncio, prefork
 * @requires   linux
 * @needs      python3 (python3)
 * @version    /usr/bin/python3 --version
 * @fairness   A process per connection, 100 by default; reads of up to 16 KiB; connections without a free worker wait.
 * @run        deno run --allow-read --allow-ffi python-prefork.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             The number of workers is fixed; gunicorn, too, replaces dead workers, but also those that are silent for
 *             long.
 * @sources    os, signal, mmap (docs.python.org); fork(2), accept(2), prctl(2); gunicorn, Design (docs.gunicorn.org)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "python-prefork";

// ---- The architecture: what this process becomes -------------------------------------------------------------------

// Always this one, which Debian and others install: a `python3` that is found first on the PATH may be any.
const PYTHON = "/usr/bin/python3", INSTALL = "apt-get install -y python3";
const SOURCE = `${import.meta.dirname}/python/prefork_server.py`;

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

const WORKERS = /^([1-9]\d{0,2}|1000)$/;
const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: string; workers: string } {
  try {
    const text = (value: string) => ({ type: "string", default: value }) as const;
    const { values: { host, port, workers } } = parseArgs({
      args: Deno.args,
      options: { port: text("8080"), host: text("127.0.0.1"), workers: text("100") },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    if (!WORKERS.test(workers)) throw new Error(`--workers ${workers} is not a number of workers (1..1000).`);
    return { host, port, workers };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS] [--workers N]`);
    Deno.exit(2);
  }
}

if (import.meta.main) {
  const { host, port, workers } = readOptions();
  if (Deno.build.os !== "linux") unavailable(`its system calls are those of Linux, this is ${Deno.build.os}.`);
  try {
    Deno.statSync(SOURCE);
    // -B: no __pycache__ beside the source.
    become(PYTHON, ["-B", SOURCE, "--host", host, "--port", port, "--workers", workers]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
