/**
 * @title      java-nio: the loop of epoll.ts in Java, over a Selector
 * @family     readiness
 * @question   What does a virtual machine with a compiler at run time add to the loop that the kernel drives?
 * @idea       A Selector is epoll behind an interface that every system can fill. One thread asks it, direct buffers
 *             carry the bytes past the heap, and nothing is allocated for a request.
 * @prediction A request needs at most 1.3 times the CPU that it needs with c-epoll, once the machine is warm.
 * @expect     throughput(100).cpu_us_per_request <= 1.3 * c-epoll
 * @compare    epoll, c-epoll, java-netty, java-threads
 * @requires   linux 2.6.32
 * @needs      javac (default-jdk-headless)
 * @version    java --version
 * @fairness   One thread of the program, and some of the virtual machine beside it on the same core: the compiler makes
 *             the first seconds slow. SerialGC with a heap of 512 MiB, 16 MiB of it young; the class data archive of
 *             the JDK. Reads of up to 16 KiB by read(2), one write(2) for the answers of one read; the bytes read are
 *             copied into an array once more. TCP_NODELAY and SO_KEEPALIVE are set for each connection, as a Java
 *             listener has no such option. The virtual machine raises the soft limit of descriptors to the hard one.
 * @cannot     give-up Java does not set TCP_USER_TIMEOUT: a peer that is gone while an answer is on its way is held
 *             until the kernel has tried for a quarter of an hour.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi java-nio.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             An error of the kernel is known by its text, since Java hides its number.
 * @sources    https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/nio/channels/Selector.html;
 *             sun/nio/ch/EPollSelectorImpl.java of OpenJDK
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "java-nio";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["java/Nio.java", "java/Lab.java"];
const MAIN = "Nio"; // the class that is started
const COMPILE = ["javac", "--release", "17"];
const PACK = ["jar", "--create"]; // a file that stays open: no class is missed because descriptors have run out
const INSTALL = "apt-get install -y default-jdk-headless";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles unless that was done before, and returns the jar. Two that build at once do not disturb each other. */
async function build(): Promise<string> {
  const here = `${import.meta.dirname}/`;
  const inputs = [...COMPILE, ...PACK, ...SOURCES.map((path) => Deno.readTextFileSync(here + path))];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inputs.join("\0")));
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const cache = `${caches}/c10k-lab/peers`;
  const program = `${cache}/${EXPERIMENT}-${new Uint8Array(digest).toHex().slice(0, 16)}.jar`;
  const built = await Deno.stat(program).then(() => true, (error) => {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  });
  if (!built) {
    Deno.mkdirSync(cache, { recursive: true });
    const temporary = `${program}.${Deno.pid}`, classes = `${temporary}.classes`;
    await run([...COMPILE, "-d", classes, ...SOURCES.map((path) => here + path)]);
    await run([...PACK, "--file", temporary, "-C", classes, "."]);
    Deno.removeSync(classes, { recursive: true });
    Deno.renameSync(temporary, program);
  }
  return program;
}

/** Runs a command to its end. */
async function run([command, ...args]: string[]): Promise<void> {
  const child = new Deno.Command(command!, { args, stdin: "null", stdout: "null", stderr: "piped" });
  const { success, stderr } = await child.output().catch((error) => {
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  });
  if (success) return;
  console.error(`${[command, ...args].join(" ")} failed: ${new TextDecoder().decode(stderr)}`);
  Deno.exit(1);
}

// ---- The architecture: what this process becomes -------------------------------------------------------------------

const MACHINE = [
  "-XX:+UseSerialGC", // the collector for one core: no threads of its own
  "-Xmn16m", // a young generation that stays small, and with it what garbage adds to the memory
  "-Xmx512m",
  "-XX:-UsePerfData", // no file of counters for jps(1) and jstat(1)
  "-Djava.net.preferIPv4Stack=true",
  "-Xlog:disable", // warnings of the virtual machine go to stdout, where there is room for two lines only
  "-Xlog:all=warning:stderr",
];

/**
 * Replaces this process by another program, execvp(3): process id, limits, pinning and streams stay, nothing of the
 * runtime does. The program says itself that it is ready, hears the signals itself, and its memory is its own.
 */
function become(program: string, args: string[]): never {
  const libc = Deno.dlopen("libc.so.6", {
    execvp: { parameters: ["buffer", "buffer"], result: "i32" },
  }).symbols;
  // Java knows errors of the kernel by the text of strerror(3) alone, which follows the locale.
  Deno.env.set("LC_ALL", "C.UTF-8");
  const words = [program, ...args].map((word) => new TextEncoder().encode(`${word}\0`));
  const argv = BigUint64Array.from([...words.map((word) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(word))), 0n]);
  libc.execvp(words[0]!, argv); // looks along PATH, returns only if it failed
  return unavailable(`${program} is not installed: ${INSTALL}`);
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
    become("java", [...MACHINE, "-cp", await build(), MAIN, "--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
