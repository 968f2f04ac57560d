/**
 * Sweeps the rate of servers: latency against load, the knee, and the capacity under an objective of latency.
 *
 * deno task sweep epoll event-loop go-net node-http --slo p99=5ms
 */
import { catalogue, findHttp } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { readSlo, type Slo } from "../../lib/results/capacity.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import type { SweepRow } from "../../lib/results/rows.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { readSetup, SETUP_FLAGS, SETUP_USAGE } from "../../lib/run/setup.ts";
import type { CannotSweep } from "../../lib/run/sweep.ts";
import { readSeed, SWEEP_FULL, SWEEP_QUICK, sweepAll } from "../../lib/run/sweep_all.ts";
import { checkOwn, commandBehind, OF_OWN, readCustom } from "../../lib/server/custom.ts";
import type { Subject } from "../../lib/server/subject.ts";
import { describeSweep, isUnknown, sweptOf } from "../../lib/tables/sweep.ts";
import { wrap } from "../../lib/text/table.ts";

const USAGE = `Usage: deno task sweep <name>… [flags]
       deno task sweep [--name NAME] [flags] -- <command>…
         the command gets its port from PORT; --path /x: what it is asked for
       deno task sweep [--name NAME] [flags] --url http://127.0.0.1:PORT
         [--pid N]
Flags: [--slo p99=5ms] [--connections 100] [--rates 1000,2000]
       [--rounds ${SWEEP_FULL.rounds}] [--seed N] [--seconds S] [--quick] [--json]
       [--no-save]
       ${SETUP_USAGE}
       --slo: find the highest rate that meets it; p50, p99 or p99.9, in us, ms or s.
       --rounds: bisections, from which its interval comes; it takes ${MIN_ROUNDS} of them.
       --seed: of the rates at which these begin, and of the order of servers;
         it is printed, and stored with the rates.
       Each rate is asked of a server that was started for it. A server takes
       about four minutes with --slo, one without; a fourth of it with --quick.`;

function readFlags() {
  const { own, words } = commandBehind(Deno.args);
  const flags = parseFlags(own, {
    string: ["slo", "connections", "rates", "rounds", "seed", "seconds", "url", ...OF_OWN, ...SETUP_FLAGS],
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const { quick, slo, rounds, rates, seed } = flags;
  const usual = quick ? SWEEP_QUICK : SWEEP_FULL;
  for (const [name, value] of Object.entries({ rounds, seed })) {
    if (slo === undefined && value !== undefined) throw new UsageError(`--${name} belongs to --slo.`);
  }
  const isCustom = words !== null || flags.url !== undefined;
  checkOwn(flags, isCustom);
  if (!isCustom && flags._.length === 0) throw new UsageError("Name an experiment; deno task list shows them all.");
  if (flags.url !== undefined && flags["server-cores"] !== undefined) {
    throw new UsageError("--server-cores belongs to a server that is started here; one at a --url runs where it runs.");
  }
  const names = catalogue().map(({ name }) => name);
  const subjects: Subject[] = isCustom
    ? [readCustom({ name: "mine", ...flags }, words, names)]
    : [...new Set(flags._)].map((name) => findHttp(name));
  const plan = {
    connections: numberFlag("connections", flags.connections ?? "100", { min: 1, max: 1e6, integer: true }),
    seconds: numberFlag("seconds", flags.seconds ?? String(usual.seconds), { min: 0.1, max: 600 }),
    warmupSeconds: usual.warmupSeconds,
    rates: rates === undefined ? null : numberList("rates", rates, { min: 1, max: 2e6, integer: true }),
    slo: slo === undefined ? null : readSlo(slo),
    rounds: numberFlag("rounds", rounds ?? String(usual.rounds), { min: 1, max: 1000, integer: true }),
    seed: readSeed(seed),
    setup: readSetup(flags),
    quick,
  };
  return { subjects, plan, json: flags.json, save: flags.save };
}

function exitOf(rows: readonly SweepRow[], slo: Slo | null, failed: readonly CannotSweep[]): number {
  if (failed.some(({ ended }) => ended !== "skipped")) return EXIT.failed;
  if (rows.length === 0) return EXIT.unavailable;
  return sweptOf(rows, slo).some(isUnknown) ? EXIT.inconclusive : EXIT.ok;
}

function show(rows: readonly SweepRow[], slo: Slo | null): string {
  const { table, sentences } = describeSweep(rows, slo, outputColumns());
  return [table, "", ...sentences.flatMap((sentence) => wrap(sentence, outputColumns()))].join("\n");
}

await runScript(USAGE, async () => {
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const { subjects, plan, json, save } = readFlags();
  const storing = new Storing(save);
  await storing.begin();
  const { rows, failed } = await sweepAll(subjects, plan, signal);
  if (rows.length > 0) {
    const command = taskLine("sweep", Deno.args);
    const isShort = plan.slo !== null && plan.rounds < MIN_ROUNDS; // there is no interval then
    await storing.add(() => writeStudy("sweep", rows, { command, quick: plan.quick || isShort || signal.aborted }));
  }
  const isEmpty = signal.aborted && rows.length === 0;
  if (json || !isEmpty) console.log(json ? JSON.stringify(rows, null, 2) : show(rows, plan.slo));
  storing.finish();
  return signal.aborted ? endInterrupted(rows.length, "rate", save) : exitOf(rows, plan.slo, failed);
});
