/**
 * Compares experiments with the first one named, in interleaved rounds, and prints each ratio with its 98 % interval.
 *
 * deno task compare epoll event-loop io-uring --connections 100 --rounds 10
 */
import { find, runsHere } from "../lib/catalogue.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/flags.ts";
import { compare, COMPARED, type Comparison } from "../lib/compare.ts";
import { UsageError } from "../lib/errors.ts";
import { type Column, count, MISSING, table } from "../lib/format.ts";

const USAGE = `Usage: deno task compare <reference> <candidate>… [--connections 100,1000] [--rounds 10] [--seconds 0.5]
       [--rate N (open loop, requests/s)] [--json]`;

interface Row {
  reference: string;
  candidate: string;
  connections: number;
  comparison: Comparison;
}

const ratio = (key: keyof Comparison) => ({ comparison }: Row) => {
  const { estimate, low, high } = comparison[key].ratio;
  if (Number.isNaN(estimate)) return MISSING; // this system does not tell the CPU time of a process
  return `${estimate.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
};

const COLUMNS: Column<Row>[] = [
  { heading: "candidate", cell: (row) => row.candidate, left: true },
  { heading: "reference", cell: (row) => row.reference, left: true },
  { heading: "connections", cell: (row) => count(row.connections) },
  { heading: "CPU-µs\n/request", cell: (row) => count(row.comparison.cpu_us_per_request.candidate, 2) },
  { heading: "CPU ratio\n[98 %]", cell: ratio("cpu_us_per_request") },
  { heading: "requests/s", cell: (row) => count(row.comparison.requests_per_s.candidate) },
  { heading: "requests/s ratio\n[98 %]", cell: ratio("requests_per_s") },
  { heading: "p99 ratio\n[98 %]", cell: ratio("p99_us") },
];

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { string: ["connections", "rounds", "seconds", "rate"], boolean: ["json"] });
  const experiments = flags._.map((name) => find(name));
  if (experiments.length < 2) throw new UsageError("Name a reference and at least one candidate.");
  for (const experiment of experiments) {
    const here = runsHere(experiment);
    if (!here.runs) throw new UsageError(`${experiment.name} cannot be compared: ${here.reason}`);
  }
  const rounds = numberFlag("rounds", flags.rounds ?? "10", { min: 1, max: 1000, integer: true });
  const seconds = numberFlag("seconds", flags.seconds ?? "0.5", { min: 0.1, max: 60 });
  const rate = flags.rate === undefined ? null : numberFlag("rate", flags.rate, { min: 1, max: 1e6 });
  const sizes = numberList("connections", flags.connections ?? "100", { min: 1, max: 1e6, integer: true });
  const rows: Row[] = [];
  const [reference, ...candidates] = experiments;
  for (const connections of sizes) {
    for (const candidate of candidates) {
      const onRound = (round: number, values: Record<string, number>) => {
        const shown = COMPARED.map((key) => `${key} ${values[key]!.toFixed(3)}`).join(", ");
        console.error(`${candidate.name}/${reference!.name} at ${connections}, round ${round} of ${rounds}: ${shown}`);
      };
      const comparison = await compare(reference!, candidate, { connections, rounds, seconds, rate, onRound });
      rows.push({ reference: reference!.name, candidate: candidate.name, connections, comparison });
    }
  }
  console.log(flags.json ? JSON.stringify(rows, null, 2) : table(rows, COLUMNS));
  return 0;
});
