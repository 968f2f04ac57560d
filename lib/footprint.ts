/**
 * What a server takes of memory while its connections become more.
 *
 * @module
 */
import type { Experiment } from "./catalogue.ts";
import { count } from "./format.ts";
import { LoadGenerator } from "./load.ts";
import { parseKb } from "./proc_text.ts";
import { readProc } from "./procfs.ts";
import { sample } from "./sampler.ts";
import { StartError } from "./server.ts";
import { startSubject } from "./subject.ts";

/** A server with so many connections, of which each was answered. */
export interface Footprint {
  connections: number;
  threads: number;
  /** Addresses that the process has taken: a promise of the kernel, and no memory yet. */
  address_bytes: number;
  /** Pages that are there, shared ones divided by those that share them: over all processes of the server. */
  pss_bytes: number;
}

/**
 * Connects to a server step by step, asks once on each connection, and looks at the server after each step. Linux only.
 *
 * @param sizes Connections, ascending.
 * @throws {StartError} If the server cannot run here, or the system does not tell what a process takes.
 * @throws {Error} If a connection cannot be made or is not answered.
 */
export async function* footprints(experiment: Experiment, sizes: readonly number[]): AsyncGenerator<Footprint> {
  await using server = await startSubject(experiment);
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port });
  let held = 0;
  for (const size of sizes) {
    const { connected } = await generator.connect(size - held);
    const { answered } = await generator.ask({ onlyNew: true });
    if (connected < size - held || answered < size - held) {
      throw new Error(`${experiment.name}: of ${count(size)} connections only ${count(held + answered)} were answered`);
    }
    held = size;
    const now = sample(server.pid!); // a server that was started here is known by its process
    if (now === null) {
      throw new StartError({ ended: "skipped", reason: `${Deno.build.os} has no /proc to tell what a process takes.` });
    }
    const { VmSize } = parseKb(readProc(`/proc/${server.pid}/status`));
    yield { connections: size, threads: now.threads, address_bytes: VmSize!, pss_bytes: now.pss_bytes };
  }
}

/** What one connection more takes, between the first and the last of at least two footprints. */
export function each(of: readonly Footprint[], what: "address_bytes" | "pss_bytes" | "threads"): number {
  const [first, last] = [of[0]!, of.at(-1)!];
  return (last[what] - first[what]) / (last.connections - first.connections);
}
