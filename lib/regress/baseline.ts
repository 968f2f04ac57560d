/**
 * What later measurements are compared with: results/baseline.json, the rounds of each experiment on each kind of machine.
 *
 * @module
 */
import { KnownFailure } from "../cli/errors.ts";
import type { HostFacts } from "../sampling/host.ts";
import { parseLine, readIfThere } from "../results/jsonl.ts";
import { list, nullOr, number, object, oneOf, type Shape, text } from "../results/check.ts";
import { store } from "../results/durable_file.ts";

export const BASELINE_SCHEMA = 1;

/**
 * What two machines must have in common for ratios measured on them to be comparable. The version of the runtime is none of
 * it: what an upgrade changes is what one wants to see.
 */
export interface HostKind {
  /** The model name of the processor. */
  cpu: string | null;
  cores: number;
  /** Major and minor number, such as `6.18`. */
  kernel: string;
  /** As in the facts of a host: an experiment does other work where the kernel refuses it. */
  io_uring: string | null;
}

/** What was measured of one experiment on one kind of machine. */
export interface BaselineEntry {
  experiment: string;
  reference: string;
  connections: number;
  kind: HostKind;
  time: string;
  deno: string;
  v8: string;
  /** For each valid round the natural logarithm of candidate / reference, in CPU time per request. */
  log_ratios: number[];
}

const KIND: Shape<HostKind> = { cpu: nullOr(text), cores: number, kernel: text, io_uring: nullOr(text) };
/** The checks of a kind of machine. */
export const hostKindShape = object(KIND);

/** The fields of an entry, with the check of each. A test holds results/README.md against them. */
export const BASELINE_ENTRY: Shape<BaselineEntry> = {
  experiment: text,
  reference: text,
  connections: number,
  kind: hostKindShape,
  time: text,
  deno: text,
  v8: text,
  log_ratios: list(number),
};
const BASELINE = object({ schema: oneOf([BASELINE_SCHEMA]), entries: list(object(BASELINE_ENTRY)) });

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
  const parsed = parseLine<{ entries: BaselineEntry[] }>(content, BASELINE);
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
