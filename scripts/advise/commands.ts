/**
 * The commands that the advisor hands out: those that make its figures on this machine, and the one that checks its answer.
 *
 * @module
 */
import { type Choice, heavyOf, type Load } from "../../lib/advice/model.ts";
import { collect, isMixedKnown, uncounted } from "../../lib/advice/facts.ts";
import { runsHere } from "../../lib/catalogue/catalogue.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { EQUAL_RATE, HEAVY_SHARE, MEMORY_SHARE, MIXED, MIXED_FLAGS } from "../../lib/results/conventions.ts";
import { EXP_SECONDS, mixedSeconds, usualSeconds } from "../../lib/results/duration.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { counted } from "../../lib/text/format.ts";

/** What an answer needs at least: a loop, a loop with workers, a thread for each connection. */
const MAKERS = [MIXED.reference, "reactor-pool", "thread-per-conn"];

/**
 * Those of them that this system can run, and that may be part of the answer: what another machine shows to hold too few
 * connections would not change it.
 *
 * @param shown What is stored of that other machine; null: there is none.
 */
export function makersHere(
  { experiments }: Pick<Stored, "experiments">,
  { connections }: Pick<Load, "connections">,
  shown: Stored | null = null,
): string[] {
  const known = shown === null ? [] : collect(shown).known;
  const isOut = (name: string) => known.some((of) => of.name === name && of.limit !== null && of.reach < connections);
  return MAKERS.filter((name) => !isOut(name) && experiments.some((of) => of.name === name && runsHere(of).runs));
}

/** What a machine lacks of a server, by what a load asks for. What cannot run there is not lacking. */
function lacksOf(stored: Stored, names: readonly string[], load: Load) {
  const known = new Set(collect(stored).known.map(({ name }) => name));
  const cannotRun = (name: string) =>
    stored.results.some(({ experiment, ended }) => experiment === name && ended === "skipped");
  return names.filter((name) => known.has(name) || !cannotRun(name)).map((name) => ({
    name,
    figures: !known.has(name),
    waits: heavyOf(load) > 0 && !isMixedKnown(stored, name),
  }));
}

/** What a machine has of what the answer to a load needs at least, as keys; where none of that can run here, of all. */
export function coverage(stored: Stored, load: Load, shown: Stored | null = null): string[] {
  const { known } = collect(stored);
  const makers = makersHere(stored, load, shown);
  const names = makers.length === 0 ? known.map(({ name }) => name) : makers;
  const lacks = lacksOf(stored, names, load);
  const hasAll = (name: string, what: "figures" | "waits") => !lacks.some((of) => of.name === name && of[what]);
  return names.flatMap((name) => [
    ...(hasAll(name, "figures") ? [`figures of ${name}`] : []),
    ...(heavyOf(load) > 0 && hasAll(name, "waits") ? [`waits in ${name}`] : []),
  ]);
}

/** Commands, and how long they take at most. */
export interface Commands {
  lines: string[];
  seconds: number;
}

/** The commands that make what this machine lacks. */
export function makersOf(stored: Stored, load: Load, shown: Stored | null = null): Commands {
  const lacks = lacksOf(stored, makersHere(stored, load, shown), load);
  const { unknown } = collect(stored);
  const runs = lacks.filter(({ figures }) => figures)
    .map(({ name }) => unknown.find((of) => of.name === name)?.command ?? taskLine("exp", [name]));
  const names = lacks.map(({ name }) => name);
  const isMixed = names.length > 1 && lacks.some(({ waits }) => waits);
  return {
    lines: [...runs, ...(isMixed ? [`${taskLine("compare", names)} ${MIXED_FLAGS}`] : [])],
    seconds: runs.length * EXP_SECONDS + (isMixed ? mixedSeconds(names.length - 1) : 0),
  };
}

/** What is stored of this machine and has no weight in the answer, in a sentence; none: all of it has. */
export function describeUncounted(own: Stored): string[] {
  const { quick, disturbed } = uncounted(own);
  const parts = [
    ...(quick > 0 ? [counted(quick, "quick result")] : []),
    ...(disturbed > 0 ? [`${counted(disturbed, "result")} that others disturbed`] : []),
  ];
  if (parts.length === 0) return [];
  const [are, do_] = quick + disturbed === 1 ? ["is", "does"] : ["are", "do"];
  return [`Of this machine ${parts.join(" and ")} ${are} stored, which ${do_} not count for an answer.`];
}

/** One of a hundred requests waits for its answer longer than the p99. */
const ABOVE_P99 = 0.01;
/** Heavy requests must keep a loop busy for so many times that, or the p99 may lie among the requests that met none. */
const CLEARLY = 2;

/** The share of the time for which heavy requests keep one loop busy, at the rate at which waits are measured. */
export const busyShare = (cpuUs: number): number => MIXED.ratePerS * HEAVY_SHARE * cpuUs / 1e6;

/** Whether the p99 of light requests hardly sees heavy ones of this size. */
export const isHardlySeen = (cpuUs: number): boolean => cpuUs > 0 && busyShare(cpuUs) < CLEARLY * ABOVE_P99;

/** A rate at which heavy requests of this size keep a loop as busy as those of the largest size do at the usual one. */
const ratePerS = (cpuUs: number): number =>
  Math.min(EQUAL_RATE, Math.max(MIXED.ratePerS, Math.round(MIXED.ratePerS * MIXED.sizesUs.at(-1)! / cpuUs)));

/** A comparison that checks the answer. */
export interface Check {
  command: string;
  /** How long it takes at most. */
  seconds: number;
  /** Requests/s that stand for those of the user; null: as fast as they answer. */
  ratePerS: number | null;
}

/** What a comparison of so many connections takes: the server, and as much of the kernel for the clients' ends. */
const bytesOf = ({ memory }: Pick<Choice, "memory">) => memory === null ? 0 : memory.total + (memory.kernel ?? 0);

/**
 * The comparison of the best with the runner-up under the load; null: there is none, or this machine cannot hold it.
 *
 * @param memoryBytes The memory of this machine.
 */
export function checkOf(
  [best, second]: readonly Pick<Choice, "name" | "memory">[],
  load: Load,
  memoryBytes = Infinity,
): Check | null {
  if (best === undefined || second === undefined) return null;
  if (Math.max(bytesOf(best), bytesOf(second)) > memoryBytes * MEMORY_SHARE) return null;
  const { connections, idlePercent } = load;
  const cpuUs = heavyOf(load);
  const scenario = cpuUs > 0 ? "mixed" : idlePercent > 0 ? "rate" : "throughput";
  const rate = scenario === "mixed" ? ratePerS(cpuUs) : scenario === "rate" ? MIXED.ratePerS : null;
  const flags = [
    ...(rate === null ? [] : ["--scenario", scenario, "--rate", String(rate)]),
    ...(scenario === "mixed" ? ["--work", String(Math.max(1, Math.round(cpuUs)))] : []),
    ...["--connections", String(connections)],
  ];
  return {
    command: taskLine("compare", [second.name, best.name, ...flags]),
    seconds: usualSeconds(scenario, connections),
    ratePerS: rate,
  };
}
