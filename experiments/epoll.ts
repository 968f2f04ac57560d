/**
 * @title      epoll: one thread asks only for what has happened
 * @family     readiness
 * @question   How can one thread hold ten thousand connections without asking about each of them every time?
 * @idea       The kernel keeps the interest set. A descriptor is registered once, epoll_wait(2) returns those that are
 *             ready and nothing else, so the cost of a call follows the activity and not the number of connections.
 * @prediction 10 000 connections are held and answered by one thread, and an idle one costs the process under 256 bytes.
 * @expect     hold(10000).answered >= 10000
 *             hold(10000).user_bytes_per_conn < 256
 * @compare    select, poll, epoll-edge, io-uring, event-loop
 * @requires   linux 2.6.37
 * @run        deno run --allow-ffi epoll.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             /work burns the CPU of the only thread, so every client waits for it: that is the price of one thread.
 *             Between two heads a connection may idle for ever; keepalive probes end those whose peer is gone.
 * @sources    epoll(7), epoll_wait(2), accept4(2), recv(2), send(2), tcp(7); RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection. Idle, it is a descriptor and nothing else. In brackets: the table with the data
// of a state.
//
//              ┌─────────────── all answers are sent ──┬───────────────────┐
//              ▼                                       │                   │
//  accept4 ─► reading ─── a head is whole ─────► answering ─ socket full ─► unsent
//             [partial]                          [carried]                 [unsent]
//              │                                       │                   │
//              └─ no whole head after 10 s: 408 ─┐     │ the last answer   │
//                                                ▼     ▼ is sent           │
//                                               lingering ◄────────────────┘
//                                               [lingering] ── 1 s, or the peer closes ─► closed
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// reading    waits for bytes. From the first byte of a head on there is a deadline.
// answering  all whole requests of one recv(2); but one that burns CPU ends the turn, and what is left is carried to the next.
// unsent     is not read, so unsent answers are bounded. TCP_USER_TIMEOUT ends a client that reads nothing.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "epoll";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

// SOCK_NONBLOCK: a call that would wait fails with EAGAIN, so only epoll_wait waits for sockets.
const AF_INET = 2, SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_KEEPALIVE = 9; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_NOSIGNAL = 0x4000, SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
const CLOCK_THREAD_CPUTIME_ID = 3, CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const EINTR = 4, EAGAIN = 11; // <asm-generic/errno.h>
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
// Without EPOLLET level-triggered: reported by every epoll_wait for as long as it is true.
const EPOLLIN = 0x1, EPOLLOUT = 0x4; // readable, writable. <sys/epoll.h>
const EPOLL_CTL_ADD = 1, EPOLL_CTL_MOD = 3, EPOLL_CLOEXEC = 0o2000000;
// struct epoll_event { u32 events; u64 data; } is packed to 12 bytes on x86-64 only; elsewhere data is aligned to 8.
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4, DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections in the accept queue; the kernel cuts it to net.core.somaxconn
const EVENTS = 1024; // events taken from the kernel in one call: enough to make the call's cost vanish
const UNWATCHED = 16; // connections served in a row without a look at the clock: each may have sent 1024 requests
const ACCEPTS = 64; // connections accepted in a row, so that a flood of new ones cannot starve the old ones
const ENDS = 1000; // connections ended in a row because their time is over
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may be unsent
const MIN_PARTIAL = 256; // bytes of the first buffer for a partial head; it doubles up to INBOX
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all connections together, partial and unsent; beyond, a connection is dropped
const MAX_WORK_US = 100_000;
const TURN_MS = 40; // the longest stretch without a look at signals; a look costs about 90 µs
const HEAD_MS = 10_000; // from the first byte of a head to its last
const USER_TIMEOUT_MS = 30_000; // how long a peer may acknowledge nothing, or take nothing, until the kernel ends it
const KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 10, KEEPALIVE_PROBES = 6; // probes of a peer that is silent
const LINGER_MS = 1000; // how long a peer may go on sending after the last answer is in the socket
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const QUIET_MS = 10; // without an event, after SIGTERM, until nothing is taken to be in flight

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path, which costs 100 to 300 ns.
function openLibc() {
  if (Deno.build.os !== "linux") unavailable(`epoll is a part of Linux, this is ${Deno.build.os}.`);
  try {
    return Deno.dlopen("libc.so.6", {
      socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
      setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
      bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
      listen: { parameters: ["i32", "i32"], result: "i32" },
      accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
      recv: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
      send: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
      shutdown: { parameters: ["i32", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
      epoll_create1: { parameters: ["i32"], result: "i32" },
      epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
      epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
      clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
      sched_yield: { parameters: [], result: "i32", nonblocking: true },
      __errno_location: { parameters: [], result: "pointer" },
    }).symbols;
  } catch (error) {
    return unavailable(error instanceof Error ? error.message : String(error));
  }
}
const libc = openLibc();

/** errno of this thread, read in place: glibc hands out its address. */
const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));

/** Returns the result of a system call. If it failed: ends with what was tried, the errno by name and what to do about it. */
function must(result: number, action: string, remedy = "see the manual page of the call"): number {
  if (result >= 0) return result;
  console.error(`Cannot ${action}: ${getSystemErrorName(-errno[0]!)} (${errno[0]}), ${remedy}`);
  return Deno.exit(1);
}

const timespec = new Int32Array(4);

/** Milliseconds since the start of the system, to the kernel's tick (1 to 10 ms). Nobody can set this clock: it never steps. */
function readClockMs(): number {
  libc.clock_gettime(CLOCK_MONOTONIC_COARSE, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1000 + Math.trunc(timespec[TIMESPEC_NANOSECONDS]! / 1e6);
}

// Accepted sockets inherit all of these from the listener on Linux: one call here instead of one for each connection.
// With the last five the kernel ends connections whose peer is gone or takes nothing, at no cost in the loop.
const OPTIONS: [level: number, option: number, value: number, name: string][] = [
  [SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"],
  [IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"],
  [SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE"],
  [IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S, "TCP_KEEPIDLE"],
  [IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S, "TCP_KEEPINTVL"],
  [IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES, "TCP_KEEPCNT"],
  [IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS, "TCP_USER_TIMEOUT"],
];

/** Creates the listening socket and returns it with the port that the kernel gave. */
function listenOn(host: string, port: number): { listener: number; port: number } {
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  const listener = must(libc.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "create a socket");
  for (const [level, option, value, name] of OPTIONS) {
    must(libc.setsockopt(listener, level, option, new Int32Array([value]), 4), `set ${name}`);
  }
  must(libc.bind(listener, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  must(libc.listen(listener, BACKLOG), `listen on ${host}:${port}`);
  must(libc.getsockname(listener, address, new Int32Array([16])), "read the bound port");
  return { listener, port: address[2]! << 8 | address[3]! };
}

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

/** Burns CPU time of this thread. Signals are heard meanwhile; clients wait, as they would for any computation. */
async function burn(us: number): Promise<void> {
  const untilUs = readCpuUs() + us;
  while (readCpuUs() < untilUs) {
    if (readClockMs() - heardMs >= TURN_MS) await hearSignals();
  }
}

/** CPU time of this thread: time in which it does not run is not counted. */
function readCpuUs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1e6 + timespec[TIMESPEC_NANOSECONDS]! / 1e3;
}

// ---- Connection: a descriptor and, only while there are any, the bytes left over -----------------------------------

/** Input that waits for more, or for its turn. */
interface Partial {
  bytes: Uint8Array<ArrayBuffer>;
  /** How many of `bytes` are input. */
  length: number;
  /** When a head must be complete. It is set by the first byte and does not move. */
  deadlineMs: number;
}

/** Answers that the socket did not take yet. */
interface Unsent {
  bytes: Uint8Array<ArrayBuffer>;
  /** How many of `bytes` the socket has taken. */
  taken: number;
  isLast: boolean;
}

const inbox = new Uint8Array(INBOX + 1), outbox = new Uint8Array(OUTBOX); // shared: an idle connection owns no buffer
// By descriptor. A Map keeps the order of insertion, so those whose time is over stand in front.
const partial = new Map<number, Partial>();
const unsent = new Map<number, Unsent>();
const carried = new Set<number>(); // those whose `partial` may hold whole requests: they are served next turn
const lingering = new Map<number, number>(); // when it is closed at the latest
const reply = { bytes: HELLO_KEPT, length: 0, isLast: false }; // what `answer` has made and `flush` will send
const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} as Record<string, number> };
let open = 0; // connections
let keptBytes = 0; // of all buffers in `partial` and `unsent`
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

/** Gives memory back at once: garbage would wait for a collection, and MAX_KEPT_BYTES would be no bound. */
function release(bytes: Uint8Array<ArrayBuffer>): void {
  keptBytes -= bytes.length;
  bytes.buffer.transfer(0);
}

function forgetPartial(fd: number): void {
  const known = partial.get(fd);
  if (known !== undefined) release(known.bytes);
  partial.delete(fd);
}

function forgetUnsent(fd: number): void {
  const known = unsent.get(fd);
  if (known !== undefined) release(known.bytes);
  unsent.delete(fd);
}

function closeConnection(fd: number): void {
  forgetPartial(fd);
  forgetUnsent(fd);
  carried.delete(fd);
  lingering.delete(fd);
  open--;
  // It leaves the interest set by itself, as no dup(2) or fork(2) made a second descriptor of its socket.
  libc.close(fd); // a failure of close(2) leaves nothing that could be done
}

function dropConnection(fd: number, error = getSystemErrorName(-errno[0]!)): void {
  countError(error);
  closeConnection(fd);
}

/** Makes room for bytes to keep. Beyond the bound the connection that needs them is dropped, and false returned. */
function reserve(fd: number, length: number): boolean {
  if (keptBytes + length > MAX_KEPT_BYTES) {
    dropConnection(fd, "MAX_KEPT_BYTES");
    return false;
  }
  keptBytes += length;
  return true;
}

/** Keeps the input from `from` on. Returns false if the connection was dropped. */
function keep(fd: number, from: number, to: number): boolean {
  const known = from === 0 ? partial.get(fd) : undefined; // the same head has grown
  if (known !== undefined && to <= known.bytes.length) {
    known.bytes.set(inbox.subarray(known.length, to), known.length);
    known.length = to;
    return true;
  }
  let capacity = MIN_PARTIAL;
  while (capacity < to - from) capacity *= 2;
  if (!reserve(fd, capacity)) return false;
  const bytes = new Uint8Array(capacity);
  bytes.set(inbox.subarray(from, to));
  if (known !== undefined) {
    release(known.bytes);
    known.bytes = bytes;
    known.length = to;
    return true;
  }
  forgetPartial(fd); // so that the new head stands behind all others
  partial.set(fd, { bytes, length: to - from, deadlineMs: readClockMs() + HEAD_MS });
  return true;
}

/** Puts the kept input back into the inbox. Returns its length. */
function restore(fd: number): number {
  const { bytes, length } = partial.get(fd)!;
  inbox.set(bytes.subarray(0, length));
  return length;
}

/** Takes what has come and answers it. Returns the µs of CPU to burn before `reply` may be sent; 0: nothing is left to do. */
function onReadable(fd: number): number {
  const length = partial.size > 0 && partial.has(fd) ? restore(fd) : 0;
  const taken = libc.recv(fd, length === 0 ? inbox : inbox.subarray(length), INBOX - length, 0);
  if (taken > 0) {
    counts.bytes_in += taken;
    if (lingering.size > 0 && lingering.has(fd)) return 0; // thrown away
    return answer(fd, length + taken, length);
  }
  if (taken === 0) closeConnection(fd); // the peer has closed its half, and all it had asked for is answered
  else if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);
  return 0;
}

/**
 * Answers the whole requests of the inbox up to the first that burns CPU, so that no pipeline holds up other clients and
 * signals; what is left is kept. All answers leave by one call, and a single one from where it stands.
 */
function answer(fd: number, length: number, scanned: number): number {
  let at = 0, out = 0, status = 0, head = INCOMPLETE;
  do {
    head = parseHead(inbox, at, length, at === 0 ? scanned : 0);
    if (head === INCOMPLETE) break;
    if (status !== 0) out = append(answerTo(status, false), out);
    status = request.status;
    if (status === 200) counts.served++;
    else countError(status);
    at += head;
  } while (at < length && request.keepAlive && request.workUs === 0);
  const workUs = head === INCOMPLETE ? 0 : request.workUs;
  const isLast = head !== INCOMPLETE && (!request.keepAlive || (stopping && at === length));
  if (at < length && !isLast) {
    if (!keep(fd, at, length)) return 0;
    if (head !== INCOMPLETE) carried.add(fd);
  } else if (partial.size > 0) forgetPartial(fd);
  if (status === 0) return 0; // no request is whole
  const last = answerTo(status, isLast);
  reply.bytes = out === 0 ? last : outbox;
  reply.length = out === 0 ? last.length : append(last, out);
  reply.isLast = isLast;
  if (workUs === 0) flush(fd);
  return workUs;
}

/** Puts an answer into the outbox and returns its end. */
function append(bytes: Uint8Array, at: number): number {
  outbox.set(bytes, at);
  return at + bytes.length;
}

/** Sends `reply`. What the socket does not take waits for EPOLLOUT, and until then the connection is not read. */
function flush(fd: number): void {
  const { bytes, length, isLast } = reply;
  const sent = libc.send(fd, bytes, length, MSG_NOSIGNAL);
  if (sent === length) {
    counts.bytes_out += sent;
    if (isLast) linger(fd);
    return;
  }
  if (sent < 0 && errno[0] !== EAGAIN && errno[0] !== EINTR) return dropConnection(fd);
  const taken = Math.max(sent, 0);
  counts.bytes_out += taken;
  if (!reserve(fd, length - taken)) return;
  unsent.set(fd, { bytes: bytes.slice(taken, length), taken: 0, isLast });
  carried.delete(fd);
  // Only while something is unsent: an idle socket is always writable, and would end every wait at once.
  watch(EPOLL_CTL_MOD, fd, EPOLLOUT); // fails only for a descriptor that is not in the set
}

/** Sends more of what waits. The kernel ends the connection if the peer takes nothing for USER_TIMEOUT_MS. */
function onWritable(fd: number): void {
  const rest = unsent.get(fd)!;
  const sent = libc.send(fd, rest.bytes.subarray(rest.taken), rest.bytes.length - rest.taken, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);
    return;
  }
  counts.bytes_out += sent;
  rest.taken += sent;
  if (rest.taken < rest.bytes.length) return;
  forgetUnsent(fd);
  watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  if (rest.isLast) return linger(fd);
  const waiting = partial.get(fd);
  if (waiting === undefined) return;
  waiting.deadlineMs = readClockMs() + HEAD_MS; // it was not read meanwhile, so its time starts now
  partial.delete(fd);
  partial.set(fd, waiting);
  carried.add(fd);
}

/**
 * Ends this half once the last answer is in the socket. With input unread close(2) would send RST, and the peer might
 * lose the answer: so input is taken and thrown away until the peer closes too.
 */
function linger(fd: number): void {
  lingering.set(fd, readClockMs() + LINGER_MS);
  libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv(2) will report it
}

/** Ends those whose time was over when the kernel reported the events of this turn: what has come since is unread. */
function endLate(turnMs: number): void {
  let ended = 0;
  for (const [fd, deadlineMs] of lingering) {
    if (deadlineMs > turnMs || ended++ === ENDS) break;
    closeConnection(fd);
  }
  for (const [fd, { deadlineMs }] of partial) {
    if (deadlineMs > turnMs || ended++ >= ENDS) break;
    if (carried.has(fd) || unsent.has(fd)) continue; // it waits for this server, not for the peer
    forgetPartial(fd);
    countError(408);
    reply.bytes = answerTo(408, true);
    reply.length = reply.bytes.length;
    reply.isLast = true;
    flush(fd);
  }
}

// ---- The architecture: one interest set, one loop ------------------------------------------------------------------

const epoll = must(libc.epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
const events = new Int32Array(EVENTS * EVENT_WORDS), event = new Int32Array(EVENT_WORDS);

/** Adds or changes one descriptor of the interest set. `data`, which comes back with an event, is the descriptor. */
function watch(operation: number, fd: number, mask: number): number {
  event[0] = mask;
  event[DATA_WORD] = fd;
  return libc.epoll_ctl(epoll, operation, fd, event);
}

const NETWORK_ERRORS = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH];
const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];

/** Accepts what waits, up to a bound. Without room for more it pauses for a turn: the listener is not watched. */
function acceptSome(listener: number, bound: number): void {
  for (let i = 0; i < bound; i++) { // if more wait, the next call says so again
    const fd = libc.accept4(listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      counts.accepted++;
      open++;
      if (watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0) dropConnection(fd); // ENOSPC, ENOMEM: this connection only
    } else if (errno[0] === EAGAIN) return; // none waits any more
    else if (!PASSING_ERRORS.includes(errno[0]!)) { // EMFILE, ENFILE, ENOBUFS, ENOMEM
      countError(getSystemErrorName(-errno[0]!));
      watch(EPOLL_CTL_MOD, listener, 0); // it stays readable, so the loop would spin
      return;
    }
  }
}

let heardMs = readClockMs(); // when signals were heard last

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
  heardMs = readClockMs();
}

/** Burns the CPU that a request asks for, then sends its answer. No other connection is served meanwhile. */
async function work(fd: number, us: number): Promise<void> {
  await burn(us);
  flush(fd);
}

/** Serves each of the carried connections once; those that still have requests left are carried to the next turn. */
async function serveCarried(): Promise<void> {
  for (const fd of [...carried]) {
    carried.delete(fd);
    const workUs = answer(fd, restore(fd), 0);
    if (workUs > 0) await work(fd, workUs);
    if (readClockMs() - heardMs < TURN_MS) continue;
    await hearSignals();
    if (stopping) return; // the rest is still carried
  }
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  must(watch(EPOLL_CTL_ADD, listener, EPOLLIN), "watch the listener");
  let tickMs = heardMs, stopAtMs = Infinity;
  for (;;) {
    // epoll_wait blocks this thread and with it Deno's event loop, where signal handlers run: so for TURN_MS at most.
    const waitMs = carried.size > 0 ? 0 : stopping ? QUIET_MS : TURN_MS;
    const ready = libc.epoll_wait(epoll, events, EVENTS, waitMs);
    if (ready < 0 && errno[0] !== EINTR) must(ready, "wait for events");
    const turnMs = readClockMs();
    for (let i = 0; i < ready; i++) {
      const fd = events[i * EVENT_WORDS + DATA_WORD]!;
      let workUs = 0;
      // The mask of the event is not read: a descriptor in `unsent` waits for EPOLLOUT, any other for EPOLLIN. EPOLLERR
      // and EPOLLHUP are reported unasked, and recv(2) or send(2) says what it is.
      if (fd === listener) acceptSome(listener, ACCEPTS);
      else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);
      else if (carried.size === 0 || !carried.has(fd)) workUs = onReadable(fd);
      if (workUs > 0) await work(fd, workUs);
      else if ((i + 1) % UNWATCHED > 0) continue;
      if (readClockMs() - heardMs < TURN_MS) continue;
      await hearSignals();
      if (stopping) break; // level-triggered: the other events come again for as long as they are true
    }
    if (carried.size > 0) await serveCarried();
    if (turnMs >= stopAtMs) return;
    if (ready === 0 && stopAtMs < Infinity && partial.size + unsent.size + lingering.size === 0) return;
    if (stopping && stopAtMs === Infinity) {
      acceptSome(listener, BACKLOG); // close(2) would reset those whose handshake is done
      libc.close(listener);
      stopAtMs = readClockMs() + STOP_MS;
    }
    if (turnMs - tickMs < TURN_MS) continue;
    tickMs = turnMs;
    await hearSignals();
    endLate(turnMs);
    if (!stopping) watch(EPOLL_CTL_MOD, listener, EPOLLIN); // again, where there was no room
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

function stop(): void {
  if (stopping) Deno.exit(1); // the second signal does not wait
  stopping = true;
}

if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGUSR1", () => show({ event: "stats", open, ...counts }));
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}
