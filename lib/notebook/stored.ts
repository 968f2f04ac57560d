/**
 * Stored results for cells: those of this machine where it has all that the lessons show, else those of the reference.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { shown } from "../results/choose.ts";
import { type Choice, chooseStored, coverage, type Stored } from "../results/stored.ts";
import type { ScenarioName } from "../results/results.ts";
import { showText } from "./show.ts";

/** The folder of all results. */
export const RESULTS: string = fileURLToPath(new URL("../../results", import.meta.url));

const chosen = new Map<ScenarioName | undefined, Promise<Choice>>();

/** What a machine has of one scenario; without one, of all. */
const covering = (scenario?: ScenarioName) => (of: Stored): Set<string> =>
  scenario === undefined ? coverage(of) : new Set([...coverage(of)].filter((key) => key.startsWith(`${scenario} of `)));

/**
 * All that is stored of the machine that the lessons show. The first call of a notebook shows which one that is.
 *
 * @param scenario A lesson shows this one alone: then a machine that has it is enough.
 */
export async function readBook(dir: string = RESULTS, scenario?: ScenarioName): Promise<Stored> {
  const covers = covering(scenario);
  if (dir !== RESULTS) return (await chooseStored({ dir, covers })).stored;
  const isFirst = !chosen.has(scenario);
  const choice = chosen.get(scenario) ?? chooseStored({ dir, covers });
  chosen.set(scenario, choice);
  const { stored, line } = await choice;
  if (isFirst) await showText(`*${line}*`);
  return stored;
}

/**
 * What the charts and tables of the lessons take: the newest full runs of each experiment, and the studies.
 *
 * @param scenario As of {@linkcode readBook}.
 */
export async function stored(scenario?: ScenarioName) {
  const book = await readBook(RESULTS, scenario);
  const { experiments, results, studies } = book;
  return {
    all: shown(experiments, results),
    results,
    comparisons: studies.comparison,
    readiness: studies.readiness,
    family: (name: string): string => experiments.find((experiment) => experiment.name === name)?.family ?? "custom",
  };
}
