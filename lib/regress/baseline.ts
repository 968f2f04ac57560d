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

const BASELINE_SCHEMA = 2;
/** Nights that a baseline holds; the oldest are dropped. */
export const MAX_NIGHTS = 10;
/**
 * Nights that a baseline needs: with fewer, the interval knows little of what differs from night to night. A baseline that
 * has them stays as it is: one that followed every night would follow a slow drift too.
 */
export const BASELINE_NIGHTS = 5;
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

/** Digests of what a ratio depends on besides the candidate: with another one there is another baseline. */
export const DIGESTS = v.strictObject({ reference: text, generator: text, load: text });
export type Digests = v.InferOutput<typeof DIGESTS>;

/** One night of a baseline. */
const BASELINE_NIGHT = v.strictObject({ time: text, deno: text, v8: text, log_ratios: v.array(number) });
export type BaselineNight = v.InferOutput<typeof BASELINE_NIGHT>;

/** What was measured of one experiment. */
export const BASELINE_ENTRY = v.strictObject({
  experiment: field(text, "which one"),
  reference: field(text, "next to which it was measured"),
  connections: field(number, "how many each of the two held"),
  kind: field(HOST_KIND, "`cpu`, `cores`, `kernel` (major and minor number) and `io_uring`"),
  digests: field(
    DIGESTS,
    "of what the ratios depend on besides the candidate: `reference` its source, `generator` lib/load, `load` the plan",
  ),
  nights: field(
    v.array(BASELINE_NIGHT),
    "the nights that it was measured in: `time`, `deno` and `v8` then, and `log_ratios`, for each valid round the logarithm " +
      "of candidate / reference; what differs between nights is in them",
  ),
});
export type BaselineEntry = v.InferOutput<typeof BASELINE_ENTRY>;

const BASELINE_FILE = v.strictObject({ schema: v.literal(BASELINE_SCHEMA), entries: v.array(BASELINE_ENTRY) });

/** The day of a time, in UTC. */
export const dayOf = (time: string): string => time.slice(0, "2025-01-31".length);

/**
 * What a verdict against so few nights does not know; null: they are enough. Two runs of one day are often of one boot: they
 * are one night.
 */
export function shortOf(nights: readonly Pick<BaselineNight, "time">[]): string | null {
  const days = new Set(nights.map(({ time }) => dayOf(time))).size;
  if (days === 0 || days >= BASELINE_NIGHTS) return null;
  const known = days === 1
    ? "what differs from night to night is not"
    : "little of what differs from night to night is";
  return `its baseline is of ${days} of ${BASELINE_NIGHTS} nights: ${known} in the interval`;
}

/** The kind of a machine. */
export const hostKind = ({ cpu, cores, kernel, io_uring }: HostFacts): HostKind => ({
  cpu,
  cores,
  kernel: /^\d+\.\d+/.exec(kernel)?.[0] ?? kernel,
  io_uring,
});

/** A kind in words. */
export const describeKind = ({ cpu, cores, kernel, io_uring }: HostKind): string =>
  `${cpu ?? "unknown CPU"}, ${cores} cores, kernel ${kernel}, io_uring ${io_uring ?? "unknown"}`;

/** Whether two machines are of one kind. */
export const isSameKind = (a: HostKind, b: HostKind): boolean => describeKind(a) === describeKind(b);

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
export type Wanted = Pick<BaselineEntry, "experiment" | "reference" | "connections" | "kind" | "digests">;

const isAbout = (entry: BaselineEntry, { experiment, reference, connections, kind }: Wanted) =>
  entry.experiment === experiment && entry.reference === reference && entry.connections === connections &&
  isSameKind(entry.kind, kind);
const isSameInstrument = (a: Digests, b: Digests) =>
  a.reference === b.reference && a.generator === b.generator && a.load === b.load;
const isFor = (entry: BaselineEntry, wanted: Wanted) =>
  isAbout(entry, wanted) && isSameInstrument(entry.digests, wanted.digests);

const NAMES: Record<keyof Digests, string> = { reference: "reference", generator: "load generator", load: "load" };

/** Finds the entry for a measurement, or says why there is none. */
export function findEntry(entries: readonly BaselineEntry[], wanted: Wanted): BaselineEntry | { missing: string } {
  const found = entries.find((entry) => isFor(entry, wanted));
  if (found !== undefined) return found;
  const old = entries.find((entry) => isAbout(entry, wanted));
  if (old !== undefined) {
    const changed = (Object.keys(old.digests) as (keyof Digests)[])
      .filter((name) => old.digests[name] !== wanted.digests[name]).map((name) => NAMES[name]);
    return { missing: `its baseline was measured with another ${changed.join(" and ")}` };
  }
  const others = entries.filter(({ experiment }) => experiment === wanted.experiment);
  const far = others.find(({ kind }) => !isSameKind(kind, wanted.kind));
  if (others.length === 0) return { missing: "there was no baseline of it yet" };
  if (far === undefined) return { missing: "its baseline has another reference or number of connections" };
  const kinds = `${describeKind(far.kind)}; this is ${describeKind(wanted.kind)}`;
  return { missing: `its baseline is of another kind of machine (${kinds})` };
}

/**
 * Adds nights: one for the same measurement joins those before, {@linkcode MAX_NIGHTS} at most; one with another reference,
 * generator or load takes the place of the old baseline. All others stay. Needs `--allow-read` and `--allow-write`.
 *
 * @param replaces Whether the nights before are dropped too: the baseline of these entries starts again.
 * @throws {DamagedBaseline} If the file that is there cannot be read; it is left as it is.
 * @throws {CannotStore} If it cannot be stored; the file is as it was.
 */
export async function updateBaseline(path: string, entries: readonly BaselineEntry[], replaces = false): Promise<void> {
  const stored = await readBaseline(path);
  const grown = entries.map((entry) => {
    const before = replaces ? [] : stored.find((each) => isFor(each, entry))?.nights ?? [];
    return { ...entry, nights: [...before, ...entry.nights].slice(-MAX_NIGHTS) };
  });
  const others = stored.filter((each) => !entries.some((entry) => isAbout(each, entry)));
  const all = [...others, ...grown].toSorted((a, b) => a.experiment < b.experiment ? -1 : 1);
  await store(path, `${JSON.stringify({ schema: BASELINE_SCHEMA, entries: all }, null, 1)}\n`);
}
