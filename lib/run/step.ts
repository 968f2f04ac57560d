import { delay } from "@std/async";
import { LoadLost } from "../load/generator.ts";
import { atLeast, findingsOf, type LentLoad, type Measured, type OpenBench, openBench } from "./bench.ts";
import { count } from "../text/format.ts";
import type { Guard } from "./guard.ts";
import type { HostFacts } from "../sampling/host.ts";
import { type Step } from "./ladder.ts";
import type { Progress } from "../load/generator.ts";
import { howEnded, withLastWords } from "../server/launch.ts";
import { manifestOf } from "../server/manifest.ts";
import { errorsByKind } from "../results/findings.ts";
import { type Ended, newResult, type Result } from "../results/results.ts";
import { MESSAGE_BYTES } from "../results/conventions.ts";
import { labVersion } from "../results/lab.ts";
import { OpenConnections } from "./open_connections.ts";
import { setupFlags, setupOf } from "./setup.ts";
import { SCENARIO } from "./scenarios.ts";
import { StartError } from "../server/server.ts";
import { bypassesKernel, hasWork, isCustom, pathOf, repeat, type Running, type Subject } from "../server/subject.ts";

/** Where a step stands. */
export interface StepProgress {
  step: Step;
  progress: Progress;
}

/** What one run needs. */
export interface RunOptions {
  experiment: Subject;
  /** Over a veth pair; always so around the kernel. */
  isWired?: boolean;
  host: HostFacts;
  step: Step;
  guard: Guard;
  /** Load from other hosts; default: from this one. */
  lent?: LentLoad;
  /** Ends the run: server and generator are stopped, and `runStep` rejects with the signal's reason. */
  signal: AbortSignal;
  onProgress: (progress: StepProgress) => void;
  /** Takes how many connections the server itself counts, while they are made and held, and after the window. */
  onOpen?: (step: Step, open: number) => void;
}

/** So long after its last connection broke the end of a server is waited for. */
export const DEATH_MS = 1000;

/** Rejects when `signal` aborts; never resolves. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Drives one scenario at a server. A command of the generator that is under way fails when the generator is stopped. */
async function drive({ experiment, step, guard, signal, onOpen }: RunOptions, opened: OpenBench) {
  const { server, isWired } = opened;
  const open = onOpen === undefined ? null : new OpenConnections(server, (count) => onOpen(step, count));
  // In a network of its own the server would open a debugger when it is asked: a thread more, which the figures would show.
  if (!isWired) open?.start();
  try {
    const beforeWindow = () => open?.stop() ?? Promise.resolve();
    const measuring = SCENARIO[step.scenario]({ ...opened, parameters: step.parameters, guard, signal, beforeWindow });
    measuring.catch(() => {}); // reported below, unless the abort was reported first
    const measured = await Promise.race([measuring, aborted(signal)]);
    const manifest = await manifestOf(experiment, server);
    await open?.ask(); // the last figure is taken
    return { ...measured, manifest };
  } finally {
    await open?.stop();
  }
}

type Driven = Awaited<ReturnType<typeof drive>>;

/** What a result says of what was measured, if anything was. */
function figuresOf(name: string, step: Step, otherListener: string | null, measured?: Driven) {
  if (measured === undefined) return { metrics: {}, histogram: null, findings: [] };
  const { metrics, manifest, histogram, censored, errors, trials = [] } = measured;
  return {
    ...{ metrics, manifest, errors },
    ...(trials.length > 0 && { load_trials: [...trials] }),
    histogram: histogram.toJSON(),
    at_least: atLeast(histogram, censored),
    findings: findingsOf(name, measured, { ...loopOf(step, measured), otherListener }),
  };
}

/** What each result of a step has, whatever came out. */
const commonOf = async ({ experiment, step, host }: RunOptions) => ({
  experiment: experiment.name,
  family: experiment.family,
  scenario: step.scenario,
  quick: step.quick ?? false,
  host,
  lab: await labVersion(isCustom(experiment) ? null : experiment.path),
});

/** The flags of a command line that repeats a step. */
function flagsOf({ scenario, parameters, quick }: Step): string[] {
  const { connections, seconds, rate_per_s: rate, slow, message_bytes: bytes = MESSAGE_BYTES, agents } = parameters;
  const flags = ["--scenario", scenario, "--connections", String(connections), "--seconds", String(seconds)];
  if (rate !== undefined) flags.push("--rate", String(Math.round(rate)));
  if (scenario === "broadcast" && slow !== undefined) flags.push("--slow", String(slow));
  if (bytes !== MESSAGE_BYTES) flags.push("--bytes", String(bytes));
  flags.push(...setupFlags(parameters));
  if (agents !== undefined) flags.push("--agents", String(agents));
  if (quick) flags.push("--quick");
  return flags;
}

/** Why a server cannot be asked for a step; null if it can. */
const obstacleTo = ({ scenario }: Step, subject: Subject): string | null =>
  scenario === "mixed" && !hasWork(subject) ? `${subject.name} does not support requests that burn CPU (/work).` : null;

/**
 * How a run ends without figures.
 *
 * @throws The error, if it is no such end.
 */
function endedBy(error: unknown): { ended: Ended; reason: string } {
  if (error instanceof LoadLost) return { ended: "limited", reason: error.message };
  if (error instanceof StartError) return error.failure;
  throw error;
}

/**
 * Runs one scenario once, with a fresh server and a fresh generator, and returns what came out. A server that cannot run
 * here, does not get ready or dies is a result too.
 *
 * @throws The reason of `signal`, if it aborts; nothing is left running then.
 */
export async function runStep(options: RunOptions): Promise<Result> {
  const { experiment, step, lent, signal, onProgress } = options;
  const isWired = options.isWired === true || bypassesKernel(experiment);
  const common = await commonOf(options);
  const asked = pathOf(experiment) === "/" ? {} : { path: pathOf(experiment) };
  let otherListener: string | null = null;
  const finish = (ended: Ended, reason: string | null, measured?: Driven) =>
    newResult({
      ...common,
      parameters: { ...step.parameters, ...(isWired && { wire: "veth" as const }), ...asked },
      ...figuresOf(experiment.name, step, otherListener, measured),
      command: repeat(experiment, flagsOf(step)),
      ended,
      reason,
    });
  signal.throwIfAborted();
  const obstacle = obstacleTo(step, experiment);
  if (obstacle !== null) return finish("skipped", obstacle);
  try {
    await using bench = await openBench(experiment, {
      signal,
      isWired,
      setup: setupOf(step.parameters),
      ...(lent && { lent }),
      onProgress: (progress) => onProgress({ step, progress }),
    });
    const server: Running = bench.server;
    otherListener = server.otherListener ?? null;
    try {
      const measured = await drive(options, bench);
      const reason = measured.reason ?? failures(measured) ?? notReached(experiment.name, step, measured);
      const over = await endOf(server, reason === null ? 0 : DEATH_MS); // requests may fail before its end is known
      if (over !== null) return finish("crashed", crash(over, server), measured);
      if (reason === null) return finish("ok", null, measured);
      return finish("limited", reason + await counted(server), measured);
    } catch (error) {
      if (signal.aborted || error instanceof LoadLost) throw error;
      const over = await endOf(server, DEATH_MS); // with its last connection gone, the generator could not go on
      if (over === null) throw error;
      return finish("crashed", crash(over, server));
    }
  } catch (error) {
    const { ended, reason } = endedBy(error);
    return finish(ended, reason);
  }
}

/** Each message of a broadcast is to be delivered to all that listened: fewer than were asked for, if not all were held. */
function loopOf({ scenario, parameters }: Step, { metrics }: Driven) {
  const rate = parameters.rate_per_s ?? null;
  const { answered, unanswered, messages } = metrics;
  const deliveries = ((answered ?? 0) + (unanswered ?? 0)) / (messages ?? NaN);
  return scenario === "broadcast"
    ? { closedLoop: false, askedPerS: rate === null ? null : rate * deliveries || null, unit: "delivery" as const }
    : { closedLoop: scenario === "throughput", askedPerS: rate, unit: "request" as const };
}

/** That an open loop was answered more slowly than it asked, in a sentence; null if it was not, or the generator was the limit. */
function notReached(name: string, step: Step, measured: Driven): string | null {
  if (step.scenario === "broadcast") return null; // of its deliveries those that did not come are counted
  const found = findingsOf(name, measured, loopOf(step, measured)).find(({ id }) => id === "server_bound");
  return found?.sentence.split(":")[0] ?? null;
}

/** More requests that fail than this make a run `limited`. */
const FAILED_SHARE = 0.001;

/** What failed of the requests of a run, where that is more than one in a thousand; else null. */
export function failures({ errors, metrics, window }: Pick<Measured, "errors" | "metrics" | "window">): string | null {
  const failed = Object.values(errors).reduce((sum, times) => sum + times, 0);
  const bad = Math.max(failed, window?.unanswered ?? 0);
  const all = bad + (metrics.answered ?? 0);
  if (bad === 0 || bad <= FAILED_SHARE * all) return null;
  return `${count(bad)} of ${count(all)} requests failed: ${errorsByKind(errors) || "no answer"}`;
}

/** What the server itself counted of errors, but for those it answered with: what stopped it may be one of them. */
async function counted(server: Running): Promise<string> {
  const { stopped } = await server.stop?.() ?? { stopped: null };
  const errors = Object.entries(stopped?.errors ?? {}).filter(([name]) => !/^\d{3}$/.test(name));
  return errors.length === 0
    ? ""
    : `; the server counted ${errors.map(([name, n]) => `${count(n)} ${name}`).join(", ")}`;
}

/** How the server ended, if it has or does so within `ms`. */
export async function endOf(server: Running, ms: number): Promise<Deno.CommandStatus | null> {
  const late = new AbortController();
  const alive = delay(ms, { signal: late.signal }).then(() => null, () => null);
  const status = await Promise.race([server.exited, alive]);
  late.abort();
  return status;
}

/** How it ended, with its last words. One that ends without a failure has most likely gone to the background. */
export function crash(status: Deno.CommandStatus, server: Pick<Running, "stderrTail">): string {
  const remedy = status.success ? " (a server must stay in the foreground; nginx: daemon off)" : "";
  return withLastWords(`the server ended during the run ${howEnded(status)}${remedy}`, server.stderrTail());
}
