/**
 * A wire that treats frames badly: a relay between two interfaces that loses, repeats, delays, reorders and damages them, by
 * a seed. For kernels that have no netem. Run in a network namespace of its own; it ends with its standard input:
 * `deno run --allow-ffi bad_wire.ts near far '{"seed":1,"loss":0.01,…}'`.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";
import { seededRandom } from "../timing/random.ts";
import type { Relay } from "../network/namespaces.ts";
import { fileURLToPath } from "node:url";

/** How frames suffer on the way, each as a share of all. */
export interface BadWire {
  seed: number;
  loss: number;
  duplication: number;
  reordering: number;
  corruption: number;
  /** How long a frame that is overtaken waits at most, in ms. */
  delayMs: number;
}

/** The relay that treats frames so. */
export const badWire = (wire: BadWire): Relay => ({
  file: fileURLToPath(import.meta.url),
  argument: JSON.stringify(wire),
});

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL = 0x0300; // 3 in network order
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const SOCKADDR_LL_BYTES = 20;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const EAGAIN = 11;
const ENOBUFS = 105;
const RECEIVE_BUFFER_BYTES = 64 * 2 ** 20; // a frame that is lost here was not lost by the seed
const MAX_FRAME = 65_536;
const MAX_HELD = 200_000; // frames that wait; beyond, one is lost
const TURN_MS = 20;

function openLibc() {
  return Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
    if_nametoindex: { parameters: ["buffer"], result: "u32" },
    recv: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
    send: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
    poll: { parameters: ["buffer", "i32", "i32"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  }).symbols;
}

/** One direction: frames that wait for their time, the earliest first. */
export class Direction {
  readonly #random: () => number;
  readonly #wire: BadWire;
  /** Frames by the ms in which they arrive. */
  readonly #held = new Map<number, Uint8Array<ArrayBuffer>[]>();
  #count = 0;
  #nextMs = 0;

  constructor(wire: BadWire, seed: number) {
    this.#wire = wire;
    this.#random = seededRandom(seed);
  }

  /** Puts a frame on the wire. What arrives at once is returned. */
  put(frame: Uint8Array, nowMs: number): Uint8Array<ArrayBuffer>[] {
    const random = this.#random;
    if (random() < this.#wire.loss) return [];
    const arrived: Uint8Array<ArrayBuffer>[] = [];
    const copies = random() < this.#wire.duplication ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const copy = frame.slice();
      if (random() < this.#wire.corruption) copy[Math.floor(random() * copy.length)]! ^= 1 << Math.floor(random() * 8);
      const delayMs = random() < this.#wire.reordering ? 1 + Math.floor(random() * this.#wire.delayMs) : 0;
      if (delayMs === 0) arrived.push(copy);
      else if (this.#count < MAX_HELD) this.#hold(copy, nowMs + delayMs);
    }
    return arrived;
  }

  #hold(frame: Uint8Array<ArrayBuffer>, atMs: number): void {
    const frames = this.#held.get(atMs);
    if (frames === undefined) this.#held.set(atMs, [frame]);
    else frames.push(frame);
    this.#count++;
  }

  /** Takes the frames whose time has come. */
  due(nowMs: number): Uint8Array<ArrayBuffer>[] {
    if (this.#count === 0) this.#nextMs = nowMs;
    const arrived: Uint8Array<ArrayBuffer>[] = [];
    for (; this.#nextMs <= nowMs; this.#nextMs++) {
      const frames = this.#held.get(this.#nextMs);
      if (frames === undefined) continue;
      arrived.push(...frames);
      this.#held.delete(this.#nextMs);
      this.#count -= frames.length;
    }
    return arrived;
  }

  /** Frames that wait. */
  get waiting(): number {
    return this.#count;
  }
}

/** libc, and what it takes to call it. */
function useLibc() {
  const libc = openLibc();
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));
  const must = (result: number, action: string) => {
    if (result >= 0) return result;
    throw new Error(`Cannot ${action}: ${getSystemErrorName(-errno[0]!)}`);
  };
  return { libc, errno, must };
}

/** Relays between two interfaces until standard input ends. */
async function relay(names: [string, string], wire: BadWire): Promise<void> {
  const { libc, errno, must } = useLibc();
  const open = (name: string) => {
    const socket = must(libc.socket(AF_PACKET, SOCK_RAW, 0), "create a packet socket");
    const address = new Uint8Array(SOCKADDR_LL_BYTES);
    new Int32Array(address.buffer).set([
      AF_PACKET | ETH_P_ALL << 16,
      libc.if_nametoindex(new TextEncoder().encode(`${name}\0`)),
    ]);
    const buffer = Int32Array.of(RECEIVE_BUFFER_BYTES);
    must(libc.setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, buffer, 4), "enlarge the receive buffer");
    must(libc.setsockopt(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, Int32Array.of(1), 4), "ignore own frames");
    must(libc.bind(socket, address, SOCKADDR_LL_BYTES), `bind to ${name}`);
    return socket;
  };
  const sockets = names.map(open);
  const directions = [new Direction(wire, wire.seed), new Direction(wire, wire.seed + 1)];
  const polled = new Int32Array(sockets.flatMap((socket) => [socket, POLLIN]));
  const frame = new Uint8Array(MAX_FRAME);
  const send = (socket: number, frames: Uint8Array<ArrayBuffer>[]) => {
    for (const sent of frames) {
      if (libc.send(socket, sent, sent.length, 0) < 0 && errno[0] !== ENOBUFS) must(-1, "send a frame");
    }
  };
  let isOpen = true;
  const ended = Deno.stdin.read(new Uint8Array(1)).then(() => isOpen = false);
  console.log("ready");
  for (let turnMs = performance.now(); isOpen;) {
    const isWaiting = directions.some(({ waiting }) => waiting > 0);
    must(libc.poll(polled, 2, isWaiting ? 1 : TURN_MS), "wait for frames");
    const nowMs = Math.floor(performance.now());
    for (const [i, direction] of directions.entries()) {
      const to = sockets[1 - i]!;
      for (let taken = 0; taken < 256; taken++) {
        const length = libc.recv(sockets[i]!, frame, MAX_FRAME, MSG_DONTWAIT);
        if (length < 0 && errno[0] === EAGAIN) break;
        send(to, direction.put(frame.subarray(0, must(length, "receive a frame")), nowMs));
      }
      send(to, direction.due(nowMs));
    }
    if (nowMs - turnMs < TURN_MS) continue;
    turnMs = nowMs;
    await new Promise((resolve) => setTimeout(resolve, 0)); // lets the end of standard input be seen
  }
  await ended;
}

if (import.meta.main) await relay([Deno.args[0]!, Deno.args[1]!], JSON.parse(Deno.args[2]!) as BadWire);
