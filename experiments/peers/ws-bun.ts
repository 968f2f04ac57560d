/**
 * @title      ws-bun: a topic that all subscribe to, in the runtime Bun
 * @family     push
 * @question   What does a message to all cost where one call in JavaScript does all of it?
 * @idea       uWebSockets, in C++, keeps the subscribers of a topic, frames a message once, and sends it to each when the
 *             turn of the loop ends: several messages of a turn leave together.
 * @prediction A delivery costs less than with ws-epoll: it is the same send(2), and no JavaScript for each of them.
 * @expect     broadcast(1000).cpu_us_per_delivery < 1 * ws-epoll
 * @compare    ws-epoll, ws-node, bun-serve
 * @requires   linux
 * @needs      npm (npm)
 * @version    echo Bun 1.4.5
 * @fairness   Bun 1.4.5 of the package @oven/bun. One thread runs JavaScript, the others help it to collect garbage. No
 *             compression. A message counts as delivered once it is published.
 * @cannot     keepalive No probes are sent by the kernel: its pings do more.
 * @cannot     any-form An empty line before the request line is refused.
 * @cannot     second-signal A Close closes the connection at once, so nothing holds up the first signal.
 * @cannot     exact-handshake It does not look at Connection, and takes any key.
 * @cannot     exact-frames A length that is not in its shortest form is accepted.
 * @cannot     any-frames For the same reason, and its Close has a reason in it.
 * @cannot     handshake-deadline A connection whose handshake does not end is closed without an answer.
 * @cannot     message-deadline It has no clock for messages: it ends only a peer that sends no frame at all.
 * @cannot     close-deadline It waits for ever for a peer that has the answer to its handshake or its Close, and stays.
 * @cannot     recover-emfile It recovers, but does not report it.
 * @cannot     count-errors It does not report which listeners it drops because of what is unsent.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi ws-bun.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No subprotocols; Origin and Host are not checked. Texts only, up to 65 535 bytes. Bytes are
 *             not counted, and a connection is counted by its request.
 * @sources    https://bun.com/docs/api/websockets; packages/bun-uws of Bun; RFC 6455 (WebSocket)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "ws-bun";

// ---- Build: Bun once into a cache folder, never beside other programs -----------------------------------------------

const PACKAGE = `@oven/bun-linux-${Deno.build.arch === "x86_64" ? "x64" : "aarch64"}`, VERSION = "1.4.5";
const FETCH = ["npm", "install", "--loglevel", "error", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
const INSTALL = "apt-get install -y npm";
const SOURCE = `${import.meta.dirname}/bun/ws_server.mjs`;

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Fetches Bun unless that was done before, and returns the program. Two that do so at once do not disturb each other. */
async function build(): Promise<string> {
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const folder = `${caches}/c10k-lab/peers/bun-serve-${VERSION}`; // bun-serve has the same
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
