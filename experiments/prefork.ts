/**
 * @title      prefork: N processes made beforehand share one listening socket
 * @family     blocking
 * @question   What if the processes are made before the connections come, as in Apache 1.x?
 * @idea       The parent listens and forks N workers, which all inherit the listening socket. Each blocks in accept(2); the
 *             kernel gives a connection to one of them, and that one serves it, with blocking calls, until it closes.
 * @prediction Connection N + 1 is not answered before another one is closed, even if all N of them sit idle. Up to there a
 *             new connection is answered several times sooner than in process-per-conn: nothing is left to be made.
 * @compare    process-per-conn, worker-pool, blocking
 * @requires   linux 5.9, with glibc 2.34
 * @run        deno run --allow-ffi --v8-flags=--single-threaded prefork.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             The number of workers is fixed; Apache makes more under load, and replaces each after some requests.
 * @sources    fork(2), accept(2), madvise(2), signal(7), socket(7), prctl(2); Kegel, The C10K problem (1999); Stevens,
 *             UNIX Network Programming, volume 1, chapter 30; RFC 9112 (HTTP/1.1)
 */
import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "prefork";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, IPPROTO_TCP = 6, TCP_NODELAY = 1; // <asm-generic/socket.h>, <netinet/tcp.h>
const SO_RCVTIMEO = 20, SHUT_RD = 0, SHUT_WR = 1; // <asm-generic/socket.h>, <sys/socket.h>
const PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1, MAP_ANONYMOUS = 0x20, MAP_FAILED = 2n ** 64n - 1n; // <sys/mman.h>
const MADV_DOFORK = 11, AT_SYSINFO_EHDR = 33; // <asm-generic/mman-common.h>, <elf.h>
const SIGINT = 2, SIGKILL = 9, SIGTERM = 15, SIG_BLOCK = 0, SIG_SETMASK = 2; // <asm-generic/signal.h>
const PR_SET_PDEATHSIG = 1, WNOHANG = 1, CLOCK_THREAD_CPUTIME_ID = 3; // <linux/prctl.h>, <linux/wait.h>, <time.h>
const ESRCH = 3, EINTR = 4, EAGAIN = 11, ENOMEM = 12, ECONNABORTED = 103; // <asm-generic/errno.h>

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const WORKERS = /^([1-9]\d{0,2}|1000)$/; // a worker has page tables of its own, for all that the runtime has mapped
const MIN_PAUSE_MS = 50, MAX_PAUSE_MS = 1000; // how long dead workers are not replaced, doubled if the new ones die, too
const BOTTOM = 0x10000n, PAGE = 4096n, MAX_VVAR = 64; // vm.mmap_min_addr; pages of the kernel's own below the vdso
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one read(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may wait unsent
const MAX_WORK_US = 100_000;
const TURN_MS = 50; // the longest stretch without a look at signals, and the longest that accept4(2) may block
const LINGER_MS = 1000; // how long a connection that was answered for the last time may go on sending
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const SLICE = new BigInt64Array([0n, BigInt(TURN_MS * 1000)]), DAY = new BigInt64Array([86_400n, 0n]); // struct timeval

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path, a hundred times dearer.
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
      read: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      write: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      shutdown: { parameters: ["i32", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
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

/** Passes the result of a system call on. If it failed: ends with what was tried, the errno by name and what to do about it. */
function must(result: number, action: string, remedy = "see the manual page of the call"): number {
  if (result >= 0) return result;
  console.error(`Cannot ${action}: ${getSystemErrorName(-errno[0]!)} (${errno[0]}), ${remedy}`);
  return Deno.exit(1);
}

/** Creates the listening socket and returns it with the port that the kernel gave. */
function listenOn(host: string, port: number): { listener: number; port: number } {
  const one = new Int32Array([1]);
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  const listener = must(libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "create a socket");
  must(libc.setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, one, 4), "set SO_REUSEADDR");
  // Accepted sockets inherit TCP_NODELAY from the listener on Linux: one call here instead of one for each connection.
  must(libc.setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, one, 4), "set TCP_NODELAY");
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
const PARENT = Deno.pid, children = new Set<number>(), waitStatus = new Int32Array(1);
const bottom = Deno.UnsafePointer.create(BOTTOM);
let span = libc.getauxval(AT_SYSINFO_EHDR) - BOTTOM; // bytes from `bottom` on in which V8 has mapped its heap
const allSignals = new Uint8Array(128).fill(255), usualSignals = new Uint8Array(128); // sigset_t

const page = libc.mmap(null, 4096n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0n);
must(Deno.UnsafePointer.value(page) === MAP_FAILED ? -1 : 0, "map a shared page");
/** What all processes share: whether the server stops, and counts by status or errno. Any other page is copied on write. */
const shared = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(page!, 4096));
const STOPPING = 0, ACCEPTED = 512; // no status and no errno is 0, and none reaches 512
const count = (statusOrErrno: number) => Atomics.add(shared, statusOrErrno, 1);
const stopping = () => Atomics.load(shared, STOPPING) === 1;

/** Makes a child that lives `life`, with the standard streams and `fd`. Returns its id, or −1 with errno. */
function fork(fd: number, life: () => void): number {
  // V8 has its heap left out of the copy (MADV_DONTFORK), page by page as it grows: the child would die at once.
  for (let pages = 0; libc.madvise(bottom, span, MADV_DOFORK) < 0 && errno[0] !== ENOMEM; pages++) { // ENOMEM: gaps
    if (pages === MAX_VVAR) return -1; // EINVAL
    span -= PAGE; // the first time: the kernel does not take its own pages below the vdso
  }
  libc.pthread_sigmask(SIG_BLOCK, allSignals, usualSignals); // cannot fail, as little as the calls of the child below
  const pid = libc.fork();
  if (pid === 0) {
    try {
      // The runtime's handlers would write into its own pipe. abs(3) does nothing, but a blocked call returns EINTR.
      for (const signal of [SIGINT, SIGTERM]) libc.signal(signal, libc.abs);
      libc.prctl(PR_SET_PDEATHSIG, SIGKILL); // no child outlives its parent,
      if (libc.getppid() !== PARENT) libc._exit(1); // nor one that died before that
      // With the copy of another child's socket here, that connection would not end when its own child closes it.
      libc.close_range(3, fd - 1, 0);
      libc.close_range(fd + 1, 0xffffffff, 0);
      libc.pthread_sigmask(SIG_SETMASK, usualSignals, null);
      life();
      libc._exit(0);
    } finally {
      libc._exit(1); // whatever was thrown must not get out: the event loop is the parent's
    }
  }
  if (pid > 0) children.add(pid);
  libc.pthread_sigmask(SIG_SETMASK, usualSignals, null); // it leaves errno as it is
  return pid;
}

/** Takes leave of the children that have ended. */
function reap(): void {
  for (let pid = 0; (pid = libc.waitpid(-1, waitStatus, WNOHANG)) > 0;) {
    children.delete(pid);
    if (waitStatus[0] !== 0) count(ESRCH); // it was killed
  }
}

/** Lets the children answer what is in flight, and ends those that have not ended after STOP_MS. */
async function stopChildren(): Promise<void> {
  // A signal makes a blocked read(2) return EINTR and leaves the socket as it is: half a request can still be completed
  // (after shutdown(2) it could not). One that comes just before the call is lost: so they are sent again and again.
  for (const stopAt = Date.now() + STOP_MS; Date.now() < stopAt && children.size > 0; reap()) {
    for (const pid of children) libc.kill(pid, SIGTERM);
    libc.usleep(1000);
    await libc.sched_yield();
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

/** Burns CPU time of this thread; time in which the thread does not run is not counted. */
function burn(us: number): void {
  const clock = new BigInt64Array(2); // struct timespec
  const now =
    () => (libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, clock), Number(clock[0]) * 1e6 + Number(clock[1]) / 1e3);
  for (const until = now() + us; now() < until;);
}

// ---- Connection: a descriptor of one process, with its own copy of the inbox and the outbox ------------------------

const inbox = new Uint8Array(INBOX), outbox = new Uint8Array(OUTBOX);

/** Serves one connection until it ends. */
function converse(fd: number): void {
  libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, DAY, 16); // without any, read(2) would go on after a signal: signal(7)
  // `had` counts the bytes of a head whose end has not come; it is −1 once the last answer is out.
  for (let had = 0, until = Infinity; Date.now() < until;) {
    const got = libc.read(fd, had > 0 ? inbox.subarray(had) : inbox, had > 0 ? INBOX - had : INBOX);
    if (got === 0) return; // the peer's half is closed, and all it had asked for is answered
    if (got < 0 && errno[0] !== EINTR && errno[0] !== EAGAIN) return void count(errno[0]!);
    if (got < 0 && had === 0 && stopping()) return; // nothing is in flight
    if (got < 0 || had < 0) continue; // what comes behind the last answer is thrown away
    had = answer(fd, had + got);
    if (had >= 0) continue;
    // With input unread close(2) would send RST, and the peer might lose the answer: read on until it closes its half.
    libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: read(2) will tell
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, SLICE, 16);
    until = Date.now() + LINGER_MS;
  }
}

/** Answers every whole request in the inbox. Returns the bytes left over, moved to its start; −1 at the end. */
function answer(fd: number, length: number): number {
  let at = 0, out = 0, head = 1;
  request.keepAlive = true;
  while (at < length && request.keepAlive && (head = parseHead(inbox, at, length)) > 0) {
    at += head;
    if (request.workUs > 0) burn(request.workUs);
    const bytes = ANSWERS[request.status]!;
    outbox.set(bytes, out);
    out += bytes.length;
    count(request.status);
    if (stopping()) request.keepAlive = false;
  }
  for (let sent = 0; sent < out;) { // a peer that does not read holds this process here, and no other
    // Deno ignores SIGPIPE (SigIgn in /proc/self/status): where the peer is gone, write(2) returns with EPIPE.
    const wrote = libc.write(fd, sent === 0 ? outbox : outbox.subarray(sent), out - sent);
    if (wrote >= 0) sent += wrote;
    else if (errno[0] !== EINTR) return count(errno[0]!), -1;
  }
  if (!request.keepAlive) return -1;
  inbox.copyWithin(0, at, length);
  return length - at;
}

// ---- The architecture: N processes, and the listening socket that all of them block on -----------------------------

/** The life of a worker: it accepts a connection, serves it until it ends, and accepts the next. */
function work(listener: number): void {
  while (!stopping()) {
    const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC), error = errno[0]!;
    if (fd >= 0) {
      count(ACCEPTED);
      converse(fd);
      libc.close(fd); // a failure of close(2) leaves nothing that could be done
    } else if (error !== EAGAIN && error !== EINTR && error !== ECONNABORTED && !stopping()) { // EMFILE, ENFILE, ENOMEM
      count(error);
      libc.usleep(TURN_MS * 1000);
    }
  }
}

/** Makes the workers that are missing. Returns false, with errno, if that cannot be done now. */
function startWorkers(listener: number, workers: number): boolean {
  while (children.size < workers && fork(listener, () => work(listener)) > 0);
  return children.size === workers;
}

/** Replaces workers that die, until `stopping`; then until all of them have ended or STOP_MS are over. */
async function serve(listener: number, workers: number): Promise<void> {
  // A thread that only makes system calls never hears a signal: give one to another thread, and listen meanwhile.
  for (let pauseMs = 0, dueAt = 0, startedAt = 0; !stopping(); await libc.sched_yield()) {
    libc.usleep(TURN_MS * 1000);
    reap();
    const now = Date.now();
    if (children.size === workers || now < dueAt) continue;
    if (startedAt >= dueAt) { // a worker is missing since now: where one dies after the other, this must not spin
      pauseMs = now - startedAt > MAX_PAUSE_MS ? MIN_PAUSE_MS : Math.min(2 * pauseMs, MAX_PAUSE_MS);
      dueAt = now + pauseMs;
    } else {
      if (!startWorkers(listener, workers)) count(errno[0]!); // EAGAIN, ENOMEM: as many processes as there can be
      startedAt = now;
    }
  }
  libc.shutdown(listener, SHUT_RD); // it ends the listening in all processes at once, a close(2) only in this one
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
    if (!WORKERS.test(workers)) throw new Error(`--workers ${workers} is not a number of workers (1..1000).`);
    return { host, port: Number(port), workers: Number(workers) };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS] [--workers N]`);
    Deno.exit(2);
  }
}

function stop(): void {
  if (stopping()) { // the second signal does not wait
    killChildren();
    Deno.exit(1);
  }
  Atomics.store(shared, STOPPING, 1);
}

if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  if (!startWorkers(listener, options.workers)) {
    unavailable(
      `worker ${children.size + 1} cannot be made: ${getSystemErrorName(-errno[0]!)}, choose fewer --workers.`,
    );
  }
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening, with ${options.workers} workers. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener, options.workers);
  const tally = [...shared.subarray(0, ACCEPTED).entries()].filter(([key, times]) => key > 0 && times > 0);
  const named = tally.map(([key, times]) => [key < 200 ? getSystemErrorName(-key) : key, times]);
  const { 200: served = 0, ...errors } = Object.fromEntries(named);
  console.log(JSON.stringify({ event: "stopped", accepted: shared[ACCEPTED], served, errors }));
  Deno.exit(0);
}
