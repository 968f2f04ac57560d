/**
 * Which of the stored studies a table or a chart shows.
 *
 * @module
 */
import { HEAVY_US } from "./ladder.ts";
import type { ComparisonRow, Study } from "./study.ts";

/** Of fewer rounds there is no interval of 98 %: a first look, and no figure to show. */
export const SHOWN_ROUNDS = 7;

/** The rows of one comparison at one number of connections, with the study they stand in. */
export interface Table {
  study: Study<"comparison">;
  rows: ComparisonRow[];
}

/**
 * What to show of all comparisons with a reference in a scenario: for each number of connections, the smallest first, those
 * of the study with the most candidates; of several the newest. One of few rounds is not shown, and of `mixed` none with
 * other heavy requests than `deno task exp` makes.
 */
export function widest(
  studies: readonly Study<"comparison">[],
  scenario: ComparisonRow["scenario"],
  reference: string,
): Table[] {
  const fits = (row: ComparisonRow) =>
    row.scenario === scenario && row.reference === reference && (row.heavy_us ?? HEAVY_US) === HEAVY_US;
  const tables = studies.flatMap((study) =>
    [...Map.groupBy(study.rows.filter(fits), (row) => row.connections).values()]
      .filter((rows) => rows.some((row) => row.rounds >= SHOWN_ROUNDS))
      .map((rows) => ({ study, rows, candidates: new Set(rows.map((row) => row.candidate)).size }))
  );
  const best = Map.groupBy(tables, ({ rows }) => rows[0]!.connections).values().map((of) =>
    of.toSorted((a, b) => b.candidates - a.candidates || b.study.time.localeCompare(a.study.time))[0]!
  );
  return [...best].toSorted((a, b) => a.rows[0]!.connections - b.rows[0]!.connections);
}

const SIZES = 4; // of a study of wait calls: fewer show no law

/** The newest study of wait calls that has enough sizes to show a law. */
export const newestLaw = (studies: readonly Study<"readiness">[]): Study<"readiness"> | undefined =>
  studies.findLast(({ rows }) => new Set(rows.map((row) => row.descriptors)).size >= SIZES);
