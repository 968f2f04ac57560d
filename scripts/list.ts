/**
 * Lists the experiments by family, in reading order, with the idea of each and whether it runs on this system.
 *
 * deno task list [--json]
 */
import { catalogue, type Experiment } from "../lib/catalogue/catalogue.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { outputColumns } from "../lib/cli/progress.ts";
import { obstacleTo } from "../lib/catalogue/tools.ts";
import { wrap } from "../lib/text/table.ts";

const USAGE = "Usage: deno task list [--json]";
const MIN_TEXT = 30; // columns that the idea gets, however narrow the terminal is

/** An experiment and why it does not run here; null if it does. */
interface Entry {
  experiment: Experiment;
  reason: string | null;
}

/** The list in groups: one for each family, and one for the peers, whatever their families. */
function describe(entries: Entry[], width: number): string {
  const margin = 4 + Math.max(0, ...entries.map(({ experiment }) => experiment.name.length));
  const describeOne = ({ experiment, reason }: Entry) => {
    const lines = [experiment.idea, reason === null ? "runs here" : `skipped: ${reason}`]
      .flatMap((text) => wrap(text, Math.max(MIN_TEXT, width - margin)));
    return lines.map((line, i) => (i === 0 ? `  ${experiment.name}` : "").padEnd(margin) + line).join("\n");
  };
  const groups = Map.groupBy(entries, ({ experiment: { peer, family } }) => peer ? "peers" : family);
  return [...groups].map(([name, members]) => [name, ...members.map(describeOne)].join("\n")).join("\n\n");
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { boolean: ["json"] });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: the list takes no names.`);
  const entries = await Promise.all(
    catalogue().map(async (experiment) => ({ experiment, reason: await obstacleTo(experiment) })),
  );
  if (flags.json) {
    const rows = entries.map(({ experiment, reason }) => ({ ...experiment, runs_here: reason === null, reason }));
    console.log(JSON.stringify(rows, null, 2));
  } else console.log(describe(entries, outputColumns()));
  return 0;
});
