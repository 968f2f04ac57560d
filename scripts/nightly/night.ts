/**
 * One night: which experiments it measures, what happens to their baselines, and how it ends.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { catalogue, find, runsHere } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { chooseExperiments } from "../../lib/regress/plan.ts";
import { readHistory, type RegressionRecord } from "../../lib/regress/record.ts";
import { addToBaseline, baselineTimes, regress, type RegressPlan } from "../../lib/regress/regress.ts";
import { machinesIn } from "../../lib/results/machine.ts";
import { readCustom } from "../../lib/server/custom.ts";
import type { Subject } from "../../lib/server/subject.ts";
import { type BaselineStep, decideBaselines } from "./baselines.ts";
import { withUndecided } from "./undecided.ts";

/** What a night measures: one experiment of each kind, so that it fits into a night on a slow machine. */
export const EXPERIMENTS = ["event-loop", "deno-serve", "io-uring"];

/** What is measured, and a sentence for each experiment that this system cannot run. */
export interface Choice {
  subjects: Subject[];
  absent: string[];
}

/**
 * The experiments of a night: those that are named, or of {@linkcode EXPERIMENTS} those that run on this system.
 *
 * @param system The system asked about; default: this one.
 * @throws {UsageError} If a name is wrong.
 */
export function nightlyExperiments(names: string | undefined, system?: Parameters<typeof runsHere>[1]): Choice {
  if (names !== undefined) return { subjects: chooseExperiments(names), absent: [] };
  const all = EXPERIMENTS.map((name) => ({ experiment: find(name), here: runsHere(find(name), system) }));
  return {
    subjects: all.filter(({ here }) => here.runs).map(({ experiment }) => experiment),
    absent: all.flatMap(({ here }) => here.runs ? [] : [here.reason]),
  };
}

/**
 * What the command line of a night names: experiments, or a server of one's own by its command.
 *
 * @throws {UsageError} If it names both, or a name is wrong.
 */
export function readNight(
  flags: { experiments?: string; name?: string; port?: string; path?: string },
  words: string[] | null,
): Choice {
  const own = (["name", "port", "path"] as const).find((flag) => flags[flag] !== undefined);
  if (words === null) {
    if (own !== undefined) throw new UsageError(`--${own} belongs to a server of your own, a command behind --.`);
    return nightlyExperiments(flags.experiments);
  }
  if (flags.experiments !== undefined) throw new UsageError("Name experiments, or a command behind --, not both.");
  return { subjects: [readCustom(flags, words, catalogue().map(({ name }) => name))], absent: [] };
}

/** The runs against a baseline of every machine that has a folder in results/. Needs `--allow-read`. */
async function allHistory(results: string): Promise<RegressionRecord[]> {
  const machines = await machinesIn(results);
  const histories = await Promise.all(machines.map((machine) => readHistory(join(results, machine))));
  return histories.flatMap(({ values }) => values);
}

const isChange = ({ step }: BaselineStep) => step !== "leave";

/** Makes and extends baselines by a night, and returns the experiments that have got their first one. */
async function keepBaselines(
  plan: RegressPlan,
  record: RegressionRecord,
  history: readonly RegressionRecord[],
): Promise<string[]> {
  if (plan.updateBaseline || record.exit === EXIT.harness) return [];
  const nights = await baselineTimes(plan); // those that it was judged by: a judged run changes no baseline
  const steps = decideBaselines({ record, nights, history });
  for (const { reason } of steps) if (reason !== null) plan.say(reason);
  const wanted = steps.filter(isChange).map(({ experiment }) => experiment);
  const taken = wanted.length > 0 ? await addToBaseline(plan, record, wanted) : [];
  return taken.filter((name) => steps.some(({ experiment, step }) => experiment === name && step === "make"));
}

/**
 * Measures and judges, makes or extends baselines, and reports. It reports where a baseline cannot be stored too: the verdict
 * is not lost then.
 *
 * @param report Takes what was found, and the experiments that have got their first baseline here.
 * @throws As `regress` and `addToBaseline`.
 */
export async function runNight(
  plan: RegressPlan,
  report: (record: RegressionRecord, made: readonly string[]) => Promise<void>,
): Promise<RegressionRecord> {
  const record = await regress(plan);
  let found = record;
  let made: string[] = [];
  try {
    const history = await allHistory(dirname(plan.dir));
    found = withUndecided(record, history);
    made = await keepBaselines(plan, record, history);
  } finally {
    await report(found, made);
  }
  return record;
}

/** What an interrupted night leaves, as the end of a sentence. Nobody knows whether the program of a command is the same later. */
export const leftBy = (words: string[] | null): string =>
  words === null
    ? "the rounds until then are stored, and the same command resumes from them."
    : "nothing is kept of a server of your own, and a later run begins anew.";

/** The exit code of the command. A job that must not fail where nothing could be decided allows inconclusive nights. */
export function exitOfNight({ exit }: Pick<RegressionRecord, "exit">, allowInconclusive: boolean): number {
  return allowInconclusive && exit === EXIT.inconclusive ? EXIT.ok : exit;
}
