/**
 * The charts of this project: which figures of results/ each of them shows.
 *
 * @module
 */
import type { LinesSpec, RankSpec, Value } from "./config.ts";
import type { Unit } from "./theme.ts";
import { boundOf, boundOfRun } from "../results/findings.ts";
import { count } from "../text/format.ts";
import { Histogram } from "../timing/histogram.ts";
import { heldOf, type Metrics, type Result } from "../results/results.ts";
import { boundIn, isVoid, ofReference, ownIn, reasonOf, whyNoRatio } from "../tables/comparison.ts";
import type { ComparisonRow, ReadinessRow, SweepRow } from "../results/rows.ts";
import { type Shown, telling, userMemory } from "../results/choose.ts";

const byValue = (a: Value, b: Value) => (a.value ?? Infinity) - (b.value ?? Infinity);
const byValueDown = (a: Value, b: Value) => (b.value ?? -Infinity) - (a.value ?? -Infinity); // what is missing stands last

/**
 * Ratios of one metric to the reference, with their intervals, the smallest first; a ratio of bounds is none. `family` tells
 * that of a name.
 */
export function ratios(
  rows: readonly ComparisonRow[],
  metric:
    | "core_us_per_request"
    | "cpu_us_per_request"
    | "cpu_us_per_delivery"
    | "requests_per_s"
    | "p99_us"
    | "user_bytes_per_conn"
    | "pss_bytes",
  title: string,
  family: (name: string) => string,
): RankSpec {
  const items = rows.filter((row) => row.metric === metric).map((row) => ({
    name: row.candidate,
    family: family(row.candidate),
    ...(row.ratio === null || isVoid(row)
      ? { value: null, note: whyNoRatio(row) }
      : { value: row.ratio, low: row.ratio_low, high: row.ratio_high }),
  }));
  const reference = rows[0]?.reference ?? "the reference";
  const axis = { label: `ratio to ${reference}`, unit: "ratio", scale: "log" } as const;
  return { kind: "dots", title, axis, reference: 1, items: items.toSorted(byValue) };
}

/** The memory of one connection to each server of a comparison, where a ratio would divide by noise ({@linkcode isOfNoise}). */
export function memories(
  rows: readonly ComparisonRow[],
  title: string,
  family: (name: string) => string,
): RankSpec {
  const of = rows.filter(({ metric }) => metric === "user_bytes_per_conn");
  const items = [...ofReference(of), ...of].map((row) => {
    const { value, bound } = ownIn(row);
    const note = { note: reasonOf(row) ?? "not measured" };
    return {
      name: row.candidate,
      family: family(row.candidate),
      value,
      ...(value === null ? note : bound && { bound }),
    };
  });
  return {
    kind: "dots",
    title,
    axis: { label: "memory", unit: "bytes", scale: "log" },
    items: items.toSorted(byValue),
  };
}

/** The rates that were asked for, each once; of a closed loop null. */
const ratesOf = (rows: readonly ComparisonRow[]) =>
  new Set(rows.filter(({ rounds }) => rounds > 0).map((row) => row.rate_per_s));

/** Whether all pairs of a comparison were asked for one rate: only then figures of different pairs stand side by side. */
export const isOneRate = (rows: readonly ComparisonRow[]): boolean => {
  const rates = ratesOf(rows);
  return rates.size === 1 && !rates.has(null);
};

/**
 * The figures of one metric at one rate, each candidate's own and the reference's, as beside the first candidate that took
 * part. Bounds where findings make them bounds.
 *
 * @throws {RangeError} If pairs were asked for different rates, or for none: every pair has its own load then, and only its
 * ratio ({@linkcode ratios}) can be compared. See {@linkcode isOneRate}.
 */
export function reached(
  rows: readonly ComparisonRow[],
  metric: "requests_per_s" | "p99_us",
  title: string,
  family: (name: string) => string,
): RankSpec {
  const of = rows.filter((row) => row.metric === metric);
  const own = of.find(({ rounds }) => rounds > 0);
  if (own !== undefined && !isOneRate(of)) {
    throw new RangeError(`Cannot rank ${metric} of pairs that were not asked for one rate: draw their ratios.`);
  }
  const item = (name: string, value: number | null, row: ComparisonRow) => {
    const bound = boundIn(row, name);
    return {
      name,
      family: family(name),
      value,
      ...(value === null ? { note: reasonOf(row) ?? "not measured" } : bound !== null && { bound }),
    };
  };
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
      items: items.toSorted(byValueDown),
    };
}

const CALLS: readonly ReadinessRow["call"][] = ["select", "poll", "epoll_wait"];

/** What one wait call costs at each number of descriptors; a call has the same line in every chart. */
export function waits(rows: readonly ReadinessRow[]): LinesSpec {
  const calls = Map.groupBy(rows.toSorted((a, b) => CALLS.indexOf(a.call) - CALLS.indexOf(b.call)), ({ call }) => call);
  return {
    kind: "lines",
    title: "What one call that waits for events costs",
    x: { label: "descriptors that are watched", unit: "descriptors", scale: "log" },
    y: { label: "CPU of one call", unit: "us", scale: "log" },
    series: [...calls].map(([name, of]) => ({
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

/**
 * Latency against load: p99 at each rate of the ladders of a sweep. The last mark of a line is where its server no
 * longer keeps up: that latency is the length of its queue.
 */
export function loads(
  rows: readonly SweepRow[],
  family: (name: string) => string,
): LinesSpec {
  const ladders = Map.groupBy(
    rows.filter(({ round }) => round === 0),
    ({ server }) => server,
  );
  return {
    kind: "lines",
    title: "Latency against load: 99th percentile at each rate",
    x: { label: "requests asked for", unit: "per_s", scale: "log" },
    y: { label: "latency, 99th percentile", unit: "us", scale: "log" },
    series: [...ladders].map(([name, points]) => ({
      name,
      family: family(name),
      points: points.toSorted((a, b) => a.rate_per_s - b.rate_per_s).map(
        (row) => {
          const bound = row.p99_us === null ? null : boundOf("p99_us", row.findings.map(({ id }) => id));
          return {
            x: row.rate_per_s,
            value: row.p99_us,
            ...(row.p99_us === null && { note: "no answer" }),
            ...(bound !== null && { bound }),
          };
        },
      ),
    })),
  };
}

/** What a broadcast comes to, for {@linkcode fanOut}. */
export const FAN_OUT = {
  cost: { metric: "cpu_us_per_delivery", title: "Server CPU per delivery", label: "CPU of one delivery" },
  p99: { metric: "p99_us", title: "Delivery latency, 99th percentile", label: "latency from when it was due" },
  last: { metric: "last_p50_us", title: "When the last listener has a message", label: "median over messages" },
} as const;

/**
 * One figure of broadcasts by the number of listeners, a line for each server.
 *
 * @param runs Of each server one for each number of listeners, in their order.
 */
export function fanOut(
  runs: readonly Result[],
  { metric, title, label }: (typeof FAN_OUT)[keyof typeof FAN_OUT],
): LinesSpec {
  const series = [...Map.groupBy(runs, ({ experiment }) => experiment)].map(([name, own]) => ({
    name,
    family: own[0]!.family,
    points: own.toSorted((a, b) => heldOf(a) - heldOf(b)).map((run) => {
      const value = run.metrics[metric] ?? null, bound = boundOfRun(metric, run);
      const note = { note: run.reason ?? "not measured" };
      return { x: heldOf(run), value, ...(value === null ? note : bound !== null && { bound }) };
    }),
  }));
  return {
    kind: "lines",
    title,
    x: { label: "listeners", unit: "connections", scale: "log" },
    y: { label, unit: "us", scale: "log" },
    series,
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

/** What {@linkcode held} needs of a server: without a list of its runs there is the one. */
type Holding = Pick<Shown, "experiment" | "hold"> & Partial<Shown>;

/** What a server's runs of `hold` tell of a metric; of what a connection takes any whole run may, the largest first. */
function told(
  { hold, holds = hold === undefined ? [] : [hold] }: Holding,
  metric: keyof Metrics,
): { value: number | null; bound?: "at least" | "at most" } {
  if (metric === "user_bytes_per_conn") {
    const { value, bound } = userMemory({ holds });
    return { value, ...(bound !== null && { bound }) };
  }
  const of = metric.endsWith("_per_conn") ? telling(holds, metric) : hold;
  const isAll = metric === "answered" && of?.ended === "ok"; // it was not asked for more
  return { value: of?.metrics[metric] ?? null, ...(isAll && { bound: "at least" as const }) };
}

/**
 * One metric of `hold` of each server: of its best run, and what a connection takes of the largest run that tells it. A server
 * without a figure says why in its place.
 */
export function held(
  all: readonly Holding[],
  metric: keyof Metrics,
  { title, label, unit, scale }: { title: string; label: string; unit: Unit; scale: "log" | "linear" },
): RankSpec {
  const items = all.map((row) => {
    const { experiment: { name, family }, hold } = row;
    const { value, ...bound } = told(row, metric);
    const isDrawn = value !== null && (scale === "linear" || value > 0); // a logarithmic axis has no place for zero
    const isWhy = metric === "answered" || hold?.ended !== "limited"; // why it held no more is not why it does not tell
    const why = hold === undefined
      ? "not measured"
      : hold.reason === null
      ? "not known"
      : isWhy
      ? hold.reason
      : `not known: ${hold.reason}`;
    const note = value === null ? why : `${count(value)} ${unit}: no more than noise`;
    return { name, family, ...(isDrawn ? { value, ...bound } : { value: null, note }) };
  });
  const order = metric === "answered" ? byValueDown : byValue;
  return { kind: "dots", title, axis: { label, unit, scale }, items: items.toSorted(order) };
}

const PERCENTILES = [50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99]; // drawn as 1 in so many: 2, 4, 10, 20, 100, …

/** Latency by percentile of each run: how slow the slowest of so many requests is. A run without one says why. */
export function latencies(results: readonly Result[], title: string): LinesSpec {
  return {
    kind: "lines",
    title,
    x: { label: "the slowest one of so many requests", unit: "requests", scale: "log" },
    y: { label: "latency", unit: "us", scale: "log" },
    series: results.map(({ experiment: name, family, histogram, findings, reason }) => {
      if (histogram === null) return { name, family, points: [], note: reason ?? "latency was not measured" };
      const of = Histogram.parse(histogram);
      const bound = boundOf("p99_us", findings.map(({ id }) => id));
      const shown = PERCENTILES.filter((percentile) => of.count * (1 - percentile / 100) >= 10); // of fewer it is chance
      return {
        name,
        family,
        ...(shown.length === 0 && { note: "too few requests" }),
        points: shown.map((percentile) => ({
          x: Math.round(1 / (1 - percentile / 100)),
          value: of.percentile(percentile),
          ...(bound !== null && { bound }),
        })),
      };
    }),
  };
}
