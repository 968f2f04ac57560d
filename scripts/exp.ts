/**
 * Runs one experiment: prints what it asks and predicts, holds and loads its server, prints one table and what broke.
 *
 * deno task exp epoll --quick
 */
import { type Experiment, find } from "../lib/catalogue/catalogue.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { obstacleTo } from "../lib/catalogue/tools.ts";
import { columnsOf, say } from "../lib/cli/progress.ts";
import { wrap } from "../lib/text/table.ts";
import { EXP_TIME } from "../lib/results/duration.ts";
import type { MeasureOptions } from "../lib/run/ladder.ts";
import {
  fitting,
  MEASURE_FLAGS,
  MEASURE_SAYS,
  measureAndTell,
  measureUsage,
  readMeasureOptions,
} from "../lib/run/measure.ts";
import { SCENARIOS } from "../lib/results/results.ts";

const USAGE = `Usage: deno task exp <name> ${measureUsage(SCENARIOS)}
       ${MEASURE_SAYS}
       Every 5 s, outside of measured windows, a server that can report them is
       asked for its open connections. deno task probe stats-line: what that costs`;

const LABEL = 12; // columns of `Question` and its like

/** How long the default runs take in a quick look. */
const QUICK_TIME = "under 20 s";

/** The first line: what comes, and how long it takes. */
function announce({ name }: Experiment, { quick, scenarios, connections, seconds }: MeasureOptions): void {
  const isUsual = scenarios === null && connections === null && seconds === null;
  const time = isUsual ? ` in ${quick ? QUICK_TIME : EXP_TIME}` : "";
  const what = (scenarios ?? ["hold", "throughput", "rate"]).join(", ");
  say(`Measuring ${name}${time}: ${what}. Ctrl-C keeps the finished runs.`);
}

/** A label and its text, which is wrapped beside it. */
const labelled = (label: string, text: string): string =>
  wrap(text, columnsOf(Deno.stderr) - LABEL).map((line, i) => (i === 0 ? label : "").padEnd(LABEL) + line).join("\n");

function introduce({ name, title, question, idea, prediction }: Experiment): void {
  const headline = title.startsWith(`${name}:`) ? title : `${name}: ${title}`;
  const texts = Object.entries({ Question: question, Idea: idea, Prediction: prediction });
  console.error(`\n${headline}\n\n${texts.map(([label, text]) => labelled(label, text)).join("\n")}\n`);
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, MEASURE_FLAGS);
  if (flags._.length !== 1) throw new UsageError("Name one experiment; deno task list shows them all.");
  const experiment = find(flags._[0]!);
  const options = fitting(experiment, readMeasureOptions(flags));
  if (await obstacleTo(experiment) === null) announce(experiment, options);
  introduce(experiment);
  return await measureAndTell(experiment, options, flags);
});
