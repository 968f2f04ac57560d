/**
 * The runs of one experiment: what its page shows of them, and all of them for a download.
 *
 * @module
 */
import { METRICS, type Result } from "../../lib/results/results.ts";
import { columnsOf, label } from "../../lib/tables/runs.ts";
import type { Cell } from "./servers.ts";
import type { Column } from "../../lib/text/table.ts";

/**
 * One run of each scenario and number of connections, in that order: the newest whole one, or where all were quick the newest.
 * And how many others there are.
 */
export function newestRuns(results: readonly Result[], name: string): { runs: Result[]; others: number } {
  const own = results.filter(({ experiment }) => experiment === name);
  const kinds = Map.groupBy(
    own,
    ({ scenario, parameters: { connections, slow } }) => `${scenario} ${connections} ${slow}`,
  );
  const runs = [...kinds.values()].map((same) =>
    same.toSorted((a, b) => Number(a.quick) - Number(b.quick) || b.time.localeCompare(a.time))[0]!
  );
  const order = (a: Result, b: Result) =>
    a.scenario.localeCompare(b.scenario) || a.parameters.connections - b.parameters.connections;
  return { runs: runs.toSorted(order), others: own.length - runs.length };
}

/** The columns of its table: those that a run ends with in a terminal, the first two as one. */
export const runColumns = (runs: readonly Result[]): Column<Result>[] => [
  { heading: "run", cell: label, left: true },
  ...columnsOf(runs).filter(({ heading }) => !IN_LABEL.includes(heading)),
];
/** Those that stand in the label, and the end, which has a column of its own. */
const IN_LABEL = ["scenario", "connec-\ntions", "lis-\nteners", "messages\n/s", "ended"];

/** A run as one flat row, without its histogram. */
export const flatRun = (result: Result): Record<string, Cell> => ({
  id: result.id,
  time: result.time,
  experiment: result.experiment,
  family: result.family,
  scenario: result.scenario,
  ...Object.fromEntries(
    Object.entries(result.parameters).map((
      [key, value],
    ) => [key === "connections" ? "connections_wanted" : key, value]),
  ),
  ...Object.fromEntries(METRICS.map((key) => [key, result.metrics[key]])),
  findings: result.findings.map(({ id }) => id).join(" "),
  ended: result.ended,
  reason: result.reason,
  kernel: result.host.kernel,
  cpu: result.host.cpu,
  cores: result.host.cores,
  memory_bytes: result.host.memory_bytes,
  deno: result.host.deno,
  command: result.command,
});
