/**
 * Reads a comparison the way a table shows it: all rows of one candidate side by side.
 *
 * @module
 */
import { bytes, count, microseconds, MISSING } from "./format.ts";
import type { ComparisonRow } from "./study.ts";

type Rows = readonly ComparisonRow[];

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
const clientBound = ({ candidate, findings }: ComparisonRow) => findings.includes(`${candidate}: client_bound`);

/** A candidate's own figures. Nothing where the comparison has no such row. */
export const figure = {
  heading: (metric: string): string => SHOWN[metric]![0],
  of: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined) return "";
    const bound = row.candidate_value !== null && clientBound(row); // the server may be able to do more
    const sign = !bound ? "" : metric === "requests_per_s" ? "≥ " : metric === "p99_us" ? "≤ " : "";
    return sign + SHOWN[metric]![1](row.candidate_value);
  },
};

/** A candidate's ratios to the reference. */
export const ratio = {
  withInterval: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined) return "";
    if (row.ratio === null) return row.candidate === row.reference ? "1" : MISSING;
    return `${row.ratio.toFixed(3)} [${row.ratio_low!.toFixed(3)}, ${row.ratio_high!.toFixed(3)}]`;
  },
  alone: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined || row.candidate === row.reference) return "";
    return row.ratio === null ? MISSING : `× ${count(row.ratio, 2)}`;
  },
};

/** Rows of the reference itself, as beside the first candidate that could be compared; none if none could. */
export function ofReference(rows: Rows): ComparisonRow[] {
  const name = rows.find(({ rounds }) => rounds > 0)?.candidate;
  return rows.filter(({ candidate }) => candidate === name).map((row) => ({
    ...row,
    candidate: row.reference,
    candidate_value: row.reference_value,
    ...{ ratio: null, ratio_low: null, ratio_high: null, reason: null },
  }));
}

/** Why a candidate took part in fewer rounds than the others, and what weakens its figures: a line each. */
export function ended(rows: Rows): string[] {
  const [first] = rows;
  if (first === undefined) return [];
  const reason = first.reason === null
    ? []
    : [`  ${first.candidate}: out after ${first.rounds} rounds: ${first.reason}`];
  return [...reason, ...(first.findings.length > 0 ? [`  ${first.candidate}: ${first.findings.join("; ")}`] : [])];
}
