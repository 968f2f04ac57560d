/**
 * @title      iocp: one thread hands requests to Windows and collects what is completed
 * @family     completion
 * @question   How can one thread hold ten thousand connections on Windows, which has neither epoll nor io_uring?
 * @idea       Requests are handed to the kernel, and come back by a queue, the completion port, once they are done. Until
 *             then what they work with must stay in place. So that a silent connection pins no buffer, it has a receive
 *             of zero bytes in flight: that is done as soon as something has come, which is taken only then.
 * @prediction 10 000 connections are held and answered by one thread, and an idle one costs the process under 512 bytes.
 * @compare    io-uring, epoll, event-loop
 * @requires   windows
 * @run        deno run --allow-ffi iocp.ts --port 8080
 * @try        curl -i http://127.0.0.1:8080/work/1000
 * @simplified IPv4 only. A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work burns the CPU of the only thread, so everybody waits for it: that is the price of one thread.
 * @sources    I/O Completion Ports, AcceptEx, WSARecv, WSASend (Windows API reference); RFC 9112 (HTTP/1.1)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "iocp";

// ---- Kernel ABI: 64-bit Windows, the same on x86-64 and aarch64 --------------------------------------------------

const AF_INET = 2, SOCK_STREAM = 1, IPPROTO_TCP = 6, TCP_NODELAY = 1, SD_SEND = 1; // <winsock2.h>, <ws2def.h>
const SOL_SOCKET = 0xffff, SO_EXCLUSIVEADDRUSE = ~4, FIONBIO = 0x8004667e | 0; // <winsock2.h>
const SO_UPDATE_ACCEPT_CONTEXT = 0x700b, ADDRESS = 32; // <mswsock.h>: AcceptEx wants 16 bytes behind each sockaddr_in
const MEM_RESERVE_COMMIT = 0x3000, PAGE_READWRITE = 4, INVALID_HANDLE_VALUE = -1n; // <winnt.h>, <handleapi.h>
const WAIT_TIMEOUT = 258, WSA_IO_PENDING = 997, WSAEWOULDBLOCK = 10035; // <winerror.h>
const WSAE = new Map([[10024, "EMFILE"], [10048, "EADDRINUSE"], [10053, "ECONNABORTED"], [10054, "ECONNRESET"]]);
// <minwinbase.h>: an OVERLAPPED is the kernel's note of one request, and what a program may set in it stays 0 here.
// OVERLAPPED_ENTRY { u64 key; u64 address of the OVERLAPPED; u64 Internal, which is an NTSTATUS; u32 bytes; }
const OVERLAPPED = 32, ENTRY_WORDS = 8, ADDRESS_WORD = 2, STATUS_WORD = 4;

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for AcceptEx
const SLOTS = 65536; // connections at most, with those to come; who comes then waits in the backlog
const ACCEPTS = 64; // of these: so many may come between two looks at the port without a wait
const ENTRIES = 1024; // completions taken from the kernel in one call: enough to make the call's cost vanish
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const INBOX = 16384; // bytes taken by one recv, more than MAX_HEAD so that an oversized head is seen as such
const ANSWERED = INBOX / 16; // answers to one INBOX, as no head is shorter. So many may wait unsent
const MAX_WORK_US = 100_000;
const GAP_MS = 0.1; // two looks at the clock in a row that are farther apart: the thread did not run
const TURN_MS = 50; // the longest stretch without a look at signals
const LINGER_MS = 1000; // how long a connection that was answered for the last time may go on sending
const STOP_MS = 1000; // how long what is in flight may take after Ctrl-C

// ---- libc: on Windows that is kernel32 and Winsock, every system call of this server -----------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Of the 64 bits of a HANDLE or SOCKET Windows promises to use 32: bound as i32, since a 64-bit parameter takes V8's slow
// path, a hundred times dearer. Only INVALID_HANDLE_VALUE has more.
function openLibraries() {
  if (Deno.build.os !== "windows") unavailable(`completion ports are a part of Windows, this is ${Deno.build.os}.`);
  try {
    return {
      ...Deno.dlopen("kernel32.dll", {
        CreateIoCompletionPort: { parameters: ["isize", "i32", "i32", "i32"], result: "i32" },
        GetQueuedCompletionStatusEx: { parameters: ["i32", "buffer", "i32", "buffer", "i32", "i32"], result: "i32" },
        SwitchToThread: { parameters: [], result: "i32", nonblocking: true },
        VirtualAlloc: { parameters: ["pointer", "usize", "i32", "i32"], result: "pointer" },
      }).symbols,
      ...Deno.dlopen("ws2_32.dll", {
        WSAStartup: { parameters: ["i32", "buffer"], result: "i32" },
        socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
        setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
        ioctlsocket: { parameters: ["i32", "i32", "buffer"], result: "i32" },
        bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
        getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
        listen: { parameters: ["i32", "i32"], result: "i32" },
        recv: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
        WSARecv: { parameters: ["i32", "buffer", "i32", "pointer", "buffer", "pointer", "pointer"], result: "i32" },
        WSASend: { parameters: ["i32", "buffer", "i32", "pointer", "i32", "pointer", "pointer"], result: "i32" },
        shutdown: { parameters: ["i32", "i32"], result: "i32" },
        closesocket: { parameters: ["i32"], result: "i32" },
        WSAGetLastError: { parameters: [], result: "i32" }, // the error of kernel32 as well
      }).symbols,
      ...Deno.dlopen("mswsock.dll", {
        AcceptEx: { parameters: ["i32", "i32", "pointer", "i32", "i32", "i32", "buffer", "pointer"], result: "i32" },
      }).symbols,
    };
  } catch (error) {
    return unavailable(error instanceof Error ? error.message : String(error));
  }
}
const libc = openLibraries();

/** Passes the result of a call on. If it failed: ends with what was tried, the error by name and what to do about it. */
function must(result: number, action: string, remedy = "see the reference of the call"): number {
  if (result >= 0) return result;
  const code = libc.WSAGetLastError();
  console.error(`Cannot ${action}: ${WSAE.get(code) ?? "Windows error"} (${code}), ${remedy}`);
  return Deno.exit(1);
}

/** Creates the listening socket and returns it with the port that the kernel gave. */
function listenOn(host: string, port: number): { listener: number; port: number } {
  const address = new Uint8Array(16); // struct sockaddr_in: family (native order), port and address (network order)
  address.set([AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  must(-libc.WSAStartup(0x0202, new Uint8Array(512)), "start Winsock 2.2"); // WSADATA has 408 bytes
  const listener = must(libc.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP), "create a socket");
  // Here SO_REUSEADDR would let a second server take the port. This forbids it even to one that sets SO_REUSEADDR.
  must(libc.setsockopt(listener, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, Int32Array.of(1), 4), "set SO_EXCLUSIVEADDRUSE");
  must(libc.bind(listener, address, 16), `bind ${host}:${port}`, "choose another --port (0: any) or --host");
  must(libc.listen(listener, -BACKLOG), `listen on ${host}:${port}`); // SOMAXCONN_HINT; if positive it is cut to 200
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
  // GetThreadTimes goes by ticks of 15.6 ms. But between two looks at a clock that are far apart this thread did not run.
  for (let left = us, before = performance.now(), now = before; left > 0; before = now) {
    now = performance.now();
    if (now - before < GAP_MS) left -= (now - before) * 1000;
  }
}

// ---- Connection: a slot, its socket, the one request that the kernel has of it, and the start of a head -------------

const ACCEPT = 1, RECEIVE = 2, SEND = 3; // what the kernel has, never two at a time; 0: nothing
const CLOSED = -1; // in place of the socket: the slot is free as soon as the kernel has given back what it had
const states = new Uint8Array(SLOTS), sockets = new Int32Array(SLOTS), inFlight = [0, 0, 0, 0]; // by slot; by state
const inbox = new Uint8Array(INBOX); // shared by all: an idle connection owns no buffer
const gather = new BigInt64Array(2 * ANSWERED); // WSABUFs of one send: u32 length, 4 bytes of padding, the address
const partial = new Map<number, Uint8Array>(); // slot → the start of a head whose end has not come
const leaving = new Map<number, number>(); // slot, answered for the last time → when it is closed at the latest
const counts = { accepted: 0, served: 0, errors: {} as Record<string, number> };
let stopping = false;

const countError = (name: string | number) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function closeConnection(slot: number): void {
  partial.delete(slot);
  leaving.delete(slot);
  libc.closesocket(sockets[slot]!); // what is in flight completes with an error; a failure leaves nothing to be done
  sockets[slot] = CLOSED;
  if (states[slot] === 0) free.push(slot);
}

function dropConnection(slot: number): void {
  const code = libc.WSAGetLastError();
  countError(WSAE.get(code) ?? `WSA ${code}`);
  closeConnection(slot);
}

/** Takes what has come, answers every whole request in it, and sends the answers in one call. */
function onReadable(slot: number): void {
  const kept = partial.size > 0 ? partial.get(slot) : undefined;
  if (kept !== undefined) inbox.set(kept);
  const had = kept === undefined ? 0 : kept.length;
  const got = libc.recv(sockets[slot]!, had === 0 ? inbox : inbox.subarray(had), INBOX - had, 0);
  if (got === 0) closeConnection(slot); // the peer's half is closed, and all it had asked for is answered
  else if (got < 0 && libc.WSAGetLastError() !== WSAEWOULDBLOCK) dropConnection(slot);
  else if (got < 0 || (leaving.size > 0 && leaving.has(slot))) receive(slot); // thrown away, the last answer is out
  else answer(slot, had + got);
}

function answer(slot: number, length: number): void {
  let at = 0, out = 0, head = 1;
  request.keepAlive = true;
  while (at < length && request.keepAlive && (head = parseHead(inbox, at, length)) > 0) {
    at += head;
    if (request.workUs > 0) burn(request.workUs);
    gather.set(lent[request.status]!, 2 * out++);
    if (request.status === 200) counts.served++;
    else countError(request.status);
  }
  if (partial.size > 0) partial.delete(slot);
  if (head === 0) partial.set(slot, inbox.slice(at, length));
  // With input unread closesocket would send RST, and the peer might lose this answer: so linger until it closes its half.
  else if (!request.keepAlive || stopping) leaving.set(slot, Date.now() + LINGER_MS);
  if (out > 0) send(slot, out);
  else receive(slot);
}

// ---- The architecture: requests go out one by one, and what is completed comes back by one queue -------------------

// The kernel works on these while JavaScript runs, and an ArrayBuffer might be collected, so they lie in memory that
// stays: an OVERLAPPED for each slot, behind them the answers, one copy for all sends, then the addresses of AcceptEx.
const ANSWER = 256, LENT = SLOTS * OVERLAPPED, SLAB = LENT + 8 * ANSWER; // bytes of an answer at most, offset, bytes
const slab = libc.VirtualAlloc(null, BigInt(SLAB), MEM_RESERVE_COMMIT, PAGE_READWRITE);
must(slab === null ? -1 : 0, `allocate ${SLAB} bytes`);
const addressOf = (offset: number) => Deno.UnsafePointer.value(slab) + BigInt(offset);
const memory = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(slab!, SLAB));
const lent: Record<number, BigInt64Array> = {}; // by status: the WSABUF of its answer
for (const [i, [status, bytes]] of Object.entries(ANSWERS).entries()) {
  memory.set(bytes, LENT + i * ANSWER);
  lent[Number(status)] = BigInt64Array.of(BigInt(bytes.length), addressOf(LENT + i * ANSWER));
}
const base = Number(BigInt.asIntN(32, addressOf(0))), addresses = Deno.UnsafePointer.create(addressOf(SLAB - ANSWER));
const overlappeds: Deno.PointerObject[] = [], free: number[] = []; // by slot; slots that were used before
const port = must(libc.CreateIoCompletionPort(INVALID_HANDLE_VALUE, 0, 0, 1) || -1, "create a completion port");
const entries = new Int32Array(ENTRIES * ENTRY_WORDS), removed = new Int32Array(1);
const nothing = new BigInt64Array(2), ignored = new Int32Array(1); // a WSABUF of no bytes; flags and numbers of bytes

/** Notes what the kernel has now. If it has refused, no completion will come. */
function isTaken(slot: number, kind: number, result: number): boolean {
  const taken = result === 0 || libc.WSAGetLastError() === WSA_IO_PENDING;
  if (taken) inFlight[states[slot] = kind]!++;
  else dropConnection(slot);
  return taken;
}

const receive = (slot: number) =>
  isTaken(slot, RECEIVE, libc.WSARecv(sockets[slot]!, nothing, 1, null, ignored, overlappeds[slot]!, null));
const send = (slot: number, count: number) =>
  isTaken(slot, SEND, libc.WSASend(sockets[slot]!, gather, count, null, 0, overlappeds[slot]!, null));

/** Has the kernel wait for one more client: AcceptEx wants the socket beforehand. Returns false if there is none. */
function accept(listener: number): boolean {
  const slot = free.pop() ?? overlappeds.length;
  const overlapped = overlappeds[slot] ??= Deno.UnsafePointer.create(addressOf(slot * OVERLAPPED))!;
  const socket = sockets[slot] = libc.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
  const done = socket < 0 ? 0 : libc.AcceptEx(listener, socket, addresses, 0, ADDRESS, ADDRESS, ignored, overlapped);
  return isTaken(slot, ACCEPT, done - 1);
}

function onAccepted(slot: number, listener: number): void {
  const socket = sockets[slot]!, one = Int32Array.of(1);
  counts.accepted++;
  if (
    libc.setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, Int32Array.of(listener, 0), 8) === 0 &&
    libc.setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, one, 4) === 0 && // on Linux it is inherited
    libc.ioctlsocket(socket, FIONBIO, one) === 0 && // for recv: what is in flight blocks nobody
    libc.CreateIoCompletionPort(BigInt(socket), port, 0, 0) !== 0
  ) receive(slot);
  else dropConnection(slot); // this connection only
}

/** Goes on where a request has completed. Which slot it is of follows from the address of its OVERLAPPED. */
function onCompleted(entry: number, listener: number): void {
  const slot = (entries[entry + ADDRESS_WORD]! - base >>> 0) / OVERLAPPED, kind = states[slot]!;
  inFlight[kind]!--, states[slot] = 0;
  if (sockets[slot] === CLOSED) free.push(slot);
  else if (kind === RECEIVE) onReadable(slot); // if it failed too: recv tells what it was
  else if (kind === SEND) {
    if (leaving.size > 0 && leaving.has(slot)) libc.shutdown(sockets[slot]!, SD_SEND); // fails only where the peer is gone
    receive(slot); // not before all was taken; if the send has failed, this does too
  } else if (entries[entry + STATUS_WORD]! >= 0) onAccepted(slot, listener);
  else closeConnection(slot); // the client has gone before it was accepted, or the listener is closed
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(listener: number): Promise<void> {
  must(libc.CreateIoCompletionPort(BigInt(listener), port, 0, 0) - 1, "add the listener to the completion port");
  let accepting = true, turnAt = Date.now(), stopAt = Infinity;
  for (;;) {
    while (accepting && !stopping && inFlight[ACCEPT]! < ACCEPTS && free.length + SLOTS > overlappeds.length) {
      accepting = accept(listener);
    }
    const got = libc.GetQueuedCompletionStatusEx(port, entries, ENTRIES, removed, stopping ? 1 : TURN_MS, 0);
    if (got === 0 && libc.WSAGetLastError() !== WAIT_TIMEOUT) must(-1, "wait for completions");
    const done = got === 0 ? 0 : removed[0]!;
    for (let i = 0; i < done; i++) onCompleted(i * ENTRY_WORDS, listener);
    const now = Date.now();
    if (now >= stopAt || (stopAt < Infinity && done + partial.size + inFlight[SEND]! + leaving.size === 0)) return;
    if (now - turnAt < TURN_MS) continue;
    // A thread that only makes system calls never hears Ctrl-C: give one to another thread, and listen meanwhile.
    await libc.SwitchToThread();
    turnAt = Date.now();
    for (const [slot, until] of leaving) if (turnAt >= until) closeConnection(slot);
    accepting = true; // if a socket could not be made, perhaps one can by now
    if (stopping && stopAt === Infinity) {
      libc.closesocket(listener); // what AcceptEx has in flight completes, with an error
      stopAt = turnAt + STOP_MS;
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

function stop(): void {
  if (stopping) Deno.exit(1); // the second signal does not wait
  stopping = true;
}

if (import.meta.main) {
  const options = readOptions();
  const { listener, port } = listenOn(options.host, options.port);
  for (const signal of ["SIGINT", "SIGBREAK"] as const) Deno.addSignalListener(signal, stop);
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid }));
  console.error(`Listening. Try: curl -i http://${options.host}:${port}/`);
  await serve(listener);
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  Deno.exit(0);
}
