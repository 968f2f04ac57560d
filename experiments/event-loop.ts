/**
 * @title      event-loop: the same epoll, hidden behind async and await
 * @family     runtime
 * @question   What is left to write when the runtime owns the event loop, and what does it cost not to see it?
 * @idea       One function for each connection: read, answer, repeat. It is suspended at every await; the runtime keeps
 *             the interest set and wakes it. Who awaits the write reads no further: a slow client holds up itself alone.
 * @prediction 10 000 connections are held and answered by one thread, and an idle one costs the process under 16 KiB.
 * @compare    epoll, deno-serve, thread-per-conn
 * @requires   any
 * @run        deno run --allow-net=127.0.0.1 event-loop.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work burns the CPU of the only thread, so everybody waits for it.
 * @sources    Deno.listen; tokio::task::coop, FuturesUnordered (docs.rs) and futures-rs 2053 on both; RFC 9112 (HTTP/1.1)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "event-loop";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait to be accepted; the kernel cuts it to net.core.somaxconn
const PAUSE_MS = 100; // how long nothing is accepted after the last descriptor was taken
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const FIRST_INBOX = 1024; // bytes a connection owns: a read must have its buffer before it knows whether anything comes
const INBOX = 16384; // bytes it owns while its input fills that, more than MAX_HEAD: an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may wait unsent
const MAX_WORK_US = 100_000;
const TURN = 100; // reads heard in one turn of the runtime's loop, above which it is crowded: it takes 128
const STEP = 32, STEP_MS = 10; // while it is crowded: reads in so long that mean it is quiet. A turn may take 5 ms
const SPLICE = 1024; // entries
const LINGER_MS = 1000; // how long a connection that was answered for the last time may go on sending
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const QUIET_MS = 20; // after SIGTERM: a while in which nothing came means that nothing more had been sent before

// ---- The runtime: every call that can fail -----------------------------------------------------------------------

/** Returns the errno name of a failed operation. Any other error is a mistake in this file, and ends the process. */
function errnoName(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  throw error;
}

/** Opens the listening socket, or ends with what was tried, the errno and what to do about it. */
function listenOn(hostname: string, port: number): Deno.TcpListener {
  try {
    return Deno.listen({ hostname, port, tcpBacklog: BACKLOG });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      console.error(`${EXPERIMENT} cannot run here: ${error.message}`);
      Deno.exit(69); // EX_UNAVAILABLE of <sysexits.h>
    }
    const number = /os error (\d+)/.exec(String(error))?.[1] ?? "no number";
    console.error(
      `Cannot bind ${hostname}:${port}: ${errnoName(error)} (${number}), choose another --port (0: any) or --host`,
    );
    return Deno.exit(1);
  }
}

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak -----------------------------------------------------

const bytes = (text: string) => new TextEncoder().encode(text);
const ANSWERS: Record<number, Uint8Array<ArrayBuffer>> = {
  200: bytes("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World"),
  400: bytes("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
  404: bytes("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
  405: bytes("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n"),
  431: bytes("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
};
const HT = 9, LF = 10, CR = 13, SPACE = 32, COLON = 58;
const ROOT = bytes("GET / HTTP/1.1\r\n"); // recognised byte by byte; any other request line is worth a regular expression
const TOKEN = "!#$%&'*+.^_`|~0-9A-Za-z-"; // the characters of a method or a field name (RFC 9110, section 5.6.2)
const REQUEST_LINE = new RegExp(`^([${TOKEN}]+) ([!-~]+) HTTP/1\\.([01])\r\n$`);
const IS_TOKEN = Uint8Array.from(
  { length: 256 },
  (_, byte) => Number(RegExp(`[${TOKEN}]`).test(String.fromCharCode(byte))),
);
// The fields that end a connection. Bodies are never read, so behind a request that has one nothing can follow.
const CLOSES = /^(connection:(.*,)?\s*close\s*(,|$)|transfer-encoding:|content-length:(?!\s*0\s*$))/;

/** What `parseHead` found: the status to answer, the CPU to burn before, and whether the connection stays. */
const request = { status: 200, workUs: 0, keepAlive: true };

/** Refuses all input that is there, whatever it is: the connection will close. */
function refuse(status: number, length: number): number {
  Object.assign(request, { status, workUs: 0, keepAlive: false });
  return length;
}

/** Parses the head that starts at `from`, fills `request` and returns the head's bytes; 0 as long as its end is missing. */
function parseHead(input: Uint8Array, from: number, to: number): number {
  let end = from + 3; // the last byte of the blank line
  while (end < to && !(input[end] === LF && input[end - 1] === CR && input[end - 2] === LF && input[end - 3] === CR)) {
    end++;
  }
  if (end - from >= MAX_HEAD) return refuse(431, to - from);
  if (end >= to) return 0;
  request.status = 200;
  request.workUs = 0;
  request.keepAlive = true;
  let at = from;
  while (input[at] === ROOT[at - from]) at++;
  if (at - from < ROOT.length) {
    while (input[at++] !== LF);
    if (!parseRequestLine(String.fromCharCode(...input.subarray(from, at)))) return refuse(400, to - from);
  }
  return parseFields(input, at, end - 1) ? end + 1 - from : refuse(400, to - from);
}

function parseRequestLine(line: string): boolean {
  const [, method, target, minor] = REQUEST_LINE.exec(line) ?? [];
  const workUs = target === "/" ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(target ?? "")?.[1] ?? NaN);
  request.status = method !== "GET" ? 405 : workUs <= MAX_WORK_US ? 200 : 404;
  if (request.status === 200) request.workUs = workUs;
  if (minor === "0") request.keepAlive = false;
  return method !== undefined;
}

/** Walks the header fields up to the blank line; false if one is malformed. Only what decides the connection is read. */
function parseFields(input: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    const name = at;
    while (IS_TOKEN[input[at]!] === 1) at++;
    if (at === name || input[at] !== COLON) return false;
    while (input[at]! >= SPACE || input[at] === HT) at++;
    if (input[at] !== CR || input[at + 1] !== LF) return false;
    const initial = input[name]! | 0x20; // lower case
    if (initial === 0x63 || initial === 0x74) { // c or t: Connection, Content-Length, Transfer-Encoding
      const field = String.fromCharCode(...input.subarray(name, at)).toLowerCase();
      if (CLOSES.test(field)) request.keepAlive = false;
    }
    at += 2;
  }
  return true;
}

/** Burns CPU time of the process: that of the runtime's other threads is counted too, but they sleep. */
function burn(us: number): void {
  const start = process.cpuUsage();
  for (let used = start; used === start || used.user + used.system < us;) used = process.cpuUsage(start);
}

// ---- Connection: one suspended function, its buffer and, while there are any, the bytes left over ------------------

const outbox = new Uint8Array(OUTBOX), discarded = new Uint8Array(INBOX); // shared by all: nothing waits in them
const idle = new Set<Deno.Conn>(); // nothing asked, nothing to be sent
let open = 0; // connections, idle or not
const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
let reads = 0; // that brought something
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

/** Answers every whole request in `inbox`. Returns the bytes they took up, and the answers. */
function answer(inbox: Uint8Array, length: number): { at: number; answers: Uint8Array } {
  let at = 0, out = 0, head = 1, bytes = outbox;
  request.keepAlive = true;
  while (at < length && request.keepAlive && (head = parseHead(inbox, at, length)) > 0) {
    at += head;
    if (request.workUs > 0) burn(request.workUs);
    bytes = ANSWERS[request.status]!;
    outbox.set(bytes, out);
    out += bytes.length;
    if (request.status === 200) counts.served++;
    else countError(request.status);
  }
  // The write may still wait when the outbox is filled for others: so it gets bytes that never change, or its own.
  return { at, answers: out === bytes.length ? bytes : outbox.slice(0, out) };
}

/** Writes all of it. A socket that is full takes a part or makes this wait, and meanwhile the connection is not read. */
async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let at = await conn.write(data); at < data.length;) at += await conn.write(data.subarray(at));
}

/** Closes this half and throws away what comes. With input unread a close would send RST, and destroy the answer. */
async function linger(conn: Deno.Conn): Promise<void> {
  const timer = setTimeout(() => conn.close(), LINGER_MS);
  try {
    await conn.closeWrite();
    do {
      if (crowded()) await turnToRead();
    } while (await conn.read(discarded) !== null);
  } finally {
    clearTimeout(timer);
  }
}

/** The inbox for what comes next: the bytes left over go first, and it grows only if the last one was filled. */
function nextInbox(inbox: Uint8Array<ArrayBuffer>, at: number, length: number): Uint8Array<ArrayBuffer> {
  const size = length === inbox.length ? INBOX : length - at < FIRST_INBOX ? FIRST_INBOX : inbox.length;
  const next = size === inbox.length ? inbox : new Uint8Array(size);
  next.set(inbox.subarray(at, length));
  return next;
}

async function serveConnection(held: Deno.TcpConn): Promise<void> {
  using conn = held; // closed at the end, whatever that is
  let inbox = new Uint8Array(FIRST_INBOX), kept = 0;
  open++;
  try {
    conn.setNoDelay(true);
    for (;;) {
      if (kept === 0) idle.add(conn);
      const got = await conn.read(kept === 0 ? inbox : inbox.subarray(kept));
      if (got === null) break; // the peer's half is closed, and all it had asked for is answered
      if (reads++ === turnStart) setImmediate(endTurn);
      idle.delete(conn);
      const length = kept + got, { at, answers } = answer(inbox, length);
      const last = !request.keepAlive || (stopping && at > 0);
      if (at > 0) await writeAll(conn, answers);
      if (last) {
        await linger(conn);
        break;
      }
      kept = length - at;
      if (kept > 0 || length > FIRST_INBOX || length === inbox.length) inbox = nextInbox(inbox, at, length);
      if (crowded()) await turnToRead();
    }
  } catch (error) {
    // A reset ends this connection and no other. Closed on this side: Interrupted in a read, BadResource between two.
    if (!(error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.BadResource)) {
      countError(errnoName(error));
    }
  } finally {
    idle.delete(conn);
    open--;
  }
}

// ---- The architecture: the loop belongs to the runtime, and so does its queue ---------------------------------------

// The runtime keeps all pending reads in one FuturesUnordered, which one task of tokio polls. tokio lets a task do 128
// socket operations a turn. Each further read that is ready is polled in vain, turn after turn, and woken last in, first
// out: with 10 000 active connections 80 polls for an answer, and seconds for the unlucky. This file cannot empty that
// queue any faster, but it need not fill it: while the loop is crowded, who was answered reads again only in turn.
const waiting: (() => void)[] = []; // at most one entry for a connection
let nextWaiting = 0; // index of the one that waits longest; those before it are spliced away, SPLICE at once
let turnStart = 0, stepStart = 0, lastTurn = 0; // `reads` when the turn and the step began; those of the last turn
let stepping = false, stepSize = STEP / 2;

const crowded = () => reads - turnStart > TURN || waiting.length > 0;

/** Lets those who have waited longest read again. */
function letRead(count: number): void {
  for (const end = Math.min(nextWaiting + count, waiting.length); nextWaiting < end;) waiting[nextWaiting++]!();
  if (nextWaiting < waiting.length && nextWaiting < SPLICE) return;
  waiting.splice(0, nextWaiting);
  nextWaiting = 0;
}

function endTurn(): void {
  lastTurn = reads - turnStart;
  turnStart = reads;
  if (lastTurn < STEP) letRead(STEP / 2); // the rush is over
}

/** Every STEP_MS: if next to nobody was heard, those let go are idle, and cost nothing. Then twice as many follow. */
function step(): void {
  const quiet = reads - stepStart < STEP;
  stepStart = reads;
  stepSize = quiet ? 2 * stepSize : STEP / 2;
  if (quiet) {
    lastTurn = 0;
    letRead(stepSize);
  }
  stepping = waiting.length > 0;
  if (stepping) setTimeout(step, STEP_MS);
}

/** Resolves when this connection may read again. Each that comes to wait lets one go, unless the turns are full. */
function turnToRead(): Promise<void> {
  const turn = new Promise<void>((go) => waiting.push(go));
  if (Math.max(lastTurn, reads - turnStart) <= TURN) letRead(1);
  if (!stepping) setTimeout(step, STEP_MS);
  stepping = true;
  return turn;
}

/** Accepts until the listener is closed. */
async function acceptAll(listener: Deno.TcpListener): Promise<void> {
  while (!stopping) {
    try {
      const conn = await listener.accept();
      counts.accepted++;
      serveConnection(conn); // not awaited: it goes on by itself
    } catch (error) {
      if (stopping) return; // BadResource or Interrupted: `stop` has closed the listener
      const name = errnoName(error);
      if (name === "ECONNABORTED" || name === "ENOTCONN") continue; // this client has given up
      if (name !== "EMFILE" && name !== "ENFILE") throw error;
      countError(name);
      await new Promise((go) => setTimeout(go, PAUSE_MS)); // those that wait stay in the kernel's queue
    }
  }
}

function closeIdle(): void {
  for (const conn of idle) {
    idle.delete(conn); // it ends on its own, later: a second close would throw
    conn.close();
  }
}

/** Closes what is idle, and waits until all connections are closed or STOP_MS are over. */
async function drain(): Promise<void> {
  const until = Date.now() + STOP_MS;
  for (let before = -1; open > 0 && Date.now() < until;) {
    if (reads === before) closeIdle(); // what had come before the signal is read by now
    before = reads;
    await new Promise((go) => setTimeout(go, QUIET_MS));
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

if (import.meta.main) {
  const { host, port } = readOptions();
  const listener = listenOn(host, port);
  const stop = () => {
    if (stopping) Deno.exit(1); // the second signal does not wait
    stopping = true;
    listener.close();
  };
  const signals = Deno.build.os === "windows" ? ["SIGINT", "SIGBREAK"] as const : ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: listener.addr.port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${listener.addr.port}/`);
  await acceptAll(listener);
  await drain();
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}
