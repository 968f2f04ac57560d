/**
 * A probe: a small measurement of one cost that texts on servers put a number to. It yields rows, each one figure.
 *
 * @module
 */
import { Histogram } from "../timing/histogram.ts";
import { type Interval, ratioInterval, signInterval } from "../timing/stats.ts";
import { MIN_ROUNDS } from "../results/conventions.ts";
import type { ProbeRow } from "../results/rows.ts";

export type { ProbeRow };

/** How it is to be run. */
export interface ProbePlan {
  /** Some seconds instead of a minute: the figures have no interval then, and there may be fewer variants. */
  quick: boolean;
  /** Ends the run. */
  signal: AbortSignal;
  /** Called with a few words on what is measured now. */
  onProgress: (what: string) => void;
  /** Takes the rows of each variant as it ends: an interrupted probe has these to show. */
  onRows?: (rows: readonly ProbeRow[]) => void;
}

/** One measurement. */
export interface Probe {
  name: string;
  title: string;
  /** Why it cannot run here, in a sentence; null if it can. */
  obstacle(): Promise<string | null> | string | null;
  run(plan: ProbePlan): Promise<ProbeRow[]>;
}

/** Runs of a whole probe: enough for an interval. */
export const RUNS = MIN_ROUNDS;

/** Linux is what these probes look into: /proc, its system calls, its limits. */
export const linuxOnly = (): string | null =>
  Deno.build.os === "linux" ? null : `It looks into /proc and needs Linux; this is ${Deno.build.os}.`;

/** The rows of variants that are measured one after the other; each is announced by its name before it begins. */
export async function inTurn<Variant>(
  variants: readonly Variant[],
  { signal, onProgress, onRows }: ProbePlan,
  nameOf: (variant: Variant) => string,
  measure: (variant: Variant) => Promise<ProbeRow[]>,
): Promise<ProbeRow[]> {
  const rows: ProbeRow[] = [];
  for (const variant of variants) {
    signal.throwIfAborted();
    onProgress(nameOf(variant));
    const found = await measure(variant);
    onRows?.(found);
    rows.push(...found);
  }
  return rows;
}

/** What makes rows of one variant. */
export interface Rows {
  /** A row of the median over runs; without a value that is a number, a row that says so. */
  of(metric: string, values: readonly (number | null)[], note?: string | null): ProbeRow;
  /** A row of a percentile of all latencies of some runs, with the interval of the same percentile of each run. */
  ofLatencies(metric: string, percent: number, runs: readonly Histogram[], note?: string | null): ProbeRow;
  /** A row of the ratio of pairs, from the natural logarithms of candidate / reference. */
  ofLogs(metric: string, logs: readonly number[], note?: string | null): ProbeRow;
  /** Rows without a value, and why. */
  missing(metrics: readonly string[], why: string): ProbeRow[];
}

/** Makes the rows of one variant of a probe. */
export function rowsOf(probe: string, variant: string): Rows {
  const row = (metric: string, { estimate, low, high }: Interval, runs: number, note: string | null): ProbeRow => ({
    probe,
    variant,
    metric,
    value: estimate,
    low,
    high,
    runs,
    note,
  });
  const missing = (metric: string, note: string): ProbeRow => ({
    probe,
    variant,
    metric,
    value: null,
    low: null,
    high: null,
    runs: 0,
    note,
  });
  return {
    of(metric, values, note = null) {
      const known = values.filter((value): value is number => value !== null && Number.isFinite(value));
      if (known.length === 0) return missing(metric, note ?? "the system does not report it");
      return row(metric, signInterval(known), known.length, note);
    },
    ofLatencies(metric, percent, runs, note = null) {
      const known = runs.filter(({ count }) => count > 0);
      if (known.length === 0) return missing(metric, note ?? "nothing was answered");
      const { low, high } = signInterval(known.map((run) => run.percentile(percent)));
      const estimate = known.reduce((sum, run) => sum.merge(run), new Histogram()).percentile(percent);
      const interval = {
        estimate,
        low: low === null ? null : Math.min(low, estimate),
        high: high === null ? null : Math.max(high, estimate),
      };
      return row(metric, interval, known.length, note);
    },
    ofLogs: (metric, logs, note = null) => row(metric, ratioInterval(logs), logs.length, note),
    missing: (metrics, why) => metrics.map((metric) => missing(metric, why)),
  };
}
