/**
 * @title      rust-tokio: a task for each connection, and no stack for any of them
 * @family     runtime
 * @question   What does async/await cost where the compiler makes the state machine, and nothing collects garbage?
 * @idea       An async function becomes a struct that holds what it needs across its waits. Tokio polls those whose
 *             descriptors epoll named; a task that does not wait never gives up its thread.
 * @prediction A request needs at most 1.2 times the CPU that it needs with epoll, less than with go-net.
 * @expect     throughput(100).cpu_us_per_request <= 1.2 * epoll
 *             throughput(100).cpu_us_per_request < 1 * go-net
 * @compare    epoll, go-net, event-loop
 * @requires   linux 2.6.32
 * @needs      cargo (cargo)
 * @version    rustc --version
 * @fairness   Tokio 1.54.1, release build with fat LTO and one codegen unit. A worker thread for each core that the affinity
 *             of the process leaves; for one core the runtime of one thread. Reads of up to 16 KiB into a buffer that
 *             each connection owns, one write for the answers of one read, and a single answer is written from where it
 *             stands. A short read tells Tokio that no more is there, so no call finds nothing.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi rust-tokio.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work burns CPU in the task, and all tasks of that thread wait; spawn_blocking would be the remedy. It
 *             needs Rust 1.82; where that of the distribution is older, it says so.
 * @sources    https://docs.rs/tokio/1.54; src/io/poll_evented.rs and src/runtime/ of Tokio
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "rust-tokio";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const MANIFEST = "rust/Cargo.toml";
const SOURCES = [
  MANIFEST,
  ...["Cargo.lock", "src/main.rs", "src/lab.rs", "src/protocol.rs"].map((path) => `rust/${path}`),
];
const OLDEST_MINOR = 82; // rust-version of the manifest is 1.82
const COMPILE = ["cargo", "build", "--release", "--locked"];
const INSTALL =
  "apt-get install -y cargo gcc libc6-dev (on Debian 12 cargo-web in place of cargo: that one is too old)";

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
    const version = await run("rustc", ["--version"]), [, minor] = /^rustc 1\.(\d+)/.exec(version) ?? [];
    if (Number(minor) < OLDEST_MINOR) {
      unavailable(`it needs Rust 1.${OLDEST_MINOR}, this is ${version.trim()}: ${INSTALL}`);
    }
    Deno.mkdirSync(cache, { recursive: true });
    // What cargo has compiled stays in its folder, so that a build that was interrupted goes on where it stopped.
    const [command, ...flags] = COMPILE, temporary = `${program}.${Deno.pid}`, target = `${program}.target`;
    await run(command!, [...flags, "--target-dir", target, "--manifest-path", here + MANIFEST]);
    Deno.copyFileSync(`${target}/release/${EXPERIMENT}`, temporary);
    Deno.renameSync(temporary, program);
  }
  return program;
}

/** Runs a command to its end, and returns what it has written. */
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
  const [, missing] = /linker `(\S+)` not found/.exec(said) ?? [];
  if (missing) unavailable(`${missing} is not installed: ${INSTALL}`);
  const isCutOff = /failed to download|unable to update registry|no matching package named/i.test(said);
  if (isCutOff) unavailable("the crates of its Cargo.lock cannot be downloaded: connect, build once, then go offline.");
  console.error(`${[command, ...args].join(" ")} failed: ${said}`);
  return Deno.exit(1);
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
