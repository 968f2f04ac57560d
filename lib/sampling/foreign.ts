/**
 * Whose CPU time it was while something was measured.
 *
 * @module
 */
import { irqTimeAccounting } from "./irq.ts";
import { cpuUs, hostCpuUs } from "./process.ts";

/** All cores and this process, with all that it has started, at one moment. */
interface Clocks {
  busyUs: number;
  totalUs: number;
  ownUs: number;
}

/**
 * Null: the system does not tell. The host is read first, so that nothing of the reading itself is foreign in the end.
 *
 * @param irqApart Interrupts have an account of their own (see irqTimeAccounting): they are nobody's CPU time, and not foreign.
 */
export function readClocks(irqApart = irqTimeAccounting() === true): Clocks | null {
  const host = hostCpuUs();
  const own = cpuUs(Deno.pid);
  if (host === null || own === null) return null;
  return { busyUs: host.busy - (irqApart ? host.irq + host.softirq : 0), totalUs: host.total, ownUs: own };
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
