/**
 * @title      Apache, prefork: a process for each connection, out of a pool
 * @family     blocking
 * @question   What does the server cost whose limit of 256 clients gave the C10K problem its name?
 * @idea       A parent keeps a pool of processes; each blocks on one connection until that is closed. It is prefork.ts
 *             with a pool that grows and shrinks, and with all of HTTP, modules and files on the way to the answer.
 * @prediction With 256 workers connection 257 is not answered before another one is closed. A request needs at least
 *             three times the CPU that it needs with nginx.
 * @expect     hold(1000).answered <= 256
 *             throughput(100).cpu_us_per_request >= 3 * nginx
 * @compare    prefork, apache-event, nginx, c-epoll
 * @requires   linux 2.6.28
 * @needs      apache2 (apache2-bin), setpriv (util-linux)
 * @version    apache2 -v
 * @fairness   Up to 256 processes of one thread, Apache's own limit, on the cores that their affinity leaves them; 5 at
 *             the start, at most 32 more every second. Reads of up to 8 KiB. The answer is a file, opened and mapped
 *             for each request; it carries Date, Server, Last-Modified, ETag, Accept-Ranges and Content-Type: about 220
 *             bytes, not 49. No timeout below an hour. The log is 10 bytes per request, written once in 400. The
 *             launcher adds the lines up, and is not counted.
 * @cannot     head-deadline Its time limit for a head is in mod_reqtimeout, and starts with the connection.
 * @cannot     keepalive It sets SO_KEEPALIVE with the times of the system: two hours.
 * @cannot     refuse-version HTTP/2.0 is answered with 400 or as HTTP/1.1.
 * @cannot     exact-parser It requires Host, discards bodies, and has limits of its own.
 * @cannot     stop-backlog What has completed its handshake but is not accepted is reset when the listener closes.
 * @cannot     show-stats Its log knows requests only, and is written late.
 * @cannot     serve-at-emfile It opens the file for each request: without a descriptor it answers with 403.
 * @cannot     pass-accept-errors At ENETDOWN from accept(2) a process ends, whatever is configured, and its parent
 *             checks once per second whether it has to start others.
 * @cannot     burn-cpu It serves static content: there is no program behind it that could burn CPU.
 * @cannot     refuse-methods HEAD and POST are answered as GET.
 * @cannot     any-method A method that it does not know is answered with 501, then it closes.
 * @cannot     exact-path It strips slashes at the start of a path down to one, so `//` is `/`.
 * @cannot     bound-head Its limit is for each line, 8 190 bytes, and a longer line is answered with 400.
 * @cannot     close-after-body It discards the body and keeps the connection.
 * @cannot     count-accepted Its log knows requests only: a connection without one is not counted.
 * @cannot     give-up Its time limit for an answer is set to an hour here, and it does not set TCP_USER_TIMEOUT.
 * @run        deno run --allow-read --allow-write --allow-run=setpriv --allow-net apache-prefork.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/
 * @simplified IPv4 only. Three modules are loaded, of a hundred. There is no /work: 404.
 * @sources    https://httpd.apache.org/docs/2.4/mod/prefork.html; mod_log_config, stopping.html; prctl(2); Kegel, The
 *             C10K problem (1999)
 */
import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "apache-prefork";

// ---- Limits --------------------------------------------------------------------------------------------------------

const TRIES = 5; // ports tried with --port 0, where somebody else took the one that was free a moment ago
const START_MS = 10_000; // how long it may take until it says that it serves
const STOP_MS = 900; // how long what is in flight may take after SIGTERM; Apache looks once a second whether it is over
const WORKERS = 256, MAX_WORKERS = 20_000; // processes at most, and how many may be asked for: Apache's own bounds
const TAIL = 2000; // characters of its last words that are kept

// ---- The runtime: the program and its configuration ----------------------------------------------------------------

const INSTALL = "apt-get install -y apache2-bin";
const EADDRINUSE = 98, NOT_FOUND = 127; // <asm-generic/errno.h>; how setpriv(1) ends if there is no such program
const STARTED = "AH00163:", NOT_BOUND = "AH00072:"; // the numbers of Apache's messages

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

function cannotBind(host: string, port: number, errno: number): never {
  const name = getSystemErrorName(-errno);
  console.error(`Cannot bind ${host}:${port}: ${name} (${errno}), choose another --port (0: any) or --host`);
  Deno.exit(1);
}

/** Finds out whether a port is free, and which one if that is left open. It is given back: Apache binds it itself. */
function claimPort(hostname: string, port: number): number {
  try {
    using listener = Deno.listen({ hostname, port });
    return listener.addr.port;
  } catch (error) {
    const [, errno] = /os error (\d+)/.exec(String(error)) ?? [];
    if (errno === undefined) throw error;
    return cannotBind(hostname, port, Number(errno));
  }
}

const FOLDERS = "c10k-peer-"; // what the names of folders of nginx and Apache begin with
const MAKING_MS = 60_000; // a folder is without its lock for a moment: an older one was left by a process killed in that

/**
 * Makes a folder until this process ends. SIGKILL would leave it behind, so its process holds a lock, which the kernel lets
 * go of however that ends; and the next start removes folders whose lock is free.
 */
function makeFolder(): string {
  const folder = Deno.makeTempDirSync({ prefix: `${FOLDERS}${EXPERIMENT}-` });
  const lock = Deno.openSync(`${folder}/new`, { write: true, create: true });
  lock.lockSync(true);
  Deno.renameSync(`${folder}/new`, `${folder}/lock`); // others look for this name: it is never there without its lock
  globalThis.addEventListener("unload", () => {
    Deno.removeSync(folder, { recursive: true });
    lock.close();
  });
  removeLeftOver(folder.slice(0, folder.lastIndexOf("/")));
  return folder;
}

function removeLeftOver(parent: string): void {
  const { NotFound, PermissionDenied } = Deno.errors;
  for (const { name } of Deno.readDirSync(parent)) {
    if (!name.startsWith(FOLDERS)) continue;
    const folder = `${parent}/${name}`;
    try {
      if (hasEnded(folder)) Deno.removeSync(folder, { recursive: true });
    } catch (error) {
      // Another process removes it at this moment, or it is another user's.
      if (!(error instanceof NotFound || error instanceof PermissionDenied)) throw error;
    }
  }
}

/** Whether the process that made a folder has ended. The lock that is taken here is released: nothing else uses it. */
function hasEnded(folder: string): boolean {
  try {
    using lock = Deno.openSync(`${folder}/lock`, { write: true });
    return lock.tryLockSync(true);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return Date.now() - Deno.statSync(folder).mtime!.getTime() > MAKING_MS;
  }
}

/** Makes the folder of one Apache, with its configuration and the file that it serves. */
function configure(host: string, port: number, workers: number): string {
  const folder = makeFolder();
  const read = (name: string) => Deno.readTextFileSync(`${import.meta.dirname}/apache/${name}`);
  const text = read("httpd.conf").replace(/^POOL$/m, read("prefork.conf")).replaceAll("FOLDER", folder)
    .replace("HOST:PORT", `${host}:${port}`).replaceAll("WORKERS", String(workers));
  Deno.writeTextFileSync(`${folder}/httpd.conf`, text);
  Deno.mkdirSync(`${folder}/site`);
  Deno.writeTextFileSync(`${folder}/hello`, "Hello World");
  for (const path of ["", "/site"]) Deno.chmodSync(folder + path, 0o755); // the children must find it without rights
  return folder;
}

// ---- The architecture: a parent that keeps the pool, children that serve, and this process, which counts ------------

const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
const started = Promise.withResolvers<true>();
let ready = false, lastWords = "";

const countError = (name: string) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

async function eachLine(stream: ReadableStream<Uint8Array<ArrayBuffer>>, onLine: (line: string) => void) {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    lines.forEach(onLine);
  }
}

/** A line of the access log. Its X stands for a client that had gone before the answer. */
function onRequest(line: string): void {
  const [status, before, end] = line.split(" ");
  if (before === "0") counts.accepted++;
  if (status === "200") counts.served++;
  else if (end !== "X") countError(status!);
}

/** Prints a line. Where it cannot be written, as on a full disk, the server goes on, and counts that. */
function print(write: (line: string) => void, line: string): void {
  try {
    write(line);
  } catch (error) {
    const [, errno] = /os error (\d+)/.exec(String(error)) ?? [];
    if (errno === undefined) throw error;
    countError(getSystemErrorName(-Number(errno)));
  }
}

function onError(line: string): void {
  if (line.includes(STARTED)) started.resolve(true);
  else if (!ready) lastWords = (lastWords + line + "\n").slice(-TAIL);
  else if (/:(error|crit|alert|emerg)\]/.test(line)) print(console.error, line);
}

/**
 * Starts Apache. It needs a session of its own: to stop, its parent signals its whole group, which else were that of
 * this process too; and Ctrl-C reaches this process only, which then stops it in order. The kernel sends the parent
 * SIGTERM when this process ends, however that happens (PR_SET_PDEATHSIG), and the parent, ended so, ends its children.
 */
function launch(folder: string): { parent: Deno.ChildProcess; over: Promise<Deno.CommandStatus> } {
  const args = ["--pdeathsig", "TERM", "apache2", "-DFOREGROUND", "-d", folder, "-f", "httpd.conf"];
  const streams = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const parent = new Deno.Command("setpriv", { args, detached: true, ...streams }).spawn();
  const said = [eachLine(parent.stdout, onRequest), eachLine(parent.stderr, onError)];
  return { parent, over: Promise.all([parent.status, ...said]).then(([status]) => status) };
}

/** Resolves to what `promise` does, or to null after `ms`. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, ms, null);
  const result = await Promise.race([promise, late]);
  clearTimeout(timer);
  return result;
}

/** Starts Apache until it serves, at another port if the first one was taken meanwhile and any will do. */
async function start({ host, port: wanted, workers }: Options) {
  for (let tries = 1;; tries++) {
    const port = claimPort(host, wanted);
    const server = launch(configure(host, port, workers));
    const status = await within(Promise.race([started.promise, server.over]), START_MS);
    if (status === true) return { ...server, port };
    if (status?.code === NOT_FOUND) unavailable(`apache2 is not installed: ${INSTALL}`);
    if (!lastWords.includes(NOT_BOUND)) {
      console.error(`Apache does not start: ${lastWords || `nothing heard after ${START_MS} ms`}`);
      Deno.exit(1);
    }
    if (wanted !== 0 || tries === TRIES) cannotBind(host, port, EADDRINUSE);
    lastWords = "";
  }
}

/** Sends a signal. A process that has just ended by itself needs none. */
function tell(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

/**
 * Stops Apache in order: SIGWINCH closes the port and lets each child finish its request. A child that waits for the
 * next one does not wake from that, so SIGTERM ends who is left; on the way out each writes the rest of its log.
 */
async function stop({ parent, over }: Awaited<ReturnType<typeof start>>): Promise<void> {
  tell(parent, "SIGWINCH");
  if (await within(over, STOP_MS) === null) tell(parent, "SIGTERM");
  await over;
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

interface Options {
  host: string;
  port: number;
  workers: number;
}

function readOptions(): Options {
  try {
    const { values: { host, port, workers } } = parseArgs({
      args: Deno.args,
      options: {
        port: { type: "string", default: "8080" },
        host: { type: "string", default: "127.0.0.1" },
        workers: { type: "string", default: String(WORKERS) },
      },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    if (!/^[1-9]\d{0,4}$/.test(workers) || Number(workers) > MAX_WORKERS) {
      throw new Error(`--workers ${workers} is not a number of workers (1..${MAX_WORKERS}).`);
    }
    return { host, port: Number(port), workers: Number(workers) };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS] [--workers N]`);
    Deno.exit(2);
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  if (Deno.build.os !== "linux") {
    unavailable(`its end is tied to this process by prctl(2) of Linux, this is ${Deno.build.os}.`);
  }
  const server = await start(options);
  const { promise: stopping, resolve } = Promise.withResolvers<void>();
  let signals = 0;
  // The second signal does not wait: Apache hears of the end of this process, and ends.
  const onSignal = () => ++signals > 1 ? Deno.exit(1) : resolve();
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, onSignal);
  Deno.addSignalListener("SIGUSR1", () => print(console.log, JSON.stringify({ event: "stats", ...counts })));
  ready = true;
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: server.port, pid: server.parent.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${server.port}/`);
  if (await Promise.race([stopping, server.over])) {
    console.error("Apache has ended by itself.");
    Deno.exit(1);
  }
  await stop(server);
  print(console.log, JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    // Not permitted, or copied without the configuration that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
