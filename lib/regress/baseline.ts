/**
 * What later measurements are compared with: the rounds of each experiment, in the file baseline.json of a machine.
 *
 * @module
 */
import * as v from "valibot";
import { KnownFailure } from "../cli/errors.ts";
import { field, number, text, textOrNull } from "../results/check.ts";
import { store } from "../results/durable_file.ts";
import { parseLine, readIfThere } from "../results/jsonl.ts";
import type { HostFacts } from "../sampling/host.ts";

const BASELINE_SCHEMA = 1;
/** The file in the folder of a machine. */
export const BASELINE = "baseline.json";

/**
 * What two runs must have in common for their ratios to be comparable, beside the machine. The version of the runtime is not
 * part of it: what an upgrade changes is what a user wants to see.
 */
export const HOST_KIND = v.strictObject({
  cpu: field(textOrNull, "the model name of the processor"),
  cores: field(number, "logical processors"),
  kernel: field(text, "major and minor number of the kernel, such as `6.18`"),
  io_uring: field(textOrNull, "as in [Host](#host): an experiment works differently where the kernel refuses it"),
});
export type HostKind = v.InferOutput<typeof HOST_KIND>;

/** What was measured of one experiment. */
export const BASELINE_ENTRY = v.strictObject({
  experiment: field(text, "which one"),
  reference: field(text, "next to which it was measured"),
  connections: field(number, "how many each of the two held"),
  kind: field(HOST_KIND, "`cpu`, `cores`, `kernel` (major and minor number) and `io_uring`"),
  time: field(text, "when it was measured, in UTC"),
  deno: field(text, "the version of the runtime then: later ones are compared with it"),
  v8: field(text, "the version of its engine"),
  log_ratios: field(
    v.array(number),
    "for each valid round the logarithm of candidate / reference: the baseline's own uncertainty is in them",
  ),
});
export type BaselineEntry = v.InferOutput<typeof BASELINE_ENTRY>;

const BASELINE_FILE = v.strictObject({ schema: v.literal(BASELINE_SCHEMA), entries: v.array(BASELINE_ENTRY) });

/** The kind of a machine. */
export const hostKind = ({ cpu, cores, kernel, io_uring }: HostFacts): HostKind => ({
  cpu,
  cores,
  kernel: /^\d+\.\d+/.exec(kernel)?.[0] ?? kernel,
  io_uring,
});

/** A kind in words. */
const describeKind = ({ cpu, cores, kernel, io_uring }: HostKind): string =>
  `${cpu ?? "unknown CPU"}, ${cores} cores, kernel ${kernel}, io_uring ${io_uring ?? "unknown"}`;

const isSameKind = (a: HostKind, b: HostKind) => describeKind(a) === describeKind(b);

/** The baseline cannot be read. Nothing is compared with it, and nothing written over it. */
export class DamagedBaseline extends KnownFailure {
  override readonly name = "DamagedBaseline";
}

/**
 * Reads the baseline; no entries if there is none. Needs `--allow-read`.
 *
 * @throws {DamagedBaseline} If the file is damaged, or of a newer version.
 */
export async function readBaseline(path: string): Promise<BaselineEntry[]> {
  const content = await readIfThere(path);
  if (content === "") return [];
  const parsed = parseLine<{ entries: BaselineEntry[] }>(content, BASELINE_FILE);
  if ("value" in parsed) return parsed.value.entries;
  throw new DamagedBaseline(
    `${path} cannot be used, ${parsed.wrong}. Restore it (git checkout ${path}), or move it away and make a new one.`,
  );
}

/** What an entry must agree in to be the one for a measurement. */
export type Wanted = Pick<BaselineEntry, "experiment" | "reference" | "connections" | "kind">;

const isFor = (entry: BaselineEntry, { experiment, reference, connections, kind }: Wanted) =>
  entry.experiment === experiment && entry.reference === reference && entry.connections === connections &&
  isSameKind(entry.kind, kind);

/** Finds the entry for a measurement, or says why there is none. */
export function findEntry(entries: readonly BaselineEntry[], wanted: Wanted): BaselineEntry | { missing: string } {
  const found = entries.find((entry) => isFor(entry, wanted));
  if (found !== undefined) return found;
  const others = entries.filter(({ experiment }) => experiment === wanted.experiment);
  const far = others.find(({ kind }) => !isSameKind(kind, wanted.kind));
  if (others.length === 0) return { missing: "there is no baseline of it: --update-baseline makes one" };
  if (far === undefined) {
    return { missing: "its baseline has another reference or number of connections: --update-baseline adds one" };
  }
  const kinds = `${describeKind(far.kind)}; this is ${describeKind(wanted.kind)}`;
  return { missing: `its baseline is of another kind of machine (${kinds}): --update-baseline adds this one` };
}

/**
 * Stores entries: each takes the place of the one for the same measurement, all others stay. Needs `--allow-read` and
 * `--allow-write`.
 *
 * @throws {DamagedBaseline} If the file that is there cannot be read; it is left as it is.
 * @throws {CannotStore} If it cannot be stored; the file is as it was.
 */
export async function updateBaseline(path: string, entries: readonly BaselineEntry[]): Promise<void> {
  const old = (await readBaseline(path)).filter((each) => !entries.some((entry) => isFor(each, entry)));
  const all = [...old, ...entries].toSorted((a, b) => a.experiment < b.experiment ? -1 : 1);
  await store(path, `${JSON.stringify({ schema: BASELINE_SCHEMA, entries: all }, null, 1)}\n`);
}
