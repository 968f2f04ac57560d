/**
 * Stored results for cells: those of this machine where it has all that the lessons show, else those of the reference.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { shown } from "../results/choose.ts";
import { type Choice, chooseStored, coverage, type Stored } from "../results/stored.ts";
import { showText } from "./show.ts";

/** The folder of all results. */
export const RESULTS: string = fileURLToPath(new URL("../../results", import.meta.url));

let chosen: Promise<Choice> | null = null;

/** All that is stored of the machine that the lessons show. The first call of a notebook shows which one that is. */
export async function readBook(dir: string = RESULTS): Promise<Stored> {
  if (dir !== RESULTS) return (await chooseStored({ dir, covers: coverage })).stored;
  const isFirst = chosen === null;
  chosen ??= chooseStored({ dir, covers: coverage });
  const { stored, line } = await chosen;
  if (isFirst) await showText(`*${line}*`);
  return stored;
}

/** What the charts and tables of the lessons take: the newest full runs of each experiment, and the studies. */
export async function stored() {
  const book = await readBook();
  const { experiments, results, studies } = book;
  return {
    all: shown(experiments, results),
    results,
    comparisons: studies.comparison,
    readiness: studies.readiness,
    family: (name: string): string => experiments.find((experiment) => experiment.name === name)?.family ?? "custom",
  };
}
