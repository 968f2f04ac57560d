/**
 * @title      ws-node: the package ws, on Node
 * @family     push
 * @question   What does a message to all cost with the WebSocket server that most of JavaScript uses?
 * @idea       node:http shakes hands and gives the socket away; the package ws reads and writes frames in JavaScript. For each
 *             listener send makes a frame of its own, and two writes to the socket are one writev(2).
 * @prediction A delivery costs 2 to 4 times the CPU that it costs in ws-epoll, the same language on the same engine.
 * @expect     broadcast(1000).cpu_us_per_delivery > 2 * ws-epoll
 *             broadcast(1000).cpu_us_per_delivery < 4 * ws-epoll
 * @compare    ws-epoll, ws-deno, node-http
 * @requires   linux
 * @needs      node (nodejs), npm (npm)
 * @version    node --version
 * @fairness   ws 8.23.0, without the optional native module. One thread runs JavaScript, the others help it to collect
 *             garbage. No compression.
 * @cannot     any-form Upgrade with more than one protocol is refused.
 * @cannot     exact-handshake The package answers what it refuses with 400.
 * @cannot     exact-frames A length that is not in its shortest form is accepted.
 * @cannot     any-frames For the same reason, and broken UTF-8 is noticed at the end of a message only.
 * @cannot     pings-before-close Of many pings that come at once with a Close it answers the first 60, and then it closes the
 *             connection, without the messages behind them and without a Close.
 * @cannot     message-deadline The package has no clock for messages.
 * @cannot     close-deadline The package waits for 30 s.
 * @cannot     recover-emfile It recovers, but never learns of it: without a free descriptor libuv accepts connections,
 *             closes them at once, and reports nothing.
 * @cannot     wait-at-emfile For the same reason a connection that comes when descriptors have run out is lost.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi ws-node.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No subprotocols; Origin and Host are not checked. Texts only, up to 65 535 bytes.
 * @sources    github.com/websockets/ws (doc/ws.md); node:http (nodejs.org/api); RFC 6455 (WebSocket)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "ws-node";

// ---- Build: the package once into a cache folder, never beside other programs ---------------------------------------

const PACKAGE = "ws", VERSION = "8.23.0";
const FETCH = ["npm", "install", "--loglevel", "error", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
const INSTALL = "apt-get install -y npm";
const NODE = "node"; // found on the PATH by execvp(3)
const SOURCE = `${import.meta.dirname}/node/ws_server.mjs`;

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Fetches the package unless that was done before, and returns its folder. Two that do so at once do not disturb each other. */
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
  return `${folder}/node_modules/${PACKAGE}`;
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
 * Replaces this process by another program, execvp(3): process id, limits, pinning and streams stay, nothing of the
 * runtime does. The program says itself that it is ready, hears the signals itself, and its memory is its own.
 */
function become(program: string, args: string[]): never {
  const libc = Deno.dlopen("libc.so.6", { execvp: { parameters: ["buffer", "buffer"], result: "i32" } }).symbols;
  const words = [program, ...args].map((word) => new TextEncoder().encode(`${word}\0`));
  const argv = BigUint64Array.from([...words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))), 0n]);
  libc.execvp(words[0]!, argv); // returns only if it failed
  return unavailable(`${program} is not installed: apt-get install -y nodejs`);
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
  if (Deno.build.os !== "linux") unavailable(`its launcher is written for Linux, this is ${Deno.build.os}.`);
  try {
    Deno.statSync(SOURCE);
    const folder = await build();
    become(NODE, [SOURCE, "--experiment", EXPERIMENT, "--host", host, "--port", port, "--ws", folder]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
