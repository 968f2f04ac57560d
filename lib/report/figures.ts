/**
 * The charts of the report: what each shows, and what repeats it.
 *
 * @module
 */
import type { ChartSpec, RankSpec } from "../chart.ts";
import { HELD, held, latencies, MEMORY, ratios, reached, waits } from "../figures.ts";
import type { Result } from "../results.ts";
import type { ComparisonRow } from "../study.ts";
import type { Table } from "../study_choice.ts";
import type { Shown } from "../tables.ts";
import type { Material } from "./material.ts";
import { metricOf, nameOf, whyMissing } from "./servers.ts";

/** One chart. */
export interface Figure {
  id: string;
  spec: ChartSpec;
  /** What a reader has to know to read it right. */
  note?: string;
  /** The command that repeats it, or of each server its own. */
  repeat: string | ReadonlyMap<string, string>;
  /** Whether its items are servers, so that the filter of the big table holds for it too. */
  ofServers: boolean;
}

const commandsOf = (runs: readonly (Result | undefined)[]): ReadonlyMap<string, string> =>
  new Map(runs.filter((of) => of !== undefined).map(({ experiment, command }) => [experiment, command]));

/** A chart in which a server without a run says why it has none. */
function told<S extends RankSpec>(spec: S, shown: readonly Shown[], results: readonly Result[]): S {
  const without = new Map(shown.filter(({ hold }) => hold === undefined).map((row) => [row.experiment.name, row]));
  const items = spec.items.map((item) => {
    const row = without.get(item.name);
    return row === undefined ? item : { ...item, note: whyMissing(row, results) };
  });
  return { ...spec, items };
}

/** How many connections the experiments of this project hold. */
export const ladderFigure = (shown: readonly Shown[], results: readonly Result[]): Figure => ({
  id: "ladder",
  spec: told(held(shown, "answered", HELD), shown, results),
  note: "A hollow mark is a lower bound: the run asked for no more. What stopped the others stands with each of them.",
  repeat: commandsOf(shown.map(({ hold }) => hold)),
  ofServers: false,
});

/** The charts of one comparison: the ratio that its scenario is for, and what the servers reached. */
function comparisonFigures(table: Table, family: (name: string) => string): Figure[] {
  const { rows, study: { command } } = table, { scenario, connections, reference } = rows[0]!;
  const metric = metricOf(table), id = `${scenario}-${connections}`;
  const what = { cpu_us_per_request: "Server CPU a request", user_bytes_per_conn: "User memory a connection" };
  const title = `${metric === "pss_bytes" ? "Memory (PSS)" : what[metric]}: ${nameOf(table)}`;
  const note = `Left of the line a server takes less than ${reference}; a whisker is the interval of 98 %.`;
  const figures: Figure[] = [
    { id, spec: ratios(rows, metric, title, family), note, repeat: command, ofServers: true },
  ];
  const has = (of: ComparisonRow["metric"]) => rows.some((row) => row.metric === of && row.candidate_value !== null);
  const second = scenario === "throughput" ? "requests_per_s" as const : "p99_us" as const;
  if (scenario === "hold" || !has(second)) return figures;
  const words = second === "p99_us" ? "Latency, 99th percentile" : "Requests a second";
  const bounds = "Pale or hollow is a bound: the load generator was the limit, the server may be able to do more.";
  const spec = reached(rows, second, `${words}: ${nameOf(table)}`, family);
  return [...figures, { id: `${id}-${second}`, spec, note: bounds, repeat: command, ofServers: true }];
}

/** Latencies of those that ran `rate`, each at half of its own throughput. */
function latencyFigure(id: string, whose: string, shown: readonly Shown[]): Figure {
  const runs = shown.map(({ rate }) => rate).filter((of) => of !== undefined);
  const spec = latencies(runs, `Latency by rank: ${whose}`);
  const last = ({ points }: typeof spec.series[number]) => points.at(-1)?.value ?? 0;
  const series = spec.series.toSorted((a, b) => last(b) - last(a)); // names at the ends of lines stand in their order
  const note =
    "How slow the slowest of so many requests was, counted from when it was due. Each was asked at a rate of its " +
    "own: this is the shape of its queue, not a race.";
  return { id, spec: { ...spec, series }, note, repeat: commandsOf(runs), ofServers: true };
}

/** The charts of the section that compares. */
export function comparingFigures({ shown, results, comparisons, readiness }: Material): Figure[] {
  const family = (name: string) => shown.find(({ experiment }) => experiment.name === name)?.experiment.family ?? "own";
  const part = (peer: boolean) => shown.filter(({ experiment }) => experiment.peer === peer);
  const figures: Figure[] = [
    ...comparisons.flatMap((table) => comparisonFigures(table, family)),
    {
      id: "memory",
      spec: told(held(shown, "user_bytes_per_conn", MEMORY), shown, results),
      note: "What one more connection adds to the server's processes; memory of the kernel is not in it.",
      repeat: commandsOf(shown.map(({ hold }) => hold)),
      ofServers: true,
    },
    latencyFigure("latency-ours", "experiments", part(false)),
    latencyFigure("latency-peers", "peers", part(true)),
  ];
  if (readiness !== undefined) {
    const note = "One connection of so many has something to say.";
    figures.push({ id: "waits", spec: waits(readiness.rows), note, repeat: readiness.command, ofServers: false });
  }
  return figures.filter(({ spec }) => spec.kind === "lines" ? spec.series.length > 0 : spec.items.length > 0);
}
