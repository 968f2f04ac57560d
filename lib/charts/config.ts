/**
 * Charts from figures: what is to be seen ({@linkcode ChartSpec}, plain data) and how Chart.js draws it. The same
 * configuration makes a PNG (lib/charts/png.ts) and lives in a page, so this file needs neither Deno nor a document.
 *
 * A chart never invents. A value that is missing is a gap with its reason written into it; a value that the load generator
 * bounded says so, at least or at most, and is drawn hollow; an interval is a whisker, and no interval is none.
 *
 * @example
 * ```ts
 * import { Chart, registerables } from "chart.js";
 *
 * Chart.register(...registerables);
 * new Chart(canvas, chartConfig(spec, "light"));
 * ```
 *
 * @module
 */
import type { ChartConfiguration } from "chart.js";
import { inline, lineNames, referenceLine, whiskers } from "./plugins.ts";
import { range, scaleOf } from "./scales.ts";
import { unbroken } from "../text/format.ts";
import { wrap } from "../text/table.ts";
import { type ChartSpec, hasValues, lineName, type LinesSpec, type RankSpec, sentence } from "./spec.ts";
import { colourOf, GROUND, markOf, type Theme, written } from "./theme.ts";

export {
  type Axis,
  type ChartSpec,
  describeChart,
  folded,
  isEmpty,
  type LinesSpec,
  type RankSpec,
  sentence,
  type Value,
} from "./spec.ts";

/** The configuration of a chart as this project uses it. */
export type Configuration = ChartConfiguration<"bar" | "line", (number | null | { x: number; y: number | null })[]>;

const ROW = 26;
const FRAME = 110;
const LEGEND = 34;
const LINES_HEIGHT = 460; // pixels of the layout

/** Height of a chart, in pixels of the layout: a row for each server. */
export const heightOf = (spec: ChartSpec): number =>
  spec.kind === "lines" ? LINES_HEIGHT : FRAME + LEGEND + ROW * Math.max(spec.items.length, 1);

const CHARACTER_PX = 6.6; // of a name, about
const BESIDE_PX = 22; // from the end of a line to its name
const TITLE_CHARACTER_PX = 8.3; // of a title, about
const HEIGHTS_PX = 80; // what stands at the left of the lines

/** Room at the right, in pixels, so that the longest name at the end of a line is not cut off. */
function rightOf(spec: ChartSpec): number {
  if (spec.kind !== "lines") return 12;
  return Math.max(12, ...spec.series.filter(hasValues).map((of) => CHARACTER_PX * lineName(of).length + BESIDE_PX));
}

/** A text in as many lines as the width of a chart needs: Chart.js squeezes the letters of a line that is too long. */
const inWidth = (text: string, characterPx: number, besidePx: number) => ({ chart }: { chart: { width: number } }) =>
  wrap(unbroken(text), Math.floor((chart.width - besidePx) / characterPx));

/** An axis below the charts of lines, whose title has room beside the heights at its left and the names at its right. */
function belowLines(spec: LinesSpec, theme: Theme): Record<string, unknown> {
  const axis = scaleOf(spec.x, theme, spec.series.flatMap(({ points }) => points.map(({ x }) => x)));
  const title = axis["title"] as { text: string };
  return { ...axis, title: { ...title, text: inWidth(title.text, CHARACTER_PX, rightOf(spec) + HEIGHTS_PX) } };
}

function common(spec: ChartSpec, theme: Theme) {
  const { text } = GROUND[theme];
  return {
    animation: false as const,
    responsive: true,
    maintainAspectRatio: false,
    layout: { padding: { top: 4, right: rightOf(spec), bottom: 4, left: 4 } },
    plugins: {
      legend: { display: false },
      title: {
        display: true,
        text: inWidth(spec.title, TITLE_CHARACTER_PX, rightOf(spec)),
        color: text,
        align: "start" as const,
        font: { size: 15, weight: 600 },
        padding: { top: 4, bottom: 12 },
      },
    },
  };
}

/** How dots are drawn: what is a bound is hollow. */
const dots = (items: RankSpec["items"], colours: string[], theme: Theme) => ({
  showLine: false,
  clip: false as const, // a mark at the edge is drawn whole
  pointBackgroundColor: items.map(({ bound }, i) => bound === undefined ? colours[i]! : GROUND[theme].page),
  pointBorderColor: colours,
  pointBorderWidth: 2,
  pointStyle: items.map(({ family }) => markOf(family)),
  pointRadius: 6,
  pointHoverRadius: 8,
});

/** Which colour and mark is which family: it explains, and hides nothing when it is clicked. */
const legendOf = ({ kind, items }: RankSpec, theme: Theme) => ({
  display: items.length > 0,
  position: "bottom" as const,
  onClick: () => {},
  labels: {
    usePointStyle: true,
    boxHeight: 7,
    padding: 14,
    generateLabels: () =>
      [...new Set(items.map(({ family }) => family))].map((family) => ({
        text: family,
        fontColor: GROUND[theme].text,
        fillStyle: colourOf(family, theme),
        strokeStyle: colourOf(family, theme),
        lineWidth: 2,
        pointStyle: kind === "bars" ? "rect" as const : markOf(family),
      })),
  },
});

/** What is written beside a mark, and the same without its interval where there is no room. */
const besideMark = (item: RankSpec["items"][number], unit: RankSpec["axis"]["unit"]) => ({
  text: sentence(item, unit),
  short: sentence({ ...item, low: null, high: null }, unit),
  missing: item.value === null,
  before: item.low,
  beyond: item.high,
});

/** A row for each server, the name at its left, the value written at its right. */
function rankConfig(spec: RankSpec, theme: Theme): Configuration {
  const { items, axis } = spec;
  const bars = spec.kind === "bars";
  const colours = items.map(({ family }) => colourOf(family, theme));
  const values = [spec.reference, ...items.flatMap((of) => [of.value, of.low, of.high])];
  const tooltip = {
    callbacks: { label: ({ dataIndex }: { dataIndex: number }) => sentence(items[dataIndex]!, axis.unit) },
  };
  const shared = common(spec, theme);
  return {
    type: bars ? "bar" : "line",
    data: {
      labels: items.map(({ name }) => name),
      datasets: [{
        data: items.map(({ value }) => value),
        borderColor: colours,
        backgroundColor: items.map(({ bound }, i) => bound === undefined ? colours[i]! : `${colours[i]}55`),
        ...(bars ? { borderWidth: 1.5, maxBarThickness: 18 } : dots(items, colours, theme)),
      }],
    },
    options: {
      ...shared,
      indexAxis: "y",
      scales: {
        x: {
          ...scaleOf(axis, theme, values),
          ...range(axis, values, 0.45),
          ...(axis.scale === "linear" && { grace: "45%" }),
        },
        y: {
          type: "category",
          offset: true,
          grid: { display: false },
          ticks: { color: GROUND[theme].text, autoSkip: false, font: { size: 13 } },
        },
      },
      plugins: { ...shared.plugins, tooltip, legend: legendOf(spec, theme) },
    } as Configuration["options"] & object,
    plugins: [
      ...(spec.reference === undefined ? [] : [referenceLine(spec.reference, theme)]),
      whiskers(() => items.map(({ low, high }, i) => ({ low, high, colour: colours[i]! })), "x"),
      inline((i) => besideMark(items[i]!, axis.unit), theme),
    ],
  };
}

const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]]; // lines of one family have one colour, and differ by these

const tooltipOf = ({ series, x, y }: LinesSpec) => ({
  callbacks: {
    title: ([first]: { parsed: { x: number } }[]) => first === undefined ? "" : written(first.parsed.x, x.unit),
    label: ({ datasetIndex, dataIndex }: { datasetIndex: number; dataIndex: number }) =>
      `${series[datasetIndex]!.name}: ${sentence(series[datasetIndex]!.points[dataIndex]!, y.unit)}`,
  },
});

/** Lines of one family differ by their dashes; a bound is hollow. */
function datasetsOf({ series }: LinesSpec, theme: Theme): Configuration["data"]["datasets"] {
  const nth = series.map(({ family }, i) => series.slice(0, i).filter((other) => other.family === family).length);
  return series.map(({ name, family, points }, i) => ({
    label: name,
    data: points.map((point) => ({ x: point.x, y: point.value })),
    borderColor: colourOf(family, theme),
    backgroundColor: GROUND[theme].page,
    pointBackgroundColor: points.map(({ bound }) => bound === undefined ? colourOf(family, theme) : GROUND[theme].page),
    pointStyle: markOf(family),
    pointRadius: points.length > 60 ? 0 : 4,
    borderWidth: 2,
    borderDash: DASHES[nth[i]! % DASHES.length]!,
    spanGaps: false,
  }));
}

/** A line for each server, its name at its end. */
function linesConfig(spec: LinesSpec, theme: Theme): Configuration {
  const { series, x, y } = spec;
  const shared = common(spec, theme);
  const points = series.flatMap((line) => line.points);
  const heights = points.flatMap(({ value, low, high }) => [value, low, high]);
  return {
    type: "line",
    data: { datasets: datasetsOf(spec, theme) },
    options: {
      ...shared,
      interaction: { mode: "nearest", intersect: false },
      scales: {
        x: {
          ...belowLines(spec, theme),
          ...range(x, points.map((point) => point.x), 0.03),
          ...(x.scale === "linear" && { beginAtZero: false }),
          ...(x.unit === "percent" && { min: 0, max: 100, grace: 0 }), // of a whole: there is nothing beyond
        },
        y: {
          ...scaleOf(y, theme, heights),
          ...range(y, heights, 0.06),
        },
      },
      plugins: { ...shared.plugins, tooltip: tooltipOf(spec) },
    } as Configuration["options"] & object,
    plugins: [
      ...series.map(({ points, family }, i) =>
        whiskers(() => points.map(({ low, high }) => ({ low, high, colour: colourOf(family, theme) })), "y", i)
      ),
      lineNames(
        series.map((line) => ({
          text: lineName(line),
          colour: colourOf(line.family, theme),
          missing: !hasValues(line),
        })),
        theme,
      ),
    ],
  };
}

/** How Chart.js draws it. Plain functions and data: nothing in it is bound to a page or a process. */
export const chartConfig = (spec: ChartSpec, theme: Theme): Configuration =>
  spec.kind === "lines" ? linesConfig(spec, theme) : rankConfig(spec, theme);
