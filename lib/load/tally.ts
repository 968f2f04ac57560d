/**
 * What the engines of the load generator count, and the CPU times that stand beside it in a window.
 *
 * @module
 */
import { Counts } from "../timing/histogram.ts";
import type { ErrorCounts, Totals, Window } from "./types.ts";
import { cpuUs, hostCpuUs } from "../sampling/process.ts";

/** Counts over the whole life of a generator, and of what happened since the last `take`. */
export class Tally {
  connections = 0;
  answered = 0;
  lost = 0;
  #errors: ErrorCounts = {};
  #recent: ErrorCounts = {};
  #errorCount = 0;
  #lostBefore = 0;

  /** Counts an error under its key, `times` over. */
  error(key: string, times = 1): void {
    this.#errorCount += times;
    this.#errors[key] = (this.#errors[key] ?? 0) + times;
    this.#recent[key] = (this.#recent[key] ?? 0) + times;
  }

  /** Errors and lost connections since this was called last. */
  take(): { errors: ErrorCounts; lost: number } {
    const taken = { errors: this.#recent, lost: this.lost - this.#lostBefore };
    this.#recent = {};
    this.#lostBefore = this.lost;
    return taken;
  }

  /** Rises with all that happens to connections but the sending: as long as it does, waiting is worth while. */
  get progress(): number {
    return this.connections + this.answered + this.lost + this.#errorCount;
  }

  totals(): Totals {
    const { connections, answered, lost } = this;
    return { connections, answered, lost, errors: { ...this.#errors } };
  }
}

/** What a loop counts for the window that is open. */
export class Scores {
  requests = 0;
  lateSends = 0;
  readonly latency = new Counts();
  readonly raw: Counts | null;

  /** @param raw Latencies are counted from the actual send, too. */
  constructor(raw: boolean) {
    this.raw = raw ? new Counts() : null;
  }

  /** Hands out what was counted, and starts again. */
  take() {
    const taken = {
      requests: this.requests,
      late_sends: this.lateSends,
      histogram: this.latency.take(),
      raw: this.raw?.take() ?? null,
    };
    this.requests = 0;
    this.lateSends = 0;
    return taken;
  }
}

/** Clocks in µs: the wall's, with any start, and the CPU time of this process. */
export interface Clocks {
  wallUs(): number;
  ownCpuUs(): number;
}

/**
 * All clocks at an edge of a window. To read a tree of processes takes a millisecond or more; so the own clocks are read
 * before and after, and that time belongs to neither window.
 */
export interface Reading {
  beganUs: number;
  endedUs: number;
  ownBeganUs: number;
  ownEndedUs: number;
  serverUs: number | null;
  host: { busy: number; steal: number; total: number } | null;
}

type Times = Pick<Window, "seconds" | "server_cpu_us" | "client_cpu_us" | "server_steal_share" | "foreign_cpu_share">;

/** Reads the clocks at the edges of windows. */
export class Meter {
  constructor(readonly clocks: Clocks, readonly serverPid: number | null) {}

  read(): Reading {
    const ownBeganUs = this.clocks.ownCpuUs();
    const beganUs = this.clocks.wallUs();
    const serverUs = this.serverPid === null ? null : cpuUs(this.serverPid);
    const host = hostCpuUs();
    return { beganUs, ownBeganUs, serverUs, host, ownEndedUs: this.clocks.ownCpuUs(), endedUs: this.clocks.wallUs() };
  }
}

/** The times of the window between two readings. */
export function timesBetween(from: Reading, to: Reading): Times {
  const ownUs = to.ownBeganUs - from.ownEndedUs;
  const serverUs = from.serverUs === null || to.serverUs === null ? null : to.serverUs - from.serverUs;
  const host = from.host === null || to.host === null ? null : {
    busy: to.host.busy - from.host.busy,
    steal: to.host.steal - from.host.steal,
    total: to.host.total - from.host.total,
  };
  // The host counts in ticks of 10 ms: a short window may have none, or seem to have used less than its processes did.
  const share = (us: number) => host === null || host.total <= 0 ? null : Math.min(Math.max(us / host.total, 0), 1);
  return {
    seconds: (to.beganUs - from.endedUs) / 1e6,
    server_cpu_us: serverUs,
    client_cpu_us: ownUs,
    server_steal_share: host === null ? null : share(host.steal),
    foreign_cpu_share: host === null || serverUs === null ? null : share(host.busy - serverUs - ownUs),
  };
}
