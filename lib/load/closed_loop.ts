/**
 * The closed loop: each connection asks again as soon as it has its answer.
 *
 * @module
 */
import { type Connections, IDLE, type Loop, type Steps } from "./connections.ts";
import { type Meter, Scores, timesBetween } from "./tally.ts";
import type { ClosedOptions, Window } from "./types.ts";
import { drain, mustHold, NO_CONNECTION_LEFT } from "./patience.ts";

class ClosedLoop implements Loop {
  readonly scores = new Scores(false);
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

/** Asks each held connection again as soon as it has answered. An answer belongs to the window if it comes within it. */
export function* closedLoop(connections: Connections, meter: Meter, options: ClosedOptions): Steps<Window> {
  const { seconds, warmupSeconds } = options;
  const { tally } = connections;
  mustHold(connections);
  const loop = connections.loop = new ClosedLoop(connections);
  loop.start();
  yield* loop.run(connections.clockUs() + warmupSeconds * 1e6);
  tally.take();
  loop.recording = true;
  const from = meter.read();
  yield* loop.run(from.endedUs + seconds * 1e6);
  const window = {
    ...timesBetween(from, meter.read()),
    ...loop.scores.take(),
    ...tally.take(),
    connections: connections.held,
    scheduled: null,
    stopped_early: connections.held === 0 ? NO_CONNECTION_LEFT : null,
  };
  loop.asking = false;
  loop.recording = false;
  yield* drain(connections);
  return { ...window, unanswered: connections.leave() };
}
