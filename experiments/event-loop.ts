/**
 * @title      event-loop: the same epoll, hidden behind async and await
 * @family     runtime
 * @question   What is left to write when the runtime owns the event loop, and what does it cost not to see it?
 * @idea       One function for each connection: read, answer, repeat. It is suspended at every await; the runtime keeps
 *             the interest set and wakes it. It awaits its write before it reads on: a slow client delays itself alone.
 * @prediction 10 000 connections are held and answered by one thread, and an idle one costs the process under 16 KiB.
 * @expect     hold(10000).answered >= 10000
 *             hold(10000).user_bytes_per_conn < 16384
 * @compare    epoll, event-loop-fair, deno-serve, thread-per-conn
 * @requires   any
 * @cannot     keepalive Deno switches SO_KEEPALIVE on, and leaves its times at the system's default of two hours.
 * @cannot     give-up Deno does not set TCP_USER_TIMEOUT: a peer that is gone while an answer is on its way is held
 *             until the kernel has tried for a quarter of an hour.
 * @run        deno run --allow-net=127.0.0.1 event-loop.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             /work burns the CPU of the only thread, so every client waits for it.
 * @sources    Deno.listen (docs.deno.com); RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection is the life of one suspended function.
//
//  accept ─► reading ── a head is whole ─► answering ─► writing ── the last answer is out ─► lingering ─► closed
//              ▲                                           │
//              └────────────── it may ask again ───────────┘
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// reading    waits in `await read`. From the first byte of a head on there is a deadline.
// writing    waits in `await write`, and is not read meanwhile, so unsent answers are bounded.
// lingering  throws input away until the peer closes, 1 s at most.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "event-loop";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait to be accepted; the kernel cuts it to net.core.somaxconn
const PAUSE_MS = 100; // how long nothing is accepted after the last descriptor was taken
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const FIRST_INBOX = 1024; // bytes a connection owns: a read must have its buffer before it knows whether anything comes
const INBOX = 16384; // bytes it may own while its input fills the buffer, more than MAX_HEAD
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may be unsent
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all connections together, partial and unsent; beyond, a connection is dropped
const MAX_WORK_US = 100_000;
const SLICE_US = 20_000; // the longest burn without a turn of the runtime's loop
const SWEEP_MS = 250; // how often deadlines are looked at: one timer for all costs nothing in the path of a request
const HEAD_MS = 10_000; // from the first byte of a head to its last
const USER_TIMEOUT_MS = 30_000; // how long a peer may take nothing of an answer
const LINGER_MS = 1000; // how long a peer may go on sending after the last answer is out
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const QUIET_MS = 5; // after SIGTERM: so many of such stretches without anything new, and nothing is in flight
const QUIET_TIMES = 4; // a process that gets no CPU for a while sees one of them end before it has looked for anything

// ---- The runtime: every call that can fail -----------------------------------------------------------------------

/** Returns the errno name of a failed operation. Any other error is a mistake in this file, and ends the process. */
function errnoName(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  const [, errno] = /\(os error (\d+)\)$/.exec(String(error)) ?? []; // EPROTO and others get no code
  if (errno === undefined) throw error;
  return getSystemErrorName(-Number(errno));
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

const sleep = (ms: number): Promise<void> => new Promise((go) => setTimeout(go, ms));

/** Lets the runtime look at sockets, timers and signals. An immediate would come before the sockets are polled. */
const turn = (): Promise<void> => sleep(0);

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak -----------------------------------------------------

const bytes = (text: string) => new TextEncoder().encode(text);
const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
const REFUSALS: [status: number, line: string][] = [
  [400, "400 Bad Request\r\n"],
  [404, "404 Not Found\r\n"],
  [405, "405 Method Not Allowed\r\nAllow: GET\r\n"],
  [408, "408 Request Timeout\r\n"],
  [431, "431 Request Header Fields Too Large\r\n"],
  [505, "505 HTTP Version Not Supported\r\n"],
];
const HELLO_KEPT = bytes(HELLO), HELLO_LAST = bytes(HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
const REFUSED_KEPT = new Map(
  REFUSALS.map(([status, line]) => [status, bytes(`HTTP/1.1 ${line}Content-Length: 0\r\n\r\n`)]),
);
const REFUSED_LAST = new Map(
  REFUSALS.map(([status, line]) => [status, bytes(`HTTP/1.1 ${line}Content-Length: 0\r\nConnection: close\r\n\r\n`)]),
);

/** The bytes of an answer; the last one of a connection says that it is. */
function answerTo(status: number, isLast: boolean): Uint8Array<ArrayBuffer> {
  if (status === 200) return isLast ? HELLO_LAST : HELLO_KEPT;
  return (isLast ? REFUSED_LAST : REFUSED_KEPT).get(status)!;
}

const HT = 9, LF = 10, CR = 13, SPACE = 32, COMMA = 44, ZERO = 48, NINE = 57, COLON = 58;
const ROOT = bytes("GET / HTTP/1.1\r\n"); // recognised byte by byte; any other request line is worth a regular expression
const TOKEN = "!#$%&'*+.^_`|~0-9A-Za-z-"; // the characters of a method or a field name (RFC 9110, section 5.6.2)
const REQUEST_LINE = new RegExp(`^([${TOKEN}]+) ([!-~]+) HTTP/(\\d)\\.(\\d)\r\n$`);
const TARGET = /^(http:\/\/[^/?]+)?([^?]*)/i; // absolute-form or origin-form; a query is ignored
const IS_TOKEN = Uint8Array.from(
  { length: 256 },
  (_, byte) => Number(RegExp(`[${TOKEN}]`).test(String.fromCharCode(byte))),
);
const CONNECTION = bytes("connection"), CLOSE = bytes("close");
const CONTENT_LENGTH = bytes("content-length"), TRANSFER_ENCODING = bytes("transfer-encoding");
const INCOMPLETE = 0, MALFORMED = 0; // no head and no line ends at 0

/** What `parseHead` found: the status to answer, the CPU to burn before, and whether the connection stays. */
const request = { status: 200, workUs: 0, keepAlive: true };

/**
 * Parses the head that starts at `from` and fills `request`. Returns the bytes of the head, INCOMPLETE as long as its end
 * has not come. `scanned`: how many of its bytes are known to hold no end. `input` has room for one byte behind `to`.
 */
function parseHead(input: Uint8Array, from: number, to: number, scanned: number): number {
  // A head that comes in pieces is looked through once, not once a piece.
  if (scanned > 3 && to - from < MAX_HEAD && blankLineEnd(input, from + scanned - 3, to) === 0) return INCOMPLETE;
  input[to] = 0; // no byte of a head is NUL, so every loop below ends here without a look at `to`
  request.status = 200;
  request.workUs = 0;
  request.keepAlive = true;
  const start = input[from] === CR && input[from + 1] === LF ? from + 2 : from; // one empty line (RFC 9112, 2.2)
  let matched = 0;
  while (matched < ROOT.length && input[start + matched] === ROOT[matched]) matched++;
  let end = matched === ROOT.length ? start + matched : parseRequestLine(input, start, to);
  if (end !== MALFORMED) end = parseFields(input, end);
  if (end !== MALFORMED && end - from <= MAX_HEAD) return end - from;
  // Rare: its end has not come, it is too long, or malformed. Then all input is refused, as the connection will close.
  const blank = blankLineEnd(input, start, to);
  const isTooLong = blank === 0 ? to - from >= MAX_HEAD : blank - from > MAX_HEAD;
  if (blank === 0 && !isTooLong) return INCOMPLETE;
  request.status = isTooLong ? 431 : 400;
  request.workUs = 0;
  request.keepAlive = false;
  return to - from;
}

/** Returns the end of the first blank line, 0 if there is none. */
function blankLineEnd(input: Uint8Array, from: number, to: number): number {
  for (let at = from + 3; at < to; at++) {
    if (input[at] === LF && input[at - 1] === CR && input[at - 2] === LF && input[at - 3] === CR) return at + 1;
  }
  return 0;
}

/** Parses any request line that is not ROOT. Returns its end. */
function parseRequestLine(input: Uint8Array, from: number, to: number): number {
  let end = from;
  while (end < to && input[end] !== LF) end++;
  const line = REQUEST_LINE.exec(String.fromCharCode(...input.subarray(from, ++end)));
  if (line === null) return MALFORMED;
  const [, method, target, major, minor] = line;
  const [, authority, path] = TARGET.exec(target!)!;
  const isRoot = path === "/" || (path === "" && authority !== undefined);
  const workUs = isRoot ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(path!)?.[1] ?? NaN);
  if (major !== "1") request.status = 505;
  else if (method !== "GET") request.status = 405;
  else if (workUs <= MAX_WORK_US) request.workUs = workUs;
  else request.status = 404;
  if (major !== "1" || minor === "0") request.keepAlive = false;
  return end;
}

/** Walks the fields and the blank line, and returns its end. Only what decides whether the connection stays is read. */
function parseFields(input: Uint8Array, from: number): number {
  let at = from;
  while (input[at] !== CR) {
    const name = at;
    while (IS_TOKEN[input[at]!] === 1) at++;
    const colon = at;
    if (colon === name || input[colon] !== COLON) return MALFORMED;
    do {
      at++;
      while (input[at]! >= SPACE) at++;
    } while (input[at] === HT);
    if (input[at] !== CR || input[at + 1] !== LF) return MALFORMED;
    if (colon - name === CONNECTION.length && isWord(input, name, CONNECTION)) {
      if (hasClose(input, colon + 1, at)) request.keepAlive = false;
    } else if (colon - name === CONTENT_LENGTH.length && isWord(input, name, CONTENT_LENGTH)) {
      if (!isNumber(input, colon + 1, at)) return MALFORMED;
    } else if (colon - name === TRANSFER_ENCODING.length && isWord(input, name, TRANSFER_ENCODING)) {
      request.keepAlive = false; // bodies are never read, so behind one no request can follow
    }
    at += 2;
  }
  return input[at + 1] === LF ? at + 2 : MALFORMED;
}

/** Whether a token is the word, in any case: bit 0x20 tells a lower-case letter from an upper-case one. */
function isWord(input: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) {
    if ((input[at + i]! | 0x20) !== word[i]) return false;
  }
  return true;
}

/** Whether `close` is an item of a list. */
function hasClose(input: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    while (input[at] === SPACE || input[at] === HT) at++;
    const item = at;
    while (at < to && input[at] !== COMMA) at++;
    let end = at;
    while (end > item && (input[end - 1] === SPACE || input[end - 1] === HT)) end--;
    if (end - item === CLOSE.length && isWord(input, item, CLOSE)) return true;
  }
  return false;
}

/** Whether a Content-Length is digits and nothing else. If it is not zero, there is a body and the connection will close. */
function isNumber(input: Uint8Array, from: number, to: number): boolean {
  let at = from, end = to;
  while (input[at] === SPACE || input[at] === HT) at++;
  while (end > at && (input[end - 1] === SPACE || input[end - 1] === HT)) end--;
  if (at === end) return false;
  for (; at < end; at++) {
    if (input[at]! < ZERO || input[at]! > NINE) return false;
    if (input[at] !== ZERO) request.keepAlive = false;
  }
  return true;
}

/** Burns CPU time of the process: that of the runtime's other threads is counted too, but they sleep. */
async function burn(us: number): Promise<void> {
  for (let left = us; left > 0; left -= SLICE_US) {
    if (left < us) await turn();
    const start = process.cpuUsage();
    let used = start;
    do used = process.cpuUsage(start); while (used.user + used.system < Math.min(left, SLICE_US));
  }
}

// ---- Connection: one suspended function, its buffer and its deadline -----------------------------------------------

/** What a connection owns. */
interface Connection {
  conn: Deno.TcpConn;
  state: "reading" | "writing" | "lingering";
  /** One byte longer than what is read into it, as the parser needs. */
  inbox: Uint8Array<ArrayBuffer>;
  /** How many bytes of `inbox` are input that waits for more. */
  kept: number;
  /** When its patience ends, by `clockMs`. */
  deadlineMs: number;
}

const outbox = new Uint8Array(OUTBOX); // shared: nothing waits in it
const reply = { bytes: HELLO_KEPT, length: 0, isLast: false, end: 0 }; // what `answer` has made, and where its input ends
const connections = new Set<Connection>();
const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} as Record<string, number> };
let keptBytes = 0; // of buffers with a partial head, and of answers that wait
let clockMs = performance.now(); // a monotonic clock that is read once a sweep
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

const capacityOf = ({ inbox }: Connection) => inbox.length - 1;

/** Makes room for bytes to keep. Beyond the bound the connection that needs them is dropped, and false returned. */
function reserve({ conn }: Connection, length: number): boolean {
  if (keptBytes + length > MAX_KEPT_BYTES) {
    countError("MAX_KEPT_BYTES");
    conn.close();
    return false;
  }
  keptBytes += length;
  return true;
}

/**
 * Keeps the input from `from` on for the next read, in a buffer that grows while input fills it and shrinks when all is
 * answered. Returns false if the connection was dropped.
 */
function keep(connection: Connection, from: number, to: number): boolean {
  const { inbox, kept: before } = connection;
  const rest = to - from;
  let capacity = FIRST_INBOX;
  while (capacity < INBOX && (capacity <= rest || (to === inbox.length - 1 && capacity <= to))) capacity *= 2;
  if (before > 0) keptBytes -= inbox.length - 1;
  connection.kept = 0;
  if (rest > 0 && !reserve(connection, capacity)) return false;
  if (capacity !== inbox.length - 1) {
    connection.inbox = new Uint8Array(capacity + 1);
    connection.inbox.set(inbox.subarray(from, to));
  } else if (from > 0) inbox.copyWithin(0, from, to);
  connection.kept = rest;
  if (rest === 0) connection.deadlineMs = Infinity;
  else if (before === 0 || from > 0) connection.deadlineMs = clockMs + HEAD_MS;
  return true;
}

/**
 * Answers the whole requests from `from` on, up to the first that burns CPU, so that no pipeline holds up other clients.
 * Fills `reply` and returns the µs of CPU to burn before it may be sent.
 */
function answer(inbox: Uint8Array, from: number, length: number, scanned: number): number {
  let at = from;
  let out = 0;
  let status = 0;
  do {
    const head = parseHead(inbox, at, length, at === 0 ? scanned : 0);
    if (head === INCOMPLETE) {
      request.keepAlive = true;
      request.workUs = 0;
      break;
    }
    if (status !== 0) out = append(answerTo(status, false), out);
    status = request.status;
    if (status === 200) counts.served++;
    else countError(status);
    at += head;
  } while (at < length && request.keepAlive && request.workUs === 0);
  reply.end = at;
  reply.length = 0;
  reply.isLast = status !== 0 && (!request.keepAlive || (stopping && at === length));
  if (status === 0) return 0;
  const last = answerTo(status, reply.isLast);
  reply.length = out === 0 ? last.length : append(last, out);
  // The write may still wait when the outbox is filled for others: so it gets bytes that never change, or its own.
  reply.bytes = out === 0 ? last : outbox.slice(0, reply.length);
  return request.workUs;
}

/** Puts an answer into the outbox and returns its end. */
function append(bytes: Uint8Array, at: number): number {
  outbox.set(bytes, at);
  return at + bytes.length;
}

/** Writes all of it. A socket that is full takes a part or makes this wait. Returns false if the connection was dropped. */
async function writeAll(connection: Connection, data: Uint8Array): Promise<boolean> {
  const { conn, deadlineMs } = connection;
  const own = data.length > HELLO_LAST.length ? data.length : 0; // a single answer is a constant, and takes no memory
  if (own > 0 && !reserve(connection, own)) return false;
  connection.state = "writing";
  try {
    for (let at = 0; at < data.length;) {
      connection.deadlineMs = clockMs + USER_TIMEOUT_MS;
      const taken = await conn.write(at === 0 ? data : data.subarray(at));
      counts.bytes_out += taken;
      at += taken;
    }
  } finally {
    keptBytes -= own;
  }
  connection.state = "reading";
  connection.deadlineMs = deadlineMs;
  return true;
}

/**
 * Ends this half once the last answer is out. With input unread a close would send RST, and the peer might lose the answer:
 * so input is taken and thrown away until the peer closes too.
 */
async function linger(connection: Connection): Promise<void> {
  connection.state = "lingering";
  connection.deadlineMs = clockMs + LINGER_MS + SWEEP_MS;
  await connection.conn.closeWrite();
}

/** Answers what has come. Returns false once the connection was dropped. */
async function onInput(connection: Connection, length: number, scanned: number): Promise<boolean> {
  let from = 0;
  while (from < length) {
    const workUs = answer(connection.inbox, from, length, from === 0 ? scanned : 0);
    if (reply.end === from) break; // no whole request is left
    const { bytes, isLast, end } = reply;
    if (workUs > 0) await burn(workUs);
    if (!await writeAll(connection, bytes)) return false;
    if (isLast) {
      keep(connection, length, length);
      await linger(connection);
      return true;
    }
    from = end;
    if (workUs > 0) await turn();
  }
  return keep(connection, from, length);
}

/** Ends those whose time is over. A function that waits for one of them is woken by an error. */
function sweep(): void {
  clockMs = performance.now();
  for (const connection of connections) {
    if (connection.deadlineMs > clockMs) continue;
    if (connection.state === "reading") refuseLate(connection);
    else connection.conn.close();
    if (connection.state === "writing") countError("ETIMEDOUT");
  }
}

/** Answers a head that did not come in time, while its function still waits for more input. */
function refuseLate(connection: Connection): void {
  countError(408);
  keep(connection, 0, 0);
  const bytes = answerTo(408, true);
  counts.bytes_out += bytes.length;
  connection.conn.write(bytes).then(() => linger(connection)).catch(onError);
}

/** A reset ends this connection and no other. Closed on this side: Interrupted in a read, BadResource between two. */
function onError(error: unknown): void {
  if (error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.BadResource) return;
  countError(errnoName(error));
}

// ---- The architecture: a function for each connection; the loop belongs to the runtime ------------------------------

async function serveConnection(conn: Deno.TcpConn): Promise<void> {
  const connection: Connection = {
    conn,
    state: "reading",
    inbox: new Uint8Array(FIRST_INBOX + 1),
    kept: 0,
    deadlineMs: Infinity,
  };
  connections.add(connection);
  try {
    conn.setNoDelay(true);
    conn.setKeepAlive(true);
    for (;;) {
      const { inbox, kept } = connection;
      const got = await conn.read(inbox.subarray(kept, inbox.length - 1));
      if (got === null) break; // the peer's half is closed, and all it had asked for is answered
      counts.bytes_in += got;
      if (connection.state === "lingering") continue; // thrown away
      if (!await onInput(connection, kept + got, kept)) break;
    }
  } catch (error) {
    onError(error);
  } finally {
    connections.delete(connection);
    if (connection.kept > 0) keptBytes -= capacityOf(connection);
    closeQuietly(conn);
  }
}

/** Closes a connection that may have been closed before. */
function closeQuietly(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const PASSING_ERRORS = [
  ..."ECONNABORTED ENOTCONN EPROTO ENOPROTOOPT EOPNOTSUPP ENONET".split(" "),
  ..."ENETDOWN ENETUNREACH EHOSTDOWN EHOSTUNREACH".split(" "),
];

/** Accepts until the listener is closed. */
async function acceptAll(listener: Deno.TcpListener): Promise<void> {
  for (;;) {
    try {
      const conn = await listener.accept();
      counts.accepted++;
      serveConnection(conn); // not awaited: it goes on by itself
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return; // it is closed
      const name = errnoName(error);
      if (PASSING_ERRORS.includes(name)) continue;
      countError(name); // EMFILE, ENFILE, ENOBUFS, ENOMEM
      await sleep(PAUSE_MS); // those that wait stay in the kernel's queue
    }
  }
}

/** Waits until a count has not risen for a while. */
async function rest(count: () => number, untilMs: number): Promise<void> {
  for (let quiet = 0; quiet < QUIET_TIMES && performance.now() < untilMs;) {
    const before = count();
    await sleep(QUIET_MS);
    quiet = count() > before ? 0 : quiet + 1;
  }
}

/** Accepts what has completed its handshake, closes what is idle, and waits for the rest, STOP_MS at most. */
async function drain(listener: Deno.TcpListener): Promise<void> {
  const untilMs = performance.now() + STOP_MS;
  await rest(() => counts.accepted, untilMs);
  listener.close();
  while (connections.size > 0 && performance.now() < untilMs) {
    await rest(() => counts.bytes_in, untilMs);
    closeIdle(); // what had come before the signal is read by now
  }
}

function closeIdle(): void {
  for (const { conn, state, kept } of connections) {
    if (state === "reading" && kept === 0) closeQuietly(conn);
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
    countError(errnoName(error));
  }
}

if (import.meta.main) {
  const { host, port } = readOptions();
  const listener = listenOn(host, port);
  const stopped = Promise.withResolvers<void>();
  const stop = () => {
    if (stopping) Deno.exit(1); // the second signal does not wait
    stopping = true;
    stopped.resolve();
  };
  const isWindows = Deno.build.os === "windows";
  for (const signal of isWindows ? ["SIGINT", "SIGBREAK"] as const : ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  const showStats = () => show({ event: "stats", open: connections.size, ...counts });
  if (!isWindows) Deno.addSignalListener("SIGUSR1", showStats);
  setInterval(sweep, SWEEP_MS);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port: listener.addr.port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${listener.addr.port}/`);
  acceptAll(listener);
  await stopped.promise;
  await drain(listener);
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}
