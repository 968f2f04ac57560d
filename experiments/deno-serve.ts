/**
 * @title      deno-serve: the runtime's own HTTP server
 * @family     runtime
 * @question   What do you gain, and what do you give up, if the runtime owns even the connection?
 * @idea       The runtime accepts, reads and parses in Rust (hyper over tokio), each connection in a task of its own there.
 *             TypeScript sees a Request and returns a Response. What happens between two of them is out of its sight.
 * @prediction At 10 000 active connections an answer costs less CPU than in event-loop, although it says more.
 * @expect     throughput(10000).cpu_us_per_request < event-loop
 * @compare    event-loop, epoll
 * @requires   any
 * @cannot     bound-head A head of up to 64 KiB is answered; above that the runtime says 400, not 431.
 * @cannot     close-after-body A request with a body is answered and the connection stays: the runtime reads the body.
 * @cannot     linger After a 400 the runtime closes at once: what the client still sends is met by a reset.
 * @cannot     exact-parser It accepts longer heads and more kinds of lines than this contract, and discards bodies.
 * @cannot     half-close Once the client has closed its half, a request whose answer is not ready at once is dropped.
 * @cannot     head-deadline The runtime waits for ever for a head that never ends.
 * @cannot     keepalive The runtime leaves SO_KEEPALIVE off: a peer that is gone holds its connection for ever.
 * @cannot     any-form HTTP/1.2 is answered 400.
 * @cannot     refuse-version The runtime answers an HTTP/2 preface with frames of HTTP/2, and GET / HTTP/2.0 with 400.
 * @cannot     last-says-close The answer to HTTP/1.0 does not say that it is the last.
 * @cannot     stop-in-flight A request whose head is not complete at SIGTERM is dropped: shutdown() closes its connection.
 * @cannot     pass-accept-errors At any error of accept(2) the runtime closes its listener: connections that wait then
 *             are reset.
 * @cannot     wait-at-emfile At EMFILE the runtime closes its listener: connections that wait are reset, and others are
 *             refused until it is opened again after the pause.
 * @cannot     show-stats The runtime shows neither its open connections nor the bytes that it has read and sent.
 * @cannot     count-accepted A connection is counted by its peer's address and port when its first request comes: a silent
 *             one is missed, and so is a later one from the same port.
 * @cannot     count-errors What the runtime refuses (400) and what breaks (ECONNRESET) is not seen: 404, 405, EMFILE are.
 * @cannot     give-up There is no time limit for an answer: a peer that takes nothing is held for ever, a dead one for
 *             a quarter of an hour.
 * @run        deno run --allow-net=127.0.0.1 deno-serve.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work burns the CPU of the only thread, so every client waits for it. The runtime bounds the
 *             heads and answers that it keeps per connection, and not for all of them together.
 * @sources    Deno.serve (docs.deno.com); hyper, tokio (docs.rs); RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection, as far as it is seen: nothing of it but its requests.
//
//  accept ─► reading ─► Request ─► handle ─► Response ─► writing ─► closed
//              ▲                                            │
//              └──────────────── it may ask again ──────────┘
//
// reading and writing are the runtime's, and so is what ends them. `handle` is called once for each request; one that
// burns CPU lets the runtime look at sockets and signals in between.

import { getSystemErrorName, parseArgs } from "node:util";

const EXPERIMENT = "deno-serve";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait to be accepted; the kernel cuts it to net.core.somaxconn
const PAUSE_MS = 100; // how long nothing is accepted after the last descriptor was taken
const MAX_WORK_US = 100_000;
const HOSTS = 1024; // peer addresses whose ports are distinguished, 64 KiB each; further ones are not counted
const SLICE_US = 20_000; // the longest burn without a turn of the runtime's loop
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const QUIET_MS = 5; // after SIGTERM: so many of such stretches without a request, and nothing waits for accept
const QUIET_TIMES = 4; // a process that gets no CPU for a while sees one of them end before it has looked for anything

// ---- The runtime: every call that can fail -----------------------------------------------------------------------

/** Returns the errno name of an error that came from the system, else null. The runtime hides some in the message. */
function errnoName(error: unknown): string | null {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  const number = errnoNumber(error);
  return number === null ? null : getSystemErrorName(-number);
}

const ranOut = (name: string | null) => name === "EMFILE" || name === "ENFILE";

// Errors of the connection that accept(2) was to return, not of the listening socket.
const NETWORK_ERRORS = ["ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET"];
const PASSING_ERRORS = ["EINTR", "ECONNABORTED", "EPROTO", "ENOPROTOOPT", "EOPNOTSUPP", ...NETWORK_ERRORS];

function errnoNumber(error: unknown): number | null {
  const number = /os error (\d+)/.exec(String(error))?.[1];
  return number === undefined ? null : Number(number);
}

/** Opens the listening socket and starts to serve, or ends with what was tried, the errno and what to do about it. */
function serveOn(hostname: string, port: number): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname, port, tcpBacklog: BACKLOG, onListen() {} }, handle);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      console.error(`${EXPERIMENT} cannot run here: ${error.message}`);
      Deno.exit(69); // EX_UNAVAILABLE of <sysexits.h>
    }
    const name = errnoName(error);
    if (name === null || ranOut(name)) throw error;
    console.error(
      `Cannot bind ${hostname}:${port}: ${name} (${errnoNumber(error)}), choose another --port (0: any) or --host`,
    );
    return Deno.exit(1);
  }
}

const sleep = (ms: number): Promise<void> => new Promise((go) => setTimeout(go, ms));

/** Lets the runtime look at sockets, timers and signals. An immediate would come before the sockets are polled. */
const turn = (): Promise<void> => sleep(0);

// ---- Protocol: spoken by the runtime; what is left are the paths --------------------------------------------------

/** Returns the CPU that a URL asks to burn, in microseconds; NaN if there is no such path. */
function workUs(url: string): number {
  // http://host/path?query: cutting it costs a tenth of what `new URL` does, and leaves the path as it was asked for.
  const start = url.indexOf("/", "http://".length);
  const query = url.indexOf("?", "http://".length);
  const path = start < 0 || (query >= 0 && query < start) ? "/" : url.slice(start, query < 0 ? url.length : query);
  const us = path === "/" ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(path)?.[1] ?? NaN);
  return us <= MAX_WORK_US ? us : NaN;
}

/** Burns CPU time of the process: that of the runtime's other threads is counted too, but they sleep. */
async function burn(us: number): Promise<void> {
  for (let left = us; left > 0; left -= SLICE_US) {
    await turn(); // before the first slice too: so requests for work that one client has pipelined leave room for others
    const start = process.cpuUsage();
    let used = start;
    do used = process.cpuUsage(start); while (used.user + used.system < Math.min(left, SLICE_US));
  }
}

// ---- Connection: not seen; only the peer of a request is ----------------------------------------------------------

const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
const ports = new Map<string, Uint8Array>(); // peer address → a byte for each port, 1 if it has been seen
let server: Deno.HttpServer<Deno.NetAddr> | null = null;
let requests = 0;
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function countPeer({ hostname, port }: Deno.NetAddr): void {
  let seen = ports.get(hostname);
  if (seen === undefined) {
    if (ports.size === HOSTS) return;
    ports.set(hostname, seen = new Uint8Array(65536));
  }
  if (seen[port] === 1) return;
  seen[port] = 1;
  counts.accepted++;
}

function refuse(status: number, headers: HeadersInit = {}): Response {
  countError(status);
  return new Response(null, { status, headers });
}

// ---- The architecture: a function from Request to Response --------------------------------------------------------

function handle(request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>): Response | Promise<Response> {
  requests++;
  countPeer(info.remoteAddr);
  if (request.method !== "GET") return refuse(405, { Allow: "GET" });
  const us = workUs(request.url);
  if (Number.isNaN(us)) return refuse(404);
  return us > 0 ? burn(us).then(hello) : hello(); // a promise costs: only where there is something to wait for
}

function hello(): Response {
  counts.served++;
  return new Response("Hello World");
}

/**
 * Serves until `stop`. At any error of accept the runtime gives up its listener: so open another, a while later where
 * descriptors have run out, else at once.
 */
async function serve(hostname: string, port: number): Promise<void> {
  while (!stopping) {
    try {
      server ??= serveOn(hostname, port);
      await server.finished;
    } catch (error) {
      const name = errnoName(error);
      server = null; // the connections it has accepted are served on; those that waited are lost
      if (name === null || !(ranOut(name) || PASSING_ERRORS.includes(name))) throw error;
      countError(name);
      if (!ranOut(name)) continue;
      await sleep(PAUSE_MS);
    }
  }
}

function finish(): never {
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}

/** Lets the runtime accept and answer what waits, then has it close. `serve` sees the end of it. */
async function drain(): Promise<void> {
  setTimeout(finish, STOP_MS);
  const untilMs = performance.now() + STOP_MS / 2;
  for (let quiet = 0; quiet < QUIET_TIMES && performance.now() < untilMs;) {
    const before = requests;
    await sleep(QUIET_MS);
    quiet = requests > before ? 0 : quiet + 1;
  }
  await server?.shutdown(); // answers what has been read
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

/** Prints a line of counts. Where none can be written, as on a full disk, the server goes on, and counts that. */
function show(line: object): void {
  try {
    console.log(JSON.stringify(line));
  } catch (error) {
    const [, errno] = /os error (\d+)/.exec(String(error)) ?? [];
    if (errno === undefined) throw error;
    countError(getSystemErrorName(-Number(errno)));
  }
}

if (import.meta.main) {
  const { host, port } = readOptions();
  server = serveOn(host, port);
  const stop = () => {
    if (stopping) Deno.exit(1); // the second signal does not wait
    stopping = true;
    drain();
  };
  const isWindows = Deno.build.os === "windows";
  for (const signal of isWindows ? ["SIGINT", "SIGBREAK"] as const : ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  const showStats = () => show({ event: "stats", ...counts });
  if (!isWindows) Deno.addSignalListener("SIGUSR1", showStats);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: server.addr.port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${server.addr.port}/`);
  await serve(host, server.addr.port);
  finish();
}
