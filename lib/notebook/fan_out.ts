/**
 * Stored broadcasts in the notebooks: what single runs came to, and what pairs say.
 *
 * @module
 */
import type { ChartSpec, LinesSpec, RankSpec } from "../charts/config.ts";
import { type FAN_OUT, fanOut, ratios } from "../charts/figures.ts";
import { isUsualMessage, MIN_ROUNDS } from "../results/conventions.ts";
import { boundOfRun, isSpoilt } from "../results/findings.ts";
import { heldOf, type Result } from "../results/results.ts";
import type { ComparisonRow } from "../results/rows.ts";
import type { Study } from "../results/studies.ts";
import { isVoid, ratio, whyNoRatio } from "../tables/comparison.ts";
import { count, counted } from "../text/format.ts";
import { sides } from "./pairs.ts";
import { show, showText } from "./show.ts";

type Figure = (typeof FAN_OUT)[keyof typeof FAN_OUT];

/** What is paid for a delivery starts at zero; times of servers lie too far apart for that. */
const scaleOf = ({ metric }: Figure) => metric === "cpu_us_per_delivery" ? "linear" as const : "log" as const;

/** A line for each server, at the numbers of listeners that it held. */
function byListeners(runs: readonly Result[], of: Figure): LinesSpec {
  const spec = fanOut(runs, of);
  return { ...spec, y: { ...spec.y, scale: scaleOf(of) } };
}

/** A row for each server. One that held fewer listeners says how many. */
function byName(runs: readonly Result[], of: Figure, size: number): RankSpec {
  const scale = scaleOf(of);
  const items = runs.map((run) => {
    const value = run.metrics[of.metric] ?? null, bound = boundOfRun(of.metric, run), listeners = heldOf(run);
    return {
      name: listeners < size ? `${run.experiment}, held ${count(listeners)}` : run.experiment,
      family: run.family,
      value,
      ...(value === null ? { note: run.reason ?? "not measured" } : bound !== null && { bound }),
    };
  });
  return {
    kind: scale === "linear" ? "bars" : "dots",
    title: `${of.title}, ${count(size)} listeners`,
    axis: { label: of.label, unit: "us", scale },
    items: items.toSorted((a, b) => (a.value ?? Infinity) - (b.value ?? Infinity)),
  };
}

/** One figure of stored broadcasts: by the number of listeners, or by name where one number is stored. */
export function fanOutChart(runs: readonly Result[], of: Figure): ChartSpec {
  const sizes = [...new Set(runs.map(({ parameters }) => parameters.connections))];
  return sizes.length === 1 ? byName(runs, of, sizes[0]!) : byListeners(runs, of);
}

const keyOf = ({ candidate, rate_per_s }: ComparisonRow) => `${candidate} ${rate_per_s}`;
const isSound = (rows: readonly ComparisonRow[]) =>
  rows.every(({ rounds, findings }) => rounds >= MIN_ROUNDS && !isSpoilt(findings));

/** Of each candidate the newest rows, those that others disturbed only where there are no others. */
function newestOf(rows: readonly (ComparisonRow & { at: string })[]): ComparisonRow[] {
  return [...Map.groupBy(rows, keyOf).values()].flatMap((of) => {
    const studies = [...Map.groupBy(of, ({ at }) => at)].toSorted(([a], [b]) => b.localeCompare(a)).map(([, own]) =>
      own
    );
    return studies.find(isSound) ?? studies.find((own) => own.some(({ ratio }) => ratio !== null)) ?? studies[0]!;
  });
}

/** The rows at the rate of messages at which most candidates were compared. */
function atOneRate(rows: readonly ComparisonRow[]): ComparisonRow[] {
  const candidates = (of: readonly ComparisonRow[]) => new Set(of.map(({ candidate }) => candidate)).size;
  return [...Map.groupBy(rows, ({ rate_per_s }) => rate_per_s).values()]
    .toSorted((a, b) => candidates(b) - candidates(a))[0]!;
}

/**
 * All pairs of broadcasts with a reference, by the number of listeners, the smallest first. Every pair was measured side by
 * side, so it counts whatever study it stands in.
 */
export function broadcastPairs(
  studies: readonly Study<"comparison">[],
  reference: string,
): Map<number, ComparisonRow[]> {
  const rows = studies.filter(({ quick }) => !quick).flatMap(({ time, id, rows }) =>
    rows.filter((row) => row.scenario === "broadcast" && row.reference === reference && isUsualMessage(row))
      .map((row) => ({ ...row, at: `${time} ${id}` }))
  );
  const sizes = [...Map.groupBy(rows, ({ connections }) => connections)].toSorted(([a], [b]) => a - b);
  return new Map(sizes.map(([size, of]) => [size, atOneRate(newestOf(of))]));
}

const ofMetric = (rows: readonly ComparisonRow[], metric: string) => rows.filter((row) => row.metric === metric);

/** All ratios in one chart; where several numbers of listeners are stored, each row has its own. */
export function pairsChart(pairs: ReadonlyMap<number, ComparisonRow[]>, family: (name: string) => string): RankSpec {
  const charts = [...pairs].map(([size, rows]) => ({
    size,
    chart: ratios(rows, "cpu_us_per_delivery", "CPU of a delivery, in pairs", family),
  }));
  const [first] = charts;
  if (first === undefined) {
    return ratios([], "cpu_us_per_delivery", "CPU of a delivery, in pairs: none is stored", family);
  }
  const title = pairs.size === 1 ? `${first.chart.title}, ${count(first.size)} listeners` : first.chart.title;
  const items = charts.flatMap(({ size, chart }) =>
    chart.items.map((item) => ({
      ...item,
      name: pairs.size === 1 ? item.name : `${item.name}, ${count(size)} listeners`,
    }))
  );
  return { ...first.chart, title, items };
}

/** With which server the last listener has a message first, in a sentence. */
export function firstToLast(rows: readonly ComparisonRow[]): string {
  const all = ofMetric(rows, "last_p50_us");
  const known = all.filter((row) => row.ratio !== null && !isVoid(row));
  const first = known.toSorted((a, b) => a.ratio! - b.ratio!)[0];
  if (first === undefined) {
    return `When the last listener has the message: no ratio, for ${all[0] ? whyNoRatio(all[0]) : "none is stored"}.`;
  }
  const { candidate, reference } = first;
  const after = `after ${ratio.withInterval("last_p50_us")([first])} × the time of ${reference}`;
  return first.ratio_high !== null && first.ratio_high < 1
    ? `The last listener has the message first with **${candidate}**: ${after}.`
    : `With none of them the last listener is shown to have the message before that of ${reference}; ` +
      `the lowest is **${candidate}**, ${after}.`;
}

/** What the pairs at one number of listeners say. */
function pairsText(size: number, rows: readonly ComparisonRow[]): string {
  const { reference } = rows[0]!;
  return [
    `With ${counted(size, "listener")}, CPU of a delivery against ${reference}:`,
    sides(ofMetric(rows, "cpu_us_per_delivery")),
    firstToLast(rows),
  ].join("\n\n");
}

/** Draws what a delivery costs in pairs with a reference, and says who is cheaper and who serves the last listener first. */
export async function showDeliveries(
  studies: readonly Study<"comparison">[],
  reference: string,
  family: (name: string) => string,
): Promise<void> {
  const pairs = broadcastPairs(studies, reference);
  await show(pairsChart(pairs, family));
  const texts = [...pairs].map(([size, rows]) => pairsText(size, rows));
  await showText(
    texts.length > 0
      ? texts.join("\n\n")
      : `No comparison is stored yet: \`deno task compare ${reference} ws-io-uring --scenario broadcast --connections 100,1000\` makes one.`,
  );
}
