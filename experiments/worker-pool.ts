/**
 * @title      worker-pool: N threads made beforehand share a queue of connections
 * @family     blocking
 * @question   What if the number of threads is fixed, however many connections there are?
 * @idea       The threads are made at the start, where their price does not matter. The main thread puts a connection
 *             into a queue; a thread that is free takes it and serves it, with blocking calls, until it closes.
 * @prediction Connection N + 1 is not answered before another one is closed, even if all N of them sit idle.
 * @compare    thread-per-conn, blocking, epoll
 * @requires   linux 2.6.28, with glibc 2.30
 * @run        deno run --allow-ffi --allow-read worker-pool.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 * @sources    pthreads(7), signal(7), socket(7); Kegel, The C10K problem (1999), section 4; RFC 9112 (HTTP/1.1)
 */
const EXPERIMENT = "worker-pool";
const IS_WORKER = import.meta.url.endsWith("?worker"); // import.meta.main is true in a Worker too
const { getSystemErrorName, parseArgs } = IS_WORKER ? ({} as never) : await import("node:util"); // 1.8 MiB a Worker

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, IPPROTO_TCP = 6, TCP_NODELAY = 1; // <asm-generic/socket.h>, <netinet/tcp.h>
const SO_RCVTIMEO = 20, SHUT_WR = 1, SIGURG = 23; // <asm-generic/socket.h>, <sys/socket.h>, <asm-generic/signal.h>
const CLOCK_THREAD_CPUTIME_ID = 3; // <time.h>
const EINTR = 4, EAGAIN = 11, ECONNABORTED = 103; // <asm-generic/errno.h>

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const QUEUE = 16384; // connections that wait for a thread; beyond it, a power of two, they wait in the backlog
const WORKERS = /^([1-9]\d{0,2}|1000)$/; // each maps 32 areas of memory; beyond 65 530 (vm.max_map_count) Deno panics
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
    Deno.statSync(new URL(import.meta.url)); // a Worker loads this file again: without --allow-read it could not
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
      gettid: { parameters: [], result: "i32" },
      tgkill: { parameters: ["i32", "i32", "i32"], result: "i32" },
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
  // Accepted sockets inherit both from the listener on Linux: one call here instead of one for each connection.
  must(libc.setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, one, 4), "set TCP_NODELAY");
  must(libc.setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, SLICE, 16), "set SO_RCVTIMEO"); // of accept4(2)
  must(libc.bind(listener, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  must(libc.listen(listener, BACKLOG), `listen on ${host}:${port}`);
  must(libc.getsockname(listener, address, new Int32Array([16])), "read the bound port");
  return { listener, port: address[2]! << 8 | address[3]! };
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

// ---- Connection: one of the threads at a time, with its inbox and outbox -------------------------------------------

const inbox = new Uint8Array(INBOX), outbox = new Uint8Array(OUTBOX);
/** What all threads share: whether the server stops, counts by status or errno, the queue, and the ids of threads. */
let shared = new Int32Array(new SharedArrayBuffer(0));
const STOPPING = 0, HEAD = 512, TAIL = 513, RING = 514, LAST = QUEUE - 1, THREADS = RING + QUEUE; // errno < 512
const count = (statusOrErrno: number) => Atomics.add(shared, statusOrErrno, 1);
const stopping = () => Atomics.load(shared, STOPPING) === 1;

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
  for (let sent = 0; sent < out;) { // a peer that does not read holds this thread here, and no other
    // Deno ignores SIGPIPE (SigIgn in /proc/self/status): where the peer is gone, write(2) returns with EPIPE.
    const wrote = libc.write(fd, sent === 0 ? outbox : outbox.subarray(sent), out - sent);
    if (wrote >= 0) sent += wrote;
    else if (errno[0] !== EINTR) return count(errno[0]!), -1;
  }
  if (!request.keepAlive) return -1;
  inbox.copyWithin(0, at, length);
  return length - at;
}

// ---- The architecture: N threads, and the queue between them and the main thread -----------------------------------

/** The life of a thread. From take() to close(2) the descriptor is its own, and nobody else's. */
function live({ data }: MessageEvent<{ slot: number; shared: typeof shared }>): void {
  shared = data.shared;
  Atomics.store(shared, data.slot, libc.gettid());
  for (let fd = take(); fd >= 0; fd = take()) {
    converse(fd);
    libc.close(fd); // a failure of close(2) leaves nothing that could be done
  }
  Atomics.store(shared, data.slot, 0);
  close(); // of the Worker
}

/** Takes the connection that has waited longest, or sleeps until there is one; −1 at the end. */
function take(): number {
  for (;;) {
    const head = Atomics.load(shared, HEAD), tail = Atomics.load(shared, TAIL), fd = shared[RING + (head & LAST)]!;
    if (head === tail) {
      if (stopping()) return -1;
      Atomics.wait(shared, TAIL, tail); // a condition variable: it returns at once if TAIL is not `tail` any more
    } else if (Atomics.compareExchange(shared, HEAD, head, head + 1) === head) return fd; // else another was faster
  }
}

/** Makes the threads, and returns when all of them are ready to take a connection. */
async function startWorkers(workers: number): Promise<void> {
  shared = new Int32Array(new SharedArrayBuffer(4 * (THREADS + workers)));
  // A Worker takes 8 descriptors, and where there are none Deno does not throw but panics: so all are taken on trial.
  const trial = Array.from({ length: 8 * workers }, () => libc.socket(AF_INET, SOCK_STREAM, 0));
  if (trial.includes(-1)) unavailable(`${workers} workers need ${trial.length} descriptors, choose fewer --workers`);
  for (const fd of trial) libc.close(fd);
  for (let slot = THREADS; slot < shared.length; slot++) {
    new Worker(`${import.meta.url}?worker`, { type: "module" }).postMessage({ slot, shared });
  }
  for (; shared.includes(0, THREADS); await libc.sched_yield()) libc.usleep(1000);
}

/** Serves until `stopping`, then until all threads have ended or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  for (let turnAt = Date.now(); !stopping();) {
    const tail = shared[TAIL]!, isFull = tail - Atomics.load(shared, HEAD) > LAST;
    const fd = isFull ? -1 : libc.accept4(listener, null, null, SOCK_CLOEXEC), error = errno[0]!;
    if (fd >= 0) {
      shared[RING + (tail & LAST)] = fd;
      Atomics.add(shared, TAIL, 1);
      Atomics.notify(shared, TAIL, 1);
    } else if (isFull || error !== EAGAIN && error !== EINTR && error !== ECONNABORTED) { // EMFILE, ENFILE, ENOMEM
      if (!isFull) count(error);
      libc.usleep(TURN_MS * 1000);
    }
    if (Date.now() - turnAt < TURN_MS) continue;
    // A thread that only makes system calls never hears a signal: give one to another thread, and listen meanwhile.
    await libc.sched_yield();
    turnAt = Date.now();
  }
  libc.close(listener);
  // A signal makes a blocked read(2) return EINTR and leaves the socket as it is: half a request can still be completed
  // (after shutdown(2) it could not). One that comes just before the call is lost: so they are sent again and again.
  const threads = shared.subarray(THREADS);
  for (const stopAt = Date.now() + STOP_MS; Date.now() < stopAt && threads.some((id) => id !== 0);) {
    for (const id of threads) if (id > 0) libc.tgkill(Deno.pid, id, SIGURG); // fails only where it has just ended
    Atomics.notify(shared, TAIL); // wakes those that wait for a connection
    libc.usleep(1000);
    await libc.sched_yield();
  }
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
  if (stopping()) Deno.exit(1); // the second signal does not wait: blocked threads end too, 1 000 of them in a second
  Atomics.store(shared, STOPPING, 1);
}

if (IS_WORKER) addEventListener("message", (event) => live(event as MessageEvent));
else if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  await startWorkers(options.workers).catch((error: Error) => unavailable(`a thread is missing: ${error.message}`));
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGURG", () => {}); // ignored by default, and an ignored signal interrupts nothing
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening, with ${options.workers} workers. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  const tally = [...shared.subarray(0, HEAD).entries()].filter(([key, times]) => key > 0 && times > 0);
  const named = tally.map(([key, times]) => [key < 200 ? getSystemErrorName(-key) : key, times]);
  const { 200: served = 0, ...errors } = Object.fromEntries(named);
  console.log(JSON.stringify({ event: "stopped", accepted: shared[TAIL], served, errors }));
  Deno.exit(0);
}
