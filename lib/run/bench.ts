import type { Guard } from "./guard.ts";
import { type Finding, judge } from "../results/findings.ts";
import { Histogram } from "../timing/histogram.ts";
import { type LoadGenerator, sharesOf, type Window } from "../load/generator.ts";
import { percentileOf } from "../timing/censored.ts";
import type { Metrics, Parameters, ScenarioName } from "../results/results.ts";
import { type Sample, sample } from "../sampling/sampler.ts";
import type { Running } from "../server/subject.ts";

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
  /** The measured stretch of time; null where the scenario has none. */
  window: Window | null;
  lost: number;
  reason: string | null;
}

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

/** The latencies of the table, of unanswered requests as long as they are known to be; none, and no zeros, where nothing was recorded. */
export function percentiles(of: Histogram, censored = new Histogram()): Partial<Metrics> {
  if (of.count + censored.count === 0) return {};
  const at = (percent: number) => percentileOf(of, censored, percent).us;
  return { p50_us: at(50), p99_us: at(99), p99_9_us: at(99.9) };
}

/** The share of its cores that the load generator had work for: spinning until a request is due is none. */
export const generatorShare = ({ client_cpu_us, client_spin_us, client_processes, seconds }: Window): number | null =>
  seconds > 0 ? (client_cpu_us - client_spin_us) / (client_processes * seconds * 1e6) : null;

/** What weakens the figures of a load. */
export function findingsOf(
  server: string,
  scenario: ScenarioName,
  { window, lost, metrics }: Pick<Measured, "window" | "lost" | "metrics">,
): Finding[] {
  const shares = window === null ? null : sharesOf([window]);
  return judge(server, {
    generatorCoreShare: window === null ? null : generatorShare(window),
    lateShare: window?.scheduled ? window.late_sends / window.scheduled : null,
    connections: metrics.connections ?? 0,
    ratePerS: metrics.requests_per_s ?? null,
    meanLatencyUs: window === null || window.histogram.count === 0 ? null : window.histogram.mean,
    lost,
    stealShare: shares?.steal ?? null,
    foreignShare: shares?.foreign ?? null,
    seconds: window?.seconds ?? Infinity,
    closedLoop: scenario === "throughput",
  });
}
