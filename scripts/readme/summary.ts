/**
 * The table in the README: one line for each experiment, and what stops it.
 *
 * @module
 */
import { relative } from "node:path";
import type { Shown } from "../../lib/results/choose.ts";
import { userMemoryText } from "../../lib/tables/overview.ts";
import { serverCost } from "../../lib/tables/runs.ts";
import { count, MISSING } from "../../lib/text/format.ts";
import { type Column, markdown } from "../../lib/text/table.ts";

/** What stopped a run of `hold`, in a few words: the sentence without its first part and its extrapolation. */
function stoppedBy({ hold }: Shown): string {
  if (hold === undefined) return MISSING;
  if (hold.reason === null) return "nothing";
  const short = hold.reason.replace(/^stopped at [\d\s ]+ of [\d\s ]+: /, "");
  return short.split(/[,;.] /)[0]!.replace(/\.$/, "");
}

const COLUMNS: Column<Shown>[] = [
  {
    heading: "experiment",
    cell: ({ experiment: { name, path } }) => `[${name}](${relative(Deno.cwd(), path).replaceAll("\\", "/")})`,
    left: true,
  },
  { heading: "connections held", cell: ({ hold }) => count(hold?.metrics.answered) },
  { heading: "memory per connection", cell: userMemoryText },
  { heading: "CPU-µs per request", cell: ({ throughput }) => serverCost(throughput, 1) },
  { heading: "what stopped it", cell: stoppedBy, left: true },
];

/** The table, in Markdown. */
export const summaryTable = (rows: readonly Shown[]): string => markdown(rows, COLUMNS);
