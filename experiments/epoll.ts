/**
 * @title      epoll: one thread asks only for what has happened
 * @family     readiness
 * @question   How can one thread hold ten thousand connections without asking about each of them every time?
 * @idea       The kernel keeps the interest set. A descriptor is registered once, epoll_wait(2) returns those that are
 *             ready and nothing else, so the cost of a call follows the activity and not the number of connections.
 * @prediction 10 000 connections are held and answered by one thread, and an idle one costs the process under 256 bytes.
 * @compare    select, poll, epoll-edge, io-uring, event-loop
 * @requires   linux 2.6.28
 * @run        deno run --allow-ffi epoll.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work burns the CPU of the only thread, so everybody waits for it: that is the price of one thread.
 * @sources    epoll(7), epoll_wait(2), accept4(2), recv(2), send(2); RFC 9112 (HTTP/1.1)
 */
import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "epoll";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, IPPROTO_TCP = 6, TCP_NODELAY = 1; // <asm-generic/socket.h>, <netinet/tcp.h>
const MSG_NOSIGNAL = 0x4000, SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
const CLOCK_THREAD_CPUTIME_ID = 3; // <time.h>
const EINTR = 4, EAGAIN = 11, ENFILE = 23, EMFILE = 24, ECONNABORTED = 103; // <asm-generic/errno.h>
const EPOLLIN = 0x1, EPOLLOUT = 0x4; // <sys/epoll.h>
const EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3, EPOLL_CLOEXEC = 0o2000000;
// struct epoll_event { u32 events; u64 data; } is packed to 12 bytes on x86-64 only; elsewhere data is aligned to 8.
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4, DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const EVENTS = 1024; // events taken from the kernel in one call: enough to make the call's cost vanish
const ACCEPTS = 64; // connections accepted in a row, so that a flood of new ones cannot starve the old ones
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one recv(2), more than MAX_HEAD so that an oversized head is seen as such
const OUTBOX = 96 * 1024; // bytes of answers to one INBOX: 1024 heads of 16 bytes, 68 bytes each. So much may wait unsent
const MAX_WORK_US = 100_000;
const TURN_MS = 50; // the longest stretch without a look at signals
const LINGER_MS = 1000; // how long a connection that was answered for the last time may go on sending
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path, a hundred times dearer.
function openLibc() {
  if (Deno.build.os !== "linux") unavailable(`epoll is a part of Linux, this is ${Deno.build.os}.`);
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
      epoll_create1: { parameters: ["i32"], result: "i32" },
      epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
      epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
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
  const listener = must(libc.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "create a socket");
  must(libc.setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, one, 4), "set SO_REUSEADDR");
  // Accepted sockets inherit TCP_NODELAY from the listener on Linux: one call here instead of one for each connection.
  must(libc.setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, one, 4), "set TCP_NODELAY");
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

// ---- Connection: a descriptor and, only while there are any, the bytes left over -----------------------------------

const inbox = new Uint8Array(INBOX), outbox = new Uint8Array(OUTBOX); // shared by all: an idle connection owns no buffer
const partial = new Map<number, Uint8Array>(); // descriptor → the start of a head whose end has not come
const unsent = new Map<number, Uint8Array<ArrayBuffer>>(); // descriptor → answers the socket did not take yet
const leaving = new Map<number, number>(); // descriptor, answered for the last time → when it is closed at the latest
const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function closeConnection(fd: number): void {
  partial.delete(fd);
  unsent.delete(fd);
  leaving.delete(fd);
  libc.close(fd); // it leaves the interest set by itself; a failure of close(2) leaves nothing that could be done
}

function dropConnection(fd: number): void {
  countError(getSystemErrorName(-errno[0]!));
  closeConnection(fd);
}

/** Takes what has come, answers every whole request in it, and sends the answers in one call. */
function onReadable(fd: number): void {
  const kept = partial.size > 0 ? partial.get(fd) : undefined;
  if (kept !== undefined) inbox.set(kept);
  const had = kept === undefined ? 0 : kept.length;
  const got = libc.recv(fd, had === 0 ? inbox : inbox.subarray(had), INBOX - had, 0);
  if (got < 0) {
    if (errno[0] !== EAGAIN && errno[0] !== EINTR) dropConnection(fd);
  } else if (got === 0) closeConnection(fd); // the peer's half is closed, and all it had asked for is answered
  else if (leaving.size === 0 || !leaving.has(fd)) answer(fd, had + got); // else: thrown away, the last answer is out
}

function answer(fd: number, length: number): void {
  let at = 0, out = 0, head = 1;
  request.keepAlive = true;
  while (at < length && request.keepAlive && (head = parseHead(inbox, at, length)) > 0) {
    at += head;
    if (request.workUs > 0) burn(request.workUs);
    const bytes = ANSWERS[request.status]!;
    outbox.set(bytes, out);
    out += bytes.length;
    if (request.status === 200) counts.served++;
    else countError(request.status);
  }
  if (partial.size > 0) partial.delete(fd);
  if (head === 0) partial.set(fd, inbox.slice(at, length));
  // With input unread close(2) would send RST, and the peer might lose this answer: so linger until it closes its half.
  else if (!request.keepAlive || stopping) leaving.set(fd, Date.now() + LINGER_MS);
  if (out > 0) flush(fd, outbox, out);
}

/** Sends answers. What the socket does not take waits for EPOLLOUT, and until then the connection is not read. */
function flush(fd: number, data: Uint8Array<ArrayBuffer>, length: number): void {
  const waited = unsent.size > 0 && unsent.has(fd);
  const sent = libc.send(fd, data, length, MSG_NOSIGNAL);
  if (sent < 0 && errno[0] !== EAGAIN && errno[0] !== EINTR) return dropConnection(fd);
  if (sent < length) {
    unsent.set(fd, data.slice(Math.max(sent, 0), length));
    if (!waited) watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    return;
  }
  if (waited) {
    unsent.delete(fd);
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  }
  if (leaving.size > 0 && leaving.has(fd)) libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv will tell
}

// ---- The architecture: one interest set, one loop ------------------------------------------------------------------

const epoll = must(libc.epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
const events = new Int32Array(EVENTS * EVENT_WORDS), event = new Int32Array(EVENT_WORDS);

/** Adds, changes or removes one descriptor of the interest set. `data`, which comes back with an event, is the descriptor. */
function watch(operation: number, fd: number, mask: number): number {
  event[0] = mask;
  event[DATA_WORD] = fd;
  return libc.epoll_ctl(epoll, operation, fd, event);
}

/** Accepts what waits. Returns false if no descriptor is left, so that the caller stops asking for a while. */
function acceptAll(listener: number): boolean {
  for (let i = 0; i < ACCEPTS; i++) {
    const fd = libc.accept4(listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      counts.accepted++;
      if (watch(EPOLL_CTL_ADD, fd, EPOLLIN) < 0) dropConnection(fd); // ENOSPC, ENOMEM: this connection only
    } else if (errno[0] === EMFILE || errno[0] === ENFILE) {
      countError(getSystemErrorName(-errno[0]));
      return false;
    } else if (errno[0] !== EINTR && errno[0] !== ECONNABORTED) return true; // EAGAIN: nobody waits any more
  }
  return true; // level-triggered: if more wait, epoll_wait says so again
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  must(watch(EPOLL_CTL_ADD, listener, EPOLLIN), "watch the listener");
  let accepting = true, turnAt = Date.now(), stopAt = Infinity;
  for (;;) {
    const ready = libc.epoll_wait(epoll, events, EVENTS, stopping ? 1 : TURN_MS);
    if (ready < 0 && errno[0] !== EINTR) must(ready, "wait for events");
    for (let i = 0; i < ready; i++) {
      const fd = events[i * EVENT_WORDS + DATA_WORD]!;
      if (fd === listener) {
        if (!acceptAll(listener)) accepting = watch(EPOLL_CTL_DEL, listener, 0) < 0; // level-triggered: it would spin
      } else if (unsent.size > 0 && unsent.has(fd)) flush(fd, unsent.get(fd)!, unsent.get(fd)!.length);
      else onReadable(fd); // EPOLLHUP and EPOLLERR too: recv(2) tells what it was
    }
    const now = Date.now();
    if (now >= stopAt || (stopAt < Infinity && ready === 0 && partial.size + unsent.size + leaving.size === 0)) return;
    if (now - turnAt < TURN_MS) continue;
    // A thread that only makes system calls never hears a signal: give one to another thread, and listen meanwhile.
    await libc.sched_yield();
    turnAt = Date.now();
    for (const [fd, until] of leaving) if (turnAt >= until) closeConnection(fd);
    if (stopping && stopAt === Infinity) {
      libc.close(listener);
      stopAt = turnAt + STOP_MS;
    } else if (!accepting && !stopping) accepting = watch(EPOLL_CTL_ADD, listener, EPOLLIN) >= 0;
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
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}
