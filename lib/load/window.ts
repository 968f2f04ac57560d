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
