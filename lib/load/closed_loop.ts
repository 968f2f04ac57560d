/**
 * The closed loop: each client asks again as soon as it has its answer.
 *
 * @module
 */
import { BUSY, CONNECTING, type Connections, IDLE, type Loop, type Steps } from "./connections.ts";
import { Scores } from "./tally.ts";
import type { ClosedPart, WindowPart } from "./types.ts";
import { DRAIN_US, NO_CONNECTION_HELD, Patience, Presence, QUIET_US, RETRY_US, sleepUntil } from "./patience.ts";
import { addBefore, addBroken, type Cut, windowPart } from "./window.ts";

class ClosedLoop implements Loop {
  readonly scores = new Scores(false);
  readonly presence: Presence;
  asking = true;
  recording = false;
  /** When the requests were due whose clients have to reconnect first. */
  readonly #waiting: number[] = [];

  constructor(readonly connections: Connections) {
    this.presence = new Presence(connections);
  }

  #ask(id: number, now: number): void {
    this.connections.dueAt[id] = now;
    this.connections.send(id, now, 0);
  }

  answered(id: number, now: number, status: number, open: boolean): void {
    if (this.recording && status === 200) {
      this.scores.requests++;
      this.scores.latency.record(now - this.connections.dueAt[id]!);
    }
    this.freed(id, now, open);
  }

  freed(id: number, now: number, open: boolean): void {
    if (!this.asking) return;
    if (open) this.#ask(id, now);
    else this.#waiting.push(now);
  }

  connected(id: number, now: number): void {
    this.presence.made();
    this.connections.send(id, now, 0); // it was due when the loop asked still
  }

  failed(id: number, now: number): void {
    this.presence.failed(now);
    this.#waiting.push(this.connections.dueAt[id]!);
  }

  retry(id: number): void {
    this.#waiting.push(this.connections.dueAt[id]!);
  }

  idleClosed(_id: number, now: number): void {
    if (this.asking) this.#waiting.push(now);
  }

  lost(id: number, now: number, inFlight: boolean): void {
    if (inFlight && this.recording) this.scores.giveUp(now - this.connections.dueAt[id]!);
  }

  /** Asks all that are idle. From the last to the first, since a connection that is lost is replaced by the last. */
  start(): void {
    const { connections } = this;
    for (let left = connections.dormant; left > 0; left--) this.#waiting.push(connections.now);
    for (let i = connections.held - 1; i >= 0; i--) {
      const id = connections.heldIds[i]!;
      if (connections.states[id] === IDLE) this.#ask(id, connections.clockUs());
    }
  }

  /** Reconnects clients whose connection was closed. Returns when to try again, if an attempt has failed. */
  #reconnect(): number {
    const { connections } = this;
    while (this.#waiting.length > 0) {
      const id = connections.reopen();
      if (id < 0) {
        this.presence.failed(connections.now);
        return connections.now + RETRY_US;
      }
      connections.dueAt[id] = this.#waiting.shift()!;
    }
    return Infinity;
  }

  *run(untilUs: number): Steps<void> {
    const { connections } = this;
    connections.now = connections.clockUs();
    while (connections.now < untilUs && this.presence.over === null) yield Math.min(this.#reconnect(), untilUs);
  }

  /** Waits, bounded, for all that is under way, clients that have to reconnect for a request included. */
  *drain(): Steps<void> {
    const { connections } = this;
    const patience = new Patience(connections, QUIET_US, connections.now + DRAIN_US);
    this.asking = false;
    while (this.presence.over === null && !patience.over()) {
      const untilUs = this.#reconnect();
      if (connections.busy + connections.reconnecting + this.#waiting.length === 0) break;
      yield untilUs;
    }
  }

  /** Gives up the requests that were due before `untilUs` and have no answer. */
  giveUp(untilUs: number): void {
    const { connections } = this;
    const { now } = connections;
    for (let id = 0; id < connections.states.length; id++) {
      const state = connections.states[id];
      const due = connections.dueAt[id]!;
      if ((state === BUSY || state === CONNECTING) && due < untilUs) this.scores.giveUp(now - due);
    }
    for (const due of this.#waiting) if (due < untilUs) this.scores.giveUp(now - due);
  }
}

/**
 * Asks each client again as soon as it has its answer. An answer belongs to the window if it comes within it. Load goes on behind it
 * until `endUs`, and what is under way then is awaited, so that totals are exact.
 */
export function* closedLoop(connections: Connections, cut: Cut, part: ClosedPart): Steps<WindowPart> {
  const { tally } = connections;
  const loop = new ClosedLoop(connections);
  const rest = (stopped_early: string | null) => ({ connections: connections.clients, scheduled: null, stopped_early });
  if (connections.clients === 0) {
    const now = cut();
    return windowPart(now, now, loop.scores, tally.take(), rest(NO_CONNECTION_HELD));
  }
  yield* sleepUntil(connections, part.startUs);
  connections.loop = loop;
  loop.start();
  yield* loop.run(part.fromUs);
  const before = tally.take();
  loop.recording = true;
  const from = cut();
  yield* loop.run(part.toUs);
  const to = cut();
  const taken = tally.take();
  addBefore(taken, before);
  const ended = rest(loop.presence.over);
  loop.recording = false;
  yield* loop.run(part.endUs);
  yield* loop.drain();
  connections.now = connections.clockUs();
  loop.giveUp(to.us);
  connections.countUnfinished();
  addBroken(taken, tally.take());
  connections.leave();
  tally.takeEnded();
  return windowPart(from, to, loop.scores, taken, ended);
}
