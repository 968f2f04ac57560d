/**
 * How the loops of the load generator wait, and when they stop waiting.
 *
 * @module
 */
import { type Connections, DEAF, type Steps } from "./connections.ts";

/** No time to wait for: events only. */
export const NEVER = Infinity;

/** At the end of a window, answers are waited for until none has come for so long … */
export const QUIET_US = 5e6;

/** … and so long altogether. */
export const DRAIN_US = 60e6;

/** Where nobody can connect, and nobody is connected, for so long, the server is held to be gone. */
const GONE_US = 1e6;
/** Attempts to connect that failed at once are repeated so often. */
export const RETRY_US = 10_000;

/** Why a loop ended before its time. */
export const NO_CONNECTION_HELD = "No connection was held.";
export const NO_CONNECTION_LEFT = "All connections were lost.";
export const NO_RECONNECT = "The server closed all connections and accepts no new ones.";

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

/** Whether a client is left that can be asked. */
export class Presence {
  #failingSince = NaN;

  constructor(readonly connections: Connections) {}

  /** An attempt to reconnect has failed, or was made. */
  failed(now: number): void {
    if (Number.isNaN(this.#failingSince)) this.#failingSince = now;
  }
  made(): void {
    this.#failingSince = NaN;
  }

  /** Why no client is left; null as long as one is. */
  get over(): string | null {
    const { clients, held, now } = this.connections;
    if (clients === 0) return NO_CONNECTION_LEFT;
    return held === 0 && now - this.#failingSince >= GONE_US ? NO_RECONNECT : null;
  }
}

/** Waits until a time has come. */
export function* sleepUntil(connections: Connections, us: number): Steps<void> {
  connections.now = connections.clockUs();
  while (connections.now < us) yield us;
}

/** Takes in what has happened since the last loop, such as idle connections that the server has closed. */
export function* catchUp(connections: Connections): Steps<void> {
  connections.loop = DEAF;
  for (let turns = 0, progress = NaN; turns < 64 && progress !== connections.tally.progress; turns++) {
    progress = connections.tally.progress;
    yield connections.now = connections.clockUs();
  }
}
