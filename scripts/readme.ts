/**
 * Rewrites the table of experiments in README.md, between its markers, from the newest files in results/.
 *
 * deno task readme
 */
import { catalogue, type Experiment } from "../lib/catalogue.ts";
import { parseFlags, runScript } from "../lib/flags.ts";
import { bytes, type Column, count, markdown, microseconds, MISSING } from "../lib/format.ts";
import { WARMUP_SECONDS } from "../lib/ladder.ts";
import { readResults, type Result, type ScenarioName } from "../lib/results.ts";
import { bounded } from "../lib/summary.ts";

const USAGE = "Usage: deno task readme";
const BEGIN = "<!-- results:begin -->", END = "<!-- results:end -->";

interface Row {
  experiment: Experiment;
  hold: Result | undefined;
  throughput: Result | undefined;
  rate: Result | undefined;
}

/** What a quick run left is no figure for the README: it climbs for 3 s and warms up for half a second. */
const isWhole = ({ scenario, parameters }: Result) =>
  scenario === "hold" ? parameters.climb_seconds === undefined : parameters.warmup_seconds >= WARMUP_SECONDS;

/** The newest whole run of a scenario; of `hold` the newest of those that were asked for the most connections. */
function best(results: Result[], experiment: Experiment, scenario: ScenarioName): Result | undefined {
  const asked = (of: Result) => scenario === "hold" ? of.parameters.connections : 0;
  return results.filter((of) => of.experiment === experiment.name && of.scenario === scenario && isWhole(of))
    .toSorted((a, b) => asked(b) - asked(a) || b.time.localeCompare(a.time))[0];
}

/** Whether a run of `rate` was at half of that throughput, over as many connections: the table says so. */
function isHalf(rate: Result | undefined, throughput: Result | undefined): boolean {
  if (rate?.parameters.rate_per_s === undefined || !throughput?.metrics.requests_per_s) return false;
  const share = rate.parameters.rate_per_s / throughput.metrics.requests_per_s;
  return rate.parameters.connections === throughput.parameters.connections && Math.abs(share - 0.5) < 0.01;
}

/** A p99 that may be the load generator's own is an upper bound. */
function p99({ throughput, rate }: Row): string {
  if (!isHalf(rate, throughput)) return MISSING;
  const weak = rate!.findings.some(({ id }) => id === "client_bound" || id === "late_sends" || id === "foreign_load");
  return `${weak ? "≤ " : ""}${microseconds(rate!.metrics.p99_us)}`;
}

function held({ hold }: Row): string {
  if (hold === undefined) return MISSING;
  const answered = count(hold.metrics.answered);
  if (hold.ended === "ok") return answered;
  const why = hold.reason ?? hold.ended;
  return why.startsWith("stopped at") ? why : `${answered}, then ${why}`;
}

const COLUMNS: Column<Row>[] = [
  { heading: "experiment", cell: ({ experiment: { name, path } }) => `[${name}](${path})`, left: true },
  { heading: "family", cell: ({ experiment }) => experiment.family, left: true },
  { heading: "held and answered", cell: held, left: true },
  { heading: "user memory a connection", cell: ({ hold }) => bytes(hold?.metrics.user_bytes_per_conn) },
  { heading: "connections under load", cell: ({ throughput }) => count(throughput?.parameters.connections) },
  {
    heading: "requests/s",
    cell: ({ throughput }) => throughput ? bounded(throughput, count(throughput.metrics.requests_per_s)) : MISSING,
  },
  { heading: "server CPU-µs a request", cell: ({ throughput }) => count(throughput?.metrics.cpu_us_per_request, 2) },
  { heading: "p99 at half of that rate", cell: p99 },
];

/** One sentence for each kind of machine that the figures come from. */
function hosts(rows: Row[]): string {
  const facts = rows.flatMap(({ hold, throughput, rate }) => [hold, throughput, rate]).filter((of) => of !== undefined)
    .map(({ host }) =>
      `${host.cpu ?? "unknown CPU"}, ${host.cores} cores, ${bytes(host.memory_bytes)}, ` +
      `${host.os} ${host.kernel}, Deno ${host.deno}`
    );
  return [...new Set(facts)].join("; ");
}

await runScript(USAGE, async () => {
  parseFlags(Deno.args, {});
  const { results, passedOver } = await readResults("results");
  for (const { path, why } of passedOver) console.error(`passed over ${path}: ${why}`);
  const rows = catalogue("experiments").map((experiment) => ({
    experiment,
    hold: best(results, experiment, "hold"),
    throughput: best(results, experiment, "throughput"),
    rate: best(results, experiment, "rate"),
  }));
  const text = await Deno.readTextFile("README.md");
  const from = text.indexOf(BEGIN), to = text.indexOf(END);
  if (from < 0 || to < from) {
    console.error(`README.md has no place for the table: it needs a line ${BEGIN} and below it a line ${END}.`);
    return 1;
  }
  const table = `${BEGIN}\n\n${markdown(rows, COLUMNS)}\n\nMeasured on: ${hosts(rows)}.\n\n`;
  await Deno.writeTextFile("README.md", text.slice(0, from) + table + text.slice(to));
  console.log(`README.md: ${rows.length} experiments, ${results.length} results read.`);
  return 0;
});
