import type { Guard } from "./guard.ts";
import { evidenceOf } from "./evidence.ts";
import { type Finding, judge } from "../results/findings.ts";
import { Histogram } from "../timing/histogram.ts";
import { type ErrorCounts, LoadGenerator, type Progress, type Window } from "../load/generator.ts";
import { percentileOf } from "../timing/censored.ts";
import type { Metrics, Parameters } from "../results/results.ts";
import { corePair } from "../sampling/cores.ts";
import { type Sample, sample } from "../sampling/sampler.ts";
import { versionOf } from "../server/manifest.ts";
import { type Running, type RunningOf, startSubject, type Subject, type SubjectOptions } from "../server/subject.ts";

/** How server and generator are started. */
export interface OpenOptions extends Omit<SubjectOptions, "cpu" | "onWait"> {
  /** Whether each gets a core of its own, where there are two; true by default. */
  pinned?: boolean;
  onProgress?: (progress: Progress) => void;
}

/** A server and its load generator. Stop them, or bind them with `await using`. */
export interface OpenBench<S extends Subject = Subject> extends AsyncDisposable {
  readonly server: RunningOf<S>;
  readonly generator: LoadGenerator;
}

/**
 * Starts a server and a load generator for it, each on a core of its own, where this process may use two: they would
 * measure each other otherwise.
 *
 * @throws {StartError} If the server cannot run here, or does not get ready. Nothing is left running then.
 *
 * @example
 * ```ts
 * await using bench = await openBench(find("epoll"), { signal });
 * await bench.generator.connect(100);
 * ```
 */
export async function openBench<S extends Subject>(subject: S, options: OpenOptions = {}): Promise<OpenBench<S>> {
  const { pinned = true, onProgress, ...rest } = options;
  await using stack = new AsyncDisposableStack();
  await versionOf(subject); // it starts a process, for which there may be no room under the load
  const cores = pinned ? corePair() : null;
  const onWait = (seconds: number) =>
    onProgress?.({ phase: "waiting for the server", connections: 0, answered: 0, seconds });
  const server = stack.use(await startSubject(subject, { ...rest, ...(cores && { cpu: cores.server }), onWait }));
  const generator = stack.use(
    await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
      ...(cores && { cpu: cores.load }),
      ...(server.pid !== null && { serverPid: server.pid }),
      ...(onProgress && { onProgress }),
    }),
  );
  const owned = stack.move();
  return { server, generator, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** What a scenario works with: one server, one load generator, and what the user asked for. */
export interface Bench {
  server: Running;
  generator: LoadGenerator;
  parameters: Parameters;
  /** Says how many connections may be made next; it remembers the smaller steps before. */
  guard: Guard;
  /** Ends what only waits; whatever the generator does ends with the generator. */
  signal: AbortSignal;
}

/** What a scenario found. `reason` says why it did less than it was asked for; null if it did all. */
export interface Measured {
  metrics: Partial<Metrics>;
  histogram: Histogram;
  /** How long the requests had waited that got no answer. */
  censored: Histogram;
  /** What went wrong, by kind, from the first connection on. */
  errors: ErrorCounts;
  /** The share of the time in which the control group was kept from running; null where that is not known. */
  throttled: number | null;
  /** The measured stretch of time; null where the scenario has none. */
  window: Window | null;
  lost: number;
  reason: string | null;
}

/** What a scenario without a window has of it. */
export const NOTHING = { censored: new Histogram(), errors: {}, throttled: null, window: null } as const;

/** After so long without any answer the rest counts as unanswered. */
export const SILENCE_MS = 2000;

/** What the server and its connections take now; null where its process is not known, or the system does not tell. */
export const look = ({ pid }: Running): Sample | null => pid === null ? null : sample(pid);

/** What a sample at a plateau tells. */
export const plateau = (of: Sample | null): Partial<Metrics> => ({
  rss_bytes: of?.rss_bytes ?? null,
  pss_bytes: of?.pss_bytes ?? null,
  processes: of?.processes ?? null,
  threads: of?.threads ?? null,
});

/** The percentiles that are lower bounds, because unanswered requests reach them. */
export function atLeast(of: Histogram, censored: Histogram): (keyof Metrics)[] {
  if (of.count + censored.count === 0) return [];
  const all = [["p50_us", 50], ["p99_us", 99], ["p99_9_us", 99.9]] as const;
  return all.filter(([, percent]) => percentileOf(of, censored, percent).atLeast).map(([metric]) => metric);
}

/** The latencies of the table, of unanswered requests as long as they are known to be; none, and no zeros, where nothing was recorded. */
export function percentiles(of: Histogram, censored = new Histogram()): Partial<Metrics> {
  if (of.count + censored.count === 0) return {};
  const at = (percent: number) => percentileOf(of, censored, percent).us;
  return { p50_us: at(50), p99_us: at(99), p99_9_us: at(99.9) };
}

/** What weakens the figures of a load. `askedPerS`: the rate of an open loop. */
export function findingsOf(
  server: string,
  { window, lost, metrics, errors, throttled }: Omit<Measured, "histogram" | "censored" | "reason">,
  { closedLoop, askedPerS }: { closedLoop: boolean; askedPerS: number | null },
): Finding[] {
  return judge(server, {
    ...evidenceOf(window === null ? [] : [window]),
    p99Us: metrics.p99_us ?? null,
    connections: metrics.connections ?? 0,
    ratePerS: metrics.requests_per_s ?? null,
    askedPerS,
    meanLatencyUs: window === null || window.histogram.count === 0 ? null : window.histogram.mean,
    answered: metrics.answered ?? 0,
    errors,
    unanswered: window?.unanswered ?? 0,
    lost,
    throttledShare: throttled,
    seconds: window?.seconds ?? Infinity,
    closedLoop,
  });
}

/** Adds counts by kind. */
export function addErrors(...all: readonly ErrorCounts[]): ErrorCounts {
  const sum: ErrorCounts = {};
  for (const counts of all) {
    for (const [kind, times] of Object.entries(counts)) sum[kind] = (sum[kind] ?? 0) + times;
  }
  return sum;
}
