/**
 * Reads a comparison the way a table shows it: all rows of one candidate side by side.
 *
 * @module
 */
import { bytes, count, microseconds, MISSING } from "./format.ts";
import type { ComparisonRow } from "./study.ts";

/** A row as it is shown: the first ones are those of the reference itself. */
export type ShownRow = ComparisonRow & { isReference?: true };
type Rows = readonly ShownRow[];

/** How a figure is called and written. */
const SHOWN: Record<string, [heading: string, write: (value: number | null) => string]> = {
  cpu_us_per_request: ["CPU-µs\n/request", (value) => count(value, 2)],
  requests_per_s: ["requests/s", (value) => count(value)],
  p99_us: ["p99", microseconds],
  connects_per_s: ["connects/s", (value) => count(value)],
  user_bytes_per_conn: ["user memory\n/connection", bytes],
  kernel_bytes_per_conn: ["kernel memory\n/connection", bytes],
  pss_bytes: ["memory (PSS)", bytes],
  threads: ["threads", (value) => count(value)],
};

const find = (rows: Rows, metric: string) => rows.find((row) => row.metric === metric);
const isBound = (name: string, { findings }: ComparisonRow) => findings.includes(`${name}: client_bound`);
/** What the load generator limits: a figure is a bound then, and the ratio of bounds is nothing. */
const LIMITED = ["requests_per_s", "p99_us"];
/** Whether the ratio of a row says nothing. */
export const isVoid = (row: ComparisonRow): boolean =>
  LIMITED.includes(row.metric) && (isBound(row.candidate, row) || isBound(row.reference, row));

/** A candidate's own figures. Nothing where the comparison has no such row. */
export const figure = {
  heading: (metric: string): string => SHOWN[metric]![0],
  of: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined) return "";
    const bound = row.candidate_value !== null && isBound(row.candidate, row); // the server may be able to do more
    const sign = !bound ? "" : metric === "requests_per_s" ? "≥ " : metric === "p99_us" ? "≤ " : "";
    return sign + SHOWN[metric]![1](row.candidate_value);
  },
};

/** A candidate's ratios to the reference. */
export const ratio = {
  withInterval: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined) return "";
    if (row.isReference) return "1";
    if (row.ratio === null || isVoid(row)) return MISSING;
    const { ratio, ratio_low: low, ratio_high: high } = row; // no bounds: too few rounds for an interval
    return low === null || high === null
      ? ratio.toFixed(3)
      : `${ratio.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
  },
  alone: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined || row.isReference) return "";
    return row.ratio === null ? MISSING : `× ${count(row.ratio, 2)}`;
  },
};

/** Rows of the reference itself, as beside the first candidate that could be compared; none if none could. */
export function ofReference(rows: readonly ComparisonRow[]): ShownRow[] {
  const name = rows.find(({ rounds }) => rounds > 0)?.candidate;
  return rows.filter(({ candidate }) => candidate === name).map((row) => ({
    ...row,
    candidate: row.reference,
    candidate_value: row.reference_value,
    isReference: true,
    ...{ ratio: null, ratio_low: null, ratio_high: null, reason: null },
  }));
}

const listed = (names: readonly string[]) => names.join(", ");

/** Who took part in fewer rounds than the others, and why; and what weakens which figures: a line each. */
export function notes(groups: readonly Rows[]): string[] {
  const first = groups.map((rows) => rows[0]!);
  const out = first.filter(({ reason }) => reason !== null);
  const found = first.flatMap(({ candidate, findings }) => findings.map((finding) => ({ candidate, finding })));
  return [
    ...out.map(({ candidate, rounds, reason }) => `  ${candidate}: out after ${rounds} rounds: ${reason}`),
    ...[...Map.groupBy(found, ({ finding }) => finding.split(": ").at(-1)!)].map(([id, of]) => {
      const own = of.filter(({ candidate, finding }) => finding.startsWith(`${candidate}: `));
      const beside = of.filter(({ candidate, finding }) => !finding.startsWith(`${candidate}: `));
      const reference = beside[0]?.finding.split(": ")[0];
      return `  ${id}: ${listed(own.map(({ candidate }) => candidate))}` +
        (beside.length === 0 ? "" : `${own.length > 0 ? "; " : ""}${reference} beside ` +
          (beside.length === groups.length ? "each" : listed(beside.map(({ candidate }) => candidate))));
    }),
  ];
}
