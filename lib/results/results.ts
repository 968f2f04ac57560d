/**
 * What a run leaves behind: one JSON file in the folder of its machine. Measuring writes it, and whatever looks at
 * measurements reads nothing else. results/FORMAT.md explains every field.
 *
 * @example
 * ```ts
 * const path = await writeResult(newResult({ experiment: "epoll", scenario: "hold", … }));
 * const { results, passedOver } = await readResults("results", machineOf(hostFacts()));
 * ```
 *
 * @module
 */
import { join } from "node:path";
import { entries, fileName, newId, store, STUDIES } from "./durable_file.ts";
import { machineOf } from "./machine.ts";
import { type Lab, type Manifest, METRICS, type Metrics, type Result, SCHEMA, wrongInResult } from "./schema.ts";

export * from "./schema.ts";

/** What a run has to say of itself; the rest is the same for all, and a metric that is not named is null. */
export type Run =
  & Omit<Result, "schema" | "id" | "time" | "metrics" | "manifest" | "quick" | "lab" | "errors" | "at_least">
  & {
    metrics: Partial<Metrics>;
    manifest?: Manifest | null;
    quick?: boolean;
    lab?: Lab;
    errors?: Result["errors"];
    at_least?: Result["at_least"];
  };

/**
 * Accepted connections per second of a `hold`: stored, or of an older result calculated from what it has, which is the same
 * where all were answered. Null: not measured.
 */
export function acceptsPerS({ accepts_per_s, answered, connect_seconds: seconds }: Metrics): number | null {
  if (accepts_per_s !== undefined && accepts_per_s !== null) return accepts_per_s;
  return answered && seconds ? answered / seconds : null;
}

/** How many connections a run held: fewer than it was asked for where it met a limit. `churn` holds none. */
export function heldOf({ scenario, parameters, metrics }: Pick<Result, "scenario" | "parameters" | "metrics">): number {
  const asked = parameters.connections;
  return scenario === "churn" ? asked : Math.min(asked, metrics.connections ?? asked);
}

const UNKNOWN_LAB: Lab = { commit: null, load: null, served: null };

/** Makes a result of what a run has to say. */
export function newResult(run: Run, time: Date = new Date()): Result {
  const unmeasured = Object.fromEntries(METRICS.map((key) => [key, null])) as Metrics;
  return {
    schema: SCHEMA,
    id: newId(),
    time: time.toISOString(),
    ...run,
    manifest: run.manifest ?? null,
    quick: run.quick ?? false,
    lab: run.lab ?? UNKNOWN_LAB,
    errors: run.errors ?? {},
    at_least: run.at_least ?? [],
    metrics: { ...unmeasured, ...run.metrics },
  };
}

/** Where a result is stored: `results/amd-epyc-25-17-1-2c-24g-linux/epoll/20250131T120000Z-1b9d6bcd.json`. */
const pathOf = (result: Result, dir: string) => join(dir, machineOf(result.host), result.experiment, fileName(result));

/**
 * Stores a result. Under its final name there is the whole file or none, whenever this process or the machine ends: it
 * is written under another name, forced to the disk, and renamed. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @param dir The folder of all results; default: results/ of the current folder.
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored (or is no valid result): names the path and the cause. No file is left then.
 */
export async function writeResult(result: Result, dir = "results"): Promise<string> {
  const path = pathOf(result, dir);
  const wrong = wrongInResult(result);
  if (wrong !== undefined) throw new Error(`Cannot store ${path}: ${wrong}.`);
  await store(path, JSON.stringify(result, null, 2) + "\n");
  return path;
}

/** A file that is no result of this version, and why. */
export interface PassedOver {
  path: string;
  why: string;
}

/** Parses one file: a result, or what is wrong with it. */
function parseResult(content: string): Result | string {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    return `it is damaged: ${(error as SyntaxError).message}`;
  }
  const schema = (value as { schema?: unknown } | null)?.schema;
  if (typeof schema === "number" && schema !== SCHEMA) return `its schema is ${schema}, this program knows ${SCHEMA}`;
  return wrongInResult(value) ?? value as Result;
}

/** The family of servers that are no experiments, and its name in files of earlier versions. */
const CUSTOM = "custom";
const FORMER_CUSTOM = "own";

/**
 * Reads the results of one machine, of each experiment the oldest first. Files that are damaged, of another shape or of
 * another schema are skipped and named; what an interrupted write left is not looked at. Needs `--allow-read`.
 */
export async function readResults(
  dir: string,
  machine: string,
): Promise<{ results: Result[]; passedOver: PassedOver[] }> {
  const results: Result[] = [];
  const passedOver: PassedOver[] = [];
  const folders = await entries(join(dir, machine));
  for (
    const folder of folders.filter(({ isDirectory, name }) => isDirectory && name !== STUDIES && !name.startsWith("."))
  ) {
    for (const entry of await entries(join(dir, machine, folder.name))) {
      if (!entry.isFile || !entry.name.endsWith(".json")) continue;
      const path = join(dir, machine, folder.name, entry.name);
      const result = parseResult(await Deno.readTextFile(path));
      if (typeof result === "string") passedOver.push({ path, why: result });
      else results.push(result.family === FORMER_CUSTOM ? { ...result, family: CUSTOM } : result);
    }
  }
  return { results, passedOver };
}
