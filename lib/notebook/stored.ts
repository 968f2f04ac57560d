/**
 * Stored results for cells.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { readResults } from "../results/results.ts";
import { catalogue } from "../catalogue/catalogue.ts";
import { shown } from "../results/choose.ts";
import { readStudies } from "../results/studies.ts";
import { readStored, type Stored } from "../results/stored.ts";
import { hostFacts } from "../sampling/host.ts";

export const RESULTS = fileURLToPath(new URL("../../results", import.meta.url));

/** What is stored in results/: the newest whole runs of each experiment, and all studies. */
export async function stored() {
  const { results } = await readResults(RESULTS);
  const all = catalogue();
  return {
    all: shown(all, results),
    results,
    comparisons: (await readStudies("comparison", RESULTS)).studies,
    readiness: (await readStudies("readiness", RESULTS)).studies,
    family: (name: string): string => all.find((of) => of.name === name)?.family ?? "own",
  };
}

/** All that is stored of the machine that has measured last: who reads on another one sees what was found there. */
export async function readBook(dir: string = RESULTS): Promise<Stored> {
  const { results } = await readResults(dir);
  const last = results.toSorted((a, b) => a.time < b.time ? -1 : 1).at(-1);
  return (await readStored(dir, last?.host ?? hostFacts())).stored;
}
