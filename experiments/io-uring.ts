/**
 * @title      io_uring: one thread hands the work over and collects the results
 * @family     completion
 * @question   What is left for one thread if the kernel does not only wait for sockets, but reads and writes as well?
 * @idea       Requests leave by one ring of shared memory, results come by another: one system call moves many of both.
 * @prediction At 100 connections a request takes under a tenth of epoll's system calls, but over 70 % of its CPU time.
 * @compare    epoll, event-loop
 * @requires   linux 2.6.28, and 6.0 for io_uring: multishot accept and buffer rings are of 5.19, multishot receive and
 *             SINGLE_ISSUER of 6.0, DEFER_TASKRUN of 6.1. Where it is missing or forbidden, epoll does the work.
 * @run        deno run --allow-ffi io-uring.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 * @sources    io_uring(7), io_uring_setup(2), io_uring_enter(2), io_uring_register(2), epoll(7); RFC 9112 (HTTP/1.1)
 */
import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "io-uring";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
const SOL_SOCKET = 1, SO_REUSEADDR = 2, IPPROTO_TCP = 6, TCP_NODELAY = 1; // <asm-generic/socket.h>, <netinet/tcp.h>
const MSG_DONTWAIT = 0x40, MSG_WAITALL = 0x100, MSG_NOSIGNAL = 0x4000, SHUT_WR = 1, SHUT_RDWR = 2; // <bits/socket.h>
const PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_PRIVATE_ANONYMOUS = 0x22, MAP_FAILED = 2 ** 64; // <sys/mman.h>
const CLOCK_THREAD_CPUTIME_ID = 3, EPOLL_CLOEXEC = SOCK_CLOEXEC, ENOENT = 2; // <time.h>, <sys/epoll.h>, <errno.h>
const EINTR = 4, EAGAIN = 11, EBUSY = 16, EINVAL = 22, ETIME = 62, ECONNABORTED = 103, ENOBUFS = 105, ECANCELED = 125;
const EPOLLIN = 1, EPOLLOUT = 4, EPOLLONESHOT = 1 << 30, EPOLL_CTL_ADD = 1, EPOLL_CTL_MOD = 3; // <sys/epoll.h>
// struct epoll_event { u32 events; u64 data; } is packed to 12 bytes on x86-64 only; elsewhere data is aligned to 8.
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4, DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;
const SYS_IO_URING_SETUP = 425, SYS_IO_URING_ENTER = 426, SYS_IO_URING_REGISTER = 427; // <asm-generic/unistd.h>
const IORING_SETUP_SINGLE_ISSUER = 0x1000, IORING_SETUP_DEFER_TASKRUN = 0x2000; // <linux/io_uring.h>, and so to the end
const IORING_REGISTER_RING_FDS = 20, IORING_REGISTER_PBUF_RING = 22, IORING_OFF_SQES = 0x10000000n;
const ENTER_FLAGS = 1 | 8 | 16; // IORING_ENTER_GETEVENTS, IORING_ENTER_EXT_ARG, IORING_ENTER_REGISTERED_RING
const IORING_OP_ASYNC_CANCEL = 14, IORING_OP_SEND = 26, IORING_CQE_F_MORE = 2; // opcode | flags << 8 | ioprio << 16:
const IORING_OP_ACCEPT_MULTISHOT = 13 | 1 << 16, IORING_OP_RECV_MULTISHOT = 27 | 1 << 13 | 2 << 16;

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const SUBMISSIONS = 1024, COMPLETIONS = 2 * SUBMISSIONS; // powers of two; a full CQ loses nothing, but ends multishots
const BUFFERS = 512, BUFFER = 4096; // for all that is received (a power of two), and bytes in each; none free: ENOBUFS
const EVENTS = 1024; // events taken from the kernel in one call: enough to make the call's cost vanish
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const COPIES = 65536; // bytes of each answer, repeated: more than it takes to answer MAX_HEAD + BUFFER bytes
const MAX_WORK_US = 100_000;
const TURN_MS = 50; // the longest stretch without a look at signals
const LINGER_MS = 1000, STOP_MS = 1000; // what who was answered last may still send, and what is in flight at SIGTERM take

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path, a hundred times dearer.
function openLibc() {
  if (Deno.build.os !== "linux") unavailable(`io_uring and epoll are parts of Linux, this is ${Deno.build.os}.`);
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
      mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
      io_uring_setup: { name: "syscall", parameters: ["i32", "i32", "buffer"], result: "i32" },
      io_uring_register: { name: "syscall", parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
      syscall: { parameters: ["i32", "i32", "i32", "i32", "i32", "buffer", "u64"], result: "i32" }, // io_uring_enter
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

/** Maps memory that stays: the kernel uses it while JavaScript runs, and an ArrayBuffer might be collected. */
function map(length: number, fd = -1, offset = 0n, flags = fd < 0 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED) {
  const pointer = libc.mmap(null, BigInt(length), PROT_READ_WRITE, flags, fd, offset)!;
  const address = Number(Deno.UnsafePointer.value(pointer));
  must(address === MAP_FAILED ? -1 : 0, `map ${length} bytes`);
  return { memory: Deno.UnsafePointerView.getArrayBuffer(pointer, length), address };
}

/** Creates the listening socket and returns it with the port that the kernel gave. */
function listenOn(host: string, port: number): { listener: number; port: number } {
  const one = new Int32Array([1]);
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  const mode = ring < 0 ? SOCK_NONBLOCK : 0; // io_uring waits on a blocking socket, and gives EAGAIN on another
  const listener = must(libc.socket(AF_INET, SOCK_STREAM | mode | SOCK_CLOEXEC, 0), "create a socket");
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

// ---- Connection: a descriptor, a byte of state and, only while there are any, the bytes left over -------------------

const RECEIVING = 1, SENDING = 2, ENDED = 4; // a receive is in flight, a send is; nothing more will come
let states = new Uint8Array(1024); // by descriptor: all that an idle connection costs
const partial = new Map<number, Uint8Array>(); // descriptor → the start of a head whose end has not come
const unsent = new Map<number, number[]>(); // descriptor → answers behind the send in flight: status, bytes, status, …
const leaving = new Map<number, number>(); // descriptor, answered for the last time → when it is closed at the latest
const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
let stopping = false, sending = 0, paused = -1; // sends in flight; the listener, while no descriptor is left

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function onAccepted(listener: number, result: number, flags: number): void {
  if (result >= states.length) states = new Uint8Array(states.buffer.transfer(2 * result));
  if (result >= 0 && ++counts.accepted) receive(result);
  if ((flags & IORING_CQE_F_MORE) !== 0 || stopping) return;
  if (result >= 0 || result === -ECONNABORTED) accept(listener);
  else paused = listener, countError(getSystemErrorName(result)); // EMFILE, ENFILE: asked again at once it would spin
}

/** Takes what a buffer holds. Without F_MORE the receive is over: end of input, an error, no buffer, or cancelled. */
function onReceived(fd: number, result: number, flags: number): void {
  const at = bufferAt(flags >>> 16), ended = result <= 0 && result !== -ENOBUFS && result !== -ECANCELED;
  if (result > 0) {
    if ((states[fd]! & ENDED) === 0 && (leaving.size === 0 || !leaving.has(fd))) answer(fd, at, at + result);
    giveBack(flags >>> 16);
  } else if (ended && result < 0) countError(getSystemErrorName(result)); // it ends this connection only
  if ((flags & IORING_CQE_F_MORE) !== 0) return;
  states[fd] = states[fd]! & ~RECEIVING | (ended ? ENDED : 0);
  proceed(fd);
}

function answer(fd: number, at: number, to: number): void {
  const start = partial.size > 0 ? partial.get(fd) : undefined;
  if (start !== undefined) memory.set(start, at -= start.length); // every buffer has room for it in front
  let status = 0, out = 0, head = 1;
  request.keepAlive = true;
  while (at < to && request.keepAlive && (head = parseHead(memory, at, to)) > 0) {
    at += head;
    if (request.workUs > 0) burn(request.workUs);
    if (request.status !== status && out > 0) reply(fd, status, out), out = 0;
    status = request.status;
    out += ANSWERS[status]!.length;
    if (status === 200) counts.served++;
    else countError(status);
  }
  if (start !== undefined) partial.delete(fd);
  if (head === 0) partial.set(fd, memory.slice(at, to));
  // With input unread close(2) would send RST, and the peer might lose this answer: so linger until it closes its half.
  else if (!request.keepAlive || stopping) leaving.set(fd, Date.now() + LINGER_MS);
  if (out > 0) reply(fd, status, out);
}

/** Sends answers of one kind. During a send they wait, as one might overtake the other, and receiving is cancelled. */
function reply(fd: number, status: number, out: number): void {
  const behind = (states[fd]! & SENDING) !== 0;
  if (behind && unsent.get(fd)?.push(status, out)) return;
  if (behind) return unsent.set(fd, [status, out]), cancel(fd, RECEIVE);
  sending++, states[fd]! |= SENDING;
  const at = address + COPIES * answers.indexOf(ANSWERS[status]!);
  submit(SEND, IORING_OP_SEND, fd, at, out, MSG_NOSIGNAL | MSG_WAITALL);
}

function onSent(fd: number, result: number): void {
  sending--, states[fd]! &= ~SENDING;
  if (result < 0) { // if it is only short, an error came in between, and the receive will tell of it
    if ((states[fd]! & ENDED) === 0) countError(getSystemErrorName(result));
    states[fd]! |= ENDED, unsent.delete(fd), libc.shutdown(fd, SHUT_RDWR); // the receive ends too, if not by the error
  }
  proceed(fd);
}

/** What comes next: an answer, the farewell, another receive, or the close, which would not reach a socket in use. */
function proceed(fd: number): void {
  const state = states[fd]!, runs = unsent.size > 0 ? unsent.get(fd) : undefined;
  if ((state & SENDING) !== 0) return;
  if (runs?.length) return reply(fd, runs.shift()!, runs.shift()!);
  if (runs !== undefined) unsent.delete(fd);
  if (leaving.size > 0 && leaving.has(fd)) libc.shutdown(fd, SHUT_WR); // fails only where the peer is gone: recv will tell
  if ((state & RECEIVING) !== 0) return;
  if ((state & ENDED) === 0) return receive(fd); // after ENOBUFS too: every buffer is back before the next call
  states[fd] = 0, partial.delete(fd), leaving.delete(fd);
  libc.close(fd); // a failure of close(2) leaves nothing that could be done
}

// ---- The architecture: two rings shared with the kernel, and one system call ---------------------------------------

// A receive buffer is lent to bytes that have come, not to a connection that waits:
//   in its ring ──► filled by the kernel ──► named in the flags of a completion ──► read in place by parseHead ──┐
//        ▲──── giveBack, which the kernel sees after the batch ◄──── the start of a head is copied to `partial` ◄┘
const ACCEPT = 0, RECEIVE = 1, SEND = 2, CANCEL = 3; // user_data: the descriptor, and above it one of these
// What is cancelled completes for itself. A receive that was just between two polls is not found: ask again.
const onCancelled = (fd: number, result: number) =>
  void (result === -ENOENT && unsent.has(fd) && states[fd]! & RECEIVING && cancel(fd, RECEIVE));
const handlers = [onAccepted, onReceived, onSent, onCancelled];
const answers = Object.values(ANSWERS), LENT = COPIES * answers.length, WAIT = LENT + 16 * BUFFERS; // offsets
const bufferAt = (buffer: number) => WAIT + (buffer + 1) * (MAX_HEAD + BUFFER); // in front: the start of a head
const { memory: shared, address } = map(bufferAt(BUFFERS));
const memory = new Uint8Array(shared), words = new Int32Array(shared), halves = new Uint16Array(shared);
const wait = words.subarray(WAIT >> 2); // struct io_uring_getevents_arg, struct timespec
answers.forEach((a, i) => memory.set(bytes(String.fromCharCode(...a).repeat(COPIES / a.length)), i * COPIES));
const params = new Int32Array(30); // struct io_uring_params: flags at 2, offsets into the SQ from 10, the CQ from 20
const setup = (flags: number) => (params[2] = flags, libc.io_uring_setup(SYS_IO_URING_SETUP, SUBMISSIONS, params));
let tail = 0, submitted = 0, lentTail = 0, ring = setup(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
if (ring < 0 && errno[0] === EINVAL) ring = setup(IORING_SETUP_SINGLE_ISSUER); // whose work interrupts us
const failure = errno[0]!; // EINVAL: no SINGLE_ISSUER, and so no multishot receive, which came with the same release
const SQ_TAIL = params[11]! >> 2, SQ_ARRAY = params[16]! >> 2;
const CQ_HEAD = params[20]! >> 2, CQ_TAIL = params[21]! >> 2, CQES = params[25]! >> 2;
const rings = new Int32Array(map(4 * Math.max(SQ_ARRAY + SUBMISSIONS, CQES + 4 * COMPLETIONS), ring).memory);
const sqes = new Int32Array(map(64 * SUBMISSIONS, ring, IORING_OFF_SQES).memory);
const index = Int32Array.of(-1, 0, ring, 0); // struct io_uring_rsrc_update: spares each call a search by descriptor
if (ring >= 0) {
  for (let i = 0; i < BUFFERS; i++) giveBack(i);
  const lent = Int32Array.of(address + LENT, (address + LENT) / 2 ** 32, BUFFERS, 0, 0, 0, 0, 0, 0, 0);
  must(libc.io_uring_register(SYS_IO_URING_REGISTER, ring, IORING_REGISTER_PBUF_RING, lent, 1), "lend the buffers");
  must(libc.io_uring_register(SYS_IO_URING_REGISTER, ring, IORING_REGISTER_RING_FDS, index, 1), "register the ring");
  wait.set([address + WAIT + 24, (address + WAIT + 24) / 2 ** 32], 4);
}

/** Writes a struct io_uring_buf, except for its resv: in the first one it is the tail of the ring. */
function giveBack(buffer: number): void {
  const entry = (LENT >> 2) + 4 * (lentTail++ & BUFFERS - 1), at = address + bufferAt(buffer);
  words[entry] = at, words[entry + 1] = at / 2 ** 32, words[entry + 2] = BUFFER, halves[2 * entry + 6] = buffer;
}

/** Writes a struct io_uring_sqe of 16 words, of which an address takes two: the lower half is what fits into a word. */
function submit(kind: number, operation: number, fd: number, address: number, length: number, flags: number): void {
  if (ring < 0) return watch(kind, fd, address, length);
  const place = tail++ & SUBMISSIONS - 1, at = place << 4;
  rings[SQ_ARRAY + place] = place, sqes[at] = operation, sqes[at + 1] = fd, sqes[at + 4] = address;
  sqes[at + 5] = address / 2 ** 32, sqes[at + 6] = length, sqes[at + 7] = flags, sqes[at + 8] = fd, sqes[at + 9] = kind;
}

const accept = (listener: number) => submit(ACCEPT, IORING_OP_ACCEPT_MULTISHOT, listener, 0, 0, SOCK_CLOEXEC);
const receive = (fd: number) => (states[fd]! |= RECEIVING, submit(RECEIVE, IORING_OP_RECV_MULTISHOT, fd, 0, 0, 0));
const cancel = (fd: number, kind: number) => submit(CANCEL, IORING_OP_ASYNC_CANCEL, fd, fd + kind * 2 ** 32, 0, 0);
const abandon = (fd: number) => (unsent.delete(fd), cancel(fd, (states[fd]! |= ENDED) & SENDING ? SEND : RECEIVE));

/** One turn, one system call: submissions out, completions in. To wait for several (min_wait_usec) was not cheaper. */
function exchange(waitMs: number): number {
  wait[8] = waitMs * 1e6; // tv_nsec
  Atomics.store(rings, SQ_TAIL, tail);
  const taken = libc.syscall(SYS_IO_URING_ENTER, index[0]!, tail - submitted, 1, ENTER_FLAGS, wait, 24n);
  if (taken >= 0) submitted += taken;
  else if (![ETIME, EINTR, EAGAIN, EBUSY].includes(errno[0]!)) must(taken, "enter the ring"); // those mean: later
  const start = rings[CQ_HEAD]!, came = Atomics.load(rings, CQ_TAIL) - start | 0;
  const end = start + Math.min(came, SUBMISSIONS - tail + submitted >> 2) | 0; // what they ask for must fit the SQ
  for (let head = start; head !== end; head = head + 1 | 0) {
    const cqe = CQES + ((head & COMPLETIONS - 1) << 2); // struct io_uring_cqe { u64 user_data; s32 res; u32 flags; }
    handlers[rings[cqe + 1]!]!(rings[cqe]!, rings[cqe + 2]!, rings[cqe + 3]!);
  }
  Atomics.store(rings, CQ_HEAD, end), Atomics.store(halves, LENT / 2 + 7, lentTail);
  return came;
}

// ---- Where there is no io_uring: epoll tells when, and the same submissions are carried out here -------------------

const epoll = ring < 0 ? must(libc.epoll_create1(EPOLL_CLOEXEC), "create an epoll instance") : -1;
const events = new Int32Array(EVENTS * EVENT_WORDS), event = new Int32Array(EVENT_WORDS);
const sends = new Map<number, [at: number, length: number]>(); // descriptor → what it sends, or has sent last

function watch(kind: number, fd: number, at: number, length: number): void {
  if (kind === CANCEL) return handlers[at / 2 ** 32 | 0]!(fd, -ECANCELED, 0);
  if (kind === SEND) sends.set(fd, [at, length]);
  event[0] = (kind === SEND ? EPOLLOUT : EPOLLIN) | EPOLLONESHOT, event[DATA_WORD] = fd;
  if (libc.epoll_ctl(epoll, EPOLL_CTL_MOD, fd, event) === 0) return;
  if (libc.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event) < 0) handlers[kind]!(fd, -errno[0]!, 0); // ENOSPC, ENOMEM
}

/** The same turn as `exchange`. Nothing is multishot: receive and accept end with their first result. */
function emulate(waitMs: number): number {
  const ready = libc.epoll_wait(epoll, events, EVENTS, waitMs);
  if (ready < 0 && errno[0] !== EINTR) must(ready, "wait for events");
  for (let i = 0; i < ready; i++) {
    const fd = events[i * EVENT_WORDS + DATA_WORD]!, state = states[fd]!; // 0: no connection, but the listener
    const kind = state === 0 ? ACCEPT : (state & SENDING) === 0 ? RECEIVE : SEND;
    const [at, length] = kind === SEND ? sends.get(fd)! : [0, 0];
    let result = kind === ACCEPT ? libc.accept4(fd, null, null, SOCK_CLOEXEC) : 0;
    if (kind === RECEIVE) result = libc.recv(fd, memory.subarray(bufferAt(0)), BUFFER, MSG_DONTWAIT);
    if (kind === SEND) result = libc.send(fd, memory.subarray(at - address), length, MSG_DONTWAIT | MSG_NOSIGNAL);
    const done = Math.max(result, 0);
    if (result < 0 ? errno[0] === EAGAIN : done < length) watch(kind, fd, at + done, length - done);
    else handlers[kind]!(fd, result < 0 ? -errno[0]! : result, 0);
  }
  return Math.max(ready, 0);
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  accept(listener);
  let turnAt = Date.now(), stopAt = Infinity;
  for (;;) {
    const done = (ring < 0 ? emulate : exchange)(stopping ? 1 : TURN_MS), now = Date.now();
    if (now >= stopAt || (stopAt < Infinity && done === 0 && sending + partial.size + leaving.size === 0)) return;
    if (now - turnAt < TURN_MS) continue;
    // A thread that only makes system calls never hears a signal: give one to another thread, and listen meanwhile.
    await libc.sched_yield();
    turnAt = Date.now();
    for (const [fd, until] of leaving) if (turnAt >= until && tail - submitted < SUBMISSIONS / 2) abandon(fd);
    if (stopping && stopAt === Infinity) {
      cancel(listener, ACCEPT); // the kernel holds the listener as long as this is in flight
      libc.close(listener);
      stopAt = turnAt + STOP_MS;
    } else if (paused === listener && !stopping) accept(listener), paused = -1;
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
  const io = ring < 0 ? "epoll" : "io_uring";
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid, io }));
  const reason = failure === EINVAL ? "Linux 6.0 is needed" : "the kernel has none, or a sysctl or seccomp forbids it";
  if (ring < 0) console.error(`epoll does the work. io_uring: ${getSystemErrorName(-failure)}, ${reason}.`);
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}
