/**
 * Puts a server under load by clients of which some misbehave, and looks whether it is afterwards what it was before.
 *
 * @module
 */
import { setupFlags } from "../../lib/run/setup.ts";
import type { Setup } from "../../lib/results/schema.ts";
import { delay } from "@std/async";
import { taskLine } from "../../lib/cli/shell.ts";
import { type OpenBench, openBench, plateau } from "../../lib/run/bench.ts";
import { crash, DEATH_MS, endOf } from "../../lib/run/step.ts";
import { type Experiment, runsHere } from "../../lib/catalogue/catalogue.ts";
import type { HostFacts } from "../../lib/sampling/host.ts";
import type { Progress, StressOutcome } from "../../lib/load/generator.ts";
import {
  type Ended,
  type Metrics,
  newResult,
  type Parameters,
  type Result,
  STRESS,
  type StressFigures,
} from "../../lib/results/results.ts";
import { type Sample, sample } from "../../lib/sampling/sampler.ts";
import { type Server, StartError } from "../../lib/server/server.ts";
import { labVersion } from "../../lib/results/lab.ts";
import { judgeStress, MORE_DESCRIPTORS } from "./judge.ts";

/** How long to load a server, before and after its figures at rest are taken. */
export interface StressPlan {
  /** A run for a first look. */
  quick?: boolean;
  seconds: number;
  warmupSeconds: number;
  /** Cores of server and load, where the user named some. */
  setup?: Setup;
  /** How long a server may take to come to rest: 15 000 by default, since tokio keeps idle threads for 10 s. */
  restMs?: number;
  /** Ends the run: nothing is left running, and `stress` rejects with the signal's reason. */
  signal?: AbortSignal;
  onProgress: (progress: Progress) => void;
}

const CLIENTS = 20;
/** Workers of a server that has some. A client that stays may keep one to itself, so half of them are left to the others. */
const WORKERS = 4;
const SHARES = { resetShare: 0.01, halfCloseShare: 0.01 };
/**
 * V8 lets the young generation of a busy heap grow to 16 MiB and more a semi-space before it is content: for the first
 * 100 000 connections that looks like a leak. Kept at 1 MiB it is full after a second, and what still grows is leaked.
 */
const ENV = { DENO_V8_FLAGS: "--max-semi-space-size=1" };
/** A server is at rest once this many looks in a row, so far apart, have found the same descriptors and threads. */
const REST_LOOKS = 5;
const LOOK_MS = 100;
const REST_MS = 15_000;

/** What a run adds to its result; no figures where there was none. */
type Measured = { metrics: Partial<Metrics>; stress?: StressFigures };

/** How many clients of either kind an experiment can serve at once, and with which options it is started. */
function crowd({ path, cannot }: Experiment): Pick<Parameters, "connections" | "staying" | "workers"> {
  if (Object.hasOwn(cannot, "serve-others")) return { connections: 1, staying: 0 };
  const hasWorkers = Deno.readTextFileSync(path).includes("[--workers N]");
  if (!hasWorkers) return { connections: CLIENTS, staying: CLIENTS / 2 };
  return { connections: CLIENTS / 2 + WORKERS / 2, staying: WORKERS / 2, workers: WORKERS };
}

/** Looks at a server until `isRest` says so or the time is over, and returns the last look. */
async function look(server: Server, ms: number, isRest: (now: Sample) => boolean): Promise<Sample> {
  for (const until = performance.now() + ms;;) {
    const now = sample(server.pid);
    if (now === null) throw new Error("The server has ended.");
    if (isRest(now) || performance.now() >= until) return now;
    await delay(LOOK_MS);
  }
}

/** Waits until nothing changes any more. */
function rest(server: Server, ms: number): Promise<Sample> {
  let last = "";
  let same = 0;
  return look(server, ms, ({ descriptors, threads }) => {
    const now = `${descriptors} ${threads}`;
    same = now === last ? same + 1 : 1;
    last = now;
    return same === REST_LOOKS;
  });
}

/** The counts of both parts of a run. */
function sum(warmup: StressOutcome, load: StressOutcome) {
  const errors = { ...warmup.errors };
  for (const [key, times] of Object.entries(load.errors)) errors[key] = (errors[key] ?? 0) + times;
  return {
    requests: warmup.requests + load.requests,
    answered: warmup.answered + load.answered,
    resets: warmup.resets + load.resets,
    half_closes: warmup.half_closes + load.half_closes,
    unanswered: warmup.unanswered + load.unanswered,
    unended: warmup.unended + load.unended,
    errors,
  };
}

/** Stops the generator when `signal` aborts: what it does fails then. */
function stopping({ generator }: OpenBench, signal: AbortSignal | undefined): Disposable {
  const onAbort = () => void generator.stop();
  signal?.addEventListener("abort", onAbort, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener("abort", onAbort) };
}

/** Loads a server that runs, ends it, and judges what was seen. */
async function drive({ server, generator }: OpenBench<Experiment>, parameters: Parameters, plan: StressPlan) {
  const { connections, staying = 0, seconds, warmup_seconds } = parameters;
  const { restMs = REST_MS } = plan;
  const clients = { churning: connections - staying, staying, ...SHARES };
  const warmup = await generator.stress({ ...clients, seconds: warmup_seconds });
  const before = await rest(server, restMs);
  const load = await generator.stress({ ...clients, seconds });
  const after = await look(
    server,
    restMs,
    ({ descriptors, threads }) => descriptors <= before.descriptors + MORE_DESCRIPTORS && threads <= before.threads,
  );
  const counts = sum(warmup, load);
  const lost = warmup.lost + load.lost;
  const stoppedEarly = warmup.stopped_early ?? load.stopped_early;
  const { stopped, code } = await server.stop();
  const found = {
    ...counts,
    served: stopped?.served ?? null,
    descriptors_before: before.descriptors,
    descriptors_after: after.descriptors,
    threads_before: before.threads,
    threads_after: after.threads,
    pss_anon_bytes: load.pss_anon_bytes,
  };
  const stress: StressFigures = { ...found, ...judgeStress(found, { seconds, lost, stoppedEarly, exitCode: code }) };
  return { stress, metrics: { connections, answered: counts.answered, lost, ...plateau(after) } };
}

/**
 * Runs one stress with a fresh server. A server that cannot run here, does not get ready, dies or breaks a rule is a result
 * too: `ended` is `ok` only if all rules of stress_judge.ts hold. Linux only.
 *
 * @example
 * ```ts
 * const { ended, reason } = await stress(find("epoll"), hostFacts(), { seconds: 60, warmupSeconds: 5, onProgress() {} });
 * ```
 */
export async function stress(experiment: Experiment, host: HostFacts, plan: StressPlan): Promise<Result> {
  const { seconds, warmupSeconds: warmup_seconds } = plan;
  const parameters: Parameters = { ...plan.setup, ...crowd(experiment), seconds, warmup_seconds };
  const command = taskLine("stress", [experiment.name, "--seconds", String(seconds), ...setupFlags(plan.setup ?? {})]);
  const common = {
    experiment: experiment.name,
    family: experiment.family,
    scenario: STRESS,
    parameters,
    host,
    quick: plan.quick ?? false,
    lab: await labVersion(experiment.path),
  } as const;
  const finish = (ended: Ended, reason: string | null, measured: Measured = { metrics: {} }) =>
    newResult({ ...common, histogram: null, findings: [], command, ...measured, ended, reason });
  const here = runsHere(experiment);
  if (!here.runs) return finish("skipped", here.reason);
  try {
    const { workers } = parameters;
    const args = workers === undefined ? [] : ["--workers", String(workers)];
    const { signal, onProgress, setup = {} } = plan;
    await using bench = await openBench(experiment, { args, env: ENV, onProgress, setup, ...(signal && { signal }) });
    using _ = stopping(bench, signal);
    try {
      const measured = await drive(bench, parameters, plan);
      const { broken } = measured.stress;
      return finish(broken.length === 0 ? "ok" : "limited", broken.join("; ") || null, measured);
    } catch (error) {
      signal?.throwIfAborted();
      const over = await endOf(bench.server, DEATH_MS);
      if (over === null) throw error;
      return finish("crashed", crash(over, bench.server));
    }
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return finish(error.failure.ended, error.failure.reason);
  }
}
