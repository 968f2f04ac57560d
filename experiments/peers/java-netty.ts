/**
 * @title      java-netty: the framework under most servers of the JVM
 * @family     readiness
 * @question   What does a framework cost above the loop that it hides?
 * @idea       Event loops own connections, and each connection has a pipeline of handlers. The codec of HTTP makes objects
 *             of bytes and bytes of objects; buffers are counted, and come from pools.
 * @prediction A request needs at least 1.5 times the CPU that it needs with java-nio, as objects are made for it.
 * @expect     throughput(100).cpu_us_per_request >= 1.5 * java-nio
 * @compare    java-nio, epoll, deno-serve
 * @requires   linux 2.6.32
 * @needs      javac (default-jdk-headless), mvn (maven)
 * @version    java --version
 * @fairness   Netty 4.2.18 with its native transport: epoll without the Selector of the JDK, and not its io_uring. An event
 *             loop for each core that the affinity of the process leaves. Set as in production: leak detection disabled,
 *             header fields not validated twice, constant headers and body of the answer, which the encoder writes each time.
 *             SerialGC with a heap of 512 MiB, 16 MiB of it young; the compiler makes the first seconds slow. Reads of
 *             up to 16 KiB, and another one as long as a read fills its buffer; the answers of one read are flushed
 *             together. Field names are sent in lower case. No access log, no date. Six options are set for each
 *             connection. Where no descriptor is left it pauses 50 ms, not the second that Netty would.
 * @cannot     share-pipelines In the first seconds, before the compiler has made it fast, the pipelines of a hundred clients
 *             delay others by more than 200 ms.
 * @cannot     malformed-400 Without validation of fields it takes one whose name is empty.
 * @cannot     exact-parser Its decoder accepts a bare LF as the end of a line, joins folded lines, discards bodies, and
 *             gives more names and lengths a meaning.
 * @cannot     close-after-body It discards the body and keeps the connection.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi java-netty.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work burns the CPU of the event loop, so all its connections wait; an executor group for the
 *             handler would be the remedy. The codec is that of HttpServerCodec, taken apart to bound the whole head.
 * @sources    https://netty.io/4.2/api/; io/netty/handler/codec/http/HttpObjectDecoder.java of Netty
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "java-netty";

// ---- Build: once, into a cache folder; again when a source or the command has changed -------------------------------

const SOURCES = ["java/netty/Netty.java", "java/Lab.java"];
const MAIN = "Netty"; // the class that is started
const COMPILE = ["javac", "--release", "17"];
const PROJECT = "java/netty/pom.xml"; // names Netty in one version
// Checksums must be right. Maven keeps what it has fetched in a folder of its own, and asks nobody for it again.
const FETCH = ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "dependency:copy-dependencies"];
const INSTALL = "apt-get install -y default-jdk-headless maven";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles unless that was done before, and returns the folder of it. Two that build at once do not disturb each other. */
async function build(): Promise<string> {
  const here = `${import.meta.dirname}/`;
  const inputs = [...COMPILE, ...FETCH, ...[PROJECT, ...SOURCES].map((path) => Deno.readTextFileSync(here + path))];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inputs.join("\0")));
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const cache = `${caches}/c10k-lab/peers`;
  const program = `${cache}/${EXPERIMENT}-${new Uint8Array(digest).toHex().slice(0, 16)}`;
  const exists = () =>
    Deno.stat(program).then(() => true, (error) => {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    });
  if (!await exists()) {
    const temporary = `${program}.${Deno.pid}`;
    Deno.mkdirSync(temporary, { recursive: true });
    await run([...FETCH, "--file", here + PROJECT, `-DoutputDirectory=${temporary}`]);
    await run([...COMPILE, "-cp", `${temporary}/*`, "-d", temporary, ...SOURCES.map((path) => here + path)]);
    await Deno.rename(temporary, program).catch(async (error) => {
      if (!await exists()) throw error;
      Deno.removeSync(temporary, { recursive: true }); // another was faster: a folder does not replace a full one
    });
  }
  return program;
}

/** Runs a command to its end. Maven tells on stdout what has failed, and that is seldom the fault of this project. */
async function run([command, ...args]: string[]): Promise<void> {
  const child = new Deno.Command(command!, { args, stdin: "null", stdout: "piped", stderr: "piped" });
  const { success, stdout, stderr } = await child.output().catch((error) => {
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  });
  if (success) return;
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const [, reason] = /^\[ERROR\] (.*(?:could not be resolved|could not resolve|No plugin found).*)$/im.exec(said) ?? [];
  if (reason) unavailable(`Maven does not get what it needs: ${reason}`);
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
  "-Dio.netty.leakDetection.level=disabled", // by default one buffer in 128 is followed
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
    const program = await build();
    become("java", [...MACHINE, "-cp", `${program}:${program}/*`, MAIN, "--host", host, "--port", port]);
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
