/**
 * Stored results for cells: those of this machine where it has all that the lessons show, else those of the reference.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { shown } from "../results/choose.ts";
import { type Choice, chooseStored, coverage, type Stored } from "../results/stored.ts";
import type { ScenarioName } from "../results/results.ts";
import type { Kind } from "../results/rows.ts";
import { showText } from "./show.ts";

/** The folder of all results. */
export const RESULTS: string = fileURLToPath(new URL("../../results", import.meta.url));

/** A scenario, or a kind of studies. */
type Part = ScenarioName | Kind;

const chosen = new Map<Part | undefined, Promise<Choice>>();

/** What a machine has of one part; without one, of all. */
const covering = (part?: Part) => (of: Stored): Set<string> => {
  const isWanted = (key: string) => key.startsWith(`${part} of `) || key === `a study of ${part}`;
  return part === undefined ? coverage(of) : new Set([...coverage(of)].filter(isWanted));
};

/**
 * All that is stored of the machine that the lessons show. The first call of a notebook shows which one that is.
 *
 * @param part A lesson shows this one alone: then a machine that has it is enough.
 */
export async function readBook(dir: string = RESULTS, part?: Part): Promise<Stored> {
  const covers = covering(part);
  if (dir !== RESULTS) return (await chooseStored({ dir, covers })).stored;
  const isFirst = !chosen.has(part);
  const choice = chosen.get(part) ?? chooseStored({ dir, covers });
  chosen.set(part, choice);
  const { stored, line } = await choice;
  if (isFirst) await showText(`*${line}*`);
  return stored;
}

/**
 * What the charts and tables of the lessons take: the newest full runs of each experiment, and the studies.
 *
 * @param part As of {@linkcode readBook}.
 */
export async function stored(part?: Part) {
  const book = await readBook(RESULTS, part);
  const { experiments, results, studies } = book;
  return {
    all: shown(experiments, results),
    results,
    comparisons: studies.comparison,
    readiness: studies.readiness,
    family: (name: string): string => experiments.find((experiment) => experiment.name === name)?.family ?? "custom",
  };
}
