/**
 * @title      iocp: one thread hands requests to Windows and collects what is completed
 * @family     completion
 * @question   How can one thread hold ten thousand connections on Windows, which has neither epoll nor io_uring?
 * @idea       Requests are handed to the kernel, and come back by a queue, the completion port, once they are done. Until
 *             then what they work with must stay in place. So that a silent connection pins no buffer, it has a receive
 *             of zero bytes in flight: that completes as soon as bytes have come, and only then are they read.
 * @prediction 10 000 connections are held and answered by one thread, and an idle one costs the process under 512 bytes.
 * @expect     hold(10000).answered >= 10000
 *             hold(10000).user_bytes_per_conn < 512
 * @compare    io-uring, epoll, event-loop
 * @requires   windows
 * @cannot     show-stats Windows has no signal by which one process could ask another for its counts.
 * @run        deno run --allow-ffi iocp.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             /work burns the CPU of the only thread, so every client waits for it: that is the price of one thread.
 *             Between two heads a connection may idle for ever; keepalive probes end those whose peer is gone. Windows
 *             sends ten of them, whatever a program wants, and has no TCP_USER_TIMEOUT: here the loop ends a peer that
 *             takes nothing.
 * @sources    I/O Completion Ports, AcceptEx, WSARecv, WSASend (Windows API reference); RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection. It is a slot; in capitals stands what the kernel has in flight of it, never two at a time, and
// in brackets the table that holds what it has left over.
//
//              ┌─────────────── all answers are sent ──┬───────────────────┐
//              ▼                                       │                   │
//  ACCEPT ──► RECEIVE ──── a head is whole ─────► answering ─ socket full ─► SEND
//             [partial]                          [carried]                 [unsent]
//              │                                       │                   │
//              └─ no whole head after 10 s: 408 ─┐     │ the last answer   │
//                                                ▼     ▼ is sent           │
//                                               RECEIVE ◄──────────────────┘
//                                               [lingering] ── 1 s, or the peer closes ─► closed
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// receive    of zero bytes: it completes when bytes have come. From the first byte of a head on there is a deadline.
// answering  all whole requests of one recv; but one that burns CPU ends the turn, and what is left is carried to the next.
// send       of a piece of the answers. Until all are taken nothing is read, and a peer that takes nothing is ended.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.

import { parseArgs } from "node:util";
const EXPERIMENT = "iocp";

// ---- Kernel ABI: 64-bit Windows, the same on x86-64 and aarch64 --------------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, IPPROTO_TCP = 6, TCP_NODELAY = 1, SD_SEND = 1; // <winsock2.h>, <ws2def.h>
const SOL_SOCKET = 0xffff, SO_EXCLUSIVEADDRUSE = ~4, FIONBIO = 0x8004667e | 0; // <winsock2.h>
const SIO_KEEPALIVE_VALS = 0x98000004 | 0; // <mstcpip.h>: struct tcp_keepalive { u32 on; u32 idle_ms; u32 interval_ms; }
const SO_UPDATE_ACCEPT_CONTEXT = 0x700b, ADDRESS = 32; // <mswsock.h>: AcceptEx wants 16 bytes behind each sockaddr_in
const MEM_RESERVE_COMMIT = 0x3000, MEM_RELEASE = 0x8000, PAGE_READWRITE = 4, INVALID_HANDLE_VALUE = -1n; // <winnt.h>
const WAIT_TIMEOUT = 258, WSA_IO_PENDING = 997, WSAEWOULDBLOCK = 10035; // <winerror.h>
const WSAE = new Map([[10024, "EMFILE"], [10048, "EADDRINUSE"], [10053, "ECONNABORTED"], [10054, "ECONNRESET"]]);
// <minwinbase.h>: an OVERLAPPED is the kernel's note of one request, and what a program may set in it stays 0 here.
// OVERLAPPED_ENTRY { u64 key; u64 address of the OVERLAPPED; u64 Internal, which is an NTSTATUS; u32 bytes; }
const OVERLAPPED = 32, ENTRY_WORDS = 8, ADDRESS_WORD = 2, STATUS_WORD = 4, BYTES_WORD = 6;

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for AcceptEx
const SLOTS = 65536; // connections at most, with those to come; more wait in the backlog
const ACCEPTS = 64; // of these: so many may come between two looks at the port without a wait
const ENTRIES = 1024; // completions taken from the kernel in one call: enough to make the call's cost vanish
const UNWATCHED = 16; // connections served in a row without a look at the clock: each may have sent 1024 requests
const ENDS = 1000; // connections ended in a row because their time is over
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one recv, more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may be unsent
const PIECE = 4096; // bytes in flight of a peer that reads slowly: by each that completes it is seen to read
const MIN_PARTIAL = 256; // bytes of the first buffer for a partial head; it doubles up to INBOX
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all connections together, partial and unsent; beyond, a connection is dropped
const MAX_WORK_US = 100_000;
const GAP_MS = 0.1; // two looks at the clock in a row that are further apart: the thread did not run
const TURN_MS = 40; // the longest stretch without a look at signals; a look costs about 90 µs
const HEAD_MS = 10_000; // from the first byte of a head to its last
const STUCK_MS = 30_000; // how long a peer may take nothing
const KEEPALIVE_IDLE_MS = 60_000, KEEPALIVE_INTERVAL_MS = 10_000; // probes of a peer that is silent
const LINGER_MS = 1000; // how long a peer may go on sending after the last answer is in the socket
const STOP_MS = 1000; // how long what is in flight may take after Ctrl-C
const QUIET_MS = 10; // without a completion, after Ctrl-C, until nothing is taken to be in flight

// ---- libc: on Windows that is kernel32 and Winsock, every system call of this server -----------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Of the 64 bits of a HANDLE or SOCKET Windows promises to use 32: bound as i32, since a 64-bit parameter takes V8's slow
// path, which costs 100 to 300 ns. Only INVALID_HANDLE_VALUE has more.
function openLibraries() {
  if (Deno.build.os !== "windows") unavailable(`completion ports are a part of Windows, this is ${Deno.build.os}.`);
  try {
    return {
      ...Deno.dlopen("kernel32.dll", {
        CreateIoCompletionPort: { parameters: ["isize", "i32", "i32", "i32"], result: "i32" },
        GetQueuedCompletionStatusEx: { parameters: ["i32", "buffer", "i32", "buffer", "i32", "i32"], result: "i32" },
        GetTickCount: { parameters: [], result: "i32" },
        SwitchToThread: { parameters: [], result: "i32", nonblocking: true },
        VirtualAlloc: { parameters: ["pointer", "usize", "i32", "i32"], result: "pointer" },
        VirtualFree: { parameters: ["pointer", "usize", "i32"], result: "i32" },
      }).symbols,
      ...Deno.dlopen("ws2_32.dll", {
        WSAStartup: { parameters: ["i32", "buffer"], result: "i32" },
        socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
        setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
        ioctlsocket: { parameters: ["i32", "i32", "buffer"], result: "i32" },
        WSAIoctl: {
          parameters: ["i32", "i32", "buffer", "i32", "pointer", "i32", "buffer", "pointer", "pointer"],
          result: "i32",
        },
        bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
        getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
        listen: { parameters: ["i32", "i32"], result: "i32" },
        recv: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
        send: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
        WSARecv: { parameters: ["i32", "buffer", "i32", "pointer", "buffer", "pointer", "pointer"], result: "i32" },
        WSASend: { parameters: ["i32", "buffer", "i32", "pointer", "i32", "pointer", "pointer"], result: "i32" },
        shutdown: { parameters: ["i32", "i32"], result: "i32" },
        closesocket: { parameters: ["i32"], result: "i32" },
        WSAGetLastError: { parameters: [], result: "i32" }, // the error of kernel32 as well
      }).symbols,
      ...Deno.dlopen("mswsock.dll", {
        AcceptEx: { parameters: ["i32", "i32", "pointer", "i32", "i32", "i32", "buffer", "pointer"], result: "i32" },
      }).symbols,
    };
  } catch (error) {
    return unavailable(error instanceof Error ? error.message : String(error));
  }
}
const libc = openLibraries();

const errorName = (code: number) => WSAE.get(code) ?? `WSA ${code}`;

/** Returns the result of a call. If it failed: ends with what was tried, the error by name and what to do about it. */
function must(result: number, action: string, remedy = "see the reference of the call"): number {
  if (result >= 0) return result;
  const code = libc.WSAGetLastError();
  console.error(`Cannot ${action}: ${WSAE.get(code) ?? "Windows error"} (${code}), ${remedy}`);
  return Deno.exit(1);
}

let ticks = libc.GetTickCount(), clockMs = 0;

/** Milliseconds since the start, to the system's tick (10 to 16 ms). The ticks wrap after 49 days; their difference does not. */
function readClockMs(): number {
  const now = libc.GetTickCount();
  clockMs += now - ticks >>> 0;
  ticks = now;
  return clockMs;
}

/** Creates the listening socket and returns it with the port that the kernel gave. */
function listenOn(host: string, port: number): { listener: number; port: number } {
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  must(-libc.WSAStartup(0x0202, new Uint8Array(512)), "start Winsock 2.2"); // WSADATA has 408 bytes
  const listener = must(libc.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP), "create a socket");
  // Here SO_REUSEADDR would let a second server take the port. This forbids it even to one that sets SO_REUSEADDR.
  must(libc.setsockopt(listener, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, Int32Array.of(1), 4), "set SO_EXCLUSIVEADDRUSE");
  must(libc.bind(listener, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  must(libc.listen(listener, -BACKLOG), `listen on ${host}:${port}`); // SOMAXCONN_HINT; if positive it is cut to 200
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

/**
 * Burns CPU time of this thread. Signals are heard meanwhile; clients wait, as they would for any computation. GetThreadTimes
 * goes by ticks of 15.6 ms; but between two looks at a clock that are far apart this thread did not run.
 */
async function burn(us: number): Promise<void> {
  let left = us, before = performance.now();
  while (left > 0) {
    if (readClockMs() - heardMs >= TURN_MS) {
      await hearSignals();
      before = performance.now();
    }
    const now = performance.now();
    if (now - before < GAP_MS) left -= (now - before) * 1000;
    before = now;
  }
}

// ---- Connection: a slot, its socket, the one request that the kernel has of it, and the bytes left over -------------

/** Input that waits for more, or for its turn. */
interface Partial {
  bytes: Uint8Array<ArrayBuffer>;
  /** How many of `bytes` are input. */
  length: number;
  /** When a head must be complete. It is set by the first byte and does not move. */
  deadlineMs: number;
}

/** Answers that the socket did not take yet, in memory that stays in its place. */
interface Unsent {
  pointer: Deno.PointerObject;
  length: number;
  /** How many of them the socket has taken. */
  taken: number;
  isLast: boolean;
  /** When the peer must have taken more. */
  deadlineMs: number;
}

const ACCEPT = 1, RECEIVE = 2, SEND = 3; // what the kernel has, never two at a time; 0: nothing
const CLOSED = -1; // in place of the socket: the slot is free as soon as the kernel has given back what it had
const states = new Uint8Array(SLOTS), sockets = new Int32Array(SLOTS), inFlight = [0, 0, 0, 0]; // by slot; by state
const inbox = new Uint8Array(INBOX + 1), outbox = new Uint8Array(OUTBOX); // shared: an idle connection owns no buffer
// By slot. A Map keeps the order of insertion, so those whose time is over stand in front.
const partial = new Map<number, Partial>();
const unsent = new Map<number, Unsent>();
const carried = new Set<number>(); // those whose `partial` may hold whole requests: they are served next turn
const lingering = new Map<number, number>(); // when it is closed at the latest
const reply = { bytes: HELLO_KEPT, length: 0, isLast: false }; // what `answer` has made and `flush` will send
const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} as Record<string, number> };
let keptBytes = 0; // of all buffers in `partial` and `unsent`
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

/** Gives memory back at once: garbage would wait for a collection, and MAX_KEPT_BYTES would be no bound. */
function release(bytes: Uint8Array<ArrayBuffer>): void {
  keptBytes -= bytes.length;
  bytes.buffer.transfer(0);
}

function forgetPartial(slot: number): void {
  const known = partial.get(slot);
  if (known !== undefined) release(known.bytes);
  partial.delete(slot);
}

/** Only when the kernel does not send them any more. */
function forgetUnsent(slot: number): void {
  const rest = unsent.get(slot);
  if (rest === undefined) return;
  keptBytes -= rest.length;
  libc.VirtualFree(rest.pointer, 0n, MEM_RELEASE); // fails for memory that is none of VirtualAlloc only
  unsent.delete(slot);
}

/** The slot is free once nothing is in flight of it. */
function freeSlot(slot: number): void {
  forgetUnsent(slot);
  free.push(slot);
}

function closeConnection(slot: number): void {
  forgetPartial(slot);
  carried.delete(slot);
  lingering.delete(slot);
  libc.closesocket(sockets[slot]!); // what is in flight completes with an error; a failure leaves nothing to be done
  sockets[slot] = CLOSED;
  if (states[slot] === 0) freeSlot(slot);
}

function dropConnection(slot: number, error = errorName(libc.WSAGetLastError())): void {
  countError(error);
  closeConnection(slot);
}

/** Makes room for bytes to keep. Beyond the bound the connection that needs them is dropped, and false returned. */
function reserve(slot: number, length: number): boolean {
  if (keptBytes + length > MAX_KEPT_BYTES) {
    dropConnection(slot, "MAX_KEPT_BYTES");
    return false;
  }
  keptBytes += length;
  return true;
}

/** Keeps the input from `from` on. Returns false if the connection was dropped. */
function keep(slot: number, from: number, to: number): boolean {
  const known = from === 0 ? partial.get(slot) : undefined; // the same head has grown
  if (known !== undefined && to <= known.bytes.length) {
    known.bytes.set(inbox.subarray(known.length, to), known.length);
    known.length = to;
    return true;
  }
  let capacity = MIN_PARTIAL;
  while (capacity < to - from) capacity *= 2;
  if (!reserve(slot, capacity)) return false;
  const bytes = new Uint8Array(capacity);
  bytes.set(inbox.subarray(from, to));
  if (known !== undefined) {
    release(known.bytes);
    known.bytes = bytes;
    known.length = to;
    return true;
  }
  forgetPartial(slot); // so that the new head stands behind all others
  partial.set(slot, { bytes, length: to - from, deadlineMs: readClockMs() + HEAD_MS });
  return true;
}

/** Puts the kept input back into the inbox. Returns its length. */
function restore(slot: number): number {
  const { bytes, length } = partial.get(slot)!;
  inbox.set(bytes.subarray(0, length));
  return length;
}

/** Takes what has come and answers it. Returns the µs of CPU to burn before `reply` may be sent; 0: nothing is left to do. */
function onReadable(slot: number): number {
  const length = partial.size > 0 && partial.has(slot) ? restore(slot) : 0;
  const taken = libc.recv(sockets[slot]!, length === 0 ? inbox : inbox.subarray(length), INBOX - length, 0);
  if (taken > 0) {
    counts.bytes_in += taken;
    if (lingering.size === 0 || !lingering.has(slot)) return answer(slot, length + taken, length);
    submitReceive(slot); // thrown away
  } else if (taken === 0) closeConnection(slot); // the peer has closed its half, and all it had asked for is answered
  else if (libc.WSAGetLastError() === WSAEWOULDBLOCK) submitReceive(slot);
  else dropConnection(slot);
  return 0;
}

/**
 * Answers the whole requests of the inbox up to the first that burns CPU, so that no pipeline holds up other clients and
 * signals; what is left is kept. All answers leave by one call, and a single one from where it stands.
 */
function answer(slot: number, length: number, scanned: number): number {
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
    if (!keep(slot, at, length)) return 0;
    if (head !== INCOMPLETE) carried.add(slot);
  } else if (partial.size > 0) forgetPartial(slot);
  if (status === 0) { // no request is whole
    submitReceive(slot);
    return 0;
  }
  const last = answerTo(status, isLast);
  reply.bytes = out === 0 ? last : outbox;
  reply.length = out === 0 ? last.length : append(last, out);
  reply.isLast = isLast;
  if (workUs === 0) flush(slot);
  return workUs;
}

/** Puts an answer into the outbox and returns its end. */
function append(bytes: Uint8Array, at: number): number {
  outbox.set(bytes, at);
  return at + bytes.length;
}

/** Sends `reply`. This call does not wait, and costs no completion; what it leaves goes out in pieces that complete. */
function flush(slot: number): void {
  const { bytes, length, isLast } = reply;
  const sent = libc.send(sockets[slot]!, bytes, length, 0);
  if (sent === length) {
    counts.bytes_out += sent;
    return proceed(slot, isLast);
  }
  if (sent < 0 && libc.WSAGetLastError() !== WSAEWOULDBLOCK) return dropConnection(slot);
  const taken = Math.max(sent, 0), rest = length - taken;
  counts.bytes_out += taken;
  if (!reserve(slot, rest)) return;
  const pointer = libc.VirtualAlloc(null, BigInt(rest), MEM_RESERVE_COMMIT, PAGE_READWRITE);
  if (pointer === null) {
    keptBytes -= rest;
    return dropConnection(slot);
  }
  new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, rest)).set(bytes.subarray(taken, length));
  unsent.set(slot, { pointer, length: rest, taken: 0, isLast, deadlineMs: 0 });
  carried.delete(slot);
  submitSend(slot);
}

/** Sends more of what waits. A peer that takes no piece for STUCK_MS is ended. */
function onSent(slot: number, bytes: number): void {
  const rest = unsent.get(slot)!;
  counts.bytes_out += bytes;
  rest.taken += bytes;
  if (rest.taken < rest.length) return submitSend(slot);
  forgetUnsent(slot);
  const waiting = partial.get(slot);
  if (waiting !== undefined) {
    waiting.deadlineMs = readClockMs() + HEAD_MS; // it was not read meanwhile, so its time starts now
    partial.delete(slot);
    partial.set(slot, waiting);
    carried.add(slot);
  }
  proceed(slot, rest.isLast);
}

/** Goes on once the socket has taken all answers. */
function proceed(slot: number, isLast: boolean): void {
  if (isLast) linger(slot);
  if (!carried.has(slot)) submitReceive(slot);
}

/**
 * Ends this half once the last answer is in the socket. With input unread closesocket would send RST, and the peer might
 * lose the answer: so input is taken and thrown away until the peer closes too.
 */
function linger(slot: number): void {
  lingering.set(slot, readClockMs() + LINGER_MS);
  libc.shutdown(sockets[slot]!, SD_SEND); // fails only where the peer is gone: recv will report it
}

/** Ends those whose time was over when the kernel reported the completions of this turn: what has come since is unread. */
function endLate(turnMs: number): void {
  let ended = 0;
  for (const [slot, deadlineMs] of lingering) {
    if (deadlineMs > turnMs || ended++ === ENDS) break;
    closeConnection(slot);
  }
  for (const [slot, { deadlineMs }] of unsent) {
    if (deadlineMs > turnMs || ended++ >= ENDS) break;
    if (sockets[slot] !== CLOSED) dropConnection(slot, "ETIMEDOUT");
  }
  for (const [slot, { deadlineMs }] of partial) {
    if (deadlineMs > turnMs || ended++ >= ENDS) break;
    if (carried.has(slot) || unsent.has(slot)) continue; // it waits for this server, not for the peer
    refuseLate(slot);
  }
}

/** A receive is in flight, and stays. The answer is small and all others are taken: if it is not, none will be. */
function refuseLate(slot: number): void {
  const last = answerTo(408, true);
  forgetPartial(slot);
  countError(408);
  if (libc.send(sockets[slot]!, last, last.length, 0) !== last.length) return dropConnection(slot);
  counts.bytes_out += last.length;
  linger(slot);
}

/** On Linux an accepted socket inherits all of this. */
function onAccepted(slot: number, listener: number): void {
  const socket = sockets[slot]!, one = Int32Array.of(1);
  const keepalive = Int32Array.of(1, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS);
  counts.accepted++;
  if (
    libc.setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, Int32Array.of(listener, 0), 8) === 0 &&
    libc.setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, one, 4) === 0 &&
    libc.WSAIoctl(socket, SIO_KEEPALIVE_VALS, keepalive, 12, null, 0, ignored, null, null) === 0 &&
    libc.ioctlsocket(socket, FIONBIO, one) === 0 && // for recv and send: what is in flight blocks nobody
    libc.CreateIoCompletionPort(BigInt(socket), port, 0, 0) !== 0
  ) submitReceive(slot);
  else dropConnection(slot); // this connection only
}

/** Goes on where a request has completed. Which slot it is of follows from the address of its OVERLAPPED. */
function onCompleted(slot: number, at: number, listener: number): number {
  const kind = states[slot]!, isDone = entries[at + STATUS_WORD]! >= 0;
  inFlight[kind]!--;
  states[slot] = 0;
  if (sockets[slot] === CLOSED) freeSlot(slot);
  else if (kind === RECEIVE) return onReadable(slot); // if it failed too: recv reports what it was
  else if (kind === SEND && isDone) onSent(slot, entries[at + BYTES_WORD]!);
  else if (kind === SEND) dropConnection(slot, "ECONNRESET");
  else if (isDone) onAccepted(slot, listener);
  else closeConnection(slot); // the client has gone before it was accepted, or the listener is closed
  return 0;
}

// ---- The architecture: requests go out one by one, and what is completed comes back by one queue -------------------

// The kernel works on these while JavaScript runs, and an ArrayBuffer might be collected, so they lie in memory that
// stays: an OVERLAPPED for each slot, and behind them the addresses that AcceptEx writes.
const ADDRESSES_AT = SLOTS * OVERLAPPED, SLAB = ADDRESSES_AT + 2 * ADDRESS;
const slab = libc.VirtualAlloc(null, BigInt(SLAB), MEM_RESERVE_COMMIT, PAGE_READWRITE);
must(slab === null ? -1 : 0, `allocate ${SLAB} bytes`);
const slabAddress = Deno.UnsafePointer.value(slab);
const base = Number(BigInt.asIntN(32, slabAddress)); // the lower half: enough to tell the OVERLAPPED of a completion
const addresses = Deno.UnsafePointer.create(slabAddress + BigInt(ADDRESSES_AT));
const overlappeds: Deno.PointerObject[] = [], free: number[] = []; // by slot; slots that were used before
const port = must(libc.CreateIoCompletionPort(INVALID_HANDLE_VALUE, 0, 0, 1) || -1, "create a completion port");
const entries = new Int32Array(ENTRIES * ENTRY_WORDS), removed = new Int32Array(1);
let entry = 0, lastEntry = 0; // of those, which is taken next, and where they end
const nothing = new BigInt64Array(2), piece = new BigInt64Array(2); // WSABUFs: u32 length, 4 bytes of padding, the address
const ignored = new Int32Array(1); // flags and numbers of bytes

/** Notes what the kernel has now. If it has refused, no completion will come. */
function isTaken(slot: number, kind: number, result: number): boolean {
  const taken = result === 0 || libc.WSAGetLastError() === WSA_IO_PENDING;
  if (taken) {
    states[slot] = kind;
    inFlight[kind]!++;
  } else dropConnection(slot);
  return taken;
}

function submitReceive(slot: number): void {
  isTaken(slot, RECEIVE, libc.WSARecv(sockets[slot]!, nothing, 1, null, ignored, overlappeds[slot]!, null));
}

/** Sends a piece of what the socket did not take at once. The next one goes out when it has completed. */
function submitSend(slot: number): void {
  const rest = unsent.get(slot)!;
  piece[0] = BigInt(Math.min(PIECE, rest.length - rest.taken));
  piece[1] = Deno.UnsafePointer.value(rest.pointer) + BigInt(rest.taken);
  rest.deadlineMs = readClockMs() + STUCK_MS;
  unsent.delete(slot); // so that it stands behind all others
  unsent.set(slot, rest);
  isTaken(slot, SEND, libc.WSASend(sockets[slot]!, piece, 1, null, 0, overlappeds[slot]!, null));
}

/** Has the kernel wait for one more client: AcceptEx wants the socket beforehand. Returns false if there is none. */
function submitAccept(listener: number): boolean {
  const slot = free.pop() ?? overlappeds.length;
  const overlapped = overlappeds[slot] ??= Deno.UnsafePointer.create(slabAddress + BigInt(slot * OVERLAPPED))!;
  const socket = sockets[slot] = libc.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
  const done = socket < 0 ? 0 : libc.AcceptEx(listener, socket, addresses, 0, ADDRESS, ADDRESS, ignored, overlapped);
  return isTaken(slot, ACCEPT, done - 1);
}

/** Has as many accepts in flight as there may be. Returns false if a socket could not be made. */
function submitAccepts(listener: number): boolean {
  while (inFlight[ACCEPT]! < ACCEPTS && free.length + SLOTS > overlappeds.length) {
    if (!submitAccept(listener)) return false;
  }
  return true;
}

let heardMs = readClockMs(); // when signals were heard last

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.SwitchToThread();
  heardMs = readClockMs();
}

/** Burns the CPU that a request asks for, then sends its answer. No other connection is served meanwhile. */
async function work(slot: number, us: number): Promise<void> {
  await burn(us);
  flush(slot);
}

/** Serves each of the carried connections once; those that still have requests left are carried to the next turn. */
async function serveCarried(): Promise<void> {
  for (const slot of [...carried]) {
    carried.delete(slot);
    const workUs = answer(slot, restore(slot), 0);
    if (workUs > 0) await work(slot, workUs);
    if (readClockMs() - heardMs < TURN_MS) continue;
    await hearSignals();
    if (stopping) return; // the rest is still carried
  }
}

/** Takes completions, and waits for some if none are left of the last turn. Returns how many were there. */
async function takeCompletions(waitMs: number, listener: number): Promise<number> {
  if (entry === lastEntry) {
    const got = libc.GetQueuedCompletionStatusEx(port, entries, ENTRIES, removed, waitMs, 0);
    if (got === 0 && libc.WSAGetLastError() !== WAIT_TIMEOUT) must(-1, "wait for completions");
    entry = 0;
    lastEntry = got === 0 ? 0 : removed[0]!;
  }
  const count = lastEntry - entry, wasStopping = stopping;
  while (entry < lastEntry) {
    const at = ENTRY_WORDS * entry++, slot = (entries[at + ADDRESS_WORD]! - base >>> 0) / OVERLAPPED;
    const workUs = onCompleted(slot, at, listener);
    if (workUs > 0) await work(slot, workUs);
    else if (entry % UNWATCHED !== 0) continue;
    if (readClockMs() - heardMs < TURN_MS) continue;
    await hearSignals();
    if (stopping && !wasStopping) break; // the others are taken in the next turn
  }
  return count;
}

/** Accepts all whose handshake is done, as closesocket would reset them. What AcceptEx then has in flight completes. */
async function stopAccepting(listener: number): Promise<void> {
  let before = -1;
  for (let i = 0; i < BACKLOG && before !== counts.accepted; i++) {
    before = counts.accepted;
    submitAccepts(listener);
    await takeCompletions(0, listener);
  }
  libc.closesocket(listener);
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  must(libc.CreateIoCompletionPort(BigInt(listener), port, 0, 0) - 1, "add the listener to the completion port");
  let isAccepting = true, tickMs = heardMs, stopAtMs = Infinity;
  for (;;) {
    if (isAccepting && !stopping) isAccepting = submitAccepts(listener);
    // GetQueuedCompletionStatusEx blocks this thread and with it Deno's
    // event loop, where signal handlers run: so for TURN_MS at most.
    const done = await takeCompletions(carried.size > 0 ? 0 : stopping ? QUIET_MS : TURN_MS, listener);
    const turnMs = readClockMs();
    if (carried.size > 0) await serveCarried();
    if (turnMs >= stopAtMs) return;
    if (stopAtMs < Infinity && done + partial.size + unsent.size + lingering.size === 0) return;
    if (stopping && stopAtMs === Infinity) {
      await stopAccepting(listener);
      stopAtMs = readClockMs() + STOP_MS;
    }
    if (turnMs - tickMs < TURN_MS) continue;
    tickMs = turnMs;
    await hearSignals();
    endLate(turnMs);
    isAccepting = true; // if a socket could not be made, perhaps one can by now
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

function stop(): void {
  if (stopping) Deno.exit(1); // the second signal does not wait
  stopping = true;
}

if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  for (const signal of ["SIGINT", "SIGBREAK"] as const) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}
