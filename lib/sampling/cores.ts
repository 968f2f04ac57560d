/**
 * Which cores this process may use, and which two of them a server and its load generator get.
 *
 * @module
 */
import { readProc } from "./procfs.ts";

/** Reads a list of the kernel, such as `0-3,8`. */
export function parseCpuList(text: string): number[] {
  return text.trim().split(",").filter((part) => part !== "").flatMap((part) => {
    const [first, last] = part.split("-").map(Number);
    return Array.from({ length: (last ?? first!) - first! + 1 }, (_, i) => first! + i);
  });
}

/** The cores that the affinity mask and the cpuset of this process leave it. Empty where the system does not tell. */
export function allowedCores(read: (path: string) => string = readProc): number[] {
  if (Deno.build.os !== "linux") return [];
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(read("/proc/self/status"))?.[1];
  return parseCpuList(list ?? "");
}

/** The hardware threads that share a core with `cpu`, itself among them. */
function siblingsOf(cpu: number, read: (path: string) => string): number[] {
  try {
    return parseCpuList(read(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return [cpu];
    throw error; // a container may hide the topology, which then is taken for one thread a core
  }
}

/** One core for each side. */
export interface CorePair {
  server: number;
  load: number;
}

/**
 * A core for the server and one for the load generator; null where they have to share. Two hardware threads of one core
 * would slow each other, so the second is another core where there is one.
 */
export function corePair(read: (path: string) => string = readProc): CorePair | null {
  const [server, ...others] = allowedCores(read);
  if (server === undefined || others.length === 0) return null;
  const siblings = siblingsOf(server, read);
  return { server, load: others.find((cpu) => !siblings.includes(cpu)) ?? others[0]! };
}
