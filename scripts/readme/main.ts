/**
 * Rewrites the tables and charts in README.md, each between its markers, from the files in results/.
 *
 * deno task readme
 */
import { catalogue } from "../../lib/catalogue/catalogue.ts";
import { claimsTable } from "../../lib/claims/table.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { formatDocument } from "./format.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import type { ChartSpec } from "../../lib/charts/config.ts";
import { renderPng } from "../../lib/charts/png.ts";
import { HELD, held, isOneRate, MEMORY, ratios, reached, waits } from "../../lib/charts/figures.ts";
import { count } from "../../lib/text/format.ts";
import { join } from "node:path";
import { machineOf, referenceMachine } from "../../lib/results/machine.ts";
import { readStored } from "../../lib/results/stored.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { newestLaw, shown, widest } from "../../lib/results/choose.ts";
import { isWholeSelftest, selftestTable } from "../../lib/regress/selftest/table.ts";
import { holds, overview } from "../../lib/tables/overview.ts";
import { markdown } from "../../lib/text/table.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import type { ComparisonRow } from "../../lib/results/rows.ts";
import { comparisonTable } from "../../lib/tables/comparison.ts";
import { CROSSCHECK_COLUMNS, readinessColumns } from "../../lib/tables/studies.ts";
import { readClaims } from "../../lib/claims/file.ts";

const USAGE = "Usage: deno task readme";
const NOTHING = "Nothing is measured yet.";
const C10K = 10_000;
const FLOOR = "c-epoll"; // what the peers are compared with

/** Draws a chart into results/charts/; returns the line that shows it. The table beside it has all that it shows. */
async function picture(name: string, spec: ChartSpec): Promise<string> {
  const path = `results/charts/${name}.png`;
  await Deno.mkdir("results/charts", { recursive: true });
  await Deno.writeFile(path, await renderPng(spec));
  return `![${spec.title}; the figures are in the table below](${path})`;
}

/** What is stored of the machine whose figures are published; files that cannot be used are named. */
async function read() {
  const machine = await referenceMachine("results") ?? machineOf(hostFacts());
  const { stored: { results, studies }, passedOver } = await readStored("results", machine);
  for (const { path, why } of passedOver) console.error(`Skipped ${path}: ${why}`);
  return {
    machine,
    results,
    comparisons: studies.comparison,
    calls: newestLaw(studies.readiness)?.rows,
    clients: studies.crosscheck.findLast(({ rows }) => rows.some((row) => row.round >= MIN_ROUNDS))?.rows,
    selftest: studies.selftest.findLast(isWholeSelftest),
  };
}

/** All tables by the name of their place. */
async function makeTables(): Promise<Record<string, string>> {
  const { machine, results, comparisons, calls, clients, selftest } = await read();
  const all = catalogue("experiments");
  const own = all.filter(({ peer }) => !peer);
  const peers = all.filter(({ peer }) => peer);
  const family = (name: string) => all.find((of) => of.name === name)?.family ?? "own";
  const compared = async (
    scenario: "throughput" | "rate" | "mixed" | "hold",
    reference: string,
    chart: (rows: readonly ComparisonRow[], at: string) => ChartSpec,
  ) => {
    const parts = await Promise.all(
      widest(comparisons, scenario, reference).map(async (of) => {
        const connections = of.rows[0]!.connections;
        const at = `${scenario}, ${count(connections)} connections`;
        return [await picture(`${scenario}-${connections}`, chart(of.rows, at)), comparisonTable(of)];
      }),
    );
    return parts.length === 0 ? NOTHING : parts.flat().join("\n\n");
  };
  const cost = (rows: readonly ComparisonRow[], at: string) =>
    ratios(rows, "cpu_us_per_request", `Server CPU a request: ${at}`, family);
  const size = (rows: readonly ComparisonRow[], at: string) => ratios(rows, "pss_bytes", `Memory (PSS): ${at}`, family);
  const latency = (rows: readonly ComparisonRow[], at: string) =>
    (isOneRate(rows) ? reached : ratios)(rows, "p99_us", `Latency of light requests: ${at}`, family);
  const claims = await readClaims(
    join("results", machine),
    ({ path, why }) => console.error(`Skipped ${path}: ${why}`),
  );
  return {
    results: overview(shown(own, results)),
    peers: overview(shown(peers, results)),
    holds: [
      await picture("held", held(shown(all, results), "answered", HELD)),
      await picture("memory", held(shown(all, results), "user_bytes_per_conn", MEMORY)),
      holds(all, results),
    ].join("\n\n"),
    c10k: [holds(peers, results, C10K), await compared("hold", FLOOR, size)].join("\n\n"),
    readiness: calls === undefined
      ? NOTHING
      : `${await picture("waits", waits(calls))}\n\n${markdown(calls, readinessColumns(calls))}`,
    mixed: await compared("mixed", "epoll", latency),
    throughput: await compared("throughput", FLOOR, cost),
    rate: await compared("rate", FLOOR, cost),
    claims: claims === null ? NOTHING : claimsTable(claims),
    crosscheck: clients === undefined ? NOTHING : markdown(clients, CROSSCHECK_COLUMNS),
    selftest: selftest === undefined ? NOTHING : selftestTable(selftest),
  };
}

await runScript(USAGE, async () => {
  const [extra] = parseFlags(Deno.args, {})._;
  if (extra !== undefined) throw new UsageError(`Unexpected ${extra}: all of README.md is rewritten.`);
  let text = await Deno.readTextFile("README.md");
  const tables = await makeTables();
  for (const [name, table] of Object.entries(tables)) {
    const begin = `<!-- ${name}:begin -->`;
    const end = `<!-- ${name}:end -->`;
    const from = text.indexOf(begin);
    const to = text.indexOf(end);
    if (from < 0 || to < from) {
      console.error(`README.md has no place for a table: it needs a line ${begin} and below it a line ${end}.`);
      return 1;
    }
    text = `${text.slice(0, from)}${begin}\n\n${table}\n\n${text.slice(to)}`;
  }
  await Deno.writeTextFile("README.md", text);
  await Deno.writeTextFile("results/FORMAT.md", formatDocument());
  console.log(`README.md: ${Object.keys(tables).length} tables.`);
  return 0;
});
