/**
 * @title      c-threads: a POSIX thread for each connection, in C
 * @family     blocking
 * @question   Is it the thread that makes a connection expensive, or what a runtime puts into it?
 * @idea       A thread blocks in recv(2); the kernel's scheduler does the multiplexing. Its stack of 8 MiB is an
 *             address range: only the pages that were written are memory.
 * @prediction 10 000 connections are held by 10 000 threads, and each costs the process under 32 KiB of its own memory,
 *             not 8 MiB.
 * @expect     hold(10000).answered >= 10000
 *             hold(10000).user_bytes_per_conn < 32768
 * @compare    thread-per-conn, c-epoll, epoll
 * @requires   linux 2.6.37, with glibc 2.32
 * @needs      gcc (gcc)
 * @version    gcc --version
 * @fairness   A thread for each connection, detached, created for it; pthread_create(3) with the default stack size,
 *             which is the soft limit of ulimit -s: 8 MiB unless changed. gcc -O2; reads of up to 16 KiB, no epoll_wait:
 *             recv(2) itself waits. Threads follow the processor affinity of the process. What a connection keeps lies in
 *             the stack of its thread, and counts only while the thread waits for more of a head or for its peer to read.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi c-threads.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             The number of threads is bounded by the system alone: kernel.threads-max, kernel.pid_max, and two areas
 *             of memory per thread of vm.max_map_count. Where none can be created, the connection is refused.
 * @sources    pthreads(7), pthread_create(3), recv(2), shutdown(2), tcp(7); Kegel, The C10K problem (1999), section 4
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "c-threads";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["c/c-threads.c", "c/lab.h"]; // the first is compiled, the others are included
// -fno-stack-clash-protection: Ubuntu's gcc touches every page of a large stack frame, and so each thread would own it.
const COMPILE = ["gcc", "-std=gnu11", "-O2", "-pthread", "-fno-stack-clash-protection"];
const INSTALL = "apt-get install -y gcc libc6-dev";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles unless that was done before, and returns the program. Two that build at once do not disturb each other. */
async function build(): Promise<string> {
  const here = `${import.meta.dirname}/`;
  const inputs = [...COMPILE, ...SOURCES.map((path) => Deno.readTextFileSync(here + path))];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inputs.join("\0")));
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const cache = `${caches}/c10k-lab/peers`;
  const program = `${cache}/${EXPERIMENT}-${new Uint8Array(digest).toHex().slice(0, 16)}`;
  const built = await Deno.stat(program).then(() => true, (error) => {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  });
  if (!built) {
    Deno.mkdirSync(cache, { recursive: true });
    const [command, ...flags] = COMPILE, temporary = `${program}.${Deno.pid}`;
    await run(command!, ["-o", temporary, here + SOURCES[0], ...flags]);
    Deno.renameSync(temporary, program);
  }
  return program;
}

/** Runs a command to its end. */
async function run(command: string, args: string[]): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, { args, stdin: "null", stdout: "null", stderr: "piped" }).output();
  } catch (error) { // thrown by the call itself, not by its promise
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  }
  if (output.success) return;
  const said = new TextDecoder().decode(output.stderr);
  const [, missing] = /fatal error: (\S+): No such file/.exec(said) ?? [];
  if (missing) unavailable(`${missing} is not installed: ${INSTALL}`);
  console.error(`${[command, ...args].join(" ")} failed: ${said}`);
  Deno.exit(1);
}

// ---- The architecture: what this process becomes -------------------------------------------------------------------

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
  console.error(`Cannot start ${program}: execv(3) failed, remove the file and try again`);
  return Deno.exit(1);
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
    become(await build(), ["--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
