/**
 * Columns of the studies of wait calls and of load generators.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { DISTURBED, isDisturbedCall } from "../results/findings.ts";
import type { CrosscheckRow, ReadinessRow } from "../results/rows.ts";
import type { Column } from "../text/table.ts";

export const interval = (value: number, low: number, high: number) =>
  `${count(value, 2)} [${count(low, 2)}, ${count(high, 2)}]`;

/** Cost relative to the next smaller size; nothing at the first. */
export function growth(rows: readonly ReadinessRow[], { call, descriptors, wait_us }: ReadinessRow): string {
  const smaller = rows.filter((row) => row.call === call && row.descriptors < descriptors).at(-1);
  return smaller === undefined ? "" : `× ${count(wait_us / smaller.wait_us, 2)}`;
}

/** What weakens a study of wait calls, in a sentence; null: nothing. */
export function disturbedCalls(rows: readonly ReadinessRow[]): string | null {
  const sizes = [...new Set(rows.filter(isDisturbedCall).map(({ descriptors }) => descriptors))];
  if (sizes.length === 0) return null;
  const most = Math.max(...rows.map(({ foreign_share: share = 0 }) => share));
  return `Inconclusive at ${sizes.map((size) => count(size)).join(", ")} descriptors: ${DISTURBED}, up to ` +
    `${count(100 * most)} % of its CPU time. Measure again on a quiet machine.`;
}

/** The columns of a study of wait calls. */
export const readinessColumns = (rows: readonly ReadinessRow[]): Column<ReadinessRow>[] => [
  { heading: "call", cell: (row) => row.call, left: true },
  { heading: "descriptors", cell: (row) => count(row.descriptors), isKey: true },
  { heading: "CPU-µs of the call\n[98 %]", cell: (row) => interval(row.wait_us, row.wait_us_low, row.wait_us_high) },
  { heading: "against the\nsize before", cell: (row) => growth(rows, row) },
  {
    heading: "CPU-µs including the scan for ready descriptors\n[98 %]",
    cell: (row) => interval(row.turn_us, row.turn_us_low, row.turn_us_high),
  },
];

/** The columns of a cross-check. */
export const CROSSCHECK_COLUMNS: Column<CrosscheckRow>[] = [
  { heading: "round", cell: (of) => count(of.round) },
  { heading: "client", cell: (of) => of.client, left: true },
  { heading: "requests/s", cell: (of) => count(of.requests_per_s) },
  { heading: "client CPU-µs\n/request", cell: (of) => count(of.client_cpu_us_per_request, 2) },
  { heading: "mean µs", cell: (of) => count(of.mean_us) },
  { heading: "p99 µs", cell: (of) => count(of.p99_us) },
  { heading: "answers that\nthe client counted", cell: (of) => count(of.answered) },
  { heading: "the server\ncounted", cell: (of) => count(of.served) },
];
