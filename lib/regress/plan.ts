/**
 * The plan of a run against the baseline, from what a user names: the same for every command that makes such a run.
 *
 * @module
 */
import { join } from "node:path";
import { catalogue, type Experiment, find, findHttp, runsHere, speaksHttp } from "../catalogue/catalogue.ts";
import { obstacleTo } from "../catalogue/tools.ts";
import { UsageError } from "../cli/errors.ts";
import { machineOf } from "../results/machine.ts";
import { hostFacts } from "../sampling/host.ts";
import { cacheFolder, fetchDeno } from "../server/deno_versions.ts";
import { isCustom, type Subject, type Variant } from "../server/subject.ts";
import { CONNECTIONS, QUICK_ROUND, ROUND, tellRound } from "./command.ts";
import type { RegressPlan } from "./regress.ts";
import { measurePairs } from "./rounds.ts";

/** The reference is a program in C: a slower runtime would slow a reference on the same runtime too, and hide behind it. */
export const REFERENCE = "c-epoll";
/** Without a C compiler it is this one, on a Deno that stays the same. */
export const FALLBACK = "epoll";
export const PINNED_DENO = "2.9.6";

/** The reference that is available here. */
async function referenceHere(): Promise<Experiment | Variant> {
  const reference = find(REFERENCE);
  if (await obstacleTo(reference) === null) return reference;
  const fallback = find(FALLBACK);
  const runtime = await fetchDeno(PINNED_DENO, cacheFolder());
  return { ...fallback, name: `${FALLBACK} ${runtime.version}`, runtime };
}

/**
 * The experiments of a list such as `event-loop,io-uring`; without one all that run here, but for the peers.
 *
 * @throws {UsageError} If one is unknown, named twice, or the reference.
 */
export function chooseExperiments(names: string | undefined): Experiment[] {
  if (names === undefined) {
    return catalogue().filter((each) => !each.peer && speaksHttp(each) && runsHere(each).runs);
  }
  const chosen = names.split(",").map((name) => findHttp(name));
  if (new Set(chosen.map(({ name }) => name)).size < chosen.length) throw new UsageError("Name each experiment once.");
  if (chosen.some(({ name }) => name === REFERENCE)) {
    throw new UsageError(`${REFERENCE} is the reference: leave it out.`);
  }
  return chosen;
}

/** One that serves a single connection at a time is measured with one. */
const connectionsOf = (subject: Subject) =>
  !isCustom(subject) && Object.hasOwn(subject.cannot, "serve-others") ? 1 : CONNECTIONS;

/** What the command line of a run decides. */
export interface RegressOptions {
  subjects: readonly Subject[];
  updateBaseline: boolean;
  replaceBaseline: boolean;
  quick: boolean;
  signal: AbortSignal;
  /** The command line that repeats it. */
  command: string;
}

/** The plan of a run on this machine. It reports on stderr. */
export async function planRun(options: RegressOptions): Promise<RegressPlan> {
  const { subjects, updateBaseline, replaceBaseline, quick, signal, command } = options;
  const host = hostFacts();
  const reference = await referenceHere();
  const { rounds, ...load } = quick ? QUICK_ROUND : ROUND;
  return {
    reference,
    candidates: subjects.map((subject) => ({ subject, connections: connectionsOf(subject) })),
    rounds,
    load,
    signal,
    measure: measurePairs(reference, { ...load, signal }),
    host,
    updateBaseline,
    replaceBaseline,
    quick,
    dir: join("results", machineOf(host)),
    command,
    say: (sentence) => console.error(sentence),
    onRound: (candidate) => tellRound(candidate, rounds),
  };
}
