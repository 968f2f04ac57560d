/**
 * What a chart shows, as plain data, and what it says in words.
 *
 * @module
 */
import type { Axis } from "./scales.ts";
import { withoutFigure } from "../text/format.ts";
import { type Unit, written } from "./theme.ts";

/** One value with its interval. `value` null: there is none, and `note` says why. */
export interface Value {
  value: number | null;
  low?: number | null;
  high?: number | null;
  /** What the load generator limited is a bound and no figure. */
  bound?: "at least" | "at most";
  note?: string;
}

/** A value for each of many servers: bars from zero, or dots where zero means nothing. */
export interface RankSpec {
  kind: "bars" | "dots";
  title: string;
  axis: Axis;
  /** A line across all rows at this value, as 1 of ratios. */
  reference?: number;
  items: (Value & { name: string; family: string })[];
}

/** Values along an axis, a line for each server. */
export interface LinesSpec {
  kind: "lines";
  title: string;
  x: Axis;
  y: Axis;
  /** A line without any value says in `note` why; or its first point that says something. */
  series: { name: string; family: string; points: (Value & { x: number })[]; note?: string }[];
}

type Series = LinesSpec["series"][number];
/** Whether there is anything to draw of a line. */
export const hasValues = ({ points }: Series) => points.some(({ value }) => value !== null);
/** Why a line has no value. */
const whyNone = ({ points, note }: Series): string =>
  note ?? points.find((point) => point.note !== undefined)?.note ?? "not measured";

/** What stands at the end of a line: its name, and whether its values are bounds; of a line without any why. */
export function lineName(line: Series): string {
  if (!hasValues(line)) return `${line.name}: ${whyNone(line)}`;
  const bound = line.points.find((point) => point.bound !== undefined)?.bound;
  return bound === undefined ? line.name : `${line.name}, ${bound}`;
}

export type { Axis };
export type ChartSpec = RankSpec | LinesSpec;

/** A value as it is written into a chart: with its bound, its unit and its interval. */
export function sentence({ value, low, high, bound, note }: Value, unit: Unit): string {
  if (value === null) return note ?? "not measured";
  const sign = bound === undefined ? "" : `${bound} `;
  const known = low !== null && low !== undefined && high !== null && high !== undefined;
  return `${sign}${written(value, unit)}${known ? ` [${written(low, unit)}, ${written(high, unit)}]` : ""}`;
}

/** What a chart has to draw, and what it does not. */
export interface Folded {
  /** The chart with what has a figure. */
  spec: ChartSpec;
  /** The names of what has none, by the reason, in a sentence; null: all have one. */
  without: string | null;
}

/** Takes out of a chart what has no figure: a row of words for each would take the place of the figures. */
export function folded(spec: ChartSpec): Folded {
  if (spec.kind === "lines") {
    const missing = spec.series.filter((line) => !hasValues(line)).map((of) => ({ name: of.name, why: whyNone(of) }));
    return { spec: { ...spec, series: spec.series.filter(hasValues) }, without: withoutFigure(missing) };
  }
  const isKnown = ({ value }: Value) => value !== null;
  const missing = spec.items.filter((item) => !isKnown(item))
    .map(({ name, note = "not measured" }) => ({ name, why: note }));
  return { spec: { ...spec, items: spec.items.filter(isKnown) }, without: withoutFigure(missing) };
}

/** Whether a chart has anything to draw. */
export const isEmpty = (spec: ChartSpec): boolean =>
  spec.kind === "lines" ? spec.series.length === 0 : spec.items.length === 0;

/** What a chart shows, in words: for those who do not see it, and for the text beside a picture. */
export function describeChart(spec: ChartSpec): string {
  const lines = spec.kind === "lines"
    ? spec.series.map((line) =>
      hasValues(line)
        ? `${line.name}: ${
          line.points.map((point) => `${written(point.x, spec.x.unit)}: ${sentence(point, spec.y.unit)}`).join("; ")
        }`
        : lineName(line)
    )
    : spec.items.map((item) => `${item.name}: ${sentence(item, spec.axis.unit)}`);
  return `${spec.title}. ${
    lines.length === 0 ? "Nothing to show" : lines.map((line) => line.replace(/\.$/, "")).join(". ")
  }.`;
}
