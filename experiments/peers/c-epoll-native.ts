/**
 * @title      c-epoll-native: the floor, compiled for exactly this processor
 * @family     readiness
 * @question   Is c-epoll already the floor that the kernel sets, or can a compiler still lower it?
 * @idea       The source of c-epoll, with all that gcc can do: the instructions of this processor, -O3, and optimization
 *             over the whole program. What is left then is the kernel's work.
 * @prediction It needs at least 0.95 times the CPU that c-epoll needs per request: nearly all of that is spent in the
 *             kernel.
 * @expect     throughput(100).cpu_us_per_request > 0.95 * c-epoll
 * @compare    c-epoll, epoll
 * @requires   linux 2.6.37, with glibc 2.32
 * @needs      gcc (gcc)
 * @version    gcc --version
 * @fairness   gcc -O3 -march=native -flto, where c-epoll has -O2. All else is c-epoll: one thread, and the same source.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi c-epoll-native.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             /work burns the CPU of the only thread, so every client waits for it: that is the price of one thread.
 * @sources    epoll(7), accept4(2), recv(2), send(2), tcp(7); RFC 9110, RFC 9112 (HTTP/1.1)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "c-epoll-native";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["c/c-epoll.c", "c/lab.h"]; // the first is compiled, the others are included
const COMPILE = ["gcc", "-std=gnu11", "-O3", "-march=native", "-flto", `-DEXPERIMENT="${EXPERIMENT}"`];
const SHOW_PROCESSOR = ["-march=native", "-Q", "--help=target"]; // has gcc list what -march=native means here
const INSTALL = "apt-get install -y gcc libc6-dev";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles unless that was done before, and returns the program. Two that build at once do not disturb each other. */
async function build(): Promise<string> {
  const here = `${import.meta.dirname}/`;
  // A home may be shared by machines: a program for another processor could end by SIGILL.
  const processor = await run("gcc", SHOW_PROCESSOR);
  const inputs = [...COMPILE, processor, ...SOURCES.map((path) => Deno.readTextFileSync(here + path))];
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

/** Runs a command to its end and returns what it printed. */
async function run(command: string, args: string[]): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, { args, stdin: "null", stdout: "piped", stderr: "piped" }).output();
  } catch (error) { // thrown by the call itself, not by its promise
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  }
  if (output.success) return new TextDecoder().decode(output.stdout);
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
  if (Deno.build.os !== "linux") unavailable(`epoll is a part of Linux, this is ${Deno.build.os}.`);
  try {
    become(await build(), ["--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
