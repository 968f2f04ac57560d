/**
 * The churn of the load generator: connections that live for one request.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Connections, grown, type Loop, type Steps } from "./connections.ts";
import { Scores } from "./tally.ts";
import type { ChurnPart, WindowPart } from "./types.ts";
import { DRAIN_US, NEVER, Patience, QUIET_US, RETRY_US, sleepUntil } from "./patience.ts";
import { addBefore, addBroken, type Cut, windowPart } from "./window.ts";

/** Failures in a row after which the server is held to be gone: a loop of refused connections would measure nothing. */
const MAX_FAILURES = 1000;

class ChurnLoop implements Loop {
  readonly scores = new Scores(false);
  recording = false;
  live = 0;
  failuresInRow = 0;
  #startedAt = new Float64Array(64); // before connect(2); 0: not a connection of this loop
  constructor(readonly connections: Connections, readonly concurrency: number) {}

  get over(): boolean {
    return this.failuresInRow >= MAX_FAILURES;
  }

  /**
   * Opens connections until enough are under way. Done between turns, so that no descriptor comes back within one. Returns when to
   * try again: those under way may give back what is missing.
   */
  fill(): number {
    while (this.live < this.concurrency && !this.over) {
      const startedAt = this.connections.clockUs();
      const id = this.connections.open();
      if (id < 0) {
        this.connections.tally.error(this.connections.openError);
        this.failuresInRow++;
        if (this.live > 0) return startedAt + RETRY_US;
        continue;
      }
      if (id >= this.#startedAt.length) this.#startedAt = grown(this.#startedAt, id);
      this.#startedAt[id] = startedAt;
      this.live++;
    }
    return NEVER;
  }

  connected(id: number, now: number): void {
    this.connections.send(id, now, 0);
  }

  answered(id: number, now: number, status: number, open: boolean): void {
    if (status === 200 && this.recording) {
      this.scores.requests++;
      this.scores.latency.record(now - this.#startedAt[id]!);
    }
    if (open) this.connections.close(id);
    this.#end(id);
    this.failuresInRow = 0;
  }

  failed(id: number): void {
    this.#end(id);
    this.failuresInRow++;
  }

  lost(id: number, now: number): void {
    if (!(this.#startedAt[id]! > 0)) return; // a held one
    if (this.recording) this.scores.giveUp(now - this.#startedAt[id]!);
    this.failed(id);
  }

  dropped(id: number): void {
    if (this.#startedAt[id]! > 0) this.failed(id);
  }

  idleClosed(id: number, now: number): void {
    if (this.#startedAt[id]! > 0) this.lost(id, now);
  }

  freed(): void {}

  #end(id: number): void {
    this.#startedAt[id] = 0;
    this.live--;
  }

  *run(untilUs: number): Steps<void> {
    const { connections } = this;
    connections.now = connections.clockUs();
    while (connections.now < untilUs && !this.over) yield Math.min(this.fill(), untilUs);
  }

  /** Waits, bounded, for those under way, and closes the rest; those begun before `untilUs` are given up. */
  *finish(untilUs: number): Steps<void> {
    const { connections } = this;
    const patience = new Patience(connections, QUIET_US, connections.clockUs() + DRAIN_US);
    while (this.live > 0 && !patience.over()) yield NEVER;
    const now = connections.clockUs();
    for (let id = 0; id < this.#startedAt.length; id++) {
      const startedAt = this.#startedAt[id]!;
      if (startedAt === 0) continue;
      if (startedAt < untilUs) this.scores.giveUp(now - startedAt);
      if (startedAt < untilUs) connections.countIfUnfinished(id);
      connections.close(id);
    }
    connections.leave();
  }
}

/** Connects, asks once and closes, over and over. */
export function* churn(connections: Connections, cut: Cut, part: ChurnPart): Steps<WindowPart> {
  const { concurrency, startUs, fromUs, toUs, endUs } = part;
  const { tally } = connections;
  yield* sleepUntil(connections, startUs);
  const loop = connections.loop = new ChurnLoop(connections, concurrency);
  yield* loop.run(fromUs);
  const before = tally.take();
  loop.recording = true;
  const from = cut();
  yield* loop.run(toUs);
  const to = cut();
  const taken = tally.take();
  addBefore(taken, before);
  loop.recording = false;
  const stopped_early = loop.over ? `${count(MAX_FAILURES)} connections in a row failed.` : null;
  yield* loop.run(endUs);
  yield* loop.finish(to.us);
  addBroken(taken, tally.take());
  tally.takeEnded();
  return windowPart(from, to, loop.scores, taken, { connections: concurrency, scheduled: null, stopped_early });
}
