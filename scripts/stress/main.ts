/**
 * Puts experiments under load by clients of which some misbehave, and tells whether each is afterwards what it was before.
 *
 * deno task stress epoll io-uring --seconds 60
 */
import { catalogue, find, runsHere } from "../../lib/catalogue/catalogue.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { count, MISSING } from "../../lib/text/format.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import type { Progress } from "../../lib/load/generator.ts";
import { type Result, type StressFigures, writeResult } from "../../lib/results/results.ts";
import { stress } from "./stress.ts";
import { LEVEL_RULE } from "./judge.ts";
import { type Column, table } from "../../lib/text/table.ts";

const USAGE = `Usage: deno task stress [name …] [--seconds 60] [--quick (2 s)] [--json] [--no-save]`;
const SECONDS = 60;
const SECONDS_QUICK = 2;
/** Seconds of load before the first look: up to 5, but no more than a quarter of the run. */
const MAX_WARMUP_SECONDS = 5;
const WARMUP_SHARE = 0.25;
const EX_UNAVAILABLE = 69; // <sysexits.h>

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
  const why = lines.length > 0 ? `\n\nWhat broke, and why\n${lines.join("\n")}` : "";
  return `${table(results, COLUMNS)}\n${LEVEL_RULE}${why}`;
}

/** Progress: on a terminal one line that is written over, elsewhere a line for each experiment. */
function progressLine(experiment: string) {
  const terminal = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  const write = (text: string) => Deno.stderr.writeSync(encoder.encode(text));
  if (!terminal) write(`${experiment}\n`);
  return {
    show({ answered, seconds }: Progress): void {
      if (terminal) write(`\r\x1b[K${experiment}: ${count(answered)} answered, ${seconds.toFixed(1)} s`);
    },
    clear: () => terminal && write("\r\x1b[K"),
  };
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["seconds"],
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const seconds = flags.seconds === undefined
    ? flags.quick ? SECONDS_QUICK : SECONDS
    : numberFlag("seconds", flags.seconds, { min: 0.5, max: 1800 });
  const named = flags._.map((name) => find(name));
  if (Deno.build.os !== "linux") {
    console.error(`Stress is not supported on ${Deno.build.os}: it drives its clients by epoll, a part of Linux.`);
    return EX_UNAVAILABLE;
  }
  const experiments = named.length > 0 ? named : catalogue().filter((experiment) => runsHere(experiment).runs);
  const host = hostFacts();
  const warmupSeconds = Math.min(MAX_WARMUP_SECONDS, seconds * WARMUP_SHARE);
  const results: Result[] = [];
  const paths: string[] = [];
  for (const experiment of experiments) {
    const line = progressLine(experiment.name);
    const result = await stress(experiment, host, {
      seconds,
      warmupSeconds,
      quick: flags.quick,
      onProgress: line.show,
    });
    line.clear();
    results.push(result);
    if (flags.save) paths.push(await writeResult(result)); // at once, so that an interrupt loses one run only
  }
  console.log(flags.json ? JSON.stringify(results, null, 2) : describe(results));
  if (paths.length > 0) console.error(`\nStored:\n${paths.map((path) => `  ${path}`).join("\n")}`);
  return results.every(({ ended }) => ended === "ok" || ended === "skipped") ? 0 : 1;
});
