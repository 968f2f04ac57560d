/**
 * How many processes a load needs. They are added until the server's share of its cores stops rising: so it is shown, and not
 * guessed, whether the load was the limit.
 *
 * @module
 */
import { answersPerS } from "../load/generator.ts";
import { type LoadTrial, mayRise } from "../results/load_trial.ts";
import type { Bench } from "./bench.ts";
import { evidenceOf } from "./evidence.ts";
import { rise, startClimb } from "./hold.ts";

/** The kernel counts the time of cores in ticks of 10 ms: one is 1 % of such a window. */
const TRIAL_SECONDS = 1;
/** Load before the first trial: a server whose code is not compiled yet is full with one process of load. */
const WARM_SECONDS = 3;

/** 1, 2, 4 … up to `most`: of many processes one more would bring less than two equal trials differ by. */
export function numbersUpTo(most: number): number[] {
  const numbers: number[] = [];
  for (let number = 1; number < most; number *= 2) numbers.push(number);
  return [...numbers, most];
}

/** Tries these numbers in turn, until more of them bring no more. `attempt` returns null where it cannot be tried. */
export async function tryNumbers(
  numbers: readonly number[],
  attempt: (processes: number) => Promise<LoadTrial | null>,
): Promise<LoadTrial[]> {
  const trials: LoadTrial[] = [];
  for (const processes of numbers) {
    const trial = await attempt(processes);
    if (trial === null) break;
    trials.push(trial);
    if (!mayRise(trials)) break;
  }
  return trials;
}

/** One short window of a closed loop from so many processes. Null: not all connections are held, or the share is not known. */
async function attempt(bench: Bench, processes: number, isFirst: boolean): Promise<LoadTrial | null> {
  const { generator, parameters: { connections, seconds, warmup_seconds } } = bench;
  await generator.limitTo(processes);
  if (await rise(bench, startClimb(bench), connections, true) !== null) return null; // the run itself will tell why
  const window = await generator.closed({
    seconds: Math.min(TRIAL_SECONDS, seconds),
    warmupSeconds: isFirst ? Math.min(WARM_SECONDS, seconds) : warmup_seconds,
  });
  const { serverCoreShare: share } = evidenceOf([window]);
  if (share === null || window.stopped_early !== null) return null;
  return { processes, server_core_share: share, requests_per_s: answersPerS(window) };
}

/**
 * Adds processes of load, where it has more than one core, and leaves the generator with those that the run needs: the number of
 * the last trial. Where nothing could be tried it has all of them.
 *
 * @returns The trials; none with one core of load.
 */
export async function addProcesses(bench: Bench): Promise<LoadTrial[]> {
  const { generator, loadCores, parameters: { connections } } = bench;
  const most = Math.min(loadCores ?? 1, connections); // a process without connections asks nothing
  if (most < 2) return [];
  const trials = await tryNumbers(numbersUpTo(most), (processes) => attempt(bench, processes, processes === 1));
  await generator.limitTo(trials.at(-1)?.processes ?? most);
  return trials;
}
