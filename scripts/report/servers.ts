/**
 * The big table: a row for each experiment and peer, from its newest whole runs and from the widest comparisons.
 *
 * @module
 */
import type { Experiment } from "../../lib/catalogue/catalogue.ts";
import { count, MISSING } from "../../lib/text/format.ts";
import { figure, isOfNoise, ofReference, ownIn, ratio, type ShownRow, sizeOf } from "../../lib/tables/comparison.ts";
import { candidatesOf, type Shown, type Table, userMemory } from "../../lib/results/choose.ts";
import { bounded, serverCost } from "../../lib/tables/runs.ts";
import { NO_RUN, whyMissing as whyMissingHere } from "../../lib/tables/missing.ts";
import { p99, userMemoryText } from "../../lib/tables/overview.ts";
import { machinesWith, type ReportContents } from "./contents.ts";
import type { Column } from "../../lib/text/table.ts";

/** What a cell is sorted by and downloaded as: null where there is none. */
export type Cell = string | number | null;

/** A column that can be sorted. */
export interface ServerColumn extends Column<Shown> {
  /** What the column is called in a download: the unit stands last. */
  key: string;
  /** Whether it is shown only where all columns are. */
  isMore?: boolean;
  value: (row: Shown) => Cell;
}

/** What is stored, as far as it tells why there is no figure. */
export type Stored = Pick<ReportContents, "results" | "comparisons"> & Partial<Pick<ReportContents, "others">>;

/** Whose a server is: this project's, a peer, or the reader's own. */
export const kindOf = ({ peer, family }: Experiment): "ours" | "peer" | "own" =>
  family === "custom" ? "own" : peer ? "peer" : "ours";

/** Why there is no figure of an experiment, or which other machine has one. */
export function whyMissing({ experiment }: Shown, { results, comparisons, others = [] }: Stored): string {
  const why = whyMissingHere(experiment, { results, compared: comparisons.flatMap(({ rows }) => rows) });
  if (why !== NO_RUN) return why;
  const machines = machinesWith({ others }, (of) => of.results.some((run) => run.experiment === experiment.name));
  return machines.length === 0 ? why : `not measured on this machine; on ${machines.join(", ")} it is`;
}

/** What stopped it from holding more; of what holds all that it was asked for, that. */
export function brokenBy(row: Shown, stored: Stored): string {
  const { hold } = row;
  if (hold === undefined) return whyMissing(row, stored);
  if (hold.ended === "ok") return `nothing: it was asked for ${count(hold.parameters.connections)} and answered all`;
  return `${hold.ended}: ${hold.reason}`;
}

/** Connections held and answered. What was asked for no more is a lower bound. */
export const heldText = ({ hold }: Shown): string =>
  `${hold?.ended === "ok" ? "≥ " : ""}${count(hold?.metrics.answered)}`;

/** The rows of one candidate, or of the reference itself, in a comparison. */
const rowsOf = ({ rows }: Table, name: string): ShownRow[] =>
  name === rows[0]!.reference ? ofReference(rows) : rows.filter(({ candidate }) => candidate === name);

/** What a comparison is called: `throughput, 100 connections`. */
export const nameOf = ({ rows }: Table): string => sizeOf(rows[0]!);

/** The ratio of one comparison that its scenario is for. */
export const metricOf = (
  { rows }: Table,
): "cpu_us_per_request" | "cpu_us_per_delivery" | "user_bytes_per_conn" | "pss_bytes" =>
  (["cpu_us_per_request", "cpu_us_per_delivery", "user_bytes_per_conn"] as const).find((metric) =>
    rows.some((row) => row.metric === metric && row.ratio !== null)
  ) ?? "pss_bytes";

const RATIO_OF = {
  cpu_us_per_request: "CPU",
  cpu_us_per_delivery: "CPU per delivery",
  user_bytes_per_conn: "user memory",
  pss_bytes: "memory (PSS)",
};

/** The memory itself, where a ratio would divide by noise. */
function memoryColumn(table: Table, isMore: boolean): ServerColumn {
  const { scenario, connections } = table.rows[0]!;
  const metric = "user_bytes_per_conn";
  return {
    key: `${metric}_${scenario}_${connections}`,
    isMore,
    heading: `user memory per connection\n${nameOf(table)}`,
    cell: ({ experiment }) => figure.of(metric)(rowsOf(table, experiment.name)) || MISSING,
    value: ({ experiment: { name } }) => {
      const row = rowsOf(table, name).find((of) => of.metric === metric);
      return row === undefined ? null : ownIn(row).value;
    },
  };
}

function ratioColumn(table: Table, isMore: boolean): ServerColumn {
  const metric = metricOf(table);
  const { scenario, connections, reference } = table.rows[0]!;
  if (table.rows.some(isOfNoise)) return memoryColumn(table, isMore);
  const text = ratio.withInterval(metric);
  return {
    key: `${metric}_ratio_to_${reference}_${scenario}_${connections}`,
    isMore,
    heading: `${RATIO_OF[metric]} ratio to ${reference} [98 %]\n${nameOf(table)}`,
    cell: ({ experiment }) => text(rowsOf(table, experiment.name)) || MISSING,
    value: ({ experiment: { name } }) =>
      name === reference ? 1 : rowsOf(table, name).find((row) => row.metric === metric)?.ratio ?? null,
  };
}

/** Columns of words: they are sorted and downloaded as they are read. All but the first are behind the figures. */
const words = (key: string, heading: string, cell: (row: Shown) => string): ServerColumn => ({
  key,
  heading,
  cell,
  value: cell,
  left: true,
  isMore: key !== "name",
});

/** Columns of runs: first those that are asked for most. */
const FIGURES: ServerColumn[] = [
  {
    key: "held_and_answered",
    heading: "held and answered",
    cell: heldText,
    value: ({ hold }) => hold?.metrics.answered ?? null,
  },
  {
    key: "user_bytes_per_conn",
    heading: "user memory per connection",
    cell: userMemoryText,
    value: (row) => userMemory(row).value,
  },
  {
    key: "cpu_us_per_request",
    heading: "server CPU-µs per request",
    cell: ({ throughput }) => serverCost(throughput, 2),
    value: ({ throughput }) =>
      throughput?.metrics.core_us_per_request ?? throughput?.metrics.cpu_us_per_request ?? null,
  },
  {
    key: "p99_us_at_half_rate",
    heading: "p99 at half of its requests/s",
    cell: p99,
    value: (row) => p99(row) === MISSING ? null : row.rate?.metrics.p99_us ?? null,
  },
  {
    key: "requests_per_s",
    heading: "requests/s",
    cell: ({ throughput }) => throughput ? bounded(throughput, count(throughput.metrics.requests_per_s)) : MISSING,
    value: ({ throughput }) => throughput?.metrics.requests_per_s ?? null,
  },
];

const CONNECTIONS: ServerColumn = {
  key: "connections_under_load",
  heading: "connections under load",
  cell: ({ throughput }) => count(throughput?.parameters.connections),
  value: ({ throughput }) => throughput?.parameters.connections ?? null,
  isMore: true,
};

/** The comparison that is asked for most: what a request costs at full load, of as many servers as there are. */
const mainOf = (tables: readonly Table[]): Table | undefined =>
  tables.filter(({ rows }) => rows[0]!.scenario === "throughput")
    .toSorted((a, b) => candidatesOf(b).size - candidatesOf(a).size)[0];

/** The columns of the big table. */
export function serverColumns(contents: ReportContents): ServerColumn[] {
  const { comparisons } = contents;
  const main = mainOf(comparisons);
  const ratios = comparisons.toSorted((a, b) => Number(b === main) - Number(a === main))
    .map((table) => ratioColumn(table, table !== main));
  return [
    words("name", "server", ({ experiment }) => experiment.name),
    ...FIGURES,
    ...ratios,
    CONNECTIONS,
    words("kind", "whose", ({ experiment }) => kindOf(experiment)),
    words("family", "family", ({ experiment }) => experiment.family),
    words("stopped_by", "what stopped it", (row) => brokenBy(row, contents)),
  ];
}

/** The rows as they are downloaded: a bound stands beside the figure. */
export function serverRows(contents: ReportContents, columns: readonly ServerColumn[]): Record<string, Cell>[] {
  const shown = [...contents.shown, ...contents.own];
  return shown.map((row) =>
    Object.fromEntries(columns.flatMap(({ key, cell, value }) => {
      const sign = /^[≥≤]/.exec(cell(row))?.[0] ?? null;
      const isBounded = shown.some((other) => /^[≥≤]/.test(cell(other)));
      return [[key, value(row)], ...(isBounded ? [[`${key}_bound`, sign]] : [])];
    }))
  );
}
