/**
 * Why there is no figure of a server.
 *
 * @module
 */
import { type Experiment, runsHere } from "../catalogue/catalogue.ts";
import type { Result } from "../results/results.ts";
import type { ComparisonRow } from "../results/rows.ts";
import { reasonOf } from "./comparison.ts";

/** What is stored, as far as it tells why there is no figure. */
export interface Told {
  results: readonly Result[];
  /** Rows of comparisons. */
  compared: readonly ComparisonRow[];
}

/** Why there is no figure of an experiment: what its last run or a comparison said, or what its header asks for. */
export function whyMissing(experiment: Experiment, { results, compared }: Told): string {
  const last = results.filter((of) => of.experiment === experiment.name).at(-1);
  if (last !== undefined && last.ended !== "ok") return `${last.ended}: ${last.reason}`;
  const excluded = compared.find(({ candidate, rounds, reason }) =>
    candidate === experiment.name && rounds === 0 && reason !== null
  );
  if (last === undefined && excluded !== undefined) return `skipped: ${reasonOf(excluded)}`;
  const host = results.at(-1)?.host;
  const here = host === undefined ? { runs: true as const } : runsHere(experiment, host);
  return here.runs ? NO_RUN : `skipped: ${here.reason}`;
}

/** What {@linkcode whyMissing} says of what could run, and was not. */
export const NO_RUN = "not measured: no whole run of it is stored";
