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
import { headOf, isUsualSetup, type Lab, type Setup } from "./schema.ts";
import { type PassedOver, readResults, type Result, type ScenarioName } from "./results.ts";
import { type Kind, KINDS, type Rows } from "./rows.ts";
import { readStudies, type Study } from "./studies.ts";
import { counted } from "../text/format.ts";

/**
 * All that is stored of one machine with the default cores and one head: runs with others stay in their files, so that no
 * table, chart, claim or prediction mixes them in. The head is the default one. Results that are older than it have their own:
 * they are read where they have more servers, and never beside newer ones of the same scenario. Lists are in the order of time.
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

/** A row of requests: it has a setup. */
type RowOfRequests = Extract<Rows[Kind], { reference: string } | { answered_per_s: unknown }>;
const isOfRequests = (row: Rows[Kind]): row is RowOfRequests => "reference" in row || "answered_per_s" in row;
const isBroadcast = (row: RowOfRequests) => "scenario" in row && row.scenario === "broadcast";

/** The same setup; where an older one has no head, with that which it had. */
function withHead<S extends Setup>(setup: S, lab: Pick<Lab, "load">): S {
  const head = headOf(setup, lab);
  return head === "client" ? setup : { ...setup, head };
}

const resultWithHead = (result: Result): Result =>
  result.scenario === "broadcast" ? result : { ...result, parameters: withHead(result.parameters, result.lab) };

const studyWithHead = <K extends Kind>(study: Study<K>): Study<K> => ({
  ...study,
  rows: study.rows.map((row: Rows[Kind]) =>
    isOfRequests(row) && !isBroadcast(row) ? withHead(row, study.lab) : row
  ) as Rows[K][],
});

/** Whether cores and head are the default ones, or what was the default before there were several heads. */
const wasUsual = (setup: Setup, { load }: Pick<Lab, "load">): boolean =>
  isUsualSetup(setup) || (load === null && setup.head === "minimal" && isUsualSetup({ ...setup, head: "client" }));

/** Whether a study was made with what was the default then. */
const wasUsualStudy = ({ rows, lab }: Study<Kind>): boolean =>
  rows.every((row) => !isOfRequests(row) || wasUsual(row, lab));

/** What can stand beside each other, if the head is the same. */
interface Grouped<T> {
  of: T;
  group: string;
  head: string;
  servers: readonly string[];
  quick: boolean;
}

/** Of each group those with one head: with that in full runs of more servers, of equals in runs of more, at last the default. */
function ofOneHead<T>(all: readonly Grouped<T>[]): T[] {
  return [...Map.groupBy(all, ({ group }) => group).values()].flatMap((same) => {
    const heads = [...Map.groupBy(same, ({ head }) => head)].map(([head, own]) => {
      const served = (some: readonly Grouped<T>[]) => new Set(some.flatMap(({ servers }) => servers)).size;
      return { own, rank: [served(own.filter(({ quick }) => !quick)), served(own), Number(head === "client")] };
    });
    const after = (a: number[], b: number[]) => b.map((value, i) => value - a[i]!).find((by) => by !== 0) ?? 0;
    return heads.toSorted((a, b) => after(a.rank, b.rank))[0]!.own.map(({ of }) => of);
  });
}

const groupedResult = (of: Result): Grouped<Result> => ({
  of,
  group: of.scenario,
  head: of.parameters.head ?? "client",
  servers: [of.experiment],
  quick: of.quick,
});

function groupedStudy<K extends Kind>(of: Study<K>): Grouped<Study<K>> {
  const rows = (of.rows as readonly Rows[Kind][]).filter(isOfRequests);
  const scenarios = rows.flatMap((row) => "scenario" in row ? [row.scenario] : []);
  return {
    of,
    group: [...new Set(scenarios)].sort().join(" "),
    head: rows[0]?.head ?? "client",
    servers: rows.map((row) => "candidate" in row ? row.candidate : row.server),
    quick: of.quick,
  };
}

const byTime = (a: { time: string }, b: { time: string }) => a.time < b.time ? -1 : a.time > b.time ? 1 : 0;

/**
 * Reads all that is stored of a machine, whatever its head and its cores. Needs `--allow-read`.
 *
 * @returns It, and the files that cannot be used.
 */
export async function readAll(
  dir: string,
  machine: string,
): Promise<Pick<Stored, "results" | "studies"> & { passedOver: PassedOver[] }> {
  const { results, passedOver } = await readResults(dir, machine);
  const read = await Promise.all(KINDS.map((kind) => readStudies(kind, dir, machine)));
  const studies = Object.fromEntries(
    KINDS.map((kind, i) => [kind, (read[i]!.studies as Study<Kind>[]).map(studyWithHead).toSorted(byTime)]),
  ) as unknown as Stored["studies"];
  return {
    results: results.map(resultWithHead).toSorted(byTime),
    studies,
    passedOver: [...passedOver, ...read.flatMap((of) => of.passedOver)],
  };
}

/**
 * Reads what is stored of a machine, as far as it can stand beside each other. Needs `--allow-read`, and what `hostFacts` needs.
 *
 * @param dir The folder of all results.
 * @param machine The name of its folder; default: this one.
 * @returns It, and the files that cannot be used.
 */
export async function readStored(
  dir = "results",
  machine: string = machineOf(hostFacts()),
): Promise<{ stored: Stored; passedOver: PassedOver[] }> {
  const all = await readAll(dir, machine);
  const usual = all.results.filter(({ parameters, lab }) => wasUsual(parameters, lab));
  const results = ofOneHead(usual.map(groupedResult)).toSorted(byTime);
  const studies = Object.fromEntries(KINDS.map((kind) => {
    const usual = (all.studies[kind] as readonly Study<Kind>[]).filter(wasUsualStudy);
    return [kind, ofOneHead(usual.map(groupedStudy)).toSorted(byTime)];
  })) as unknown as Stored["studies"];
  const newest = [...results, ...Object.values(studies).flat()].toSorted(byTime).at(-1);
  return {
    stored: { machine, host: newest?.host ?? hostFacts(), experiments: catalogue(), results, studies },
    passedOver: all.passedOver,
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

/** What follows from files with a time in the future; empty if there are none. */
function describeFuture({ results, studies }: Stored): string {
  const limit = new Date(Date.now() + AHEAD_MINUTES * 60_000).toISOString();
  const ahead = [...results, ...Object.values(studies).flat()].filter(({ time }) => time > limit).length;
  if (ahead === 0) return "";
  const [have, stand] = ahead === 1 ? ["has", "counts"] : ["have", "count"];
  return ` The clock was set back: ${
    counted(ahead, "file")
  } of this machine ${have} a time in the future and ${stand} as ` +
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
  const { results, studies } = own.stored;
  const hasQuick = [...results, ...Object.values(studies).flat()].some(({ quick }) => quick);
  const why = has.size === 0
    ? `nothing of what they show is measured${hasQuick ? " in full" : ""} on this one yet`
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
