/**
 * The open loop of the load generator: requests are due at fixed times, and latency counts from there.
 *
 * A closed loop asks less as soon as the server stalls, and so leaves out just those requests that would have waited: coordinated
 * omission (Gil Tene, "How NOT to Measure Latency"; wrk2). Here a stall delays the requests that are due, and their clocks run.
 * A thread that sleeps until a request is due wakes some 50 µs late, so the last stretch is spun (`spinUs`). How late requests
 * left by the generator's own fault is a distribution of its own, `lateness`.
 *
 * @module
 */
import { BUSY, CONNECTING, type Connections, grown, IDLE, type Loop, type Steps } from "./connections.ts";
import { passes } from "./shares.ts";
import { Scores } from "./tally.ts";
import type { OpenPart, WindowPart } from "./types.ts";
import { DRAIN_US, NEVER, NO_CONNECTION_HELD, Patience, Presence, QUIET_US, sleepUntil } from "./patience.ts";
import { addBefore, type Cut, type Edge, windowPart } from "./window.ts";

/** A request that leaves so long after it was due, although a connection was idle, is late by the generator's own fault. */
const LATE_US = 1000;

const NONE = -1;
const DORMANT = -2;

/** Idle clients in the order in which they became idle. A connection that was lost meanwhile is passed over when its turn comes. */
class IdleQueue {
  #ring = new Int32Array(64);
  #mask = 63;
  #head = 0;
  #tail = 0;
  #standing = new Uint8Array(64); // 1: this connection stands in the ring

  constructor(readonly connections: Connections) {
    const { dormant, held, heldIds, states } = connections;
    for (let i = 0; i < held; i++) if (states[heldIds[i]!] === IDLE) this.push(heldIds[i]!);
    for (let i = 0; i < dormant; i++) this.pushDormant();
  }

  push(id: number): void {
    if (id >= this.#standing.length) this.#standing = grown(this.#standing, id);
    if (this.#standing[id] === 1) return; // an earlier connection of this number was closed while it stood there
    this.#standing[id] = 1;
    this.#add(id);
  }

  /** A client that has to connect first. */
  pushDormant(): void {
    this.#add(DORMANT);
  }

  #add(entry: number): void {
    if (this.#tail - this.#head === this.#ring.length) this.#double();
    this.#ring[this.#tail++ & this.#mask] = entry;
  }

  #double(): void {
    const { length } = this.#ring;
    const longer = new Int32Array(2 * length);
    for (let i = 0; i < length; i++) longer[i] = this.#ring[this.#head + i & this.#mask]!;
    this.#ring = longer;
    this.#mask = longer.length - 1;
    this.#head = 0;
    this.#tail = length;
  }

  get empty(): boolean {
    return this.#head === this.#tail;
  }

  /** The client that has been idle longest: its connection, or DORMANT; NONE if none is. */
  pop(): number {
    while (this.#head < this.#tail) {
      const id = this.#ring[this.#head++ & this.#mask]!;
      if (id === DORMANT) return id;
      this.#standing[id] = 0;
      if (this.connections.states[id] === IDLE) return id;
    }
    return NONE;
  }
}

/** Sends a byte a second on each of many connections, evenly spread over the second: heads that never end. */
class Trickle {
  #sent = 0;
  constructor(readonly connections: Connections, readonly ids: readonly number[]) {}

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
  readonly scores: Scores;
  readonly presence: Presence;
  readonly #idle: IdleQueue;
  /** How many requests are due for this process. */
  readonly #total: number;
  #next = 0;
  #hadIdle = false;
  #inTimeUntil = 0;
  /** Requests whose connection was closed as they were sent. */
  readonly #again: { due: number; which: number }[] = [];

  constructor(readonly connections: Connections, readonly part: OpenPart, readonly trickle: Trickle) {
    this.scores = new Scores(true);
    this.presence = new Presence(connections);
    this.#idle = new IdleQueue(connections);
    this.#total = Math.max(0, Math.ceil((part.total - part.first) / part.step));
  }

  /** Requests that are due in all. */
  get scheduled(): number {
    return this.#total;
  }

  #numberOf(request: number): number {
    return this.part.first + request * this.part.step;
  }

  #dueOf(request: number): number {
    return this.part.startUs + this.#numberOf(request) * 1e6 / this.part.rate;
  }

  /**
   * Each process has its own share of the heavy ones: by the numbers of all, those of a hundredth would be all with one of four.
   * The first of a hundredth is the fiftieth: the hundredth would be worked on when the window is over.
   */
  #which(request: number): number {
    const { first, step, heavyShare } = this.part;
    return Number(passes(request, heavyShare, (0.5 + first / step) % 1));
  }

  /** Sends what is due, as long as a client is idle. Returns when the next request is due; if none is idle: never. */
  #sendDue(): number {
    const { connections } = this;
    if (this.#again.length > 0) {
      for (const { due, which } of this.#again.splice(0)) this.#reconnect(due, which);
    }
    // If a client was idle after the last look, none of the requests that have become due since had to wait for one.
    if (this.#hadIdle) this.#inTimeUntil = connections.clockUs();
    this.#hadIdle = false;
    for (; this.#next < this.#total; this.#next++) {
      const due = this.#dueOf(this.#next);
      const now = connections.now = connections.clockUs(); // what is left to wait counts from here
      if (due > now) {
        this.#hadIdle = !this.#idle.empty;
        return due;
      }
      const id = this.#idle.pop();
      if (id === NONE) return NEVER;
      const which = this.#which(this.#next);
      if (id === DORMANT) this.#reconnect(due, which);
      else if (!this.#send(id, now, due, which)) this.#next--; // that connection is gone, another one is asked
    }
    return NEVER;
  }

  #send(id: number, now: number, due: number, which: number): boolean {
    const { connections, scores } = this;
    connections.dueAt[id] = due;
    const couldLeave = due <= this.#inTimeUntil ? due : Math.max(due, connections.idleSince[id]!);
    if (!connections.send(id, now, which)) return false;
    const lateUs = Math.max(now - couldLeave, 0);
    scores.lateness!.record(lateUs);
    if (lateUs > LATE_US) scores.lateSends++;
    return true;
  }

  /** Connects a dormant client for a request. */
  #reconnect(due: number, which: number): void {
    const { connections } = this;
    const id = connections.reopen();
    if (id < 0) return this.#notMade(due, which, connections.now);
    connections.dueAt[id] = due;
    connections.which[id] = which;
  }

  /** A client could not connect: its request is given up, and the next one tries again. */
  #notMade(due: number, which: number, now: number): void {
    this.presence.failed(now);
    this.scores.giveUp(now - due, which === 1);
    this.#idle.pushDormant();
  }

  connected(id: number, now: number): void {
    const { connections } = this;
    this.presence.made();
    const due = connections.dueAt[id]!;
    const which = connections.which[id]!;
    if (!connections.send(id, now, which)) this.scores.giveUp(now - due, which === 1);
  }

  failed(id: number, now: number): void {
    this.#notMade(this.connections.dueAt[id]!, this.connections.which[id]!, now);
  }

  answered(id: number, now: number, status: number, open: boolean): void {
    this.freed(id, now, open);
    if (status !== 200) return;
    const { connections, part, scores } = this;
    const latencyUs = now - connections.dueAt[id]!;
    scores.requests++;
    if (now > part.endUs) scores.drained++;
    if (connections.which[id] === 1) return; // its latency is mostly the CPU time that it burns
    scores.latency.record(latencyUs);
    scores.raw!.record(now - connections.sentAt[id]!);
  }

  freed(id: number, _now: number, open: boolean): void {
    if (open) this.#idle.push(id);
    else this.#idle.pushDormant();
  }

  idleClosed(): void {
    this.#idle.pushDormant();
  }

  retry(id: number): void {
    const { dueAt, which } = this.connections;
    this.#again.push({ due: dueAt[id]!, which: which[id]! });
  }

  lost(id: number, now: number, inFlight: boolean): void {
    const { dueAt, which } = this.connections;
    if (inFlight) this.scores.giveUp(now - dueAt[id]!, which[id] === 1);
  }

  /** Sends all that becomes due, and waits, bounded, for all answers. Returns the clocks at the end of the schedule, or where it broke off. */
  *run(cut: Cut): Steps<{ to: Edge; over: string | null }> {
    const { connections } = this;
    const { startUs, endUs } = this.part;
    connections.precise = true;
    for (let i = 0; i < connections.held; i++) connections.idleSince[connections.heldIds[i]!] = startUs;
    connections.now = connections.clockUs();
    while (connections.now < endUs && this.presence.over === null) {
      const nextDue = this.#sendDue();
      const nextByte = startUs + this.trickle.send(connections.now - startUs);
      yield Math.min(nextDue, nextByte, endUs);
    }
    const to = cut();
    const over = this.presence.over;
    connections.precise = false;
    const patience = new Patience(connections, QUIET_US, connections.now + DRAIN_US);
    while (this.presence.over === null && !patience.over()) {
      this.#sendDue();
      const left = this.#total - this.#next + this.#again.length;
      if (left + connections.busy + connections.reconnecting === 0) break;
      yield NEVER;
    }
    return { to, over: over ?? this.presence.over };
  }

  /** Gives up all requests without an answer, sent or not. */
  giveUp(): void {
    const { connections, scores } = this;
    const now = connections.now = connections.clockUs();
    for (let id = 0; id < connections.states.length; id++) {
      const state = connections.states[id];
      if (state === BUSY || state === CONNECTING) {
        scores.giveUp(now - connections.dueAt[id]!, connections.which[id] === 1);
      }
    }
    for (const { due, which } of this.#again) scores.giveUp(now - due, which === 1);
    for (; this.#next < this.#total; this.#next++) {
      scores.giveUp(now - this.#dueOf(this.#next), this.#which(this.#next) === 1);
    }
  }
}

/** Asks at a set rate, whatever the answers do. `slow`: connections that send a byte a second meanwhile. */
export function* openLoop(
  connections: Connections,
  cut: Cut,
  part: OpenPart,
  slow: readonly number[],
): Steps<WindowPart> {
  const { tally } = connections;
  const rest = { connections: connections.clients, scheduled: 0, stopped_early: NO_CONNECTION_HELD };
  yield* sleepUntil(connections, part.startUs);
  const before = tally.take(); // what has broken since the last load
  const from = { ...cut(), us: part.startUs }; // requests are due from then on, whenever this process got to run
  const loop = new OpenLoop(connections, part, new Trickle(connections, slow));
  if (connections.clients === 0) {
    loop.giveUp();
    return windowPart(from, from, loop.scores, addBefore(tally.take(), before), { ...rest, scheduled: loop.scheduled });
  }
  connections.loop = loop;
  const { to, over } = yield* loop.run(cut);
  loop.giveUp();
  connections.countUnfinished();
  connections.leave();
  tally.takeEnded();
  return windowPart(from, to, loop.scores, addBefore(tally.take(), before), {
    connections: connections.clients,
    scheduled: loop.scheduled,
    stopped_early: over,
  });
}
