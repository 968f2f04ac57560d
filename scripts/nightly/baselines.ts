/**
 * What a night does to the baseline: it makes one where there is none, and extends one that is still short.
 *
 * @module
 */
import { EXIT } from "../../lib/cli/exit.ts";
import { BASELINE_NIGHTS, dayOf } from "../../lib/regress/baseline.ts";
import type { RegressionRecord, RegressionRow } from "../../lib/regress/record.ts";

/** What happens to the baseline of one experiment. */
export interface BaselineStep {
  experiment: string;
  /** `make`: its rounds of this night begin one; `extend`: they join it as another night; `leave`: it stays as it is. */
  step: "make" | "extend" | "leave";
  /** Why it stays, where a user may want to act; null: there is nothing to do. */
  reason: string | null;
}

/** What there is to decide by. */
export interface BaselineEvidence {
  /** This night. */
  record: RegressionRecord;
  /** When the nights of each baseline on this kind of machine were measured; none: there is no baseline. */
  nights: ReadonlyMap<string, readonly string[]>;
  /** The runs of all machines whose results are here, in any order. */
  history: readonly RegressionRecord[];
}

/** An experiment whose newest verdict is bad. */
export interface Held {
  experiment: string;
  verdict: "slower" | "broken";
  time: string;
}

const isBad = (row: RegressionRow): row is RegressionRow & Pick<Held, "verdict"> =>
  row.verdict === "slower" || row.verdict === "broken";

/**
 * The experiments whose newest verdict is bad, on whatever machine. A run without a verdict changes nothing; a baseline that
 * somebody has updated since accepts what was found. One that broke before it was ever judged is not held: there was nothing
 * that it could have been slower than.
 */
export function heldExperiments(history: readonly RegressionRecord[]): Held[] {
  const held = new Map<string, Held>();
  const hasBaseline = new Set<string>();
  for (const record of history.toSorted((a, b) => a.time < b.time ? -1 : a.time > b.time ? 1 : 0)) {
    for (const row of record.experiments) {
      const { experiment } = row;
      const isAccepted = record.new_baseline && record.exit === EXIT.ok && row.verdict !== "skipped";
      if (isAccepted || row.change !== null) hasBaseline.add(experiment);
      if (isAccepted || row.verdict === "not_slower") held.delete(experiment);
      else if (isBad(row) && hasBaseline.has(experiment)) {
        held.set(experiment, { experiment, verdict: row.verdict, time: record.time });
      }
    }
  }
  return [...held.values()];
}

/**
 * Decides what happens to each baseline. Rounds that show a regression, or follow one, would be the measure for all later
 * nights: while the newest verdict on an experiment of this run is bad, no baseline is made and none extended.
 */
export function decideBaselines({ record, nights, history }: BaselineEvidence): BaselineStep[] {
  const names = record.experiments.map(({ experiment }) => experiment);
  const [held] = heldExperiments([...history, record]).filter(({ experiment }) => names.includes(experiment));
  return record.experiments.map(({ experiment, verdict }): BaselineStep => {
    const known = nights.get(experiment) ?? [];
    const leave = (reason: string | null): BaselineStep => ({ experiment, step: "leave", reason });
    if (record.new_baseline || verdict === "skipped" || verdict === "broken") return leave(null);
    if (known.length >= BASELINE_NIGHTS) return leave(null);
    if (held !== undefined) return leave(known.length > 0 ? null : reasonOf(experiment, held));
    if (known.length === 0) return { experiment, step: "make", reason: null };
    // Two runs of one day are often of one boot, and do not show what differs from night to night.
    const isNewDay = known.every((time) => dayOf(time) !== dayOf(record.time));
    return verdict === "not_slower" && isNewDay ? { experiment, step: "extend", reason: null } : leave(null);
  });
}

const reasonOf = (experiment: string, held: Held): string =>
  `${experiment} gets no baseline here: ${held.experiment} was ${held.verdict} on ${dayOf(held.time)}, ` +
  `and is not shown to be not slower since. To accept it: deno task nightly --new-baseline.`;
