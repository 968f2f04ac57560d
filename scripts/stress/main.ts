/**
 * Puts experiments under load by clients of which some misbehave, and tells whether each is afterwards what it was before.
 *
 * deno task stress epoll io-uring --seconds 60
 */
import { catalogue, type Experiment, findHttp, runsHere, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { Unavailable } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns, progressLine } from "../../lib/cli/progress.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { count, MISSING } from "../../lib/text/format.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import type { Progress } from "../../lib/load/generator.ts";
import { type Result, type StressFigures, writeResult } from "../../lib/results/results.ts";
import { CORE_FLAGS, CORE_USAGE, readSetup } from "../../lib/run/setup.ts";
import type { Setup } from "../../lib/results/schema.ts";
import { stress } from "./stress.ts";
import { LEVEL_RULE } from "./judge.ts";
import { type Column, table, wrap } from "../../lib/text/table.ts";

const USAGE = `Usage: deno task stress [name …] [--seconds 60] [--quick] [--json] [--no-save]
       ${CORE_USAGE}
       Without a name: every experiment that runs here. --quick: 2 s each.`;
const SECONDS = 60;
const SECONDS_QUICK = 2;
/** Seconds of load before the first look: up to 5, but no more than a quarter of the run. */
const MAX_WARMUP_SECONDS = 5;
const WARMUP_SHARE = 0.25;

/** A cell of what a run has shown; a dash where there was no run. */
const figure = (cell: (of: StressFigures) => string) => ({ stress: of }: Result) =>
  of === undefined ? MISSING : cell(of);
const mebibytes = (value: number | null) => count(value === null ? null : value / 2 ** 20, 1);

const COLUMNS: Column<Result>[] = [
  { heading: "experiment", cell: (of) => of.experiment, left: true },
  {
    heading: "clients:\nchurn + stay",
    cell: ({ parameters: { connections, staying = 0 } }) => `${connections - staying} + ${staying}`,
  },
  { heading: "requests", cell: figure((of) => count(of.requests)) },
  { heading: "answered", cell: figure((of) => count(of.answered)) },
  { heading: "served", cell: figure((of) => count(of.served)) },
  { heading: "resets", cell: figure((of) => count(of.resets)) },
  { heading: "half-\ncloses", cell: figure((of) => count(of.half_closes)) },
  { heading: "un-\nanswered", cell: figure((of) => count(of.unanswered)) },
  { heading: "errors", cell: figure((of) => count(Object.values(of.errors).reduce((sum, times) => sum + times, 0))) },
  { heading: "descriptors", cell: figure((of) => `${of.descriptors_before} → ${of.descriptors_after}`) },
  { heading: "threads", cell: figure((of) => `${of.threads_before} → ${of.threads_after}`) },
  { heading: "MiB in each\nquarter", cell: figure((of) => of.pss_anon_bytes.map(mebibytes).join(", ")) },
  { heading: "level", cell: figure(({ level }) => level === null ? MISSING : level ? "yes" : "no") },
  { heading: "ended", cell: (of) => of.ended, left: true },
];

function describe(results: readonly Result[]): string {
  const broke = results.filter(({ ended }) => ended !== "ok");
  const lines = broke.flatMap(({ experiment, ended, reason, stress }) =>
    (stress?.broken ?? [reason]).map((sentence) => `  ${experiment}: ${ended}, ${sentence}`)
  );
  const why = lines.length > 0 ? `\n\nFailures\n${lines.join("\n")}` : "";
  if (results.length === 0) return "Nothing was measured.";
  const width = outputColumns();
  return `${table(results, COLUMNS, width)}\n${wrap(LEVEL_RULE, width).join("\n")}${why}`;
}

/** Runs one experiment after the other. An interrupt ends the run under way; those before it are kept. */
async function measure(
  experiments: readonly Experiment[],
  load: { seconds: number; warmupSeconds: number; quick: boolean; setup: Setup; signal: AbortSignal },
  storing: Storing,
): Promise<Result[]> {
  const host = hostFacts();
  const results: Result[] = [];
  const line = progressLine();
  try {
    for (const experiment of experiments) {
      const { name } = experiment;
      const onProgress = ({ phase, answered, seconds }: Progress) =>
        line.show(`${name}: ${phase}, ${count(answered)} answered, ${seconds.toFixed(1)} s`, `${name}: ${phase}`);
      const result = await stress(experiment, host, { ...load, onProgress });
      results.push(result);
      line.clear();
      console.error(`${name} is over: ${result.ended}.`);
      await storing.add(() => writeResult(result)); // at once, so that an interrupt loses one run only
    }
  } catch (error) {
    line.clear();
    if (load.signal.aborted) return results;
    if (results.length > 0) console.error(describe(results)); // it would be lost otherwise
    storing.finish();
    throw error;
  }
  return results;
}

/** Unavailable if none could run here, failed if one broke. */
function exitOf(results: readonly Result[]): number {
  if (results.every(({ ended }) => ended === "skipped")) return EXIT.unavailable;
  return results.every(({ ended }) => ended === "ok" || ended === "skipped") ? EXIT.ok : EXIT.failed;
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["seconds", ...CORE_FLAGS],
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const seconds = flags.seconds === undefined
    ? flags.quick ? SECONDS_QUICK : SECONDS
    : numberFlag("seconds", flags.seconds, { min: 0.5, max: 1800 });
  const named = flags._.map((name) => findHttp(name));
  if (Deno.build.os !== "linux") {
    throw new Unavailable(`stress needs Linux: it drives its clients by epoll. This is ${Deno.build.os}.`);
  }
  const experiments = named.length > 0 ? named : catalogue().filter((one) => speaksHttp(one) && runsHere(one).runs);
  const setup = readSetup(flags);
  const warmupSeconds = Math.min(MAX_WARMUP_SECONDS, seconds * WARMUP_SHARE);
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const storing = new Storing(flags.save);
  await storing.begin();
  const results = await measure(experiments, { seconds, warmupSeconds, quick: flags.quick, setup, signal }, storing);
  const isEmpty = signal.aborted && results.length === 0;
  if (flags.json || !isEmpty) console.log(flags.json ? JSON.stringify(results, null, 2) : describe(results));
  storing.finish();
  return signal.aborted ? endInterrupted(results.length, "run", flags.save) : exitOf(results);
});
