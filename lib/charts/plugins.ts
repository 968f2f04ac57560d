/**
 * What Chart.js does not draw by itself: whiskers, and text beside the marks.
 *
 * @module
 */
import type { Chart, Plugin } from "chart.js";
import { GROUND, type Theme } from "./theme.ts";

type Kind = Plugin<"bar" | "line">;

/** An interval beside a value, in the value's unit. */
interface Whisker {
  low: number | null | undefined;
  high: number | null | undefined;
  colour: string;
}

const CAP = 4; // pixels from the whisker's line to either end of its cap

/** Draws the interval of each value of a dataset, as a line with caps along an axis. */
export function whiskers(of: () => Whisker[], along: "x" | "y", dataset = 0): Kind {
  return {
    id: `whiskers-${dataset}`,
    afterDatasetsDraw(chart: Chart) {
      const { ctx } = chart;
      const scale = chart.scales[along]!;
      const marks = chart.getDatasetMeta(dataset).data;
      ctx.save();
      ctx.lineWidth = 1.5;
      for (const [i, { low, high, colour }] of of().entries()) {
        const mark = marks[i];
        if (mark === undefined || low === null || low === undefined || high === null || high === undefined) continue;
        const [from, to] = [scale.getPixelForValue(low), scale.getPixelForValue(high)];
        ctx.strokeStyle = colour;
        ctx.beginPath();
        const line = (x1: number, y1: number, x2: number, y2: number) => (ctx.moveTo(x1, y1), ctx.lineTo(x2, y2));
        const across = along === "x" ? mark.y : mark.x;
        if (along === "x") line(from, across, to, across);
        else line(across, from, across, to);
        for (const end of [from, to]) {
          if (along === "x") line(end, across - CAP, end, across + CAP);
          else line(across - CAP, end, across + CAP, end);
        }
        ctx.stroke();
      }
      ctx.restore();
    },
  };
}

/** A line across the rows at a value of the x axis. */
export function referenceLine(value: number, theme: Theme): Kind {
  return {
    id: "reference",
    beforeDatasetsDraw({ ctx, chartArea: { top, bottom }, scales }: Chart) {
      const x = scales["x"]!.getPixelForValue(value);
      ctx.save();
      ctx.strokeStyle = GROUND[theme].faint;
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, bottom);
      ctx.stroke();
      ctx.restore();
    },
  };
}

/** What is written at a mark. */
interface Text {
  text: string;
  /** What is written where there is no room for that: the whisker shows the rest. */
  short: string;
  /** There is no mark: the text stands where the axis begins, and says why. */
  missing: boolean;
  /** The text begins to the right of this value of the x axis, if that lies beyond the mark; or it ends to the left of this. */
  before?: number | null | undefined;
  beyond?: number | null | undefined;
}

const GAP = 10; // pixels from a mark to its text

/** Where a text may begin beside a mark, and where its room ends. */
interface Side {
  x: number;
  end: number;
}

/** Where the text beside a mark begins, and as much of it as there is room for: at the right, at the left, or cut. */
function beside(ctx: Chart["ctx"], { text, short }: Text, left: Side, right: Side): { text: string; x: number } {
  for (const words of [text, short]) {
    const { width } = ctx.measureText(words);
    if (width <= right.end - right.x) return { text: words, x: right.x };
    if (width <= left.x - left.end) return { text: words, x: left.x - width };
  }
  return { text: fitting(ctx, short, right.end - right.x), x: right.x };
}

/** Writes beside each mark. */
export function inline(of: (index: number) => Text, theme: Theme): Kind {
  return {
    id: "inline",
    afterDatasetsDraw(chart: Chart) {
      const { ctx, chartArea } = chart;
      ctx.save();
      ctx.textBaseline = "middle";
      ctx.textAlign = "left";
      for (const [i, mark] of chart.getDatasetMeta(0).data.entries()) {
        const written = of(i);
        const { missing, before, beyond } = written;
        const pixel = (value: number | null | undefined) =>
          typeof value === "number" ? chart.scales.x!.getPixelForValue(value) : mark.x;
        ctx.font = `${missing ? "italic " : ""}12px ${fontOf(chart)}`;
        ctx.fillStyle = missing ? GROUND[theme].faint : GROUND[theme].text;
        const from = missing ? chartArea.left + 6 : Math.max(mark.x, pixel(beyond)) + GAP;
        const { text, x } = beside(
          ctx,
          written,
          { x: missing ? chartArea.left : Math.min(mark.x, pixel(before)) - GAP, end: chartArea.left },
          { x: from, end: chart.width - 2 },
        );
        ctx.fillText(text, x, mark.y);
      }
      ctx.restore();
    },
  };
}

/** What is written at the end of a line. */
interface LineName {
  text: string;
  colour: string;
  /** There is no line: the text stands at the left and says why. */
  missing: boolean;
}

const ASIDE = 12; // pixels that a name stands further to the right where a thin line leads to it

/** Writes each line's name at its end, in its colour, or where that place is taken below it, with a thin line to it. */
export function lineNames(names: readonly LineName[], theme: Theme): Kind {
  return {
    id: "names",
    afterDatasetsDraw(chart: Chart) {
      const { ctx, chartArea } = chart;
      const taken: number[] = [];
      const takenLeft: number[] = [];
      ctx.save();
      ctx.textBaseline = "middle";
      ctx.textAlign = "left";
      for (const [dataset, { text, colour, missing }] of names.entries()) {
        const mark = chart.getDatasetMeta(dataset).data[lastKnown(chart.data.datasets[dataset]!.data)];
        ctx.font = `${missing ? "italic " : ""}12px ${fontOf(chart)}`;
        ctx.fillStyle = missing ? GROUND[theme].faint : colour;
        const y = mark === undefined ? free(chartArea.top + 10, takenLeft) : free(mark.y, taken);
        const isMoved = mark !== undefined && Math.abs(y - mark.y) > 1;
        const x = mark === undefined ? chartArea.left + 8 : mark.x + 10 + (isMoved ? ASIDE : 0);
        ctx.fillText(fitting(ctx, text, chart.width - x - 2), x, y);
        if (isMoved) leader(ctx, mark, { x: x - 3, y }, colour);
      }
      ctx.restore();
    },
  };
}

interface Place {
  x: number;
  y: number;
}

/** A thin line from the end of a line to its name. */
function leader(ctx: Chart["ctx"], from: Place, to: Place, colour: string): void {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 0.75;
  ctx.beginPath();
  ctx.moveTo(from.x + 6, from.y);
  ctx.lineTo(to.x, to.y);
  ctx.stroke();
}

/** The text, or as much of it as there is room for. */
function fitting(ctx: Chart["ctx"], text: string, room: number): string {
  if (ctx.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 0 && ctx.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return `${text.slice(0, length).trimEnd()}…`;
}

const fontOf = (chart: Chart): string =>
  String((chart.options.font as { family?: string } | undefined)?.family ?? "Inter");

const lastKnown = (data: readonly unknown[]): number =>
  data.findLastIndex((point) => point !== null && (point as { y?: number | null }).y !== null);

/** A height where no name stands yet: the next one below. */
function free(y: number, taken: number[]): number {
  let at = y;
  while (taken.some((other) => Math.abs(other - at) < 14)) at += 14; // ends, because there are finitely many names
  taken.push(at);
  return at;
}
