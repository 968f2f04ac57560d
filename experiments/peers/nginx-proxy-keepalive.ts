/**
 * @title      nginx-proxy-keepalive: a proxy that keeps a pool of connections to its backend
 * @family     readiness
 * @question   What does a pool of connections save?
 * @idea       The connection to the backend goes back to a pool of idle ones after each answer, and the next
 *             request takes it: no handshake, no port, no TIME_WAIT.
 * @prediction A request needs at most two thirds of the CPU that it needs with nginx-proxy.
 * @expect     throughput(100).cpu_us_per_request <= 0.67 * nginx-proxy
 * @compare    nginx-proxy, nginx
 * @requires   linux 2.6.28
 * @needs      nginx (nginx-light), setpriv (util-linux)
 * @version    nginx -v
 * @fairness   One worker process with one thread; the master only waits. The backend is another nginx on the loopback, set
 *             as in nginx.ts: it shares the core that the affinity leaves, and its CPU is not counted. The pool
 *             keeps up to 256 idle connections. No timeout
 *             below an hour, no access log except for refused requests. The launcher sleeps beside it, and is not
 *             counted. Where no descriptor is left it pauses 50 ms, not half a second.
 * @cannot     burn-cpu The backend serves static content: there is no program behind it that could burn CPU.
 * @cannot     head-deadline Its time limit for a head starts with the connection, so it would end idle ones, and is
 *             off.
 * @cannot     refuse-version The preface of HTTP/2 is answered with 400.
 * @cannot     return-descriptors Its pool keeps as many connections to the backend as were needed at one time.
 * @cannot     wait-at-emfile A request that finds no descriptor for its connection to the backend is answered with 500.
 * @cannot     serve-herd Each client takes several of the 20 000 connections of a worker; further ones are reset.
 * @cannot     exact-parser It requires Host, accepts a bare LF as the end of a line, and discards bodies.
 * @cannot     show-stats It counts no bytes.
 * @cannot     malformed-400 `GET /` without a version is HTTP/0.9 to it: it answers with the body alone, then closes.
 * @cannot     bound-head Its limit is for each line, 8 KiB, and a longer line is answered with 400.
 * @cannot     close-after-body It discards the body and keeps the connection.
 * @cannot     give-up Its time limit for an answer is set to an hour here, and it does not set TCP_USER_TIMEOUT.
 * @run        deno run --allow-read --allow-write --allow-run=setpriv --allow-net nginx-proxy-keepalive.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/
 * @simplified IPv4 only. One backend. There is no /work: 404.
 * @sources    https://nginx.org/en/docs/; ngx_http_proxy_module, ngx_http_upstream_module; nginx(8), prctl(2)
 */
import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "nginx-proxy-keepalive";

// ---- Limits --------------------------------------------------------------------------------------------------------

const TRIES = 5; // ports tried with --port 0, where somebody else took the one that was free a moment ago
const START_MS = 10_000; // how long it may take until the first worker answers
const STOP_MS = 1500; // when nginx is ended by force; it ends by itself after less, see worker_shutdown_timeout
const LOOK_MS = 10; // how long it is left alone between two looks
const TAIL = 2000; // characters of its last words that are kept

// ---- The runtime: the program, its configuration, its counters -----------------------------------------------------

const INSTALL = "apt-get install -y nginx-light";
const LOOPBACK = "127.0.0.1"; // of the backend
const EADDRINUSE = 98, NOT_FOUND = 127; // <asm-generic/errno.h>; how setpriv(1) ends if there is no such program

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// The kernel sends nginx SIGTERM when this process ends, however that happens: PR_SET_PDEATHSIG of prctl(2).
const NGINX = ["--pdeathsig", "TERM", "nginx"];

/** Makes sure that nginx is here, with the counters that the last line of this program is made of. */
async function demandNginx(): Promise<void> {
  const { code, stderr } = await new Deno.Command("setpriv", { args: [...NGINX, "-V"], stdin: "null" }).output();
  const said = new TextDecoder().decode(stderr);
  if (code === NOT_FOUND) unavailable(`nginx is not installed: ${INSTALL}`);
  if (code !== 0) unavailable(said.split("\n", 1)[0]!);
  if (said.includes("--with-http_stub_status_module")) return;
  unavailable("this nginx is built without ngx_http_stub_status_module, which counts connections and requests.");
}

function cannotBind(host: string, port: number, errno: number): never {
  const name = getSystemErrorName(-errno);
  console.error(`Cannot bind ${host}:${port}: ${name} (${errno}), choose another --port (0: any) or --host`);
  Deno.exit(1);
}

/** Finds out whether a port is free, and which one if that is left open. It is given back: nginx binds it by itself. */
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

/** Makes the folder of one nginx, with its configuration. What is in `enabled` is served. */
function configure(site: string, address: string, backend: string): string {
  const read = (name: string) => Deno.readTextFileSync(`${import.meta.dirname}/nginx/${name}`);
  const folder = makeFolder();
  Deno.mkdirSync(`${folder}/enabled`);
  Deno.writeTextFileSync(`${folder}/nginx.conf`, read("nginx.conf").replace("WORKERS", "1"));
  Deno.writeTextFileSync(
    `${folder}/enabled/site.conf`,
    read(site).replace("HOST:PORT", address).replace("BACKEND", backend),
  );
  return folder;
}

let asked = 0; // connections and requests that are questions of this process

/** Asks nginx for its counters, by a socket in its folder; null as long as it does not answer. */
async function ask(folder: string): Promise<{ active: number; accepted: number; requests: number } | null> {
  try {
    using connection = await Deno.connect({ transport: "unix", path: `${folder}/status.sock` });
    await connection.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
    const answer = new Uint8Array(1024); // it is written at once, and shorter
    const text = new TextDecoder().decode(answer.subarray(0, await connection.read(answer) ?? 0));
    const [, active, accepted, requests] = /Active connections: (\d+) \n.*\n (\d+) \d+ (\d+)/.exec(text) ?? [];
    if (requests === undefined) return null;
    asked++;
    return { active: Number(active) - 1, accepted: Number(accepted) - asked, requests: Number(requests) - asked };
  } catch (error) {
    // Not there yet, or its process has just left.
    const { NotFound, ConnectionRefused, ConnectionReset, BrokenPipe } = Deno.errors;
    if ([NotFound, ConnectionRefused, ConnectionReset, BrokenPipe].some((kind) => error instanceof kind)) return null;
    throw error;
  }
}

// ---- The architecture: a proxy, its backend, and this process, which tells of them ------------

const errors: Record<string, number> = {};
let refused = 0; // requests that were not answered with 200
let ready = false, lastWords = "";

const countError = (name: string) => errors[name] = (errors[name] ?? 0) + 1;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function eachLine(stream: ReadableStream<Uint8Array<ArrayBuffer>>, onLine: (line: string) => void) {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    lines.forEach(onLine);
  }
}

/** A line of the access log: the status, and how many bytes were sent. None, if the client had gone before. */
function onRefused(line: string): void {
  const [status, sent] = line.split(" ");
  refused++;
  if (sent !== "0") countError(status!);
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
  const [, errno] = / accept4?\(\) failed \((\d+): /.exec(line) ?? [];
  if (errno !== undefined) countError(getSystemErrorName(-Number(errno)));
  else if (ready) print(console.error, line);
  else lastWords = (lastWords + line + "\n").slice(-TAIL);
}

/**
 * Starts nginx. It gets a session of its own, so that Ctrl-C reaches this process only, which then stops it in order.
 * If this process is killed instead, the master gets its SIGTERM, and ends its worker.
 */
function launch(folder: string, isMeasured: boolean): { master: Deno.ChildProcess; over: Promise<void> } {
  const args = [...NGINX, "-p", `${folder}/`, "-c", "nginx.conf", "-e", "stderr"];
  const streams = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const master = new Deno.Command("setpriv", { args, cwd: folder, detached: true, ...streams }).spawn();
  const onLine = isMeasured ? onRefused : () => {}; // the backend has refused what the proxy counts
  const said = [eachLine(master.stdout, onLine), eachLine(master.stderr, onError)];
  return { master, over: Promise.all([master.status, ...said]).then(() => {}) };
}

/** Starts nginx until it answers, at another port if the first one was taken meanwhile and any will do. */
async function start(site: string, host: string, wanted: number, backend = "") {
  for (let tries = 1;; tries++) {
    const port = claimPort(host, wanted), folder = configure(site, `${host}:${port}`, backend);
    const server = launch(folder, backend !== "");
    let ended = false;
    server.over.then(() => ended = true);
    for (const until = performance.now() + START_MS; !ended && performance.now() < until; await pause(LOOK_MS)) {
      if (await ask(folder) !== null) return { ...server, folder, port };
    }
    if (!lastWords.includes(`(${EADDRINUSE}: `)) {
      console.error(`nginx does not start: ${lastWords || `no answer after ${START_MS} ms`}`);
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

/** Prints the counts so far, as nginx has them in its counters. */
async function sayStats(folder: string): Promise<void> {
  const counters = await ask(folder);
  if (counters === null) return print(console.error, "nginx does not tell its counters.");
  const { active: open, accepted, requests } = counters;
  print(console.log, JSON.stringify({ event: "stats", open, accepted, served: requests - refused, errors }));
}

/**
 * Waits until no connection waits to be accepted or read: nginx would reset it. A turn of its loop accepts one, and a
 * question takes more than one turn, so what two answers in a row do not differ in is done.
 */
async function acceptAll(folder: string): Promise<void> {
  let before = -1;
  for (const until = performance.now() + STOP_MS; performance.now() < until;) {
    const accepted = (await ask(folder))?.accepted;
    if (accepted === undefined || accepted === before) return;
    before = accepted;
  }
}

/**
 * Takes the site down, as an administrator does: without its file, and with SIGHUP, nginx closes the port and idle
 * connections, and lets the old worker finish what is in flight. A new worker tells meanwhile how much that is.
 */
async function stop({ master, over, folder }: Awaited<ReturnType<typeof start>>) {
  await acceptAll(folder);
  Deno.removeSync(`${folder}/enabled/site.conf`);
  tell(master, "SIGHUP");
  let counters = await ask(folder);
  for (const until = performance.now() + STOP_MS; counters?.active !== 0 && performance.now() < until;) {
    await pause(LOOK_MS);
    counters = await ask(folder) ?? counters;
  }
  tell(master, "SIGTERM");
  await over;
  if (counters !== null) return { accepted: counters.accepted, served: counters.requests - refused, errors };
  console.error("nginx has ended without telling its counters.");
  return Deno.exit(1);
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: number } {
  try {
    const { values: { host, port } } = parseArgs({
      args: Deno.args,
      options: { port: { type: "string", default: "8080" }, host: { type: "string", default: "127.0.0.1" } },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    return { host, port: Number(port) };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS]`);
    Deno.exit(2);
  }
}

async function main(): Promise<void> {
  const { host, port: wanted } = readOptions();
  if (Deno.build.os !== "linux") {
    unavailable(`its end is tied to this process by prctl(2) of Linux, this is ${Deno.build.os}.`);
  }
  await demandNginx();
  const backend = await start("site.conf", LOOPBACK, 0);
  asked = refused = 0; // questions to the backend are none to the proxy
  const server = await start("proxy-keepalive.conf", host, wanted, `${LOOPBACK}:${backend.port}`);
  backend.over.then(() => ready && print(console.error, "The backend has ended."));
  const { promise: stopping, resolve } = Promise.withResolvers<void>();
  let signals = 0;
  // The second signal does not wait: nginx hears of the end of this process, and ends.
  const onSignal = () => ++signals > 1 ? Deno.exit(1) : resolve();
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, onSignal);
  Deno.addSignalListener("SIGUSR1", () => sayStats(server.folder));
  ready = true;
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: server.port, pid: server.master.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${server.port}/`);
  const ended = await Promise.race([stopping, server.over.then(() => true)]);
  if (ended) {
    console.error("nginx has ended by itself.");
    Deno.exit(1);
  }
  const stopped = await stop(server);
  tell(backend.master, "SIGTERM");
  await backend.over;
  print(console.log, JSON.stringify({ event: "stopped", ...stopped }));
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
