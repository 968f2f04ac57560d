/**
 * What is stored of one kind of machine, for those who draw conclusions from figures: figures of two machines are never
 * mixed.
 *
 * @module
 */
import { catalogue, type Experiment } from "../catalogue/catalogue.ts";
import { type HostFacts, hostFacts } from "../sampling/host.ts";
import { type PassedOver, readResults, type Result, type ScenarioName } from "./results.ts";
import { fileName, STUDIES } from "./durable_file.ts";
import { readStudies, type Study } from "./studies.ts";
import type { Kind } from "./rows.ts";
import { isWhole } from "./choose.ts";

/** The kinds of studies that tell of servers; a self-test tells of the judging. */
export type StoredKind = Exclude<Kind, "selftest">;

/** All that is stored of one kind of machine. Lists are in the order of time. */
export interface Stored {
  host: HostFacts;
  experiments: readonly Experiment[];
  results: readonly Result[];
  studies: { readonly [K in StoredKind]: readonly Study<K>[] };
}

/**
 * Whether figures of two hosts may stand side by side: the same system, processor and number of cores, and as much memory
 * to the GiB. Kernel and runtime may be newer; what that changed is for a comparison to tell.
 */
export function isSameMachine(a: HostFacts, b: HostFacts): boolean {
  const kind = ({ os, arch, cpu, cores, memory_bytes: memory }: HostFacts) =>
    JSON.stringify([os, arch, cpu, cores, Math.round(memory / 2 ** 30)]);
  return kind(a) === kind(b);
}

/**
 * Reads what is stored of machines like this one. Needs `--allow-read`, and what `hostFacts` needs.
 *
 * @param dir The folder of all results.
 * @returns It, and the files that are damaged or newer.
 */
export async function readStored(
  dir = "results",
  host: HostFacts = hostFacts(),
): Promise<{ stored: Stored; passedOver: PassedOver[] }> {
  const { results, passedOver } = await readResults(dir);
  const [readiness, comparison, crosscheck, probe] = [
    await readStudies("readiness", dir),
    await readStudies("comparison", dir),
    await readStudies("crosscheck", dir),
    await readStudies("probe", dir),
  ];
  const here = <T extends { host: HostFacts; time: string }>(all: readonly T[]) =>
    all.filter((of) => isSameMachine(of.host, host)).toSorted((a, b) => a.time < b.time ? -1 : 1);
  const studies = {
    readiness: here(readiness.studies),
    comparison: here(comparison.studies),
    crosscheck: here(crosscheck.studies),
    probe: here(probe.studies),
  };
  return {
    stored: { host, experiments: catalogue(), results: here(results), studies },
    passedOver: [readiness, comparison, crosscheck, probe].reduce((all, of) => [...all, ...of.passedOver], passedOver),
  };
}

/** Where a result is stored, from the top of the project, with slashes on every system: as JSON and links have it. */
export const resultPath = (result: Result): string => `results/${result.experiment}/${fileName(result)}`;
/** The same of a study. */
export const studyPath = <K extends Kind>(study: Study<K>): string =>
  `results/${STUDIES}/${study.kind}/${fileName(study)}`;

const hasFigures = ({ ended }: Result) => ended === "ok" || ended === "limited";

/** The whole runs of an experiment in a scenario that have figures, the oldest first. */
export const wholeRuns = ({ results }: Pick<Stored, "results">, experiment: string, scenario: ScenarioName): Result[] =>
  results.filter((of) => of.experiment === experiment && of.scenario === scenario && hasFigures(of) && isWhole(of));

/** The same of the quick runs; one that ended at a limit may have run out of its short time, and tells nothing. */
export const quickRuns = ({ results }: Pick<Stored, "results">, experiment: string, scenario: ScenarioName): Result[] =>
  results.filter((of) => of.experiment === experiment && of.scenario === scenario && of.ended === "ok" && !isWhole(of));
