/**
 * The tables that show what is in results/: the README takes them, and whoever looks at results may.
 *
 * @module
 */
import type { Experiment } from "./catalogue.ts";
import { bytes, type Column, count, markdown, microseconds, MISSING } from "./format.ts";
import { NOISE_BYTES } from "./hold.ts";
import type { HostFacts } from "./host.ts";
import { WARMUP_SECONDS } from "./ladder.ts";
import { figure, notes, ofReference, ratio, type ShownRow } from "./pivot.ts";
import type { Metrics, Result, ScenarioName } from "./results.ts";
import type { ComparisonRow, CrosscheckRow, ReadinessRow } from "./study.ts";
import type { Table } from "./study_choice.ts";
import { bounded, signOf } from "./summary.ts";

/** One experiment, and the newest whole run of it in each scenario. */
export interface Shown {
  experiment: Experiment;
  hold: Result | undefined;
  throughput: Result | undefined;
  rate: Result | undefined;
  /** All whole runs of `hold`: what the one above does not tell, another may. */
  holds: readonly Result[];
}

/** What a quick run left is no figure for a table: it climbs for 3 s and warms up for half a second. */
export const isWhole = ({ scenario, parameters }: Result) =>
  scenario === "hold" ? parameters.climb_seconds === undefined : parameters.warmup_seconds >= WARMUP_SECONDS;

/** The newest whole run of a scenario; of `hold` the newest of those that were asked for the most connections. */
function best(results: readonly Result[], name: string, scenario: ScenarioName, most = Infinity): Result | undefined {
  const asked = (of: Result) => scenario === "hold" ? of.parameters.connections : 0;
  const hasFigures = ({ ended }: Result) => Number(ended === "ok" || ended === "limited"); // they come first
  return results
    .filter((of) => of.experiment === name && of.scenario === scenario && isWhole(of) && asked(of) <= most)
    .toSorted((a, b) => hasFigures(b) - hasFigures(a) || asked(b) - asked(a) || b.time.localeCompare(a.time))[0];
}

/** Finds what the tables show of each experiment. */
export const shown = (experiments: readonly Experiment[], results: readonly Result[]): Shown[] =>
  experiments.map((experiment) => ({
    experiment,
    hold: best(results, experiment.name, "hold"),
    throughput: best(results, experiment.name, "throughput"),
    rate: best(results, experiment.name, "rate"),
    holds: results.filter((of) => of.experiment === experiment.name && of.scenario === "hold" && isWhole(of)),
  }));

/** Of the runs of one server that tell a metric the one with the most connections, of equals the newest. */
export const telling = (runs: readonly Result[], metric: keyof Metrics): Result | undefined =>
  runs.filter(({ metrics }) => metrics[metric] !== null)
    .toSorted((a, b) => (b.metrics.connections ?? 0) - (a.metrics.connections ?? 0) || b.time.localeCompare(a.time))[0];

/**
 * What one connection takes of a server's own memory, in bytes. Less than a heap differs by without a connection more is no
 * figure: that difference, for each of the connections, is an upper bound. Null: no whole run tells it.
 */
export function userMemory({ holds }: Pick<Shown, "holds">): { value: number | null; bound: "at most" | null } {
  const of = telling(holds, "user_bytes_per_conn")?.metrics;
  if (of === undefined) return { value: null, bound: null };
  const value = of.user_bytes_per_conn!, noise = of.connections ? NOISE_BYTES / of.connections : -Infinity;
  return value < noise ? { value: noise, bound: "at most" } : { value, bound: null };
}

/** The same as it is written in a table. */
export function userMemoryText(row: Pick<Shown, "holds">): string {
  const { value, bound } = userMemory(row);
  return signOf(bound) + bytes(value);
}

/** Whether a run of `rate` was at half of that throughput, over as many connections: the table says so. */
function isHalf(rate: Result | undefined, throughput: Result | undefined): boolean {
  if (rate?.parameters.rate_per_s === undefined || !throughput?.metrics.requests_per_s) return false;
  const share = rate.parameters.rate_per_s / throughput.metrics.requests_per_s;
  return rate.parameters.connections === throughput.parameters.connections && Math.abs(share - 0.5) < 0.01;
}

/** The p99 at half of the throughput. One that may be the load generator's own is an upper bound. */
export function p99({ throughput, rate }: Shown): string {
  if (!isHalf(rate, throughput)) return MISSING;
  return bounded(rate!, microseconds(rate!.metrics.p99_us), "p99_us");
}

const link = ({ name, path }: Experiment) => `[${name}](${path})`;

const OVERVIEW: Column<Shown>[] = [
  { heading: "experiment", cell: ({ experiment }) => link(experiment), left: true },
  { heading: "family", cell: ({ experiment }) => experiment.family, left: true },
  { heading: "held and answered", cell: ({ hold }) => count(hold?.metrics.answered) },
  { heading: "user memory a connection", cell: userMemoryText },
  { heading: "connections under load", cell: ({ throughput }) => count(throughput?.parameters.connections) },
  {
    heading: "requests/s",
    cell: ({ throughput }) => throughput ? bounded(throughput, count(throughput.metrics.requests_per_s)) : MISSING,
  },
  { heading: "server CPU-µs a request", cell: ({ throughput }) => count(throughput?.metrics.cpu_us_per_request, 2) },
  { heading: "p99 at half of that rate", cell: p99 },
];

/** A machine in words. */
export const machine = ({ cpu, cores, memory_bytes, os, kernel, deno }: HostFacts): string =>
  `${cpu ?? "unknown CPU"}, ${cores} cores, ${bytes(memory_bytes)}, ${os} ${kernel}, Deno ${deno}`;

/** One sentence for each kind of machine that figures come from. */
export function machines(results: readonly Pick<Result, "host">[]): string {
  if (results.length === 0) return "Nothing is measured yet.";
  return `Measured on: ${[...new Set(results.map(({ host }) => machine(host)))].join("; ")}.`;
}

/** What each experiment holds, costs and reaches. */
export function overview(rows: readonly Shown[]): string {
  const used = rows.flatMap(({ hold, throughput, rate }) => [hold, throughput, rate]).filter((of) => of !== undefined);
  return `${markdown(rows, OVERVIEW)}\n\n${machines(used)}`;
}

const duration = (seconds: number | null) => seconds === null ? MISSING : `${seconds.toFixed(2)} s`;
/** Connections that were made and answered in a second. */
const paceOf = ({ answered, connect_seconds: seconds }: Metrics) => answered && seconds ? answered / seconds : null;

const HOLDS: Column<Result>[] = [
  { heading: "experiment", cell: (of) => of.experiment, left: true },
  { heading: "wanted", cell: (of) => count(of.parameters.connections) },
  { heading: "held and answered", cell: (of) => count(of.metrics.answered) },
  { heading: "connected and answered in", cell: ({ metrics: { connect_seconds: seconds } }) => duration(seconds) },
  { heading: "connections/s", cell: ({ metrics }) => count(paceOf(metrics)) },
  { heading: "memory (PSS)", cell: (of) => bytes(of.metrics.pss_bytes) },
  { heading: "processes", cell: (of) => count(of.metrics.processes) },
  { heading: "threads", cell: (of) => count(of.metrics.threads) },
  { heading: "what stopped it", cell: (of) => of.reason ?? "nothing", left: true },
];

/**
 * How many connections each holds, and what stops it.
 *
 * @param most Runs that were asked for more are passed over.
 */
export function holds(experiments: readonly Experiment[], results: readonly Result[], most = Infinity): string {
  const rows = experiments.map(({ name }) => best(results, name, "hold", most)).filter((of) => of !== undefined);
  return rows.length === 0 ? "Nothing is measured yet." : `${markdown(rows, HOLDS)}\n\n${machines(rows)}`;
}

const interval = (value: number, low: number, high: number) =>
  `${count(value, 2)} [${count(low, 2)}, ${count(high, 2)}]`;

/** How much dearer the call is than the same call at the size before; nothing at the first. */
function growth(rows: readonly ReadinessRow[], { call, descriptors, wait_us }: ReadinessRow): string {
  const smaller = rows.filter((row) => row.call === call && row.descriptors < descriptors).at(-1);
  return smaller === undefined ? "" : `× ${count(wait_us / smaller.wait_us, 2)}`;
}

/** The columns of a study of wait calls. */
export const readinessColumns = (rows: readonly ReadinessRow[]): Column<ReadinessRow>[] => [
  { heading: "call", cell: (row) => row.call, left: true },
  { heading: "descriptors", cell: (row) => count(row.descriptors) },
  { heading: "CPU-µs of the call\n[98 %]", cell: (row) => interval(row.wait_us, row.wait_us_low, row.wait_us_high) },
  { heading: "against the\nsize before", cell: (row) => growth(rows, row) },
  {
    heading: "CPU-µs with finding who is ready\n[98 %]",
    cell: (row) => interval(row.turn_us, row.turn_us_low, row.turn_us_high),
  },
];

/** The columns of a comparison: a row is all rows of one candidate. */
const COMPARISON_COLUMNS: Column<ShownRow[]>[] = [
  { heading: "", cell: (rows) => rows[0]!.candidate, left: true },
  ...["cpu_us_per_request", "requests_per_s", "p99_us", "connects_per_s"].flatMap((metric) => [
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

/** Reads rows of one comparison at one number of connections as a table. */
export function comparisonParts(rows: readonly ComparisonRow[]): ComparisonParts {
  const own = ofReference(rows), candidates = [...Map.groupBy(rows, (row) => row.candidate).values()];
  const groups: ShownRow[][] = own.length > 0 ? [own, ...candidates] : candidates;
  const columns = COMPARISON_COLUMNS.filter((of) =>
    of.heading === "" || groups.some((group) => ![MISSING, ""].includes(of.cell(group)))
  );
  const { scenario, connections, heavy_us, reference } = rows[0]!, rounds = Math.max(...rows.map((row) => row.rounds));
  const rates = [...new Set(rows.map((row) => row.rate_per_s).filter((rate) => rate !== null))];
  const at = rates.length === 0
    ? ""
    : rates.length === 1
    ? ` at ${count(rates[0])}/s`
    : " at half of what the slower reaches";
  const work = heavy_us === null ? "" : `, of a hundred requests one burns ${microseconds(heavy_us)} of CPU`;
  const heading = `${scenario}, ${
    count(connections)
  } connections${at}${work}, ratios to ${reference}, ${rounds} rounds:`;
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
export function comparisonTable({ study: { host, command }, rows }: Table): string {
  const written = comparison(rows, (groups, columns) => markdown(groups, columns)).replace(/^ {2}(?=\S)/gm, "- ");
  return `${written}\n\n\`${command}\` makes it. ${machines([{ host }])}`;
}

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
