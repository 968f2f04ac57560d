/**
 * Machines: figures of two of them are never mixed, so each has a folder of its own in results/.
 *
 * @module
 */
import { join } from "node:path";
import type { HostFacts } from "../sampling/host.ts";
import { entries } from "./durable_file.ts";
import { readIfThere } from "./jsonl.ts";

/** The file in results/ that names the machine whose figures are published. */
const REFERENCE_FILE = "reference";
/** Folders of results/ that belong to no machine. */
const OTHER_FOLDERS = ["charts"];

const GIB = 2 ** 30;

/**
 * The readable name of a machine: processor with family, model and stepping, cores, memory in GiB, system. Kernel and
 * runtime may be newer: what they change is for a comparison to show.
 *
 * @example
 * ```ts
 * machineOf(hostFacts()); // "amd-epyc-25-17-1-2c-24g-linux"
 * ```
 */
export function machineOf(host: HostFacts): string {
  const { os, arch, cpu, cpu_family, cpu_model, cpu_stepping, cores, memory_bytes } = host;
  const numbers = [cpu_family, cpu_model, cpu_stepping].filter((number) => number !== null);
  const words = [cpu ?? arch, ...numbers, `${cores}c`, `${Math.round(memory_bytes / GIB)}g`, os];
  return words.join("-").toLowerCase().replace(/\((r|tm)\)/g, "").replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}

/** The machines that have a folder in results/, in the order of their names. Needs `--allow-read`. */
export async function machinesIn(dir: string): Promise<string[]> {
  const folders = (await entries(dir)).filter(({ isDirectory, name }) => isDirectory && !OTHER_FOLDERS.includes(name));
  return folders.map(({ name }) => name).filter((name) => !name.startsWith("."));
}

/** The machine whose figures are published; null if there is none. Needs `--allow-read`. */
export async function referenceMachine(dir: string): Promise<string | null> {
  return (await readIfThere(join(dir, REFERENCE_FILE))).trim() || null;
}
