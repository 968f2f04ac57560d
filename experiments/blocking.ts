/**
 * @title      blocking: one thread, one connection at a time
 * @family     blocking
 * @question   What does the simplest server of all do while a client is slow?
 * @idea       accept(2), recv(2), send(2), close(2), and again from the start. Each call blocks until it has something
 *             to return: the kernel does all the waiting, and the program reads like its own description.
 * @prediction One client costs as much CPU per request as by epoll, give or take a quarter; a second one is not served
 *             at all as long as the first one stays, even if that one is idle.
 * @expect     throughput(1).cpu_us_per_request <= 1.25 * epoll
 *             throughput(1).cpu_us_per_request >= 0.75 * epoll
 *             hold(2).answered <= 1
 * @compare    thread-per-conn, worker-pool, epoll
 * @requires   linux 2.6.37
 * @cannot     serve-others A client that sits idle, or does not read its answers, holds the only thread.
 * @run        deno run --allow-ffi blocking.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             Between two heads a connection may idle for ever; keepalive probes end those whose peer is gone.
 *             Calls block for 50 ms at most and are then made again, so that signals are heard between two of them.
 * @sources    socket(7), accept(2), recv(2), send(2), tcp(7); Stevens, UNIX Network Programming, volume 1, chapter 30;
 *             RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection. Its state is the line of code at which the only thread stands; in brackets stands the call
// that this line blocks in. All other connections wait for accept4(2) meanwhile.
//
//              ┌───────── all answers are sent ───────┐
//              ▼                                      │
//  accept4 ─► reading ─── a head is whole ─────► answering
//             [recv]                             [send]
//              │                                      │
//              └─ no whole head after 10 s: 408 ─┐    │ the last answer is sent
//                                                ▼    ▼
//                                               lingering ── 1 s, or the peer closes ─► closed
//                                               [recv]
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// reading    waits for bytes. From the first byte of a head on there is a deadline.
// answering  all whole requests of one recv(2). send(2) blocks while the socket is full; the kernel ends a peer that
//            takes nothing.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "blocking";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_KEEPALIVE = 9, SO_RCVTIMEO = 20, SO_SNDTIMEO = 21; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
const CLOCK_THREAD_CPUTIME_ID = 3, CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const EINTR = 4, EAGAIN = 11; // <asm-generic/errno.h>
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }
const TIMEVAL_SECONDS = 0, TIMEVAL_MICROSECONDS = 2; // words of struct timeval { i64 tv_sec; i64 tv_usec; }

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections in the accept queue; the kernel cuts it to net.core.somaxconn
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. Nothing more is kept
const MAX_WORK_US = 100_000;
const SLICE_US = 20_000; // the longest burn without a look at signals
const TURN_MS = 25; // the longest stretch without a look at signals, and the longest that a call may block
const PAUSE_MS = 50; // while descriptors or memory are missing
const HEAD_MS = 10_000; // from the first byte of a head to its last
const USER_TIMEOUT_MS = 30_000; // how long a peer may acknowledge nothing, or take nothing, until the kernel ends it
const KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 10, KEEPALIVE_PROBES = 6; // probes of a peer that is silent
const LINGER_MS = 1000; // how long a peer may go on sending after the last answer is in the socket
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path, which costs 100 to 300 ns.
function openLibc() {
  if (Deno.build.os !== "linux") unavailable(`its system calls are those of Linux, this is ${Deno.build.os}.`);
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
      usleep: { parameters: ["u32"], result: "i32" },
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

const timespec = new Int32Array(4), timeval = new Int32Array(4);

/** Milliseconds since the start of the system, to the kernel's tick (1 to 10 ms). Nobody can set this clock: it never steps. */
function readClockMs(): number {
  libc.clock_gettime(CLOCK_MONOTONIC_COARSE, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1000 + Math.trunc(timespec[TIMESPEC_NANOSECONDS]! / 1e6);
}

/** Bounds how long recv(2) and accept4(2) block: then they fail with EAGAIN. A signal ends them with EINTR: signal(7). */
function setReceiveTimeout(fd: number, ms: number): void {
  timeval[TIMEVAL_SECONDS] = Math.trunc(ms / 1000);
  timeval[TIMEVAL_MICROSECONDS] = ms % 1000 * 1000;
  libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeval, 16); // fails for no socket
}

// Accepted sockets inherit all of these from the listener on Linux: one call here instead of one for each connection.
// With the last five the kernel ends connections whose peer is gone or takes nothing, at no cost in the program.
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
  const listener = must(libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "create a socket");
  for (const [level, option, value, name] of OPTIONS) {
    must(libc.setsockopt(listener, level, option, new Int32Array([value]), 4), `set ${name}`);
  }
  // accept4, recv and send block this thread and with it Deno's
  // event loop, where signal handlers run: so for TURN_MS at most.
  setReceiveTimeout(listener, TURN_MS); // inherited, too
  must(libc.setsockopt(listener, SOL_SOCKET, SO_SNDTIMEO, timeval, 16), "set SO_SNDTIMEO"); // and the same for send(2)
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
  for (let left = us; left > 0; left -= SLICE_US) {
    if (left < us) await hearSignals();
    const untilUs = readCpuUs() + Math.min(left, SLICE_US);
    while (readCpuUs() < untilUs);
  }
}

/** CPU time of this thread: time in which it does not run is not counted. */
function readCpuUs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1e6 + timespec[TIMESPEC_NANOSECONDS]! / 1e3;
}

// ---- Connection: a descriptor, and the bytes of the only one that is served ----------------------------------------

const inbox = new Uint8Array(INBOX + 1), outbox = new Uint8Array(OUTBOX);
const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} as Record<string, number> };
let open = 0; // connections
let stopping = false, stopAtMs = Infinity;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;
const countErrno = () => countError(getSystemErrorName(-errno[0]!));

/** Whether a call failed only because its time was over or a signal came: then it is made again. */
const isPassing = () => errno[0] === EAGAIN || errno[0] === EINTR;

let heardMs = readClockMs(); // when signals were heard last

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
  heardMs = readClockMs();
}

const LAST = -1, BROKEN = -2; // what `answer` returns in place of a number of bytes

/** Serves one connection until it is over (returns 0) or has its last answer (returns when lingering ends). */
async function converse(fd: number): Promise<number> {
  let length = 0; // of a head whose end has not come
  let deadlineMs = 0; // of this head: it is set by the first byte and does not move
  for (;;) {
    const turnMs = readClockMs();
    if (turnMs - heardMs >= TURN_MS) await hearSignals();
    if (turnMs >= stopAtMs) return 0;
    const isIdle = length === 0 && stopping; // then only what has come already is served
    const isLate = length > 0 && turnMs >= deadlineMs; // the same
    const flags = isIdle || isLate ? MSG_DONTWAIT : 0;
    const taken = libc.recv(fd, length === 0 ? inbox : inbox.subarray(length), INBOX - length, flags);
    if (taken === 0) return 0; // the peer has closed its half, and all it had asked for is answered
    if (taken < 0) {
      if (!isPassing()) countErrno();
      else if (isLate) return await refuseLate(fd);
      else if (!isIdle) {
        await hearSignals();
        continue;
      }
      return 0;
    }
    counts.bytes_in += taken;
    const left = await answer(fd, length + taken, length);
    if (left === BROKEN) return 0;
    if (left === LAST) return finish(fd);
    if (left > 0 && (length === 0 || left < length + taken)) deadlineMs = readClockMs() + HEAD_MS; // a new head
    length = left;
  }
}

/**
 * Answers the whole requests of the inbox. All answers leave by one call, and a single one from where it stands; but
 * before CPU is burnt, the answers so far leave. Returns the bytes left over, moved to the start, or LAST, or BROKEN.
 */
async function answer(fd: number, length: number, scanned: number): Promise<number> {
  let at = 0, out = 0, isLast = false;
  while (at < length && !isLast) {
    const head = parseHead(inbox, at, length, at === 0 ? scanned : 0);
    if (head === INCOMPLETE) break;
    at += head;
    if (request.workUs > 0) {
      if (out > 0 && !await sendAll(fd, outbox, out)) return BROKEN;
      out = 0;
      await burn(request.workUs);
      if (readClockMs() >= stopAtMs) return BROKEN;
    }
    if (request.status === 200) counts.served++;
    else countError(request.status);
    isLast = !request.keepAlive || (at === length && stopping);
    const bytes = answerTo(request.status, isLast);
    if (out === 0 && (isLast || at === length)) {
      if (!await sendAll(fd, bytes, bytes.length)) return BROKEN;
    } else {
      outbox.set(bytes, out);
      out += bytes.length;
    }
  }
  if (out > 0 && !await sendAll(fd, outbox, out)) return BROKEN;
  if (isLast) return LAST;
  if (at > 0 && at < length) inbox.copyWithin(0, at, length);
  return length - at;
}

/** Sends all. A peer that does not read holds up all others here. Returns false if the connection is broken. */
async function sendAll(fd: number, bytes: Uint8Array<ArrayBuffer>, length: number): Promise<boolean> {
  let sent = 0;
  while (sent < length) {
    const taken = libc.send(fd, sent === 0 ? bytes : bytes.subarray(sent), length - sent, MSG_NOSIGNAL);
    if (taken >= 0) {
      counts.bytes_out += taken;
      sent += taken;
    } else if (!isPassing()) {
      countErrno();
      return false;
    }
    if (sent === length) return true;
    await hearSignals();
    if (readClockMs() >= stopAtMs) return false;
  }
  return true;
}

/** Answers a head that was not complete in time. */
async function refuseLate(fd: number): Promise<number> {
  countError(408);
  const bytes = answerTo(408, true);
  return await sendAll(fd, bytes, bytes.length) ? finish(fd) : 0;
}

/** Ends this half once the last answer is in the socket. Returns when lingering ends. */
function finish(fd: number): number {
  libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv(2) will report it
  return readClockMs() + LINGER_MS;
}

/**
 * With input unread close(2) would send RST, and the peer might lose the last answer: so input is taken and thrown away
 * until the peer closes too. Returns false if SIGTERM comes meanwhile: then it is put off.
 */
async function linger(fd: number, untilMs: number): Promise<boolean> {
  const wasStopping = stopping;
  while (readClockMs() < Math.min(untilMs, stopAtMs)) {
    const taken = libc.recv(fd, inbox, INBOX, 0);
    if (taken === 0) return true;
    if (taken > 0) counts.bytes_in += taken;
    else if (!isPassing()) {
      countErrno();
      return true;
    }
    if (taken < 0 || readClockMs() - heardMs >= TURN_MS) await hearSignals();
    if (stopping !== wasStopping) return false;
  }
  return true;
}

// ---- The architecture: one loop, one connection --------------------------------------------------------------------

const NETWORK_ERRORS = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH];
const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];
const waiting: number[] = []; // at SIGTERM, with their handshakes complete
const lingering = new Map<number, number>(); // after SIGTERM: when they are closed at the latest

function closeConnection(fd: number): void {
  libc.close(fd); // a failure of close(2) leaves nothing that could be done
  open--;
}

/** Serves one connection. After SIGTERM its lingering is put off, so that those that wait are answered first. */
async function serveOne(fd: number): Promise<void> {
  const untilMs = await converse(fd);
  if (untilMs > 0 && (stopping || !await linger(fd, untilMs))) lingering.set(fd, untilMs);
  else closeConnection(fd);
}

/** Accepts a connection; −1 if there is none. */
function accept(listener: number): number {
  const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
  if (fd < 0) return -1;
  counts.accepted++;
  open++;
  return fd;
}

/** Serves one connection after the other. All others wait: the kernel completes their handshakes, nobody answers. */
async function serve(listener: number): Promise<void> {
  while (!stopping) {
    const fd = accept(listener);
    if (fd >= 0) await serveOne(fd);
    else if (errno[0] !== EAGAIN && !PASSING_ERRORS.includes(errno[0]!)) { // EMFILE, ENFILE, ENOBUFS, ENOMEM
      countErrno();
      libc.usleep(PAUSE_MS * 1000);
    }
    if (fd < 0 || readClockMs() - heardMs >= TURN_MS) await hearSignals();
  }
  for (const fd of waiting) await serveOne(fd);
  for (const [fd, untilMs] of lingering) {
    await linger(fd, untilMs);
    closeConnection(fd);
  }
}

/** Takes over those that wait, and ends the listening: close(2) alone would reset them. */
function endListening(listener: number): void {
  setReceiveTimeout(listener, 1);
  while (waiting.length < BACKLOG) {
    const fd = accept(listener);
    if (fd >= 0) {
      setReceiveTimeout(fd, TURN_MS); // it has inherited the other
      waiting.push(fd);
    } else if (!PASSING_ERRORS.includes(errno[0]!)) break; // EAGAIN: none waits any more
  }
  libc.close(listener);
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
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  const stop = () => {
    if (stopping) Deno.exit(1); // the second signal does not wait
    stopping = true;
    stopAtMs = readClockMs() + STOP_MS;
    endListening(listener);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGUSR1", () => show({ event: "stats", open, ...counts }));
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}
