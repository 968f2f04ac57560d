/**
 * The tables that show what is in results/: the README takes them, and whoever looks at results may.
 *
 * @module
 */
import { relative } from "node:path";
import type { Experiment } from "../catalogue/catalogue.ts";
import { bytes, count, microseconds, MISSING } from "../text/format.ts";
import { describeHost } from "../sampling/host.ts";
import { acceptsPerS, type Result } from "../results/results.ts";
import { best, broadcastRuns, type Shown, userMemory } from "../results/choose.ts";
import { bounded, BROADCAST_COLUMNS, serverCost, signOf } from "./runs.ts";
import { type Column, markdown } from "../text/table.ts";

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

/** The path of a file of the project, from its top, with slashes on every system. */
const fromTop = (path: string) => relative(Deno.cwd(), path).replaceAll("\\", "/");

const overviewColumns = (top: string): Column<Shown>[] => [
  {
    heading: "experiment",
    cell: ({ experiment: { name, path } }) => `[${name}](${top}/${fromTop(path)})`,
    left: true,
  },
  { heading: "family", cell: ({ experiment }) => experiment.family, left: true },
  { heading: "held and answered", cell: ({ hold }) => count(hold?.metrics.answered) },
  { heading: "user memory per connection", cell: userMemoryText },
  { heading: "connections under load", cell: ({ throughput }) => count(throughput?.parameters.connections) },
  {
    heading: "requests/s",
    cell: ({ throughput }) => throughput ? bounded(throughput, count(throughput.metrics.requests_per_s)) : MISSING,
  },
  { heading: "server CPU-µs per request", cell: ({ throughput }) => serverCost(throughput, 2) },
  { heading: "p99 at half of that rate", cell: p99 },
];

/** One sentence for each kind of machine that figures come from. */
export function machines(results: readonly Pick<Result, "host">[]): string {
  if (results.length === 0) return "Nothing is measured yet.";
  return `Measured on: ${[...new Set(results.map(({ host }) => describeHost(host)))].join("; ")}.`;
}

/**
 * What each experiment holds, costs and reaches.
 *
 * @param top The top of the project, from the document that the table stands in.
 */
export function overview(rows: readonly Shown[], top: string): string {
  const used = rows.flatMap(({ hold, throughput, rate }) => [hold, throughput, rate]).filter((of) => of !== undefined);
  return `${markdown(rows, overviewColumns(top))}\n\n${machines(used)}`;
}

const duration = (seconds: number | null) => seconds === null ? MISSING : `${seconds.toFixed(2)} s`;
const HOLDS: Column<Result>[] = [
  { heading: "experiment", cell: (of) => of.experiment, left: true },
  { heading: "wanted", cell: (of) => count(of.parameters.connections) },
  { heading: "held and answered", cell: (of) => count(of.metrics.answered) },
  { heading: "connected and answered in", cell: ({ metrics: { connect_seconds: seconds } }) => duration(seconds) },
  { heading: "accepted/s", cell: ({ metrics }) => count(acceptsPerS(metrics)) },
  { heading: "memory (PSS)", cell: (of) => bytes(of.metrics.pss_bytes) },
  { heading: "processes", cell: (of) => count(of.metrics.processes) },
  { heading: "threads", cell: (of) => count(of.metrics.threads) },
  { heading: "what stopped it", cell: (of) => of.reason ?? "nothing", left: true },
];

/**
 * How many connections each holds, and what stops it.
 *
 * @param most Runs that were asked for more are skipped.
 */
export function holds(experiments: readonly Experiment[], results: readonly Result[], most = Infinity): string {
  const rows = experiments.map(({ name }) => best(results, name, "hold", most)).filter((of) => of !== undefined);
  return rows.length === 0 ? "Nothing is measured yet." : `${markdown(rows, HOLDS)}\n\n${machines(rows)}`;
}

/** What broadcasts of each experiment came to, one for each number of listeners, where nobody was slow. */
export function broadcasts(experiments: readonly Experiment[], results: readonly Result[]): string {
  const rows = broadcastRuns(experiments, results);
  if (rows.length === 0) return "Nothing is measured yet.";
  return `${markdown(rows, [HOLDS[0]!, ...BROADCAST_COLUMNS.slice(1)])}\n\n${machines(rows)}`;
}
