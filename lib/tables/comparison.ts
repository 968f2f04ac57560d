/**
 * Reads a comparison the way a table shows it: all rows of one candidate side by side.
 *
 * @module
 */
import { boundOf, DISTURBED, idsOf, isDisturbed, isSpoilt } from "../results/findings.ts";
import { MIN_ROUNDS } from "../results/conventions.ts";
import { bytes, count, counted, microseconds, MISSING } from "../text/format.ts";
import { signOf } from "./runs.ts";
import type { ComparisonRow } from "../results/rows.ts";
import { type Column, markdown } from "../text/table.ts";
import { type Table, userMemoryOf } from "../results/choose.ts";
import { machines } from "./overview.ts";

/** A row as it is shown: the first ones are those of the reference itself. */
export type ShownRow = ComparisonRow & { isReference?: true };
type Rows = readonly ShownRow[];

/** How a figure is called and written. */
const SHOWN: Record<string, [heading: string, write: (value: number | null) => string]> = {
  core_us_per_request: ["core-µs\n/request", (value) => count(value, 2)],
  cpu_us_per_request: ["CPU-µs\n/request", (value) => count(value, 2)],
  cpu_us_per_delivery: ["CPU-µs\n/delivery", (value) => count(value, 2)],
  last_p50_us: ["last\nlistener", microseconds],
  requests_per_s: ["requests/s", (value) => count(value)],
  p99_us: ["p99", microseconds],
  connects_per_s: ["connects/s", (value) => count(value)],
  user_bytes_per_conn: ["user memory\n/connection", bytes],
  kernel_bytes_per_conn: ["kernel memory\n/connection", bytes],
  pss_bytes: ["memory (PSS)", bytes],
  threads: ["threads", (value) => count(value)],
};

const find = (rows: Rows, metric: string) => rows.find((row) => row.metric === metric);
/** What the figure of one of the two is where findings weaken it; null: a figure. */
export const boundIn = (row: ComparisonRow, name: string): "at least" | "at most" | null =>
  boundOf(row.metric, idsOf(row.findings, name));
const MEMORY = "user_bytes_per_conn";
/** A candidate's own figure, with its bound: memory within the variation of a heap is an upper one. */
export function ownIn(row: ComparisonRow): { value: number | null; bound: "at least" | "at most" | null } {
  const { metric, candidate, candidate_value: value, connections } = row;
  if (metric === MEMORY) return userMemoryOf({ user_bytes_per_conn: value, connections });
  return { value, bound: value === null ? null : boundIn(row, candidate) };
}
/** Whether the memory of the reference is within that variation: a ratio to it would divide by noise. */
export const isOfNoise = ({ metric, reference_value, connections }: ComparisonRow): boolean =>
  metric === MEMORY && userMemoryOf({ user_bytes_per_conn: reference_value, connections }).bound !== null;
/** Whether a ratio is inconclusive, because others used the machine in too many rounds. */
export const isInconclusive = (row: ComparisonRow): boolean =>
  row.rounds > 0 &&
  isDisturbed(row.metric, row.findings.filter(({ server }) => server === row.candidate || server === row.reference));
/** Whether the ratio of a row says nothing: one of the two is a bound, or others used the machine. */
export const isVoid = (row: ComparisonRow): boolean =>
  boundIn(row, row.candidate) !== null || boundIn(row, row.reference) !== null || isInconclusive(row);

/** Whether a ratio has no interval because of too few rounds: it is a hint. */
const isHint = ({ ratio, ratio_low, ratio_high }: ComparisonRow): boolean =>
  ratio !== null && (ratio_low === null || ratio_high === null);

/** Whether the load limited one of the two, or they shared a core: not even a hint comes from that. */
function isLimited(row: ComparisonRow): boolean {
  const own = { ...row, findings: row.findings.filter((found) => !isSpoilt([found])) };
  return boundIn(own, row.candidate) !== null || boundIn(own, row.reference) !== null;
}

/** Why a candidate has no figure, without its name, which stands beside it. Null: none is known. */
export const reasonOf = ({ candidate, reason }: ComparisonRow): string | null =>
  reason === null ? null : reason.startsWith(`${candidate}: `) ? reason.slice(candidate.length + 2) : reason;

/** Why a row has no ratio that says something, in a few words. */
export function whyNoRatio(row: ComparisonRow): string {
  if (row.ratio === null) return reasonOf(row) ?? "no figure in every round";
  if (isInconclusive(row)) return DISTURBED;
  const isShared = row.findings.some(({ id }) => id === "shared_core");
  return isShared ? "server and load generator shared a core" : "the load generator was the limit";
}

/** A candidate's own figures. Nothing where the comparison has no such row. */
export const figure = {
  heading: (metric: string): string => SHOWN[metric]![0],
  of: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined) return "";
    const { value, bound } = ownIn(row);
    return signOf(bound) + SHOWN[metric]![1](value);
  },
};

/** A candidate's ratios to the reference. */
export const ratio = {
  withInterval: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined) return "";
    if (row.isReference) return "1";
    if (isHint(row)) return isLimited(row) || isOfNoise(row) ? MISSING : `~ ${row.ratio!.toFixed(3)}`;
    if (row.ratio === null || isVoid(row) || isOfNoise(row)) return MISSING;
    return `${row.ratio.toFixed(3)} [${row.ratio_low!.toFixed(3)}, ${row.ratio_high!.toFixed(3)}]`;
  },
  alone: (metric: string) => (rows: Rows): string => {
    const row = find(rows, metric);
    if (row === undefined || row.isReference) return "";
    return row.ratio === null || isOfNoise(row) ? MISSING : `× ${count(row.ratio, 2)}`;
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
    ratio: null,
    ratio_low: null,
    ratio_high: null,
    reason: null,
  }));
}

/** Why a comparison of so few rounds that it has no interval anyway is inconclusive. */
const TOO_FEW = "too few undisturbed rounds";

/** Which servers took part in fewer rounds than the others, and why; and what weakens which figures: a line each. */
export function notes(groups: readonly Rows[]): string[] {
  const first = groups.map((rows) => rows[0]!);
  const out = first.filter(({ reason }) => reason !== null);
  const few = Math.max(0, ...first.filter(({ reason }) => reason === null).map(({ rounds }) => rounds));
  const found = first.flatMap(({ candidate, findings }) => findings.map((finding) => ({ candidate, finding })));
  return [
    ...few > 0 && few < MIN_ROUNDS
      ? [`  ~ a hint, the median of ${counted(few, "round")}: an interval needs ${MIN_ROUNDS} rounds`]
      : [],
    ...first.flatMap(({ candidate, left_out: count = 0 }) =>
      count === 0 ? [] : [`  ${candidate}: ${counted(count, "round")} left out, as others took CPU time from them`]
    ),
    ...groups.filter((rows) => rows.some(isInconclusive)).map(([row]) =>
      `  ${row!.candidate}: inconclusive: ${row!.rounds < MIN_ROUNDS ? TOO_FEW : DISTURBED}`
    ),
    ...out.map((row) => `  ${row.candidate}: excluded after ${counted(row.rounds, "round")}: ${reasonOf(row)}`),
    ...[...Map.groupBy(found, ({ finding }) => finding.id)].map(([id, all]) => {
      const own = all.filter(({ candidate, finding }) => finding.server === candidate);
      const pairs = all.length - own.length;
      const servers = own.map(({ candidate }) => candidate).join(", ");
      if (pairs === 0) return `  ${id}: ${servers}`;
      if (groups.length === 1) return `  ${id}: ${servers}${servers === "" ? "" : ", "}${first[0]!.reference}`;
      return `  ${id}: ${servers}${servers === "" ? "" : "; "}the reference in ${pairs} of ${groups.length} pairs`;
    }),
  ];
}

/** The columns of a comparison: a row is all rows of one candidate. */
export const COMPARISON_COLUMNS: Column<ShownRow[]>[] = [
  { heading: "", cell: (rows) => rows[0]!.candidate, left: true },
  ...[
    ...["core_us_per_request", "cpu_us_per_request", "cpu_us_per_delivery", "requests_per_s", "p99_us", "last_p50_us"],
    "connects_per_s",
  ].flatMap((metric) => [
    { heading: figure.heading(metric), cell: figure.of(metric) },
    { heading: "ratio [98 %]", cell: ratio.withInterval(metric) },
  ]),
  ...["user_bytes_per_conn", "kernel_bytes_per_conn", "pss_bytes", "threads"].flatMap((metric) => [
    { heading: figure.heading(metric), cell: figure.of(metric) },
    { heading: "ratio", cell: ratio.alone(metric) },
  ]),
];

/** What a table of one comparison at one number of connections has. */
export interface ComparisonParts {
  heading: string;
  /** The reference's own figures first. */
  groups: ShownRow[][];
  /** Those that have something. */
  columns: Column<ShownRow[]>[];
  notes: string[];
}

/** What was compared, and at which size. */
export const sizeOf = ({ scenario, connections }: ComparisonRow): string =>
  `${scenario}, ${count(connections)} ${scenario === "broadcast" ? "listeners" : "connections"}`;

/** Reads rows of one comparison at one number of connections as a table. */
export function comparisonParts(rows: readonly ComparisonRow[]): ComparisonParts {
  const own = ofReference(rows);
  const candidates = [...Map.groupBy(rows, (row) => row.candidate).values()];
  const groups: ShownRow[][] = own.length > 0 ? [own, ...candidates] : candidates;
  const columns = COMPARISON_COLUMNS.filter((of) =>
    of.heading === "" || groups.some((group) => ![MISSING, ""].includes(of.cell(group)))
  );
  const { heavy_us, reference, message_bytes: bytes } = rows[0]!;
  const rounds = Math.max(...rows.map((row) => row.rounds));
  const rates = [...new Set(rows.map((row) => row.rate_per_s).filter((rate) => rate !== null))];
  const at = rates.length === 0
    ? ""
    : rates.length === 1
    ? ` at ${count(rates[0])}/s`
    : " at half of what the slower reaches";
  const work = heavy_us === null ? "" : `, of a hundred requests one burns ${microseconds(heavy_us)} of CPU`;
  const messages = bytes === undefined ? "" : `, messages of ${count(bytes)} bytes`;
  const heading = `${sizeOf(rows[0]!)}${at}${work}${messages}, ratios to ${reference}, ${counted(rounds, "round")}:`;
  return { heading, groups, columns, notes: notes(candidates) };
}

/** The same as text: the table, and its notes below. */
export function comparison(
  rows: readonly ComparisonRow[],
  write: (rows: ShownRow[][], columns: Column<ShownRow[]>[]) => string,
): string {
  const { heading, groups, columns, notes } = comparisonParts(rows);
  return [heading, "", write(groups, columns), ...(notes.length > 0 ? ["", ...notes] : [])].join("\n");
}

/** A stored comparison at one number of connections, in Markdown. */
export function comparisonTable({ study: { command }, hosts, rows }: Table): string {
  const written = comparison(rows, (groups, columns) => markdown(groups, columns)).replace(/^ {2}(?=\S)/gm, "- ");
  const { head } = rows[0]!;
  const named = head === undefined ? "" : ` Requests with the head ${head}.`;
  return `${written}\n\nReproduce: \`${command}\`.${named} ${machines(hosts.map((host) => ({ host })))}`;
}
