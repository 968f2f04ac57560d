/**
 * Measures experiments next to a reference and judges them against the baseline of this machine: did one get slower?
 *
 * deno task regress --experiments event-loop,deno-serve
 */
import { UsageError } from "../../lib/cli/errors.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { appendTo, QUICK_ROUND, ROUND } from "../../lib/regress/command.ts";
import { chooseExperiments, FALLBACK, PINNED_DENO, planRun, REFERENCE } from "../../lib/regress/plan.ts";
import { recordMarkdown, showRecord } from "../../lib/regress/record.ts";
import { baselineTimes, regress } from "../../lib/regress/regress.ts";
import { adviceOf } from "../../lib/regress/trend.ts";

const USAGE = `Usage: deno task regress [--experiments a,b] [--quick] [--update-baseline] [--json]
       Without --experiments: all that run here, except the peers.
       The reference is ${REFERENCE}; without a C compiler ${FALLBACK} on Deno ${PINNED_DENO}.
       --quick: ${QUICK_ROUND.rounds} rounds in place of ${ROUND.rounds}, a first look: an alarm is not confirmed,
       and nothing is written into the history.
       --update-baseline: these rounds are what later ones are compared with.`;

await runScript(USAGE, () =>
  interruptible(async (signal) => {
    const flags = parseFlags(Deno.args, { boolean: ["quick", "update-baseline", "json"], string: ["experiments"] });
    if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: --experiments takes the names.`);
    const { quick, "update-baseline": updateBaseline } = flags;
    if (quick && updateBaseline) throw new UsageError("A baseline takes all rounds: leave out --quick.");
    const command = taskLine("regress", Deno.args);
    const experiments = chooseExperiments(flags.experiments);
    const plan = await planRun({
      subjects: experiments,
      updateBaseline,
      replaceBaseline: false,
      quick,
      signal,
      command,
    });
    if (quick) console.error(`Quick: ${plan.rounds} rounds, where a judgement takes ${ROUND.rounds}.`);
    const record = await regress(plan);
    const changes = await adviceOf(plan.dir);
    console.log(flags.json ? JSON.stringify(record, null, 2) : showRecord(record) + changes);
    const unknown = [...await baselineTimes(plan)].filter(([, nights]) => nights.length === 0).map(([name]) => name);
    if (unknown.length > 0 && !updateBaseline) {
      console.error(`No baseline here fits ${unknown.join(", ")}: --update-baseline makes one.`);
    }
    const summary = Deno.env.get("GITHUB_STEP_SUMMARY");
    if (summary) await appendTo(summary, recordMarkdown(record) + changes.replaceAll("\n", "\n\n"));
    return record.exit;
  }, "the rounds until then are stored, and the same command resumes from there."));
