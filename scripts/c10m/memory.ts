/**
 * Says before the start whether the memory for so many connections is there.
 *
 * @module
 */
import { bytes } from "../../lib/text/format.ts";
import { MEMORY_SHARE } from "../../lib/results/conventions.ts";
import { availableMemory } from "../../lib/run/guard.ts";
import { readProc } from "../../lib/sampling/procfs.ts";

const SERVER_BYTES = 20; // 16 bytes in a table of which four fifths are used
const CLIENT_BYTES = 7; // a state, a sequence number and a slot
const BASE_BYTES = 400 * 2 ** 20; // two processes and their frames

/** What a run takes. */
export const neededBytes = (connections: number): number => BASE_BYTES + connections * (SERVER_BYTES + CLIENT_BYTES);

/** Why so many connections are too many for the memory; null if they are not. */
export function memoryObstacle(connections: number, available: number = availableMemory()): string | null {
  const needed = neededBytes(connections);
  const share = MEMORY_SHARE * available;
  if (needed <= share) return null;
  const fit = Math.max(0, Math.floor((share - BASE_BYTES) / (SERVER_BYTES + CLIENT_BYTES)));
  return `it would take ${bytes(needed)} of memory, and ${
    bytes(share)
  } may be used: ask for --connections ${fit} at most`;
}

/** The anonymous memory of a process in bytes, each page divided by those that share it. */
export function anonymousBytes(pid: number): number {
  const rollup = readProc(`/proc/${pid}/smaps_rollup`);
  const kilobytes = /^Pss_Anon:\s+(\d+) kB$/m.exec(rollup)?.[1];
  if (kilobytes === undefined) {
    throw new Error(`/proc/${pid}/smaps_rollup has no Pss_Anon: the kernel is older than 5.4.`);
  }
  return Number(kilobytes) * 1024;
}
