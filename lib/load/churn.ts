/**
 * The churn of the load generator: connections that live for one request.
 *
 * @module
 */
import { type Connections, grown, type Loop, type Steps } from "./connections.ts";
import { type Meter, Scores, timesBetween } from "./tally.ts";
import type { ChurnOptions, Window } from "./types.ts";
import { DRAIN_US, NEVER, Patience, QUIET_US } from "./patience.ts";

/** Failures in a row after which the server is held to be gone: a loop of refused connections would measure nothing. */
const MAX_FAILURES = 1000;

class ChurnLoop implements Loop {
  readonly scores = new Scores(false);
  live = 0;
  failuresInRow = 0;
  #startedAt = new Float64Array(64); // before connect(2); 0: not a connection of this loop
  constructor(readonly connections: Connections, readonly concurrency: number) {}

  /** Opens connections until enough are under way. Done between turns, so that no descriptor comes back within one. */
  fill(): void {
    while (this.live < this.concurrency && this.failuresInRow < MAX_FAILURES) {
      const startedAt = this.connections.clockUs();
      const id = this.connections.open();
      if (id < 0) {
        this.connections.tally.error(this.connections.openError);
        this.failuresInRow++;
        if (this.live > 0) return; // those under way may give back what is missing
        continue;
      }
      if (id >= this.#startedAt.length) this.#startedAt = grown(this.#startedAt, id);
      this.#startedAt[id] = startedAt;
      this.live++;
    }
  }

  connected(id: number, now: number): void {
    this.connections.send(id, now, 0);
  }

  answered(id: number, now: number, status: number): void {
    if (status === 200) {
      this.scores.requests++;
      this.scores.latency.record(now - this.#startedAt[id]!);
    }
    this.connections.close(id);
    this.#end(id);
    this.failuresInRow = 0;
  }

  failed(id: number): void {
    this.#end(id);
    this.failuresInRow++;
  }

  lost(id: number): void {
    if (this.#startedAt[id]! > 0) this.failed(id); // else it is a held one
  }

  freed(): void {}

  #end(id: number): void {
    this.#startedAt[id] = 0;
    this.live--;
  }

  *run(untilUs: number): Steps<void> {
    const { connections } = this;
    connections.now = connections.clockUs();
    while (connections.now < untilUs && this.failuresInRow < MAX_FAILURES) {
      this.fill();
      yield this.live > 0 ? untilUs : 0;
    }
  }

  /** Waits, bounded, for those under way, and closes the rest. Returns how many these were. */
  *finish(): Steps<number> {
    const { connections } = this;
    const patience = new Patience(connections, QUIET_US, connections.clockUs() + DRAIN_US);
    while (this.live > 0 && !patience.over()) yield NEVER;
    for (let id = 0; id < this.#startedAt.length; id++) if (this.#startedAt[id]! > 0) connections.close(id);
    connections.leave();
    return this.live;
  }
}

/** Connects, asks once and closes, over and over. Connections that end while the clocks are read wait for it. */
export function* churn(connections: Connections, meter: Meter, options: ChurnOptions): Steps<Window> {
  const { concurrency, seconds, warmupSeconds } = options;
  const { tally } = connections;
  const loop = connections.loop = new ChurnLoop(connections, concurrency);
  yield* loop.run(connections.clockUs() + warmupSeconds * 1e6);
  loop.scores.take();
  tally.take();
  const from = meter.read();
  yield* loop.run(from.endedUs + seconds * 1e6);
  const times = timesBetween(from, meter.read());
  const window = { ...times, ...loop.scores.take(), ...tally.take(), connections: concurrency, scheduled: null };
  const unanswered = yield* loop.finish();
  const failed = loop.failuresInRow >= MAX_FAILURES;
  const stopped_early = failed ? `${MAX_FAILURES} connections in a row failed.` : null;
  return { ...window, unanswered, stopped_early };
}
