/**
 * Says before each step how many connections may be made without danger for the host. An architecture that breaks
 * should break here, in a sentence with figures, and not by the kernel's choice of a process to kill.
 *
 * @module
 */
import { bytes, count } from "../text/format.ts";
import { type CgroupLimits, readCgroup } from "../sampling/cgroup.ts";
import { hostFacts } from "../sampling/host.ts";
import { MEMORY_SHARE } from "../results/conventions.ts";

/** Descriptors that a process needs beside its connections: the runtime's own, listeners, epoll; 22 are open in Deno. */
export const DESCRIPTOR_RESERVE = 64;
/** The share of vm.max_map_count that a server may use. At the limit mmap(2) fails, and V8 ends the process. */
const MAPPING_SHARE = 0.85;
/**
 * How far two looks at a server's memory may differ without a connection more: V8 grows and shrinks its heaps between
 * collections by some megabytes. Spread over few connections this is much for each of them, over many it is little.
 */
const NOISE_BYTES = 32 * 1024 * 1024;
/** The same for the mappings with which such heaps come and go. */
const NOISE_MAPPINGS = 128;
/** Threads of a runtime come and go. */
const NOISE_TASKS = 16;
/** A line is drawn out to so many times the connections that it was seen over, and no further: noise would tilt it. */
const MAX_STRETCH = 10;
/** Share of the processes and threads that a run may make: the harness and the load generator need some too. */
const TASK_SHARE = 0.9;

/** What the host has to give when the run begins. */
export interface Budget {
  /** Memory that could be had without swapping, in bytes. */
  memAvailableBytes: number;
  /** Descriptors that one process may open; Infinity where there is no limit. */
  descriptorLimit: number;
  /** Memory mappings that one process may have; default: no limit. */
  mappingLimit?: number;
  /** Processes and threads that may be made; default: no limit. */
  taskLimit?: number;
}

/** How much of something is in use at a number of connections. */
interface Observation {
  connections: number;
  used: number;
}

/** Something that connections use up, as a straight line through what was observed. */
class Line {
  #low: Observation | null = null; // with the fewest connections
  #high: Observation | null = null; // with the most: the longer the line, the less the noise tilts it
  #last: Observation | null = null;

  constructor(readonly limit: number, readonly noise: number) {}

  observe(connections: number, used: number): void {
    const seen = { connections, used };
    if (this.#low === null || connections <= this.#low.connections) this.#low = seen;
    if (this.#high === null || connections >= this.#high.connections) this.#high = seen;
    this.#last = seen;
  }

  /** Connections between the two ends of the line. */
  get span(): number {
    return this.#high === null || this.#low === null ? 0 : this.#high.connections - this.#low.connections;
  }

  /** Use of each connection more, or null. A single observation gives too much: as if nothing were used without any. */
  get slope(): number | null {
    if (this.#low === null || this.#high === null) return null;
    if (this.span > 0) return Math.max(0, (this.#high.used - this.#low.used) / this.span);
    return this.#high.connections > 0 ? this.#high.used / this.#high.connections : null;
  }

  /** What `connections` are expected to use; null as long as nothing was observed with a connection. */
  predict(connections: number): number | null {
    const slope = this.slope;
    if (slope === null) return null;
    // The line through the largest observation; through the newest where that lies higher, as with a server that leaks.
    const above = [this.#high!, this.#last!].map((seen) => seen.used - slope * seen.connections);
    return Math.max(...above) + slope * connections;
  }

  /** As `predict`, with a line as steep as the noise of measuring may hide. */
  #predictAtWorst(connections: number): number {
    const hidden = this.noise / Math.max(1, this.span);
    return this.predict(connections)! + hidden * Math.max(0, connections - this.#high!.connections);
  }

  /** Whether so many are expected to be within the limit. */
  fits(connections: number): boolean {
    return (this.predict(connections) ?? 0) <= this.limit;
  }

  /** The largest number of connections, up to `remaining`, that fit even at worst; found by halving. */
  room(held: number, remaining: number): number {
    if (this.#predictAtWorst(held + remaining) <= this.limit) return remaining;
    let fits = 0;
    let tooMany = remaining;
    while (tooMany - fits > 1) {
      const middle = Math.floor((fits + tooMany) / 2);
      if (this.#predictAtWorst(held + middle) <= this.limit) fits = middle;
      else tooMany = middle;
    }
    return fits;
  }

  /** Whether a single connection more is expected to be too much. */
  isFull(held: number): boolean {
    const next = this.predict(held + 1);
    return next !== null && next > this.limit;
  }
}

/**
 * Predicts by a straight line through what was observed, and deals out connections in steps: one, then more the better
 * the line is known, all that remain once even a pessimistic line stays within the budget, and close to the limit never
 * more than half of what is left.
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
  readonly #memory: Line;
  readonly #mappings: Line;
  readonly #descriptorLimit: number;
  readonly #mappingLimit: number;
  readonly #tasks: Line;
  readonly #taskLimit: number;

  /** @param share The share of the available memory that may be used, in 0..1. */
  constructor(budget: Budget, share: number = MEMORY_SHARE) {
    this.#descriptorLimit = budget.descriptorLimit;
    this.#mappingLimit = budget.mappingLimit ?? Infinity;
    this.#memory = new Line(budget.memAvailableBytes * share, NOISE_BYTES);
    this.#mappings = new Line(this.#mappingLimit * MAPPING_SHARE, NOISE_MAPPINGS);
    this.#taskLimit = budget.taskLimit ?? Infinity;
    this.#tasks = new Line(this.#taskLimit * TASK_SHARE, NOISE_TASKS);
  }

  /**
   * Tells what is in use while `connections` are held. A newer observation takes the place of an older one of the same
   * size, so that a guard can go on from one run to the next, larger one.
   *
   * @param usedBytes Everything the run takes, server and clients: the larger of the server tree's PSS and of the drop of
   * MemAvailable since the start. PSS misses the kernel's part and the clients, MemAvailable hides what the page cache
   * gave back.
   * @param mappings Memory mappings of the server; of several processes the one with the most.
   * @param tasks Threads of all processes of the server: the kernel counts a process as its threads.
   */
  observe(connections: number, usedBytes: number, mappings = 0, tasks = 0): void {
    this.#memory.observe(connections, usedBytes);
    this.#mappings.observe(connections, mappings);
    this.#tasks.observe(connections, tasks);
  }

  /**
   * How many connections may be made next, from 1 to `wanted - held`, so that memory is expected to stay within the
   * budget, descriptors and mappings below their limits; or why no more may be made.
   *
   * @param held The connections that are held now.
   * @param wanted How many are to be held at the end; more than `held`.
   */
  next(held: number, wanted: number): { connect: number } | { stop: string } {
    const descriptors = this.#descriptorLimit - DESCRIPTOR_RESERVE - held;
    if (descriptors < 1) return { stop: this.explain(held, wanted) };
    if (this.#memory.slope === null) return { connect: 1 };
    const lines = [this.#memory, this.#mappings, this.#tasks];
    if (lines.some((line) => line.isFull(held))) return { stop: this.explain(held, wanted) };
    const remaining = Math.min(wanted - held, descriptors);
    const room = Math.min(...lines.map((line) => line.room(held, remaining)));
    return { connect: room === remaining ? remaining : Math.max(1, Math.floor(room / 2)) };
  }

  /**
   * Why so many more connections cannot be made all at once, as a load does that does not climb; null: they can, as far as is
   * known. What a connection takes is known only where some were held before.
   */
  refuses(held: number, more: number): string | null {
    if (more > this.#descriptorLimit - DESCRIPTOR_RESERVE - held) {
      return `${count(held + more)} connections need more descriptors than the limit of ` +
        `${count(this.#descriptorLimit)} per process leaves`;
    }
    if (this.#memory.slope === null || this.#memory.span * MAX_STRETCH < more) return null;
    const lines = [this.#memory, this.#mappings, this.#tasks];
    return lines.every((line) => line.fits(held + more)) ? null : this.explain(held, held + more, held + more - 1);
  }

  /**
   * Says why it goes no further than `held`, e.g. `stopped at 1 900 of 10 000: memory, 7.4 MiB per connection; 10 000 would
   * need 72 GiB` or `stopped at 19 936 of 100 000: descriptors, limit 20 000 per process`.
   *
   * @param at How many are held where one more would be too many; default: `held`.
   */
  explain(held: number, wanted: number, at = held): string {
    const stopped = `stopped at ${count(held)} of ${count(wanted)}`;
    if (this.#descriptorLimit - DESCRIPTOR_RESERVE - held < 1) {
      return `${stopped}: descriptors, limit ${count(this.#descriptorLimit)} per process`;
    }
    const { slope } = this.#memory;
    if (slope === null) return `${stopped}: nothing was observed yet`;
    const memory = `${bytes(slope)} per connection; ${count(wanted)} would need ${bytes(this.#memory.predict(wanted))}`;
    if (!this.#memory.isFull(at) && this.#tasks.isFull(at)) {
      return `${stopped}: processes and threads, ${count(this.#tasks.slope)} per connection, limit ` +
        `${count(this.#taskLimit)} (pids.max or ulimit -u)`;
    }
    if (this.#memory.isFull(at) || !this.#mappings.isFull(at)) return `${stopped}: memory, ${memory}`;
    return `${stopped}: memory mappings, ${count(this.#mappings.slope)} per connection, limit ` +
      `${count(this.#mappingLimit)} per process (vm.max_map_count). Memory: ${memory}`;
  }
}

/** A guard for connections that other hosts make: they lend so many, and this host limits the server only if it is here. */
export class LentGuard extends Guard {
  /**
   * @param connections How many the others make at the most.
   * @param ofServer The guard of the server's host; null: that is not this one.
   */
  constructor(readonly connections: number, readonly ofServer: Guard | null) {
    super({ memAvailableBytes: Infinity, descriptorLimit: Infinity });
  }

  override observe(connections: number, usedBytes: number, mappings = 0, tasks = 0): void {
    this.ofServer?.observe(connections, usedBytes, mappings, tasks);
  }

  override next(held: number, wanted: number): { connect: number } | { stop: string } {
    if (held >= this.connections) return { stop: this.explain(held, wanted) };
    const step = this.ofServer?.next(held, wanted) ?? { connect: held === 0 ? 1 : wanted - held }; // the first shows the pace
    return "stop" in step ? step : { connect: Math.min(step.connect, this.connections - held) };
  }

  override refuses(held: number, more: number): string | null {
    return held + more > this.connections ? this.#lent(held, held + more) : this.ofServer?.refuses(held, more) ?? null;
  }

  override explain(held: number, wanted: number): string {
    if (held < this.connections && this.ofServer !== null) return this.ofServer.explain(held, wanted);
    return this.#lent(held, wanted);
  }

  #lent(held: number, wanted: number): string {
    return `stopped at ${count(held)} of ${count(wanted)}: the agents make ${count(this.connections)} at the most`;
  }
}

/** The least of some limits. */
const least = (...limits: (number | null | undefined)[]) =>
  Math.min(...limits.map((limit) => typeof limit === "number" ? limit : Infinity));

/** Memory that this process may still use: of the host, or of its container where that is less. */
export function availableMemory(cgroup: Pick<CgroupLimits, "memory_available_bytes"> = hereCgroup()): number {
  return least(Deno.systemMemoryInfo().available, cgroup.memory_available_bytes);
}

const NO_CGROUP: CgroupLimits = {
  memory_available_bytes: null,
  memory_max_bytes: null,
  pids_available: null,
  pids_max: null,
  cpu_quota_cores: null,
};
const hereCgroup = (): CgroupLimits => Deno.build.os === "linux" ? readCgroup() : NO_CGROUP;

/**
 * A guard for this host and container as they are now. Needs what `hostFacts` needs. A limit that the system does not say is
 * not kept.
 */
export function createGuard(): Guard {
  const { limits, sysctls } = hostFacts();
  const mappings = sysctls["vm.max_map_count"];
  const threads = sysctls["kernel.threads-max"];
  const cgroup = hereCgroup();
  return new Guard({
    memAvailableBytes: availableMemory(cgroup),
    taskLimit: least(cgroup.pids_available, typeof threads === "number" ? threads : null, limits.nproc),
    descriptorLimit: limits.nofile_hard ?? Infinity,
    mappingLimit: typeof mappings === "number" ? mappings : Infinity,
  });
}
