/**
 * Whose CPU time it was while a probe ran.
 *
 * @module
 */
import { cpuUs, hostCpuUs } from "../../lib/sampling/process.ts";

/** All cores and this process, with all that it has started, at one moment. */
interface Clocks {
  busyUs: number;
  totalUs: number;
  ownUs: number;
}

/** Null: the system does not tell. The host is read first, so that nothing of the reading itself is foreign in the end. */
export function readClocks(): Clocks | null {
  const host = hostCpuUs();
  const own = cpuUs(Deno.pid);
  return host === null || own === null ? null : { busyUs: host.busy, totalUs: host.total, ownUs: own };
}

/**
 * The share of the CPU time of all cores, from 0 to 1, that others used between two moments. What this process has started is its
 * own, also where it has ended since. Null: it is not known, or no time has passed.
 */
export function foreignShare(from: Clocks | null, to: Clocks | null): number | null {
  if (from === null || to === null || to.totalUs <= from.totalUs) return null;
  const foreign = to.busyUs - from.busyUs - (to.ownUs - from.ownUs);
  return Math.min(Math.max(foreign / (to.totalUs - from.totalUs), 0), 1);
}
