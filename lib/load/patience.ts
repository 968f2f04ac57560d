/**
 * How the loops of the load generator wait, and when they stop waiting.
 *
 * @module
 */
import { type Connections, DEAF, type Steps } from "./connections.ts";
import { UsageError } from "../cli/errors.ts";

/** No time to wait for: events only. */
export const NEVER = Infinity;

/** At the end of a window, answers are waited for until none has come for so long, and so long altogether. */
export const QUIET_US = 5e6;

/** At the end of a window, answers are waited for until none has come for so long, and so long altogether. */
export const DRAIN_US = 60e6;

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
export function* drain(connections: Connections): Steps<void> {
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
