/**
 * A host in memory for tests of a TCP: what a peer sends is given to it as frames, what it sends is collected, and its time
 * goes on when the test says so.
 *
 * @example
 * ```ts
 * const host = new Host((options) => new Tcp(options));
 * const peer = new Peer(host).connect();
 * peer.send(get());
 * console.log(text(peer.take())); // "HTTP/1.1 200 OK …"
 * ```
 *
 * @module
 */
import { type End, parseTcp, SERVER_MAC, tcpFrame, type TcpSegment } from "./frames.ts";

/** What is tested. */
export interface TcpUnderTest {
  nowMs: number;
  open: number;
  leaving: number;
  busy: number;
  readonly counts: { accepted: number; served: number; errors: Record<string, number> };
  readonly packets: Record<string, number>;
  readonly hasWork: boolean;
  receive(frame: number, length: number): void;
  tick(): void;
  stop(): void;
  closeIdle(most: number): boolean;
  nextWork(): number;
  workUs(record: number): number;
  worked(record: number): void;
}

/** What it is made of. */
export interface TcpParts {
  memory: ArrayBuffer;
  address: number;
  port: number;
  mac: Uint8Array;
  table: Int32Array;
  secret: Int32Array;
  records: number;
  idleS: number;
  mtu: number;
  take(): number;
  send(frame: number, length: number): void;
}

/** What a test may want otherwise. */
export interface HostOptions {
  slots?: number;
  records?: number;
  idleS?: number;
  mtu?: number;
  secret?: Int32Array;
}

export const SERVER_IP = 0x0a000001;
export const SERVER: End = [SERVER_IP, 8080];
export const CLIENT: End = [0x0a000002, 40_000];
export const HOUR_MS = 3_600_000;
const FRAME_BYTES = 2048;
const HEADROOM = 2; // the header of IP starts at a word
const TICK_MS = 10;
const SLOT_WORDS = 4;

/** A usual request. */
export const get = (target = "/", ...fields: string[]): string =>
  [`GET ${target} HTTP/1.1`, "Host: lab", ...fields, "", ""].join("\r\n");

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The data of segments, as one text. */
export const text = (segments: TcpSegment[]): string =>
  segments.map(({ data }) => new TextDecoder("latin1").decode(data)).join("");

/** A TCP with memory of its own. */
export class Host {
  readonly tcp: TcpUnderTest;
  readonly table: Int32Array;
  readonly memory: Uint8Array;
  /** Frames that were sent and not taken by the test. */
  sent: Uint8Array[] = [];
  /** Whether there are frames to send in. */
  hasFrames = true;

  constructor(create: (parts: TcpParts) => TcpUnderTest, options: HostOptions = {}) {
    const memory = new ArrayBuffer(4 * FRAME_BYTES);
    let next = 0;
    this.memory = new Uint8Array(memory);
    this.table = new Int32Array((options.slots ?? 64) * SLOT_WORDS);
    this.tcp = create({
      memory,
      address: SERVER_IP,
      port: SERVER[1],
      mac: SERVER_MAC,
      table: this.table,
      secret: options.secret ?? Int32Array.of(1, 2, 3, 4, 5, 6),
      records: options.records ?? 16,
      idleS: options.idleS ?? 0,
      mtu: options.mtu ?? 1500,
      take: () => this.hasFrames ? (1 + next++ % 3) * FRAME_BYTES + HEADROOM : -1,
      send: (frame, length) => void this.sent.push(this.memory.slice(frame, frame + length)),
    });
  }

  /** Gives a frame to the host, and returns the frames that it sends because of it. */
  give(frame: Uint8Array): Uint8Array[] {
    const before = this.sent.length;
    this.memory.fill(0xaa, 0, FRAME_BYTES); // what lay there before must not matter
    this.memory.set(frame, HEADROOM);
    this.tcp.receive(HEADROOM, frame.length);
    return this.sent.slice(before);
  }

  /** Lets time pass, in steps of so many ms. */
  advance(ms: number, tickMs = TICK_MS): void {
    for (const end = this.tcp.nowMs + ms; this.tcp.nowMs < end;) {
      this.tcp.nowMs = Math.min(end, this.tcp.nowMs + tickMs);
      this.tcp.tick();
    }
  }

  /** Does the work that requests have asked for until now. Returns its µs. */
  work(): number {
    const records: number[] = [];
    while (this.tcp.hasWork) records.push(this.tcp.nextWork());
    let us = 0;
    for (const record of records.filter((record) => record >= 0)) {
      us += this.tcp.workUs(record);
      this.tcp.worked(record);
    }
    return us;
  }

  /** Takes the segments that were sent. */
  take(): TcpSegment[] {
    const segments = this.sent.map(parseTcp);
    this.sent = [];
    return segments;
  }
}

/** A peer that does what the test says: it keeps its numbers, and nothing happens by itself. */
export class Peer {
  seq: number;
  ack = 0;
  window = 65_535;

  constructor(readonly host: Host, readonly from: End = CLIENT, isn = 1000) {
    this.seq = isn;
  }

  /** Sends a segment with the present numbers, and takes what is sent back. */
  segment(flags: string, change: Partial<TcpSegment> = {}): TcpSegment[] {
    const { from, seq, ack, window } = this;
    this.host.give(tcpFrame({ from, to: SERVER, seq, ack, window, flags, ...change }));
    return this.host.take();
  }

  /** Opens the connection. */
  connect(options: Uint8Array = Uint8Array.of(2, 4, 5, 180)): this {
    const [answer] = this.segment("S", { options });
    if (answer?.flags !== "SA") throw new Error(`A SYN was answered by ${answer?.flags ?? "nothing"}.`);
    this.seq = this.seq + 1 >>> 0;
    this.ack = answer.seq + 1 >>> 0;
    const more = this.segment("A");
    if (more.length > 0) throw new Error(`The handshake was answered by ${more[0]!.flags}.`);
    return this;
  }

  /** Sends data, and moves on behind it. */
  send(data: string, flags = "PA"): TcpSegment[] {
    const bytes = bytesOf(data);
    const answers = this.segment(flags, { data: bytes });
    this.seq = this.seq + bytes.length + (flags.includes("F") ? 1 : 0) >>> 0;
    return answers;
  }

  /** Acknowledges segments, and takes what is sent because of it. */
  acknowledge(segments: TcpSegment[]): TcpSegment[] {
    for (const { seq, data, flags } of segments) {
      const end = seq + data.length + (flags.includes("F") ? 1 : 0) >>> 0;
      if ((end - this.ack | 0) > 0) this.ack = end;
    }
    return this.segment("A");
  }

  /** Sends a request, and acknowledges its answer. Returns the text of the answer. */
  ask(request: string = get()): string {
    const answers = this.send(request);
    this.acknowledge(answers);
    return text(answers);
  }
}
