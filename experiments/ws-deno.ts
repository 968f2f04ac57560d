/**
 * @title      ws-deno: the runtime's own WebSocket
 * @family     push
 * @question   What do you gain, and what do you give up, if the runtime owns even the frames?
 * @idea       The runtime accepts, shakes hands, and reads and writes frames in Rust, each connection in a task of its own
 *             there. TypeScript sees a message, and calls send once for each listener.
 * @prediction A delivery costs over twice the CPU that it costs in ws-epoll: each call encodes the text, frames it and
 *             makes a promise, where ws-epoll has one frame for all.
 * @expect     broadcast(1000).cpu_us_per_delivery > 2 * ws-epoll
 * @compare    ws-epoll, deno-serve
 * @requires   any
 * @cannot     exact-handshake After a refusal the runtime keeps the connection, and it takes any key.
 * @cannot     exact-frames A frame without a mask is accepted, and many violations end the connection without a Close.
 * @cannot     any-frames For the same reason.
 * @cannot     exact-close Code 1014 is answered with 1002.
 * @cannot     bound-message A frame that names more than 64 MiB ends the connection without a Close.
 * @cannot     drop-non-reader A WebSocket cannot be reset: its Close waits behind what is unsent, until a ping fails.
 * @cannot     keepalive Deno switches SO_KEEPALIVE on, and leaves its times at the system's default: its pings do more.
 * @cannot     handshake-deadline The runtime waits for ever for a handshake that never ends.
 * @cannot     message-deadline The runtime has no clock for messages: it ends only a peer that sends no frame at all.
 * @cannot     close-deadline The runtime waits for ever for a peer that has its Close and stays.
 * @cannot     wait-at-emfile At EMFILE the runtime closes its listener: connections that wait are reset, and others are
 *             refused until it is opened again after the pause.
 * @run        deno run --allow-net=127.0.0.1 ws-deno.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No subprotocols; Origin and Host are not checked. Texts only, up to 65 535 bytes. A connection
 *             is counted by its request, and a message as delivered once the runtime has it. Bytes are not counted.
 * @sources    Deno.upgradeWebSocket (docs.deno.com); RFC 6455 (WebSocket)
 */

// The life of a connection is seen through the events of its WebSocket.
//
//  a request ─► open ─── message: to all that are open ───► what a socket does not take yet waits in the runtime
//      │          │                                              │
//      │          │ Close, or a violation                        │ more than MAX_UNSENT: close(1013), behind all that
//      ▼          ▼                                              ▼
//  refused      close ◄── no answer to a ping for 30 s ◄──── listens no more

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "ws-deno";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait to be accepted; the kernel cuts it to net.core.somaxconn
const PAUSE_MS = 100; // how long nothing is accepted after the last descriptor was taken
const MAX_MESSAGE = 65_535; // bytes of a message; the runtime itself takes up to 64 MiB
const MAX_UNSENT = 256 * 1024; // bytes of one listener that the runtime holds; beyond, it listens no more
const IDLE_S = 30; // without a frame a ping is sent, and after the same time without a pong the connection ends
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

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

// ---- Protocol: spoken by the runtime; what is left are refusals and the bound of a message -------------------------

const UPGRADE = { Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
const GOING_AWAY = 1001, UNSUPPORTED = 1003, TOO_BIG = 1009, TRY_AGAIN_LATER = 1013;

function refuse(status: number, headers: HeadersInit = {}): Response {
  countError(status);
  return new Response(null, { status, headers: { Connection: "close", ...headers } });
}

/** The status to refuse a request with; 101: it is a handshake. */
function statusOf({ url, method, headers }: Request): number {
  if (method !== "GET") return 405;
  if (new URL(url).pathname !== "/") return 404;
  const isUpgrade = headers.get("upgrade")?.toLowerCase().split(/[ \t]*,[ \t]*/).includes("websocket");
  return isUpgrade && headers.get("sec-websocket-version") === "13" ? 101 : 426;
}

/** Whether a text is too long in UTF-8. A string counts its length in units of UTF-16, of which one takes up to 3 bytes. */
const isTooBig = (text: string) => text.length * 3 > MAX_MESSAGE && new TextEncoder().encode(text).length > MAX_MESSAGE;

// ---- Connection: a WebSocket ---------------------------------------------------------------------------------------

const sockets = new Set<WebSocket>(); // all of them
const listeners = new Set<WebSocket>(); // those that get messages
const counts = { accepted: 0, served: 0, delivered: 0, errors: {} as Record<string, number> };
let server: Deno.HttpServer<Deno.NetAddr> | null = null;
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function onOpen(socket: WebSocket): void {
  if (stopping) return socket.close(GOING_AWAY);
  listeners.add(socket);
}

function onMessage(socket: WebSocket, data: unknown): void {
  const code = typeof data !== "string" ? UNSUPPORTED : isTooBig(data) ? TOO_BIG : 0;
  if (code === 0) return publish(data as string);
  countError(code);
  end(socket, code);
}

/** Says why it ends; the runtime waits for the answer. */
function end(socket: WebSocket, code: number): void {
  listeners.delete(socket);
  socket.close(code);
}

function onClose(socket: WebSocket): void {
  listeners.delete(socket);
  sockets.delete(socket);
  if (stopping && sockets.size === 0) finish();
}

// ---- The architecture: a handler for each message, and a call for each listener -------------------------------------

function handle(request: Request): Response {
  counts.accepted++;
  const status = statusOf(request);
  if (status !== 101) return refuse(status, status === 426 ? UPGRADE : status === 405 ? { Allow: "GET" } : {});
  if (stopping) return refuse(503);
  try {
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: IDLE_S });
    sockets.add(socket);
    socket.onopen = () => onOpen(socket);
    socket.onmessage = ({ data }) => onMessage(socket, data);
    socket.onclose = () => onClose(socket);
    return response;
  } catch (error) {
    if (error instanceof TypeError) return refuse(400); // no key
    throw error;
  }
}

/** Sends a message to all. What a socket does not take waits in the runtime, which has no bound of its own for it. */
function publish(text: string): void {
  counts.served++;
  for (const socket of listeners) {
    if (socket.bufferedAmount > MAX_UNSENT) {
      countError("MAX_UNSENT");
      end(socket, TRY_AGAIN_LATER);
    } else if (socket.readyState === WebSocket.OPEN) {
      socket.send(text);
      counts.delivered++;
    }
  }
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

function finish(): never {
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}

if (import.meta.main) {
  const { host, port } = readOptions();
  server = serveOn(host, port);
  const stop = () => {
    if (stopping) Deno.exit(1); // the second signal does not wait
    stopping = true;
    setTimeout(finish, STOP_MS);
    server?.shutdown(); // no more connections; those that have become WebSockets it does not know
    for (const socket of listeners) end(socket, GOING_AWAY);
    if (sockets.size === 0) finish();
  };
  const signals = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] as const : ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGUSR1", () => show({ event: "stats", open: sockets.size, ...counts }));
  }
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: server.addr.port, pid: Deno.pid }));
  console.error(`Listening. Try: new WebSocket("ws://${host}:${server.addr.port}/")`);
  await serve(host, server.addr.port);
}
