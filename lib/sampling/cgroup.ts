/**
 * The limits of the control group that this process is in, version 1 and 2: in a container they are what a run can use, and
 * not what the host has.
 *
 * @module
 */
import { readProc } from "./procfs.ts";

/** Limits and use. Null: there is none, or the system does not say. */
export interface CgroupLimits {
  /** The smallest memory limit on the way to the root, less what is used there already. */
  memory_available_bytes: number | null;
  memory_max_bytes: number | null;
  /** Processes and threads that may still be made. */
  pids_available: number | null;
  pids_max: number | null;
  /** CPU time per second of real time, in cores. */
  cpu_quota_cores: number | null;
}

/** How often and how long the group was kept from running, since it was made. Null: not available. */
export interface Throttling {
  periods: number;
  throttled_us: number;
}

type Read = (path: string) => string;

/** A limit that is no limit: version 1 writes the largest multiple of a page that a long holds. */
const UNLIMITED_V1 = 2 ** 62;
const V1_ROOT = "/sys/fs/cgroup";

function readNumber(read: Read, path: string): number | null {
  try {
    const value = Number(read(path).trim().split(/\s+/)[0]); // "max" is NaN
    return Number.isFinite(value) && value < UNLIMITED_V1 ? value : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return null;
    throw error;
  }
}

/** The group of this process by controller; the empty name is that of version 2. */
function groups(read: Read): Map<string, string> {
  const lines = read("/proc/self/cgroup").trim().split("\n").map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  return new Map(
    lines.flatMap((match) => match === null ? [] : match[1]!.split(",").map((name) => [name, match[2]!] as const)),
  );
}

/** The folder of a group and those above it, the group first. Inside of a container the path may end at its root. */
function upward(root: string, path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return Array.from({ length: parts.length + 1 }, (_, i) => [root, ...parts.slice(0, parts.length - i)].join("/"));
}

/** Where a controller has its files: the folders from this group upward, of version 1 or 2. */
function foldersOf(read: Read, controller: string): { v1: string[]; v2: string[] } {
  const all = groups(read);
  const old = all.get(controller);
  const unified = all.get("");
  return {
    v1: old === undefined ? [] : upward(`${V1_ROOT}/${controller}`, old),
    v2: unified === undefined ? [] : [...upward(V1_ROOT, unified), ...upward(`${V1_ROOT}/unified`, unified)],
  };
}

/** The least that is left in any of the folders, with its limit. */
function leastLeft(read: Read, folders: string[], max: string, current: string) {
  let left: { available: number; max: number } | null = null;
  for (const folder of folders) {
    const limit = readNumber(read, `${folder}/${max}`);
    if (limit === null) continue;
    const available = limit - (readNumber(read, `${folder}/${current}`) ?? 0);
    if (left === null || available < left.available) left = { available, max: limit };
  }
  return left;
}

function quotaCores(read: Read): number | null {
  const { v1, v2 } = foldersOf(read, "cpu");
  const quotas = v2.flatMap((folder) => {
    const quota = readNumber(read, `${folder}/cpu.max`);
    if (quota === null) return [];
    const period = Number(read(`${folder}/cpu.max`).trim().split(/\s+/)[1]);
    return [quota / period];
  });
  for (const folder of v1) {
    const quota = readNumber(read, `${folder}/cpu.cfs_quota_us`);
    const period = readNumber(read, `${folder}/cpu.cfs_period_us`);
    if (quota !== null && period !== null && quota > 0) quotas.push(quota / period);
  }
  return quotas.length === 0 ? null : Math.min(...quotas);
}

/** Reads the limits. `read` reads a file of /proc or /sys. Linux only. */
export function readCgroup(read: Read = readProc): CgroupLimits {
  const memory = foldersOf(read, "memory");
  const pids = foldersOf(read, "pids");
  const byMemory = leastLeft(read, memory.v2, "memory.max", "memory.current") ??
    leastLeft(read, memory.v1, "memory.limit_in_bytes", "memory.usage_in_bytes");
  const byPids = leastLeft(read, [...pids.v2, ...pids.v1], "pids.max", "pids.current");
  return {
    memory_available_bytes: byMemory?.available ?? null,
    memory_max_bytes: byMemory?.max ?? null,
    pids_available: byPids?.available ?? null,
    pids_max: byPids?.max ?? null,
    cpu_quota_cores: quotaCores(read),
  };
}

/**
 * Reads how often the group of this process was throttled, and those above it: a quota of a container may stand in a group above
 * that of its processes. `read` reads a file of /proc or /sys. Linux only.
 */
export function readThrottling(read: Read = readProc): Throttling | null {
  const { v1, v2 } = foldersOf(read, "cpu");
  const found: Throttling[] = [];
  for (const folder of [...v2, ...v1]) {
    let text: string;
    try {
      text = read(`${folder}/cpu.stat`);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) continue;
      throw error;
    }
    const field = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? NaN);
    const periods = field("nr_throttled");
    const us = Number.isNaN(field("throttled_usec")) ? field("throttled_time") / 1000 : field("throttled_usec"); // ns in v1
    if (!Number.isNaN(periods)) found.push({ periods, throttled_us: us });
  }
  if (found.length === 0) return null;
  const total = (of: (each: Throttling) => number) => found.reduce((sum, each) => sum + of(each), 0);
  return { periods: total(({ periods }) => periods), throttled_us: total(({ throttled_us }) => throttled_us) };
}
