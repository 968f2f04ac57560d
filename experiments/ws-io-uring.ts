/**
 * @title      ws-io-uring: one system call sends a message to all
 * @family     push
 * @question   What does a message to ten thousand clients cost, if one system call takes all sends of it?
 * @idea       A send for each listener is put into the ring, and one call submits all of them. A send that succeeds
 *             makes no completion: the kernel reports only the sockets that are full.
 * @prediction A delivery to 1 000 listeners costs under 85 % of the CPU that it costs in ws-epoll: it saves the way
 *             into the kernel and back, not the work of TCP.
 * @expect     broadcast(1000).cpu_us_per_delivery < 0.85 * ws-epoll
 *             broadcast(10000).delivered_share >= 1
 * @compare    ws-epoll, io-uring
 * @requires   linux 6.1, for DEFER_TASKRUN; multishot receive needs 6.0, multishot accept and buffer rings need 5.19
 * @run        deno run --allow-ffi ws-io-uring.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No extensions, no subprotocols; Origin and Host are not checked. Texts only, up to 65 535
 *             bytes; binary messages are refused with 1003. No pings: keepalive probes of the kernel find dead peers,
 *             but see no further than the next proxy. On SIGTERM a message that was not read yet is dropped.
 * @sources    RFC 6455 (WebSocket), RFC 9112 (HTTP/1.1); io_uring(7), io_uring_enter(2), tcp(7)
 */

// The life of a connection. Idle, it is a descriptor, a few bytes by descriptor, and a receive that the kernel holds; in
// brackets stands the table that holds what it has left over in a state.
//
//                                  ┌───────────── the socket has taken all ◄────────────────┐
//                                  ▼                                                        │
//  accept ──► connected ── 101 ─► open ─── it sends a message: to all that are open ─► [unsent] polled, then sent again
//             [partial, due]      [partial, message, due]                                   │
//              │                   │                                     more than MAX_UNSENT: reset
//              │ 4xx, 5xx          │ Close, or an error: the answer is a Close
//              ▼                   ▼
//             closing ── all is sent ─► lingering ── 1 s, or the peer closes ─► closed
//             [unsent]                  [lingering]
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// connected  has 10 s for its handshake.
// open       listens. From the first byte of a message or a frame on there is a deadline for the last.
// unsent     gets every message into a queue; what it sends itself is kept, up to a bound. A client that does not read is
//            reset, since a Close would not reach it behind all that. The kernel ends one that takes nothing for 30 s.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.
//
// A send here never waits (MSG_DONTWAIT), so it is over when the call that has submitted it returns. Until then its frame
// must stay where it is, and no second one may go to the same socket: if the first failed, the second would overtake it.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "ws-io-uring";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_KEEPALIVE = 9, SO_LINGER = 13; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_DONTWAIT = 0x40, MSG_WAITALL = 0x100, MSG_NOSIGNAL = 0x4000, SHUT_WR = 1, SHUT_RDWR = 2; // <bits/socket.h>, <sys/socket.h>
const CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const RLIMIT_MEMLOCK = 8, RLIM_INFINITY = -1n; // <sys/resource.h>
const PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_PRIVATE_ANONYMOUS = 0x22, MAP_FAILED = 2 ** 64; // <sys/mman.h>
const EPERM = 1, EINTR = 4, EAGAIN = 11, ENOMEM = 12, EBUSY = 16, EINVAL = 22; // <asm-generic/errno.h>
const ENOSYS = 38, ETIME = 62, ENOBUFS = 105, ECANCELED = 125;
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }

const SYS_IO_URING_SETUP = 425, SYS_IO_URING_ENTER = 426, SYS_IO_URING_REGISTER = 427; // <asm-generic/unistd.h>
// <linux/io_uring.h>, from here to the end. The flags of setup: completions queue as long as is said; one thread submits
// (6.0), and what makes completions runs only when that thread asks for them (6.1), not whenever a packet comes.
const IORING_SETUP_CQSIZE = 1 << 3, IORING_SETUP_SINGLE_ISSUER = 1 << 12, IORING_SETUP_DEFER_TASKRUN = 1 << 13;
const IORING_ENTER_GETEVENTS = 1 << 0, IORING_ENTER_EXT_ARG = 1 << 3, IORING_ENTER_REGISTERED_RING = 1 << 4;
const IORING_REGISTER_RING_FDS = 20, IORING_REGISTER_PBUF_RING = 22;
const IORING_OFF_SQ_RING = 0n, IORING_OFF_SQES = 0x10000000n; // what to map of a ring: both queues, the submissions
const IORING_FEAT_MIN_TIMEOUT = 1 << 15; // 6.12: a call may wait a little for several completions
const IOU_PBUF_RING_INC = 2; // 6.12 too: a buffer is filled piece by piece, by one receive after the other
const IORING_OP_NOP = 0, IORING_OP_POLL_ADD = 6, POLLOUT = 4, IORING_OP_ACCEPT = 13, IORING_OP_ASYNC_CANCEL = 14;
const IORING_OP_SEND = 26, IORING_OP_RECV = 27, IORING_ACCEPT_MULTISHOT = 1 << 0, IORING_RECV_MULTISHOT = 1 << 1;
const IOSQE_BUFFER_SELECT = 1 << 5, IOSQE_CQE_SKIP_SUCCESS = 1 << 6; // with the last only a failure completes
const IORING_SQ_CQ_OVERFLOW = 1 << 1; // completions wait outside of a full queue
// Flags of a completion: a buffer's number stands above them, a multishot goes on, a buffer gets more pieces.
const IORING_CQE_BUFFER_SHIFT = 16, IORING_CQE_F_MORE = 1 << 1, IORING_CQE_F_BUF_MORE = 1 << 4;

// Words (of 4 bytes) of struct io_uring_params, of which sq_off is at 10 and cq_off at 20.
const PARAMS_WORDS = 30, PARAMS_CQ_ENTRIES = 1, PARAMS_FLAGS = 2, PARAMS_FEATURES = 5;
const SQ_OFF_HEAD = 10,
  SQ_OFF_TAIL = 11,
  SQ_OFF_FLAGS = 14,
  SQ_OFF_ARRAY = 16,
  CQ_OFF_HEAD = 20,
  CQ_OFF_TAIL = 21,
  CQ_OFF_CQES = 25;
// struct io_uring_sqe: an operation (u8), its flags (u8) and its ioprio (u16) share the first word.
const SQE_WORDS = 16, SQE_OPERATION = 0, SQE_FD = 1, SQE_ADDRESS = 4, SQE_LENGTH = 6, SQE_OPERATION_FLAGS = 7;
const SQE_USER_DATA = 8, SQE_FLAGS_SHIFT = 8, SQE_IOPRIO_SHIFT = 16;
const CQE_WORDS = 4, CQE_USER_DATA = 0, CQE_RESULT = 2, CQE_FLAGS = 3; // struct io_uring_cqe
// struct io_uring_buf { u64 addr; u32 len; u16 bid; u16 resv; }. Of the first one resv is the tail of the buffer ring.
const BUF_WORDS = 4, BUF_ADDRESS = 0, BUF_LENGTH = 2, BUF_NUMBER_HALF = 6, BUF_RING_TAIL_HALF = 7;
// struct io_uring_getevents_arg { u64 sigmask; u32 sigmask_sz; u32 min_wait_usec; u64 ts; }
const WAIT_BYTES = 24n, WAIT_MIN_US = 3, WAIT_TIMESPEC = 4;

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const DESCRIPTORS = 2 ** 20; // size of the tables by descriptor; fs.nr_open allows as many
const SUBMISSIONS = 16384; // a power of two; once all are filled, they are submitted at once: 70 ms of sends at most
const COMPLETIONS = 65536; // a power of two; a full queue loses nothing, but ends multishots
// For all that is received (a power of two), and bytes of each. None free: ENOBUFS, and the receive is armed again. From
// 6.12 on they are filled piece by piece, so few of them serve many receives; before, each serves one.
const BUFFERS = 16, BUFFER = 65536, OLD_BUFFERS = 256, OLD_BUFFER = 4096;
const GAP = 64; // bytes from one to the next: at the same offset in a page they would share one set of a cache
const MAX_CARRIED = 16384; // bytes kept of a connection while it is sent to; then no more is received
// From 6.13 on one call runs so much of the work that makes completions, or as much as it is asked to wait for. So where
// a turn brought as many, the next one waits a little for as many again: otherwise there are more calls.
const USUAL_BATCH = 20, MAX_BATCH = 256, MIN_WAIT_US = 20;
const UNWATCHED = 16; // completions in a row without a look at the clock: each may have brought FRAMES frames
const ENDS = 256; // connections ended in a row because their time is over
const FRAMES = 256; // of one connection in a row: each may be a ping, which takes a send
const MAX_HEAD = 8192; // bytes of a handshake; a longer one is answered 431
const MAX_MESSAGE = 65_535; // bytes of a message, in one frame or in many: its length has 16 bits
const OUTBOX = 96 * 1024; // bytes of unsent frames tried at once; more than a frame has
const ARENA = 512 * 1024; // bytes of frames, but for messages, that are submitted at once
const MAX_UNSENT = 256 * 1024, MAX_UNSENT_FRAMES = 1024; // of one listener, behind what its socket holds; beyond, it is reset
const MIN_PARTIAL = 256; // bytes of the first buffer for what is not whole; it doubles
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all that is not whole, together; beyond, a connection is dropped
const TURN_MS = 40; // the longest stretch without a look at signals; a look costs about 90 µs
const PATIENCE_MS = 10_000; // from accept(2) to the end of a handshake, and from the first byte of a message to its last
const USER_TIMEOUT_MS = 30_000; // how long a peer may acknowledge nothing, or take nothing, until the kernel ends it
const KEEPALIVE_IDLE_S = 60, KEEPALIVE_INTERVAL_S = 10, KEEPALIVE_PROBES = 6; // probes of a peer that is silent
const LINGER_MS = 1000; // how long a peer may go on sending after the last answer is in the socket
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const QUIET_MS = 10; // without a completion, after SIGTERM, until nothing is taken to be in flight

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path, which costs 100 to 300 ns. The last
// argument of io_uring_enter lies on the stack, where an i32 would leave garbage above it: a pointer is 64 bits, and fast.
function openLibc() {
  if (Deno.build.os !== "linux") unavailable(`io_uring is a part of Linux, this is ${Deno.build.os}.`);
  try {
    return Deno.dlopen("libc.so.6", {
      socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
      setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
      bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
      listen: { parameters: ["i32", "i32"], result: "i32" },
      shutdown: { parameters: ["i32", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
      mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
      getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
      io_uring_setup: { name: "syscall", parameters: ["i32", "i32", "buffer"], result: "i32" },
      io_uring_register: { name: "syscall", parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
      io_uring_enter: {
        name: "syscall",
        parameters: ["i32", "i32", "i32", "i32", "i32", "pointer", "pointer"],
        result: "i32",
      },
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

/** Maps memory that stays in its place: the kernel uses it while JavaScript runs. A failure is an errno below 0. */
function map(length: number, fd: number, offset: bigint): { memory: ArrayBuffer; address: number } | null {
  const flags = fd < 0 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED;
  const pointer = libc.mmap(null, BigInt(length), PROT_READ_WRITE, flags, fd, offset)!;
  const address = Number(Deno.UnsafePointer.value(pointer));
  return address === MAP_FAILED ? null : { memory: Deno.UnsafePointerView.getArrayBuffer(pointer, length), address };
}

/** Creates the listening socket and returns it with the port that the kernel gave. */
function listenOn(host: string, port: number): { listener: number; port: number } {
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  const listener = must(libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "create a socket"); // it blocks: else EAGAIN
  for (const [level, option, value, name] of OPTIONS) {
    must(libc.setsockopt(listener, level, option, new Int32Array([value]), 4), `set ${name}`);
  }
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

// ---- Connection: a descriptor, two bytes of state and, only while there are any, the bytes left over -----------------

/** Input that waits for more, or for its turn. */
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
}

const RECEIVING = 1, CANCELLING = 2, POLLING = 4, RETRYING = 8; // the kernel has these in flight; none when it is closed
const CONTINUING = 16; // a completion will come that goes on with it
const UNREAD = 32; // `partial` may hold whole frames
const OPEN = 64; // the handshake is done
const LAST = 128; // a Close or a refusal is made: input is thrown away
const LINGERING = 256; // it is in the socket
const ENDED = 512; // no more input will come
const IN_FLIGHT = RECEIVING | CANCELLING | POLLING | RETRYING | CONTINUING;
const states = new Uint16Array(DESCRIPTORS), lastBatch = new Uint32Array(DESCRIPTORS); // by descriptor: see `sendQuickly`
const listeners = new Set<number>(); // those that are open
// By descriptor. A Map keeps the order of insertion, so those whose time is over stand in front.
const partial = new Map<number, Partial>();
const messages = new Map<number, Message>();
const unsent = new Map<number, Unsent>();
const due = new Map<number, number>(); // when a handshake, or what has begun to come, must be whole
const lingering = new Map<number, number>(); // when it is closed at the latest
const outgoing = { bytes: new Uint8Array(MAX_HEADER + MAX_MESSAGE), length: 0 }; // the message that goes to all, as a frame
const counts = {
  accepted: 0,
  served: 0,
  delivered: 0,
  bytes_in: 0,
  bytes_out: 0,
  errors: {} as Record<string, number>,
};
let open = 0; // connections
let isListening = true;
let keptBytes = 0; // of all buffers in `partial` and `messages`
let stopping = false, isPaused = false; // paused: the system had no room for more, so none is accepted for a while

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;
const isMessage = (frame: Uint8Array) => frame[0] === (FIN | TEXT);

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

function forgetMessage(fd: number): void {
  const known = messages.get(fd);
  if (known !== undefined) release(known.bytes);
  messages.delete(fd);
}

/** From now on nothing that comes is of interest, and no message is sent to it. */
function stopListening(fd: number): void {
  states[fd] = states[fd]! & ~UNREAD | LAST;
  listeners.delete(fd);
  if (partial.size > 0) forgetPartial(fd);
  if (messages.size > 0) forgetMessage(fd);
  if (due.size > 0) due.delete(fd);
}

/** Only when the kernel has nothing in flight: close(2) does not reach a socket in use. */
function closeConnection(fd: number): void {
  stopListening(fd);
  unsent.delete(fd);
  lingering.delete(fd);
  states[fd] = 0;
  open--;
  libc.close(fd); // a failure of close(2) leaves nothing that could be done
}

/** Has what is in flight complete, which leads to the close. */
function abandon(fd: number): void {
  stopListening(fd);
  unsent.delete(fd);
  states[fd]! |= LINGERING | ENDED;
  libc.shutdown(fd, SHUT_RDWR); // fails only where the peer is gone
  if ((states[fd]! & IN_FLIGHT) === 0) submitContinue(fd);
}

function dropConnection(fd: number, error: string): void {
  countError(error);
  abandon(fd);
}

const AT_ONCE = Int32Array.of(1, 0); // struct linger { int on; int seconds; }

/** Drops a listener that does not read. close(2) sends RST and throws away what the socket holds, which nobody will take. */
function resetConnection(fd: number): void {
  libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, AT_ONCE, 8);
  dropConnection(fd, "MAX_UNSENT");
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

/** Keeps input behind what is kept already. Returns null if the connection was dropped. */
function keep(fd: number, input: Uint8Array, from: number, to: number): Partial | null {
  const known = partial.get(fd);
  const length = known?.length ?? 0, needed = length + to - from;
  if (known !== undefined && needed <= known.bytes.length) {
    known.bytes.set(input.subarray(from, to), length);
    known.length = needed;
    return known;
  }
  let capacity = MIN_PARTIAL;
  while (capacity < needed) capacity *= 2;
  if (!reserve(fd, capacity)) return null;
  const bytes = new Uint8Array(capacity);
  if (known !== undefined) bytes.set(known.bytes.subarray(0, length));
  bytes.set(input.subarray(from, to), length);
  forgetPartial(fd);
  const kept = { bytes, length: needed };
  partial.set(fd, kept);
  return kept;
}

/** Keeps what is left of input, which may be what was kept. Returns false if the connection was dropped. */
function keepRest(fd: number, input: Uint8Array, from: number, to: number): boolean {
  const known = partial.size > 0 ? partial.get(fd) : undefined;
  if (known === undefined) return keep(fd, input, from, to) !== null;
  input.copyWithin(0, from, to);
  known.length = to - from;
  return true;
}

/** Takes what has come, or keeps it for later. Returns true if `outgoing` is a message to send to all. */
function take(fd: number, from: number, to: number): boolean {
  const isFull = unsent.size > 0 && unsent.has(fd);
  const mustWait = (states[fd]! & UNREAD) !== 0 || isFull || isHolding();
  if (!mustWait && (partial.size === 0 || !partial.has(fd))) return takeFrames(fd, memory, from, to, 0);
  const scanned = partial.get(fd)?.length ?? 0;
  const kept = keep(fd, memory, from, to);
  if (kept === null) return false;
  if (!mustWait) return takeFrames(fd, kept.bytes, 0, kept.length, scanned);
  states[fd]! |= UNREAD;
  if (!isFull && (states[fd]! & CONTINUING) === 0) submitContinue(fd);
  if (kept.length >= MAX_CARRIED && (states[fd]! & (RECEIVING | CANCELLING)) === RECEIVING) cancelReceive(fd);
  return false;
}

/** Takes the handshake, or frames up to the first that completes a message; what is left is kept. */
function takeFrames(fd: number, input: Uint8Array, from: number, to: number, scanned: number): boolean {
  let at = from, used = INCOMPLETE, frames = 0;
  outgoing.length = 0;
  if ((states[fd]! & OPEN) === 0) {
    used = shakeHands(fd, input.subarray(from), to - from, scanned);
    at += used;
  }
  while (at < to && (states[fd]! & (OPEN | LAST)) === OPEN && frames++ < FRAMES) {
    used = takeFrame(fd, input, at, to);
    if (used === INCOMPLETE) break;
    at += used;
    if (outgoing.length > 0 || (unsent.size > 0 && unsent.has(fd))) break;
  }
  if ((states[fd]! & LAST) !== 0) return false; // it has ended, or is about to
  if (at < to) {
    if (keepRest(fd, input, at, to) && used !== INCOMPLETE) states[fd]! |= UNREAD;
  } else if (partial.size > 0) forgetPartial(fd);
  if ((states[fd]! & OPEN) !== 0 && (used === INCOMPLETE || messages.size > 0 && messages.has(fd))) expectMore(fd);
  const mustContinue = (states[fd]! & UNREAD) !== 0 || (states[fd]! & RECEIVING) === 0;
  if (mustContinue && (states[fd]! & (CONTINUING | LAST)) === 0) submitContinue(fd);
  return outgoing.length > 0;
}

/** Starts the clock for the rest of what has begun to come, unless it runs. */
function expectMore(fd: number): void {
  if (!due.has(fd)) due.set(fd, readClockMs() + PATIENCE_MS);
}

/** Answers a handshake. Returns the bytes of its head. */
function shakeHands(fd: number, input: Uint8Array, length: number, scanned: number): number {
  const head = parseHandshake(input, length, scanned);
  if (head === INCOMPLETE) return INCOMPLETE;
  if (handshake.status === 101 && stopping) handshake.status = 503;
  if (handshake.status !== 101) {
    refuse(fd, handshake.status);
    return length;
  }
  states[fd]! |= OPEN;
  due.delete(fd);
  listeners.add(fd);
  send(fd, switching(handshake.key));
  return head;
}

/** Sends the last frame or answer of a connection. When it is in the socket, it lingers. */
function sendLast(fd: number, bytes: Uint8Array<ArrayBuffer>): void {
  stopListening(fd);
  send(fd, bytes);
  if ((states[fd]! & CONTINUING) === 0) submitContinue(fd);
}

function refuse(fd: number, status: number): void {
  countError(status);
  sendLast(fd, REFUSALS.get(status)!);
}

/** Ends a WebSocket with a Close frame. */
function end(fd: number, code: number): void {
  sendLast(fd, closeFrame(code));
}

/** Ends it because of what the peer has done. Returns more than any input has: it is of no interest any more. */
function fail(fd: number, code: number): number {
  countError(code);
  end(fd, code);
  return BUFFER;
}

/** Takes a frame, or as much of its payload as is there. Returns the bytes taken, INCOMPLETE if its header is not whole. */
function takeFrame(fd: number, input: Uint8Array, at: number, to: number): number {
  const message = messages.size > 0 ? messages.get(fd) : undefined;
  if (message !== undefined && message.missing > 0) return takePayload(fd, input, message, at, to);
  const header = parseFrame(input, at, to);
  if (header === INCOMPLETE) return INCOMPLETE;
  if (frame.error !== 0) return fail(fd, frame.error);
  const payload = at + header, behind = payload + frame.length;
  if (frame.opcode >= CLOSE) return behind > to ? INCOMPLETE : header + takeControl(fd, input, payload, behind);
  if ((frame.opcode === CONTINUATION) !== (message !== undefined)) return fail(fd, PROTOCOL_ERROR);
  if (frame.opcode === BINARY) return fail(fd, UNSUPPORTED);
  if (message === undefined && frame.isFinal && behind <= to) { // the usual case: nothing is missing, nothing kept
    unmask(input, payload, behind, frame.mask, 0);
    if (checkUtf8(input, payload, behind, WHOLE) !== WHOLE) return fail(fd, INVALID_TEXT);
    publish(fd, input.subarray(payload, behind));
    return header + frame.length;
  }
  const begun = message ?? beginMessage(fd);
  if (begun === null) return BUFFER;
  if (begun.length + frame.length > MAX_MESSAGE) return fail(fd, TOO_BIG);
  begun.missing = frame.length;
  begun.isFinal = frame.isFinal;
  begun.mask.set(frame.mask);
  begun.phase = 0;
  return header + takePayload(fd, input, begun, payload, to);
}

/** Answers a control frame: it may stand between those of a message. Returns the bytes of its payload. */
function takeControl(fd: number, input: Uint8Array, from: number, to: number): number {
  unmask(input, from, to, frame.mask, 0);
  const payload = input.subarray(from, to);
  if (!messages.has(fd)) due.delete(fd);
  if (frame.opcode === PING) {
    send(fd, frameOf(PONG, payload));
  } else if (frame.opcode === CLOSE) {
    const code = answerToClose(payload);
    if (code === PROTOCOL_ERROR || code === INVALID_TEXT) countError(code);
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
function takePayload(fd: number, input: Uint8Array, message: Message, from: number, to: number): number {
  const length = Math.min(message.missing, to - from), behind = from + length;
  unmask(input, from, behind, message.mask, message.phase);
  message.utf8 = checkUtf8(input, from, behind, message.utf8);
  if (message.utf8 === INVALID) return fail(fd, INVALID_TEXT);
  if (!makeRoom(fd, message, message.length + length)) return BUFFER;
  message.bytes.set(input.subarray(from, behind), message.length);
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
  const header = putHeader(outgoing.bytes, TEXT, text.length);
  outgoing.bytes.set(text, header);
  outgoing.length = header + text.length;
  counts.served++;
  if (due.size > 0) due.delete(fd);
}

/** Sends a frame of this connection alone, or puts it behind others. */
function send(fd: number, bytes: Uint8Array<ArrayBuffer>): void {
  const isFull = (tail - rings[SQ_HEAD]! | 0) === SUBMISSIONS;
  if (lastBatch[fd] === batch || isFull || !fitsArena(bytes.length)) submitAll();
  const waiting = unsent.size > 0 ? unsent.get(fd) : undefined;
  if (waiting !== undefined) return enqueue(fd, waiting, bytes);
  if (!fitsArena(bytes.length)) return dropConnection(fd, "ARENA"); // while completions overflow it is not emptied
  sendQuickly(fd, putFrame(bytes));
}

/** Sends the message to one listener, or puts it behind others. */
function sendMessage(fd: number): void {
  const waiting = unsent.size > 0 ? unsent.get(fd) : undefined;
  if (waiting !== undefined) enqueue(fd, waiting, copyOf(MESSAGE));
  else sendQuickly(fd, MESSAGE);
}

function enqueue(fd: number, waiting: Unsent, frame: Uint8Array<ArrayBuffer>): void {
  const isFull = waiting.length + frame.length > MAX_UNSENT || waiting.frames.length === MAX_UNSENT_FRAMES;
  if (isFull && (states[fd]! & LAST) === 0) return resetConnection(fd);
  waiting.frames.push(frame);
  waiting.length += frame.length;
}

/** The socket did not take all of a frame. The rest waits until it can be written to. */
function onQuickFailed(fd: number, result: number, index: number): void {
  const length = frameLength[index]!, taken = Math.max(result, 0);
  counts.bytes_out -= length - taken;
  if (memory[frameAt[index]!] === (FIN | TEXT)) counts.delivered--;
  if ((states[fd]! & ENDED) !== 0) return;
  if (result < 0 && result !== -EAGAIN) return dropConnection(fd, getSystemErrorName(result));
  unsent.set(fd, { frames: [copyOf(index)], taken, length: length - taken });
  submitPoll(fd);
}

function onPolled(fd: number): boolean {
  states[fd]! &= ~POLLING;
  const waiting = unsent.get(fd);
  if (waiting === undefined) return proceed(fd);
  submitRetry(fd, waiting);
  return false;
}

/** Takes the result of a send of what waits. */
function onRetried(fd: number, result: number): boolean {
  states[fd]! &= ~RETRYING;
  const waiting = unsent.get(fd);
  if (waiting === undefined) return proceed(fd); // it was abandoned
  if (result < 0 && result !== -EAGAIN) {
    dropConnection(fd, getSystemErrorName(result));
    return proceed(fd);
  }
  const { frames } = waiting;
  counts.bytes_out += Math.max(result, 0);
  waiting.length -= Math.max(result, 0);
  waiting.taken += Math.max(result, 0);
  while (frames.length > 0 && waiting.taken >= frames[0]!.length) {
    const whole = frames.shift()!;
    waiting.taken -= whole.length;
    if (isMessage(whole)) counts.delivered++;
  }
  if (frames.length > 0) {
    submitPoll(fd);
    return false;
  }
  unsent.delete(fd);
  if (due.delete(fd)) expectMore(fd); // it was not read meanwhile, so its time starts now
  return proceed(fd);
}

/** Goes on when something has completed: with kept frames, the linger, another receive, or the close. */
function proceed(fd: number): boolean {
  const state = states[fd]!;
  if ((state & (CONTINUING | RETRYING)) !== 0) return false;
  if (lastBatch[fd] === batch || ((state & UNREAD) !== 0 && isHolding())) { // what was sent may still fail
    submitContinue(fd);
    return false;
  }
  if (unsent.size > 0 && unsent.has(fd)) return false;
  if ((state & UNREAD) !== 0) {
    states[fd] = state & ~UNREAD;
    const { bytes, length } = partial.get(fd)!;
    return takeFrames(fd, bytes, 0, length, 0) || proceed(fd);
  }
  if ((state & (LAST | LINGERING)) === LAST) linger(fd);
  if ((state & (RECEIVING | CANCELLING | POLLING)) !== 0) return false;
  if ((state & ENDED) !== 0) closeConnection(fd);
  else submitReceive(fd); // after ENOBUFS too: every buffer is back before the next call
  return false;
}

/**
 * Ends this half once the last frame is in the socket. With input unread close(2) would send RST, and the peer might
 * lose the frame: so input is taken and thrown away until the peer closes too.
 */
function linger(fd: number): void {
  states[fd]! |= LINGERING;
  lingering.set(fd, readClockMs() + LINGER_MS);
  libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: the receive will report it
}

/** Ends those whose time is over, except where kept input waits for this server and not for the peer. */
function endLate(turnMs: number): void {
  let ended = 0;
  if (isHolding()) return; // a last frame might overtake what is not known to have failed: the next turn does it
  for (const [fd, deadlineMs] of lingering) {
    if (deadlineMs > turnMs || ended++ === ENDS) break;
    lingering.delete(fd);
    abandon(fd);
  }
  for (const [fd, deadlineMs] of due) {
    if (deadlineMs > turnMs || ended++ >= ENDS) break;
    if ((states[fd]! & UNREAD) !== 0 || unsent.has(fd)) continue;
    if ((states[fd]! & OPEN) === 0) refuse(fd, 408);
    else fail(fd, TOO_SLOW);
  }
}

/** Takes a piece of a buffer. Without F_MORE the receive is over: end of input, an error, no buffer, or cancelled. */
function onReceived(fd: number, result: number, flags: number): boolean {
  let hasMessage = false;
  if (result > 0) {
    const buffer = flags >>> IORING_CQE_BUFFER_SHIFT;
    const from = bufferAt(buffer) + filled[buffer]!;
    counts.bytes_in += result;
    if ((states[fd]! & (LAST | ENDED)) === 0) hasMessage = take(fd, from, from + result);
    if ((flags & IORING_CQE_F_BUF_MORE) !== 0) filled[buffer]! += result;
    else giveBack(buffer);
  } else if (result === 0) states[fd]! |= ENDED;
  else if (result !== -ENOBUFS && result !== -ECANCELED && (states[fd]! & ENDED) === 0) {
    dropConnection(fd, getSystemErrorName(result)); // this connection only
  }
  if ((flags & IORING_CQE_F_MORE) !== 0) return hasMessage;
  states[fd]! &= ~RECEIVING;
  if (!hasMessage) return proceed(fd);
  if ((states[fd]! & CONTINUING) === 0) submitContinue(fd);
  return true;
}

function onContinued(fd: number): boolean {
  states[fd]! &= ~CONTINUING;
  return proceed(fd);
}

function onCancelled(fd: number): boolean {
  if ((states[fd]! & CANCELLING) === 0) return false; // it was the listener's
  states[fd]! &= ~CANCELLING;
  return proceed(fd);
}

// ---- The rings: how they are opened, and what is submitted -----------------------------------------------------------

// One piece of memory holds all that the kernel reads or writes while JavaScript runs. At these offsets:
const WAIT_AT = 0, TIMESPEC_AT = WAIT_AT + 24; // how long a call waits: struct io_uring_getevents_arg and its timespec
const LENT_AT = 4096; // the ring of lent buffers, at the start of a page: a struct io_uring_buf for each
const MESSAGE_AT = LENT_AT + 16 * OLD_BUFFERS; // the message that goes to all
const ARENA_AT = MESSAGE_AT + 2 ** 17, ARENA_END = ARENA_AT + ARENA; // other frames
const BUFFERS_AT = ARENA_END;
const { ringFd, rings, sqes, ringIndex, SQ_HEAD, SQ_TAIL, SQ_FLAGS, CQ_HEAD, CQ_TAIL, CQES, is612 } = openRing();
const lentBuffers = is612 ? BUFFERS : OLD_BUFFERS, lentBytes = is612 ? BUFFER : OLD_BUFFER;
const bufferAt = (buffer: number) => BUFFERS_AT + buffer * (lentBytes + GAP);
const { memory: shared, address } = map(bufferAt(lentBuffers), -1, 0n) ?? refuseToRun("map memory");
const memory = new Uint8Array(shared), words = new Int32Array(shared), halves = new Uint16Array(shared);
const waitPointer = Deno.UnsafePointer.create(BigInt(address + WAIT_AT)),
  waitBytes = Deno.UnsafePointer.create(WAIT_BYTES);
const filled = new Int32Array(lentBuffers); // bytes of each buffer that earlier receives have filled

putAddress(words, (WAIT_AT >> 2) + WAIT_TIMESPEC, address + TIMESPEC_AT);
let tail = 0, lentTail = 0; // of submissions and of buffers, before the kernel is told
let scanned = 0; // completions that were looked at for sends that failed
// What is asked for once completions do not overflow any more. Each of these completes at once: asked for again and again
// they would keep the queue full, and it would never be known which sends have failed.
const putOff: { fd: number; submitLater: (fd: number) => void }[] = [];
// Frames that are submitted, by index: where in `memory` each stands, its length and, if it must be kept, its copy. The
// first is the message. They are over with their batch, which is all that is submitted until the next call returns.
const MESSAGE = 0;
const frameAt = [MESSAGE_AT], frameLength = [0], frameCopy: (Uint8Array<ArrayBuffer> | null)[] = [null];
let arenaAt = ARENA_AT, batch = 1, isCollecting = false;
lendBuffers();

/** Says why there is no ring. */
function refuseToRun(action: string): never {
  const code = errno[0]!;
  const limit = new BigInt64Array(2); // struct rlimit
  libc.getrlimit(RLIMIT_MEMLOCK, limit); // fails for an unknown limit only
  const memlock = `the rings of one user may lock ${limit[0]! / 1024n} KiB (memlock): raise it with ulimit -l`;
  const reasons = new Map([
    [EINVAL, "Linux 6.1 is needed"],
    [ENOSYS, "the kernel has none, or seccomp hides it"],
    [EPERM, "kernel.io_uring_disabled or seccomp forbids it"],
    [ENOMEM, limit[0] === RLIM_INFINITY ? "no memory is left" : memlock],
  ]);
  const reason = reasons.get(code) ?? "see io_uring_setup(2)";
  unavailable(`io_uring, ${action}: ${getSystemErrorName(-code)} (${code}), ${reason}.`);
}

/** Opens a ring and maps both of its queues. The names in capitals are words of `rings`. */
function openRing() {
  const params = new Int32Array(PARAMS_WORDS);
  params[PARAMS_FLAGS] = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  params[PARAMS_CQ_ENTRIES] = COMPLETIONS;
  const fd = libc.io_uring_setup(SYS_IO_URING_SETUP, SUBMISSIONS, params);
  if (fd < 0) refuseToRun("set up");
  const SQ_ARRAY = params[SQ_OFF_ARRAY]! >> 2, CQES = params[CQ_OFF_CQES]! >> 2;
  const length = 4 * Math.max(SQ_ARRAY + SUBMISSIONS, CQES + CQE_WORDS * COMPLETIONS);
  const queues = map(length, fd, IORING_OFF_SQ_RING) ?? refuseToRun("map the queues");
  const entries = map(4 * SQE_WORDS * SUBMISSIONS, fd, IORING_OFF_SQES) ?? refuseToRun("map the submissions");
  const rings = new Int32Array(queues.memory);
  for (let i = 0; i < SUBMISSIONS; i++) rings[SQ_ARRAY + i] = i; // submissions are taken in the order of their entries
  // struct io_uring_rsrc_update. Registered, the ring has an index, which spares each call a search by descriptor.
  const update = Int32Array.of(-1, 0, fd, 0);
  if (libc.io_uring_register(SYS_IO_URING_REGISTER, fd, IORING_REGISTER_RING_FDS, update, 1) < 0) {
    refuseToRun("register the ring");
  }
  return {
    ringFd: fd,
    rings,
    sqes: new Int32Array(entries.memory),
    ringIndex: update[0]!,
    SQ_HEAD: params[SQ_OFF_HEAD]! >> 2,
    SQ_TAIL: params[SQ_OFF_TAIL]! >> 2,
    SQ_FLAGS: params[SQ_OFF_FLAGS]! >> 2,
    CQ_HEAD: params[CQ_OFF_HEAD]! >> 2,
    CQ_TAIL: params[CQ_OFF_TAIL]! >> 2,
    CQES,
    is612: (params[PARAMS_FEATURES]! & IORING_FEAT_MIN_TIMEOUT) !== 0, // or newer: of that release are several features
  };
}

/** Lends the buffers to the kernel. */
function lendBuffers(): void {
  for (let buffer = 0; buffer < lentBuffers; buffer++) giveBack(buffer);
  halves[(LENT_AT >> 1) + BUF_RING_TAIL_HALF] = lentTail;
  const lent = new Int32Array(10); // struct io_uring_buf_reg { u64 ring_addr; u32 ring_entries; u16 bgid; u16 flags; … }
  putAddress(lent, 0, address + LENT_AT);
  lent[2] = lentBuffers;
  lent[3] = is612 ? IOU_PBUF_RING_INC << 16 : 0;
  if (libc.io_uring_register(SYS_IO_URING_REGISTER, ringFd, IORING_REGISTER_PBUF_RING, lent, 1) < 0) {
    refuseToRun("lend the buffers");
  }
}

/** Writes an address of 64 bits into two words: what is above the lower half is cut off. */
function putAddress(target: Int32Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value / 2 ** 32;
}

/** Writes a struct io_uring_buf, except for its resv: in the first one that is the tail of the ring. */
function giveBack(buffer: number): void {
  const at = (LENT_AT >> 2) + BUF_WORDS * (lentTail & lentBuffers - 1);
  lentTail = lentTail + 1 & 0xffff;
  filled[buffer] = 0;
  putAddress(words, at + BUF_ADDRESS, address + bufferAt(buffer));
  words[at + BUF_LENGTH] = lentBytes;
  halves[2 * at + BUF_NUMBER_HALF] = buffer;
}

const fitsArena = (length: number) => arenaAt + length <= ARENA_END;

/** Copies a frame to where the kernel reads it. Returns its index. */
function putFrame(bytes: Uint8Array): number {
  memory.set(bytes, arenaAt);
  frameAt.push(arenaAt);
  frameCopy.push(null);
  arenaAt += bytes.length;
  return frameLength.push(bytes.length) - 1;
}

/** A frame to keep: of a message there is one copy for all listeners. */
function copyOf(index: number): Uint8Array<ArrayBuffer> {
  const at = frameAt[index]!;
  return frameCopy[index] ??= memory.slice(at, at + frameLength[index]!);
}

// The kind of a submission stands in the upper half of its user_data, above it the index of a frame; below, the descriptor.
const ACCEPT = 0, RECEIVE = 1, QUICK = 2, RETRY = 3, POLL = 4, CONTINUE = 5, CANCEL = 6, DONE = 7;
const KIND_MASK = 7, KIND_BITS = 3;

/** Fills a struct io_uring_sqe: words that no operation here uses stay 0. If none is free, all are submitted at once. */
function submit(operation: number, fd: number, at: number, length: number, flags: number, kind: number): void {
  if ((tail - rings[SQ_HEAD]! | 0) === SUBMISSIONS) submitAll();
  const entry = SQE_WORDS * (tail & SUBMISSIONS - 1);
  tail = tail + 1 | 0;
  sqes[entry + SQE_OPERATION] = operation;
  sqes[entry + SQE_FD] = fd;
  putAddress(sqes, entry + SQE_ADDRESS, at);
  sqes[entry + SQE_LENGTH] = length;
  sqes[entry + SQE_OPERATION_FLAGS] = flags;
  sqes[entry + SQE_USER_DATA] = fd;
  sqes[entry + SQE_USER_DATA + 1] = kind;
}

function submitAccept(listener: number): void {
  submit(IORING_OP_ACCEPT | IORING_ACCEPT_MULTISHOT << SQE_IOPRIO_SHIFT, listener, 0, 0, SOCK_CLOEXEC, ACCEPT);
}

const RECEIVE_ALL = IORING_OP_RECV | IOSQE_BUFFER_SELECT << SQE_FLAGS_SHIFT | IORING_RECV_MULTISHOT << SQE_IOPRIO_SHIFT;

function submitReceive(fd: number): void {
  states[fd]! |= RECEIVING;
  submit(RECEIVE_ALL, fd, 0, 0, 0, RECEIVE);
}

const SEND_QUICKLY = IORING_OP_SEND | IOSQE_CQE_SKIP_SUCCESS << SQE_FLAGS_SHIFT;
const ALL_AT_ONCE = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT;

/**
 * Sends a frame without a completion if the socket takes all of it. If it is full, a completion says how much it has taken.
 * Only one in a batch may go to a socket.
 */
function sendQuickly(fd: number, index: number): void {
  lastBatch[fd] = batch;
  counts.bytes_out += frameLength[index]!;
  if (memory[frameAt[index]!] === (FIN | TEXT)) counts.delivered++;
  submit(SEND_QUICKLY, fd, address + frameAt[index]!, frameLength[index]!, ALL_AT_ONCE, QUICK | index << KIND_BITS);
}

/** Sends as many of the frames that wait as fit, with a completion. */
function submitRetry(fd: number, { frames, taken }: Unsent): void {
  const isFull = (tail - rings[SQ_HEAD]! | 0) === SUBMISSIONS;
  if (isFull || !fitsArena(OUTBOX)) submitAll();
  if (!fitsArena(OUTBOX)) return putOffPoll(fd); // while completions overflow it is not emptied
  const start = arenaAt;
  for (const frame of frames) {
    const rest = arenaAt === start ? frame.subarray(taken) : frame;
    if (arenaAt + rest.length > start + OUTBOX) break;
    memory.set(rest, arenaAt);
    arenaAt += rest.length;
  }
  states[fd]! |= RETRYING;
  submit(IORING_OP_SEND, fd, address + start, arenaAt - start, ALL_AT_ONCE, RETRY);
}

/** Asks for a completion when the socket can be written to. */
function submitPoll(fd: number): void {
  states[fd]! |= POLLING;
  submit(IORING_OP_POLL_ADD, fd, 0, 0, POLLOUT, POLL);
}

/** Asks for a completion, which comes behind those of what was submitted before. */
function submitContinue(fd: number): void {
  states[fd]! |= CONTINUING;
  if (isHolding()) putOff.push({ fd, submitLater: submitContinue });
  else submit(IORING_OP_NOP, fd, 0, 0, 0, CONTINUE);
}

/** Of a socket that can be written to already: while completions overflow nothing can be sent. */
function putOffPoll(fd: number): void {
  states[fd]! |= POLLING;
  putOff.push({ fd, submitLater: submitPoll });
}

/** What is cancelled completes too. Where the kernel, at work on it, finds nothing, the next receive cancels again. */
function cancelReceive(fd: number): void {
  states[fd]! |= CANCELLING;
  submit(IORING_OP_ASYNC_CANCEL, fd, fd + RECEIVE * 2 ** 32, 0, 0, CANCEL); // an address in name only: the user_data
}

const isHolding = () => (rings[SQ_FLAGS]! & IORING_SQ_CQ_OVERFLOW) !== 0; // some failures may not be known yet

/** Looks for sends that failed, among completions that are not taken yet: what comes behind must not overtake them. */
function collectFailures(): void {
  const isOutermost = !isCollecting, end = Atomics.load(rings, CQ_TAIL);
  isCollecting = true;
  while (scanned !== end) {
    const cqe = CQES + CQE_WORDS * (scanned & COMPLETIONS - 1), kind = rings[cqe + CQE_USER_DATA + 1]!;
    scanned = scanned + 1 | 0;
    if ((kind & KIND_MASK) !== QUICK) continue;
    rings[cqe + CQE_USER_DATA + 1] = DONE;
    onQuickFailed(rings[cqe + CQE_USER_DATA]!, rings[cqe + CQE_RESULT]!, kind >>> KIND_BITS);
  }
  if (!isOutermost) return;
  isCollecting = false;
  if (rings[SQ_HEAD] !== submitted || isHolding()) return;
  batch = batch + 1 >>> 0; // all of it is sent, or known to have failed
  arenaAt = ARENA_AT;
  frameAt.length = frameLength.length = frameCopy.length = 1;
}

let submitted = 0; // what the kernel was told of last

/** One system call. What it could not submit, the next call submits. */
function call(waitFor: number, flags: number, argument: Deno.PointerValue, bytes: Deno.PointerValue): void {
  Atomics.store(rings, SQ_TAIL, tail);
  submitted = tail;
  const filled = tail - rings[SQ_HEAD]! | 0;
  const result = libc.io_uring_enter(SYS_IO_URING_ENTER, ringIndex, filled, waitFor, flags, argument, bytes);
  const code = errno[0]!;
  if (result < 0 && code !== ETIME && code !== EINTR && code !== EAGAIN && code !== EBUSY) {
    must(result, "enter the ring");
  }
  if ((tail - rings[SQ_HEAD]! | 0) === SUBMISSIONS) must(-1, "submit to the ring");
  collectFailures();
}

/** Submissions out. Without GETEVENTS no other completions come in than failures of these. */
function submitAll(): void {
  if (tail !== rings[SQ_HEAD]) call(0, IORING_ENTER_REGISTERED_RING, null, null);
}

const ENTER = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | IORING_ENTER_REGISTERED_RING;

/** Submissions out, completions in. */
function enter(waitFor: number, waitMs: number): void {
  if (putOff.length > 0 && !isHolding()) {
    for (const { fd, submitLater } of putOff.splice(0)) submitLater(fd);
  }
  words[(WAIT_AT >> 2) + WAIT_MIN_US] = waitFor > 1 ? MIN_WAIT_US : 0;
  words[(TIMESPEC_AT >> 2) + TIMESPEC_NANOSECONDS] = waitMs * 1e6;
  call(waitFor, ENTER, waitPointer, waitBytes);
}

// ---- The architecture: two rings shared with the kernel, and one system call for all sends of a message --------------

const NETWORK_ERRORS = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH];
const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];

/** Without F_MORE the multishot has ended, and another one takes its place. */
function onAccepted(listener: number, result: number, flags: number): void {
  if (result >= DESCRIPTORS) {
    countError("EMFILE");
    libc.close(result);
  } else if (result >= 0) {
    counts.accepted++;
    open++;
    due.set(result, readClockMs() + PATIENCE_MS);
    submitReceive(result);
  }
  if ((flags & IORING_CQE_F_MORE) !== 0 || !isListening) return;
  if (result >= 0 || PASSING_ERRORS.includes(-result)) return submitAccept(listener);
  countError(getSystemErrorName(result)); // EMFILE, ENFILE, ENOBUFS, ENOMEM: asked again at once it would spin
  isPaused = true;
}

/** Takes one completion. Returns true if `outgoing` is a message to send to all. */
function onCompleted(cqe: number): boolean {
  const fd = rings[cqe + CQE_USER_DATA]!, kind = rings[cqe + CQE_USER_DATA + 1]!;
  const result = rings[cqe + CQE_RESULT]!, flags = rings[cqe + CQE_FLAGS]!;
  switch (kind & KIND_MASK) {
    case RECEIVE:
      return onReceived(fd, result, flags);
    case RETRY:
      return onRetried(fd, result);
    case POLL:
      return onPolled(fd);
    case CONTINUE:
      return onContinued(fd);
    case CANCEL:
      return onCancelled(fd);
    case ACCEPT:
      onAccepted(fd, result, flags);
  }
  return false; // a send that has failed was taken already
}

let heardMs = readClockMs(); // when signals were heard last

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
  heardMs = readClockMs();
}

let came = 0; // completions of this turn

/** Takes completions, up to one with a message for all: then true. What is left is there in the next turn. */
function takeCompletions(): boolean {
  const start = rings[CQ_HEAD]!, end = Atomics.load(rings, CQ_TAIL);
  let head = start, hasMessage = false;
  while (head !== end && !hasMessage) {
    const cqe = CQES + CQE_WORDS * (head & COMPLETIONS - 1);
    hasMessage = onCompleted(cqe);
    head = head + 1 | 0;
    if ((head & UNWATCHED - 1) === 0 && readClockMs() - heardMs >= TURN_MS) break;
  }
  Atomics.store(rings, CQ_HEAD, head);
  Atomics.store(halves, (LENT_AT >> 1) + BUF_RING_TAIL_HALF, lentTail);
  came = head - start | 0;
  return hasMessage;
}

/** Sends the message to all that listen: the last of the sends leave with the next call. */
async function broadcast(): Promise<void> {
  submitAll(); // of what was sent before it is known now which sockets are full
  memory.set(outgoing.bytes.subarray(0, outgoing.length), MESSAGE_AT);
  frameLength[MESSAGE] = outgoing.length;
  frameCopy[MESSAGE] = null;
  for (const fd of listeners) {
    sendMessage(fd);
    if ((tail - rings[SQ_HEAD]! | 0) < SUBMISSIONS) continue;
    submitAll();
    if (readClockMs() - heardMs >= TURN_MS) await hearSignals();
  }
}

/** Takes completions until none overflow, so that it is known which sends have failed. */
async function settle(): Promise<void> {
  const untilMs = readClockMs() + STOP_MS;
  while (isHolding() && readClockMs() < untilMs) {
    enter(0, 0);
    if (takeCompletions()) await broadcast();
  }
}

/** Takes leave of all that listen, behind what each has still to take. */
async function endAll(): Promise<void> {
  for (const fd of [...listeners]) {
    end(fd, GOING_AWAY);
    if (readClockMs() - heardMs >= TURN_MS) await hearSignals();
  }
}

/** Accepts all whose handshake is done, as close(2) would reset them, and ends the accept that waits for more. */
async function stopAccepting(listener: number): Promise<void> {
  let before = -1;
  for (let i = 0; i < BACKLOG && before !== counts.accepted; i++) {
    before = counts.accepted;
    enter(0, 0);
    if (takeCompletions()) await broadcast();
  }
  isListening = false;
  submit(IORING_OP_ASYNC_CANCEL, listener, listener + ACCEPT * 2 ** 32, 0, 0, CANCEL);
  libc.close(listener); // the kernel holds it as long as the accept is in flight
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  let tickMs = heardMs, stopAtMs = Infinity;
  submitAccept(listener);
  for (;;) {
    const batch = is612 && came >= USUAL_BATCH ? Math.min(came, MAX_BATCH) : 1;
    // io_uring_enter blocks this thread and with it Deno's event
    // loop, where signal handlers run: so for TURN_MS at most.
    enter(batch, stopping ? QUIET_MS : TURN_MS);
    const turnMs = readClockMs();
    if (takeCompletions()) await broadcast();
    if (turnMs >= stopAtMs) return;
    if (stopAtMs < Infinity && came + partial.size + unsent.size + lingering.size === 0) return;
    if (stopping && stopAtMs === Infinity) {
      await stopAccepting(listener);
      await settle();
      await endAll();
      stopAtMs = readClockMs() + STOP_MS;
    }
    if (turnMs - tickMs < TURN_MS) continue;
    tickMs = turnMs;
    await hearSignals();
    endLate(turnMs);
    if (isPaused && isListening) {
      isPaused = false;
      submitAccept(listener);
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
  console.error(`Listening. Try: new WebSocket("ws://${options.host}:${port}/")`);
  await serve(listener);
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}
