/**
 * @title      ws-threads: a thread for each listener, and a lock for the message
 * @family     push
 * @question   What is left of thread-per-connection when one message concerns all connections?
 * @idea       Each thread blocks in recv(2) on its own client. The thread that has read a message sends it to all, while
 *             it holds a lock: no other thread wakes. A send never blocks: the buffer of a socket is its queue.
 * @prediction A delivery costs within 20 % of the CPU that it costs in ws-epoll, as it is the same send(2) from one thread:
 *             threads do not fail at the message but at their number. 1 000 listen; 10 000 would need over 50 GB.
 * @expect     broadcast(100).cpu_us_per_delivery < 1.2 * ws-epoll
 *             broadcast(1000).delivered_share >= 1
 * @compare    ws-epoll, thread-per-conn
 * @requires   linux 2.6.37, with glibc 2.34
 * @run        deno run --allow-ffi --allow-read ws-threads.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No extensions, no subprotocols; Origin and Host are not checked. Texts only, up to 65 535
 *             bytes; binary messages are refused with 1003. No pings: keepalive probes of the kernel find dead peers,
 *             but see no further than the next proxy. On SIGTERM a message that was not read yet is dropped.
 * @sources    RFC 6455 (WebSocket), RFC 9112 (HTTP/1.1); pthreads(7), signal(7), socket(7), tcp(7)
 */

// The life of a connection. Its state is the line of code at which its thread stands; in brackets stands the call that
// this line blocks in.
//
//  accept4 ─► new Worker ─► connected ──── 101 ───► open ─── it sends a message: to all that are open, under the lock
//             [5 to 40 ms]  [recv]                 [recv]
//                            │ 4xx, 5xx             │ Close, or an error: the answer is a Close
//                            ▼                      ▼
//                           lingering ◄─────────────┘
//                           [recv] ── 1 s, or the peer closes ─► closed
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// connected  has 10 s for its handshake.
// open       listens. From the first byte of a message or a frame on there is a deadline for the last. Whichever thread
//            has a message sends it to this socket: one that does not take all of it at once is reset.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.
//
// Frames of two threads do not mix in a socket: the kernel locks it for each send(2), and one that may not wait never
// lets go of that lock in between. The lock of this file is for the order, the same for all, and for the descriptors.

const EXPERIMENT = "ws-threads";
const IS_WORKER = import.meta.url.endsWith("?worker"); // import.meta.main is true in a Worker too
const { getSystemErrorName, parseArgs } = IS_WORKER ? ({} as never) : await import("node:util"); // 1.8 MiB a Worker

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_SNDBUF = 7, SO_KEEPALIVE = 9, SO_LINGER = 13, SO_RCVTIMEO = 20; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_PEEK = 2, MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, SHUT_WR = 1, SHUT_RDWR = 2; // <bits/socket.h>, <sys/socket.h>
const CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const SIGURG = 23; // <asm-generic/signal.h>
const EINTR = 4, EAGAIN = 11, EMFILE = 24; // <asm-generic/errno.h>
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }
const TIMEVAL_SECONDS = 0, TIMEVAL_MICROSECONDS = 2; // words of struct timeval { i64 tv_sec; i64 tv_usec; }

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_THREADS = 1900; // each maps some 34 areas of memory; beyond 65 530 (vm.max_map_count) Deno panics
const WORKER_DESCRIPTORS = 9, WORKER_THREADS = 2; // of a Worker and its connection; Deno panics where descriptors are missing
const SPARE = 4; // descriptors and threads that must be left besides
const TRIAL = 8; // Workers for which one trial finds threads; it costs 2 ms, and no connection pays them alone
const LAST_THREADS = 50; // connections that still get a thread after SIGTERM
const MAX_HEAD = 8192; // bytes of a handshake; a longer one is answered 431
const MAX_MESSAGE = 65_535; // bytes of a message, in one frame or in many: its length has 16 bits. No thread keeps more
const INBOX = 16384; // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
const MIN_MESSAGE = 256; // bytes of the first buffer for a message that is not whole; it doubles
const MAX_UNSENT = 208 * 1024; // bytes that a socket takes for a listener that does not read; beyond, it is reset
const TURN_MS = 50; // the longest stretch without a look at signals, so long accept4(2) may block
const PAUSE_MS = 50; // while descriptors or memory are missing
const PATIENCE_MS = 10_000; // from accept(2) to the end of a handshake, and from the first byte of a message to its last
const IDLE_MS = 86_400_000; // how long recv(2) blocks between two messages; without any bound it would not return at a signal
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
    Deno.statSync(new URL(import.meta.url)); // a Worker loads this file again: without --allow-read it could not
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
      dup2: { parameters: ["i32", "i32"], result: "i32" },
      gettid: { parameters: [], result: "i32" },
      tgkill: { parameters: ["i32", "i32", "i32"], result: "i32" },
      pthread_create: { parameters: ["buffer", "pointer", "pointer", "usize"], result: "i32" },
      pthread_join: { parameters: ["u64", "pointer"], result: "i32" },
      nap: { name: "usleep", type: "pointer" },
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

/** Bounds how long recv(2) or accept4(2) may block: then they fail with EAGAIN. A signal ends them with EINTR: signal(7). */
function setReceiveTimeout(fd: number, ms: number): void {
  timeval[TIMEVAL_SECONDS] = Math.trunc(ms / 1000);
  timeval[TIMEVAL_MICROSECONDS] = ms % 1000 * 1000;
  libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeval, 16); // fails for no socket
}

// Accepted sockets inherit all of these from the listener on Linux: one call here instead of one for each connection.
// With the last five the kernel ends connections whose peer is gone or takes nothing, at no cost in the threads.
const OPTIONS: [level: number, option: number, value: number, name: string][] = [
  [SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"],
  [IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"],
  [SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE"],
  [IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S, "TCP_KEEPIDLE"],
  [IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S, "TCP_KEEPINTVL"],
  [IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES, "TCP_KEEPCNT"],
  [SOL_SOCKET, SO_SNDBUF, MAX_UNSENT, "SO_SNDBUF"], // a bound: else it grows with the traffic
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
  // accept4 blocks this thread and with it Deno's event loop, where signal handlers run: so for TURN_MS at most.
  setReceiveTimeout(listener, TURN_MS);
  must(libc.bind(listener, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  must(libc.listen(listener, BACKLOG), `listen on ${host}:${port}`);
  must(libc.getsockname(listener, address, new Int32Array([16])), "read the bound port");
  return { listener, port: address[2]! << 8 | address[3]! };
}

// ---- Protocol: WebSocket (RFC 6455), and of HTTP/1.1 as much as its handshake needs ----------------------------------

const bytes = (text: string) => new TextEncoder().encode(text);
const SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
const UPGRADE = "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
const REFUSALS = new Map(
  [
    [400, "400 Bad Request\r\nConnection: close\r\n"],
    [404, "404 Not Found\r\nConnection: close\r\n"],
    [405, "405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n"],
    [408, "408 Request Timeout\r\nConnection: close\r\n"],
    [426, `426 Upgrade Required\r\n${UPGRADE}`],
    [431, "431 Request Header Fields Too Large\r\nConnection: close\r\n"],
    [503, "503 Service Unavailable\r\nConnection: close\r\n"],
    [505, "505 HTTP Version Not Supported\r\nConnection: close\r\n"],
  ].map(([status, fields]) => [status as number, bytes(`HTTP/1.1 ${fields}Content-Length: 0\r\n\r\n`)]),
);

const TAB = 9, LF = 10, CR = 13, SPACE = 32;
const TOKEN = "!#$%&'*+.^_`|~0-9A-Za-z-"; // the characters of a method or a field name (RFC 9110, section 5.6.2)
const REQUEST_LINE = new RegExp(`^([${TOKEN}]+) ([!-~]+) HTTP/(\\d)\\.(\\d)$`);
const FIELD = new RegExp(`^([${TOKEN}]+):([\\t -~\\x80-\\xff]*)$`);
const TARGET = /^(http:\/\/[^/?]+)?([^?]*)/i; // absolute-form or origin-form; a query is ignored
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/; // 16 bytes in base64: of the last character only two bits are used
const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, section 1.3
const INCOMPLETE = 0; // no head and no frame ends at 0

/** What `parseHandshake` found: 101 with the key of the client, or the status of the refusal. */
const handshake = { status: 101, key: "" };

/**
 * Parses the head at the start of the input and fills `handshake`. Returns the bytes of the head, INCOMPLETE as long as its
 * end has not come. `scanned`: how many of its bytes are known to hold no end.
 */
function parseHandshake(input: Uint8Array, length: number, scanned: number): number {
  const end = blankLineEnd(input, Math.max(0, scanned - 3), length);
  if (end === 0 && length < MAX_HEAD) return INCOMPLETE;
  const isTooLong = end === 0 || end > MAX_HEAD;
  handshake.status = isTooLong ? 431 : statusOf(String.fromCharCode(...input.subarray(0, end)));
  return isTooLong ? length : end;
}

/** Returns the end of the first blank line, 0 if there is none. */
function blankLineEnd(input: Uint8Array, from: number, to: number): number {
  for (let at = from + 3; at < to; at++) {
    if (input[at] === LF && input[at - 1] === CR && input[at - 2] === LF && input[at - 3] === CR) return at + 1;
  }
  return 0;
}

/** The status to answer a head with. A handshake comes once in the life of a connection: so here strings are no cost. */
function statusOf(head: string): number {
  const [requestLine, ...lines] = head.replace(/^\r\n/, "").split("\r\n").slice(0, -2); // one empty line (RFC 9112, 2.2)
  const [, method, target, major, minor] = REQUEST_LINE.exec(requestLine ?? "") ?? [];
  const fields = parseFields(lines);
  if (method === undefined || fields === null) return 400;
  if (major !== "1") return 505;
  if (method !== "GET") return 405;
  const [, authority, path] = TARGET.exec(target!)!;
  if (path !== "/" && (path !== "" || authority === undefined)) return 404;
  if (!/^0*$/.test(fields.get("content-length") ?? "") || fields.has("transfer-encoding")) return 400; // a body
  const isUpgrade = hasItem(fields.get("connection"), "upgrade") && hasItem(fields.get("upgrade"), "websocket");
  if (!isUpgrade || minor === "0" || fields.get("sec-websocket-version") !== "13") return 426;
  handshake.key = fields.get("sec-websocket-key") ?? "";
  return KEY.test(handshake.key) ? 101 : 400;
}

/** The fields by name in small letters; null if a line is malformed. Of one that stands twice the values are a list. */
function parseFields(lines: readonly string[]): Map<string, string> | null {
  const fields = new Map<string, string>();
  for (const line of lines) {
    const [, name, text] = FIELD.exec(line) ?? [];
    if (name === undefined) return null;
    const key = name.toLowerCase(), known = fields.get(key), value = trim(text!);
    fields.set(key, known === undefined ? value : `${known}, ${value}`);
  }
  return fields;
}

/** Cuts off spaces and tabs, but no other white space: String.trim would. */
function trim(text: string): string {
  const isBlank = (at: number) => text.charCodeAt(at) === SPACE || text.charCodeAt(at) === TAB;
  let from = 0, to = text.length;
  while (from < to && isBlank(from)) from++;
  while (to > from && isBlank(to - 1)) to--;
  return text.slice(from, to);
}

/** Whether a list has the item, in any case. */
function hasItem(list: string | undefined, item: string): boolean {
  return list !== undefined && list.split(",").some((one) => trim(one).toLowerCase() === item);
}

/** The answer to a handshake: the digest shows that it was read by a WebSocket server, and not by another. */
function switching(key: string): Uint8Array<ArrayBuffer> {
  return bytes(`${SWITCHING}Sec-WebSocket-Accept: ${sha1(bytes(key + MAGIC)).toBase64()}\r\n\r\n`);
}

const ROUNDS = Int32Array.of(0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6); // FIPS 180-4, section 4.2.1
const schedule = new Int32Array(80);
const rotate = (word: number, by: number) => word << by | word >>> 32 - by;

/** SHA-1. It is no secret here, so what is known against it does not matter; crypto.subtle would be a promise. */
function sha1(message: Uint8Array): Uint8Array {
  const padded = new DataView(new ArrayBuffer(message.length + 72 >> 6 << 6)); // 0x80, zeros, 8 bytes of length
  new Uint8Array(padded.buffer).set(message);
  padded.setUint8(message.length, 0x80);
  padded.setUint32(padded.byteLength - 4, message.length * 8);
  const hash = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  for (let at = 0; at < padded.byteLength; at += 64) hashBlock(hash, padded, at);
  const digest = new DataView(new ArrayBuffer(20));
  for (let i = 0; i < 5; i++) digest.setInt32(4 * i, hash[i]!);
  return new Uint8Array(digest.buffer);
}

function hashBlock(hash: Int32Array, block: DataView, from: number): void {
  for (let i = 0; i < 16; i++) schedule[i] = block.getInt32(from + 4 * i);
  for (let i = 16; i < 80; i++) {
    schedule[i] = rotate(schedule[i - 3]! ^ schedule[i - 8]! ^ schedule[i - 14]! ^ schedule[i - 16]!, 1);
  }
  let a = hash[0]!, b = hash[1]!, c = hash[2]!, d = hash[3]!, e = hash[4]!;
  for (let i = 0; i < 80; i++) {
    const round = Math.trunc(i / 20);
    const mixed = round === 0 ? b & c | ~b & d : round === 2 ? b & c | b & d | c & d : b ^ c ^ d;
    const next = rotate(a, 5) + mixed + e + ROUNDS[round]! + schedule[i]! | 0;
    e = d;
    d = c;
    c = rotate(b, 30);
    b = a;
    a = next;
  }
  hash[0]! += a;
  hash[1]! += b;
  hash[2]! += c;
  hash[3]! += d;
  hash[4]! += e;
}

// A frame: FIN, three reserved bits and the opcode; whether it is masked, and 7 bits of length; the length in 16 bits
// behind 126, in 64 bits behind 127; four bytes of mask, from clients only; the payload.
const CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;
const FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, LENGTH_16 = 126, LENGTH_64 = 127;
const MAX_CONTROL = 125; // bytes of the payload of a control frame
const MAX_HEADER = 4; // bytes of the header of a frame to a client: no mask, and no length over 16 bits
const GOING_AWAY = 1001,
  PROTOCOL_ERROR = 1002,
  UNSUPPORTED = 1003,
  INVALID_TEXT = 1007,
  TOO_SLOW = 1008,
  TOO_BIG = 1009;

/** What `parseFrame` found. Where `error` is not 0, the connection is closed with that code. */
const frame = { opcode: TEXT, isFinal: true, length: 0, mask: new Uint8Array(4), error: 0 };

/** Parses the header of a frame of a client and fills `frame`. Returns its bytes, INCOMPLETE as long as some are missing. */
function parseFrame(input: Uint8Array, from: number, to: number): number {
  if (to - from < 2) return INCOMPLETE;
  const first = input[from]!, second = input[from + 1]!;
  frame.opcode = first & OPCODE;
  frame.isFinal = (first & FIN) !== 0;
  frame.length = second & LENGTH;
  const isControl = frame.opcode >= CLOSE;
  const isKnown = frame.opcode <= BINARY || (isControl && frame.opcode <= PONG);
  const isWrong = (first & RESERVED) !== 0 || !isKnown || (second & MASKED) === 0 ||
    (isControl && (!frame.isFinal || frame.length > MAX_CONTROL));
  frame.error = isWrong ? PROTOCOL_ERROR : 0;
  if (isWrong) return 2;
  const mask = from + 2 + (frame.length === LENGTH_16 ? 2 : frame.length === LENGTH_64 ? 8 : 0);
  if (to < mask + 4) return INCOMPLETE;
  if (frame.length >= LENGTH_16) parseLength(input, from + 2);
  for (let i = 0; i < 4; i++) frame.mask[i] = input[mask + i]!;
  return mask + 4 - from;
}

/** Parses a length of 16 or of 64 bits. It must be the shortest form, and no more than a message may have. */
function parseLength(input: Uint8Array, at: number): void {
  const isShort = frame.length === LENGTH_16;
  let length = 0;
  for (let i = 0; i < (isShort ? 2 : 8); i++) length = length * 256 + input[at + i]!;
  const isWrong = isShort ? length < LENGTH_16 : length < 2 ** 16 || length >= 2 ** 63;
  frame.length = length;
  frame.error = isWrong ? PROTOCOL_ERROR : length > MAX_MESSAGE ? TOO_BIG : 0;
}

/** Takes the mask off in place. `phase`: how many bytes of the payload came before. */
function unmask(input: Uint8Array, from: number, to: number, mask: Uint8Array, phase: number): void {
  for (let at = from; at < to; at++) input[at]! ^= mask[phase + at - from & 3]!;
}

const WHOLE = 0, INVALID = -1; // states of a text, besides those in the middle of a character

/**
 * Checks that bytes go on with UTF-8: no overlong form, no surrogate, nothing over U+10FFFF. Returns the state behind them:
 * WHOLE, INVALID, or how many bytes of a character are missing, with the bounds of the next one above.
 */
function checkUtf8(input: Uint8Array, from: number, to: number, state: number): number {
  let missing = state & 3, low = state >> 8 & 255, high = state >> 16;
  for (let at = from; at < to; at++) {
    const byte = input[at]!;
    if (missing > 0) {
      if (byte < low || byte > high) return INVALID;
      missing--;
    } else if (byte < 0x80) continue;
    else if (byte < 0xc2 || byte > 0xf4) return INVALID;
    else missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    low = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
    high = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
  }
  return missing === 0 ? WHOLE : missing | low << 8 | high << 16;
}

/** Writes the header of a frame of a server. Returns its bytes. */
function putHeader(output: Uint8Array, opcode: number, length: number): number {
  output[0] = FIN | opcode;
  output[1] = Math.min(length, LENGTH_16);
  if (length < LENGTH_16) return 2;
  output[2] = length >> 8;
  output[3] = length & 255;
  return 4;
}

/** A frame of a server. */
function frameOf(opcode: number, payload: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(MAX_HEADER + payload.length);
  const header = putHeader(whole, opcode, payload.length);
  whole.set(payload, header);
  return whole.subarray(0, header + payload.length);
}

/** Says why a connection ends; 0: the peer has not said why either. */
function closeFrame(code: number): Uint8Array<ArrayBuffer> {
  return frameOf(CLOSE, code === 0 ? [] : [code >> 8, code & 255]);
}

/** Whether an endpoint may send the code: 1004, 1005, 1006 and 1015 never stand in a frame, others are not given out yet. */
function isCloseCode(code: number): boolean {
  return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);
}

/** The code to answer the payload of a Close frame with. */
function answerToClose(payload: Uint8Array): number {
  if (payload.length === 0) return 0;
  const code = payload.length === 1 ? 0 : payload[0]! << 8 | payload[1]!;
  if (!isCloseCode(code)) return PROTOCOL_ERROR;
  return checkUtf8(payload, 2, payload.length, WHOLE) === WHOLE ? code : INVALID_TEXT;
}

// ---- Connection: a thread, with the inbox of its isolate: what is global here belongs to one connection --------------

const inbox = new Uint8Array(INBOX + 1);
let isOpen = false; // the handshake is done
let dueMs = Infinity; // when a handshake, or what has begun to come, must be whole
/** A message of which bytes are missing. They are taken as they come, so none is looked at twice. */
const message = {
  isBegun: false,
  bytes: new Uint8Array(0),
  /** How many of `bytes` are text. */
  length: 0,
  /** What `checkUtf8` said of them. */
  utf8: WHOLE,
  /** How many bytes of the frame that has begun are missing. */
  missing: 0,
  /** Whether that frame is the last. */
  isFinal: false,
  mask: new Uint8Array(4),
  /** How many bytes of that frame have come. */
  phase: 0,
};

// What all threads share, by word: whether the server stops; then counts of two words each, by errno, status, code of a
// Close and by the keys below; the lock; the ids of the threads (0: none, LOADING: one that has not started yet); and
// the descriptors of those that are open, by the same place (0: none).
const STOPPING = 0, LOADING = -1; // of key 0 there is no count
const DROPPED = 1100, ACCEPTED = 1101, CLOSED = 1102, SERVED = 1103, DELIVERED = 1104; // above every code
const BYTES_IN = 1105, BYTES_OUT = 1106, KEYS = 1107;
const LOCK = 2 * KEYS, THREADS = LOCK + 1, LISTENERS = THREADS + MAX_THREADS;
let shared = new Int32Array(new SharedArrayBuffer(4 * (LISTENERS + MAX_THREADS)));

const isStopping = () => Atomics.load(shared, STOPPING) !== 0;

/** Adds to a count. Its low word wraps around; whoever sees that carries into the high one. */
function count(key: number, amount = 1): void {
  const before = Atomics.add(shared, 2 * key, amount) >>> 0;
  if (before + amount >= 2 ** 32) Atomics.add(shared, 2 * key + 1, 1);
}

function readCount(key: number): number {
  return Atomics.load(shared, 2 * key + 1) * 2 ** 32 + (Atomics.load(shared, 2 * key) >>> 0);
}

/** All counts, as they are shown. */
function readCounts() {
  const errors: Record<string, number> = {};
  for (let key = 1; key < ACCEPTED; key++) {
    const times = readCount(key);
    if (times > 0) errors[key === DROPPED ? "MAX_UNSENT" : key < 200 ? getSystemErrorName(-key) : key] = times;
  }
  return {
    accepted: readCount(ACCEPTED),
    served: readCount(SERVED),
    delivered: readCount(DELIVERED),
    bytes_in: readCount(BYTES_IN),
    bytes_out: readCount(BYTES_OUT),
    errors,
  };
}

const LAST = -1, BROKEN = -2; // what is returned in place of a number of bytes: the connection ends

/** Serves one connection until it ends. `slot`: its place among the threads. */
function converse(fd: number, slot: number): void {
  let length = 0; // of a handshake or a frame that is not whole
  dueMs = readClockMs() + PATIENCE_MS;
  for (;;) {
    if (isOpen && isStopping()) return void (end(fd, slot, GOING_AWAY) === LAST && linger(fd));
    const leftMs = Math.min(dueMs - readClockMs(), IDLE_MS);
    if (leftMs > 0) setReceiveTimeout(fd, leftMs);
    const isIdle = length === 0 && isStopping(); // then only what has come already is served
    const taken = libc.recv(fd, inbox.subarray(length), INBOX - length, isIdle || leftMs <= 0 ? MSG_DONTWAIT : 0);
    if (taken === 0) return; // without a Close: whatever was left is lost anyhow
    if (taken < 0) {
      if (errno[0] !== EAGAIN && errno[0] !== EINTR) return count(errno[0]!);
      if (isIdle) return;
      if (leftMs <= 0) return endLate(fd, slot);
      continue;
    }
    count(BYTES_IN, taken);
    length = take(fd, slot, length + taken, length);
    if (length === BROKEN) return;
    if (length === LAST) return linger(fd);
    const isWaiting = length > 0 || message.isBegun;
    if (isWaiting && dueMs === Infinity) dueMs = readClockMs() + PATIENCE_MS;
  }
}

/** Takes the handshake and all whole frames. Returns the bytes left over, moved to the start, or LAST, or BROKEN. */
function take(fd: number, slot: number, length: number, scanned: number): number {
  let at = 0;
  if (!isOpen) {
    at = shakeHands(fd, slot, length, scanned);
    if (at < 0) return at;
    if (at === INCOMPLETE) return length;
  }
  while (at < length && !isStopping()) {
    const used = takeFrame(fd, slot, at, length);
    if (used < 0) return used;
    if (used === INCOMPLETE) break;
    at += used;
  }
  if (at > 0 && at < length) inbox.copyWithin(0, at, length);
  return length - at;
}

/** Answers a handshake. Returns the bytes of its head, or INCOMPLETE, LAST, BROKEN. */
function shakeHands(fd: number, slot: number, length: number, scanned: number): number {
  const head = parseHandshake(inbox, length, scanned);
  if (head === INCOMPLETE) return INCOMPLETE;
  if (handshake.status === 101 && isStopping()) handshake.status = 503;
  if (handshake.status !== 101) return refuse(fd, handshake.status);
  lock(); // or a message between the two would pass by a client that knows it is open
  isOpen = send(fd, switching(handshake.key));
  shared[LISTENERS + slot] = isOpen ? fd : 0;
  unlock();
  dueMs = Infinity;
  return isOpen ? head : BROKEN;
}

function refuse(fd: number, status: number): number {
  count(status);
  return send(fd, REFUSALS.get(status)!) ? LAST : BROKEN;
}

/** Ends a WebSocket with a Close frame. */
function end(fd: number, slot: number, code: number): number {
  stopListening(slot); // no message comes behind the Close
  return send(fd, closeFrame(code)) ? LAST : BROKEN;
}

/** Ends it because of what the peer has done. */
function fail(fd: number, slot: number, code: number): number {
  count(code);
  return end(fd, slot, code);
}

/** Ends it because of what the peer has not done in time. */
function endLate(fd: number, slot: number): void {
  const left = isOpen ? fail(fd, slot, TOO_SLOW) : refuse(fd, 408);
  if (left === LAST) linger(fd);
}

/** Takes a frame, or as much of its payload as is there. Returns the bytes taken, or INCOMPLETE, LAST, BROKEN. */
function takeFrame(fd: number, slot: number, at: number, to: number): number {
  if (message.missing > 0) return takePayload(fd, slot, at, to);
  const header = parseFrame(inbox, at, to);
  if (header === INCOMPLETE) return INCOMPLETE;
  if (frame.error !== 0) return fail(fd, slot, frame.error);
  const payload = at + header, behind = payload + frame.length;
  if (frame.opcode >= CLOSE) {
    if (behind > to) return INCOMPLETE;
    const left = takeControl(fd, slot, payload, behind);
    return left < 0 ? left : behind - at;
  }
  if ((frame.opcode === CONTINUATION) !== message.isBegun) return fail(fd, slot, PROTOCOL_ERROR);
  if (frame.opcode === BINARY) return fail(fd, slot, UNSUPPORTED);
  if (!message.isBegun && frame.isFinal && behind <= to) { // the usual case: nothing is missing, nothing kept
    unmask(inbox, payload, behind, frame.mask, 0);
    if (checkUtf8(inbox, payload, behind, WHOLE) !== WHOLE) return fail(fd, slot, INVALID_TEXT);
    publish(inbox.subarray(payload, behind));
    return behind - at;
  }
  if (!message.isBegun) message.length = message.utf8 = 0;
  if (message.length + frame.length > MAX_MESSAGE) return fail(fd, slot, TOO_BIG);
  message.isBegun = true;
  message.missing = frame.length;
  message.isFinal = frame.isFinal;
  message.mask.set(frame.mask);
  message.phase = 0;
  const left = takePayload(fd, slot, payload, to);
  return left < 0 ? left : header + left;
}

/** Answers a control frame: it may stand between those of a message. Returns LAST or BROKEN if it ends the connection. */
function takeControl(fd: number, slot: number, from: number, to: number): number {
  unmask(inbox, from, to, frame.mask, 0);
  const payload = inbox.subarray(from, to);
  if (!message.isBegun) dueMs = Infinity;
  if (frame.opcode === PING) return send(fd, frameOf(PONG, payload)) ? 0 : BROKEN;
  if (frame.opcode !== CLOSE) return 0;
  const code = answerToClose(payload);
  return code === PROTOCOL_ERROR || code === INVALID_TEXT ? fail(fd, slot, code) : end(fd, slot, code);
}

/** Takes what has come of the payload of a frame. Returns its bytes, or LAST, BROKEN. */
function takePayload(fd: number, slot: number, from: number, to: number): number {
  const length = Math.min(message.missing, to - from), behind = from + length;
  unmask(inbox, from, behind, message.mask, message.phase);
  message.utf8 = checkUtf8(inbox, from, behind, message.utf8);
  if (message.utf8 === INVALID) return fail(fd, slot, INVALID_TEXT);
  makeRoom(message.length + length);
  message.bytes.set(inbox.subarray(from, behind), message.length);
  message.length += length;
  message.phase += length;
  message.missing -= length;
  if (message.missing > 0 || !message.isFinal) return length;
  if (message.utf8 !== WHOLE) return fail(fd, slot, INVALID_TEXT);
  publish(message.bytes.subarray(0, message.length));
  message.isBegun = false;
  return length;
}

/** Lets the buffer of the message grow. */
function makeRoom(length: number): void {
  let capacity = Math.max(message.bytes.length, MIN_MESSAGE);
  while (capacity < length) capacity *= 2;
  if (capacity === message.bytes.length) return;
  const grown = new Uint8Array(capacity);
  grown.set(message.bytes.subarray(0, message.length));
  message.bytes = grown;
}

/** Sends a frame of this thread to its own client. Returns false if the connection ends: its socket is full, or broken. */
function send(fd: number, bytes: Uint8Array<ArrayBuffer>): boolean {
  const sent = libc.send(fd, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) count(BYTES_OUT, sent);
  if (sent === bytes.length) return true;
  count(sent >= 0 || errno[0] === EAGAIN ? DROPPED : errno[0]!);
  return false;
}

/**
 * Ends this half once the last frame is in the socket. With input unread close(2) would send RST, and the peer might
 * lose the frame: so input is taken and thrown away until the peer closes too.
 */
function linger(fd: number): void {
  libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv(2) will report it
  const untilMs = readClockMs() + LINGER_MS;
  for (let leftMs = LINGER_MS; leftMs > 0; leftMs = untilMs - readClockMs()) {
    setReceiveTimeout(fd, leftMs);
    const taken = libc.recv(fd, inbox, INBOX, 0);
    if (taken === 0) return;
    if (taken > 0) count(BYTES_IN, taken);
    else if (errno[0] !== EAGAIN && errno[0] !== EINTR) return count(errno[0]!);
  }
}

/** Takes the lock. Its word is 0, or 1 while a thread has it; futex(2) is behind `wait` and `notify`. */
function lock(): void {
  while (Atomics.compareExchange(shared, LOCK, 0, 1) !== 0) Atomics.wait(shared, LOCK, 1);
}

function unlock(): void {
  Atomics.store(shared, LOCK, 0);
  Atomics.notify(shared, LOCK, 1);
}

/** From now on the connection gets no messages, and its descriptor may be closed. */
function stopListening(slot: number): void {
  lock();
  shared[LISTENERS + slot] = 0;
  unlock();
}

const AT_ONCE = Int32Array.of(1, 0); // struct linger { int on; int seconds; }

/** Has the thread of a connection wake and close it. close(2) then sends RST, and throws away what the socket holds. */
function reset(fd: number, isFull: boolean): void {
  if (isFull) count(DROPPED); // any other error its own thread will see
  libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, AT_ONCE, 8);
  libc.shutdown(fd, SHUT_RDWR); // fails only where the peer is gone
}

/**
 * Whether a connection has ended while it waited, by a reset or a close, without a byte before. The accept queue keeps it all
 * the same, and a thread for each of many that have gone would hold up whoever comes behind them.
 */
function hasLeft(fd: number): boolean {
  const taken = libc.recv(fd, inbox, 1, MSG_PEEK | MSG_DONTWAIT);
  if (taken >= 0) return taken === 0;
  const error = errno[0]!;
  if (error === EAGAIN || error === EINTR) return false;
  count(error);
  return true;
}

/** Ends a connection that gets no thread. */
function turnAway(fd: number): void {
  libc.close(fd);
  count(CLOSED);
}

let room = 0; // Workers that a trial has found threads for

/**
 * The errno for which there can be no Worker now, or 0. Descriptors are looked for before each Worker: their limit may fall at
 * any time, and Deno panics where one is missing. Where a thread is missing it throws: one trial for several is enough.
 */
function findRoom(): number {
  if (!hasDescriptors()) return EMFILE;
  if (room > 0) return 0;
  if (tryThreads(TRIAL) === 0) {
    room = TRIAL;
    return 0;
  }
  const error = tryThreads(1);
  if (error === 0) room = 1;
  return error;
}

/** Takes the descriptors of a Worker on trial, so that the limits of process and system are asked. */
function hasDescriptors(): boolean {
  const fds = Array.from(
    { length: WORKER_DESCRIPTORS + SPARE },
    () => libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
  );
  for (const fd of fds) if (fd >= 0) libc.close(fd);
  return !fds.includes(-1);
}

/** Takes threads on trial, so that the limits of user, control group and system are asked. */
function tryThreads(workers: number): number {
  const ids = new BigUint64Array(workers * WORKER_THREADS + SPARE);
  const errors = Array.from(ids, (_, i) => libc.pthread_create(ids.subarray(i), null, libc.nap, 1000n));
  for (const [i, error] of errors.entries()) if (error === 0) libc.pthread_join(ids[i]!, null);
  return Math.max(...errors);
}

// ---- The architecture: a thread for each connection, and a lock for what one of them has for all ----------------------

/** Sends a message to all. Under the lock no thread closes a descriptor that stands among them. */
function publish(text: Uint8Array): void {
  const frame = frameOf(TEXT, text);
  let delivered = 0;
  count(SERVED);
  lock();
  for (let slot = LISTENERS; slot < LISTENERS + MAX_THREADS; slot++) {
    const fd = shared[slot]!;
    if (fd === 0) continue;
    const sent = libc.send(fd, frame, frame.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent === frame.length) {
      delivered++;
      continue;
    }
    shared[slot] = 0;
    reset(fd, sent >= 0 || errno[0] === EAGAIN);
  }
  unlock();
  dueMs = Infinity;
  count(DELIVERED, delivered);
  count(BYTES_OUT, delivered * frame.length);
}

/** Runs a thread. It alone closes its descriptor: closed by another, the number might belong to a new connection. */
function runThread({ data }: MessageEvent<{ fd: number; slot: number; shared: typeof shared }>): void {
  shared = data.shared;
  Atomics.store(shared, data.slot, libc.gettid());
  converse(data.fd, data.slot - THREADS);
  stopListening(data.slot - THREADS);
  libc.close(data.fd); // a failure of close(2) leaves nothing that could be done
  count(CLOSED);
  Atomics.store(shared, data.slot, 0);
  close(); // of the Worker: its thread ends, and V8 keeps the pages of its isolate for the next one
}

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
}

/** Waits while descriptors or memory are missing, and hears signals. */
async function pause(): Promise<void> {
  libc.usleep(PAUSE_MS * 1000);
  await hearSignals();
}

/** Gives a connection its thread: at once, when there are descriptors for it, or never if there can be no more threads. */
async function startThread(fd: number): Promise<void> {
  while (shared.includes(LOADING, THREADS)) { // one Worker at a time: until it has started it takes what it needs
    libc.usleep(1000);
    await hearSignals();
  }
  if (hasLeft(fd)) return turnAway(fd);
  const slot = shared.indexOf(0, THREADS);
  let error = slot >= LISTENERS ? EAGAIN : findRoom();
  while (error === EMFILE && !isStopping()) { // other connections hold them, and this one waits
    count(EMFILE);
    await pause();
    error = findRoom();
  }
  if (error !== 0) {
    count(error);
    return turnAway(fd);
  }
  room--;
  shared[slot] = LOADING;
  // This stalls the main thread for 5 to 40 ms, under load for longer: meanwhile no connection is accepted.
  try {
    new Worker(`${import.meta.url}?worker`, { type: "module" }).postMessage({ fd, slot, shared });
  } catch { // the runtime says no more than that clone(2) failed: the room that was found is gone
    shared[slot] = room = 0;
    count(EAGAIN);
    turnAway(fd);
  }
}

const NETWORK_ERRORS = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH];
const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];

/** Accepts a connection and gives it a thread. */
async function acceptOne(listener: number): Promise<void> {
  const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
  if (fd >= 0) {
    count(ACCEPTED);
    await startThread(fd);
  } else if (errno[0] !== EAGAIN && !PASSING_ERRORS.includes(errno[0]!)) { // EMFILE, ENFILE, ENOBUFS, ENOMEM
    count(errno[0]!);
    await pause();
  }
}

/** Accepts what still waits, up to a bound, and ends the listening. */
function acceptLast(listener: number): number[] {
  const fds: number[] = [];
  setReceiveTimeout(listener, 1);
  while (fds.length < LAST_THREADS) {
    const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
    if (fd >= 0) {
      count(ACCEPTED);
      fds.push(fd);
    } else if (!PASSING_ERRORS.includes(errno[0]!)) break;
  }
  libc.close(listener); // resets those that wait beyond the bound
  return fds;
}

/** Serves until `isStopping`, then until all threads have ended or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  while (!isStopping()) {
    await acceptOne(listener);
    await hearSignals();
  }
  for (const fd of acceptLast(listener)) await startThread(fd);
  const ids = shared.subarray(THREADS, LISTENERS);
  const stopAtMs = readClockMs() + STOP_MS;
  while (ids.some((id) => id !== 0) && readClockMs() < stopAtMs) {
    // A signal makes a blocked recv(2) return EINTR and leaves the socket as it is: half a request can still be
    // completed (after shutdown(2) it could not). One that comes just before the call is lost: so they are sent again.
    for (const id of ids) if (id > 0) libc.tgkill(Deno.pid, id, SIGURG); // fails only where it has just ended
    libc.usleep(1000);
    await hearSignals();
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
  if (isStopping()) Deno.exit(1); // the second signal does not wait: blocked threads end too, 1 000 of them in a second
  Atomics.store(shared, STOPPING, 1);
}

/** Prints a line of counts. Where none can be written, as on a full disk, the server goes on, and counts that. */
function show(line: object): void {
  try {
    console.log(JSON.stringify(line));
  } catch (error) {
    const [, errno] = /os error (\d+)/.exec(String(error)) ?? [];
    if (errno === undefined) throw error;
    count(Number(errno));
  }
}

function showStats(): void {
  const counts = readCounts();
  show({ event: "stats", open: counts.accepted - readCount(CLOSED), ...counts });
}

if (IS_WORKER) addEventListener("message", (event) => runThread(event as MessageEvent));
else if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  // The kernel stops a thread that has to grow the table of descriptors, under load for seconds: so it grows now.
  libc.close(libc.dup2(listener, WORKER_DESCRIPTORS * MAX_THREADS)); // no harm if the limit is lower
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGUSR1", showStats);
  Deno.addSignalListener("SIGURG", () => {}); // ignored by default, and an ignored signal interrupts nothing
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: new WebSocket("ws://${options.host}:${port}/")`);
  await serve(listener);
  show({ event: "stopped", ...readCounts() });
  Deno.exit(0);
}
