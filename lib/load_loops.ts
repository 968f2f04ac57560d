/**
 * The closed loop, and what all loops of the load generator need to come to an end.
 *
 * @module
 */
import { UsageError } from "./errors.ts";
import { type Connections, DEAF, IDLE, type Loop, type Steps } from "./load_connections.ts";
import { type Meter, type Reading, Scores, timesBetween } from "./load_tally.ts";
import type { ClosedOptions, Window } from "./load_types.ts";

/** No time to wait for: events only. */
export const NEVER = Infinity;
/** At the end of a window, answers are waited for until none has come for so long, and so long altogether. */
export const QUIET_US = 5e6, DRAIN_US = 60e6;

/** Why a loop ended before its time. */
export const NO_CONNECTION_LEFT = "All connections were lost.";

/** Ends a wait in which nothing happens. */
export class Patience {
  #progress = NaN;
  #untilUs = 0;

  /** @param quietUs How long nothing may happen. @param endUs When it is over in any case. */
  constructor(readonly connections: Connections, readonly quietUs: number, readonly endUs = Infinity) {}

  /** True once it is over; to be called after each turn. */
  over(): boolean {
    const { now, tally } = this.connections;
    if (tally.progress !== this.#progress) this.#untilUs = now + this.quietUs;
    this.#progress = tally.progress;
    return now >= this.#untilUs || now >= this.endUs;
  }
}

/** Waits, bounded, for the answers to all requests that are under way, so that totals are exact. */
function* drain(connections: Connections): Steps<void> {
  const patience = new Patience(connections, QUIET_US, connections.now + DRAIN_US);
  while (connections.busy > 0 && !patience.over()) yield NEVER;
}

/** Takes in what has happened since the last loop, such as idle connections that the server has closed. */
export function* catchUp(connections: Connections): Steps<void> {
  connections.loop = DEAF;
  for (let turns = 0, progress = NaN; turns < 64 && progress !== connections.tally.progress; turns++) {
    progress = connections.tally.progress;
    yield connections.now = connections.clockUs();
  }
  connections.tally.take();
}

/** @throws {UsageError} If there is no connection that could be asked. */
export function mustHold(connections: Connections): void {
  if (connections.held === 0) throw new UsageError("No connection is held: connect some first.");
}

class ClosedLoop implements Loop {
  readonly scores = new Scores(false, false);
  asking = true;
  recording = false;
  constructor(readonly connections: Connections) {}

  answered(id: number, now: number, status: number): void {
    if (this.recording && status === 200) {
      this.scores.requests++;
      this.scores.latency.record(now - this.connections.sentAt[id]!);
    }
    if (this.asking) this.connections.send(id, now, 0);
  }

  freed(id: number, now: number): void {
    if (this.asking) this.connections.send(id, now, 0);
  }

  lost(): void {}

  /** Asks all that are idle. From the last to the first, since a connection that is lost is replaced by the last. */
  start(): void {
    const { connections } = this;
    for (let i = connections.held - 1; i >= 0; i--) {
      const id = connections.heldIds[i]!;
      if (connections.states[id] === IDLE) connections.send(id, connections.clockUs(), 0);
    }
  }

  *run(untilUs: number): Steps<void> {
    const { connections } = this;
    connections.now = connections.clockUs();
    while (connections.now < untilUs && connections.held > 0) yield untilUs;
  }
}

/**
 * Asks each held connection again as soon as it has answered. An answer belongs to the window in which it comes. Between
 * two windows the clocks are read: answers that come meanwhile wait for a millisecond or two, and it counts as latency.
 */
export function* closedLoop(connections: Connections, meter: Meter, options: ClosedOptions): Steps<Window[]> {
  const { seconds, warmupSeconds, slices } = options, { tally } = connections;
  mustHold(connections);
  const loop = connections.loop = new ClosedLoop(connections);
  loop.start();
  yield* loop.run(connections.clockUs() + warmupSeconds * 1e6);
  const windows: Window[] = [];
  tally.take();
  loop.recording = true;
  for (let from: Reading = meter.read(), to: Reading; windows.length < slices; from = to) {
    yield* loop.run(from.endedUs + seconds * 1e6 / slices);
    to = meter.read();
    const none = connections.held === 0;
    windows.push({
      ...timesBetween(from, to),
      ...loop.scores.take(),
      ...tally.take(),
      connections: connections.held,
      unanswered: 0,
      scheduled: null,
      stopped_early: none ? NO_CONNECTION_LEFT : null,
    });
    if (none) break;
  }
  loop.asking = loop.recording = false;
  yield* drain(connections);
  windows.at(-1)!.unanswered = connections.leave();
  return windows;
}
