/**
 * The charts of the report: what each shows, and what repeats it.
 *
 * @module
 */
import type { ChartSpec, RankSpec } from "../../lib/charts/config.ts";
import {
  FAN_OUT,
  fanOut,
  HELD,
  held,
  isOneRate,
  latencies,
  loads,
  memories,
  MEMORY,
  ratios,
  reached,
  waits,
} from "../../lib/charts/figures.ts";
import { trendChart } from "../../lib/regress/trend.ts";
import type { Result } from "../../lib/results/results.ts";
import { crossingChart, crossingSentence, type Pair } from "../../lib/advice/pairs.ts";
import { isOfNoise, isVoid } from "../../lib/tables/comparison.ts";
import { broadcastRuns, type Shown, type Table, telling } from "../../lib/results/choose.ts";
import type { ReportContents } from "./contents.ts";
import { kindOf, metricOf, nameOf, type Stored, whyMissing } from "./servers.ts";

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
function told<S extends RankSpec>(spec: S, shown: readonly Shown[], contents: Stored): S {
  const without = new Map(shown.filter(({ hold }) => hold === undefined).map((row) => [row.experiment.name, row]));
  const items = spec.items.map((item) => {
    const row = without.get(item.name);
    return row === undefined ? item : { ...item, note: whyMissing(row, contents) };
  });
  return { ...spec, items };
}

/** How many connections the experiments of this project hold. */
export const ladderFigure = (shown: readonly Shown[], contents: Stored): Figure => ({
  id: "ladder",
  spec: told(held(shown, "answered", HELD), shown, contents),
  note: "A hollow mark is a lower bound: the run asked for no more. What stopped the others stands with each of them.",
  repeat: commandsOf(shown.map(({ hold }) => hold)),
  ofServers: false,
});

/** The charts of one comparison: the ratio that its scenario is for, and what the servers reached. */
function comparisonFigures(table: Table, family: (name: string) => string): Figure[] {
  const { rows, study: { command } } = table;
  const { scenario, connections, reference } = rows[0]!;
  const metric = metricOf(table);
  const id = `${scenario}-${connections}`;
  const what = {
    cpu_us_per_request: "Server CPU per request",
    cpu_us_per_delivery: "Server CPU per delivery",
    user_bytes_per_conn: "User memory per connection",
  };
  const title = `${metric === "pss_bytes" ? "Memory (PSS)" : what[metric]}: ${nameOf(table)}`;
  const note = `Left of the line a server takes less than ${reference}; a whisker is the interval of 98 %.`;
  const first: Pick<Figure, "spec" | "note"> = rows.some(isOfNoise)
    ? {
      spec: memories(rows, title, family),
      note: `A hollow mark is an upper bound, within noise. That of ${reference} is one: there is no ratio to it.`,
    }
    : { spec: ratios(rows, metric, title, family), note };
  return [{ id, ...first, repeat: command, ofServers: true }, ...secondFigure(table, id, family)];
}

/**
 * What the servers reached beside their cost: of pairs that were all asked for one rate the latencies themselves; of others,
 * each with a load of its own, the ratios, if there are any that are not of bounds.
 */
function secondFigure(table: Table, id: string, family: (name: string) => string): Figure[] {
  const { rows, study: { command } } = table;
  const { scenario, reference } = rows[0]!;
  const metric = scenario === "throughput" ? "requests_per_s" as const : "p99_us" as const;
  const of = rows.filter((row) => row.metric === metric && row.candidate_value !== null);
  if (scenario === "hold" || of.length === 0) return [];
  const title = `${metric === "p99_us" ? "Latency, 99th percentile" : "Requests per second"}: ${nameOf(table)}`;
  const figure = { id: `${id}-${metric}`, repeat: command, ofServers: true };
  if (isOneRate(of)) {
    const note = "A hollow mark is an upper bound: the latency may be the load generator's own, or another process's.";
    return [{ ...figure, spec: reached(rows, metric, title, family), note }];
  }
  if (of.every((row) => row.ratio === null || isVoid(row))) return [];
  const side = metric === "p99_us"
    ? `Left of the line a server is faster than ${reference}`
    : `Right of the line a server answers more than ${reference}`;
  const note = `${side}; each pair had a load of its own. Where the load generator was the limit there is no ratio.`;
  return [{ ...figure, spec: ratios(rows, metric, title, family), note }];
}

/** Latencies of those that ran `rate`, each at half of its own throughput. */
function latencyFigure(id: string, whose: string, shown: readonly Shown[]): Figure {
  const runs = shown.map(({ rate }) => rate).filter((of) => of !== undefined);
  const spec = latencies(runs, `Latency by rank: ${whose}`);
  const last = ({ points }: typeof spec.series[number]) => points.at(-1)?.value ?? 0;
  const series = spec.series.toSorted((a, b) => last(b) - last(a)); // names at the ends of lines stand in their order
  const note =
    "Latency of the slowest one of so many requests, from the time at which it was due. Each server ran at half of its " +
    "own maximum rate: compare the shapes, not the heights.";
  return { id, spec: { ...spec, series }, note, repeat: commandsOf(runs), ofServers: true };
}

/** What broadcasts come to, by the number of listeners. */
function fanOutFigures({ shown, own, results }: ReportContents): Figure[] {
  const runs = broadcastRuns([...shown, ...own].map(({ experiment }) => experiment), results);
  const note =
    "One message to all, ten times a second. A line that is a bound may be the load generator's own latency.";
  return Object.entries(FAN_OUT).map(([id, of]) => ({
    id: `fan-out-${id}`,
    spec: fanOut(runs, of),
    note,
    repeat: commandsOf(runs),
    ofServers: true,
  }));
}

/** Families whose latencies stand in one chart: with all of them in one, the lines hide each other. */
const GROUPS: [id: string, families: string[]][] = [
  ["blocking", ["blocking"]],
  ["events", ["readiness", "completion"]],
  ["runtimes", ["runtime", "hybrid", "bypass"]],
  ["own", ["custom"]],
];
const WHOSE = { ours: "experiments", peer: "peers", own: "servers of your own" };

/** The nights of each experiment that has some. */
export const nightFigures = ({ trends, shown }: ReportContents): Figure[] =>
  trends.map((course) => ({
    id: `nights-${course.experiment}`,
    spec: trendChart(
      course,
      shown.find(({ experiment }) => experiment.name === course.experiment)?.experiment.family ?? "custom",
    ),
    note:
      "A whisker is the interval of 98 % of one night. A new level begins where the nights before and after are more " +
      "unlike than in 99 of 100 other orders of the same nights (E-divisive).",
    repeat: `deno task regress --experiments ${course.experiment}`,
    ofServers: false,
  }));

/** The advisor's command for the load of a crossing. */
const repeatOf = ({ load: { connections, cpuUs, idlePercent } }: Pair): string =>
  `deno task advise --connections ${connections} --cpu-us ${cpuUs} --idle ${idlePercent}`;

/** The charts of the section that compares. */
export function comparingFigures(contents: ReportContents): Figure[] {
  const { comparisons, readiness, sweep, crossings } = contents;
  const all = [...contents.shown, ...contents.own];
  const family = (name: string) =>
    all.find(({ experiment }) => experiment.name === name)?.experiment.family ?? "custom";
  const figures: Figure[] = [
    ...comparisons.flatMap((table) => comparisonFigures(table, family)),
    {
      id: "memory",
      spec: told(held(all, "user_bytes_per_conn", MEMORY), all, contents),
      note:
        "What one more connection adds to the server's processes, without memory of the kernel. A hollow mark is an upper bound: the figure is within the variation of the heap.",
      repeat: commandsOf(all.map(({ holds, hold }) => telling(holds, "user_bytes_per_conn") ?? hold)),
      ofServers: true,
    },
    ...fanOutFigures(contents),
    ...GROUPS.flatMap(([id, families]) =>
      (["ours", "peer", "own"] as const).map((kind) =>
        latencyFigure(
          `latency-${kind}-${id}`,
          kind === "own" ? WHOSE.own : `${WHOSE[kind]}: ${families.join(", ")}`,
          all.filter(({ experiment }) => kindOf(experiment) === kind && families.includes(experiment.family)),
        )
      )
    ),
  ];
  if (readiness !== undefined) {
    const note = "One of so many connections is active.";
    figures.push({ id: "waits", spec: waits(readiness.rows), note, repeat: readiness.command, ofServers: false });
  }
  figures.push(...crossings.map((pair): Figure => ({
    id: `crossing-${pair.axis}`,
    spec: crossingChart(pair, family),
    note: crossingSentence(pair),
    repeat: repeatOf(pair),
    ofServers: false,
  })));
  if (sweep !== undefined) {
    const note = "Counted from when a request was due. The last mark of a line is where its server no longer keeps up.";
    figures.push({
      id: "load",
      spec: loads(sweep.rows, family),
      note,
      repeat: sweep.command,
      ofServers: false,
    });
  }
  return figures.filter(({ spec }) => spec.kind === "lines" ? spec.series.length > 0 : spec.items.length > 0);
}
