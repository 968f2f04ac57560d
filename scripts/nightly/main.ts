/**
 * Measures a fixed set of experiments, or a server of one's own, every night, judges it, and keeps the baselines.
 *
 * deno task nightly --json >night.json
 * deno task nightly --name my-api --json -- node /srv/my-api/server.js >night.json
 */
import { UsageError } from "../../lib/cli/errors.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { TAKES } from "../../lib/regress/command.ts";
import { planRun } from "../../lib/regress/plan.ts";
import { showRecord } from "../../lib/regress/record.ts";
import { adviceOf } from "../../lib/regress/trend.ts";
import { commandBehind } from "../../lib/server/custom.ts";
import { BASELINE_NIGHTS } from "../../lib/regress/baseline.ts";
import { exitOfNight, EXPERIMENTS, leftBy, readNight, runNight } from "./night.ts";
import { UNDECIDED_NIGHTS } from "./undecided.ts";
import { type Github, reportToGithub, sentenceOfNight } from "./report.ts";

const USAGE = `Usage: deno task nightly [--experiments a,b] [flags]
       deno task nightly --name NAME [--port N] [--path /healthz] [flags]
                         -- <command>…
Flags: [--new-baseline] [--allow-inconclusive] [--json]
       Judges as \`deno task regress\` does, and keeps the baselines of this
       machine.
       Without --experiments: ${EXPERIMENTS.join(", ")}.
       With a command: a server of your own. It runs in the folder of the lab;
       its port is PORT in its environment, or --port. It is asked for / or
       --path by GET, and must answer with status 200.
       For each it takes ${TAKES}.
       What has no baseline gets one. A night that is not slower is
       added until a baseline has ${BASELINE_NIGHTS}. Neither happens while the newest verdict on
       one of those measured is "slower", or "broken" after it was once judged.
       --new-baseline: every baseline starts again with this night, which judges
       nothing.
       --allow-inconclusive: ends with 0 where nothing could be decided. After
       ${UNDECIDED_NIGHTS} such nights in a row each says so.
       On GitHub it writes the summary, an annotation, and the output "night":
       deno task nightly:issue reads it.`;

/** What GitHub tells a step where to report. */
const githubHere = (): Github => ({
  isJob: Deno.env.get("GITHUB_ACTIONS") === "true",
  summary: Deno.env.get("GITHUB_STEP_SUMMARY") || null,
  output: Deno.env.get("GITHUB_OUTPUT") || null,
});

await runScript(USAGE, () => {
  const { own, words } = commandBehind(Deno.args);
  return interruptible(async (signal) => {
    const flags = parseFlags(own, {
      boolean: ["new-baseline", "allow-inconclusive", "json"],
      string: ["experiments", "name", "port", "path"],
    });
    if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: --experiments takes the names.`);
    const { subjects, absent } = readNight(flags, words);
    for (const sentence of absent) console.error(`Left out: ${sentence}`);
    const plan = await planRun({
      subjects,
      updateBaseline: flags["new-baseline"],
      replaceBaseline: flags["new-baseline"],
      quick: false,
      signal,
      command: taskLine("nightly", Deno.args),
    });
    const record = await runNight(plan, async (found, made) => {
      const changes = await adviceOf(plan.dir);
      const shown = showRecord(found, sentenceOfNight(found, made)) + changes;
      console.log(flags.json ? JSON.stringify(found, null, 2) : shown);
      await reportToGithub(found, made, changes, githubHere());
    });
    return exitOfNight(record, flags["allow-inconclusive"]);
  }, leftBy(words));
});
