/**
 * What Linux shows of processes and of the host in /proc: one reader for each question. The texts are taken apart by
 * the pure functions of `proc_parse.ts`.
 *
 * @module
 */
import { type CpuUs, parseCpuList, parseCpuTimes, parseStat, type ProcessStat, TICK_US, treeOf } from "./proc_parse.ts";
import { listProc, readProc } from "./procfs.ts";

/** True where there is a /proc with the files that this lab reads. */
const HAS_PROC = Deno.build.os === "linux";
/** How often the tree is read again, because one of its processes ended meanwhile, or this one was not running. */
const MAX_READINGS = 3;
/** Reading the clocks of a thousand processes takes less. */
const MAX_READING_US = 1000;
// The kind of clock in the low bits of a clockid_t, <linux/posix-timers_types.h>: time on a CPU.
const CPUCLOCK_SCHED = 2;

/**
 * Returns what `read` returns, or null if the file or folder it reads is gone: between two calls any process may end.
 *
 * @throws {Error} Whatever else `read` throws.
 */
export function unlessGone<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/**
 * The stat lines of a process and of all its descendants, also of those that have ended and were not waited for yet.
 * Empty if there is no process `rootPid`.
 *
 * All processes of the host are looked at. /proc/PID/task/TID/children would be shorter, but proc(5) warns of it: a
 * child that ends while the file is read can hide children that live. It would also be read once for each thread.
 */
const readTree = (rootPid: number): ProcessStat[] => treeOf(readableStats(listProc("/proc"), readProc), rootPid);

/**
 * The stat lines of all processes that can be read. With the mount option hidepid of /proc, those of other users cannot: no
 * process of a server that this user has started is among them.
 */
export function readableStats(names: readonly string[], read: (path: string) => string): ProcessStat[] {
  const all: ProcessStat[] = [];
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue;
    try {
      all.push(parseStat(read(`/proc/${name}/stat`)));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) continue;
      throw error;
    }
  }
  return all;
}

/**
 * The process ids of a process and of all its living descendants, the root first. Null if the root has ended, or on a
 * system without /proc. A descendant whose own parent has ended was given to another parent and is not found.
 *
 * @example
 * ```ts
 * const pids = processTree(Deno.pid); // [ 4711, … ]
 * ```
 */
export function processTree(rootPid: number): number[] | null {
  if (!HAS_PROC) return null;
  const living = readTree(rootPid).filter(({ state }) => state !== "Z" && state !== "X");
  return living[0]?.pid === rootPid ? living.map(({ pid }) => pid) : null;
}

const CLOCK_MONOTONIC = 1; // <time.h>

function openClock() {
  const { symbols } = Deno.dlopen("libc.so.6", { clock_gettime: { parameters: ["i32", "buffer"], result: "i32" } });
  const timespec = new BigInt64Array(2); // struct timespec: seconds and nanoseconds, 64 bits each
  return (clock: number): number | null => {
    if (symbols.clock_gettime(clock, timespec) !== 0) return null; // EINVAL: there is no such clock
    return Number(timespec[0]) * 1e6 + Number(timespec[1]) / 1e3;
  };
}
let clockUs: ReturnType<typeof openClock> | undefined; // opened at the first use, as in procfs.ts

/** A clock that nobody sets, in µs: on Linux CLOCK_MONOTONIC, which is the same in all processes; elsewhere with any start. */
export const monotonicUs = (): number =>
  HAS_PROC ? (clockUs ??= openClock())(CLOCK_MONOTONIC)! : performance.now() * 1e3;

/** CPU time of one process in µs, exact to the ns, threads that have ended included. Null if there is no such process, or no such clock. */
export function processCpuUs(pid: number): number | null {
  if (!HAS_PROC) return null;
  // The clock of another process has a number of its own, see clock_getcpuclockid(3).
  return (clockUs ??= openClock())(~pid << 3 | CPUCLOCK_SCHED);
}

/** The CPUs on which a process may run. Null if there is no process, or on a system without /proc. */
export function allowedCpus(pid: number): number[] | null {
  if (!HAS_PROC) return null;
  const text = unlessGone(() => readProc(`/proc/${pid}/status`));
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(text ?? "")?.[1];
  return list === undefined ? null : parseCpuList(list);
}

/**
 * CPU time, user and system, in µs, that a process and its descendants have used since they were started. Null if there
 * is no process `rootPid` (any more), if one of them ignores SIGCHLD, or on a system without /proc.
 *
 * Two sources are added for each process that has not been waited for yet. Its own CPU clock is exact to the ns and
 * counts all threads, also those that have ended. And cutime + cstime of its stat line: children that it has waited
 * for, and what these had inherited from theirs, in ticks of 10 ms. No process is counted twice: the kernel moves the
 * time of a child into cutime and cstime at the very moment at which wait(2) takes the child out of the tree.
 *
 * Where a parent ignores SIGCHLD the kernel drops the time of its children as they end (see times(2)): no figure is better
 * than one in which they are missing. Not counted: orphans. A process that ends while the tree is read makes it be read again; where that goes on, as under `churn`, the time of
 * the last one that ended may be missing in this reading, and is there in the next.
 *
 * @example
 * ```ts
 * const before = cpuUs(server.pid)!;
 * // … requests …
 * const cpuUsPerRequest = (cpuUs(server.pid)! - before) / requests;
 * ```
 */
export const cpuUs = (rootPid: number): number | null => cpuReading(rootPid)?.us ?? null;

/** CPU time of processes, and when it was that: see {@linkcode cpuUs} and {@linkcode monotonicUs}. */
export interface CpuReading {
  us: number;
  atUs: number;
  /** The processes. */
  pids: number[];
  /** Of `us`: what children used that have ended, in ticks of 10 ms. */
  endedUs: number;
}

/** As {@linkcode cpuUs}, with the time at which the clocks were read: to find the processes takes far longer than to read them. */
export function cpuReading(rootPid: number): CpuReading | null {
  if (!HAS_PROC) return null;
  let reading: CpuReading | null = null;
  for (let times = 1; times <= MAX_READINGS; times++) {
    const tree = readTree(rootPid);
    if (tree.length === 0 || tree.some(({ ignoresChildren }) => ignoresChildren)) return null;
    const { vanished, tookUs, ...found } = readClocks(tree);
    reading = found;
    if (!vanished && tookUs <= MAX_READING_US) break;
  }
  return reading;
}

/**
 * The same of processes that are known: to read them takes some 20 µs each, and to find them milliseconds. What they have
 * started since is missing. Null if one of them has ended.
 */
export function knownCpuReading(pids: readonly number[]): CpuReading | null {
  const found = readableStats(pids.map(String), readProc);
  if (found.length < pids.length || found.some(({ ignoresChildren }) => ignoresChildren)) return null;
  const { vanished, tookUs: _, ...reading } = readClocks(found);
  return vanished ? null : reading;
}

function readClocks(tree: readonly ProcessStat[]) {
  const endedUs = tree.reduce((sum, { waitedForTicks }) => sum + waitedForTicks * TICK_US, 0);
  let us = endedUs;
  let vanished = false;
  const beganUs = monotonicUs();
  for (const stat of tree) {
    const ownUs = processCpuUs(stat.pid);
    if (ownUs === null) vanished = true;
    else us += ownUs;
  }
  const tookUs = monotonicUs() - beganUs;
  return { us, atUs: beganUs + tookUs / 2, pids: tree.map(({ pid }) => pid), endedUs, tookUs, vanished };
}

/**
 * CPU time of the host since it started, in µs, over all CPUs or on one of them: `busy` (running a process or the
 * kernel), `steal` (ready to run, but the hypervisor ran another guest) and `total` (these two and idle). Counted in
 * ticks of 10 ms. Null for a CPU that is not there, and on a system without /proc.
 *
 * @param cpu The number of one CPU, from 0. Without it: the sum over all.
 *
 * @example
 * ```ts
 * const { steal, total } = hostCpuUs()!;
 * const stealShare = steal / total;
 * ```
 */
export function hostCpuUs(cpu?: number): CpuUs | null {
  return HAS_PROC ? parseCpuTimes(readProc("/proc/stat"), cpu) : null;
}
