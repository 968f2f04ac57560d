/**
 * What a server takes of memory while its connections become more.
 *
 * @module
 */
import type { Experiment } from "../catalogue/catalogue.ts";
import { openBench } from "../run/bench.ts";
import { count } from "../text/format.ts";
import { processTree, unlessGone } from "../sampling/process.ts";
import { parseKb } from "../sampling/proc_parse.ts";
import { readProc } from "../sampling/procfs.ts";
import { sample } from "../sampling/sampler.ts";
import { StartError } from "../server/server.ts";

/** A server with so many connections, of which each was answered. */
export interface Footprint {
  connections: number;
  threads: number;
  /** Addresses that all processes of the server have taken: a promise of the kernel, and no memory yet. */
  address_bytes: number;
  /** Pages that are there, shared ones divided by those that share them: over all processes of the server. */
  pss_bytes: number;
}

/** Addresses that a process and all its descendants have taken. One that ends meanwhile is passed over. */
const addressBytes = (rootPid: number): number =>
  (processTree(rootPid) ?? []).map((pid) => unlessGone(() => parseKb(readProc(`/proc/${pid}/status`)).VmSize) ?? 0)
    .reduce((sum, bytes) => sum + bytes, 0);

/**
 * Connects to a server step by step, asks once on each connection, and looks at the server after each step. Linux only.
 *
 * @param sizes Connections, ascending.
 * @throws {StartError} If the server cannot run here, or the system does not tell what a process takes.
 * @throws {Error} If a connection cannot be made or is not answered.
 */
export async function* footprints(experiment: Experiment, sizes: readonly number[]): AsyncGenerator<Footprint> {
  await using bench = await openBench(experiment, { pinned: false });
  const { server, generator } = bench;
  let held = 0;
  for (const size of sizes) {
    const { connected } = await generator.connect(size - held);
    const { answered } = await generator.ask({ onlyNew: true });
    if (connected < size - held || answered < size - held) {
      throw new Error(`${experiment.name}: of ${count(size)} connections only ${count(held + answered)} were answered`);
    }
    held = size;
    const now = sample(server.pid);
    if (now === null) {
      throw new StartError({ ended: "skipped", reason: `${Deno.build.os} has no /proc to tell what a process takes.` });
    }
    const { threads, pss_bytes } = now;
    yield { connections: size, threads, address_bytes: addressBytes(server.pid), pss_bytes };
  }
}

/**
 * What one more connection takes, from the first point to the last.
 *
 * @returns Null if there are no two points, or what is looked for is not known at one of them.
 *
 * @example
 * ```ts
 * slope([{ connections: 10, bytes: 1000 }, { connections: 30, bytes: 1600 }], "bytes"); // 30
 * ```
 */
export function slope<Key extends string>(
  points: readonly ({ connections: number } & Record<Key, number | null>)[],
  of: Key,
): number | null {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || first.connections === last.connections) return null;
  const from: number | null = first[of];
  const to: number | null = last[of];
  return from === null || to === null ? null : (to - from) / (last.connections - first.connections);
}
