/**
 * Measures a fixed set of experiments every night, judges them, and keeps their baselines.
 *
 * deno task nightly --json >night.json
 */
import { UsageError } from "../../lib/cli/errors.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { planRun } from "../../lib/regress/plan.ts";
import { showRecord } from "../../lib/regress/record.ts";
import { adviceOf } from "../../lib/regress/trend.ts";
import { BASELINE_NIGHTS } from "../../lib/regress/baseline.ts";
import { exitOfNight, EXPERIMENTS, nightlyExperiments, runNight } from "./night.ts";
import { type Github, reportToGithub } from "./report.ts";

const USAGE = `Usage: deno task nightly [--experiments a,b] [--new-baseline]
                         [--allow-inconclusive] [--json]
       Judges as \`deno task regress\` does, and keeps the baselines of this
       machine.
       Without --experiments: ${EXPERIMENTS.join(", ")}.
       An experiment without a baseline gets one. A night that is not slower is
       added until a baseline has ${BASELINE_NIGHTS}. Neither happens while the newest verdict on
       one of the experiments is "slower" or "broken".
       --new-baseline: every baseline starts again with this night, which judges
       nothing.
       --allow-inconclusive: ends with 0 where nothing could be decided.
       On GitHub it writes the summary, an annotation, and the output "night":
       deno task nightly:issue reads it.`;

/** What GitHub tells a step where to report. */
const githubHere = (): Github => ({
  isJob: Deno.env.get("GITHUB_ACTIONS") === "true",
  summary: Deno.env.get("GITHUB_STEP_SUMMARY") || null,
  output: Deno.env.get("GITHUB_OUTPUT") || null,
});

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
    const record = await runNight(plan, async (found) => {
      const changes = await adviceOf(plan.dir);
      console.log(flags.json ? JSON.stringify(found, null, 2) : showRecord(found) + changes);
      await reportToGithub(found, changes, githubHere());
    });
    return exitOfNight(record, flags["allow-inconclusive"]);
  }, "the rounds until then are stored, and the same command resumes from them."));
