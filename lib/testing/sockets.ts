/**
 * What clients of an ordinary kind cannot see or do: the state of the server's end of a connection, and a client whose
 * socket takes little at a time. Linux only.
 *
 * @module
 */

const READ_BYTES = 64 * 1024;
const AF_INET = 2, SOCK_STREAM = 1, SOL_SOCKET = 1, SO_RCVBUF = 8, SO_RCVTIMEO = 20, IPPROTO_TCP = 6, TCP_MAXSEG = 2;
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

/** The words of the line of /proc/net/tcp that shows the server's end of a connection over 127.0.0.1; null if there is none. */
function findEnd(serverPort: number, clientPort: number): string[] | null {
  const local = `:${serverPort.toString(16).toUpperCase().padStart(4, "0")}`;
  const remote = `:${clientPort.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of Deno.readTextFileSync(table).split("\n").slice(1)) {
      const words = line.trim().split(/\s+/);
      if (words[1]?.endsWith(local) && words[2]?.endsWith(remote)) return words;
    }
  }
  return null;
}

/** The server's end of an established connection over 127.0.0.1; null if there is none. */
export function serverEnd(serverPort: number, clientPort: number): ServerEnd | null {
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
    close: { parameters: ["i32"], result: "i32" },
  });
}

/** A client with a small window and small segments: what it does not read stays with the server. */
export class SmallClient implements Disposable {
  readonly #library = openLibc();
  readonly #fd: number;
  /** The port at this end. */
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

  /** Sends all of a text. It must fit into the socket. */
  send(text: string): void {
    const bytes = new TextEncoder().encode(text);
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
