/**
 * A crowd of TCP clients: each connects, asks, checks its answer and stays; later all ask again, and close. It reads frames
 * in memory and writes frames into memory, like the TCP that it talks to, and shares no code with it but the sum of RFC 1071.
 *
 * A connection is known by its number, from which its address, its port and its initial sequence number follow. So a state
 * and one sequence number are kept of it, 5 bytes, and a few words more for those that wait for something.
 *
 * @module
 */

/** Where the crowd is and whom it asks. */
export interface CrowdOptions {
  /** The area of all frames. A frame starts 2 bytes behind a word. */
  memory: ArrayBuffer;
  connections: number;
  /** Connections that wait for something at a time. */
  window: number;
  server: { address: number; port: number; mac: Uint8Array };
  /** The own hardware address, and the first of the addresses: one for 32 768 connections. */
  mac: Uint8Array;
  firstAddress: number;
  secret: Int32Array;
  request: Uint8Array;
  answer: Uint8Array;
  checksum(words: Int32Array, bytes: Uint8Array, at: number, length: number, sum: number): number;
  /** Gives a frame to write into, or −1 if none is free. */
  take(): number;
  send(frame: number, length: number): void;
}

/** What all of the crowd do at a time. */
export type Phase = "ask" | "close";

const PORTS = 32_768; // of each address: from 32 768 on
/** How often a connection may ask: five bits of its state. */
export const MAX_ROUNDS = 30;
const WINDOW_BYTES = 65_535; // offered to the server
const OWN_MSS = 1460;
const RTO_INITIAL_MS = 1000; // RFC 6298, section 2, but for the least: 200 ms as all systems have it
const RTO_MIN_MS = 200;
const RTO_MAX_MS = 60_000;
const MAX_TRIES = 10; // timeouts of one connection in a row

// Of a state: three bits, and above them how often the connection has asked.
const STATE = 7;
const NEW = 0;
const SYN_SENT = 1;
const ASKED = 2;
const HELD = 3;
const CLOSING = 4; // FIN is sent
const CLOSED = 5;
const LOST = 6;
const ROUND_SHIFT = 3;

const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;
const ETHERNET = 14;
const OWN_TCP = 34;
const OWN_DATA = 54;

/** The crowd. */
export class Crowd {
  /** The time in ms, set by the caller; it never goes back. */
  nowMs = 1;
  /** Connections that have done what the phase demands, and those that were lost until now. */
  done = 0;
  lost = 0;
  answered = 0;
  readonly packets = {
    received: 0,
    sent: 0,
    bad_checksum: 0,
    unwanted: 0,
    retransmissions: 0,
    holes: 0,
    duplicates: 0,
  };
  /** Why connections were lost. */
  readonly losses: Record<string, number> = {};

  readonly #options: CrowdOptions;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #states: Uint8Array;
  readonly #rcvNxt: Int32Array;
  readonly #slotOf: Uint16Array; // of a connection that waits for something
  readonly #slots: Int32Array; // its number; −1: free
  readonly #deadlines: Float64Array;
  readonly #sentMs: Float64Array; // NaN: sent more than once, so it tells nothing about time
  readonly #tries: Uint8Array;
  readonly #taken: Int32Array; // bytes of the answer
  readonly #macHigh: number;
  readonly #macLow: number;
  readonly #serverHigh: number;
  readonly #serverLow: number;
  #phase: Phase = "ask";
  #next = 0;
  #srttMs = 0;
  #rttvarMs = 0;

  constructor(options: CrowdOptions) {
    const { connections, window } = options;
    const [own, server] = [options.mac, options.server.mac].map((mac) => new DataView(mac.buffer, mac.byteOffset, 6));
    this.#options = options;
    this.#bytes = new Uint8Array(options.memory);
    this.#view = new DataView(options.memory);
    this.#words = new Int32Array(options.memory);
    this.#states = new Uint8Array(connections);
    this.#rcvNxt = new Int32Array(connections);
    this.#slotOf = new Uint16Array(connections);
    this.#slots = new Int32Array(window).fill(-1);
    this.#deadlines = new Float64Array(window);
    this.#sentMs = new Float64Array(window);
    this.#tries = new Uint8Array(window);
    this.#taken = new Int32Array(window);
    this.#macHigh = own!.getUint16(0);
    this.#macLow = own!.getInt32(2);
    this.#serverHigh = server!.getUint16(0);
    this.#serverLow = server!.getInt32(2);
  }

  /** Begins a phase: all connections that are not lost do the same, as many at a time as the window allows. */
  begin(phase: Phase): void {
    this.#phase = phase;
    this.#next = 0;
    this.done = 0;
    for (let slot = 0; slot < this.#slots.length; slot++) this.#start(slot);
  }

  /** Whether all have done what the phase demands, or are lost. */
  get isOver(): boolean {
    return this.done + this.lost >= this.#options.connections;
  }

  /** Connections that are open and have nothing in flight. */
  get held(): number {
    let held = 0;
    for (const state of this.#states) if ((state & STATE) === HELD) held++;
    return held;
  }

  /** Lets the next connection use a slot. */
  #start(slot: number): void {
    this.#slots[slot] = -1;
    while (this.#next < this.#options.connections && (this.#states[this.#next]! & STATE) === LOST) this.#next++;
    if (this.#next >= this.#options.connections) return;
    const id = this.#next++;
    const before = this.#states[id]!;
    if (this.#phase === "close") this.#states[id] = before & ~STATE | CLOSING;
    else if ((before & STATE) === NEW) this.#states[id] = SYN_SENT;
    else this.#states[id] = (before & ~STATE) + (1 << ROUND_SHIFT) | ASKED;
    this.#slots[slot] = id;
    this.#slotOf[id] = slot;
    this.#expect(slot);
    this.#transmit(id);
  }

  /** Starts the timer of a slot, for something new. */
  #expect(slot: number): void {
    this.#tries[slot] = 0;
    this.#taken[slot] = 0;
    this.#sentMs[slot] = this.nowMs;
    this.#deadlines[slot] = this.nowMs + this.#rtoMs();
  }

  #rtoMs(): number {
    if (this.#srttMs === 0) return RTO_INITIAL_MS;
    return Math.max(RTO_MIN_MS, this.#srttMs + 4 * this.#rttvarMs);
  }

  /** RFC 6298, section 2. All connections take the same way, so they share the estimate. */
  #measure(slot: number): void {
    const ms = this.nowMs - this.#sentMs[slot]!;
    if (!(ms >= 0)) return; // NaN
    if (this.#srttMs === 0) {
      this.#srttMs = Math.max(1, ms);
      this.#rttvarMs = ms / 2;
      return;
    }
    this.#rttvarMs += (Math.abs(this.#srttMs - ms) - this.#rttvarMs) / 4;
    this.#srttMs += (ms - this.#srttMs) / 8;
  }

  /** Sends again what was not answered in time. To be called every 10 ms or so. */
  tick(): void {
    for (let slot = 0; slot < this.#slots.length; slot++) {
      if (this.#slots[slot]! < 0 || this.#deadlines[slot]! > this.nowMs) continue;
      const id = this.#slots[slot]!;
      const tries = ++this.#tries[slot]!;
      if (tries > MAX_TRIES) {
        this.#lose(id, "ETIMEDOUT");
        continue;
      }
      this.#sentMs[slot] = NaN;
      this.#deadlines[slot] = this.nowMs + Math.min(RTO_MAX_MS, this.#rtoMs() * 2 ** tries);
      this.packets.retransmissions++;
      this.#transmit(id);
    }
  }

  #lose(id: number, why: string): void {
    const state = this.#states[id]! & STATE;
    this.#states[id] = LOST;
    this.lost++;
    this.losses[why] = (this.losses[why] ?? 0) + 1;
    if (state === HELD && this.#isDone(id)) this.done--;
    const slot = this.#slotOf[id]!;
    if (this.#slots[slot] === id) this.#start(slot);
  }

  /** Whether a connection that is held has been counted in this phase. */
  #isDone(id: number): boolean {
    return this.#phase === "ask" && id < this.#next;
  }

  /** A connection has done what the phase demands. */
  #finish(id: number): void {
    const slot = this.#slotOf[id]!;
    this.done++;
    this.#measure(slot);
    this.#start(slot);
  }

  // -- numbers

  #isn(id: number): number {
    const { secret } = this.#options;
    let hash = Math.imul(id ^ secret[0]!, 0x9e3779b1);
    hash = Math.imul(hash ^ hash >>> 15 ^ secret[1]!, 0x2c1b3c6d);
    return hash ^ hash >>> 13;
  }

  /** The first byte of what was sent last: of the request, or FIN. */
  #lastSeq(id: number): number {
    const state = this.#states[id]!;
    const rounds = state >>> ROUND_SHIFT;
    const before = (state & STATE) === CLOSING || (state & STATE) === CLOSED ? rounds : rounds - 1;
    return this.#isn(id) + 1 + before * this.#options.request.length | 0;
  }

  /** The number behind all that was sent. */
  #sndNxt(id: number): number {
    const state = this.#states[id]! & STATE;
    if (state === SYN_SENT) return this.#isn(id) + 1 | 0;
    const length = state === CLOSING || state === CLOSED ? 1 : this.#options.request.length;
    return this.#lastSeq(id) + length | 0;
  }

  // -- frames that come

  /** Takes one frame. */
  receive(frame: number, length: number): void {
    const view = this.#view;
    this.packets.received++;
    const ip = frame + ETHERNET;
    const isTcp = length >= ETHERNET + 40 && view.getUint16(frame + 12) === 0x0800 && this.#bytes[ip] === 0x45 &&
      this.#bytes[ip + 9] === 6 && (view.getUint16(ip + 6) & 0x3fff) === 0;
    const total = isTcp ? view.getUint16(ip + 2) : 0;
    if (!isTcp || total < 40 || total > length - ETHERNET) {
      this.packets.unwanted++;
      return;
    }
    const tcp = ip + 20;
    const { checksum, server, firstAddress, connections } = this.#options;
    const isSound = checksum(this.#words, this.#bytes, ip, 20, 0) === 0xffff &&
      checksum(this.#words, this.#bytes, tcp, total - 20, this.#pseudoSum(ip, total - 20)) === 0xffff;
    if (!isSound) {
      this.packets.bad_checksum++;
      return;
    }
    const port = view.getUint16(tcp + 2);
    const id = (view.getInt32(ip + 16) - firstAddress) * PORTS + port - PORTS;
    const offset = this.#bytes[tcp + 12]! >>> 4 << 2;
    const isOurs = view.getInt32(ip + 12) === server.address && view.getUint16(tcp) === server.port && port >= PORTS;
    if (!isOurs || id < 0 || id >= connections || offset < 20 || offset > total - 20) {
      this.packets.unwanted++;
      return;
    }
    this.#onSegment(id, tcp, tcp + offset, ip + total);
  }

  #pseudoSum(ip: number, length: number): number {
    const source = this.#words[ip + 12 >> 2]!;
    const destination = this.#words[ip + 16 >> 2]!;
    return (source & 0xffff) + (source >>> 16) + (destination & 0xffff) + (destination >>> 16) + (6 << 8) +
      (length >>> 8 | (length & 255) << 8);
  }

  /** RFC 9293, section 3.10.7.3 for the handshake, and 3.10.7.4 with RFC 5961 behind it. */
  #onSegment(id: number, tcp: number, from: number, to: number): void {
    const state = this.#states[id]! & STATE;
    const flags = this.#bytes[tcp + 13]!;
    const seq = this.#view.getInt32(tcp + 4);
    const ack = this.#view.getInt32(tcp + 8);
    if (state === NEW || state === LOST) {
      this.packets.unwanted++;
      return;
    }
    if (state === SYN_SENT) return this.#onHandshake(id, flags, seq, ack);
    const offset = seq - this.#rcvNxt[id]! | 0;
    if ((flags & RST) !== 0) {
      if (offset === 0 && state !== CLOSED) this.#lose(id, "ECONNRESET");
      else if (offset > 0 && offset < WINDOW_BYTES) this.#sendAck(id);
      return;
    }
    if ((flags & (SYN | ACK)) !== ACK) return this.#sendAck(id); // SYN and ACK again: the last ACK of the handshake was lost
    if ((ack - this.#sndNxt(id) | 0) > 0) return this.#sendAck(id);
    const length = to - from + (flags & FIN);
    if (offset > 0 || offset < 0 && offset + length <= 0) {
      if (offset > 0) this.packets.holes++;
      else this.packets.duplicates++;
      if (length > 0 || offset === -1) this.#sendAck(id);
      return;
    }
    if (length > 0) this.#onData(id, state, from - offset, to, (flags & FIN) !== 0);
  }

  #onHandshake(id: number, flags: number, seq: number, ack: number): void {
    const isRight = ack === (this.#isn(id) + 1 | 0);
    if ((flags & RST) !== 0) {
      if (isRight && (flags & ACK) !== 0) this.#lose(id, "ECONNREFUSED");
      return;
    }
    if (!isRight || (flags & (SYN | ACK)) !== (SYN | ACK)) return;
    const slot = this.#slotOf[id]!;
    this.#measure(slot);
    this.#rcvNxt[id] = seq + 1;
    this.#states[id] = 1 << ROUND_SHIFT | ASKED;
    this.#expect(slot);
    this.#transmit(id); // the request acknowledges the server's SYN too: one frame in six less (RFC 9293, section 3.5)
  }

  /** Data in order: it must be the answer, byte for byte, and nothing else. */
  #onData(id: number, state: number, from: number, to: number, hasFin: boolean): void {
    const { answer } = this.#options;
    const slot = this.#slotOf[id]!;
    const length = to - from;
    const taken = state === ASKED ? this.#taken[slot]! : answer.length;
    if (taken + length > answer.length) return this.#lose(id, "unexpected_data");
    for (let i = 0; i < length; i++) {
      if (this.#bytes[from + i] !== answer[taken + i]) return this.#lose(id, "wrong_data");
    }
    this.#rcvNxt[id]! += length + (hasFin ? 1 : 0);
    if (state === ASKED) this.#taken[slot] = taken + length;
    if (hasFin) {
      this.#sendAck(id);
      if (state !== CLOSING) return this.#lose(id, "closed");
      this.#states[id] = this.#states[id]! & ~STATE | CLOSED;
      return this.#finish(id);
    }
    const isWhole = state === ASKED && taken + length === answer.length;
    if (isWhole) this.#states[id] = this.#states[id]! & ~STATE | HELD;
    this.#sendAck(id);
    if (!isWhole) return;
    this.answered++;
    this.#finish(id);
  }

  // -- frames that leave

  /** Sends, or sends again, what a connection waits for the answer of. */
  #transmit(id: number): void {
    const state = this.#states[id]! & STATE;
    if (state === SYN_SENT) this.#segment(id, this.#isn(id), 0, SYN, false, true);
    else if (state === ASKED) this.#segment(id, this.#lastSeq(id), this.#rcvNxt[id]!, ACK | PSH, true, false);
    else if (state === CLOSING) this.#segment(id, this.#lastSeq(id), this.#rcvNxt[id]!, ACK | FIN, false, false);
  }

  #sendAck(id: number): void {
    this.#segment(id, this.#sndNxt(id), this.#rcvNxt[id]!, ACK, false, false);
  }

  #segment(id: number, seq: number, ack: number, flags: number, hasRequest: boolean, hasMss: boolean): void {
    const { request, server, firstAddress, checksum } = this.#options;
    const frame = this.#options.take();
    if (frame < 0) return; // the timer sends it again
    const view = this.#view;
    const header = hasMss ? 24 : 20;
    const length = header + (hasRequest ? request.length : 0);
    const ip = frame + ETHERNET;
    const tcp = frame + OWN_TCP;
    view.setUint16(frame, this.#serverHigh);
    view.setInt32(frame + 2, this.#serverLow);
    view.setUint16(frame + 6, this.#macHigh);
    view.setInt32(frame + 8, this.#macLow);
    view.setUint16(frame + 12, 0x0800);
    view.setInt32(ip, 0x45000000 | 20 + length);
    view.setInt32(ip + 4, 0x4000);
    view.setInt32(ip + 8, 64 << 24 | 6 << 16);
    view.setInt32(ip + 12, firstAddress + Math.floor(id / PORTS));
    view.setInt32(ip + 16, server.address);
    view.setUint16(ip + 10, ~checksum(this.#words, this.#bytes, ip, 20, 0), true);
    view.setInt32(tcp, PORTS + id % PORTS << 16 | server.port);
    view.setInt32(tcp + 4, seq);
    view.setInt32(tcp + 8, ack);
    view.setInt32(tcp + 12, header << 26 | flags << 16 | WINDOW_BYTES);
    view.setInt32(tcp + 16, 0);
    if (hasMss) view.setInt32(frame + OWN_DATA, 2 << 24 | 4 << 16 | OWN_MSS);
    else if (hasRequest) { for (let i = 0; i < request.length; i++) this.#bytes[frame + OWN_DATA + i] = request[i]!; }
    view.setUint16(tcp + 16, ~checksum(this.#words, this.#bytes, tcp, length, this.#pseudoSum(ip, length)), true);
    this.packets.sent++;
    this.#options.send(frame, OWN_TCP + length);
  }
}
