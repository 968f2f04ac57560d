/**
 * Nights that decide nothing, one after the other: each of them alone is no failure, and all together nobody watches.
 *
 * @module
 */
import { dayOf } from "../../lib/regress/baseline.ts";
import type { RegressionRecord, Undecided } from "../../lib/regress/record.ts";

/** From so many nights in a row on it is said. */
export const UNDECIDED_NIGHTS = 3;

/** On how many days in a row an experiment was inconclusive, up to the newest of these runs. A new baseline begins again. */
function nightsInRow(experiment: string, newestFirst: readonly RegressionRecord[]): number {
  const days = new Set<string>();
  for (const { time, new_baseline, experiments } of newestFirst) {
    const row = experiments.find((each) => each.experiment === experiment);
    if (row === undefined) continue;
    if (new_baseline || row.verdict !== "inconclusive") break;
    days.add(dayOf(time));
  }
  return days.size;
}

/**
 * A night, with the experiments about which nothing was decided for several nights in a row, on whatever machine.
 *
 * @param history The runs of all machines, in any order, with or without this night.
 */
export function withUndecided(record: RegressionRecord, history: readonly RegressionRecord[]): RegressionRecord {
  const newestFirst = [...history, record].toSorted((a, b) => a.time < b.time ? 1 : a.time > b.time ? -1 : 0);
  const undecided = record.experiments.map(({ experiment }): Undecided => ({
    experiment,
    nights: nightsInRow(experiment, newestFirst),
  })).filter(({ nights }) => nights >= UNDECIDED_NIGHTS);
  return undecided.length === 0 ? record : { ...record, undecided };
}
