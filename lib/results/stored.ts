/**
 * What is stored of one machine, and which machine a reader shows: this one where it has what is asked for, else the
 * reference.
 *
 * @module
 */
import { catalogue, type Experiment } from "../catalogue/catalogue.ts";
import { UsageError } from "../cli/errors.ts";
import { type HostFacts, hostFacts } from "../sampling/host.ts";
import { fileName, STUDIES } from "./durable_file.ts";
import { machineOf, machinesIn, referenceMachine } from "./machine.ts";
import { isUsualSetup } from "./schema.ts";
import { type PassedOver, readResults, type Result, type ScenarioName } from "./results.ts";
import { type Kind, KINDS, type Rows } from "./rows.ts";
import { readStudies, type Study } from "./studies.ts";
import { counted } from "../text/format.ts";

/**
 * All that is stored of one machine with the default cores and the default head: runs with others stay in their files, so that
 * no table, chart, claim or prediction mixes them in. Lists are in the order of time.
 */
export interface Stored {
  /** The name of its folder in results/. */
  machine: string;
  /** As in its newest result or study; this host, where nothing is stored. */
  host: HostFacts;
  experiments: readonly Experiment[];
  results: readonly Result[];
  studies: { readonly [K in Kind]: readonly Study<K>[] };
}

/** Whether a study was made with the default cores and head. */
const isUsualStudy = ({ rows }: { rows: readonly Rows[Kind][] }): boolean =>
  rows.every((row) => (!("reference" in row) && !("answered_per_s" in row)) || isUsualSetup(row));

const byTime = (a: { time: string }, b: { time: string }) => a.time < b.time ? -1 : a.time > b.time ? 1 : 0;

/**
 * Reads what is stored of a machine. Needs `--allow-read`, and what `hostFacts` needs.
 *
 * @param dir The folder of all results.
 * @param machine The name of its folder; default: this one.
 * @returns It, and the files that cannot be used.
 */
export async function readStored(
  dir = "results",
  machine: string = machineOf(hostFacts()),
): Promise<{ stored: Stored; passedOver: PassedOver[] }> {
  const { results: all, passedOver } = await readResults(dir, machine);
  const results = all.filter(({ parameters }) => isUsualSetup(parameters));
  const read = await Promise.all(KINDS.map((kind) => readStudies(kind, dir, machine)));
  const studies = Object.fromEntries(
    KINDS.map((kind, i) => [kind, read[i]!.studies.filter(isUsualStudy).toSorted(byTime)]),
  ) as unknown as Stored["studies"];
  const newest = [...results, ...Object.values(studies).flat()].toSorted(byTime).at(-1);
  return {
    stored: {
      machine,
      host: newest?.host ?? hostFacts(),
      experiments: catalogue(),
      results: results.toSorted(byTime),
      studies,
    },
    passedOver: [...passedOver, ...read.flatMap((of) => of.passedOver)],
  };
}

/** What a reader shows. */
export interface Choice {
  stored: Stored;
  passedOver: PassedOver[];
  /** Whose figures these are and why, in one line. */
  line: string;
}

/** How a reader chooses. */
export interface Choosing {
  dir?: string;
  /** What the user asked for by `--machine`. */
  machine?: string | undefined;
  /** What a machine has of what the reader shows, as keys such as `throughput of epoll`. */
  covers: (stored: Stored) => Iterable<string>;
  here?: string;
}

/** The results of a machine as keys, whatever came out: what cannot run there is known too. */
export function coverage({ results, studies }: Stored): Set<string> {
  const runs = results.filter(({ quick }) => !quick).map(({ experiment, scenario }) => `${scenario} of ${experiment}`);
  const made = KINDS.filter((kind) => studies[kind].some(({ quick }) => !quick)).map((kind) => `a study of ${kind}`);
  return new Set([...runs, ...made]);
}

const MISSING_SHOWN = 2;

/** What is missing, in words. */
function describeMissing(missing: readonly string[]): string {
  const shown = missing.slice(0, MISSING_SHOWN).join(", ");
  return missing.length > MISSING_SHOWN ? `${shown} and ${missing.length - MISSING_SHOWN} more` : shown;
}

/** So far ahead of this clock a time must be, in minutes, to show that the clock was set back. */
const AHEAD_MINUTES = 60;

/** What follows from files that bear a time in the future; empty if there are none. */
function describeFuture({ results, studies }: Stored): string {
  const limit = new Date(Date.now() + AHEAD_MINUTES * 60_000).toISOString();
  const ahead = [...results, ...Object.values(studies).flat()].filter(({ time }) => time > limit).length;
  if (ahead === 0) return "";
  const [bear, pass] = ahead === 1 ? ["bears", "passes"] : ["bear", "pass"];
  return ` The clock was set back: ${
    counted(ahead, "file")
  } of this machine ${bear} a time in the future and ${pass} for ` +
    "the newest until then.";
}

/**
 * Chooses the machine that a reader shows: the one that the user names; this one, if it has all that the reference has;
 * else the reference. Figures of two machines are never mixed.
 *
 * @throws {UsageError} If the user names a machine that has no folder.
 */
export async function chooseStored({ dir = "results", machine, covers, here }: Choosing): Promise<Choice> {
  if (machine !== undefined) {
    const all = await machinesIn(dir);
    if (!all.includes(machine)) {
      throw new UsageError(`--machine ${machine} has no results. There are: ${all.join(", ") || "none"}.`);
    }
    return { ...await readStored(dir, machine), line: `Figures of ${machine}, as asked.` };
  }
  const own = await readStored(dir, here ?? machineOf(hostFacts()));
  const reference = await referenceMachine(dir);
  const ours = { ...own, line: `Figures of this machine, ${own.stored.machine}.${describeFuture(own.stored)}` };
  if (reference === null || reference === own.stored.machine) return ours;
  const other = await readStored(dir, reference);
  const has = new Set(covers(own.stored));
  const missing = [...covers(other.stored)].filter((key) => !has.has(key));
  if (missing.length === 0) return ours;
  const why = has.size === 0
    ? "nothing of what they show is measured on this one yet"
    : `this one lacks ${describeMissing(missing)}`;
  return { ...other, line: `Figures of ${reference}, the reference machine: ${why}.` };
}

/** Where a result is stored, from the top of the project, with slashes on every system: as JSON and links have it. */
export const resultPath = (result: Result): string =>
  `results/${machineOf(result.host)}/${result.experiment}/${fileName(result)}`;
/** The same of a study. */
export const studyPath = <K extends Kind>(study: Study<K>): string =>
  `results/${machineOf(study.host)}/${STUDIES}/${study.kind}/${fileName(study)}`;

const hasFigures = ({ ended }: Result) => ended === "ok" || ended === "limited";

/** The full runs of an experiment in a scenario that have figures, the oldest first. */
export const fullRuns = ({ results }: Pick<Stored, "results">, experiment: string, scenario: ScenarioName): Result[] =>
  results.filter((run) => run.experiment === experiment && run.scenario === scenario && hasFigures(run) && !run.quick);

/** The same of the quick runs; one that ended at a limit may have run out of its short time, and shows nothing. */
export const quickRuns = ({ results }: Pick<Stored, "results">, experiment: string, scenario: ScenarioName): Result[] =>
  results.filter((run) =>
    run.experiment === experiment && run.scenario === scenario && run.ended === "ok" && run.quick
  );
