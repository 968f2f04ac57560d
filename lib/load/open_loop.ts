/**
 * The open loop of the load generator: requests are due at fixed times, and latency counts from there.
 *
 * A closed loop asks less as soon as the server stalls, and so leaves out just those requests that would have waited: coordinated
 * omission (Gil Tene, "How NOT to Measure Latency"; wrk2). Here a stall delays the requests that are due, and their clocks run.
 * The thread itself wakes some 50 µs late: corrected latencies have that in them, raw ones do not.
 *
 * @module
 */
import { connect } from "./connect_and_ask.ts";
import { type Connections, IDLE, type Loop, SLOW, type Steps } from "./connections.ts";
import { passes } from "./shares.ts";
import { type Meter, Scores, timesBetween } from "./tally.ts";
import type { OpenOptions, SlowOptions, Window } from "./types.ts";
import { DRAIN_US, mustHold, NEVER, NO_CONNECTION_LEFT, Patience, QUIET_US } from "./patience.ts";

/** A request that leaves so long after it was due, although a connection was idle, is late by the generator's own fault. */
const LATE_US = 1000;
/** How long one of the slow clients may take to connect before the rest of them is given up, in ms. */
const SLOW_CONNECT_MS = 5000;

/** Idle connections in the order in which they became idle. One that was lost meanwhile is passed over when its turn comes. */
class IdleQueue {
  readonly #ring: Int32Array;
  readonly #mask: number;
  #head = 0;
  #tail = 0;

  constructor(readonly states: Uint8Array, held: number) {
    this.#ring = new Int32Array(2 ** Math.ceil(Math.log2(held + 1))); // a connection stands in it once at the most
    this.#mask = this.#ring.length - 1;
  }

  push(id: number): void {
    this.#ring[this.#tail++ & this.#mask] = id;
  }

  get empty(): boolean {
    return this.#head === this.#tail;
  }

  /** The connection that has been idle longest; −1 if none is. */
  pop(): number {
    while (this.#head < this.#tail) {
      const id = this.#ring[this.#head++ & this.#mask]!;
      if (this.states[id] === IDLE) return id;
    }
    return -1;
  }
}

/** Sends a byte a second on each of many connections, evenly spread over the second: heads that never end. */
class Trickle {
  #sent = 0;
  constructor(readonly connections: Connections, readonly ids: number[]) {}

  /** Sends what is due `sinceUs` after the start. Returns when, after the start, the next byte is due. */
  send(sinceUs: number): number {
    const { ids } = this;
    if (ids.length === 0) return NEVER;
    for (; this.#sent * 1e6 / ids.length <= sinceUs; this.#sent++) {
      const at = Math.min(Math.floor(this.#sent / ids.length), SLOW_HEAD.length - 1); // the last byte over and over
      this.connections.trickle(ids[this.#sent % ids.length]!, SLOW_HEAD.subarray(at, at + 1));
    }
    return this.#sent * 1e6 / ids.length;
  }
}
const SLOW_HEAD = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: lab\r\nX-Slow: a");

class OpenLoop implements Loop {
  readonly #idle: IdleQueue;
  readonly #idleSince: Float64Array;
  readonly #dueAt: Float64Array;
  readonly #isHeavy: Uint8Array;
  readonly #total: number;
  #next = 0;
  #hadIdle = false;
  #inTimeUntil = 0;

  constructor(
    readonly connections: Connections,
    readonly scores: Scores,
    readonly options: OpenOptions,
    readonly trickle: Trickle | null,
  ) {
    const { held, heldIds, states } = connections;
    this.#idle = new IdleQueue(states, held);
    for (let i = 0; i < held; i++) if (states[heldIds[i]!] === IDLE) this.#idle.push(heldIds[i]!);
    this.#idleSince = new Float64Array(states.length);
    this.#dueAt = new Float64Array(states.length);
    this.#isHeavy = new Uint8Array(states.length);
    this.#total = Math.round(options.rate * options.seconds);
  }

  /** Requests that are due in all; requests that were never sent. */
  get scheduled(): number {
    return this.#total;
  }
  get unsent(): number {
    return this.#total - this.#next;
  }

  /** Sends what is due, as long as a connection is idle. Returns when the next request is due; if none is idle: never. */
  #sendDue(startUs: number): number {
    const { connections } = this;
    // If a connection was idle after the last look, none of the requests that have become due since had to wait for one.
    if (this.#hadIdle) this.#inTimeUntil = connections.clockUs();
    this.#hadIdle = false;
    for (; this.#next < this.#total; this.#next++) {
      const due = startUs + this.#next * 1e6 / this.options.rate;
      const now = connections.now = connections.clockUs(); // what is left to wait counts from here
      if (due > now) {
        this.#hadIdle = !this.#idle.empty;
        return due;
      }
      const id = this.#idle.pop();
      if (id < 0) return NEVER;
      const couldLeave = due <= this.#inTimeUntil ? due : Math.max(due, this.#idleSince[id]!);
      if (now - couldLeave > LATE_US) this.scores.lateSends++;
      this.#dueAt[id] = due;
      const which = this.#isHeavy[id] = Number(passes(this.#next, this.options.heavyShare));
      if (!connections.send(id, now, which)) this.#next--; // that connection is gone, another one is asked
    }
    return NEVER;
  }

  answered(id: number, now: number, status: number): void {
    this.freed(id, now);
    if (status !== 200) return;
    const { scores } = this;
    scores.requests++;
    if (this.#isHeavy[id] === 1) return; // its latency is mostly the CPU time that it burns
    scores.latency.record(now - this.#dueAt[id]!);
    scores.raw!.record(now - this.connections.sentAt[id]!);
  }

  freed(id: number, now: number): void {
    this.#idleSince[id] = now;
    this.#idle.push(id);
  }

  lost(): void {}

  /** Sends all that becomes due from `startUs` on, and waits, bounded, for all answers. */
  *run(startUs: number): Steps<void> {
    const { connections } = this;
    const endUs = startUs + this.options.seconds * 1e6;
    this.#idleSince.fill(startUs);
    connections.now = connections.clockUs();
    while (connections.now < endUs && connections.held > 0) {
      const nextDue = this.#sendDue(startUs);
      const nextByte = startUs + (this.trickle?.send(connections.now - startUs) ?? NEVER);
      yield Math.min(nextDue, nextByte, endUs);
    }
    const patience = new Patience(connections, QUIET_US, connections.now + DRAIN_US);
    while (connections.held > 0 && !patience.over()) {
      this.#sendDue(startUs);
      if (this.unsent + connections.busy === 0) break;
      yield NEVER;
    }
  }
}

function* measure(
  connections: Connections,
  meter: Meter,
  options: OpenOptions,
  trickle: Trickle | null,
): Steps<Window> {
  mustHold(connections);
  const scores = new Scores(true);
  const { tally } = connections;
  tally.take();
  const from = meter.read();
  const loop = connections.loop = new OpenLoop(connections, scores, options, trickle);
  yield* loop.run(from.endedUs);
  const unanswered = loop.unsent + connections.leave();
  return {
    ...timesBetween(from, meter.read()),
    ...scores.take(),
    ...tally.take(),
    connections: connections.held,
    unanswered,
    scheduled: loop.scheduled,
    stopped_early: connections.held === 0 ? NO_CONNECTION_LEFT : null,
  };
}

/** Asks at a set rate, whatever the answers do. The warm-up is a run of its own, with all its answers awaited. */
export function* openLoop(connections: Connections, meter: Meter, options: OpenOptions): Steps<Window> {
  const { warmupSeconds } = options;
  if (warmupSeconds > 0) yield* measure(connections, meter, { ...options, seconds: warmupSeconds }, null);
  return yield* measure(connections, meter, options, null);
}

/** An open loop besides slow clients, which are closed afterwards. */
export function* slowClients(connections: Connections, meter: Meter, options: SlowOptions): Steps<Window> {
  const { slow, rate, seconds } = options;
  const ids: number[] = [];
  mustHold(connections);
  const { errors } = yield* connect(connections, { count: slow, timeoutMs: SLOW_CONNECT_MS }, (id) => {
    connections.states[id] = SLOW;
    ids.push(id);
  });
  const all: OpenOptions = { rate, seconds, warmupSeconds: 0, heavyShare: 0, heavyPath: "/" };
  const window = yield* measure(connections, meter, all, new Trickle(connections, ids));
  connections.closeAll(SLOW);
  for (const [key, times] of Object.entries(errors)) window.errors[key] = (window.errors[key] ?? 0) + times;
  return window;
}
