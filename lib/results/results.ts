/**
 * What a run leaves behind: one JSON file. Measuring writes it, and whatever looks at measurements reads nothing else.
 * results/README.md explains every field.
 *
 * @example
 * ```ts
 * const path = await writeResult(newResult({ experiment: "epoll", scenario: "hold", … }));
 * const { results, passedOver } = await readResults();
 * console.log(newest(results, "epoll", "hold", { connections: 1000 })?.metrics.p99_us);
 * ```
 *
 * @module
 */
import { join } from "node:path";
import {
  type Manifest,
  METRICS,
  type Metrics,
  type Parameters,
  type Result,
  type ScenarioName,
  SCHEMA,
  wrongInResult,
} from "./schema.ts";
import { entries, fileName, newId, store, STUDIES } from "./durable_file.ts";

export * from "./schema.ts";

/** What of a result a run has to say; the rest is the same for all, and a metric that is not named is null. */
export type Run = Omit<Result, "schema" | "id" | "time" | "metrics" | "manifest"> & {
  metrics: Partial<Metrics>;
  manifest?: Manifest | null;
};

/** Makes a result of what a run has to say. */
export function newResult(run: Run, time: Date = new Date()): Result {
  const unmeasured = Object.fromEntries(METRICS.map((key) => [key, null])) as Metrics;
  return {
    schema: SCHEMA,
    id: newId(),
    time: time.toISOString(),
    ...run,
    manifest: run.manifest ?? null,
    metrics: { ...unmeasured, ...run.metrics },
  };
}

/** Where a result is stored: `results/epoll/20250131T120000Z-1b9d6bcd.json`. */
const pathOf = (result: Result, dir: string) => join(dir, result.experiment, fileName(result));

/**
 * Stores a result. Under its final name there is the whole file or none, whenever this process or the machine ends: it
 * is written under another name, forced to the disk, and renamed. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @param dir The folder of all results; results/ of the current folder unless said.
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

/** What schema 2 added to schema 1 was not measured then. */
function upgrade(value: { schema?: unknown; metrics?: object }): object {
  return { ...value, schema: 2, manifest: null, metrics: { ...value.metrics, connect_seconds: null, processes: null } };
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
  if (typeof schema === "number" && schema > SCHEMA) return `its schema is ${schema}, this program knows ${SCHEMA}`;
  if (schema === 1) value = upgrade(value as { schema: number });
  return wrongInResult(value) ?? value as Result;
}

/**
 * Reads all results, of each experiment the oldest first. Files that are damaged, of another shape or of a newer schema
 * are passed over and named; what an interrupted write left is no result and is not looked at. Needs `--allow-read`.
 */
export async function readResults(dir = "results"): Promise<{ results: Result[]; passedOver: PassedOver[] }> {
  const results: Result[] = [];
  const passedOver: PassedOver[] = [];
  for (const folder of (await entries(dir)).filter(({ isDirectory, name }) => isDirectory && name !== STUDIES)) {
    for (const entry of await entries(join(dir, folder.name))) {
      if (!entry.isFile || !entry.name.endsWith(".json")) continue;
      const path = join(dir, folder.name, entry.name);
      const result = parseResult(await Deno.readTextFile(path));
      if (typeof result === "string") passedOver.push({ path, why: result });
      else results.push(result);
    }
  }
  return { results, passedOver };
}

/** The newest result of an experiment in a scenario, of those that have these parameters; undefined if there is none. */
export function newest(
  results: readonly Result[],
  experiment: string,
  scenario: ScenarioName,
  parameters: Partial<Parameters> = {},
): Result | undefined {
  const wanted = Object.entries(parameters) as [keyof Parameters, unknown][];
  return results.filter((result) =>
    result.experiment === experiment && result.scenario === scenario &&
    wanted.every(([key, value]) => result.parameters[key] === value)
  ).toSorted((a, b) => a.time < b.time ? -1 : 1).at(-1);
}
