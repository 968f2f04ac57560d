/**
 * Says before each step how many connections may be made without danger for the host. An architecture that breaks
 * should break here, in a sentence with figures, and not by the kernel's choice of a process to kill.
 *
 * @module
 */
import { bytes, count } from "./format.ts";
import { hostFacts } from "./host.ts";

/**
 * The share of the memory that is available at the start which a run may take: the rest is for the host's other work.
 */
export const MEMORY_SHARE = 0.7;
/**
 * Descriptors that a process needs beside its connections: the runtime's own, listeners, epoll; 22 are open in Deno.
 */
export const DESCRIPTOR_RESERVE = 64;
/**
 * How far two looks at a server's memory may differ without a connection more: V8 grows and shrinks its heaps between
 * collections by some megabytes. Spread over few connections this is much for each of them, over many it is little.
 */
const NOISE_BYTES = 32 * 1024 * 1024;

/** What the host has to give when the run begins. */
export interface Budget {
  /** Memory that could be had without swapping, in bytes. */
  memAvailableBytes: number;
  /** Descriptors that one process may open; Infinity where there is no limit. */
  descriptorLimit: number;
}

/** Memory in use at a number of connections. */
interface Observation {
  connections: number;
  usedBytes: number;
}

/**
 * Predicts memory by a straight line through what was observed, and deals out connections in steps: one, then more the
 * better the line is known, all that remain once even a pessimistic line stays within the budget, and close to the
 * limit never more than half of what is left.
 *
 * @example
 * ```ts
 * const guard = new Guard({ memAvailableBytes: 16e9, descriptorLimit: 20_000 });
 * for (let held = 0; held < wanted;) {
 *   const step = guard.next(held, wanted);
 *   if ("stop" in step) throw new Error(step.stop);
 *   held += connect(step.connect);
 *   guard.observe(held, usedBytes());
 * }
 * ```
 */
export class Guard {
  readonly #budgetBytes: number;
  readonly #descriptorLimit: number;
  #low: Observation | null = null; // with the fewest connections
  #high: Observation | null = null; // with the most: the longer the line, the less the noise tilts it
  #last: Observation | null = null;

  /** @param share The share of the available memory that may be used, in 0..1. */
  constructor(budget: Budget, share: number = MEMORY_SHARE) {
    this.#budgetBytes = budget.memAvailableBytes * share;
    this.#descriptorLimit = budget.descriptorLimit;
  }

  /**
   * Tells what is in use while `connections` are held. A newer observation takes the place of an older one of the same
   * size, so that a guard can go on from one run to the next, larger one.
   *
   * @param usedBytes Everything the run takes, server and clients: the larger of the server tree's PSS and of the drop
   * of MemAvailable since the start. PSS misses the kernel's part and the clients, MemAvailable hides what the page
   * cache gave back.
   */
  observe(connections: number, usedBytes: number): void {
    const seen = { connections, usedBytes };
    if (this.#low === null || connections <= this.#low.connections) this.#low = seen;
    if (this.#high === null || connections >= this.#high.connections) this.#high = seen;
    this.#last = seen;
  }

  /** Connections between the two ends of the line. */
  get #span(): number {
    return this.#high === null || this.#low === null ? 0 : this.#high.connections - this.#low.connections;
  }

  /**
   * Bytes for each connection more, or null. A single observation gives too much: as if nothing were used without any.
   */
  get #slope(): number | null {
    if (this.#low === null || this.#high === null) return null;
    if (this.#span > 0) return Math.max(0, (this.#high.usedBytes - this.#low.usedBytes) / this.#span);
    return this.#high.connections > 0 ? this.#high.usedBytes / this.#high.connections : null;
  }

  /**
   * Memory that `connections` are expected to take, in bytes; null as long as nothing was observed with a connection.
   */
  predict(connections: number): { bytes: number } | null {
    const slope = this.#slope;
    if (slope === null) return null;
    // The line through the largest observation; through the newest where that lies higher, as with a server that leaks.
    const above = [this.#high!, this.#last!].map((seen) => seen.usedBytes - slope * seen.connections);
    return { bytes: Math.max(...above) + slope * connections };
  }

  /** As `predict`, with a line as steep as the noise of measuring may hide. */
  #predictAtWorst(connections: number): number {
    const { connections: known } = this.#high!;
    const hidden = NOISE_BYTES / Math.max(1, this.#span);
    return this.predict(connections)!.bytes + hidden * Math.max(0, connections - known);
  }

  /**
   * How many connections may be made next, from 1 to `wanted - held`, so that memory is expected to stay within the
   * budget and descriptors below the limit; or why no more may be made.
   *
   * @param held The connections that are held now.
   * @param wanted How many are to be held at the end; more than `held`.
   */
  next(held: number, wanted: number): { connect: number } | { stop: string } {
    const descriptors = this.#descriptorLimit - DESCRIPTOR_RESERVE - held;
    if (descriptors < 1) return { stop: this.explain(held, wanted) };
    const remaining = Math.min(wanted - held, descriptors);
    if (this.predict(held + 1) === null) return { connect: 1 };
    if (this.predict(held + 1)!.bytes > this.#budgetBytes) return { stop: this.explain(held, wanted) };
    if (this.#predictAtWorst(held + remaining) <= this.#budgetBytes) return { connect: remaining };
    return { connect: Math.max(1, Math.floor(this.#room(held, remaining) / 2)) };
  }

  /** The largest number of connections, up to `remaining`, that fit into the budget even at worst; found by halving. */
  #room(held: number, remaining: number): number {
    let fits = 0, tooMany = remaining;
    while (tooMany - fits > 1) {
      const middle = Math.floor((fits + tooMany) / 2);
      if (this.#predictAtWorst(held + middle) <= this.#budgetBytes) fits = middle;
      else tooMany = middle;
    }
    return fits;
  }

  /**
   * Says why it goes no further than `held`, e.g. `stopped at 1 900 of 10 000: memory, 7.4 MiB a connection; 10 000
   * would need 72 GiB` or `stopped at 19 936 of 100 000: descriptors, the limit is 20 000 a process`.
   */
  explain(held: number, wanted: number): string {
    const stopped = `stopped at ${count(held)} of ${count(wanted)}`;
    if (this.#descriptorLimit - DESCRIPTOR_RESERVE - held < 1) {
      return `${stopped}: descriptors, the limit is ${count(this.#descriptorLimit)} a process`;
    }
    const need = this.predict(wanted);
    if (need === null) return `${stopped}: nothing was observed yet`;
    return `${stopped}: memory, ${bytes(this.#slope)} a connection; ${count(wanted)} would need ${bytes(need.bytes)}`;
  }
}

/**
 * A guard for this host as it is now. Needs what `hostFacts` needs. Where no limit of descriptors is told, none is
 * kept.
 */
export function createGuard(): Guard {
  return new Guard({
    memAvailableBytes: Deno.systemMemoryInfo().available,
    descriptorLimit: hostFacts().limits.nofile_hard ?? Infinity,
  });
}
