/**
 * @title      python-uvloop: the same callbacks on the loop of libuv
 * @family     runtime
 * @question   How much of the price of asyncio is its event loop, which is written in Python, and how much the protocol?
 * @idea       The source is that of python-asyncio, with one more import. uvloop replaces the loop and the transports by
 *             libuv and Cython: epoll, recv(2) and send(2) are reached without bytecode, and the callbacks stay.
 * @prediction A request costs at most three quarters of the CPU that it costs with python-asyncio.
 * @expect     throughput(100).cpu_us_per_request <= 0.75 * python-asyncio
 * @compare    python-asyncio, node-net, epoll
 * @requires   linux
 * @needs      python3 (python3), pip3 (python3-pip)
 * @version    /usr/bin/python3 --version
 * @fairness   uvloop 0.23.0 with the libuv that is built into it. One thread; a BufferedProtocol, so reads of up to 16 KiB
 *             into one buffer. libuv reads until it finds nothing, so a wait costs one more recv(2).
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi python-uvloop.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 * @sources    https://uvloop.readthedocs.io; uvloop/handles/stream.pyx of uvloop; libuv, Design overview (docs.libuv.org)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "python-uvloop";

// ---- Build: uvloop once into a virtual environment in a cache folder, never beside the system's own packages --------

// Always this one, which Debian and others install: a `python3` that is found first on the PATH may be any.
const PYTHON = "/usr/bin/python3";
const PACKAGE = "uvloop==0.23.0";
const ENVIRONMENT = ["-m", "venv", "--without-pip"]; // ensurepip is a package of its own on Debian
const FETCH = ["install", "--quiet", "--no-input", "--only-binary", ":all:", "--no-deps", PACKAGE];
const INSTALL = "apt-get install -y python3 python3-pip";
const SOURCE = `${import.meta.dirname}/python/uvloop_server.py`;

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Installs uvloop unless that was done before, and returns a Python that has it. Two that do so at once do not disturb each other. */
async function build(): Promise<string> {
  const version = await run(PYTHON, ["--version"]); // a newer Python needs another wheel
  const inputs = [version, ...ENVIRONMENT, ...FETCH];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inputs.join("\0")));
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const cache = `${caches}/c10k-lab/peers`;
  const folder = `${cache}/${EXPERIMENT}-${new Uint8Array(digest).toHex().slice(0, 16)}`;
  const exists = () =>
    Deno.stat(folder).then(() => true, (error) => {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    });
  if (!await exists()) {
    Deno.mkdirSync(cache, { recursive: true });
    const temporary = `${folder}.${Deno.pid}`;
    await run(PYTHON, [...ENVIRONMENT, temporary]);
    await run(PYTHON, ["-m", "pip", "--python", `${temporary}/bin/python3`, ...FETCH]);
    await Deno.rename(temporary, folder).catch(async (error) => {
      if (!await exists()) throw error;
      Deno.removeSync(temporary, { recursive: true }); // another was faster: a folder does not replace a full one
    });
  }
  return `${folder}/bin/python3`;
}

/** Runs a command to its end, and returns what it has written. */
async function run(command: string, args: string[]): Promise<string> {
  const child = new Deno.Command(command, { args, stdin: "null", stdout: "piped", stderr: "piped" });
  const { success, stdout, stderr } = await child.output().catch((error) => {
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  });
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr);
  if (said.includes("No module named pip")) unavailable(`pip is not installed: ${INSTALL}`);
  if (/Could not find a version|No matching distribution|connection broken/.test(said)) {
    unavailable(`pip does not get ${PACKAGE}: connect, build once, then go offline.`);
  }
  console.error(`${[command, ...args].join(" ")} failed: ${said}`);
  return Deno.exit(1);
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
  if (Deno.build.os !== "linux") unavailable(`its system calls are those of Linux, this is ${Deno.build.os}.`);
  try {
    Deno.statSync(SOURCE);
    become(await build(), ["-B", SOURCE, "--host", host, "--port", port]); // -B: no __pycache__ beside the source
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
