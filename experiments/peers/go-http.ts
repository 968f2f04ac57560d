/**
 * @title      go-http: the server that Go programs use, net/http
 * @family     runtime
 * @question   What does a complete HTTP server cost above the goroutines that carry it?
 * @idea       The same goroutine for each connection as in go-net, with buffered reading and writing, headers in a map,
 *             a context for each request, and a handler that knows nothing of sockets.
 * @prediction A request needs at least twice the CPU that it needs with go-net.
 * @expect     throughput(100).cpu_us_per_request >= 2 * go-net
 * @compare    go-net, deno-serve, event-loop
 * @requires   linux 2.6.32
 * @needs      go (golang-go)
 * @version    go version
 * @fairness   GOMAXPROCS follows the affinity of the process: one core, one thread that runs Go code. Buffers are of
 *             4 KiB, and every answer is written by itself. Answers carry Date and Content-Type besides: 128 bytes, not
 *             50. GOGC is 400 unless the environment says otherwise, as its users set it for a heap of a few megabytes. No
 *             access log, no time limits. The backlog is net.core.somaxconn. As many goroutines burn CPU for /work at a
 *             time as there are cores.
 * @cannot     head-deadline Its ReadHeaderTimeout starts with the connection and not with the first byte, so it would
 *             end idle ones, and is off.
 * @cannot     bad-length An empty Content-Length is treated as none.
 * @cannot     any-form An empty line before a request and some other forms are answered with 400.
 * @cannot     refuse-version Its 505 has a body without Content-Length.
 * @cannot     last-says-close The answer to HTTP/1.0 does not say that it is the last.
 * @cannot     exact-parser It requires Host, accepts a bare LF as the end of a line, and discards bodies.
 * @cannot     bound-head net/http allows 4 KiB more than MaxHeaderBytes, and the 431 has a body without Content-Length.
 * @cannot     malformed-400 Its 400 has a body without Content-Length; Go 1.19 accepts even a field without a name.
 * @cannot     linger After a 400 it stays for 500 ms, whatever comes, and that answer has a body without
 *             Content-Length.
 * @cannot     close-after-body It discards the body, up to 256 KiB, and keeps the connection.
 * @cannot     stop-in-flight Shutdown treats a connection as idle until it has read the whole head of a request.
 * @cannot     count-errors net/http does not report what it refuses by itself, 400 and 431.
 * @cannot     return-memory The memory of a herd is garbage until the next collection, which growth starts, or a clock
 *             after two minutes. A memory limit below that would collect without a pause while the herd is there.
 * @cannot     survive-no-process The runtime ends the process if it needs another thread and gets none.
 * @cannot     return-threads The runtime starts another thread where others stay in system calls, as on a busy machine,
 *             and it ends none.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi go-http.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work keeps its goroutine on one thread, whose CPU time is burnt; the scheduler preempts it every
 *             10 ms.
 * @sources    https://pkg.go.dev/net/http; src/net/http/server.go of Go
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "go-http";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["go/http/main.go", "go/lab/lab.go", "go/go.mod"];
const PROGRAM = "./http"; // in the folder of go.mod, where the command runs
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
    await run(command!, [...flags, "-o", temporary, PROGRAM], `${here}go`);
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
  console.error(`${[command, ...args].join(" ")} failed: ${new TextDecoder().decode(output.stderr)}`);
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
