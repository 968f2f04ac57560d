/**
 * @title      deno-serve: the runtime's own HTTP server
 * @family     runtime
 * @question   What is gained, and what is given away, if even the connection is none of your business?
 * @idea       The runtime accepts, reads and parses in Rust (hyper over tokio), each connection in a task of its own there.
 *             TypeScript sees a Request and returns a Response. What happens between two of them is out of its sight.
 * @prediction At 10 000 active connections an answer costs less CPU than in event-loop, although it says more.
 * @compare    event-loop, epoll
 * @requires   any
 * @run        deno run --allow-net=127.0.0.1 deno-serve.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. /work burns the CPU of the only thread, and everybody waits.
 * @cannot     bound-head A head of up to 64 KiB is answered; above that the runtime says 400, not 431.
 * @cannot     close-after-body A request with a body is answered and the connection stays: the runtime reads the body.
 * @cannot     linger After a 400 the runtime closes at once: what the client still sends is met by a reset.
 * @cannot     stop-in-flight A request whose head is not complete at SIGTERM is dropped: shutdown() closes its connection.
 * @cannot     wait-at-emfile At EMFILE the runtime closes its listener: who waits is reset, and others are refused until
 *             it is opened again after the pause.
 * @cannot     count-accepted A connection is counted by its peer's address and port when its first request comes: a silent
 *             one is missed, and so is a later one from the same port.
 * @cannot     count-errors What the runtime refuses (400) and what breaks (ECONNRESET) is not told: only 404, 405, EMFILE are.
 * @sources    Deno.serve (docs.deno.com); hyper, tokio (docs.rs); RFC 9112 (HTTP/1.1)
 */
import { getSystemErrorName, parseArgs } from "node:util";

const EXPERIMENT = "deno-serve";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait to be accepted; the kernel cuts it to net.core.somaxconn
const PAUSE_MS = 100; // how long nothing is accepted after the last descriptor was taken
const MAX_WORK_US = 100_000;
const HOSTS = 1024; // peer addresses whose ports are told apart, 64 KiB each; further ones are not counted
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

// ---- The runtime: every call that can fail -----------------------------------------------------------------------

/** Returns the errno name of an error that came from the system, else null. The runtime hides some in the message. */
function errnoName(error: unknown): string | null {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  const number = errnoNumber(error);
  return number === null ? null : getSystemErrorName(-number);
}

const ranOut = (name: string | null) => name === "EMFILE" || name === "ENFILE";

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

// ---- Protocol: spoken by the runtime; what is left are the paths --------------------------------------------------

/** Returns the CPU that the path asks to burn, in microseconds; NaN if there is no such path. */
function workUs(path: string): number {
  const us = path === "/" ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(path)?.[1] ?? NaN);
  return us <= MAX_WORK_US ? us : NaN;
}

/** Burns CPU time of the process: that of the runtime's other threads is counted too, but they sleep. */
function burn(us: number): void {
  const start = process.cpuUsage();
  for (let used = start; used === start || used.user + used.system < us;) used = process.cpuUsage(start);
}

// ---- Connection: not seen; only the peer of a request is ----------------------------------------------------------

const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
const ports = new Map<string, Uint8Array>(); // peer address → a byte for each port, 1 if it has been seen
let server: Deno.HttpServer<Deno.NetAddr> | null = null;
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

function handle(request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>): Response {
  countPeer(info.remoteAddr);
  if (request.method !== "GET") return refuse(405, { Allow: "GET" });
  // http://host/path: cutting it costs a tenth of what `new URL` does, and leaves the path as it was asked for.
  const us = workUs(request.url.slice(request.url.indexOf("/", "http://".length)));
  if (Number.isNaN(us)) return refuse(404);
  if (us > 0) burn(us);
  counts.served++;
  return new Response("Hello World");
}

/** Serves until `stop`. When descriptors run out the runtime gives up its listener: so open another, a while later. */
async function serve(hostname: string, port: number): Promise<void> {
  while (!stopping) {
    try {
      server ??= serveOn(hostname, port);
      await server.finished;
    } catch (error) {
      const name = errnoName(error);
      if (!ranOut(name)) throw error;
      countError(name!);
      server = null; // the connections it has accepted are served on; those that waited are lost
      await new Promise((go) => setTimeout(go, PAUSE_MS));
    }
  }
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

function finish(): never {
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}

if (import.meta.main) {
  const { host, port } = readOptions();
  server = serveOn(host, port);
  const stop = () => {
    if (stopping) Deno.exit(1); // the second signal does not wait
    stopping = true;
    setTimeout(finish, STOP_MS);
    server?.shutdown(); // answers what has been read, and closes; `serve` sees the end of it
  };
  const signals = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] as const : ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: server.addr.port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${server.addr.port}/`);
  await serve(host, server.addr.port);
  finish();
}
