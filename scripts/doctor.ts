/**
 * Says what this machine can run: each limit, what it caps and how to raise it; experiments that cannot run here;
 * programs that are missing.
 *
 * deno task doctor
 */
import { catalogue, runsHere } from "../lib/catalogue/catalogue.ts";
import { adviceFor, diagnose, rightsHere, type Row } from "../lib/run/limits.ts";
import { coresOf, cpusHere, describeCores, describeScaling } from "../lib/run/setup.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { outputColumns } from "../lib/cli/progress.ts";
import { readCgroup } from "../lib/sampling/cgroup.ts";
import { planScaling } from "../lib/sampling/cores.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { count } from "../lib/text/format.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import { installLine, missingTools } from "../lib/catalogue/tools.ts";
import { type Column, table, wrap } from "../lib/text/table.ts";
import { moreDescriptors } from "../lib/sampling/shell_limits.ts";

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
  const may = await rightsHere();
  const container = Deno.build.os === "linux" ? readCgroup() : null;
  const limits = diagnose(facts, container).map((row) => ({ ...row, raise: adviceFor(row.raise, may) }));
  const cannotRun = catalogue().map((experiment) => runsHere(experiment)).filter((answer) => !answer.runs);
  const missing = await missingTools();
  if (flags.json) {
    const experiments_not_here = cannotRun.map(({ reason }) => reason);
    const programs_missing = missing.map(({ command, reason }) => ({ command, reason }));
    console.log(
      JSON.stringify(
        {
          facts,
          cores: coresOf({}),
          scaling: planScaling(cpusHere(), true),
          limits,
          experiments_not_here,
          programs_missing,
        },
        null,
        2,
      ),
    );
    return EXIT.ok;
  }
  const width = outputColumns();
  const say = (text: string) => console.log(`\n${wrap(text, width).join("\n")}`);
  console.log(table(limits, COLUMNS, width));
  say(describeCores());
  say(describeScaling());
  const first = lowest(limits);
  if (first !== undefined) {
    say(`A single process meets this limit first: ${first.what}, at ${count(first.connections)} connections.`);
  }
  const more = Deno.build.os === "linux" ? moreDescriptors(Deno.pid) : null;
  if (more !== null) say(more);
  for (const { reason } of cannotRun) say(`Does not run here: ${reason}`);
  for (const { command, reason } of missing) say(`Missing: ${command}, ${reason}.`);
  if (missing.length > 0) console.log(`Install: ${installLine(missing)}`);
  return EXIT.ok;
});
