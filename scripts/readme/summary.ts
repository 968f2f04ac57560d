/**
 * What README.md shows beside its sentences: a line for each experiment, and latency against load.
 *
 * @module
 */
import { relative } from "node:path";
import { type Shown, telling, widestSweep } from "../../lib/results/choose.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { userMemoryText } from "../../lib/tables/overview.ts";
import { serverCost } from "../../lib/tables/runs.ts";
import { bytes, count, counted, MISSING } from "../../lib/text/format.ts";
import { type Column, markdown } from "../../lib/text/table.ts";

const USUAL_CONNECTIONS = 100;

/** What stopped a run of `hold`, in a few words: the sentence without its first part and its extrapolation. */
function stoppedBy({ hold }: Shown): string {
  if (hold === undefined) return MISSING;
  if (hold.reason === null) return "nothing: no more were asked for";
  const short = hold.reason.replace(/^stopped at [\d\s ]+ of [\d\s ]+: /, "");
  return short.split(/[,;.] /)[0]!.replace(/\.$/, "");
}

/** Memory of a connection in the server's processes and in the kernel. */
function memory(row: Shown): string {
  const user = userMemoryText(row);
  const kernel = telling(row.holds, "kernel_bytes_per_conn")?.metrics.kernel_bytes_per_conn;
  return user === MISSING || kernel === undefined ? user : `${user} + ${bytes(kernel)}`;
}

/** Most are loaded by 100 connections; what serves fewer says so. */
function cost({ throughput }: Shown): string {
  const text = serverCost(throughput, 1);
  const connections = throughput?.parameters.connections;
  return text === MISSING || connections === USUAL_CONNECTIONS
    ? text
    : `${text} (${counted(connections!, "connection")})`;
}

const COLUMNS: Column<Shown>[] = [
  {
    heading: "experiment",
    cell: ({ experiment: { name, path } }) => `[${name}](${relative(Deno.cwd(), path).replaceAll("\\", "/")})`,
    left: true,
  },
  {
    heading: "connections held",
    cell: ({ hold }) => `${hold?.ended === "ok" ? "≥ " : ""}${count(hold?.metrics.answered)}`,
  },
  { heading: "memory per connection: user + kernel", cell: memory },
  { heading: "CPU-µs per request", cell: cost },
  { heading: "what stopped it", cell: stoppedBy, left: true },
];

/** The table, in Markdown. */
export const summaryTable = (rows: readonly Shown[]): string => markdown(rows, COLUMNS);

/** The chart that results/README.md draws of latency against load, with a sentence; nothing where no sweep is stored. */
export const loadChart = ({ studies }: Pick<Stored, "studies">): string[] =>
  widestSweep(studies.sweep) === undefined ? [] : [
    "![Latency against load: p99 at each rate](results/charts/load.png)",
    "Latency bends where a server saturates; [all rates](results/README.md#latency-against-load).",
  ];
