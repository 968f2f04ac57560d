/**
 * How many connections a server itself counts, asked every five seconds while nothing is measured.
 *
 * The load generator knows what it has connected, but a connection may still wait in the kernel until the server accepts it. Only
 * the server knows which it holds. A line of counts costs it CPU time, about a millisecond: so a window that is measured has none.
 * `deno task probe stats-line` measures that cost.
 *
 * @module
 */
import type { Running } from "../server/subject.ts";

const ASK_EVERY_MS = 5000;

/** Asks a server from its start on until it is stopped, and on demand. */
export class OpenConnections {
  #timer: ReturnType<typeof setInterval> | undefined;
  #asking: Promise<void> = Promise.resolve();

  /** @param onOpen Takes each count. It gets none of a server that shows none, or that has ended. */
  constructor(readonly server: Pick<Running, "stats">, readonly onOpen: (open: number) => void) {}

  start(everyMs = ASK_EVERY_MS): void {
    this.#timer = setInterval(() => void this.ask(), everyMs);
  }

  /** Asks now, after what was asked before. */
  ask(): Promise<void> {
    return this.#asking = this.#asking.then(async () => {
      const stats = await this.server.stats?.() ?? null;
      if (stats !== null) this.onOpen(stats.open);
    });
  }

  /** Resolves when the server is asked no more, and has answered. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#asking;
  }
}
