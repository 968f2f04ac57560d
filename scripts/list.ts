/**
 * Lists the experiments by family, in reading order, with the idea of each and whether it runs on this system.
 *
 * deno task list [--json]
 */
import { catalogue, type Experiment, runsHere } from "../lib/catalogue.ts";
import { UsageError } from "../lib/errors.ts";
import { parseFlags, runScript } from "../lib/flags.ts";

const USAGE = "Usage: deno task list [--json]";
const WIDTH = 100; // columns, where the output is no terminal that tells its own
const MIN_TEXT = 30; // columns that the idea gets, however narrow the terminal is

/** Breaks a text into lines of at most `width` characters; a longer word stands alone. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The list in groups: one for each family, and one for the peers, whatever their families. */
function describe(experiments: Experiment[], width: number): string {
  const margin = 4 + Math.max(0, ...experiments.map((experiment) => experiment.name.length));
  const entry = (experiment: Experiment) => {
    const here = runsHere(experiment);
    const lines = [experiment.idea, here.runs ? "runs here" : `skipped: ${here.reason}`]
      .flatMap((text) => wrap(text, Math.max(MIN_TEXT, width - margin)));
    return lines.map((line, i) => (i === 0 ? `  ${experiment.name}` : "").padEnd(margin) + line).join("\n");
  };
  const groups = Map.groupBy(experiments, ({ peer, family }) => peer ? "peers" : family);
  return [...groups].map(([name, members]) => [name, ...members.map(entry)].join("\n")).join("\n\n");
}

await runScript(USAGE, () => {
  const flags = parseFlags(Deno.args, { boolean: ["json"] });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: the list takes no names.`);
  const experiments = catalogue();
  if (flags.json) {
    const rows = experiments.map((experiment) => {
      const here = runsHere(experiment);
      return { ...experiment, runs_here: here.runs, reason: here.runs ? null : here.reason };
    });
    console.log(JSON.stringify(rows, null, 2));
  } else console.log(describe(experiments, Deno.stdout.isTerminal() ? Deno.consoleSize().columns : WIDTH));
  return Promise.resolve(0);
});
