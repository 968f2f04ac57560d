/**
 * Rewrites the tables in README.md, each between its markers, from the files in results/.
 *
 * deno task readme
 */
import { catalogue } from "../lib/catalogue.ts";
import { parseFlags, runScript } from "../lib/flags.ts";
import { markdown } from "../lib/format.ts";
import { readResults, type ScenarioName } from "../lib/results.ts";
import { type ComparisonRow, readStudies, type Study } from "../lib/study.ts";
import { comparisonTables, CROSSCHECK_COLUMNS, holds, overview, readinessColumns, shown } from "../lib/tables.ts";

const USAGE = "Usage: deno task readme";
const NOTHING = "Nothing is measured yet.";
const C10K = 10_000;
const FLOOR = "c-epoll"; // what the peers are compared with
const ROUNDS = 7; // of fewer there is no interval of 98 %: a first look, and no figure for the README
const SIZES = 4; // of a study of wait calls: fewer show no law

/** The comparison with a reference that has the most candidates; of several the newest. */
function widest(studies: Study<"comparison">[], scenario: ScenarioName, reference: string) {
  const candidates = ({ rows }: Study<"comparison">) => new Set(rows.map(({ candidate }) => candidate)).size;
  const fits = (row: ComparisonRow) => row.scenario === scenario && row.reference === reference && row.rounds >= ROUNDS;
  return studies.filter(({ rows }) => rows.some(fits))
    .toSorted((a, b) => candidates(b) - candidates(a) || b.time.localeCompare(a.time))[0];
}

/** All tables by the name of their place. */
async function makeTables(): Promise<Record<string, string>> {
  const { results, passedOver } = await readResults("results");
  const [readiness, comparison, crosscheck] = [
    await readStudies("readiness"),
    await readStudies("comparison"),
    await readStudies("crosscheck"),
  ];
  const damaged = [passedOver, readiness.passedOver, comparison.passedOver, crosscheck.passedOver].flat();
  for (const { path, why } of damaged) console.error(`passed over ${path}: ${why}`);
  const all = catalogue("experiments");
  const waits = readiness.studies.findLast(({ rows }) => new Set(rows.map((row) => row.descriptors)).size >= SIZES)
    ?.rows;
  const clients = crosscheck.studies.findLast(({ rows }) => rows.some((row) => row.round >= ROUNDS))?.rows;
  const compared = (scenario: ScenarioName, reference: string) => {
    const study = widest(comparison.studies, scenario, reference);
    return study === undefined ? NOTHING : comparisonTables(study);
  };
  return {
    results: overview(shown(all.filter(({ peer }) => !peer), results)),
    peers: overview(shown(all.filter(({ peer }) => peer), results)),
    holds: holds(all, results),
    c10k: holds(all.filter(({ peer }) => peer), results, C10K),
    readiness: waits === undefined ? NOTHING : markdown(waits, readinessColumns(waits)),
    mixed: compared("mixed", "epoll"),
    throughput: compared("throughput", FLOOR),
    rate: compared("rate", FLOOR),
    crosscheck: clients === undefined ? NOTHING : markdown(clients, CROSSCHECK_COLUMNS),
  };
}

await runScript(USAGE, async () => {
  parseFlags(Deno.args, {});
  let text = await Deno.readTextFile("README.md");
  const tables = await makeTables();
  for (const [name, table] of Object.entries(tables)) {
    const begin = `<!-- ${name}:begin -->`, end = `<!-- ${name}:end -->`;
    const from = text.indexOf(begin), to = text.indexOf(end);
    if (from < 0 || to < from) {
      console.error(`README.md has no place for a table: it needs a line ${begin} and below it a line ${end}.`);
      return 1;
    }
    text = `${text.slice(0, from)}${begin}\n\n${table}\n\n${text.slice(to)}`;
  }
  await Deno.writeTextFile("README.md", text);
  console.log(`README.md: ${Object.keys(tables).length} tables.`);
  return 0;
});
