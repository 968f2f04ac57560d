/**
 * The charts of this project: which figures of results/ each of them shows.
 *
 * @module
 */
import type { ChartSpec, LinesSpec, RankSpec, Value } from "./chart.ts";
import type { Unit } from "./chart_theme.ts";
import { count } from "./format.ts";
import { Histogram } from "./histogram.ts";
import type { Metrics, Result } from "./results.ts";
import type { ComparisonRow, ReadinessRow } from "./study.ts";
import type { Shown } from "./tables.ts";

/** A figure by the name of its file, results/charts/<name>.png. */
export type Figures = Record<string, ChartSpec>;

const isBound = (row: ComparisonRow, name: string) => row.findings.includes(`${name}: client_bound`);
const byValue = (a: Value, b: Value) => (a.value ?? Infinity) - (b.value ?? Infinity);

/** Ratios of one metric to the reference, with their intervals, the smallest first. `family` tells that of a name. */
export function ratios(
  rows: readonly ComparisonRow[],
  metric: "cpu_us_per_request" | "user_bytes_per_conn" | "pss_bytes",
  title: string,
  family: (name: string) => string,
): RankSpec {
  const items = rows.filter((row) => row.metric === metric).map((row) => ({
    name: row.candidate,
    family: family(row.candidate),
    value: row.ratio,
    low: row.ratio_low,
    high: row.ratio_high,
    ...(row.ratio === null && { note: row.reason ?? "no figure in every round" }),
  }));
  const reference = rows[0]?.reference ?? "the reference";
  const axis = { label: `ratio to ${reference}`, unit: "ratio", scale: "log" } as const;
  return { kind: "dots", title, axis, reference: 1, items: items.toSorted(byValue) };
}

/** The figures of one metric, each candidate's own and the reference's; bounds where the load generator was the limit. */
export function reached(
  rows: readonly ComparisonRow[],
  metric: "requests_per_s" | "p99_us",
  title: string,
  family: (name: string) => string,
): RankSpec {
  const bound = metric === "p99_us" ? "at most" as const : "at least" as const;
  const of = rows.filter((row) => row.metric === metric);
  const own = of.find(({ rounds }) => rounds > 0);
  const item = (name: string, value: number | null, row: ComparisonRow) => ({
    name,
    family: family(name),
    value,
    ...(value !== null && isBound(row, name) && { bound }),
    ...(value === null && { note: row.reason ?? "not measured" }),
  });
  const items = [
    ...(own === undefined ? [] : [item(own.reference, own.reference_value, own)]),
    ...of.map((row) => item(row.candidate, row.candidate_value, row)),
  ];
  return metric === "p99_us"
    ? {
      kind: "dots",
      title,
      axis: { label: "99th percentile of latency", unit: "us", scale: "log" },
      items: items.toSorted(byValue),
    }
    : {
      kind: "bars",
      title,
      axis: { label: "requests/s", unit: "per_s", scale: "linear" },
      items: items.toSorted((a, b) => byValue(b, a)),
    };
}

/** What one wait call costs at each number of descriptors. */
export function waits(rows: readonly ReadinessRow[]): LinesSpec {
  return {
    kind: "lines",
    title: "What one call that waits for events costs",
    x: { label: "descriptors that are watched", unit: "descriptors", scale: "log" },
    y: { label: "CPU of one call", unit: "us", scale: "log" },
    series: [...Map.groupBy(rows, ({ call }) => call)].map(([name, of]) => ({
      name,
      family: "readiness",
      points: of.map((row) => ({
        x: row.descriptors,
        value: row.wait_us,
        low: row.wait_us_low,
        high: row.wait_us_high,
      })),
    })),
  };
}

/** How many connections each holds, for {@linkcode held}. */
export const HELD = {
  title: "Connections held and answered",
  label: "connections",
  unit: "connections",
  scale: "log",
} as const;
/** What one of them takes, for {@linkcode held}. */
export const MEMORY = { title: "User memory of one connection", label: "memory", unit: "bytes", scale: "log" } as const;

/** One metric of the newest whole run of `hold` of each. A run that was skipped or crashed says so in its place. */
export function held(
  all: readonly Shown[],
  metric: keyof Metrics,
  { title, label, unit, scale }: { title: string; label: string; unit: Unit; scale: "log" | "linear" },
): RankSpec {
  const items = all.map(({ experiment: { name, family }, hold }) => {
    const value = hold?.metrics[metric] ?? null;
    const isDrawn = value !== null && (scale === "linear" || value > 0); // a logarithmic axis has no place for zero
    const why = hold === undefined ? "not measured" : hold.reason ?? "not told";
    const note = value === null ? why : `${count(value)} ${unit}: no more than noise`;
    const isAll = metric === "answered" && hold?.ended === "ok"; // it was not asked for more
    return {
      ...{ name, family, value: isDrawn ? value : null },
      ...(isDrawn ? isAll && { bound: "at least" as const } : { note }),
    };
  });
  const order = metric === "answered" ? (a: Value, b: Value) => (b.value ?? -1) - (a.value ?? -1) : byValue;
  return { kind: "dots", title, axis: { label, unit, scale }, items: items.toSorted(order) };
}

const PERCENTILES = [50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99]; // drawn as 1 in so many: 2, 4, 10, 20, 100, …

/** Latency by percentile of each run: how slow the slowest of so many requests is. Runs without a histogram are left out. */
export function latencies(results: readonly Result[], title: string): LinesSpec {
  return {
    kind: "lines",
    title,
    x: { label: "the slowest one of so many requests", unit: "requests", scale: "log" },
    y: { label: "latency", unit: "us", scale: "log" },
    series: results.filter(({ histogram }) => histogram !== null).map(({ experiment, family, histogram }) => {
      const of = Histogram.parse(histogram!);
      const shown = PERCENTILES.filter((percentile) => of.count * (1 - percentile / 100) >= 10); // of fewer it is chance
      return {
        name: experiment,
        family,
        points: shown.map((percentile) => ({
          x: Math.round(1 / (1 - percentile / 100)),
          value: of.percentile(percentile),
        })),
      };
    }),
  };
}
