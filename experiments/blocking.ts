/**
 * @title      blocking: one thread, one connection at a time
 * @family     blocking
 * @question   What does the simplest server of all do while a client is slow?
 * @idea       accept(2), read(2), write(2), close(2), and again from the start. Each call blocks until it has something
 *             to say: the kernel does all the waiting, and the program reads like its own description.
 * @prediction One client costs as much CPU per request as by epoll, give or take a quarter; a second one is not served
 *             at all as long as the first one stays, even if that one is idle.
 * @compare    thread-per-conn, worker-pool, epoll
 * @requires   linux 2.6.28
 * @run        deno run --allow-ffi blocking.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             Calls block for 50 ms at most and are then made again, so that signals are heard between two of them.
 * @cannot serve-others A client that sits idle, or does not read its answers, holds the only thread for ever.
 * @sources    socket(7), accept(2), read(2), write(2); Stevens, UNIX Network Programming, chapter 30;
 *             RFC 9112 (HTTP/1.1)
 */
import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "blocking";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, IPPROTO_TCP = 6, TCP_NODELAY = 1; // <asm-generic/socket.h>, <netinet/tcp.h>
const SO_RCVTIMEO = 20, SO_SNDTIMEO = 21, SHUT_WR = 1; // <asm-generic/socket.h>, <sys/socket.h>
const CLOCK_THREAD_CPUTIME_ID = 3; // <time.h>
const EINTR = 4, EAGAIN = 11, ECONNABORTED = 103; // <asm-generic/errno.h>

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one read(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may wait unsent
const MAX_WORK_US = 100_000;
const TURN_MS = 50; // the longest stretch without a look at signals, and the longest that a call may block
const LINGER_MS = 1000; // how long a connection that was answered for the last time may go on sending
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const SLICE = new BigInt64Array([0n, BigInt(TURN_MS * 1000)]); // struct timeval: seconds, microseconds

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
  // Accepted sockets inherit these three from the listener on Linux: one call here instead of one for each connection.
  must(libc.setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, one, 4), "set TCP_NODELAY");
  must(libc.setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, SLICE, 16), "set SO_RCVTIMEO"); // of accept4(2) and read(2)
  must(libc.setsockopt(listener, SOL_SOCKET, SO_SNDTIMEO, SLICE, 16), "set SO_SNDTIMEO"); // of write(2)
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

// ---- Connection: a descriptor, and the bytes of the only one that is served ----------------------------------------

const inbox = new Uint8Array(INBOX), outbox = new Uint8Array(OUTBOX);
const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
let stopping = false, stopAt = Infinity; // what is in flight after `stopAt` is cut off
let turnAt = Date.now();

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;
const countErrno = () => countError(getSystemErrorName(-errno[0]!));

/** Whether a call failed only because its time was over or a signal came: then it is simply made again. */
const again = () => errno[0] === EAGAIN || errno[0] === EINTR;

/** A thread that only makes system calls never hears a signal: give one to another thread, and listen meanwhile. */
async function turn(): Promise<void> {
  if (Date.now() - turnAt < TURN_MS) return;
  await libc.sched_yield();
  turnAt = Date.now();
}

/** Serves one connection until it ends. */
async function converse(fd: number): Promise<void> {
  // `had` counts the bytes of a head whose end has not come; it is −1 once the last answer is out.
  for (let had = 0, until = Infinity; Date.now() < Math.min(until, stopAt); await turn()) {
    const got = libc.read(fd, had > 0 ? inbox.subarray(had) : inbox, had > 0 ? INBOX - had : INBOX);
    if (got === 0) return; // the peer's half is closed, and all it had asked for is answered
    if (got < 0 && !again()) return void countErrno();
    if (got < 0 && had === 0 && stopping) return; // nothing is in flight
    if (got < 0 || had < 0) continue; // what comes behind the last answer is thrown away
    had = await answer(fd, had + got);
    if (had >= 0) continue;
    // With input unread close(2) would send RST, and the peer might lose the answer: read on until it closes its half.
    libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: read(2) will tell
    until = Date.now() + LINGER_MS;
  }
}

/** Answers every whole request in the inbox. Returns the bytes left over, moved to its start; −1 at the end. */
async function answer(fd: number, length: number): Promise<number> {
  let at = 0, out = 0, head = 1;
  request.keepAlive = true;
  while (at < length && request.keepAlive && (head = parseHead(inbox, at, length)) > 0) {
    at += head;
    if (request.workUs > 0) {
      burn(request.workUs);
      await turn();
    }
    const bytes = ANSWERS[request.status]!;
    outbox.set(bytes, out);
    out += bytes.length;
    if (request.status === 200) counts.served++;
    else countError(request.status);
    if (stopping) request.keepAlive = false;
  }
  for (let sent = 0; sent < out && Date.now() < stopAt; await turn()) { // a peer that does not read stops all others
    // Deno ignores SIGPIPE (SigIgn in /proc/self/status): where the peer is gone, write(2) returns with EPIPE.
    const wrote = libc.write(fd, sent === 0 ? outbox : outbox.subarray(sent), out - sent);
    if (wrote >= 0) sent += wrote;
    else if (!again()) return countErrno(), -1;
  }
  if (!request.keepAlive) return -1;
  inbox.copyWithin(0, at, length);
  return length - at;
}

// ---- The architecture: one loop, one connection --------------------------------------------------------------------

/** Serves until `stopping`. All but one wait in the backlog: the kernel completes their handshake, nobody answers. */
async function serve(listener: number): Promise<void> {
  while (!stopping) {
    const fd = libc.accept4(listener, null, null, SOCK_CLOEXEC);
    if (fd >= 0) {
      counts.accepted++;
      await converse(fd);
      libc.close(fd); // a failure of close(2) leaves nothing that could be done
    } else if (!again() && errno[0] !== ECONNABORTED) { // EMFILE, ENFILE, ENOMEM: others hold what is missing
      countErrno();
      libc.usleep(TURN_MS * 1000);
    }
    await turn();
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
  stopAt = Date.now() + STOP_MS;
}

if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}
