/**
 * Measures a fixed set of experiments every night, judges them, and keeps their baselines.
 *
 * deno task nightly --json >night.json
 */
import { UsageError } from "../../lib/cli/errors.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { appendTo } from "../../lib/regress/command.ts";
import { planRun } from "../../lib/regress/plan.ts";
import { recordMarkdown, type RegressionRecord, showRecord } from "../../lib/regress/record.ts";
import { adviceOf } from "../../lib/regress/trend.ts";
import { BASELINE_NIGHTS } from "./baselines.ts";
import { annotationOf, exitOfNight, EXPERIMENTS, nightlyExperiments, runNight } from "./night.ts";

const USAGE = `Usage: deno task nightly [--experiments a,b] [--new-baseline]
                         [--allow-inconclusive] [--json]
       Judges as \`deno task regress\` does, and keeps the baselines of this
       machine.
       Without --experiments: ${EXPERIMENTS.join(", ")}.
       An experiment without a baseline gets one. A night that is not slower is
       added until a baseline has ${BASELINE_NIGHTS}. Neither happens while the newest verdict on
       one of the experiments is "slower" or "broken".
       --new-baseline: every baseline begins anew with this night, which judges
       nothing.
       --allow-inconclusive: ends with 0 where nothing could be decided.
       On GitHub it writes the summary, an annotation, and the output "night":
       deno task nightly:issue reads it.`;

/** Reports to the user, and to the job on GitHub that runs this. */
async function report(record: RegressionRecord, dir: string, isJson: boolean): Promise<void> {
  const changes = await adviceOf(dir);
  console.log(isJson ? JSON.stringify(record, null, 2) : showRecord(record) + changes);
  const annotation = annotationOf(record);
  if (annotation !== null && Deno.env.get("GITHUB_ACTIONS") === "true") console.error(annotation);
  const summary = Deno.env.get("GITHUB_STEP_SUMMARY");
  if (summary) await appendTo(summary, recordMarkdown(record) + changes.replaceAll("\n", "\n\n"));
  const output = Deno.env.get("GITHUB_OUTPUT");
  if (output) await appendTo(output, `night=${JSON.stringify(record)}\n`);
}

await runScript(USAGE, () =>
  interruptible(async (signal) => {
    const flags = parseFlags(Deno.args, {
      boolean: ["new-baseline", "allow-inconclusive", "json"],
      string: ["experiments"],
    });
    if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: --experiments takes the names.`);
    const { experiments, absent } = nightlyExperiments(flags.experiments);
    for (const sentence of absent) console.error(`Left out: ${sentence}`);
    const plan = await planRun({
      experiments,
      updateBaseline: flags["new-baseline"],
      replaceBaseline: flags["new-baseline"],
      quick: false,
      signal,
      command: taskLine("nightly", Deno.args),
    });
    const record = await runNight(plan, (found) => report(found, plan.dir, flags.json));
    return exitOfNight(record, flags["allow-inconclusive"]);
  }, "the rounds until then are stored, and the same command resumes from them."));
