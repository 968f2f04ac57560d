/**
 * What a process of the load generator adds to a window.
 *
 * @module
 */
import type { Connections } from "./connections.ts";
import type { Scores, Taken } from "./tally.ts";
import type { WindowPart } from "./types.ts";

/** The clocks of a process at an edge of a window. */
export interface Edge {
  us: number;
  cpuUs: number;
  spunUs: number;
}

/** Reads the clocks. `ownCpuUs` is the CPU time of this process. */
export type Cut = () => Edge;

export const cutter = (connections: Connections, ownCpuUs: () => number): Cut => () => ({
  us: connections.now = connections.clockUs(),
  cpuUs: ownCpuUs(),
  spunUs: connections.spunUs,
});

/** The part of a window between two edges. */
export function windowPart(
  from: Edge,
  to: Edge,
  scores: Scores,
  taken: Taken,
  rest: Pick<WindowPart, "connections" | "scheduled" | "stopped_early">,
): WindowPart {
  return {
    seconds: (to.us - from.us) / 1e6,
    from_us: from.us,
    to_us: to.us,
    client_cpu_us: to.cpuUs - from.cpuUs,
    client_spin_us: to.spunUs - from.spunUs,
    ...scores.take(),
    ...taken,
    ...rest,
  };
}

type Failed = Pick<Taken, "lost" | "dropped" | "errors">;

/** Adds what failed before a window, in the warm-up or while nothing was asked: the window alone would say nothing of it. */
export function addBefore<T extends Failed>(to: T, before: Failed): T {
  to.lost += before.lost;
  to.dropped += before.dropped;
  for (const [key, times] of Object.entries(before.errors)) to.errors[key] = (to.errors[key] ?? 0) + times;
  return to;
}

/**
 * Adds what broke while the last answers of a window were awaited. Answers that came then belong to no window, but a connection that
 * broke had been silent until then.
 */
export function addBroken(to: Taken, after: Taken): void {
  to.lost += after.lost;
  to.dropped += after.dropped;
  for (const [key, times] of Object.entries(after.errors)) {
    if (!key.startsWith("http_")) to.errors[key] = (to.errors[key] ?? 0) + times;
  }
}
