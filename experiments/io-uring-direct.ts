/**
 * @title      io_uring with direct descriptors: connections that no process opens
 * @family     completion
 * @question   How many connections can one thread hold if RLIMIT_NOFILE allows it a thousand descriptors?
 * @idea       An accepted connection becomes a slot in the file table of a ring and never gets a descriptor. A table has at
 *             most as many slots as RLIMIT_NOFILE says, but a process may have many rings: a full one makes the next.
 * @prediction A million connections are held with two descriptors for each table, at under 32 bytes of this process for an
 *             idle one. A request takes the CPU that io-uring takes: no send looks a descriptor up, but each ring is a call.
 * @expect     hold(10000).answered >= 10000
 *             hold(1000000).answered >= 1000000
 *             hold(1000000).user_bytes_per_conn <= 32
 *             throughput(100).cpu_us_per_request < 1.05 * io-uring
 * @compare    io-uring, epoll, c-io-uring, xdp
 * @requires   linux 6.1, for DEFER_TASKRUN; IORING_ASYNC_CANCEL_FD_FIXED needs 6.0, slots that the kernel chooses need
 *             5.19
 * @cannot     recover-emfile A connection has no descriptor, so descriptors do not run out: all clients are served.
 * @cannot     wait-at-emfile A connection has no descriptor, so no client has to wait for one.
 * @run        deno run --allow-ffi io-uring-direct.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             /work burns the CPU of the only thread, so every client waits for it: that is the price of one thread.
 *             Between two heads a connection may idle for ever; keepalive probes end those whose peer is gone.
 *             A ring stays when its connections have left.
 * @sources    io_uring(7), io_uring_setup(2), io_uring_enter(2), io_uring_register(2), io_uring_prep_accept_direct(3),
 *             eventfd(2), tcp(7); RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection. Idle, it is a slot in the table of a ring, six bytes by slot, and a receive that the kernel
// holds; in brackets stands the table that holds what it has left over in a state.
//
//              ┌── one usual answer, which the socket takes: no completion ──┬─────── completed ───────┐
//              ▼                                                             │                         │
//  accept ──► receiving ────────── a head is whole ────────────────────► answering ── submitted ──► sending
//  [a slot is  [partial]                                                     │                     [partial]
//   set aside] │                                                             │ the last answer         │
//              └─ no whole head after 10 s: 408 ─────────────────────────────┴──────► sending ─────────┤ of the last
//                                                                                                      ▼
//                                                 closed ◄─ 1 s, or the peer closes ─────────────── lingering
//                                                 the slot is free                                 [lingering]
//
// From every state: an error of the socket ─► closed. Where it is read: the peer closes ─► closed.
//
// receiving  waits for bytes. From the first byte of a head on there is a deadline.
// answering  all whole requests that have come; but one that burns CPU is the last of its turn.
// sending    the kernel has the answers until the socket has taken all. What comes meanwhile is kept, up to a bound.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.
//
// What a connection without a descriptor costs, against io-uring.ts:
//
// - Multishot accept takes connections for which the table has no slot: each is lost, with ENFILE. Here each accept takes
//   one connection, and has a slot set aside. While there is none, connections wait in the queue of the listener.
// - shutdown(2) and close(2) need a descriptor. Closing is an operation like any other. IORING_OP_SHUTDOWN goes to a
//   thread of the kernel each time, so it is used for the last answer only; in flight it holds the slot.
//   What io-uring.ts ends by a shutdown of both halves, a cancel ends here.
// - Nothing waits for two rings at once: the first one reads an eventfd of each other one.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "io-uring-direct";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_KEEPALIVE = 9; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_DONTWAIT = 0x40, MSG_WAITALL = 0x100, MSG_NOSIGNAL = 0x4000, SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
const CLOCK_THREAD_CPUTIME_ID = 3, CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const RLIMIT_NOFILE = 7, RLIMIT_MEMLOCK = 8, RLIM_INFINITY = -1n; // <sys/resource.h>
const PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_PRIVATE_ANONYMOUS = 0x22, MAP_FAILED = 2 ** 64; // <sys/mman.h>
const EFD_CLOEXEC = 0o2000000; // <sys/eventfd.h>
const EPERM = 1, EINTR = 4, EAGAIN = 11, ENOMEM = 12, EBUSY = 16, EINVAL = 22; // <asm-generic/errno.h>
const ENOSYS = 38, ETIME = 62, ENOBUFS = 105, ECANCELED = 125;
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }

const SYS_IO_URING_SETUP = 425, SYS_IO_URING_ENTER = 426, SYS_IO_URING_REGISTER = 427; // <asm-generic/unistd.h>
// <linux/io_uring.h>, from here to the end. The flags of setup: completions queue as long as is said; one thread submits
// (6.0), and what makes completions runs only when that thread asks for them (6.1), not whenever a packet comes. A flag
// of the ring says whether there is such work (5.19).
const IORING_SETUP_CQSIZE = 1 << 3, IORING_SETUP_TASKRUN_FLAG = 1 << 9;
const IORING_SETUP_SINGLE_ISSUER = 1 << 12, IORING_SETUP_DEFER_TASKRUN = 1 << 13;
const IORING_ENTER_GETEVENTS = 1 << 0, IORING_ENTER_EXT_ARG = 1 << 3, IORING_ENTER_REGISTERED_RING = 1 << 4;
const IORING_REGISTER_EVENTFD = 4, IORING_REGISTER_FILES2 = 13, IORING_RSRC_REGISTER_SPARSE = 1 << 0;
const IORING_MAX_FIXED_FILES = 2 ** 20, IORING_FILE_INDEX_ALLOC = -1; // ~0U: the kernel chooses a free slot
const IORING_REGISTER_RING_FDS = 20, IORING_REGISTER_PBUF_RING = 22;
const IORING_OFF_SQ_RING = 0n, IORING_OFF_SQES = 0x10000000n; // what to map of a ring: both queues, the submissions
const IORING_FEAT_MIN_TIMEOUT = 1 << 15; // 6.12: a call may wait a little for several completions
const IOU_PBUF_RING_INC = 2; // 6.12 too: a buffer is filled piece by piece, by one receive after the other
const IORING_OP_NOP = 0, IORING_OP_SENDMSG = 9, IORING_OP_ACCEPT = 13, IORING_OP_ASYNC_CANCEL = 14;
const IORING_OP_CLOSE = 19, IORING_OP_READ = 22, IORING_OP_SHUTDOWN = 34;
const IORING_OP_SEND = 26, IORING_OP_RECV = 27, IORING_RECV_MULTISHOT = 1 << 1;
const IORING_ASYNC_CANCEL_ALL = 1 << 0, IORING_ASYNC_CANCEL_FD = 1 << 1, IORING_ASYNC_CANCEL_FD_FIXED = 1 << 3;
const IOSQE_FIXED_FILE = 1 << 0; // the descriptor is a slot in the table of the ring
const IOSQE_BUFFER_SELECT = 1 << 5, IOSQE_CQE_SKIP_SUCCESS = 1 << 6; // with the last only a failure completes
// Flags of a ring: completions wait outside of a full queue, work waits for a call; and ours, no write to the eventfd.
const IORING_SQ_CQ_OVERFLOW = 1 << 1, IORING_SQ_TASKRUN = 1 << 2, IORING_CQ_EVENTFD_DISABLED = 1 << 0;
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
  CQ_OFF_CQES = 25,
  CQ_OFF_FLAGS = 26;
// struct io_uring_sqe: an operation (u8), its flags (u8) and its ioprio (u16) share the first word.
const SQE_WORDS = 16, SQE_OPERATION = 0, SQE_FD = 1, SQE_ADDRESS = 4, SQE_LENGTH = 6, SQE_OPERATION_FLAGS = 7;
const SQE_FILE_INDEX = 11; // a slot counts from 1 there: 0 says that a descriptor is meant
const SQE_USER_DATA = 8, SQE_FLAGS_SHIFT = 8, SQE_IOPRIO_SHIFT = 16;
const CQE_WORDS = 4, CQE_USER_DATA = 0, CQE_RESULT = 2, CQE_FLAGS = 3; // struct io_uring_cqe
// struct io_uring_buf { u64 addr; u32 len; u16 bid; u16 resv; }. Of the first one resv is the tail of the buffer ring.
const BUF_WORDS = 4, BUF_ADDRESS = 0, BUF_LENGTH = 2, BUF_NUMBER_HALF = 6, BUF_RING_TAIL_HALF = 7;
// struct io_uring_getevents_arg { u64 sigmask; u32 sigmask_sz; u32 min_wait_usec; u64 ts; }
const WAIT_BYTES = 24n, WAIT_MIN_US = 3, WAIT_TIMESPEC = 4;
// struct iovec { u64 base; u64 length; }; struct msghdr: name and its length are 0, then u64 iov, u64 iovlen, the rest is 0.
const IOVEC_WORDS = 4, IOVEC_LENGTH = 2, MSGHDR_WORDS = 14, MSGHDR_IOV = 4, MSGHDR_IOVLEN = 6;

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections in the accept queue; the kernel cuts it to net.core.somaxconn
const MAX_CONNECTIONS = 2 ** 22; // size of the table of states, of which memory is what was used
const CONNECTIONS = 1_000_000; // unless --connections says otherwise
const ACCEPTS = 64; // accepts in flight, of all rings together; each has a slot set aside
const ROUNDS = 16; // calls in a row for one ring that is not the first: all others wait meanwhile
const SUBMISSIONS = 1024; // a power of two; once all are filled, they are submitted at once
const COMPLETIONS = 4096; // a power of two; a full queue loses nothing, but ends multishots
// For all that is received (a power of two), and bytes of each. None free: ENOBUFS, and the receive is armed again. From
// 6.12 on they are filled piece by piece, so few of them serve many requests; before, each serves one receive.
// They are a quarter of those of io-uring.ts, as each ring has its own.
const BUFFERS = 16, BUFFER = 16384, OLD_BUFFERS = 256, OLD_BUFFER = 1024;
const GAP = 64; // bytes from one to the next: at the same offset in a page they would share one set of a cache
const IOVECS = 16384; // answers of which several leave at once, of all connections in a turn
const MAX_ANSWERS = 1024; // to one connection in a row: the kernel takes no more iovecs in one call
const MAX_CARRIED = 16384; // bytes kept of a connection while it is sent to; then no more is received
// From 6.13 on one call runs so much of the work that makes completions, or as much as it is asked to wait for. So where
// a turn brought as many, the next one waits a little for as many again: otherwise there are more calls.
const USUAL_BATCH = 20, MAX_BATCH = 256, MIN_WAIT_US = 20;
const UNWATCHED = 16; // completions in a row without a look at the clock: each may have brought 1024 requests
const ENDS = 256; // connections ended in a row because their time is over
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const MIN_PARTIAL = 256; // bytes of the first buffer for kept input; it doubles
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all connections together; beyond, a connection is dropped
const MAX_WORK_US = 100_000;
const SLICE_US = 20_000; // the longest burn without a look at signals
const TURN_MS = 40; // the longest stretch of other work without a look at signals; a look costs about 90 µs
const HEAD_MS = 10_000; // from the first byte of a head to its last
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
      close: { parameters: ["i32"], result: "i32" },
      eventfd: { parameters: ["i32", "i32"], result: "i32" },
      munmap: { parameters: ["pointer", "usize"], result: "i32" },
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

// ---- Connection: a direct descriptor, six bytes and, only while there are any, the bytes left over ------------------

/** Input that waits for more, or for a send to complete. */
interface Partial {
  bytes: Uint8Array<ArrayBuffer>;
  /** How many of `bytes` are input; one behind them is free. */
  length: number;
  /** When a head must be complete. It is set by the first byte and does not move. */
  deadlineMs: number;
}

// The number of a connection, `fd`, is a direct descriptor: a slot, counted through the tables of all rings.
const RECEIVING = 1, SENDING = 2, CANCELLING = 4; // the kernel has these in flight; it has none when a connection is closed
const UNREAD = 8; // `partial` may hold whole requests
const LAST = 16; // the last answer is made: input is thrown away
const LINGERING = 32; // the last answer is in the socket
const ENDED = 64; // no more input will come
const CONTINUING = 128; // a completion will come that goes on with it
const ABANDONED = 256; // what is in flight is cancelled until nothing is
const SHUTTING = 512; // a thread of the kernel is at work on it, and has yet to look up the slot
const states = new Uint16Array(MAX_CONNECTIONS), quickTurns = new Uint32Array(MAX_CONNECTIONS); // see `sendQuickly`
// By descriptor. A Map keeps the order of insertion, so those whose time is over stand in front.
const partial = new Map<number, Partial>();
const lingering = new Map<number, number>(); // when it is closed at the latest
const reply = { first: HELLO_KEPT, count: 0, length: 0, isLast: false }; // what `answer` has made and `flush` will send
const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} as Record<string, number> };
let open = 0, sending = 0, accepting = 0; // connections, and sends and accepts in flight
let maxOpen = CONNECTIONS;
let isListening = true, isFull = false;
let keptBytes = 0; // of all buffers in `partial`
let stopping = false, isPaused = false; // paused: the system had no room for more, so none is accepted for a while

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function forgetPartial(fd: number): void {
  keptBytes -= partial.get(fd)?.bytes.length ?? 0;
  partial.delete(fd);
}

/** Only when the kernel has nothing in flight: what is in flight would meet the next connection in this slot. */
function closeConnection(fd: number): void {
  if (partial.size > 0) forgetPartial(fd);
  if (lingering.size > 0) lingering.delete(fd);
  states[fd] = 0;
  open--;
  submitClose(fd);
}

/** Throws input away and has what is in flight complete, which leads to the close. */
function abandon(fd: number): void {
  forgetPartial(fd);
  states[fd] = states[fd]! & ~UNREAD | LAST | LINGERING | ENDED | ABANDONED;
  cancelAll(fd);
}

function dropConnection(fd: number, error: string): void {
  countError(error);
  abandon(fd);
}

/** Keeps input behind what is kept already. Returns null if the connection was dropped, as there was too much of all. */
function keep(fd: number, input: Uint8Array, from: number, to: number): Partial | null {
  const known = partial.get(fd);
  const length = known?.length ?? 0, needed = length + to - from;
  if (known !== undefined && needed < known.bytes.length) {
    known.bytes.set(input.subarray(from, to), length);
    known.length = needed;
    return known;
  }
  let capacity = MIN_PARTIAL;
  while (capacity <= needed) capacity *= 2;
  keptBytes += capacity - (known?.bytes.length ?? 0);
  const bytes = new Uint8Array(capacity);
  const kept = known ?? { bytes, length, deadlineMs: readClockMs() + HEAD_MS };
  bytes.set(kept.bytes.subarray(0, length));
  bytes.set(input.subarray(from, to), length);
  kept.bytes = bytes;
  kept.length = needed;
  partial.set(fd, kept);
  if (keptBytes <= MAX_KEPT_BYTES) return kept;
  dropConnection(fd, "MAX_KEPT_BYTES");
  return null;
}

/** Keeps what is left of input that was answered, which may be what was kept. Returns false if the connection was dropped. */
function keepRest(fd: number, input: Uint8Array<ArrayBuffer>, from: number, to: number): boolean {
  const known = partial.size > 0 ? partial.get(fd) : undefined;
  if (known === undefined) return keep(fd, input, from, to) !== null;
  if (from === 0) return true; // the same head has grown
  input.copyWithin(0, from, to);
  known.length = to - from;
  known.deadlineMs = readClockMs() + HEAD_MS;
  partial.delete(fd); // so that the new head stands behind all others
  partial.set(fd, known);
  return true;
}

/**
 * Answers input, or keeps it: answers must not overtake others that the socket has not taken yet. Returns the µs of CPU to
 * burn before `reply` may be sent.
 */
function take({ memory, turn }: Ring, fd: number, from: number, to: number): number {
  const mustWait = (states[fd]! & (SENDING | UNREAD)) !== 0 || quickTurns[fd] === turn;
  if (!mustWait && (partial.size === 0 || !partial.has(fd))) return answer(fd, memory, from, to, 0);
  const scanned = partial.get(fd)?.length ?? 0;
  const kept = keep(fd, memory, from, to);
  if (kept === null) return 0;
  if (!mustWait) return answer(fd, kept.bytes, 0, kept.length, scanned);
  states[fd]! |= UNREAD;
  if ((states[fd]! & (SENDING | CONTINUING)) === 0) submitContinue(fd);
  if (kept.length >= MAX_CARRIED && (states[fd]! & (RECEIVING | CANCELLING)) === RECEIVING) cancelReceive(fd);
  return 0;
}

/**
 * Answers the whole requests of the input up to the first that burns CPU, so that no pipeline holds up other clients and
 * signals; what is left is kept. All answers leave by one submission, and none is copied.
 */
function answer(fd: number, input: Uint8Array<ArrayBuffer>, from: number, to: number, scanned: number): number {
  const behind = input[to]!; // of another connection: it may stand there already
  let at = from, status = 0, head = INCOMPLETE;
  reply.count = reply.length = 0;
  do {
    head = parseHead(input, at, to, at === from ? scanned : 0);
    if (head === INCOMPLETE) break;
    if (status !== 0) append(fd, answerTo(status, false));
    status = request.status;
    if (status === 200) counts.served++;
    else countError(status);
    at += head;
  } while (at < to && request.keepAlive && request.workUs === 0 && reply.count < MAX_ANSWERS - 1);
  input[to] = behind;
  const workUs = head === INCOMPLETE ? 0 : request.workUs;
  const isLast = head !== INCOMPLETE && (!request.keepAlive || (stopping && at === to));
  if (at < to && !isLast) {
    if (!keepRest(fd, input, at, to)) return 0;
    if (head !== INCOMPLETE) states[fd]! |= UNREAD;
  } else if (partial.size > 0) forgetPartial(fd);
  if (status === 0) return 0; // no request is whole
  append(fd, answerTo(status, isLast));
  reply.isLast = isLast;
  if (workUs === 0) flush(fd);
  return workUs;
}

/** Takes an answer into `reply`. */
function append(fd: number, bytes: Uint8Array<ArrayBuffer>): void {
  if (reply.count === 0) reply.first = bytes;
  else {
    if (reply.count === 1) beginMessage(ringOf(fd), reply.first);
    putIovec(ringOf(fd), reply.count, bytes);
  }
  reply.count++;
  reply.length += bytes.length;
}

/** Hands `reply` to the kernel, which has it until it is sent: with MSG_WAITALL it completes then, or with an error. */
function flush(fd: number): void {
  const { first, count, length, isLast } = reply;
  if (count === 1 && first === HELLO_KEPT && (states[fd]! & UNREAD) === 0) return sendQuickly(fd);
  states[fd]! |= isLast ? SENDING | LAST : SENDING;
  sending++;
  if (count === 1) submitSend(IORING_OP_SEND, fd, addressOf(first), length, length);
  else submitSend(IORING_OP_SENDMSG, fd, endMessage(ringOf(fd), count), 1, length);
}

/** Goes on when something has completed: with kept requests, the linger, another receive, or the close. Returns µs to burn. */
function proceed(fd: number): number {
  const state = states[fd]!;
  if ((state & (SENDING | CONTINUING)) !== 0) return 0;
  if (quickTurns[fd] === ringOf(fd).turn) { // the answer is not sent yet
    submitContinue(fd);
    return 0;
  }
  if ((state & UNREAD) !== 0) {
    states[fd] = state & ~UNREAD;
    const { bytes, length } = partial.get(fd)!;
    const workUs = answer(fd, bytes, 0, length, 0);
    return workUs > 0 ? workUs : proceed(fd); // by now it is sent to, or a head is not whole
  }
  const isOver = (state & (ENDED | RECEIVING)) === ENDED;
  if ((state & (LAST | LINGERING)) === LAST && !isOver) linger(fd);
  if ((state & (RECEIVING | CANCELLING)) !== 0) return 0;
  if (isOver) {
    if ((state & SHUTTING) === 0) closeConnection(fd);
  } else submitReceive(fd); // after ENOBUFS too: every buffer is back before the next call
  return 0;
}

/**
 * Ends this half once the last answer is in the socket. With input unread close(2) would send RST, and the peer might
 * lose the answer: so input is taken and thrown away until the peer closes too.
 */
function linger(fd: number): void {
  states[fd]! |= LINGERING;
  lingering.set(fd, readClockMs() + LINGER_MS);
  submitShutdown(fd);
}

/** Ends those whose time is over, except where kept input waits for this server and not for the peer. */
function endLate(turnMs: number): void {
  let ended = 0;
  for (const [fd, deadlineMs] of lingering) {
    if (deadlineMs > turnMs || ended++ === ENDS) break;
    lingering.delete(fd);
    abandon(fd);
  }
  for (const [fd, { deadlineMs }] of partial) {
    if (deadlineMs > turnMs || ended++ >= ENDS) break;
    if ((states[fd]! & (SENDING | UNREAD)) !== 0) continue;
    forgetPartial(fd);
    countError(408);
    reply.count = reply.length = 0;
    append(fd, answerTo(408, true));
    reply.isLast = true;
    flush(fd);
  }
}

const NETWORK_ERRORS = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH];
const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];

function onAccepted(ring: Ring, result: number): void {
  accepting--;
  ring.accepting--;
  if (result >= 0) {
    counts.accepted++;
    open++;
    submitReceive(ring.first + result);
    return;
  }
  freeSlot(ring);
  if (!isListening || PASSING_ERRORS.includes(-result)) return;
  countError(getSystemErrorName(result)); // ENFILE, ENOBUFS, ENOMEM: asked again at once it would spin
  isPaused = true;
}

/** Takes a piece of a buffer. Without F_MORE the receive is over: end of input, an error, no buffer, or cancelled. */
function onReceived(fd: number, result: number, flags: number): number {
  let workUs = 0;
  if (result > 0) {
    const ring = ringOf(fd);
    const buffer = flags >>> IORING_CQE_BUFFER_SHIFT;
    const from = bufferAt(buffer, lentBytes) + ring.filled[buffer]!;
    counts.bytes_in += result;
    if ((states[fd]! & (LAST | ENDED)) === 0) workUs = take(ring, fd, from, from + result);
    if ((flags & IORING_CQE_F_BUF_MORE) !== 0) ring.filled[buffer]! += result;
    else giveBack(ring, buffer);
  } else if (result === 0) states[fd]! |= ENDED;
  else if (result === -ENOBUFS) countError("ENOBUFS");
  else if (result !== -ECANCELED && (states[fd]! & ENDED) === 0) {
    dropConnection(fd, getSystemErrorName(result)); // this connection only
  }
  if ((flags & IORING_CQE_F_MORE) !== 0) return workUs;
  states[fd]! &= ~RECEIVING;
  return workUs > 0 ? workUs : proceed(fd);
}

function onSent(fd: number, result: number, expected: number): number {
  sending--;
  states[fd]! &= ~SENDING;
  if (result > 0) counts.bytes_out += result;
  if (result < 0 && (states[fd]! & ENDED) === 0) dropConnection(fd, getSystemErrorName(result));
  else if (result < expected) { // cancelled, or by an error that the kernel does not name
    if ((states[fd]! & (ENDED | LAST)) === 0) dropConnection(fd, "SHORT_SEND");
    else abandon(fd);
  }
  return proceed(fd);
}

/** The socket did not take all of a quick answer: the rest is sent as others are. */
function onQuickFailed(fd: number, result: number): void {
  const taken = Math.max(result, 0), rest = HELLO_KEPT.length - taken;
  counts.bytes_out -= rest;
  if ((states[fd]! & LAST) !== 0) return; // it was abandoned
  if (result < 0 && result !== -EAGAIN) return dropConnection(fd, getSystemErrorName(result));
  states[fd]! |= SENDING;
  sending++;
  submitSend(IORING_OP_SEND, fd, helloAddress + taken, rest, rest);
}

function onContinued(fd: number): number {
  states[fd]! &= ~CONTINUING;
  return proceed(fd);
}

function onCancelled(fd: number): number {
  states[fd]! &= ~CANCELLING;
  if ((states[fd]! & ABANDONED) !== 0) cancelAll(fd); // what the kernel was at work on it did not find
  return proceed(fd);
}

/** It fails only where the peer is gone: the receive reports that. */
function onShut(fd: number): number {
  states[fd]! &= ~SHUTTING;
  return proceed(fd);
}

// ---- The rings: how they are opened, and what is submitted -----------------------------------------------------------

// One piece of memory holds what all rings use. At these offsets:
const ANSWERS_AT = 0; // each answer once, for all sends
const WAIT_AT = 4096, TIMESPEC_AT = WAIT_AT + 24; // how long a call waits: struct io_uring_getevents_arg and its timespec
const WAKES_AT = WAIT_AT + 64, WAKE_BYTES = 8; // where the counts of eventfds are read to
const SHARED_BYTES = 8192;
// And one piece for each ring:
const MESSAGES_AT = 0, MESSAGES_END = MESSAGES_AT + 4 * IOVEC_WORDS * IOVECS; // struct msghdr, each with its iovecs
const LENT_AT = MESSAGES_END; // the ring of lent buffers, at the start of a page: a struct io_uring_buf for each
const BUFFERS_AT = LENT_AT + 16 * OLD_BUFFERS;
const bufferAt = (buffer: number, bytes: number) => BUFFERS_AT + buffer * (bytes + GAP);
const ENTER = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;

/** What a part of a ring was refused with. */
class Refused extends Error {
  readonly code = errno[0]!;
}

/** Returns the result of a system call. */
function granted(result: number, action: string): number {
  if (result < 0) throw new Refused(action);
  return result;
}

const { memory: shared, address: sharedAddress } = map(SHARED_BYTES, -1, 0n) ?? refuseToRun(new Refused("map memory"));
const sharedWords = new Int32Array(shared);
const waitPointer = Deno.UnsafePointer.create(BigInt(sharedAddress + WAIT_AT)),
  waitBytes = Deno.UnsafePointer.create(WAIT_BYTES);

const addresses = new Map<Uint8Array, number>(); // of the answers
for (const answer of [HELLO_KEPT, HELLO_LAST, ...REFUSED_KEPT.values(), ...REFUSED_LAST.values()]) {
  const at = ANSWERS_AT + addresses.size * 128; // no answer is longer
  new Uint8Array(shared).set(answer, at);
  addresses.set(answer, sharedAddress + at);
}
const helloAddress = addresses.get(HELLO_KEPT)!;
const addressOf = (answer: Uint8Array) => answer === HELLO_KEPT ? helloAddress : addresses.get(answer)!;

putAddress(sharedWords, (WAIT_AT >> 2) + WAIT_TIMESPEC, sharedAddress + TIMESPEC_AT);

/** A ring, its table of connections and its buffers. The names in capitals are words of `queues`. */
type Ring = ReturnType<typeof openRing>;
const SLOTS = readTableSize();
const main = openMain(); // the ring that the thread waits for
const { is612, lentBytes } = main;
const rings: Ring[] = [main];
const ringOf = (fd: number): Ring => rings[fd / SLOTS | 0]!;
const busy = new Set<Ring>(); // those besides the first one that have something to submit, or to take
let roomy = 0; // no ring before this one has a free slot

/** Slots of a table: the kernel allows as many as a process may have descriptors, though none of them is one. */
function readTableSize(): number {
  const limit = new BigUint64Array(2); // struct rlimit
  libc.getrlimit(RLIMIT_NOFILE, limit); // fails for an unknown limit only
  return Math.min(Number(limit[0]), IORING_MAX_FIXED_FILES);
}

/** Opens the first ring. Without it nothing can be served. */
function openMain(): Ring {
  try {
    const ring = openRing(0);
    // struct io_uring_rsrc_update. Registered, the ring has an index, which spares each call a search by descriptor. A
    // thread may register but sixteen, so the others are found by descriptor.
    const update = Int32Array.of(-1, 0, ring.handle, 0);
    granted(
      libc.io_uring_register(SYS_IO_URING_REGISTER, ring.handle, IORING_REGISTER_RING_FDS, update, 1),
      "register",
    );
    ring.handle = update[0]!;
    ring.enterFlags = ENTER | IORING_ENTER_REGISTERED_RING;
    ring.isBusy = true; // each turn begins with it
    return ring;
  } catch (error) {
    if (error instanceof Refused) return refuseToRun(error);
    throw error;
  }
}

/** Opens another ring where all tables are full. Returns null if the system refuses: it is asked again after a pause. */
function addRing(): Ring | null {
  try {
    const ring = openRing(rings.length);
    rings.push(ring);
    submitWake(ring);
    return ring;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    countError(getSystemErrorName(-error.code));
    isPaused = true;
    return null;
  }
}

/** Says why there is no ring. */
function refuseToRun({ code, message }: Refused): never {
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
  unavailable(`io_uring, ${message}: ${getSystemErrorName(-code)} (${code}), ${reason}.`);
}

/** Opens a ring with an empty table, and lends it buffers. */
function openRing(index: number) {
  using undo = new DisposableStack(); // what is open already, if a later step is refused
  const params = new Int32Array(PARAMS_WORDS);
  params[PARAMS_FLAGS] = IORING_SETUP_CQSIZE | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER |
    IORING_SETUP_DEFER_TASKRUN;
  params[PARAMS_CQ_ENTRIES] = COMPLETIONS;
  const fd = granted(libc.io_uring_setup(SYS_IO_URING_SETUP, SUBMISSIONS, params), "set up");
  undo.defer(() => void libc.close(fd));
  const is612 = (params[PARAMS_FEATURES]! & IORING_FEAT_MIN_TIMEOUT) !== 0; // or newer: of that release are several features
  const lentBuffers = is612 ? BUFFERS : OLD_BUFFERS, lentBytes = is612 ? BUFFER : OLD_BUFFER;
  const { memory, address } = undo.use(mapOrRefuse(bufferAt(lentBuffers, lentBytes), -1, 0n, "map memory"));
  const ring = {
    ...mapQueues(fd, params, undo),
    ...{ first: index * SLOTS, index, handle: fd, enterFlags: ENTER, eventFd: -1 },
    ...{ is612, lentBuffers, lentBytes, address },
    memory: new Uint8Array(memory),
    words: new Int32Array(memory),
    halves: new Uint16Array(memory),
    filled: new Int32Array(lentBuffers), // bytes of each buffer that earlier receives have filled
    tail: 0, // of submissions, and of buffers, before the kernel is told
    lentTail: 0,
    messageAt: MESSAGES_AT >> 2, // the word at which the next msghdr starts
    turn: 1, // counts up when all completions of the turn before were handled
    used: 0, // slots that are taken or set aside for an accept
    accepting: 0,
    isBusy: false, // it is in `busy`
  };
  registerTable(fd);
  lendBuffers(fd, ring);
  if (index > 0) {
    ring.eventFd = granted(libc.eventfd(0, EFD_CLOEXEC), "create an eventfd");
    undo.defer(() => void libc.close(ring.eventFd));
    const events = Int32Array.of(ring.eventFd);
    granted(
      libc.io_uring_register(SYS_IO_URING_REGISTER, fd, IORING_REGISTER_EVENTFD, events, 1),
      "register an eventfd",
    );
  }
  undo.move(); // nothing was refused
  return ring;
}

/** Maps memory, which a dispose gives back. */
function mapOrRefuse(length: number, fd: number, offset: bigint, action: string) {
  const mapped = map(length, fd, offset);
  if (mapped === null) throw new Refused(action);
  const { memory, address } = mapped;
  const dispose = () => void libc.munmap(Deno.UnsafePointer.create(BigInt(address)), BigInt(length));
  return { memory, address, [Symbol.dispose]: dispose };
}

/** Maps both queues of a ring. */
function mapQueues(fd: number, params: Int32Array, undo: DisposableStack) {
  const SQ_ARRAY = params[SQ_OFF_ARRAY]! >> 2, CQES = params[CQ_OFF_CQES]! >> 2;
  const length = 4 * Math.max(SQ_ARRAY + SUBMISSIONS, CQES + CQE_WORDS * COMPLETIONS);
  const { memory } = undo.use(mapOrRefuse(length, fd, IORING_OFF_SQ_RING, "map the queues"));
  const entries = undo.use(mapOrRefuse(4 * SQE_WORDS * SUBMISSIONS, fd, IORING_OFF_SQES, "map the submissions"));
  const queues = new Int32Array(memory);
  for (let i = 0; i < SUBMISSIONS; i++) queues[SQ_ARRAY + i] = i; // submissions are taken in the order of their entries
  return {
    queues,
    sqes: new Int32Array(entries.memory),
    SQ_HEAD: params[SQ_OFF_HEAD]! >> 2,
    SQ_TAIL: params[SQ_OFF_TAIL]! >> 2,
    SQ_FLAGS: params[SQ_OFF_FLAGS]! >> 2,
    CQ_HEAD: params[CQ_OFF_HEAD]! >> 2,
    CQ_TAIL: params[CQ_OFF_TAIL]! >> 2,
    CQ_FLAGS: params[CQ_OFF_FLAGS]! >> 2,
    CQES,
  };
}

/** Gives a ring an empty table of direct descriptors. */
function registerTable(fd: number): void {
  const table = Int32Array.of(SLOTS, IORING_RSRC_REGISTER_SPARSE, 0, 0, 0, 0, 0, 0); // struct io_uring_rsrc_register
  const result = libc.io_uring_register(SYS_IO_URING_REGISTER, fd, IORING_REGISTER_FILES2, table, table.byteLength);
  granted(result, `register a table of ${SLOTS} slots`);
}

/** Lends the buffers to the kernel. */
function lendBuffers(fd: number, ring: Ring): void {
  for (let buffer = 0; buffer < ring.lentBuffers; buffer++) giveBack(ring, buffer);
  ring.halves[(LENT_AT >> 1) + BUF_RING_TAIL_HALF] = ring.lentTail;
  const lent = new Int32Array(10); // struct io_uring_buf_reg { u64 ring_addr; u32 ring_entries; u16 bgid; u16 flags; … }
  putAddress(lent, 0, ring.address + LENT_AT);
  lent[2] = ring.lentBuffers;
  lent[3] = ring.is612 ? IOU_PBUF_RING_INC << 16 : 0;
  const result = libc.io_uring_register(SYS_IO_URING_REGISTER, fd, IORING_REGISTER_PBUF_RING, lent, 1);
  granted(result, "lend the buffers");
}

/** Writes an address of 64 bits into two words: what is above the lower half is cut off. */
function putAddress(target: Int32Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value / 2 ** 32;
}

/** Writes a struct io_uring_buf, except for its resv: in the first one that is the tail of the ring. */
function giveBack(ring: Ring, buffer: number): void {
  const { words, lentBytes } = ring;
  const at = (LENT_AT >> 2) + BUF_WORDS * (ring.lentTail & ring.lentBuffers - 1);
  ring.lentTail = ring.lentTail + 1 & 0xffff;
  ring.filled[buffer] = 0;
  putAddress(words, at + BUF_ADDRESS, ring.address + bufferAt(buffer, lentBytes));
  words[at + BUF_LENGTH] = lentBytes;
  ring.halves[2 * at + BUF_NUMBER_HALF] = buffer;
}

/** Starts a message to which answers are added: it points to them, so none is copied. */
function beginMessage(ring: Ring, first: Uint8Array): void {
  const needed = MSGHDR_WORDS + IOVEC_WORDS * MAX_ANSWERS;
  if (ring.messageAt + needed > MESSAGES_END >> 2) enter(ring, 0, 0); // those of before are taken with their submissions
  putIovec(ring, 0, first);
}

function putIovec(ring: Ring, place: number, answer: Uint8Array): void {
  const at = ring.messageAt + MSGHDR_WORDS + IOVEC_WORDS * place;
  putAddress(ring.words, at, addressOf(answer));
  ring.words[at + IOVEC_LENGTH] = answer.length;
  ring.words[at + IOVEC_LENGTH + 1] = 0; // half of an address may have stood here: messages before were of other lengths
}

/** Ends the message and returns its address. */
function endMessage(ring: Ring, count: number): number {
  const { messageAt: at, address } = ring;
  ring.words.fill(0, at, at + MSGHDR_WORDS); // the same for its other fields: a name or a control message would be sent
  putAddress(ring.words, at + MSGHDR_IOV, address + 4 * (at + MSGHDR_WORDS));
  ring.words[at + MSGHDR_IOVLEN] = count;
  ring.messageAt += MSGHDR_WORDS + IOVEC_WORDS * count;
  return address + 4 * at;
}

// The kind of a submission stands in the upper half of its user_data, above it the bytes of a send; below, the connection,
// or the number of a ring for the kinds from ACCEPT on.
const RECEIVE = 0, SEND = 1, QUICK = 2, CONTINUE = 3, CANCEL = 4, SHUT = 5, CLOSED = 6;
const ACCEPT = 7, WAKE = 8, STOP = 9, KIND_MASK = 15, KIND_BITS = 4;

/** Fills a struct io_uring_sqe: words that no operation here uses stay 0. If none is free, all are submitted at once. */
function submit(
  ring: Ring,
  operation: number,
  fd: number,
  at: number,
  length: number,
  flags: number,
  owner: number,
  kind: number,
): number {
  const { queues, sqes } = ring;
  if (!ring.isBusy) begin(ring);
  if ((ring.tail - queues[ring.SQ_HEAD]! | 0) === SUBMISSIONS) enter(ring, 0, 0);
  const entry = SQE_WORDS * (ring.tail & SUBMISSIONS - 1);
  ring.tail = ring.tail + 1 | 0;
  sqes[entry + SQE_OPERATION] = operation;
  sqes[entry + SQE_FD] = fd;
  putAddress(sqes, entry + SQE_ADDRESS, at);
  sqes[entry + SQE_LENGTH] = length;
  sqes[entry + SQE_OPERATION_FLAGS] = flags;
  sqes[entry + SQE_USER_DATA] = owner;
  sqes[entry + SQE_USER_DATA + 1] = kind;
  sqes[entry + SQE_FILE_INDEX] = 0;
  return entry;
}

const FIXED = IOSQE_FIXED_FILE << SQE_FLAGS_SHIFT, SILENT = IOSQE_CQE_SKIP_SUCCESS << SQE_FLAGS_SHIFT;

/** Submits an operation on a connection. */
function submitTo(fd: number, operation: number, at: number, length: number, flags: number, kind: number): void {
  const ring = ringOf(fd);
  submit(ring, operation | FIXED, fd - ring.first, at, length, flags, fd, kind);
}

/** Takes one connection into any free slot; whoever submits it has set one aside. */
function submitAccept(ring: Ring, listener: number): void {
  const entry = submit(ring, IORING_OP_ACCEPT, listener, 0, 0, 0, ring.index, ACCEPT);
  ring.sqes[entry + SQE_FILE_INDEX] = IORING_FILE_INDEX_ALLOC;
}

/** Ends the accepts of a ring; each of them completes. */
function cancelAccepts(ring: Ring): void {
  const userData = ring.index + ACCEPT * 2 ** 32;
  submit(ring, IORING_OP_ASYNC_CANCEL, 0, userData, 0, IORING_ASYNC_CANCEL_ALL, ring.index, STOP);
}

/** Reads the eventfd of another ring, as soon as it is not 0: then that ring has something to do. It is 0 again then. */
function submitWake(ring: Ring): void {
  submit(main, IORING_OP_READ, ring.eventFd, sharedAddress + WAKES_AT, WAKE_BYTES, 0, ring.index, WAKE);
}

const RECEIVE_ALL = IORING_OP_RECV | IOSQE_BUFFER_SELECT << SQE_FLAGS_SHIFT | IORING_RECV_MULTISHOT << SQE_IOPRIO_SHIFT;

function submitReceive(fd: number): void {
  states[fd]! |= RECEIVING;
  submitTo(fd, RECEIVE_ALL, 0, 0, 0, RECEIVE);
}

/** `bytes`: how many are sent if all goes well. */
function submitSend(operation: number, fd: number, at: number, length: number, bytes: number): void {
  submitTo(fd, operation, at, length, MSG_NOSIGNAL | MSG_WAITALL, SEND | bytes << KIND_BITS);
}

const SEND_QUICKLY = IORING_OP_SEND | FIXED | SILENT;

/**
 * Sends the usual answer without a completion if the socket takes all of it: that spares half of all completions. As it
 * does not wait, it is over when the next call returns. If the socket is full, a completion says how much it has taken.
 */
function sendQuickly(fd: number): void {
  const ring = ringOf(fd), slot = fd - ring.first;
  quickTurns[fd] = ring.turn;
  counts.bytes_out += HELLO_KEPT.length;
  const flags = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT;
  submit(ring, SEND_QUICKLY, slot, helloAddress, HELLO_KEPT.length, flags, fd, QUICK);
}

/** Asks for a completion, which comes behind those of what was submitted before. */
function submitContinue(fd: number): void {
  states[fd]! |= CONTINUING;
  const ring = ringOf(fd);
  submit(ring, IORING_OP_NOP, 0, 0, 0, 0, fd, CONTINUE);
}

/** What is cancelled completes too. Where the kernel, at work on it, finds nothing, the next receive cancels again. */
function cancelReceive(fd: number): void {
  states[fd]! |= CANCELLING;
  const userData = fd + RECEIVE * 2 ** 32;
  submit(ringOf(fd), IORING_OP_ASYNC_CANCEL, 0, userData, 0, 0, fd, CANCEL);
}

/** Has all that is in flight for a connection complete. Where the kernel is at work on it, it is cancelled again. */
function cancelAll(fd: number): void {
  const state = states[fd]!;
  if ((state & (RECEIVING | SENDING)) === 0 || (state & CANCELLING) !== 0) return;
  states[fd] = state | CANCELLING;
  const ring = ringOf(fd), which = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD_FIXED | IORING_ASYNC_CANCEL_FD;
  submit(ring, IORING_OP_ASYNC_CANCEL, fd - ring.first, 0, 0, which, fd, CANCEL);
}

/** Ends this half. A thread of the kernel does it, which looks the slot up then: until it is done no other may have it. */
function submitShutdown(fd: number): void {
  states[fd]! |= SHUTTING;
  submitTo(fd, IORING_OP_SHUTDOWN, 0, SHUT_WR, 0, SHUT);
}

/** Frees the slot, for any accept that is submitted after this. Only a failure completes. */
function submitClose(fd: number): void {
  const ring = ringOf(fd);
  const entry = submit(ring, IORING_OP_CLOSE | SILENT, 0, 0, 0, 0, fd, CLOSED);
  ring.sqes[entry + SQE_FILE_INDEX] = fd - ring.first + 1;
  freeSlot(ring);
}

function freeSlot(ring: Ring): void {
  ring.used--;
  if (ring.index < roomy) roomy = ring.index;
}

/** One system call: submissions out, completions in. What it could not submit, the next call submits. */
function enter(ring: Ring, waitFor: number, waitMs: number): void {
  const { queues, SQ_HEAD } = ring;
  sharedWords[(WAIT_AT >> 2) + WAIT_MIN_US] = waitFor > 1 ? MIN_WAIT_US : 0;
  sharedWords[(TIMESPEC_AT >> 2) + TIMESPEC_NANOSECONDS] = waitMs * 1e6;
  Atomics.store(queues, ring.SQ_TAIL, ring.tail);
  const filled = ring.tail - queues[SQ_HEAD]! | 0;
  const { handle, enterFlags } = ring;
  const result = libc.io_uring_enter(SYS_IO_URING_ENTER, handle, filled, waitFor, enterFlags, waitPointer, waitBytes);
  const code = errno[0]!;
  if (result < 0 && code !== ETIME && code !== EINTR && code !== EAGAIN && code !== EBUSY) {
    must(result, "enter the ring");
  }
  if (queues[SQ_HEAD] === ring.tail) ring.messageAt = MESSAGES_AT >> 2;
  else if ((ring.tail - queues[SQ_HEAD]! | 0) === SUBMISSIONS) must(-1, "submit to the ring");
}

/** Has a ring served in this turn or the next. Meanwhile it need not write to its eventfd. */
function begin(ring: Ring): void {
  ring.isBusy = true;
  busy.add(ring);
  Atomics.store(ring.queues, ring.CQ_FLAGS, IORING_CQ_EVENTFD_DISABLED);
}

/** Whether a ring has nothing to submit and nothing to take. From then on its eventfd tells. */
function isAtRest(ring: Ring): boolean {
  const { queues } = ring;
  if (ring !== main) Atomics.store(queues, ring.CQ_FLAGS, 0);
  const waits = Atomics.load(queues, ring.SQ_FLAGS) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
  const isDone = waits === 0 && queues[ring.SQ_HEAD] === ring.tail &&
    queues[ring.CQ_HEAD] === Atomics.load(queues, ring.CQ_TAIL);
  if (ring !== main) {
    busy.delete(ring); // and behind all others, if it has still something to do
    ring.isBusy = false;
    if (!isDone) begin(ring);
  }
  return isDone;
}

// ---- The architecture: two rings shared with the kernel for each table of connections ------------------------------

// A receive buffer is lent to bytes that have come, not to a connection that waits. It is filled piece by piece:
//   in its ring ──► filled by the kernel ──► named in the flags of a completion ──► read in place by parseHead ──┐
//        ▲──── giveBack, which the kernel sees after the batch ◄──── what is left over is copied to `partial` ◄───┘

/** Submits accepts, as long as each can have a slot. */
function acceptMore(listener: number): void {
  while (accepting < ACCEPTS && open + accepting < maxOpen && !isPaused) {
    while (roomy < rings.length && rings[roomy]!.used === SLOTS) roomy++;
    const ring = rings[roomy] ?? addRing();
    if (ring === null) return;
    ring.used++;
    ring.accepting++;
    accepting++;
    submitAccept(ring, listener);
  }
  if (open < maxOpen) isFull = false;
  else if (!isFull) {
    isFull = true;
    countError("--connections"); // those that come now wait until others leave
  }
}

/** Takes one completion. Returns the µs of CPU to burn before `reply` may be sent. */
function onCompleted({ queues }: Ring, cqe: number): number {
  const fd = queues[cqe + CQE_USER_DATA]!, kind = queues[cqe + CQE_USER_DATA + 1]!;
  const result = queues[cqe + CQE_RESULT]!, flags = queues[cqe + CQE_FLAGS]!;
  switch (kind & KIND_MASK) {
    case RECEIVE:
      return onReceived(fd, result, flags);
    case SEND:
      return onSent(fd, result, kind >>> KIND_BITS);
    case CONTINUE:
      return onContinued(fd);
    case CANCEL:
      return onCancelled(fd);
    case SHUT:
      return onShut(fd);
    case QUICK:
      onQuickFailed(fd, result);
      return 0;
    case CLOSED:
      countError(getSystemErrorName(result));
      return 0;
    case ACCEPT:
      onAccepted(rings[fd]!, result);
      return 0;
    case WAKE:
      begin(rings[fd]!);
      submitWake(rings[fd]!);
      return 0;
    default: // STOP
      return 0;
  }
}

let heardMs = readClockMs(); // when signals were heard last

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
  heardMs = readClockMs();
}

let came = 0; // completions of this turn
let worker = 0; // the connection that has asked for CPU

/** Takes completions, up to one that burns CPU: returns its µs. What is left is there in the next turn. */
function takeCompletions(ring: Ring): number {
  const { queues } = ring;
  const start = queues[ring.CQ_HEAD]!, end = Atomics.load(queues, ring.CQ_TAIL);
  let head = start, workUs = 0;
  while (head !== end && workUs === 0) {
    const cqe = ring.CQES + CQE_WORDS * (head & COMPLETIONS - 1);
    worker = queues[cqe + CQE_USER_DATA]!;
    workUs = onCompleted(ring, cqe);
    head = head + 1 | 0;
    if ((head & UNWATCHED - 1) === 0 && readClockMs() - heardMs >= TURN_MS) break;
  }
  Atomics.store(queues, ring.CQ_HEAD, head);
  Atomics.store(ring.halves, (LENT_AT >> 1) + BUF_RING_TAIL_HALF, ring.lentTail);
  if (head === end && (queues[ring.SQ_FLAGS]! & IORING_SQ_CQ_OVERFLOW) === 0) ring.turn = ring.turn + 1 >>> 0;
  came = head - start | 0;
  return workUs;
}

/** Burns the CPU that a request asks for, then sends its answer. No other connection is served meanwhile. */
async function work(us: number): Promise<void> {
  const fd = worker;
  await burn(us);
  flush(fd);
  if ((states[fd]! & RECEIVING) === 0) proceed(fd); // its receive has ended meanwhile
}

/** Serves a ring until it is at rest, or for some calls. Returns how many completions came. */
async function serveRing(ring: Ring): Promise<number> {
  let sum = 0;
  for (let round = 0; round < ROUNDS; round++) {
    enter(ring, 0, 0);
    const workUs = takeCompletions(ring);
    sum += came;
    if (workUs > 0) await work(workUs);
    if (isAtRest(ring) || (workUs > 0 && isListening) || readClockMs() - heardMs >= TURN_MS) break;
  }
  return sum;
}

/** Accepts all whose handshake is done, as close(2) would reset them, and ends the accepts that wait for more. */
async function stopAccepting(listener: number): Promise<void> {
  let before = -1;
  for (let i = 0; i < BACKLOG && before !== counts.accepted; i++) {
    before = counts.accepted;
    acceptMore(listener);
    for (const ring of rings) if (ring.accepting > 0) await serveRing(ring);
  }
  isListening = false;
  for (const ring of rings) if (ring.accepting > 0) cancelAccepts(ring);
  libc.close(listener); // the kernel holds it as long as an accept is in flight
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  let tickMs = heardMs, stopAtMs = Infinity, batch = 1;
  for (;;) {
    if (isListening) acceptMore(listener);
    // io_uring_enter blocks this thread and with it Deno's event
    // loop, where signal handlers run: so for TURN_MS at most.
    enter(main, batch, busy.size > 0 ? 0 : stopping ? QUIET_MS : TURN_MS);
    const turnMs = readClockMs();
    const workUs = takeCompletions(main);
    batch = is612 && came >= USUAL_BATCH ? Math.min(came, MAX_BATCH) : 1;
    let sum = came;
    if (workUs > 0) await work(workUs);
    for (const ring of busy.size > 0 ? [...busy] : []) {
      if (readClockMs() - heardMs >= TURN_MS) break;
      sum += await serveRing(ring);
    }
    if (turnMs >= stopAtMs) return;
    if (stopAtMs < Infinity && sum + busy.size + sending + partial.size + lingering.size === 0) return;
    if (stopping && stopAtMs === Infinity) {
      await stopAccepting(listener);
      stopAtMs = readClockMs() + STOP_MS;
    }
    if (turnMs - tickMs < TURN_MS) continue;
    tickMs = turnMs;
    await hearSignals();
    endLate(turnMs);
    isPaused = false;
  }
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: number; connections: number } {
  try {
    const { values: { host, port, connections } } = parseArgs({
      args: Deno.args,
      options: {
        port: { type: "string", default: "8080" },
        host: { type: "string", default: "127.0.0.1" },
        connections: { type: "string", default: String(CONNECTIONS) },
      },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    if (!/^[1-9]\d{0,6}$/.test(connections) || Number(connections) > MAX_CONNECTIONS) {
      throw new Error(`--connections ${connections} is not a number from 1 to ${MAX_CONNECTIONS}.`);
    }
    return { host, port: Number(port), connections: Number(connections) };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS] [--connections N]`);
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
  maxOpen = Math.min(options.connections, SLOTS * Math.floor(MAX_CONNECTIONS / SLOTS));
  const { listener, port } = listenOn(options.host, options.port);
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener(
    "SIGUSR1",
    () => show({ event: "stats", open, ...counts, rings: rings.length }),
  );
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  show({ event: "stopped", ...counts });
  Deno.exit(0);
}
