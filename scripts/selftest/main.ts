/**
 * Asks the verdicts of `deno task regress` for what is known: nothing got slower, or a known amount did.
 *
 * deno task selftest:regress
 */
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { outputColumns } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { QUICK_ROUND, ROUND, tellRound } from "../../lib/regress/command.ts";
import { cannotChange } from "../../lib/catalogue/patched_copies.ts";
import { brokenPromises, DECISIONS, judgeSelftest, SAMPLES } from "../../lib/regress/selftest/judge.ts";
import { selftest } from "./selftest.ts";
import { REFERENCE } from "../../lib/regress/selftest/slowed_epoll.ts";
import { SELFTEST_COLUMNS, selftestNotes } from "../../lib/regress/selftest/table.ts";
import { join } from "node:path";
import { machineOf } from "../../lib/results/machine.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { table } from "../../lib/text/table.ts";

const FEWEST_ROUNDS = 7 * SAMPLES; // of 7 an interval of 98 % can be made
const QUICK_DECISIONS = 100;
const USAGE = `Usage: deno task selftest:regress [--rounds ${ROUND.rounds * SAMPLES}] [--quick] [--json] [--no-save]
       Measures ${REFERENCE} against itself and against copies that burn a known extra, --rounds of each, and draws
       decisions from them: how many false alarms, how many slowdowns found? It takes an hour, and fails if the
       decisions do not keep what is promised.
       --quick: short rounds, ${FEWEST_ROUNDS} of each, a first look.`;

await runScript(USAGE, () =>
  interruptible(async (signal) => {
    const flags = parseFlags(Deno.args, {
      boolean: ["quick", "json", "save"],
      string: ["rounds"],
      negatable: ["save"],
      defaults: { save: true },
    });
    if (flags._.length > 0) {
      throw new UsageError(`Unexpected ${flags._[0]}: it is always ${REFERENCE} that is measured.`);
    }
    const { rounds: sample, ...load } = flags.quick ? QUICK_ROUND : ROUND;
    const most = String(flags.quick ? FEWEST_ROUNDS : sample * SAMPLES);
    const rounds = numberFlag("rounds", flags.rounds ?? most, { min: FEWEST_ROUNDS, max: 10_000, integer: true });
    const obstacle = cannotChange();
    if (obstacle !== null) throw new Unavailable(`Skipped: ${obstacle}`);
    const storing = new Storing(flags.save);
    await storing.begin();
    const host = hostFacts();
    const plan = {
      rounds,
      load,
      signal,
      host,
      dir: flags.save ? join("results", machineOf(host)) : null,
      say: (sentence: string) => console.error(sentence),
      onRound: (candidate: Parameters<typeof tellRound>[0]) => tellRound(candidate, rounds),
    };
    const rows = await selftest(plan, async (rows) => {
      if (rows.every((row) => row.log_ratio === null)) return;
      await storing.add(() =>
        writeStudy("selftest", rows, { command: taskLine("selftest:regress", Deno.args), quick: flags.quick })
      );
    });
    const cases = judgeSelftest(rows, flags.quick ? QUICK_DECISIONS : DECISIONS);
    if (flags.json) console.log(JSON.stringify(cases, null, 2));
    else if (cases.length > 0) {
      console.log([table(cases, SELFTEST_COLUMNS, outputColumns()), ...selftestNotes(cases)].join("\n"));
    }
    storing.finish();
    const broken = flags.quick ? [] : brokenPromises(cases); // of short rounds nothing is promised
    for (const sentence of broken) console.error(sentence);
    if (broken.length > 0) return EXIT.failed;
    if (cases.length > 0) return EXIT.ok;
    const reason = rows.find(({ failure }) => failure !== null)?.failure?.reason ?? "too few rounds";
    throw new Unavailable(`Skipped: ${reason}`);
  }, "the rounds until then are stored, and the same command resumes from there."));
