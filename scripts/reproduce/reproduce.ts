/**
 * Runs the steps of a plan that are not done, waits for a quiet machine before each that measures, and repeats what other
 * processes disturbed.
 *
 * @module
 */
import { EXIT } from "../../lib/cli/exit.ts";
import { type Found, isDisturbedCall, isDisturbedProbe, isSpoilt } from "../../lib/results/findings.ts";
import { delay } from "@std/async";
import { join } from "node:path";
import { hostCpuUs } from "../../lib/sampling/process.ts";
import { readAll, type Stored } from "../../lib/results/stored.ts";
import { type Attempt, keepAttempt, readJournal } from "./journal.ts";
import type { Step } from "./plan.ts";

/** Attempts at a step that is spoilt each time; then its figures keep their caveat. */
const MAX_ATTEMPTS = 3;
/** A machine is quiet when others use less than this share of it for a second. */
const QUIET_SHARE = 0.05;
const QUIET_WINDOW_MS = 1000;
/** How long to wait for that, in windows. Then the step runs anyway, and its findings say what disturbed it. */
const MAX_QUIET_WINDOWS = 60;

/** What a reproduction needs. */
export interface Plan {
  steps: readonly Step[];
  dir: string;
  machine: string;
  /** The same as long as the step would measure the same: then it need not be repeated. */
  keyOf: (step: Step) => string;
  signal: AbortSignal;
  /** Runs one command; resolves to its exit code. */
  run: (step: Step, signal: AbortSignal) => Promise<number>;
  say: (sentence: string) => void;
  /** Before each step: its place, and the minutes that are left by the pace so far. */
  onStep?: (step: Step, place: { number: number; of: number; minutesLeft: number }) => void;
  /** Whether others use the machine; default: by /proc/stat. */
  isQuiet?: () => Promise<boolean>;
}

/** How it ended. */
export interface Reproduced {
  done: number;
  /** Steps whose command failed, with its exit code. */
  failed: { step: string; exit: number }[];
  /** Steps that were disturbed in every attempt. */
  spoilt: string[];
  interrupted: boolean;
}

/** A step that cannot run on this system is done too, and one whose figures are inconclusive: its command says so. */
const DONE: readonly number[] = [EXIT.ok, EXIT.failed, EXIT.inconclusive, EXIT.unavailable];
const isDone = (attempt: Attempt) => DONE.includes(attempt.exit);

/** Whether other processes leave the machine alone for a second. Off Linux nobody knows: true. */
export async function isMachineQuiet(): Promise<boolean> {
  const from = hostCpuUs();
  await delay(QUIET_WINDOW_MS);
  const to = hostCpuUs();
  if (from === null || to === null) return true;
  return (to.busy - from.busy) / (to.total - from.total) < QUIET_SHARE;
}

async function waitForQuiet({ isQuiet = isMachineQuiet, signal, say }: Plan): Promise<void> {
  for (let i = 0; i < MAX_QUIET_WINDOWS && !signal.aborted; i++) {
    if (await isQuiet()) return;
    if (i === 0) say("Waiting for other processes to leave the machine alone…");
  }
}

/**
 * Servers from whose runs and studies, stored since a time, others took CPU time, and probes of which they did. Of a comparison
 * it is the candidate, because the reference is measured again with it. A self-test leaves disturbed rounds out by itself.
 */
export function spoiltSince({ results, studies }: Pick<Stored, "results" | "studies">, since: string): string[] {
  const { selftest: _, ...others } = studies;
  const rows = Object.values(others).flat().filter(({ time }) => time >= since).flatMap(({ rows }) => [...rows]);
  const ofRuns = results.filter(({ time }) => time >= since).flatMap(({ findings }) => serversIn(findings));
  const ofRows = rows.flatMap((row) => {
    if ("variant" in row) return isDisturbedProbe(row) ? [row.probe] : [];
    if ("turn_us" in row) return isDisturbedCall(row) ? ["readiness"] : [];
    if (!("findings" in row)) return []; // some kinds of study note none
    return "candidate" in row && isSpoilt(row.findings) ? [row.candidate] : serversIn(row.findings);
  });
  return [...new Set([...ofRuns, ...ofRows])];
}

const serversIn = (findings: readonly Found[]): string[] =>
  findings.filter((found) => isSpoilt([found])).map(({ server }) => server);

/** What is left to measure of a step once some of it was spoilt: of a comparison the candidates that were. */
export function narrowed(step: Step, spoilt: readonly string[]): Step {
  const [task, reference, ...rest] = step.args;
  const end = rest.findIndex((word) => word.startsWith("--"));
  const flags = end < 0 ? [] : rest.slice(end);
  const candidates = rest.slice(0, rest.length - flags.length).filter((name) => spoilt.includes(name));
  if (task !== "compare" || step.isWhole === true || candidates.length === 0) return step;
  return { ...step, args: [task, reference!, ...candidates, ...flags] };
}

/** Minutes that the steps left will take, by how long the done ones took against their estimate. */
export function minutesLeft(left: readonly Step[], done: readonly { step: Step; seconds: number }[]): number {
  const estimated = done.reduce((sum, { step }) => sum + step.minutes, 0);
  const taken = done.reduce((sum, { seconds }) => sum + seconds / 60, 0);
  const pace = estimated > 0 ? taken / estimated : 1;
  return pace * left.reduce((sum, { minutes }) => sum + minutes, 0);
}

/**
 * Runs a step until it is not disturbed, or as often as allowed. Returns its attempts; null: it was interrupted.
 *
 * @param before Earlier attempts at it that are done.
 */
async function runStep(step: Step, before: readonly Attempt[], plan: Plan): Promise<Attempt[] | null> {
  const { dir, machine, keyOf, signal, say } = plan;
  const attempts: Attempt[] = [];
  let last = before.at(-1) ?? null;
  for (let i = before.length; i < MAX_ATTEMPTS; i++) {
    if (step.measures) await waitForQuiet(plan);
    if (signal.aborted) return null;
    const since = new Date().toISOString();
    const start = performance.now();
    const exit = await plan.run(narrowed(step, last?.spoilt ?? []), signal);
    if (signal.aborted) return null;
    const spoilt = step.measures ? spoiltSince(await readAll(dir, machine), since) : [];
    last = {
      key: keyOf(step),
      step: step.id,
      time: new Date().toISOString(),
      seconds: (performance.now() - start) / 1000,
      exit,
      spoilt,
    };
    await keepAttempt(join(dir, machine), last);
    attempts.push(last);
    if (!isDone(last) || spoilt.length === 0) break;
    say(`${step.id}: other processes disturbed ${spoilt.join(", ")}${i + 1 < MAX_ATTEMPTS ? "; measured again" : ""}.`);
  }
  return attempts;
}

/** Runs what is missing, in order. A step that fails does not end the reproduction. */
export async function reproduce(plan: Plan): Promise<Reproduced> {
  const { steps, dir, machine, keyOf, signal, say } = plan;
  const { attempts, warnings } = await readJournal(join(dir, machine));
  for (const warning of warnings) say(warning);
  const of = (step: Step) => attempts.filter((attempt) => attempt.step === step.id && attempt.key === keyOf(step));
  const isMeasured = (step: Step) => {
    const own = of(step);
    return own.some((attempt) => isDone(attempt) && attempt.spoilt.length === 0) ||
      own.filter(isDone).length >= MAX_ATTEMPTS;
  };
  const written = new Set(steps.filter(({ measures }) => !measures).map(({ id }) => id));
  const isComplete = steps.every((step) => !step.measures || isMeasured(step));
  const lastMeasured = attempts.findLastIndex(({ step }) => !written.has(step));
  // What is written of the figures is old once more of them are measured.
  const isWritten = (step: Step) => {
    const own = of(step).findLast(isDone);
    return isComplete && own !== undefined && attempts.indexOf(own) > lastMeasured;
  };
  const isOver = (step: Step) => step.measures ? isMeasured(step) : isWritten(step);
  const open = steps.filter((step) => !isOver(step));
  if (open.length < steps.length) say(`Resuming: ${steps.length - open.length} of ${steps.length} steps are done.`);
  const done: { step: Step; seconds: number }[] = [];
  const reproduced: Reproduced = { done: steps.length - open.length, failed: [], spoilt: [], interrupted: false };
  for (const [i, step] of open.entries()) {
    plan.onStep?.(step, {
      number: steps.length - open.length + i + 1,
      of: steps.length,
      minutesLeft: minutesLeft(open.slice(i), done),
    });
    const before = of(step).filter(isDone);
    const own = await runStep(step, before, plan);
    if (own === null || signal.aborted) return { ...reproduced, interrupted: true };
    // The first attempt alone is one at all of the step: its estimate is for that.
    if (before.length === 0) done.push({ step, seconds: own[0]!.seconds });
    const attempt = own.at(-1)!;
    if (!isDone(attempt)) reproduced.failed.push({ step: step.id, exit: attempt.exit });
    else reproduced.done++;
    if (attempt.spoilt.length > 0) reproduced.spoilt.push(step.id);
  }
  return reproduced;
}
