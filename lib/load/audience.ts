/**
 * The listeners of a WebSocket server and the one who publishes, for servers that send a message of one client to all.
 *
 * Messages are due at fixed times, and the latency of a delivery counts from there until the listener has read it: so a
 * server, or a publisher, that is late is not forgiven. Linux only: it stands on libc.
 *
 * @module
 */
import { Counts } from "../timing/histogram.ts";
import { grown } from "./connections.ts";
import { Dialer, socketAddress, Sources } from "./dialer.ts";
import * as sys from "./libc.ts";
import { clockUs, errno, libc } from "./libc.ts";
import { DRAIN_US, QUIET_US } from "./patience.ts";
import type {
  BroadcastPart,
  ConnectOutcome,
  EngineConfig,
  ErrorCounts,
  ListenPart,
  Progress,
  Schedule,
} from "./types.ts";

const INBOX_BYTES = 256 * 1024;
const MAX_HANDSHAKES = 256; // at a time: the accept queue of a server may be short
const TURN_US = 50_000; // the longest wait without a look at the parent
const PROGRESS_US = 250_000;
/** A message that leaves so long after it was due is late by the generator's own fault. */
const LATE_US = 1000;
const SMALL_WINDOW = Int32Array.of(4096); // of a listener that does not read: SO_RCVBUF, which the kernel doubles

const FREE = 0, CONNECTING = 1, SHAKING = 2, LISTENING = 3, DEAF = 4;
const GONE = sys.EPOLLRDHUP | sys.EPOLLHUP | sys.EPOLLERR;

const TEXT = 0x81, CLOSE = 0x88, PING = 0x89, PONG = 0x8a; // the first byte of a frame that is whole
const FIRST = 0x01, LAST = 0x80; // of a message in several frames: its first, and the last one
const MAX_PING = 125;
const MASKED = 0x80, LENGTH = 0x7f, LENGTH_16 = 126;
export const DIGITS = 10; // a message begins with its number
const ZERO = 48;
// The example of RFC 6455, section 1.3: every connection may have the same key.
const KEY = "dGhlIHNhbXBsZSBub25jZQ==", ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const handshakeOf = ({ host, port, path }: EngineConfig) =>
  new TextEncoder().encode([
    `GET ${path} HTTP/1.1`,
    `Host: ${host.includes(":") ? `[${host}]` : host}:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${KEY}`,
    "",
    "",
  ].join("\r\n"));

/** What a broadcast counts. */
class Count {
  delivered = 0;
  drained = 0;
  unanswered = 0;
  /** Messages that a later one has overtaken, and which did not come after it either. */
  missing = 0;
  lateSends = 0;
  lost = 0;
  /** Of all listeners: their next messages, or what those that were lost would have got. */
  readonly latency = new Counts();
  readonly censored = new Counts();
  readonly lateness = new Counts();
  /** Of each message of the window: when the last listener had it, in µs after it was due. */
  readonly last: Float64Array;
  /** The next message of those that were lost. */
  readonly lostAt: number[] = [];
  lastDeliveryUs = 0;

  constructor(readonly schedule: Schedule) {
    this.last = new Float64Array(schedule.total - schedule.first).fill(-1);
  }

  dueOf(number: number): number {
    return this.schedule.startUs + number * 1e6 / this.schedule.rate;
  }

  /** A listener has read a message. */
  deliver(number: number, now: number): void {
    const { first, toUs } = this.schedule;
    this.lastDeliveryUs = now;
    if (number < first) return;
    const latencyUs = Math.max(now - this.dueOf(number), 0);
    this.delivered++;
    if (now > toUs) this.drained++;
    this.latency.record(latencyUs);
    if (latencyUs > this.last[number - first]!) this.last[number - first] = latencyUs;
  }

  /** A listener has not got the messages from there on. */
  giveUp(next: number, now: number): void {
    for (let number = Math.max(next, this.schedule.first); number < this.schedule.total; number++) {
      this.unanswered++;
      this.censored.record(Math.max(now - this.dueOf(number), 0));
    }
  }
}

/** The clients of one process. */
export class Audience {
  readonly #waiter = new sys.Waiter();
  readonly #dialer: Dialer;
  readonly #handshake: Uint8Array<ArrayBuffer>;
  readonly #inbox = new Uint8Array(INBOX_BYTES);
  readonly #error = new Int32Array(1);
  readonly #errorBytes = new Int32Array([4]);
  readonly #partial = new Map<number, Uint8Array<ArrayBuffer>>();
  readonly #listeners = new Set<number>(); // those that are open
  readonly #begun = new Map<number, number>(); // messages of which the first frame has come: their numbers
  readonly #pong = new Uint8Array(6 + MAX_PING).fill(0);
  #states = new Uint8Array(64);
  #next = new Int32Array(64); // by descriptor: the number of the message that is to come
  #errors: ErrorCounts = {};
  #now = 0;
  #spunUs = 0;
  #count: Count | null = null;
  #settled = 0; // handshakes that were answered, well or not
  #opened = 0;
  #phase = { name: "", startUs: 0, tellAtUs: 0 };
  // What is published, and how much of it has left.
  #publisher = -1;
  #frame = new Uint8Array(0);
  #payloadAt = 0;
  #unsent = 0;
  #owed: Uint8Array<ArrayBuffer> | null = null; // the answer to a ping that came in the middle of a frame of the publisher

  constructor(readonly config: EngineConfig, readonly onProgress: (progress: Progress) => void) {
    const [address] = config.addresses;
    const isLoopback = address!.startsWith("127.");
    const sources = isLoopback ? new Sources(Deno.pid, config.ports, config.processes) : null;
    this.#dialer = new Dialer(socketAddress(address!, config.port), this.#waiter.epoll, sources);
    this.#handshake = handshakeOf(config);
  }

  // ---- Connecting ----

  /** Opens listeners, and such that do not read. */
  listen({ count, slow, timeoutMs }: ListenPart): ConnectOutcome {
    const startUs = this.#begin("listen");
    const total = count + slow;
    this.#settled = this.#opened = 0;
    let dialled = 0, quietSinceUs = startUs, settledBefore = 0;
    while (this.#settled < total && this.#now - quietSinceUs < timeoutMs * 1000) {
      while (dialled < total && dialled - this.#settled < MAX_HANDSHAKES) this.#dial(dialled++ >= count);
      this.#turn(this.#now + TURN_US);
      if (this.#settled > settledBefore) quietSinceUs = this.#now;
      settledBefore = this.#settled;
    }
    for (let fd = 0; fd < this.#states.length; fd++) {
      if (this.#states[fd] === CONNECTING || this.#states[fd] === SHAKING) this.#fail(fd, "timeout");
    }
    const seconds = (this.#now - startUs) / 1e6;
    const errors = this.#takeErrors();
    return { requested: total, connected: this.#opened, failed: total - this.#opened, redials: 0, seconds, errors };
  }

  #dial(isSlow: boolean): void {
    const fd = this.#dialer.dial();
    if (fd < 0) {
      this.#countError(sys.errnoName(-fd));
      this.#settled++;
      return;
    }
    if (fd >= this.#states.length) {
      this.#states = grown(this.#states, fd);
      this.#next = grown(this.#next, fd);
    }
    this.#states[fd] = CONNECTING;
    this.#next[fd] = isSlow ? -1 : 0;
    if (isSlow) sys.must(libc.setsockopt(fd, sys.SOL_SOCKET, sys.SO_RCVBUF, SMALL_WINDOW, 4), "set SO_RCVBUF");
  }

  #fail(fd: number, error: string): void {
    this.#countError(error);
    this.#settled++;
    this.#close(fd);
  }

  #close(fd: number): void {
    this.#states[fd] = FREE;
    this.#listeners.delete(fd);
    this.#partial.delete(fd);
    this.#begun.delete(fd);
    this.#dialer.hangUp(fd);
  }

  /** A connection is made, or could not be. */
  #connected(fd: number, mask: number): void {
    if ((mask & sys.EPOLLERR) !== 0) {
      sys.must(libc.getsockopt(fd, sys.SOL_SOCKET, sys.SO_ERROR, this.#error, this.#errorBytes), "read SO_ERROR");
      return this.#fail(fd, sys.errnoName(this.#error[0]!));
    }
    this.#states[fd] = SHAKING;
    const sent = libc.send(fd, this.#handshake, this.#handshake.length, sys.MSG_NOSIGNAL);
    if (sent < this.#handshake.length) this.#fail(fd, sent < 0 ? sys.errnoName(errno[0]!) : "short_send");
  }

  /** Takes the answer to a handshake. Returns its bytes; 0: it is not whole, or the connection has failed. */
  #takeAnswer(fd: number, length: number): number {
    const text = new TextDecoder("latin1").decode(this.#inbox.subarray(0, length));
    const end = text.indexOf("\r\n\r\n") + 4;
    if (end < 4) return 0;
    const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(text) ?? [];
    if (status !== "101" || !text.slice(0, end).includes(ACCEPT)) {
      this.#fail(fd, status === undefined || status === "101" ? "no_websocket" : `http_${status}`);
      return 0;
    }
    this.#settled++;
    this.#opened++;
    const isSlow = this.#next[fd] === -1;
    this.#states[fd] = isSlow ? DEAF : LISTENING;
    if (isSlow) sys.must(libc.epoll_ctl(this.#waiter.epoll, sys.EPOLL_CTL_DEL, fd, null), "look away");
    else this.#listeners.add(fd);
    return end;
  }

  // ---- Receiving ----

  /** Waits for events until a time, and takes what has come. */
  #turn(untilUs: number): void {
    const ready = this.#wait(Math.min(untilUs, this.#now + TURN_US));
    const { events } = this.#waiter;
    for (let i = 0; i < ready; i++) {
      const fd = events[i * sys.EVENT_WORDS + sys.DATA_WORD]!, mask = events[i * sys.EVENT_WORDS]!;
      if (this.#states[fd] === CONNECTING) this.#connected(fd, mask);
      if (this.#states[fd]! >= SHAKING && (mask & (sys.EPOLLIN | GONE)) !== 0) this.#receive(fd, mask);
      if (fd === this.#publisher && this.#unsent > 0) this.#flush();
    }
    this.#now = clockUs();
    if (this.#now < this.#phase.tellAtUs) return;
    if (sys.parentGone()) Deno.exit(0); // nobody is left who would read the outcome
    this.#tellProgress();
  }

  /** A thread that sleeps wakes late: so before a message is due, the last stretch is spun. */
  #wait(untilUs: number): number {
    const leftUs = Math.max(untilUs - this.#now, 0), { spinUs } = this.config;
    if (this.#publisher < 0 || spinUs === 0) return this.#waiter.wait(leftUs);
    if (leftUs > spinUs) {
      const ready = this.#waiter.wait(leftUs - spinUs);
      if (ready > 0) return ready;
    }
    const startUs = clockUs();
    for (;;) {
      const ready = this.#waiter.look(), now = clockUs();
      if (ready === 0 && now < untilUs) continue;
      this.#spunUs += now - startUs;
      return ready;
    }
  }

  /** Reads to the end of what has come: the kernel says once that there is something. */
  #receive(fd: number, mask: number): void {
    const isGone = (mask & GONE) !== 0;
    while (this.#states[fd]! >= SHAKING && this.#states[fd] !== DEAF) {
      const kept = this.#partial.get(fd);
      if (kept !== undefined) this.#inbox.set(kept);
      const from = kept?.length ?? 0;
      const got = libc.recv(fd, this.#inbox.subarray(from), INBOX_BYTES - from, 0);
      if (got > 0) {
        this.#take(fd, from + got);
        if (got < INBOX_BYTES - from && !isGone) return;
      } else if (got === 0) return this.#end(fd, "closed");
      else if (errno[0] === sys.EAGAIN) return;
      else if (errno[0] !== sys.EINTR) return this.#end(fd, sys.errnoName(errno[0]!));
    }
  }

  /** The server has ended a connection. */
  #end(fd: number, error: string): void {
    if (this.#states[fd] === SHAKING) return this.#fail(fd, error);
    this.#countError(error);
    if (this.#count !== null) {
      this.#count.lost++;
      this.#count.lostAt.push(this.#next[fd]!);
    }
    this.#close(fd);
    if (fd === this.#publisher) this.#publisher = -1;
  }

  /** Takes whole frames, and keeps the rest. */
  #take(fd: number, length: number): void {
    const inbox = this.#inbox;
    let at = this.#states[fd] === SHAKING ? this.#takeAnswer(fd, length) : 0;
    if (this.#states[fd] === LISTENING) {
      const now = clockUs();
      for (;;) {
        if (length - at < 2) break;
        const short = inbox[at + 1]! & LENGTH, header = short < LENGTH_16 ? 2 : short === LENGTH_16 ? 4 : 10;
        if (length - at < header) break;
        const payload = short < LENGTH_16
          ? short
          : short === LENGTH_16
          ? inbox[at + 2]! << 8 | inbox[at + 3]!
          : Infinity;
        if (payload > INBOX_BYTES - header) return this.#end(fd, "frame_too_long");
        if (length - at < header + payload) break;
        if (inbox[at] === CLOSE) return this.#end(fd, `close_${inbox[at + header]! << 8 | inbox[at + header + 1]!}`);
        if (!this.#frameCame(fd, at + header, payload, now)) return;
        at += header + payload;
      }
    }
    if (this.#states[fd] === FREE) return;
    if (at < length) this.#partial.set(fd, inbox.slice(at, length));
    else if (this.#partial.size > 0) this.#partial.delete(fd);
  }

  /** Takes a frame that is no Close, from its payload on. Returns whether the connection goes on. */
  #frameCame(fd: number, at: number, payload: number, now: number): boolean {
    const first = this.#inbox[at - (payload < LENGTH_16 ? 2 : 4)];
    if (first === TEXT && payload >= DIGITS) this.#message(fd, this.#numberAt(at), now);
    else if (first === PING) return this.#answerPing(fd, at, payload);
    else if (first === FIRST && payload < DIGITS) {
      this.#end(fd, "short_fragment"); // its number cannot be read
      return false;
    } else if (first === FIRST) this.#begun.set(fd, this.#numberAt(at));
    else if (first === LAST && this.#begun.has(fd)) {
      this.#message(fd, this.#begun.get(fd)!, now);
      this.#begun.delete(fd);
    }
    return true;
  }

  /** RFC 6455, section 5.5.2: a server may close a connection that does not answer. Masking by zeros changes nothing. */
  #answerPing(fd: number, at: number, payload: number): boolean {
    if (payload > MAX_PING) {
      this.#end(fd, "ping_too_long");
      return false;
    }
    this.#pong.set([PONG, MASKED | payload]);
    this.#pong.set(this.#inbox.subarray(at, at + payload), 6);
    const pong = this.#pong.subarray(0, 6 + payload);
    if (fd !== this.#publisher || this.#unsent === 0) return this.#sendPong(fd, pong);
    this.#owed = pong.slice();
    return true;
  }

  #sendPong(fd: number, pong: Uint8Array<ArrayBuffer>): boolean {
    const sent = libc.send(fd, pong, pong.length, sys.MSG_NOSIGNAL);
    if (sent < pong.length) this.#end(fd, sent < 0 ? sys.errnoName(errno[0]!) : "short_send");
    return sent === pong.length;
  }

  #numberAt(at: number): number {
    let number = 0;
    for (let i = 0, tens = 10 ** (DIGITS - 1); i < DIGITS; i++, tens /= 10) {
      number += (this.#inbox[at + i]! - ZERO) * tens;
    }
    return number;
  }

  #message(fd: number, sequence: number, now: number): void {
    const count = this.#count;
    if (count === null) return; // of an earlier broadcast
    const number = sequence - count.schedule.base;
    if (number < 0 || number >= count.schedule.total) return; // the same
    const expected = this.#next[fd]!;
    if (number > expected) this.#countError("gap");
    else if (number < expected) {
      const isLate = count.missing > 0; // as far as is known, which gap it fills
      this.#countError(isLate ? "out_of_order" : "duplicate");
      if (!isLate) return;
      count.missing--;
    }
    count.missing += Math.max(0, number - expected);
    this.#next[fd] = Math.max(expected, number + 1);
    count.deliver(number, now);
  }

  // ---- Publishing ----

  /** Messages at a rate, which all listeners are to have. */
  broadcast(schedule: Schedule): BroadcastPart {
    this.#begin("broadcast");
    const before = [...this.#listeners];
    const count = this.#count = new Count(schedule);
    for (const fd of before) this.#next[fd] = 0;
    if (schedule.publishes) this.#preparePublisher(before[0] ?? -1, schedule.bytes);
    const edges = this.#run(count);
    for (const next of count.lostAt) count.giveUp(next, this.#now);
    for (const fd of this.#listeners) count.giveUp(this.#next[fd]!, this.#now);
    this.#count = null;
    this.#publisher = -1;
    const open = this.#listeners.size;
    const { fromUs, toUs, total, first, publishes } = schedule;
    return {
      ...edges,
      seconds: (toUs - fromUs) / 1e6,
      from_us: fromUs,
      to_us: toUs,
      connections: open,
      requests: count.delivered,
      drained: count.drained,
      unanswered: count.unanswered + count.missing,
      lost: count.lost,
      ...{ dropped: 0, closed: 0, reconnects: 0, redials: 0, closes: {}, raw: null },
      errors: this.#takeErrors(),
      histogram: count.latency.take(),
      censored: count.censored.take(),
      lateness: publishes ? count.lateness.take() : null,
      late_sends: count.lateSends,
      scheduled: publishes ? total - first : null,
      stopped_early: before.length > 0 && open === 0 ? "All listeners were lost." : null,
      last_us: [...count.last],
    };
  }

  /** Publishes, and reads until all have all, or nothing has come for a while. Returns the CPU time of the window. */
  #run(count: Count) {
    const { schedule } = count;
    const clocks = () => ({ cpuUs: sys.ownCpuUs(), spunUs: this.#spunUs });
    let published = schedule.publishes ? 0 : schedule.total;
    let from = clocks(), to: ReturnType<typeof clocks> | null = null;
    count.lastDeliveryUs = schedule.endUs;
    for (;;) {
      while (published < schedule.total && this.#now >= count.dueOf(published) && this.#unsent === 0) {
        if (this.#publisher < 0) published = schedule.total;
        else this.#publish(count, published++);
      }
      if (this.#now < schedule.fromUs) from = clocks();
      else if (to === null && this.#now >= schedule.toUs) to = clocks();
      const isQuiet = this.#now - Math.max(count.lastDeliveryUs, schedule.endUs) > QUIET_US;
      const isOver = this.#now >= schedule.endUs && published === schedule.total &&
        (isQuiet || this.#isComplete(schedule.total));
      if (isOver || this.#now > schedule.endUs + DRAIN_US) break;
      const dueUs = published < schedule.total && this.#unsent === 0 ? count.dueOf(published) : Infinity;
      const edgeUs = this.#now < schedule.fromUs
        ? schedule.fromUs
        : this.#now < schedule.toUs
        ? schedule.toUs
        : schedule.endUs;
      this.#turn(Math.min(dueUs, this.#now < edgeUs ? edgeUs : Infinity));
    }
    const end = to ?? clocks();
    return { client_cpu_us: end.cpuUs - from.cpuUs, client_spin_us: end.spunUs - from.spunUs };
  }

  /** Whether all that are open have all messages. */
  #isComplete(total: number): boolean {
    for (const fd of this.#listeners) if (this.#next[fd] !== total) return false;
    return true;
  }

  /** Lays out the frame of a message. Masked by zeros it is what it was. */
  #preparePublisher(fd: number, bytes: number): void {
    this.#publisher = fd;
    this.#owed = null;
    this.#payloadAt = bytes < LENGTH_16 ? 6 : 8;
    this.#frame = new Uint8Array(this.#payloadAt + bytes).fill(120, this.#payloadAt);
    this.#frame.set(bytes < LENGTH_16 ? [TEXT, MASKED | bytes] : [TEXT, MASKED | LENGTH_16, bytes >> 8, bytes & 255]);
  }

  #publish(count: Count, number: number): void {
    const text = String(count.schedule.base + number).padStart(DIGITS, "0");
    for (let i = 0; i < DIGITS; i++) this.#frame[this.#payloadAt + i] = text.charCodeAt(i);
    this.#now = clockUs();
    const lateUs = this.#now - count.dueOf(number);
    if (number >= count.schedule.first) {
      count.lateness.record(Math.max(lateUs, 0));
      if (lateUs > LATE_US) count.lateSends++;
    }
    this.#unsent = this.#frame.length;
    this.#flush();
  }

  #flush(): void {
    const from = this.#frame.length - this.#unsent;
    const sent = libc.send(this.#publisher, this.#frame.subarray(from), this.#unsent, sys.MSG_NOSIGNAL);
    if (sent >= 0) {
      this.#unsent -= sent;
      if (this.#unsent > 0 || this.#owed === null) return;
      this.#sendPong(this.#publisher, this.#owed);
      this.#owed = null;
    } else if (errno[0] !== sys.EAGAIN && errno[0] !== sys.EINTR) {
      this.#unsent = 0;
      this.#owed = null;
      this.#end(this.#publisher, sys.errnoName(errno[0]!));
    }
  }

  // ---- What is told ----

  #begin(name: string): number {
    this.#now = clockUs();
    this.#phase = { name, startUs: this.#now, tellAtUs: this.#now + TURN_US };
    return this.#now;
  }

  #countError(name: string): void {
    this.#errors[name] = (this.#errors[name] ?? 0) + 1;
  }

  #takeErrors(): ErrorCounts {
    const errors = this.#errors;
    this.#errors = {};
    return errors;
  }

  #tellProgress(): void {
    const { name, startUs } = this.#phase;
    this.#phase.tellAtUs = this.#now + PROGRESS_US;
    const answered = this.#count?.delivered ?? this.#opened;
    const connections = this.#listeners.size;
    this.onProgress({ phase: name, connections, answered, seconds: (this.#now - startUs) / 1e6 });
  }
}
