/**
 * Says what this machine can run: each limit, what it caps and how to raise it; experiments that cannot run here;
 * programs that are missing.
 *
 * deno task doctor
 */
import { catalogue, runsHere } from "../lib/catalogue/catalogue.ts";
import { diagnose, type Row } from "../lib/run/limits.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { count } from "../lib/text/format.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import { installLine, missingTools } from "../lib/catalogue/tools.ts";
import { type Column, table } from "../lib/text/table.ts";

const USAGE = "Usage: deno task doctor [--json]";

const COLUMNS: Column<Row>[] = [
  { heading: "limit", cell: (row) => row.what, left: true },
  { heading: "value", cell: (row) => row.value, left: true },
  { heading: "caps", cell: (row) => row.caps, left: true },
  { heading: "to raise it", cell: (row) => row.raise, left: true },
];

/** The limit that is met first by a server that holds its connections in one process and one thread. */
function lowest(rows: Row[]): Row | undefined {
  return rows.filter((row) => row.connections !== null).sort((a, b) => a.connections! - b.connections!)[0];
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { boolean: ["json"] });
  if (flags._.length > 0) throw new UsageError(`Unknown argument ${flags._[0]}.`);
  const facts = hostFacts();
  const limits = diagnose(facts);
  const cannotRun = catalogue().map((experiment) => runsHere(experiment)).filter((answer) => !answer.runs);
  const missing = await missingTools();
  if (flags.json) {
    const experiments_not_here = cannotRun.map(({ reason }) => reason);
    const programs_missing = missing.map(({ command, reason }) => ({ command, reason }));
    console.log(JSON.stringify({ facts, limits, experiments_not_here, programs_missing }, null, 2));
    return 0;
  }
  console.log(table(limits, COLUMNS));
  const first = lowest(limits);
  if (first !== undefined) {
    console.log(
      `\nA single process meets this limit first: ${first.what}, at ${count(first.connections)} connections.`,
    );
  }
  for (const { reason } of cannotRun) console.log(`\nDoes not run here: ${reason}`);
  for (const { command, reason } of missing) console.log(`\nMissing: ${command}, ${reason}.`);
  if (missing.length > 0) console.log(`Install: ${installLine(missing)}`);
  return 0;
});
