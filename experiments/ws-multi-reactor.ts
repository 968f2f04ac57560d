/**
 * @title      ws-multi-reactor: a loop for each core, and a log of messages that all of them read
 * @family     push
 * @question   How does a message of one event loop reach the listeners of all others?
 * @idea       The loop that has read it frames it in a log in shared memory, and wakes the others by an eventfd. Each loop
 *             sends it to its own listeners from there: the bytes cross no queue, and no loop copies them.
 * @prediction Two loops reach the last of 10 000 listeners in 60 % of the time that ws-epoll needs, at no more than 115 % of
 *             its CPU per delivery: what is shared is touched once per message and not once per listener.
 * @expect     broadcast(10000).last_p50_us < 0.6 * ws-epoll
 *             broadcast(10000).cpu_us_per_delivery <= 1.15 * ws-epoll
 * @compare    ws-epoll, multi-reactor
 * @requires   linux 3.9
 * @workers    event loops, each in a thread of its own; as many as there are cores
 * @run        deno run --allow-ffi --allow-read ws-multi-reactor.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No extensions, no subprotocols; Origin and Host are not checked. Texts only, up to 65 535
 *             bytes; binary messages are refused with 1003. No pings: keepalive probes of the kernel find dead peers,
 *             but see no further than the next proxy. On SIGTERM a message that was not read yet is dropped.
 *             The loops stop one by one: listeners of a loop that has stopped miss what another loop still reads.
 * @sources    RFC 6455 (WebSocket), RFC 9112 (HTTP/1.1); eventfd(2), futex(2), socket(7), epoll(7)
 */

// The life of a connection, within one loop, is that of ws-epoll. The life of a message:
//
//  a loop reads and checks it ─► the lock ─► the log ─► the lock is free ─► eventfd of each loop that sleeps
//                                             │
//             ┌───────────────────────────────┼──────────────────────┐
//             ▼                               ▼                      ▼
//        cursor of loop 1                cursor of loop 2       cursor of loop N    each sends it to its own listeners
//
// The log is a ring. Its order is the order for all. Where a message would overwrite what a loop has not sent yet, the
// loop that has the message waits, sends meanwhile what it has to send itself, and reads no more clients.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "ws-multi-reactor";
const IS_WORKER = import.meta.url.endsWith("?worker"); // import.meta.main is true in a Worker too

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

// SOCK_NONBLOCK: a call that would wait fails with EAGAIN, so only epoll_wait waits for sockets.
const AF_INET = 2, SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_KEEPALIVE = 9, SO_LINGER = 13, SO_REUSEPORT = 15; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_NOSIGNAL = 0x4000, SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
const CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const EINTR = 4, EAGAIN = 11, EMFILE = 24; // <asm-generic/errno.h>
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
// Without EPOLLET level-triggered: reported by every epoll_wait for as long as it is true.
const EPOLLIN = 0x1, EPOLLOUT = 0x4; // readable, writable. <sys/epoll.h>
const EPOLL_CTL_ADD = 1, EPOLL_CTL_MOD = 3, EPOLL_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000, EFD_CLOEXEC = 0o2000000; // <sys/eventfd.h>
// struct epoll_event { u32 events; u64 data; } is packed to 12 bytes on x86-64 only; elsewhere data is aligned to 8.
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4, DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_FDS = 2 ** 20; // size of the tables by descriptor: as many as fs.nr_open lets a process have unless it was raised
const EVENTS = 1024; // events taken from the kernel in one call: enough to make the call's cost vanish
const MESSAGES = 64; // sent in a row to the listeners of a loop
const ACCEPTS = 64; // connections accepted in a row, so that a flood of new ones cannot starve the old ones
const ENDS = 1000; // connections ended in a row because their time is over
const FRAMES = 256; // of one connection in a row: each may be a ping, which takes a send(2)
const MAX_HEAD = 8192; // bytes of a handshake; a longer one is answered 431
const MAX_MESSAGE = 65_535; // bytes of a message, in one frame or in many: its length has 16 bits
const INBOX = 16384; // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of unsent frames tried at once; more than a frame has
const MAX_UNSENT = 256 * 1024, MAX_UNSENT_FRAMES = 1024; // of one listener, behind what its socket holds; beyond, it is reset
const LOG_BYTES = 4 * 2 ** 20; // of messages that not all loops have sent; a power of two
const NAP_MS = 1; // between two looks whether the log has room
const MIN_PARTIAL = 256; // bytes of the first buffer for what is not whole; it doubles
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all that is not whole, together; beyond, a connection is dropped
const WORKERS = /^[1-9]\d{0,2}$/; // loops; more of them than there are cores gain nothing
const LOOP_FDS = 11; // descriptors that a loop takes: a Worker 8, its listener, its epoll instance and its eventfd
const RESTART_MS = 100, MAX_RESTART_MS = 5000; // how long a loop that died stays away: doubled each time, up to this
const TURN_MS = 40; // the longest stretch without a look at what there is to do besides events
const PATIENCE_MS = 10_000; // from accept(2) to the end of a handshake, and from the first byte of a message to its last
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
      read: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      write: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      eventfd: { parameters: ["i32", "i32"], result: "i32" },
      epoll_create1: { parameters: ["i32"], result: "i32" },
      epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
      epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
      clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
      __errno_location: { parameters: [], result: "pointer" },
    }).symbols;
  } catch (error) {
    return unavailable(error instanceof Error ? error.message : String(error));
  }
}
const libc = openLibc();

/** errno of this thread, read in place: glibc hands out its address. */
const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));

/** Returns the result of a system call. If it failed: ends the process, or in a Worker the loop, with what was tried. */
function must(result: number, action: string, remedy = "see the manual page of the call"): number {
  if (result >= 0) return result;
  const sentence = `Cannot ${action}: ${getSystemErrorName(-errno[0]!)} (${errno[0]}), ${remedy}`;
  if (IS_WORKER) throw new Error(sentence);
  console.error(sentence);
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

function setOption(socket: number, level: number, option: number, value: number, name: string): void {
  must(libc.setsockopt(socket, level, option, new Int32Array([value]), 4), `set ${name}`);
}

/**
 * Creates a socket on the port, and returns it with the port that the kernel gave. The first one takes the port for us
 * alone: had it SO_REUSEPORT before bind(2), a second server of this user would silently get a share of the connections
 * instead of EADDRINUSE. Set behind it, the option lets the others join: ours, but also a stranger's that asks for it.
 */
function bindTo(host: string, port: number, isFirst: boolean): { socket: number; port: number } {
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  const socket = must(libc.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "create a socket");
  for (const [level, option, value, name] of OPTIONS) setOption(socket, level, option, value, name);
  if (!isFirst) setOption(socket, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
  must(libc.bind(socket, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  if (isFirst) setOption(socket, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
  must(libc.getsockname(socket, address, new Int32Array([16])), "read the bound port");
  return { socket, port: address[2]! << 8 | address[3]! };
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

// ---- Shared memory: a log of messages, and a few words -----------------------------------------------------------------

// `state`: whether the server stops, the bytes that all loops keep, which loop has the lock, where the log ends, and from
// FIRST_LOOP on whether each loop serves; then the cursor of each loop, and whether it was woken.
// `owners`: by descriptor, whose it is, for when a loop dies. `counts`: each loop has its own, which it alone writes and the
// main thread reads; on 64-bit processors no aligned number of 8 bytes is read half written.
const STOPPING = 0, KEPT_BYTES = 1, LOCK = 2, TAIL = 3, FIRST_LOOP = 4;
// Keys of `counts` besides errno, status and code of a Close, and above them.
const DROPPED = 1100, RESET = 1101, ACCEPTED = 1102, CLOSED_ALREADY = 1103, SERVED = 1104, DELIVERED = 1105;
const BYTES_IN = 1106, BYTES_OUT = 1107, KEPT = 1108, COUNTS = 1109;
const NOBODY = 0;
let state: Int32Array = new Int32Array(0), owners: Uint16Array = new Uint16Array(0);
let counts: Float64Array = new Float64Array(0);
let log = new Uint8Array(new SharedArrayBuffer(0)), logWords = new Int32Array(log.buffer);
let eventfds: number[] = []; // of all loops
let loop = NOBODY; // the word of this loop in `state`, and its name in `owners` and in the lock

const isStopping = () => Atomics.load(state, STOPPING) === 1;
const cursorOf = (loop: number) => loop + eventfds.length;
const wokenOf = (loop: number) => loop + 2 * eventfds.length;

function count(key: number, amount = 1): void {
  counts[key]! += amount;
}

/** Sets a word of the shared state, and wakes whoever waits for it. */
function set(word: number, value: number): void {
  Atomics.store(state, word, value);
  Atomics.notify(state, word);
}

/** Waits until a word of the shared state has that value. The thread hears signals and errors of Workers meanwhile. */
async function reaches(word: number, value: number): Promise<void> {
  let now = Atomics.load(state, word);
  while (now !== value) {
    await Atomics.waitAsync(state, word, now).value;
    now = Atomics.load(state, word);
  }
}

/** Closes what a loop has left behind, or its clients would wait for ever. Returns the number of connections. */
function closeOrphans(loop: number, counts: Float64Array): number {
  for (let fd = 0; fd < MAX_FDS; fd++) {
    if (owners[fd] !== loop) continue;
    owners[fd] = NOBODY;
    libc.close(fd);
  }
  if (Atomics.compareExchange(state, LOCK, loop, NOBODY) === loop) Atomics.notify(state, LOCK, 1);
  const connections = counts[ACCEPTED]! - counts[CLOSED_ALREADY]!;
  counts[CLOSED_ALREADY] = counts[ACCEPTED]!;
  Atomics.sub(state, KEPT_BYTES, counts[KEPT]!);
  counts[KEPT] = 0;
  return connections;
}

/** Takes the lock. Its word is the loop that has it; futex(2) is behind `wait` and `notify`. */
function lock(): void {
  let owner = Atomics.compareExchange(state, LOCK, NOBODY, loop);
  while (owner !== NOBODY) {
    Atomics.wait(state, LOCK, owner);
    owner = Atomics.compareExchange(state, LOCK, NOBODY, loop);
  }
}

function unlock(): void {
  Atomics.store(state, LOCK, NOBODY);
  Atomics.notify(state, LOCK, 1);
}

// An entry of the log: a word with the length of its frame, the frame, and up to the next word nothing. Positions count
// bytes and wrap around. Where an entry would not fit, SKIP stands, and it is at the start of the ring.
const SKIP = 0;
const entryBytes = (length: number) => 4 + length + 3 & ~3;

/** Puts a frame into the log. Returns false if a loop has not sent yet what stands in its place. */
function append(frame: Uint8Array): boolean {
  lock();
  const tail = state[TAIL]!, at = tail & LOG_BYTES - 1, size = entryBytes(frame.length);
  const skipped = at + size > LOG_BYTES ? LOG_BYTES - at : 0;
  const isFree = hasRoom(tail + skipped + size | 0);
  if (isFree) {
    const start = skipped > 0 ? 0 : at;
    if (skipped > 0) logWords[at >> 2] = SKIP;
    logWords[start >> 2] = frame.length;
    log.set(frame, start + 4);
    Atomics.store(state, TAIL, tail + skipped + size | 0); // behind it, so whoever sees the end sees the frame too
  }
  unlock();
  return isFree;
}

/** Whether no loop that serves is more than the ring behind. */
function hasRoom(end: number): boolean {
  for (let other = FIRST_LOOP; other < FIRST_LOOP + eventfds.length; other++) {
    if (Atomics.load(state, other) === 0) continue;
    if ((end - Atomics.load(state, cursorOf(other)) | 0) > LOG_BYTES) return false;
  }
  return true;
}

const ONE = new BigUint64Array([1n]), woken = new BigUint64Array(1);

/** Wakes all other loops, unless one is about to wake already. */
function wakeOthers(): void {
  for (const [i, eventfd] of eventfds.entries()) {
    const other = FIRST_LOOP + i;
    if (other === loop || Atomics.exchange(state, wokenOf(other), 1) === 1) continue;
    libc.write(eventfd, ONE, 8); // fails only where the count is at its end, and then it wakes too
  }
}

/** Takes back what has woken this loop, before it looks at the log: what comes behind will wake it again. */
function onWoken(): void {
  libc.read(eventfds[loop - FIRST_LOOP]!, woken, 8);
  Atomics.store(state, wokenOf(loop), 0);
}

// ---- Connection: a descriptor, a byte of state and, only while there are any, the bytes left over --------------------

/** The input of a handshake or a frame that is not whole, or of frames that wait for their turn. */
interface Partial {
  bytes: Uint8Array<ArrayBuffer>;
  /** How many of `bytes` are input. */
  length: number;
}

/** A message of which bytes are missing. They are taken as they come, so none is looked at twice. */
interface Message {
  bytes: Uint8Array<ArrayBuffer>;
  /** How many of `bytes` are text. */
  length: number;
  /** What `checkUtf8` said of them. */
  utf8: number;
  /** How many bytes of the frame that has begun are missing. */
  missing: number;
  /** Whether that frame is the last. */
  isFinal: boolean;
  mask: Uint8Array;
  /** How many bytes of that frame have come. */
  phase: number;
}

/** Frames that the socket did not take yet. */
interface Unsent {
  /** Those of messages are shared by all that wait for them. */
  frames: Uint8Array<ArrayBuffer>[];
  /** How many bytes of the first one the socket has taken. */
  taken: number;
  /** How many bytes it has still to take. */
  length: number;
  isLast: boolean;
}

const CLOSED = 0, CONNECTED = 1, OPEN = 2, CLOSING = 3, LINGERING = 4;
const states = new Uint8Array(MAX_FDS); // by descriptor
const inbox = new Uint8Array(INBOX + 1), outbox = new Uint8Array(OUTBOX); // shared: an idle connection owns no buffer
const listeners = new Set<number>(); // those that are open
// By descriptor. A Map keeps the order of insertion, so those whose time is over stand in front.
const partial = new Map<number, Partial>();
const messages = new Map<number, Message>();
const unsent = new Map<number, Unsent>();
const due = new Map<number, number>(); // when a handshake, or what has begun to come, must be whole
const carried = new Set<number>(); // those whose `partial` may hold whole frames: they are served next turn
const lingering = new Map<number, number>(); // when it is closed at the latest
// What this loop has read for all, as a frame that is not in the log yet.
const incoming = { bytes: new Uint8Array(MAX_HEADER + MAX_MESSAGE), length: 0 };
// The message of the log that goes to the listeners of this loop. Every queue of listeners is an end of the same stream of
// messages, so all of them together keep no more copies than the longest one.
const outgoing = { frame: log, copy: null as Unsent["frames"][0] | null };

const isMessage = (frame: Uint8Array) => frame[0] === (FIN | TEXT);

/** Takes bytes out of what is kept. */
function giveBack(length: number): void {
  Atomics.sub(state, KEPT_BYTES, length);
  count(KEPT, -length);
}

/** Gives memory back at once: garbage would wait for a collection, and MAX_KEPT_BYTES would be no bound. */
function release(bytes: Uint8Array<ArrayBuffer>): void {
  giveBack(bytes.length);
  bytes.buffer.transfer(0);
}

function forgetPartial(fd: number): void {
  const known = partial.get(fd);
  if (known !== undefined) release(known.bytes);
  partial.delete(fd);
}

function forgetMessage(fd: number): void {
  const known = messages.get(fd);
  if (known !== undefined) release(known.bytes);
  messages.delete(fd);
}

/** From now on nothing that comes is of interest, and no message is sent to it. */
function stopListening(fd: number, state: number): void {
  states[fd] = state;
  listeners.delete(fd);
  forgetPartial(fd);
  forgetMessage(fd);
  due.delete(fd);
  carried.delete(fd);
}

function closeConnection(fd: number): void {
  stopListening(fd, CLOSED);
  unsent.delete(fd);
  lingering.delete(fd);
  count(CLOSED_ALREADY);
  owners[fd] = NOBODY; // before close(2): afterwards another loop may get the number
  // It leaves the interest set by itself, as no dup(2) or fork(2) made a second descriptor of its socket.
  libc.close(fd); // a failure of close(2) leaves nothing that could be done
}

function dropConnection(fd: number, key = errno[0]!): void {
  count(key);
  closeConnection(fd);
}

const AT_ONCE = Int32Array.of(1, 0); // struct linger { int on; int seconds; }

/** Drops a listener that does not read. close(2) sends RST and throws away what the socket holds, which nobody will take. */
function resetConnection(fd: number): void {
  libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, AT_ONCE, 8);
  dropConnection(fd, RESET);
}

/** Makes room for bytes to keep. Beyond the bound the connection that needs them is dropped, and false returned. */
function reserve(fd: number, length: number): boolean {
  count(KEPT, length);
  if (Atomics.add(state, KEPT_BYTES, length) + length <= MAX_KEPT_BYTES) return true;
  giveBack(length);
  dropConnection(fd, DROPPED);
  return false;
}

/** Keeps the input from `from` on. Returns false if the connection was dropped. */
function keep(fd: number, from: number, to: number): boolean {
  const known = from === 0 ? partial.get(fd) : undefined; // the same head or frame has grown
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
  forgetPartial(fd);
  partial.set(fd, { bytes, length: to - from });
  return true;
}

/** Puts the kept input back into the inbox. Returns its length. */
function restore(fd: number): number {
  const { bytes, length } = partial.get(fd)!;
  inbox.set(bytes.subarray(0, length));
  return length;
}

/** Takes what has come. Returns true if `incoming` is a message for all; then nothing else has happened since. */
function onReadable(fd: number): boolean {
  const length = partial.size > 0 && partial.has(fd) ? restore(fd) : 0;
  const taken = libc.recv(fd, length === 0 ? inbox : inbox.subarray(length), INBOX - length, 0);
  if (taken > 0) {
    count(BYTES_IN, taken);
    return states[fd] !== LINGERING && take(fd, length + taken, length); // else thrown away
  }
  if (taken === 0) closeConnection(fd); // without a Close: whatever was left is lost anyhow
  else if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);
  return false;
}

/** Takes the handshake, or frames up to the first that completes a message; what is left of the inbox is kept. */
function take(fd: number, length: number, scanned: number): boolean {
  let at = 0, used = INCOMPLETE, frames = 0;
  incoming.length = 0;
  if (states[fd] === CONNECTED) at = used = shakeHands(fd, length, scanned);
  while (at < length && states[fd] === OPEN && frames++ < FRAMES) {
    used = takeFrame(fd, at, length);
    if (used === INCOMPLETE) break;
    at += used;
    if (incoming.length > 0 || (unsent.size > 0 && unsent.has(fd))) break;
  }
  if (states[fd] !== OPEN && states[fd] !== CONNECTED) return false; // it has ended, or is about to
  if (at < length) {
    const isTurnOver = used !== INCOMPLETE && !unsent.has(fd); // else it waits for the peer
    if (keep(fd, at, length) && isTurnOver) carried.add(fd);
  } else if (partial.size > 0) forgetPartial(fd);
  if (states[fd] === OPEN && (used === INCOMPLETE || messages.size > 0 && messages.has(fd))) expectMore(fd);
  return incoming.length > 0;
}

/** Starts the clock for the rest of what has begun to come, unless it runs. */
function expectMore(fd: number): void {
  if (!due.has(fd)) due.set(fd, readClockMs() + PATIENCE_MS);
}

/** Answers a handshake. Returns the bytes of its head. */
function shakeHands(fd: number, length: number, scanned: number): number {
  const head = parseHandshake(inbox, length, scanned);
  if (head === INCOMPLETE) return INCOMPLETE;
  if (handshake.status === 101 && isStopping()) handshake.status = 503;
  if (handshake.status !== 101) {
    refuse(fd, handshake.status);
    return length;
  }
  deliver(Infinity); // what came before is not for it
  states[fd] = OPEN;
  due.delete(fd);
  listeners.add(fd);
  const answer = switching(handshake.key);
  send(fd, answer, answer.length, false);
  return head;
}

function refuse(fd: number, status: number): void {
  count(status);
  stopListening(fd, CLOSING);
  const answer = REFUSALS.get(status)!;
  send(fd, answer, answer.length, true);
}

/** Ends a WebSocket with a Close frame. */
function end(fd: number, code: number): void {
  stopListening(fd, CLOSING);
  const frame = closeFrame(code);
  send(fd, frame, frame.length, true);
}

/** Ends it because of what the peer has done. Returns the bytes of the inbox: they are of no interest any more. */
function fail(fd: number, code: number): number {
  count(code);
  end(fd, code);
  return INBOX;
}

/** Takes a frame, or as much of its payload as is there. Returns the bytes taken, INCOMPLETE if its header is not whole. */
function takeFrame(fd: number, at: number, to: number): number {
  const message = messages.size > 0 ? messages.get(fd) : undefined;
  if (message !== undefined && message.missing > 0) return takePayload(fd, message, at, to);
  const header = parseFrame(inbox, at, to);
  if (header === INCOMPLETE) return INCOMPLETE;
  if (frame.error !== 0) return fail(fd, frame.error);
  const payload = at + header, behind = payload + frame.length;
  if (frame.opcode >= CLOSE) return behind > to ? INCOMPLETE : header + takeControl(fd, payload, behind);
  if ((frame.opcode === CONTINUATION) !== (message !== undefined)) return fail(fd, PROTOCOL_ERROR);
  if (frame.opcode === BINARY) return fail(fd, UNSUPPORTED);
  if (message === undefined && frame.isFinal && behind <= to) { // the usual case: nothing is missing, nothing kept
    unmask(inbox, payload, behind, frame.mask, 0);
    if (checkUtf8(inbox, payload, behind, WHOLE) !== WHOLE) return fail(fd, INVALID_TEXT);
    publish(fd, inbox.subarray(payload, behind));
    return header + frame.length;
  }
  const begun = message ?? beginMessage(fd);
  if (begun === null) return INBOX;
  if (begun.length + frame.length > MAX_MESSAGE) return fail(fd, TOO_BIG);
  begun.missing = frame.length;
  begun.isFinal = frame.isFinal;
  begun.mask.set(frame.mask);
  begun.phase = 0;
  return header + takePayload(fd, begun, payload, to);
}

/** Answers a control frame: it may stand between those of a message. Returns the bytes of its payload. */
function takeControl(fd: number, from: number, to: number): number {
  unmask(inbox, from, to, frame.mask, 0);
  const payload = inbox.subarray(from, to);
  if (!messages.has(fd)) due.delete(fd);
  if (frame.opcode === PING) {
    const pong = frameOf(PONG, payload);
    send(fd, pong, pong.length, false);
  } else if (frame.opcode === CLOSE) {
    const code = answerToClose(payload);
    if (code === PROTOCOL_ERROR || code === INVALID_TEXT) count(code);
    end(fd, code);
  }
  return to - from;
}

/** Returns null if the connection was dropped. */
function beginMessage(fd: number): Message | null {
  if (!reserve(fd, MIN_PARTIAL)) return null;
  const bytes = new Uint8Array(MIN_PARTIAL), mask = new Uint8Array(4);
  const message = { bytes, length: 0, utf8: WHOLE, missing: 0, isFinal: false, mask, phase: 0 };
  messages.set(fd, message);
  return message;
}

/** Takes what has come of the payload of a frame. Returns its bytes. */
function takePayload(fd: number, message: Message, from: number, to: number): number {
  const length = Math.min(message.missing, to - from), behind = from + length;
  unmask(inbox, from, behind, message.mask, message.phase);
  message.utf8 = checkUtf8(inbox, from, behind, message.utf8);
  if (message.utf8 === INVALID) return fail(fd, INVALID_TEXT);
  if (!makeRoom(fd, message, message.length + length)) return INBOX;
  message.bytes.set(inbox.subarray(from, behind), message.length);
  message.length += length;
  message.phase += length;
  message.missing -= length;
  if (message.missing > 0 || !message.isFinal) return length;
  if (message.utf8 !== WHOLE) return fail(fd, INVALID_TEXT);
  publish(fd, message.bytes.subarray(0, message.length));
  forgetMessage(fd);
  return length;
}

/** Lets the buffer of a message grow. Returns false if the connection was dropped. */
function makeRoom(fd: number, message: Message, length: number): boolean {
  let capacity = message.bytes.length;
  while (capacity < length) capacity *= 2;
  if (capacity === message.bytes.length) return true;
  if (!reserve(fd, capacity)) return false;
  const grown = new Uint8Array(capacity);
  grown.set(message.bytes.subarray(0, message.length));
  release(message.bytes);
  message.bytes = grown;
  return true;
}

/** Makes a message the one that goes to all. */
function publish(fd: number, text: Uint8Array): void {
  const header = putHeader(incoming.bytes, TEXT, text.length);
  incoming.bytes.set(text, header);
  incoming.length = header + text.length;
  count(SERVED);
  if (due.size > 0) due.delete(fd);
}

/** Sends a frame, or puts it behind others. What the socket does not take waits for EPOLLOUT; until then it is not read. */
function send(fd: number, bytes: Uint8Array, length: number, isLast: boolean): void {
  const waiting = unsent.size > 0 ? unsent.get(fd) : undefined;
  if (waiting !== undefined) return enqueue(fd, waiting, copyOf(bytes, length), isLast);
  const sent = libc.send(fd, bytes, length, MSG_NOSIGNAL);
  if (sent === length) {
    count(BYTES_OUT, sent);
    if (isMessage(bytes)) count(DELIVERED);
    if (isLast) linger(fd);
    return;
  }
  if (sent < 0 && errno[0] !== EAGAIN && errno[0] !== EINTR) return dropConnection(fd);
  const taken = Math.max(sent, 0);
  count(BYTES_OUT, taken);
  unsent.set(fd, { frames: [copyOf(bytes, length)], taken, length: length - taken, isLast });
  carried.delete(fd);
  // Only while something is unsent: an idle socket is always writable, and would end every wait at once.
  watch(EPOLL_CTL_MOD, fd, EPOLLOUT); // fails only for a descriptor that is not in the set
}

/** A frame to keep: of a message there is one copy for all listeners of this loop, as the log is a ring. */
function copyOf(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  if (bytes !== outgoing.frame) return bytes.slice(0, length);
  return outgoing.copy ??= bytes.slice(0, length);
}

function enqueue(fd: number, waiting: Unsent, frame: Uint8Array<ArrayBuffer>, isLast: boolean): void {
  const isFull = waiting.length + frame.length > MAX_UNSENT || waiting.frames.length === MAX_UNSENT_FRAMES;
  if (isFull && !isLast) return resetConnection(fd);
  waiting.frames.push(frame);
  waiting.length += frame.length;
  waiting.isLast = isLast;
}

/** Sends more of what waits. The kernel ends the connection if the peer takes nothing for USER_TIMEOUT_MS. */
function onWritable(fd: number): void {
  const waiting = unsent.get(fd)!;
  const { frames } = waiting;
  let length = 0;
  for (const frame of frames) {
    const rest = length === 0 ? frame.subarray(waiting.taken) : frame;
    if (length + rest.length > OUTBOX) break;
    outbox.set(rest, length);
    length += rest.length;
  }
  const sent = libc.send(fd, outbox, length, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);
    return;
  }
  count(BYTES_OUT, sent);
  waiting.length -= sent;
  waiting.taken += sent;
  while (frames.length > 0 && waiting.taken >= frames[0]!.length) {
    const whole = frames.shift()!;
    waiting.taken -= whole.length;
    if (isMessage(whole)) count(DELIVERED);
  }
  if (frames.length === 0) onAllSent(fd, waiting.isLast);
}

function onAllSent(fd: number, isLast: boolean): void {
  unsent.delete(fd);
  watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  if (isLast) return linger(fd);
  if (due.delete(fd)) expectMore(fd); // it was not read meanwhile, so its time starts now
  if (partial.has(fd)) carried.add(fd);
}

/**
 * Ends this half once the last frame is in the socket. With input unread close(2) would send RST, and the peer might
 * lose the frame: so input is taken and thrown away until the peer closes too.
 */
function linger(fd: number): void {
  states[fd] = LINGERING;
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
  for (const [fd, deadlineMs] of due) {
    if (deadlineMs > turnMs || ended++ >= ENDS) break;
    if (carried.has(fd) || unsent.has(fd)) continue; // it waits for this server, not for the peer
    if (states[fd] === CONNECTED) refuse(fd, 408);
    else fail(fd, TOO_SLOW);
  }
}

let epoll = -1;
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
    if (fd >= MAX_FDS) { // it would be lost if this loop died
      libc.close(fd);
      count(EMFILE);
      watch(EPOLL_CTL_MOD, listener, 0); // all lower numbers are taken, so the next would be closed too
      return;
    } else if (fd >= 0) {
      owners[fd] = loop;
      count(ACCEPTED);
      states[fd] = CONNECTED;
      due.set(fd, readClockMs() + PATIENCE_MS);
      if (watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0) dropConnection(fd); // ENOSPC, ENOMEM: this connection only
    } else if (errno[0] === EAGAIN) return; // none waits any more
    else if (!PASSING_ERRORS.includes(errno[0]!)) { // EMFILE, ENFILE, ENOBUFS, ENOMEM
      count(errno[0]!);
      watch(EPOLL_CTL_MOD, listener, 0); // it stays readable, so the loop would spin
      return;
    }
  }
}

// ---- The architecture: as many loops as cores, each with listeners of its own, and one log ------------------------------

/** Puts the message that was read into the log, and sends it: the client that it came from has it before what follows. */
function broadcast(): void {
  const frame = incoming.bytes.subarray(0, incoming.length);
  while (!append(frame)) {
    if (isStopping()) return; // other loops may have ended
    deliver(MESSAGES);
    Atomics.wait(state, STOPPING, 0, NAP_MS);
  }
  wakeOthers();
  deliver(Infinity);
}

/** Sends what is new in the log to the listeners of this loop, up to so many messages. Returns whether there is more. */
function deliver(most: number): boolean {
  const tail = Atomics.load(state, TAIL);
  let cursor = state[cursorOf(loop)]!;
  for (let i = 0; i < most && cursor !== tail && !isStopping(); i++) {
    const at = cursor & LOG_BYTES - 1, length = logWords[at >> 2]!;
    if (length !== SKIP) {
      outgoing.frame = log.subarray(at + 4, at + 4 + length);
      outgoing.copy = null;
      for (const fd of listeners) send(fd, outgoing.frame, length, false);
    }
    cursor = length === SKIP ? cursor + LOG_BYTES - at | 0 : cursor + entryBytes(length) | 0;
    Atomics.store(state, cursorOf(loop), cursor);
  }
  return cursor !== tail && !isStopping();
}

/** Serves each of the carried connections once; those that still have frames left are carried to the next turn. */
function serveCarried(): void {
  for (const fd of [...carried]) {
    if (!carried.delete(fd)) continue; // closed by a message that was sent to it
    if (take(fd, restore(fd), 0)) broadcast();
    if (isStopping()) return; // the rest is still carried
  }
}

/** Serves until `isStopping`, then until nothing is in flight any more or STOP_MS are over. */
function serve(listener: number): void {
  const eventfd = eventfds[loop - FIRST_LOOP]!;
  must(watch(EPOLL_CTL_ADD, listener, EPOLLIN), "watch the listener");
  must(watch(EPOLL_CTL_ADD, eventfd, EPOLLIN), "watch the eventfd");
  let hasMore = false, tickMs = readClockMs(), stopAtMs = Infinity;
  for (;;) {
    // epoll_wait blocks this thread, which looks at STOPPING and at deadlines in between: so it waits TURN_MS at most.
    const waitMs = hasMore || carried.size > 0 ? 0 : stopAtMs < Infinity ? QUIET_MS : TURN_MS;
    const ready = libc.epoll_wait(epoll, events, EVENTS, waitMs);
    if (ready < 0 && errno[0] !== EINTR) must(ready, "wait for events");
    const turnMs = readClockMs();
    for (let i = 0; i < ready; i++) {
      const fd = events[i * EVENT_WORDS + DATA_WORD]!;
      let hasMessage = false;
      // The mask of the event is not read: a descriptor in `unsent` waits for EPOLLOUT, any other for EPOLLIN. EPOLLERR
      // and EPOLLHUP are reported unasked, and recv(2) or send(2) says what it is.
      if (fd === listener) acceptSome(listener, ACCEPTS);
      else if (fd === eventfd) onWoken();
      else if (states[fd] === CLOSED) continue; // by a message of this turn
      else if (unsent.size > 0 && unsent.has(fd)) onWritable(fd);
      else if (carried.size === 0 || !carried.has(fd)) hasMessage = onReadable(fd);
      if (hasMessage) broadcast();
    }
    if (carried.size > 0) serveCarried();
    hasMore = deliver(MESSAGES);
    if (turnMs >= stopAtMs) return;
    if (ready === 0 && stopAtMs < Infinity && partial.size + unsent.size + lingering.size === 0) return;
    if (isStopping() && stopAtMs === Infinity) {
      acceptSome(listener, BACKLOG); // close(2) would reset those whose handshake is done
      owners[listener] = NOBODY;
      libc.close(listener);
      for (const fd of [...listeners]) end(fd, GOING_AWAY);
      stopAtMs = readClockMs() + STOP_MS;
    }
    if (turnMs - tickMs < TURN_MS) continue;
    tickMs = turnMs;
    endLate(turnMs);
    if (!isStopping()) watch(EPOLL_CTL_MOD, listener, EPOLLIN); // again, where there was no room
  }
}

/** What a loop gets from the main thread. Once it serves it hears no message and no signal any more. */
interface Start {
  loop: number;
  state: Int32Array;
  owners: Uint16Array;
  counts: Float64Array;
  log: typeof log;
  eventfds: number[];
  epoll: number;
  listener: number;
}

/** Runs a loop. */
function runLoop({ data }: MessageEvent<Start>): void {
  ({ loop, state, owners, counts, log, eventfds, epoll } = data);
  logWords = new Int32Array(log.buffer);
  lock(); // so that no message is put where this loop would not see it
  state[cursorOf(loop)] = state[TAIL]!;
  set(loop, 1);
  unlock();
  serve(data.listener);
  set(loop, 0);
  close(); // of the Worker
}

/** Whether loops would find their descriptors. A Worker that does not find them panics: so they are taken on trial. */
function hasDescriptors(loops: number): boolean {
  const trial = Array.from({ length: LOOP_FDS * loops }, () => libc.socket(AF_INET, SOCK_STREAM, 0));
  for (const fd of trial) if (fd >= 0) libc.close(fd);
  return !trial.includes(-1);
}

/**
 * Starts a loop, and a new one whenever it dies. What killed it may come again: so each time that waits longer. Its listener
 * and its interest set are made here: they belong to the process, and a loop that dies leaves them behind.
 */
function startLoop(loop: number, host: string, port: number, counts: Float64Array, waitMs = RESTART_MS): void {
  const startAgain = () =>
    setTimeout(startLoop, waitMs, loop, host, port, counts, Math.min(2 * waitMs, MAX_RESTART_MS));
  if (isStopping()) return;
  if (!hasDescriptors(1)) {
    console.error(`Loop ${loop - FIRST_LOOP + 1} waits for descriptors.`);
    startAgain();
    return;
  }
  const listener = bindTo(host, port, false).socket;
  must(libc.listen(listener, BACKLOG), `listen on ${host}:${port}`);
  const epoll = must(libc.epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
  owners[listener] = loop;
  owners[epoll] = loop;
  const worker = new Worker(`${import.meta.url}?worker`, { type: "module" });
  worker.postMessage({ loop, state, owners, counts, log, eventfds, epoll, listener } satisfies Start);
  worker.onerror = (event) => {
    event.preventDefault(); // or this process would end
    const orphans = closeOrphans(loop, counts);
    console.error(`Loop ${loop - FIRST_LOOP + 1} died with ${orphans} connections: ${event.message}`);
    set(loop, 0);
    startAgain();
  };
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: number; workers: number } {
  try {
    const text = (value: string) => ({ type: "string", default: value }) as const;
    const { values: { host, port, workers } } = parseArgs({
      args: Deno.args,
      options: { port: text("8080"), host: text("127.0.0.1"), workers: text(`${navigator.hardwareConcurrency}`) },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    if (!WORKERS.test(workers)) throw new Error(`--workers ${workers} is not a number of loops (1..999).`);
    return { host, port: Number(port), workers: Number(workers) };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS] [--workers N]`);
    Deno.exit(2);
  }
}

function stop(): void {
  if (isStopping()) Deno.exit(1); // the second signal does not wait
  set(STOPPING, 1);
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

/** The counts of all loops in sum. */
function sumOf(perLoop: Float64Array[]) {
  const sum = (key: number) => perLoop.reduce((sum, counts) => sum + counts[key]!, 0);
  const names = new Map([[DROPPED, "MAX_KEPT_BYTES"], [RESET, "MAX_UNSENT"]]);
  const errors: Record<string, number> = {};
  for (let key = 1; key <= RESET; key++) {
    const name = names.get(key) ?? (key < 200 ? getSystemErrorName(-key) : key);
    if (sum(key) > 0) errors[name] = sum(key);
  }
  return {
    open: sum(ACCEPTED) - sum(CLOSED_ALREADY),
    accepted: sum(ACCEPTED),
    served: sum(SERVED),
    delivered: sum(DELIVERED),
    bytes_in: sum(BYTES_IN),
    bytes_out: sum(BYTES_OUT),
    errors,
  };
}

if (IS_WORKER) addEventListener("message", (event) => runLoop(event as MessageEvent));
else if (import.meta.main) {
  const { host, port: wanted, workers } = readOptions();
  const { port } = bindTo(host, wanted, true); // this socket never listens: it keeps the port while loops come and go
  state = new Int32Array(new SharedArrayBuffer(4 * (FIRST_LOOP + 3 * workers)));
  log = new Uint8Array(new SharedArrayBuffer(LOG_BYTES));
  const newEventfd = () => must(libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "create an eventfd");
  eventfds = Array.from({ length: workers }, newEventfd);
  owners = new Uint16Array(new SharedArrayBuffer(2 * MAX_FDS));
  const perLoop = Array.from({ length: workers }, () => new Float64Array(new SharedArrayBuffer(8 * COUNTS)));
  counts = new Float64Array(COUNTS); // of this thread, which serves nobody
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGUSR1", () => show({ event: "stats", ...sumOf([...perLoop, counts]) }));
  if (!hasDescriptors(workers)) unavailable(`${workers} loops find too few descriptors, choose fewer --workers`);
  for (const [i, counts] of perLoop.entries()) {
    startLoop(FIRST_LOOP + i, host, port, counts);
    await reaches(FIRST_LOOP + i, 1); // one after the other, so that none takes what another one counts on
  }
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: new WebSocket("ws://${host}:${port}/")`);
  await reaches(STOPPING, 1);
  for (let i = 0; i < workers; i++) await reaches(FIRST_LOOP + i, 0);
  const { open: _, ...sums } = sumOf([...perLoop, counts]);
  const loops = perLoop.map((counts) => ({ accepted: counts[ACCEPTED], served: counts[SERVED] }));
  show({ event: "stopped", ...sums, loops });
  Deno.exit(0);
}
