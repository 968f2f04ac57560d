/**
 * What clients of an ordinary kind cannot see or do: the state of the server's end of a connection, and a client whose
 * socket takes little at a time. Linux only.
 *
 * @module
 */
import { filterProcLines } from "../sampling/procfs.ts";

const READ_BYTES = 64 * 1024;
const AF_INET = 2,
  SOCK_STREAM = 1,
  SOCK_DGRAM = 2,
  SOL_SOCKET = 1,
  SO_RCVBUF = 8,
  SO_RCVTIMEO = 20,
  IPPROTO_TCP = 6,
  TCP_MAXSEG = 2;
const LOOPBACK = 0x7f000001; // 127.0.0.1
const ESTABLISHED = 1; // <net/tcp_states.h>
const INODE = 9; // a word of a line of /proc/net/tcp
const USER_HZ = 100; // ticks per second in /proc

/** The server's end of a connection, as the kernel shows it. */
export interface ServerEnd {
  /** Bytes that the server has not taken yet. */
  unread: number;
  /** Which timer runs: 0 none, 1 retransmission, 2 keepalive, 3 the wait before the last end, 4 probes of a full window. */
  timer: number;
  /** When it fires, in seconds from now. */
  timerS: number;
}

const wordsOf = (line: string) => line.trim().split(/\s+/);

/** The words of the line of /proc/net/tcp that shows the server's end of a connection over 127.0.0.1; null if there is none. */
function findEnd(serverPort: number, clientPort: number): string[] | null {
  const local = `:${serverPort.toString(16).toUpperCase().padStart(4, "0")}`;
  const remote = `:${clientPort.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const isIt = (words: readonly string[]) => words[1]?.endsWith(local) && words[2]?.endsWith(remote) || false;
    const [line] = filterProcLines(table, (line) => isIt(wordsOf(line)));
    if (line !== undefined) return wordsOf(line);
  }
  return null;
}

const AF_NETLINK = 16, NETLINK_SOCK_DIAG = 4, SOCK_DIAG_BY_FAMILY = 20, NLM_F_REQUEST = 1; // <linux/netlink.h>
// Bytes of struct nlmsghdr and of what stands behind it: struct inet_diag_req_v2, struct inet_diag_msg.
const HEADER_BYTES = 16, REQUEST_BYTES = 56, MESSAGE_TYPE = 4, MESSAGE_FLAGS = 6;
const ID_AT = HEADER_BYTES + 8, COOKIE_AT = ID_AT + 40; // ports, addresses, interface, cookie
const STATE_AT = HEADER_BYTES + 1,
  TIMER_AT = HEADER_BYTES + 2,
  EXPIRES_AT = HEADER_BYTES + 52,
  UNREAD_AT = EXPIRES_AT + 4;

let diagnosis: { ask: (request: Uint8Array<ArrayBuffer>, answer: Uint8Array<ArrayBuffer>) => number } | null = null;

/** The kernel finds one socket of many thousands at once by sock_diag(7), where /proc/net/tcp lists them all. */
function openDiagnosis() {
  const { symbols: libc } = openLibc();
  const fd = libc.socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG);
  const ask = (request: Uint8Array<ArrayBuffer>, answer: Uint8Array<ArrayBuffer>) =>
    libc.send(fd, request, request.length, 0) < 0 ? -1 : libc.receive(fd, answer, answer.length, 0);
  return { ask };
}

/** The server's end of an established connection over 127.0.0.1; null if there is none. */
export function serverEnd(serverPort: number, clientPort: number): ServerEnd | null {
  const request = new DataView(new ArrayBuffer(HEADER_BYTES + REQUEST_BYTES)), answer = new Uint8Array(512);
  request.setUint32(0, request.byteLength, true);
  request.setUint16(MESSAGE_TYPE, SOCK_DIAG_BY_FAMILY, true);
  request.setUint16(MESSAGE_FLAGS, NLM_F_REQUEST, true);
  request.setUint8(HEADER_BYTES, AF_INET);
  request.setUint8(HEADER_BYTES + 1, IPPROTO_TCP);
  request.setUint32(HEADER_BYTES + 4, 2 ** 32 - 1); // any state
  request.setUint16(ID_AT, serverPort);
  request.setUint16(ID_AT + 2, clientPort);
  request.setUint32(ID_AT + 4, LOOPBACK);
  request.setUint32(ID_AT + 20, LOOPBACK);
  request.setBigUint64(COOKIE_AT, 2n ** 64n - 1n); // any cookie
  diagnosis ??= openDiagnosis();
  const taken = diagnosis.ask(new Uint8Array(request.buffer), answer);
  const view = new DataView(answer.buffer);
  const isFound = taken > UNREAD_AT && view.getUint16(MESSAGE_TYPE, true) === SOCK_DIAG_BY_FAMILY;
  if (!isFound) return listedEnd(serverPort, clientPort); // of IPv6, or the kernel has no inet_diag
  if (view.getUint8(STATE_AT) !== ESTABLISHED) return null;
  return {
    unread: view.getUint32(UNREAD_AT, true),
    timer: view.getUint8(TIMER_AT),
    timerS: view.getUint32(EXPIRES_AT, true) / 1000,
  };
}

/** The same from /proc/net. */
function listedEnd(serverPort: number, clientPort: number): ServerEnd | null {
  const [, , , state, queues, timer] = findEnd(serverPort, clientPort) ?? [];
  if (state === undefined || parseInt(state, 16) !== ESTABLISHED) return null;
  const [kind, ticks] = timer!.split(":");
  return {
    unread: parseInt(queues!.split(":")[1]!, 16),
    timer: parseInt(kind!, 16),
    timerS: parseInt(ticks!, 16) / USER_HZ,
  };
}

/** Whether a process still has a descriptor of the server's end: the kernel alone keeps one that has no inode. */
export function isHeld(serverPort: number, clientPort: number): boolean {
  const inode = findEnd(serverPort, clientPort)?.[INODE];
  return inode !== undefined && inode !== "0";
}

function openLibc() {
  return Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
    connect: { parameters: ["i32", "buffer", "i32"], result: "i32" },
    getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
    send: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
    recv: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32", nonblocking: true },
    receive: { name: "recv", parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
}

/** A client with a small window and small segments: what it does not read stays with the server. */
export class SmallClient implements Disposable {
  readonly #library = openLibc();
  readonly #fd: number;
  /** Its own port. */
  readonly port: number;

  /** Connects to a port of 127.0.0.1. `patienceMs` bounds each wait for what the server sends. */
  constructor(port: number, patienceMs: number) {
    const libc = this.#library.symbols;
    this.#fd = libc.socket(AF_INET, SOCK_STREAM, 0);
    const patience = new BigInt64Array([BigInt(Math.floor(patienceMs / 1000)), BigInt(patienceMs % 1000) * 1000n]);
    const address = new Uint8Array(16);
    address.set([AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1]);
    const failed = this.#fd < 0 ||
      libc.setsockopt(this.#fd, IPPROTO_TCP, TCP_MAXSEG, new Int32Array([536]), 4) < 0 ||
      libc.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUF, new Int32Array([2048]), 4) < 0 ||
      libc.setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, patience, 16) < 0 ||
      libc.connect(this.#fd, address, 16) < 0 ||
      libc.getsockname(this.#fd, address, new Int32Array([16])) < 0;
    if (failed) throw new Error(`Cannot connect a small client to port ${port}.`);
    this.port = address[2]! << 8 | address[3]!;
  }

  /** Sends all of a text, or bytes. It must fit into the socket. */
  send(data: string | Uint8Array<ArrayBuffer>): void {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const sent = this.#library.symbols.send(this.#fd, bytes, bytes.length, 0);
    if (sent !== bytes.length) throw new Error(`The socket took ${sent} of ${bytes.length} bytes.`);
  }

  /** Reads until the end. `end` is false if that was a reset, or the patience was over. */
  async readAll(): Promise<{ text: string; end: boolean }> {
    const buffer = new Uint8Array(READ_BYTES);
    let text = "";
    for (;;) {
      const taken = await this.#library.symbols.recv(this.#fd, buffer, buffer.length, 0);
      if (taken <= 0) return { text, end: taken === 0 };
      text += new TextDecoder("latin1").decode(buffer.subarray(0, taken));
    }
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.#library.symbols.close(this.#fd);
    this.#library.close();
  }
}
