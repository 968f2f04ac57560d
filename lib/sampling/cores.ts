/**
 * Which cores the server and the load get: chosen from the affinity mask of this process and from the topology of the
 * processor, so that the two sides never share a core, nor two hardware threads of one core.
 *
 * @module
 */
import { readProc } from "./procfs.ts";

/** One logical processor that this process may use. */
export interface Cpu {
  id: number;
  /** The logical processors of the same physical core, this one included. */
  siblings: number[];
  package: number;
  /** Relative speed, 1024 at most; smaller ones are the efficiency cores of hybrid processors. Null: all are alike. */
  capacity: number | null;
}

/** Who gets which logical processors. */
export interface CorePlan {
  server: number[];
  load: number[];
  /** Both sides run on the same processors, because there is one only. */
  shared: boolean;
  /** A physical core has hardware threads on both sides, because there is one physical core only. */
  siblings: boolean;
}

/** Parses a list of the kernel such as `0-3,8,10-11`. */
export function parseCpuList(text: string): number[] {
  return text.trim().split(",").filter((part) => part !== "").flatMap((part) => {
    const [from, to = from] = part.split("-").map(Number);
    return Array.from({ length: to! - from! + 1 }, (_, i) => from! + i);
  });
}

/** Writes a list as the kernel does: `0-3,8`. */
export function cpuList(cpus: readonly number[]): string {
  const sorted = [...new Set(cpus)].toSorted((a, b) => a - b);
  const ranges: [from: number, to: number][] = [];
  for (const cpu of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && cpu === last[1] + 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([from, to]) => from === to ? String(from) : `${from}-${to}`).join(",");
}

/** Reads a file that a kernel may not have. */
function readOptional(read: (path: string) => string, path: string): string | null {
  try {
    return read(path).trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return null;
    throw error;
  }
}

/** The logical processors that this process may use. `read` reads a file of /proc or /sys. Linux only. */
export function readCpus(read: (path: string) => string = readProc): Cpu[] {
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(read("/proc/self/status"))?.[1];
  if (allowed === undefined) return [];
  return parseCpuList(allowed).map((id) => {
    const folder = `/sys/devices/system/cpu/cpu${id}`;
    const siblings = readOptional(read, `${folder}/topology/thread_siblings_list`);
    const capacity = readOptional(read, `${folder}/cpu_capacity`);
    return {
      id,
      siblings: siblings === null ? [id] : parseCpuList(siblings),
      package: Number(readOptional(read, `${folder}/topology/physical_package_id`) ?? 0),
      capacity: capacity === null ? null : Number(capacity),
    };
  });
}

/** The allowed processors of each physical core: fast cores first, those of one package together, as the kernel counts. */
function physicalCores(cpus: readonly Cpu[]): Cpu[][] {
  const byCore = Map.groupBy(cpus, ({ siblings }) => Math.min(...siblings));
  return [...byCore.values()].toSorted(([a], [b]) =>
    (b!.capacity ?? 0) - (a!.capacity ?? 0) || a!.package - b!.package || a!.id - b!.id
  );
}

/**
 * Divides the processors: whole physical cores to each side, half of them (rounded up) to the server, the rest to the load.
 * The first hardware thread of each core is used, so that no two threads of a run compete for one core. With a single
 * physical core the sides get one of its hardware threads each, with a single processor they share it; the plan says so.
 *
 * @throws {RangeError} If there is no processor.
 */
export function planCores(cpus: readonly Cpu[]): CorePlan {
  const cores = physicalCores(cpus);
  const [only] = cores;
  if (only === undefined) throw new RangeError("There is no processor to run on");
  if (cores.length === 1) {
    const [first, second] = only.map(({ id }) => id);
    if (second === undefined) return { server: [first!], load: [first!], shared: true, siblings: false };
    return { server: [first!], load: [second], shared: false, siblings: true };
  }
  const ids = cores.map(([first]) => first!.id);
  const half = Math.ceil(ids.length / 2);
  return { server: ids.slice(0, half), load: ids.slice(half), shared: false, siblings: false };
}

/** How the scaling of a server over cores is measured. */
export interface ScalingPlan {
  /** The server's cores at each step; the first step has one. */
  steps: number[][];
  load: number[];
  /** The load runs on cores of the server too: what a core more brings is then a lower bound. */
  shared: boolean;
}

/** One core of load drives so many of a server whose requests burn CPU. */
const SERVER_CORES_PER_LOAD_CORE = 7;

/**
 * Steps of 1, 2, 4 … server cores, up to all that the load leaves. Requests that burn CPU (`isHeavy`) leave it little to do: it
 * gets one core of eight, else half of them. With two physical cores both sides share them; that takes requests that burn CPU.
 *
 * @returns Null if there is nothing to scale over.
 */
export function planScaling(cpus: readonly Cpu[], isHeavy: boolean): ScalingPlan | null {
  const ids = physicalCores(cpus).map(([first]) => first!.id);
  const shared = ids.length === 2;
  if (ids.length < 2 || (shared && !isHeavy)) return null;
  const forLoad = isHeavy ? Math.ceil(ids.length / (SERVER_CORES_PER_LOAD_CORE + 1)) : Math.floor(ids.length / 2);
  const server = shared ? ids : ids.slice(0, ids.length - forLoad);
  if (server.length < 2) return null;
  const sizes: number[] = [];
  for (let size = 1; size < server.length; size *= 2) sizes.push(size);
  return {
    steps: [...sizes, server.length].map((size) => server.slice(0, size)),
    load: shared ? ids : ids.slice(server.length),
    shared,
  };
}

/**
 * The plan for processors that the user named; what is not named is chosen from the rest.
 *
 * @throws {RangeError} If a named processor is not allowed, with those that are; or if no processor is left for a side.
 */
export function chooseCores(
  cpus: readonly Cpu[],
  named: { server?: readonly number[] | undefined; load?: readonly number[] | undefined } = {},
): CorePlan {
  const allowed = cpus.map(({ id }) => id);
  const foreign = [...named.server ?? [], ...named.load ?? []].filter((id) => !allowed.includes(id));
  if (foreign.length > 0) {
    throw new RangeError(`Core ${cpuList(foreign)} is not among those of this process: ${cpuList(allowed)}`);
  }
  const taken = new Set([...named.server ?? [], ...named.load ?? []]);
  const free = cpus.filter(({ siblings }) => siblings.every((id) => !taken.has(id)));
  const rest = (free.length > 0 ? physicalCores(free) : []).map(([first]) => first!.id);
  if (named.server === undefined && named.load === undefined) return planCores(cpus);
  const server = [...named.server ?? rest];
  const load = [...named.load ?? rest];
  if (server.length === 0 || load.length === 0) throw new RangeError("No core is left for the other side");
  const siblingsOf = (id: number) => cpus.find((cpu) => cpu.id === id)!.siblings;
  return {
    server,
    load,
    shared: server.some((id) => load.includes(id)),
    siblings: server.some((id) => siblingsOf(id).some((other) => other !== id && load.includes(other))),
  };
}

/** One core for the server and one for the load; null where they have to share one, or the system does not say. */
export function corePair(
  cpus: readonly Cpu[] = Deno.build.os === "linux" ? readCpus() : [],
): { server: number; load: number } | null {
  if (cpus.length === 0) return null;
  const { server, load, shared } = planCores(cpus);
  return shared ? null : { server: server[0]!, load: load[0]! };
}
