/**
 * @title      prefork: N processes made beforehand share one listening socket
 * @family     blocking
 * @question   What if the processes are made before the connections come, as in Apache 1.x?
 * @idea       The parent listens and forks N workers, which all inherit the listening socket. Each blocks in accept(2);
 *             the kernel gives a connection to one of them, which serves it, with blocking calls, until it closes.
 * @prediction Connection N + 1 is not answered before another one is closed, even if all N of them sit idle. Up to N a
 *             new connection is answered in under half the time of process-per-conn: its process exists already.
 * @expect     hold(100).answered >= 100
 *             hold(101).answered <= 100
 *             churn(10).p50_us < 0.5 * process-per-conn
 * @compare    process-per-conn, worker-pool, blocking
 * @requires   linux 5.9, with glibc 2.34
 * @workers    processes that serve one connection at a time each; 100
 * @run        deno run --allow-ffi --v8-flags=--single-threaded prefork.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded,
 *             and no answer has a Date. HTTP/1.0 always closes, with Connection: keep-alive too.
 *             Between two heads a connection may idle for ever, and hold its process; keepalive probes end those whose
 *             peer is gone.
 *             The number of workers is fixed; Apache makes more under load, and replaces each after some requests.
 * @sources    fork(2), accept(2), madvise(2), signal(7), socket(7), tcp(7), prctl(2); Kegel, The C10K problem (1999);
 *             Stevens, UNIX Network Programming, volume 1, chapter 30; RFC 9110, RFC 9112 (HTTP/1.1)
 */

// The life of a connection. Its state is the line of code at which one of the processes stands; in brackets stands the
// call that this line blocks in. While all processes have a connection, the others wait in the kernel for accept4(2).
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
// reading    waits for bytes. From the first byte of a head on the receive timeout is what is left of 10 s.
// answering  all whole requests of one recv(2). send(2) blocks while the socket is full; the kernel ends a peer that
//            takes nothing.
// lingering  throws input away until the peer closes, 1 s at most. The clock starts when the socket has the last byte.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "prefork";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_KEEPALIVE = 9, SO_RCVTIMEO = 20; // <asm-generic/socket.h>
const IPPROTO_TCP = 6, TCP_NODELAY = 1, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6; // <netinet/tcp.h>
const TCP_USER_TIMEOUT = 18; // since Linux 2.6.37
const MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, SHUT_RD = 0, SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
const CLOCK_THREAD_CPUTIME_ID = 3, CLOCK_MONOTONIC_COARSE = 6; // <time.h>
const PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1, MAP_ANONYMOUS = 0x20, MAP_FAILED = 2n ** 64n - 1n; // <sys/mman.h>
const MADV_DOFORK = 11, AT_SYSINFO_EHDR = 33, O_RDONLY = 0; // <asm-generic/mman-common.h>, <elf.h>, <fcntl.h>
const SIGINT = 2, SIGKILL = 9, SIGUSR1 = 10, SIGTERM = 15; // <asm-generic/signal.h>
const SIG_BLOCK = 0, SIG_SETMASK = 2, PR_SET_PDEATHSIG = 1, WNOHANG = 1; // <signal.h>, <linux/prctl.h>, <linux/wait.h>
const ESRCH = 3, EINTR = 4, EAGAIN = 11, ENOMEM = 12; // <asm-generic/errno.h>
// Errors of the connection that accept(2) was to return, not of the listening socket: the next accept may succeed.
const ENONET = 64, EPROTO = 71, ENOPROTOOPT = 92, EOPNOTSUPP = 95, ENETDOWN = 100, ENETUNREACH = 101;
const ECONNABORTED = 103, EHOSTDOWN = 112, EHOSTUNREACH = 113;
const TIMESPEC_SECONDS = 0, TIMESPEC_NANOSECONDS = 2; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }
const TIMEVAL_SECONDS = 0, TIMEVAL_MICROSECONDS = 2; // words of struct timeval { i64 tv_sec; i64 tv_usec; }

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections in the accept queue; the kernel cuts it to net.core.somaxconn
const MAX_WORKERS = 1000; // each has page tables of its own, for all that the runtime has mapped
const SHARED_BYTES = 12_288; // of the pages that all processes share
const MIN_PAUSE_MS = 50, MAX_PAUSE_MS = 1000; // between replacements of dead workers: doubled if the new ones die, too
const BOTTOM = 0x10000n, PAGE = 4096n, MAX_VVAR = 64; // vm.mmap_min_addr; pages of the kernel's own below the vdso
const COMMAND_LINE = 4096; // bytes of it that are looked at
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. No process keeps more
const MAX_WORK_US = 100_000;
const TURN_MS = 50; // between two looks of the parent at its workers and at STOPPING
const PAUSE_MS = 50; // while descriptors or memory are missing
const HEAD_MS = 10_000; // from the first byte of a head to its last
const IDLE_MS = 86_400_000; // so long recv(2) blocks between two heads: without a bound no signal would end it
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
      open: { parameters: ["buffer", "i32"], result: "i32" },
      read: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      getenv: { parameters: ["buffer"], result: "pointer" },
      mmap: { parameters: ["pointer", "u64", "i32", "i32", "i32", "i64"], result: "pointer" },
      getauxval: { parameters: ["u32"], result: "u64" },
      madvise: { parameters: ["pointer", "u64", "i32"], result: "i32" },
      fork: { parameters: [], result: "i32" },
      pthread_sigmask: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
      signal: { parameters: ["i32", "pointer"], result: "pointer" },
      abs: { type: "pointer" },
      prctl: { parameters: ["i32", "u32"], result: "i32" },
      getppid: { parameters: [], result: "i32" },
      close_range: { parameters: ["u32", "u32", "i32"], result: "i32" },
      _exit: { parameters: ["i32"], result: "void" },
      waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      kill: { parameters: ["i32", "i32"], result: "i32" },
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
// With the last five the kernel ends connections whose peer is gone or takes nothing, at no cost in the processes.
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
  setReceiveTimeout(listener, IDLE_MS); // of accept4(2): without any bound it would not return at a signal
  must(libc.bind(listener, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  must(libc.listen(listener, BACKLOG), `listen on ${host}:${port}`);
  must(libc.getsockname(listener, address, new Int32Array([16])), "read the bound port");
  return { listener, port: address[2]! << 8 | address[3]! };
}

// ---- The runtime: fork(2) of a process in which V8 runs ------------------------------------------------------------

// fork(2) copies a single thread: the runtime's event loop, its thread pool and V8's helpers are not in the child. So a
// child makes system calls and ends by _exit(2): no await, no console, nothing of Deno. Nor must V8 leave work to its
// helpers, or a child now and then waits for one for ever: hence --v8-flags=--single-threaded in the @run line, with
// which this very thread collects garbage and compiles.
const PARENT = Deno.pid, HANDLED = [SIGINT, SIGTERM, SIGUSR1];
const children = new Set<number>(), waitStatus = new Int32Array(1);
const bottom = Deno.UnsafePointer.create(BOTTOM);
let span = libc.getauxval(AT_SYSINFO_EHDR) - BOTTOM; // bytes from `bottom` on in which V8 has mapped its heap
const allSignals = new Uint8Array(128).fill(255), usualSignals = new Uint8Array(128); // sigset_t

/** Whether V8 needs no helpers. Its flags stand in the command line, or in the environment. */
function isSingleThreaded(): boolean {
  const cString = (text: string) => bytes(text + "\0");
  const line = new Uint8Array(COMMAND_LINE);
  const file = must(libc.open(cString("/proc/self/cmdline"), O_RDONLY), "open /proc/self/cmdline");
  const length = must(libc.read(file, line, COMMAND_LINE), "read /proc/self/cmdline");
  libc.close(file);
  const variable = libc.getenv(cString("DENO_V8_FLAGS"));
  const flags = variable === null ? "" : Deno.UnsafePointerView.getCString(variable);
  return /--single[-_]threaded(?![-_\w])/.test(new TextDecoder().decode(line.subarray(0, length)) + " " + flags);
}

/** Has V8's heap copied, too. V8 excludes it (MADV_DONTFORK), page by page as it grows: a child would die at once. */
function includeHeap(): boolean {
  for (let pages = 0; pages < MAX_VVAR; pages++) {
    if (libc.madvise(bottom, span, MADV_DOFORK) === 0 || errno[0] === ENOMEM) return true; // ENOMEM: there are gaps
    span -= PAGE; // EINVAL, the first time: the kernel does not take its own pages below the vdso
  }
  return false;
}

/** Makes a child that does `job`, with the standard streams and `fd`. Returns its id, or −1 with errno. */
function fork(fd: number, job: () => void): number {
  if (!includeHeap()) return -1;
  libc.pthread_sigmask(SIG_BLOCK, allSignals, usualSignals); // cannot fail, as little as the calls of the child below
  const pid = libc.fork();
  if (pid === 0) {
    try {
      // The runtime's handlers would write into its own pipe. abs(3) does nothing, but a blocked call returns EINTR.
      for (const signal of HANDLED) libc.signal(signal, libc.abs);
      libc.prctl(PR_SET_PDEATHSIG, SIGKILL); // no child outlives its parent,
      if (libc.getppid() !== PARENT) libc._exit(1); // nor one that died before that
      // With the copy of another child's socket here, that connection would not end when its own child closes it.
      libc.close_range(3, fd - 1, 0);
      libc.close_range(fd + 1, 0xffffffff, 0);
      libc.pthread_sigmask(SIG_SETMASK, usualSignals, null);
      job();
      libc._exit(0);
    } finally {
      libc._exit(1); // whatever was thrown must not get out: the event loop is the parent's
    }
  }
  if (pid > 0) children.add(pid);
  libc.pthread_sigmask(SIG_SETMASK, usualSignals, null); // it leaves errno as it is
  return pid;
}

/** Forgets the children that have ended. */
function reap(): void {
  for (;;) {
    const pid = libc.waitpid(-1, waitStatus, WNOHANG);
    if (pid <= 0) return;
    children.delete(pid);
    if (waitStatus[0] !== 0) count(ESRCH); // it was killed
  }
}

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
}

/** Lets the children answer what is in flight, and ends those that have not ended after STOP_MS. */
async function stopChildren(): Promise<void> {
  const stopAtMs = readClockMs() + STOP_MS;
  while (children.size > 0 && readClockMs() < stopAtMs) {
    // A signal makes a blocked recv(2) return EINTR and leaves the socket as it is: half a request can still be
    // completed (after shutdown(2) it could not). One that comes just before the call is lost: so they are sent again.
    for (const pid of children) libc.kill(pid, SIGTERM);
    libc.usleep(1000);
    await hearSignals();
    reap();
  }
  killChildren();
}

/** Ends all children, whatever they do. */
function killChildren(): void {
  for (const pid of children) libc.kill(pid, SIGKILL); // never a stranger: its id is its own until it is waited for
  for (const pid of children) libc.waitpid(pid, null, 0);
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

/** Burns CPU time of this thread. The parent hears signals meanwhile. */
function burn(us: number): void {
  const untilUs = readCpuUs() + us;
  while (readCpuUs() < untilUs);
}

/** CPU time of this thread: time in which it does not run is not counted. */
function readCpuUs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1e6 + timespec[TIMESPEC_NANOSECONDS]! / 1e3;
}

// ---- Connection: a descriptor of one process, with its own copy of the inbox and the outbox ------------------------

const inbox = new Uint8Array(INBOX + 1), outbox = new Uint8Array(OUTBOX);
const lingering = new Map<number, number>(); // after SIGTERM: when they are closed at the latest

// What all processes share, by word; any other page is copied when a process writes to it. First whether the server
// stops; then counts of two words each, by status, by errno and by the keys below; then the connections of each worker.
const pages = libc.mmap(null, BigInt(SHARED_BYTES), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0n);
must(Deno.UnsafePointer.value(pages) === MAP_FAILED ? -1 : 0, "map shared pages");
const shared = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(pages!, SHARED_BYTES));
const STOPPING = 0; // of key 0 there is no count
const ACCEPTED = 600, BYTES_IN = 601, BYTES_OUT = 602, KEYS = 603; // above every status and errno
const OPEN = 2 * KEYS;

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
    if (times > 0 && key !== 200) errors[key < 200 ? getSystemErrorName(-key) : key] = times;
  }
  const bytes = { bytes_in: readCount(BYTES_IN), bytes_out: readCount(BYTES_OUT) };
  return { accepted: readCount(ACCEPTED), served: readCount(200), ...bytes, errors };
}

const LAST = -1, BROKEN = -2; // what `answer` returns in place of a number of bytes

/** Serves one connection until it is over (returns 0) or has its last answer (returns when lingering ends). */
function converse(fd: number): number {
  setReceiveTimeout(fd, IDLE_MS);
  let length = 0; // of a head whose end has not come
  let deadlineMs = 0; // of this head: it is set by the first byte and does not move
  for (;;) {
    const leftMs = length === 0 ? IDLE_MS : deadlineMs - readClockMs();
    if (length > 0 && leftMs > 0) setReceiveTimeout(fd, leftMs);
    const isIdle = length === 0 && isStopping(); // then only what has come already is served
    const flags = isIdle || leftMs <= 0 ? MSG_DONTWAIT : 0;
    const taken = libc.recv(fd, length === 0 ? inbox : inbox.subarray(length), INBOX - length, flags);
    if (taken === 0) return 0; // the peer has closed its half, and all it had asked for is answered
    if (taken < 0) {
      if (errno[0] !== EAGAIN && errno[0] !== EINTR) count(errno[0]!);
      else if (leftMs <= 0) return refuseLate(fd);
      else if (!isIdle) continue;
      return 0;
    }
    count(BYTES_IN, taken);
    const left = answer(fd, length + taken, length);
    if (left === BROKEN) return 0;
    if (left === LAST) return finish(fd);
    if (left === 0 && length > 0) setReceiveTimeout(fd, IDLE_MS);
    if (left > 0 && (length === 0 || left < length + taken)) deadlineMs = readClockMs() + HEAD_MS; // a new head
    length = left;
  }
}

/**
 * Answers the whole requests of the inbox. All answers leave by one call, and a single one from where it stands; but
 * before CPU is burnt, the answers so far leave. Returns the bytes left over, moved to the start, or LAST, or BROKEN.
 */
function answer(fd: number, length: number, scanned: number): number {
  let at = 0, out = 0, isLast = false;
  while (at < length && !isLast) {
    const head = parseHead(inbox, at, length, at === 0 ? scanned : 0);
    if (head === INCOMPLETE) break;
    at += head;
    if (request.workUs > 0) {
      if (out > 0 && !sendAll(fd, outbox, out)) return BROKEN;
      out = 0;
      burn(request.workUs);
    }
    count(request.status);
    isLast = !request.keepAlive || (at === length && isStopping());
    const bytes = answerTo(request.status, isLast);
    if (out === 0 && (isLast || at === length)) {
      if (!sendAll(fd, bytes, bytes.length)) return BROKEN;
    } else {
      outbox.set(bytes, out);
      out += bytes.length;
    }
  }
  if (out > 0 && !sendAll(fd, outbox, out)) return BROKEN;
  if (isLast) return LAST;
  if (at > 0 && at < length) inbox.copyWithin(0, at, length);
  return length - at;
}

/** Sends all. A peer that does not read holds this process here, and no other. Returns false if it is gone. */
function sendAll(fd: number, bytes: Uint8Array<ArrayBuffer>, length: number): boolean {
  let sent = 0;
  while (sent < length) {
    const taken = libc.send(fd, sent === 0 ? bytes : bytes.subarray(sent), length - sent, MSG_NOSIGNAL);
    if (taken >= 0) {
      count(BYTES_OUT, taken);
      sent += taken;
    } else if (errno[0] !== EINTR) {
      count(errno[0]!);
      return false;
    }
  }
  return true;
}

/** Answers a head that was not complete in time. */
function refuseLate(fd: number): number {
  count(408);
  const bytes = answerTo(408, true);
  return sendAll(fd, bytes, bytes.length) ? finish(fd) : 0;
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
function linger(fd: number, untilMs: number): boolean {
  const wasStopping = isStopping();
  for (let leftMs = untilMs - readClockMs(); leftMs > 0; leftMs = untilMs - readClockMs()) {
    setReceiveTimeout(fd, leftMs);
    const taken = libc.recv(fd, inbox, INBOX, 0);
    if (taken === 0) return true;
    if (taken > 0) count(BYTES_IN, taken);
    else if (errno[0] !== EAGAIN && errno[0] !== EINTR) {
      count(errno[0]!);
      return true;
    }
    if (isStopping() !== wasStopping) return false;
  }
  return true;
}

// ---- The architecture: N processes, and the listening socket that all of them block on -----------------------------

const NETWORK_ERRORS = [ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH];
const PASSING_ERRORS = [EINTR, ECONNABORTED, ...NETWORK_ERRORS];
const pids: number[] = []; // of the workers, by slot

/** Runs a worker: it accepts a connection, serves it until it ends, and accepts the next. */
function runWorker(listener: number, slot: number): void {
  for (;;) {
    const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
    if (fd >= 0) {
      count(ACCEPTED);
      Atomics.add(shared, OPEN + slot, 1);
      serveOne(fd, slot);
    } else if (!PASSING_ERRORS.includes(errno[0]!)) {
      if (isStopping()) break; // EAGAIN: none waits any more; EINVAL: another worker has ended the listening
      if (errno[0] === EAGAIN) continue;
      count(errno[0]!); // EMFILE, ENFILE, ENOBUFS, ENOMEM
      libc.usleep(PAUSE_MS * 1000);
    }
  }
  libc.shutdown(listener, SHUT_RD); // ends the listening in all processes, close(2) only here; fails where it has ended
  for (const [fd, untilMs] of lingering) {
    linger(fd, untilMs);
    closeConnection(fd, slot);
  }
}

/** Serves one connection. After SIGTERM its lingering is put off, so that those that wait are answered first. */
function serveOne(fd: number, slot: number): void {
  const untilMs = converse(fd);
  if (untilMs > 0 && (isStopping() || !linger(fd, untilMs))) lingering.set(fd, untilMs);
  else closeConnection(fd, slot);
}

function closeConnection(fd: number, slot: number): void {
  libc.close(fd); // a failure of close(2) leaves nothing that could be done
  Atomics.sub(shared, OPEN + slot, 1);
}

/** Connections of all workers that live. */
function countOpen(): number {
  let open = 0;
  for (const [slot, pid] of pids.entries()) if (children.has(pid)) open += Atomics.load(shared, OPEN + slot);
  return open;
}

/** Makes the workers that are missing. Returns false, with errno, if that cannot be done now. */
function startWorkers(listener: number, workers: number): boolean {
  for (let slot = 0; slot < workers; slot++) {
    if (children.has(pids[slot] ?? 0)) continue;
    Atomics.store(shared, OPEN + slot, 0); // the kernel has closed what the dead one had
    const pid = fork(listener, () => runWorker(listener, slot));
    if (pid < 0) return false;
    pids[slot] = pid;
  }
  return true;
}

/** Replaces workers that die, until `isStopping`; then until all of them have ended or STOP_MS are over. */
async function serve(listener: number, workers: number): Promise<void> {
  let pauseMs = MIN_PAUSE_MS, startedMs = readClockMs();
  while (!isStopping()) {
    await new Promise((resolve) => setTimeout(resolve, TURN_MS)); // this thread makes no calls: it hears signals at once
    reap();
    const ageMs = readClockMs() - startedMs;
    if (children.size === workers || ageMs < pauseMs) continue;
    pauseMs = ageMs > 2 * MAX_PAUSE_MS ? MIN_PAUSE_MS : Math.min(2 * pauseMs, MAX_PAUSE_MS);
    if (!startWorkers(listener, workers)) count(errno[0]!); // EAGAIN, ENOMEM: as many processes as there can be
    startedMs = readClockMs();
  }
  setReceiveTimeout(listener, 1); // of all processes: those that wait are accepted still, as close(2) would reset them
  await stopChildren();
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: number; workers: number } {
  try {
    const text = (value: string) => ({ type: "string", default: value }) as const;
    const { values: { host, port, workers } } = parseArgs({
      args: Deno.args,
      options: { port: text("8080"), host: text("127.0.0.1"), workers: text("100") },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    const isWorkers = /^[1-9]\d{0,3}$/.test(workers) && Number(workers) <= MAX_WORKERS;
    if (!isWorkers) throw new Error(`--workers ${workers} is not a number of workers (1..${MAX_WORKERS}).`);
    return { host, port: Number(port), workers: Number(workers) };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS] [--workers N]`);
    Deno.exit(2);
  }
}

function stop(): void {
  if (isStopping()) { // the second signal does not wait
    killChildren();
    Deno.exit(1);
  }
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
  reap();
  show({ event: "stats", open: countOpen(), ...readCounts() });
}

if (import.meta.main) {
  const options = readOptions();
  if (!isSingleThreaded()) {
    unavailable("a forked child would wait for helper threads of V8: start it with --v8-flags=--single-threaded.");
  }
  const { listener, port } = listenOn(options.host, options.port);
  if (!startWorkers(listener, options.workers)) {
    const error = getSystemErrorName(-errno[0]!);
    killChildren();
    unavailable(`worker ${children.size + 1} cannot be made: ${error}, choose fewer --workers.`);
  }
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGUSR1", showStats);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening, with ${options.workers} workers. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener, options.workers);
  show({ event: "stopped", ...readCounts() });
  Deno.exit(0);
}
