/**
 * @title      go-net: a goroutine for each connection, and epoll below where nobody sees it
 * @family     runtime
 * @question   What does it cost if the code reads like a thread for each connection, and runs like an event loop?
 * @idea       A Read that would block parks the goroutine; the runtime's epoll (its netpoller) wakes it. A goroutine is a
 *             stack of 2 KiB that grows, and its scheduler runs as many threads as there are cores.
 * @prediction A request needs at most 1.5 times the CPU that it needs with epoll, and an idle connection over 6 KiB more.
 * @expect     throughput(100).cpu_us_per_request <= 1.5 * epoll
 *             hold(10000).user_bytes_per_conn >= 6144
 * @compare    epoll, thread-per-conn, rust-tokio, go-http
 * @requires   linux 2.6.32
 * @needs      go (golang-go)
 * @version    go version
 * @fairness   GOMAXPROCS follows the affinity of the process: one core, one thread that runs Go code. Reads of up to
 *             16 KiB into a buffer that each connection owns, one write for the answers of one read; no bufio. Every
 *             wait costs a second read(2), which finds nothing, before the goroutine is parked. The garbage collector
 *             has its defaults: GOGC from the environment, else 100; a request makes no garbage. The backlog is
 *             net.core.somaxconn. As many goroutines burn CPU for /work at a time as there are cores.
 * @cannot     survive-no-process The runtime ends the process if it needs another thread and gets none.
 * @cannot     return-threads The runtime starts another thread where others stay in system calls, as on a busy machine,
 *             and it ends none.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi go-net.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work keeps its goroutine on one thread, whose CPU time is burnt; the scheduler preempts it every 10 ms.
 * @sources    https://pkg.go.dev/net; src/runtime/netpoll.go and src/internal/poll/fd_unix.go of Go
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "go-net";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["go/net/main.go", "go/lab/lab.go", "go/go.mod"];
const PROGRAM = "./net"; // in the folder of go.mod, where the command runs
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
