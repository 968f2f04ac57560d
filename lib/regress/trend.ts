/**
 * What the nights show together: for each experiment its ratio to the reference night by night, and where that changed. It
 * advises and fails nothing: a night is judged by its own rounds (lib/regress/decision.ts), and this sees what is too small for one.
 *
 * @module
 */
import { changePoints, MOST_VALUES } from "./change_points.ts";
import type { LinesSpec } from "../charts/config.ts";
import { percentChange, readHistory, type RegressionRecord, type RegressionRow } from "./record.ts";
import { median } from "../timing/stats.ts";

/** One night of one experiment. */
export interface TrendPoint {
  /** When it ended, in UTC. */
  time: string;
  deno: string;
  /** Ratio to the reference, in CPU time per request. */
  ratio: number;
  low: number | null;
  high: number | null;
}

/** The nights of one experiment that can be compared with its newest one: same kind of machine, reference, connections. */
export interface Trend {
  experiment: string;
  reference: string;
  /** The oldest first; at most {@linkcode MOST_VALUES}. */
  points: TrendPoint[];
  /** The indices of the nights from which on it is another. */
  changes: number[];
}

/** A night with its row of one experiment. */
type Seen = { night: RegressionRecord; row: RegressionRow };

const comparable = ({ night, row }: Seen) => JSON.stringify([night.kind, night.reference, row.connections]);

/** The course of each experiment in the history, in the order of their names. Nights without a ratio are left out. */
export function trends(history: readonly RegressionRecord[]): Trend[] {
  const all: Seen[] = history.flatMap((night) => night.experiments.map((row) => ({ night, row })));
  const measured = all.filter(({ row }) => row.ratio !== null);
  const byName = [...Map.groupBy(measured, ({ row }) => row.experiment)];
  return byName.toSorted(([a], [b]) => a < b ? -1 : 1).map(([experiment, seen]) => {
    const newest = seen.at(-1)!;
    const alike = seen.filter((of) => comparable(of) === comparable(newest)).slice(-MOST_VALUES);
    const points = alike.map(({ night: { time, deno }, row }): TrendPoint => ({
      time,
      deno,
      ratio: row.ratio!,
      low: row.ratio_low,
      high: row.ratio_high,
    }));
    const changes = changePoints(points.map(({ ratio }) => Math.log(ratio)));
    return { experiment, reference: newest.night.reference, points, changes };
  });
}

/** A stretch of nights without a change. */
interface Level {
  /** The index of its first night. */
  from: number;
  points: TrendPoint[];
  /** The median of its nights. */
  ratio: number;
}

const levelsOf = ({ points, changes }: Trend): Level[] =>
  [0, ...changes].map((from, i) => {
    const of = points.slice(from, changes[i] ?? points.length);
    return { from, points: of, ratio: median(of.map(({ ratio }) => ratio)) };
  });

const since = (level: Level, before: Level) =>
  `${percentChange(level.ratio / before.ratio)} since ${level.points[0]!.time.slice(0, 10)}`;

/** What has changed, a sentence for each experiment with a change. */
export function tellChanges(all: readonly Trend[]): string[] {
  return all.filter(({ changes }) => changes.length > 0).map((course) => {
    const levels = levelsOf(course);
    const said = levels.slice(1).map((level, i) => {
      const before = levels[i]!;
      const [from, to] = [before.points.at(-1)!.deno, level.points[0]!.deno];
      const upgrade = from === to ? "" : `, Deno ${from} before and ${to} then`;
      return `${since(level, before)} (${level.points.length} nights, ${before.points.length} before${upgrade})`;
    });
    return `${course.experiment}: ${said.join("; ")}`;
  });
}

/** What changed over the nights of a machine, as lines below a record; empty: nothing. Needs `--allow-read`. */
export async function adviceOf(folder: string): Promise<string> {
  const { values } = await readHistory(folder); // a run has reported its damaged lines
  const changes = tellChanges(trends(values));
  return changes.length === 0 ? "" : ["", "In the history, which fails nothing:", ...changes, ""].join("\n");
}

/** The nights of an experiment with their intervals, and the median of each stretch, all against that of the first one. */
export function trendChart(course: Trend, family: string): LinesSpec {
  const { experiment, reference, points } = course;
  const levels = levelsOf(course);
  const percent = (ratio: number) => (ratio / levels[0]!.ratio - 1) * 100;
  const bound = (ratio: number | null) => ratio === null ? null : percent(ratio);
  const level = ({ from, points, ratio }: Level, i: number) => ({
    name: i === 0 ? "median" : since(levels[i]!, levels[i - 1]!),
    family: "custom",
    points: points.map((_, k) => ({ x: from + k + 1, value: percent(ratio) })),
  });
  return {
    kind: "lines",
    title: `${experiment} beside ${reference}, night by night`,
    x: { label: `nights, from ${points[0]!.time.slice(0, 10)} on`, unit: "nights", scale: "linear" },
    y: { label: "change of the CPU time per request", unit: "percent", scale: "linear" },
    series: [
      {
        name: experiment,
        family,
        points: points.map(({ ratio, low, high }, i) => ({
          x: i + 1,
          value: percent(ratio),
          low: bound(low),
          high: bound(high),
        })),
      },
      ...levels.map(level),
    ],
  };
}
