/**
 * What README.md shows beside its sentences: a line for each experiment, and latency against load.
 *
 * @module
 */
import { relative } from "node:path";
import { partition } from "es-toolkit";
import { MARGIN } from "../../lib/claims/figure.ts";
import { repeatsOf, type Shown, telling, userMemoryOf, widestSweep } from "../../lib/results/choose.ts";
import type { Metrics, Result } from "../../lib/results/results.ts";
import type { Setup } from "../../lib/results/schema.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { bytes, count, counted, MISSING, withoutFigure } from "../../lib/text/format.ts";
import { isInconclusive } from "../../lib/tables/comparison.ts";
import { type Told, whyMissing } from "../../lib/tables/missing.ts";
import { type Column, markdown } from "../../lib/text/table.ts";
import { medianOf } from "../../lib/timing/stats.ts";

const USUAL_CONNECTIONS = 100;
/** The server that all others are compared with. */
export const FLOOR = "c-epoll";

/** What stopped a run of `hold`, in a few words: the sentence without its first part and its extrapolation. */
function stoppedBy({ hold }: Shown): string {
  if (hold === undefined) return MISSING;
  if (hold.reason === null) return "nothing: no more were asked for";
  const short = hold.reason.replace(/^stopped at [\d\s ]+ of [\d\s ]+: /, "");
  return short.split(/[,;.] /)[0]!.replace(/\.$/, "");
}

/** A figure of one run; of several their median and range. */
export function spread(values: readonly (number | null | undefined)[], write: (value: number) => string): string {
  const known = values.filter((value) => value !== null && value !== undefined);
  const median = medianOf(known);
  if (median === null) return MISSING;
  const [text, low, high] = [median, Math.min(...known), Math.max(...known)].map((value) => write(value));
  return known.length === 1 ? text! : `${text} [${low}, ${high}]`;
}

/** A reason without what the system says about it. */
const inShort = (why: string): string => why.split("; ")[0]!.split(": ").slice(0, 2).join(": ");

/** How sure the figures are: some may be of several runs, and CPU times of a comparison. */
const spreadSays = (hasRanges: boolean, hasFactors: boolean): string =>
  (hasFactors
    ? `A CPU time with \`×\` is the median of paired rounds, and \`×\` its ratio to ${FLOOR} in these, with the 98 % interval. `
    : "") +
  (hasRanges
    ? `${
      hasFactors ? "Another" : "A"
    } figure with a range in brackets is the median of several runs; one without is of a single ` +
      "run: such a CPU time "
    : `Each ${hasFactors ? "other " : ""}figure is of a single run: a CPU time `) +
  `is taken to be right within ${count(100 * MARGIN.other)} %, memory within ${count(100 * MARGIN.memory)} %.`;

/** Memory of a connection in the server's processes and in the kernel. */
function memory({ holds }: Shown): string {
  const told = (metric: keyof Metrics) => {
    const newest = telling(holds, metric);
    return newest === undefined ? [] : repeatsOf(newest, holds).map(({ metrics }) => metrics);
  };
  const users = told("user_bytes_per_conn").map(userMemoryOf);
  const user = spread(users.map(({ value }) => value), bytes);
  if (user === MISSING) return MISSING;
  const sign = users.some(({ bound }) => bound !== null) ? "≤ " : "";
  const kernels = told("kernel_bytes_per_conn").map((metrics) => metrics.kernel_bytes_per_conn);
  return kernels.length === 0 ? sign + user : `${sign}${user} + ${spread(kernels, bytes)}`;
}

/** Whether the user chose neither cores nor the fields of a request. */
const isUsual = (of: Setup): boolean =>
  [of.server_cores, of.load_cores, of.head].every((choice) => choice === undefined);

/** The CPU time of a request in the newest comparison, with its ratio; undefined: there is none with an interval. */
function comparedCost(name: string, { compared }: Told): string | undefined {
  const row = compared.findLast((of) =>
    of.candidate === name && of.reference === FLOOR && of.metric === "cpu_us_per_request" &&
    of.scenario === "throughput" && of.connections === USUAL_CONNECTIONS && isUsual(of) &&
    of.rounds > 0 && of.ratio_low !== null && !isInconclusive(of)
  );
  if (row === undefined) return undefined;
  const [ratio, low, high] = [row.ratio!, row.ratio_low!, row.ratio_high!].map((of) => count(of, 2));
  return `${count(row.candidate_value!, 1)}, × ${ratio} [${low}, ${high}]`;
}

/** Most are loaded by 100 connections; what serves fewer says so. */
function cost({ experiment, throughput }: Shown, told: Told): string {
  const ofRounds = comparedCost(experiment.name, told);
  if (ofRounds !== undefined) return ofRounds;
  if (throughput === undefined) return MISSING;
  const { wire, connections } = throughput.parameters;
  const metric = wire === undefined ? "cpu_us_per_request" : "core_us_per_request"; // as serverCost(): they are not the same
  const text = spread(repeatsOf(throughput, told.results).map(({ metrics }) => metrics[metric]), (us) => count(us, 1));
  if (text === MISSING) return MISSING;
  return [
    text,
    ...(wire === undefined ? [] : [`of its core (${wire})`]),
    ...(connections === USUAL_CONNECTIONS ? [] : [`(${counted(connections, "connection")})`]),
  ].join(" ");
}

/** The connections that a server held; at least as many, where no run was asked for more. */
function heldText(hold: Result | undefined, results: readonly Result[]): string {
  if (hold === undefined) return MISSING;
  const runs = repeatsOf(hold, results);
  const answered = spread(runs.map(({ metrics }) => metrics.answered), count);
  return `${runs.every(({ ended }) => ended === "ok") ? "≥ " : ""}${answered}`;
}

const columnsOf = (told: Told): Column<Shown>[] => [
  {
    heading: "experiment",
    cell: ({ experiment: { name, path } }) => `[${name}](${relative(Deno.cwd(), path).replaceAll("\\", "/")})`,
    left: true,
  },
  {
    heading: "connections held",
    cell: ({ hold }) => heldText(hold, told.results),
  },
  { heading: "memory per connection: user + kernel", cell: memory },
  { heading: "CPU-µs per request", cell: (row) => cost(row, told) },
  { heading: "what stopped it", cell: stoppedBy, left: true },
];

/**
 * The table, in Markdown, with how sure its figures are; and, in a line, what has none.
 *
 * @param told All runs, of which the shown ones may be repeats, and the rows of comparisons.
 */
export function summaryTable(rows: readonly Shown[], told: Told): string {
  const [name, ...figures] = columnsOf(told);
  const texts = (row: Shown) => figures.map(({ cell }) => cell(row));
  const [empty, known] = partition(rows, (row) => texts(row).every((text) => text === MISSING));
  const missing = empty.map(({ experiment }) => ({
    name: experiment.name,
    why: inShort(whyMissing(experiment, told)),
  }));
  const without = withoutFigure(missing);
  return [
    markdown(known, [name!, ...figures]),
    ...(without === null ? [] : [without]),
    spreadSays(
      known.some((row) => texts(row).some((text) => /^[^×]*\[/.test(text))),
      known.some((row) => texts(row).some((text) => text.includes("×"))),
    ),
  ].join("\n\n");
}

/** The chart that results/README.md draws of latency against load, with a sentence; nothing where no sweep is stored. */
export const loadChart = ({ studies }: Pick<Stored, "studies">): string[] =>
  widestSweep(studies.sweep) === undefined ? [] : [
    "![Latency against load: p99 at each rate](results/charts/load.png)",
    "Latency bends where a server saturates; [all rates](results/README.md#latency-against-load).",
  ];
