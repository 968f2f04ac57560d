/**
 * @title      ws-go: two goroutines and a channel for each listener
 * @family     push
 * @question   What does a message to all cost where each listener has a queue and a thread of its own, and both are cheap?
 * @idea       gorilla/websocket on net/http. One goroutine reads, one writes what a channel brings; a message is framed once
 *             and put into the channel of each listener under a lock.
 * @prediction A delivery costs 1.5 to 3 times the CPU that it costs in ws-epoll: each wakes a goroutine.
 * @expect     broadcast(1000).cpu_us_per_delivery > 1.5 * ws-epoll
 *             broadcast(1000).cpu_us_per_delivery < 3 * ws-epoll
 * @compare    ws-epoll, ws-threads, go-http
 * @requires   linux 2.6.32
 * @needs      go (golang-go)
 * @version    go version
 * @fairness   gorilla/websocket 1.5.3. GOMAXPROCS follows the affinity of the process. Texts are checked by unicode/utf8.
 *             Read buffers have 4 KiB, write buffers are shared. No compression. Between the queue and the socket there
 *             is no other buffer. The accept queue has the length net.core.somaxconn.
 * @cannot     exact-handshake What net/http or the library refuses is answered with 400 and a body, and 431 comes late.
 * @cannot     any-form An empty line before the request line is refused.
 * @cannot     early-frames A client that sends a frame before it has the answer is dropped.
 * @cannot     exact-frames A length that is not in its shortest form is accepted.
 * @cannot     any-frames For the same reason, and broken UTF-8 is noticed at the end of a message only.
 * @cannot     exact-close Code 1014 is answered with 1002.
 * @cannot     handshake-deadline After the 10 s net/http closes the connection without an answer.
 * @cannot     message-deadline The library has a deadline for a read, and none for a message.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi ws-go.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No subprotocols; Origin and Host are not checked. Texts only, up to 65 535 bytes.
 * @sources    https://pkg.go.dev/github.com/gorilla/websocket; RFC 6455 (WebSocket)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "ws-go";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["go/ws/main.go", "go/ws/go.mod", "go/ws/go.sum", "go/lab/lab.go", "go/go.mod"];
const PROGRAM = "."; // in the folder of go.mod, where the command runs
const COMPILE = ["go", "build", "-trimpath", "-buildvcs=false"]; // the same bytes from any folder, with or without git
// No C compiler is needed, no other toolchain is downloaded, and no workspace around this module has a say.
const ENVIRONMENT = { CGO_ENABLED: "0", GOTOOLCHAIN: "local", GOWORK: "off" };
const INSTALL = "apt-get install -y golang-go";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles unless that was done before, and returns the program. Two that build at once do not disturb each other. */
async function build(): Promise<string> {
  const here = `${import.meta.dirname}/`;
  const texts = SOURCES.map((path) => Deno.readTextFileSync(here + path));
  const inputs = [...COMPILE, JSON.stringify(ENVIRONMENT), ...texts];
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
    await run(command!, [...flags, "-o", temporary, PROGRAM], `${here}go/ws`);
    Deno.renameSync(temporary, program);
  }
  return program;
}

/** Runs a command in a folder, to its end. */
async function run(command: string, args: string[], cwd: string): Promise<void> {
  const options = { args, cwd, env: ENVIRONMENT, stdin: "null", stdout: "null", stderr: "piped" } as const;
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, options).output();
  } catch (error) { // thrown by the call itself, not by its promise
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  }
  if (output.success) return;
  const said = new TextDecoder().decode(output.stderr);
  if (/dial tcp|no such host|i\/o timeout/.test(said)) {
    unavailable("go does not get a module: connect, build once, then go offline.");
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
  if (Deno.build.os !== "linux") unavailable(`its source is written for Linux, this is ${Deno.build.os}.`);
  try {
    become(await build(), ["--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
