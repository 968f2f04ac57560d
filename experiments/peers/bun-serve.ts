/**
 * @title      bun-serve: the HTTP server that is a part of the runtime Bun
 * @family     runtime
 * @question   What does a request cost where the HTTP server is written in C++ and Zig, and JavaScript sees a handler?
 * @idea       uSockets waits with epoll and uWebSockets parses in place; the handler gets a Request whose parts are made
 *             when they are asked for, and returns a Response. The engine is that of WebKit.
 * @prediction A request costs at most half the CPU that it costs with node-http, and less than with deno-serve.
 * @expect     throughput(100).cpu_us_per_request <= 0.5 * node-http
 *             throughput(100).cpu_us_per_request < 1 * deno-serve
 * @compare    deno-serve, node-http, node-deno, epoll
 * @requires   linux
 * @needs      npm (npm)
 * @version    echo Bun 1.4.5
 * @fairness   Bun 1.4.5 of the package @oven/bun. One thread runs JavaScript, the others help it to collect garbage. The
 *             answer carries Date and Content-Type too. No time limits.
 * @cannot     share-work The requests of one read are handled in a row, and their answers leave together.
 * @cannot     hear-signals For the same reason signals are handled after them.
 * @cannot     recover-emfile It recovers, but does not report it.
 * @cannot     rest-at-emfile It asks again and again for a connection that it has no descriptor for.
 * @cannot     head-deadline The one time limit ends idle connections too, so it is off.
 * @cannot     keepalive No probes are sent.
 * @cannot     any-form An absolute-form target without a path and HTTP/1.2 are refused.
 * @cannot     refuse-version HTTP/2.0 is refused with another answer.
 * @cannot     last-says-close The handler does not see whether a connection ends.
 * @cannot     exact-parser It is lenient with some requests and refuses others, and closes without an answer.
 * @cannot     malformed-400 A malformed head is answered in part, or not at all.
 * @cannot     bound-head The bound is 16 KiB.
 * @cannot     linger What is refused is closed at once.
 * @cannot     close-after-body It discards the body and keeps the connection.
 * @cannot     any-method A method that it does not know ends the connection without an answer.
 * @cannot     drain A client that asks for too much before it reads is dropped.
 * @cannot     show-stats It does not report how many connections or bytes there are.
 * @cannot     count-accepted It reports nothing about connections.
 * @cannot     count-errors It does not report what it refuses by itself.
 * @cannot     give-up There is no time limit for an answer: a peer that is gone while one is on its way is held until
 *             the kernel has tried for a quarter of an hour.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi bun-serve.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work burns the CPU of the only thread, so every client waits for it.
 * @sources    https://bun.com/docs/api/http; packages/bun-uws of Bun
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "bun-serve";

// ---- Build: Bun once into a cache folder, never beside other programs -----------------------------------------------

const PACKAGE = `@oven/bun-linux-${Deno.build.arch === "x86_64" ? "x64" : "aarch64"}`, VERSION = "1.4.5";
const FETCH = ["npm", "install", "--loglevel", "error", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
const INSTALL = "apt-get install -y npm";
const SOURCE = `${import.meta.dirname}/bun/server.mjs`;

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Fetches Bun unless that was done before, and returns the program. Two that do so at once do not disturb each other. */
async function build(): Promise<string> {
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const folder = `${caches}/c10k-lab/peers/${EXPERIMENT}-${VERSION}`;
  const exists = () =>
    Deno.stat(folder).then(() => true, (error) => {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    });
  if (!await exists()) {
    const temporary = `${folder}.${Deno.pid}`;
    Deno.mkdirSync(temporary, { recursive: true });
    await run([...FETCH, "--prefix", temporary, `${PACKAGE}@${VERSION}`]);
    await Deno.rename(temporary, folder).catch(async (error) => {
      if (!await exists()) throw error;
      Deno.removeSync(temporary, { recursive: true }); // another was faster: a folder does not replace a full one
    });
  }
  return `${folder}/node_modules/${PACKAGE}/bin/bun`;
}

/** Runs a command to its end. */
async function run([command, ...args]: string[]): Promise<void> {
  const child = new Deno.Command(command!, { args, stdin: "null", stdout: "null", stderr: "piped" });
  const { success, stderr } = await child.output().catch((error) => {
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  });
  if (success) return;
  const said = new TextDecoder().decode(stderr);
  if (/ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN/.test(said)) {
    unavailable(`npm does not get ${PACKAGE}: connect, build once, then go offline.`);
  }
  console.error(`${[command, ...args].join(" ")} failed: ${said}`);
  Deno.exit(1);
}

// ---- The architecture: what this process becomes -------------------------------------------------------------------

/**
 * Replaces this process by another program, execv(3): process id, limits, pinning and streams stay, nothing of the
 * runtime does. The program says itself that it is ready, hears the signals itself, and its memory is its own.
 */
function become(program: string, args: string[]): never {
  const libc = Deno.dlopen("libc.so.6", { execv: { parameters: ["buffer", "buffer"], result: "i32" } }).symbols;
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
  if (Deno.build.os !== "linux") unavailable(`it is fetched for Linux, this is ${Deno.build.os}.`);
  try {
    Deno.statSync(SOURCE);
    become(await build(), [SOURCE, "--experiment", EXPERIMENT, "--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
