/**
 * What the commands that measure one server have in common: their flags, their progress, and the run itself.
 *
 * @module
 */
import { findIn, speaksHttp } from "../catalogue/catalogue.ts";
import { UsageError } from "../cli/errors.ts";
import { EXIT } from "../cli/exit.ts";
import { numberFlag, numberList } from "../cli/flags.ts";
import { endInterrupted, onInterrupt } from "../cli/interrupt.ts";
import { outputColumns, type ProgressLine, progressLine } from "../cli/progress.ts";
import { count, counted } from "../text/format.ts";
import type { LentLoad } from "./bench.ts";
import { createGuard, LentGuard } from "./guard.ts";
import { hostFacts } from "../sampling/host.ts";
import { howToRaise, rightsHere } from "./limits.ts";
import { ladder, type MeasureOptions, type Step } from "./ladder.ts";
import { Storing } from "../results/durable_file.ts";
import { type Result, type ScenarioName, SCENARIOS, writeResult } from "../results/results.ts";
import { CORE_USAGE, HEAD_USAGE, readSetup, SETUP_FLAGS, type SetupFlags } from "./setup.ts";
import { runStep, type StepProgress } from "./step.ts";
import { MESSAGE_BYTES } from "../results/conventions.ts";
import { isUsualSetup } from "../results/schema.ts";
import { isCustom, type Subject } from "../server/subject.ts";
import { conclude, describe } from "../tables/runs.ts";
import { wrap } from "../text/table.ts";
import { judgePrediction } from "../claims/prediction.ts";
import { readStored } from "../results/stored.ts";

/** The flags, as `parseFlags` takes them. */
export const MEASURE_FLAGS = {
  string: ["scenario", "connections", "seconds", "rate", "slow", "bytes", ...SETUP_FLAGS],
  boolean: ["quick", "json", "save"],
  negatable: ["save"],
  defaults: { save: true },
} as const;

/** How they stand in a usage, for a server of which these scenarios can be asked. */
export const measureUsage = (scenarios: readonly ScenarioName[]): string =>
  `[--quick] [--json] [--no-save]
       [--scenario ${scenarios.join(",")}]
       [--connections 10,100] [--seconds S] [--rate N] [--slow N]
       [--bytes ${MESSAGE_BYTES}] ${CORE_USAGE}
       ${HEAD_USAGE}`;

/** What these flags mean, where their names do not say it. */
export const MEASURE_SAYS = `--rate: requests/s; of a broadcast messages/s.
       --slow: of a broadcast, more listeners, that do not read.
       --bytes: of a broadcast, the length of a message.`;

/** What asks at a rate. */
const WITH_RATE: readonly ScenarioName[] = ["rate", "mixed", "slow", "broadcast"];

/** A listener asks once, for a WebSocket. */
export const HEAD_OF_BROADCAST = "--head belongs to HTTP requests: a broadcast has none.";

/** What `--bytes` may be: a message begins with its number, and no server takes more. */
export const BYTES_RANGE = { min: 16, max: 65_535, integer: true };

/**
 * Reads what the user asked for.
 *
 * @throws {UsageError} If a value cannot be used.
 */
export function readMeasureOptions(
  flags:
    & { quick: boolean }
    & Partial<Record<"scenario" | "connections" | "seconds" | "rate" | "slow" | "bytes", string>>
    & SetupFlags,
) {
  const scenarios = flags.scenario?.split(",") ?? null;
  for (const name of scenarios ?? []) findIn(SCENARIOS.map((name) => ({ name })), name, "scenario");
  const { connections, seconds, rate, slow, bytes } = flags;
  const onlyHold = scenarios !== null && scenarios.every((name) => name === "hold");
  return {
    quick: flags.quick,
    scenarios: scenarios as ScenarioName[] | null,
    connections: connections === undefined
      ? null
      : numberList("connections", connections, { min: 1, max: 2e6, integer: true }),
    seconds: seconds === undefined ? null : numberFlag("seconds", seconds, { min: onlyHold ? 0 : 0.01, max: 1800 }),
    rate: rate === undefined ? null : numberFlag("rate", rate, { min: 1, max: 2e6 }),
    slow: slow === undefined ? null : numberFlag("slow", slow, { min: 1, max: 1e6, integer: true }),
    bytes: bytes === undefined ? null : numberFlag("bytes", bytes, BYTES_RANGE),
    setup: readSetup(flags),
  } satisfies MeasureOptions;
}

/**
 * What is asked of a server, by what it speaks: `broadcast` of an experiment of the family `push`, and of no other.
 *
 * @throws {UsageError} If the scenarios do not fit the server.
 */
export function fitting(subject: Subject, options: MeasureOptions): MeasureOptions {
  const isPush = !isCustom(subject) && !speaksHttp(subject);
  const scenarios = options.scenarios ?? (isPush ? ["broadcast" as const] : null);
  const others = scenarios?.filter((name) => name !== "broadcast") ?? [];
  const hasBroadcast = scenarios?.includes("broadcast") ?? false;
  if (isPush && others.length > 0) {
    throw new UsageError(`${subject.name} speaks WebSocket: its scenario is broadcast, not ${others.join()}.`);
  }
  if (!isPush && !isCustom(subject) && hasBroadcast) {
    throw new UsageError(`broadcast is for servers of the family push: ${subject.name} answers HTTP requests.`);
  }
  if (hasBroadcast && others.length > 0) {
    throw new UsageError("broadcast is asked of a server alone: it speaks WebSocket.");
  }
  for (const flag of ["slow", "bytes"] as const) {
    if (options[flag] !== null && !hasBroadcast) throw new UsageError(`--${flag} belongs to broadcast.`);
  }
  if (hasBroadcast && options.setup?.head !== undefined) throw new UsageError(HEAD_OF_BROADCAST);
  if (options.rate !== null && scenarios?.every((name) => !WITH_RATE.includes(name))) {
    throw new UsageError(`--rate belongs to ${WITH_RATE.join(", ")}, not to ${scenarios.join(", ")}.`);
  }
  return { ...options, scenarios };
}

/** How many connections a server counts in a step. */
interface Counted {
  step: Step;
  open: number;
}

/** What the load generator does, in words; what is missing here is called by the name of its command. */
const PHASES: Record<string, string> = {
  connect: "connecting",
  ask: "asking each connection once",
  closed: "closed loop",
  open: "open loop",
  listen: "connecting listeners",
};

/** Shows where a step stands. */
function showStep(line: ProgressLine, { step, progress }: StepProgress, told: Counted | null): void {
  if (progress.phase === "") return; // between two commands
  const { connections, answered, seconds } = progress;
  const phase = `${step.scenario} ${count(step.parameters.connections)}: ${PHASES[progress.phase] ?? progress.phase}`;
  const open = told?.step === step ? `, ${count(told.open)} open at the server` : "";
  const figures = `${count(connections)} connected${open}, ${count(answered)} answered, ${seconds.toFixed(1)} s`;
  line.show(`${phase}, ${figures}`, phase);
}

/** Shows how many connections the server itself counts. */
function showOpen(line: ProgressLine, { step: { scenario, parameters: { connections } }, open }: Counted): void {
  const phase = `${scenario} ${count(connections)}: the server counts ${counted(open, "open connection")}`;
  line.show(phase, phase);
}

/** Runs all steps. An interrupt ends the step under way; what was measured before is kept. */
async function measure(
  experiment: Subject,
  options: MeasureOptions,
  storing: Storing,
  signal: AbortSignal,
  lent?: LentLoad,
): Promise<Result[]> {
  const results: Result[] = [];
  const line = progressLine();
  const host = hostFacts();
  const isHere = !isCustom(experiment) || experiment.pid !== null;
  let told: Counted | null = null;
  const onProgress = (progress: StepProgress) => showStep(line, progress, told);
  const onOpen = (step: Step, open: number) => showOpen(line, told = { step, open });
  const shared = { experiment, host, signal, onProgress, onOpen, ...(lent && { lent }) };
  const runs = ladder(
    options,
    (step, guard) => runStep({ ...shared, step, guard }),
    lent === undefined ? createGuard() : new LentGuard(lent.connections, isHere ? createGuard() : null),
  );
  try {
    for await (const result of runs) {
      results.push(result);
      await storing.add(() => writeResult(result));
      if (lent !== undefined && lent.lost !== null) break; // what is left to do has nobody to do it
    }
  } catch (error) {
    line.clear();
    if (signal.aborted) return results;
    if (results.length > 0) console.error(describe(results)); // it would be lost otherwise
    storing.finish();
    throw error;
  }
  line.clear();
  return results;
}

/**
 * The exit code of runs: unavailable if none could run here, failed if a server crashed, was not ready or answered nothing.
 */
export function exitOfRuns(results: readonly Result[]): number {
  const ran = results.filter(({ ended }) => ended !== "skipped");
  if (ran.length === 0) return EXIT.unavailable;
  const hasFailed = ({ ended, metrics }: Result) =>
    ended === "crashed" || ended === "not_ready" || (metrics.answered ?? 0) === 0;
  return ran.some(hasFailed) ? EXIT.failed : EXIT.ok;
}

/**
 * The last lines of a run: the result in a sentence, and whether the prediction held. Numbers are judged by this run alone,
 * other servers by stored comparisons.
 */
async function closing(subject: Subject, results: readonly Result[], isSkipped: boolean): Promise<string> {
  const sentences = [conclude(subject.name, results)];
  // A prediction is of the default head and cores.
  if (!isCustom(subject) && !isSkipped && results.every(({ parameters }) => isUsualSetup(parameters))) {
    const { stored } = await readStored();
    const prediction = judgePrediction(subject, { ...stored, results });
    if (prediction !== null) sentences.push(prediction.sentence);
  }
  const lines = sentences.flatMap((sentence) => wrap(sentence, outputColumns()));
  return [...lines, ...howToRaise(results.map(({ reason }) => reason), hostFacts(), await rightsHere())].join("\n");
}

/**
 * Measures a subject, shows what came out, and returns the exit code: see {@linkcode exitOfRuns}.
 *
 * @param lent Load from other hosts; default: from this one.
 *
 * @throws {CannotStore} If nothing can be stored: before the load, or after the figures where that shows late.
 */
export async function measureAndTell(
  experiment: Subject,
  options: MeasureOptions,
  { json, save }: { json: boolean; save: boolean },
  lent?: LentLoad,
): Promise<number> {
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const storing = new Storing(save);
  await storing.begin();
  const results = await measure(experiment, options, storing, signal, lent);
  const isEmpty = signal.aborted && results.length === 0;
  // Of what cannot run here there are no figures: the last sentence says why.
  const isSkipped = results.length > 0 && results.every(({ ended }) => ended === "skipped");
  if (json) console.log(JSON.stringify(results, null, 2));
  else if (!isEmpty && !isSkipped) console.log(`${describe(results, outputColumns())}\n`);
  storing.finish();
  if (!json && !isEmpty) console.log(await closing(experiment, results, isSkipped));
  return signal.aborted ? endInterrupted(results.length, "run", save) : exitOfRuns(results);
}
