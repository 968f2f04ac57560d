/**
 * Runs one experiment: prints what it asks and predicts, holds and loads its server, prints one table and what broke.
 *
 * deno task exp epoll --quick
 */
import { type Experiment, find } from "../lib/catalogue/catalogue.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { measureAndTell, readWish, WISH_FLAGS, WISH_USAGE } from "../lib/run/measure.ts";

const USAGE = `Usage: deno task exp <name> ${WISH_USAGE}`;

function introduce(experiment: Experiment): void {
  const { name, title, question, idea, prediction } = experiment;
  const headline = title.startsWith(`${name}:`) ? title : `${name}: ${title}`;
  console.error(`\n${headline}\n\nQuestion    ${question}\nIdea        ${idea}\nPrediction  ${prediction}\n`);
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, WISH_FLAGS);
  if (flags._.length !== 1) throw new UsageError("Name one experiment; deno task list shows them all.");
  const experiment = find(flags._[0]!);
  const wish = readWish(flags);
  introduce(experiment);
  return await measureAndTell(experiment, wish, flags);
});
