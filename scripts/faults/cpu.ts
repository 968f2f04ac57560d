/**
 * How much of the CPU a server asks for, also on a machine that others keep busy.
 *
 * @module
 */
import { monotonicUs, processTree, unlessGone } from "../../lib/sampling/process.ts";
import { listProc, readProc } from "../../lib/sampling/procfs.ts";

/** What a thread had of the CPU since its start, and how long it was ready and did not get it. */
interface Thread {
  ranUs: number;
  waitedUs: number;
}

/** The threads of a process tree, by their ids, and when they were looked at. */
export interface CpuLook {
  atUs: number;
  threads: ReadonlyMap<string, Thread>;
}

/** Below this share of the time there is too little to tell one that asks for much from one that asks for little. */
const LEAST_SHARE = 0.05;

/** Looks at all threads of a process tree. Null if it has ended, or where the kernel has no schedstat. */
export function lookAtCpu(rootPid: number): CpuLook | null {
  const threads = new Map<string, Thread>();
  const atUs = monotonicUs();
  for (const pid of processTree(rootPid) ?? []) {
    for (const tid of unlessGone(() => listProc(`/proc/${pid}/task`)) ?? []) {
      const text = unlessGone(() => readProc(`/proc/${pid}/task/${tid}/schedstat`));
      if (text === null) continue; // it has ended meanwhile
      const [ranNs, waitedNs] = text.split(" ").map(Number);
      threads.set(tid, { ranUs: ranNs! / 1e3, waitedUs: waitedNs! / 1e3 });
    }
  }
  return threads.size === 0 ? null : { atUs, threads };
}

/**
 * The CPU that the threads took between two looks, in cores. The time in which a thread was ready, and others had the CPU, does
 * not count: a thread that spins has a core of its own, however many there are beside it. What ended meanwhile is not seen.
 */
export function coresBetween(from: CpuLook | null, to: CpuLook | null): number | null {
  if (from === null || to === null) return null;
  const wallUs = to.atUs - from.atUs;
  let cores = 0;
  for (const [tid, { ranUs, waitedUs }] of to.threads) {
    const before = from.threads.get(tid) ?? { ranUs: 0, waitedUs: 0 };
    const ran = ranUs - before.ranUs;
    const had = wallUs - (waitedUs - before.waitedUs);
    cores += ran / Math.max(had, ran, LEAST_SHARE * wallUs);
  }
  return cores;
}
