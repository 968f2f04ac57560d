/**
 * The small charts of the live page: one figure over the last two minutes.
 *
 * @module
 */
/// <reference lib="dom" />
import {
  CategoryScale,
  Chart,
  Filler,
  LinearScale,
  LineController,
  LineElement,
  LogarithmicScale,
  PointElement,
  type ScriptableLineSegmentContext,
} from "chart.js";
import { scaleOf } from "../../../lib/charts/scales.ts";
import { GROUND, type Theme } from "../../../lib/charts/theme.ts";
import { extent, ticksOf } from "./scale.ts";
import { boundIn, type Figure, spokenOf } from "../figures.ts";
import type { Frame } from "../../../lib/run/watch.ts";
import { HISTORY_S, type Round } from "../wire.ts";
import type { Look } from "./servers.ts";

Chart.register(LineController, LineElement, PointElement, LinearScale, LogarithmicScale, CategoryScale, Filler);
Chart.defaults.font.family = "Inter, system-ui, sans-serif";

interface Point {
  x: number;
  y: number | null;
}

/** Seconds before now, from left to right. A frame tells of all the time since the one before; null is a gap. */
function pointsOf(figure: Figure, frames: readonly Frame[]): Point[] {
  const now = frames.at(-1)?.elapsed_s ?? 0;
  return frames.map((frame) => ({ x: frame.elapsed_s - now, y: figure.value(frame) }));
}

const WINDOWS_S = [30, 60, HISTORY_S]; // what the chart shows, the shortest that has room for all frames
const SCALE_WIDTH = 62; // pixels, so that the charts of a column begin below each other

type Ticks = { ticks: { value: number }[] };
const plain = { display: false };

function optionsOf({ axis }: Figure, lines: readonly Point[][], theme: Theme) {
  const y = scaleOf(axis, theme);
  const { faint, grid } = GROUND[theme];
  const ends = extent(axis, lines.flatMap((points) => points.map((point) => point.y)));
  const oldest = lines[0]?.[0]?.x ?? 0; // all lines are of the same times
  const shownS = WINDOWS_S.find((seconds) => seconds >= -oldest) ?? HISTORY_S;
  const small = { color: faint, font: { size: 11 }, maxRotation: 0 };
  return {
    animation: false as const,
    responsive: true,
    maintainAspectRatio: false,
    events: [],
    layout: { padding: { top: 6, right: 6 } },
    scales: {
      x: {
        type: "linear" as const,
        min: -shownS,
        max: 0,
        grid: plain,
        border: { color: grid },
        ticks: {
          ...small,
          stepSize: shownS / 2,
          align: "inner" as const,
          callback: (value: string | number) => value === 0 ? "now" : `${-value} s ago`,
        },
      },
      y: {
        ...y,
        ...ends,
        grace: 0,
        title: plain,
        border: plain,
        afterFit: (scale: { width: number }) => void (scale.width = SCALE_WIDTH),
        ticks: {
          ...(y["ticks"] as object),
          ...small,
          padding: 6,
        },
        afterBuildTicks: (scale: Ticks) => void (scale.ticks = ticksOf(axis, ends)),
      },
    },
  };
}

/** A chart that follows the rounds, with a line for each server. */
export class FigureChart {
  readonly #chart: Chart<"line", Point[]>;

  constructor(readonly figure: Figure, readonly canvas: HTMLCanvasElement, readonly looks: readonly Look[]) {
    this.#chart = new Chart<"line", Point[]>(canvas, { type: "line", data: { datasets: [] } });
  }

  draw(rounds: readonly Round[], theme: Theme): void {
    const frames = this.looks.map((_, i) => rounds.map((round) => round[i]!));
    const points = frames.map((of) => pointsOf(this.figure, of));
    this.#chart.data.datasets = this.looks.map((look, i) => this.#lineOf(look, frames[i]!, points[i]!, theme));
    this.#chart.options = optionsOf(this.figure, points, theme);
    this.#chart.update("none");
    this.canvas.setAttribute("aria-label", spokenOf(this.figure, this.looks.map(({ name }) => name), rounds));
  }

  #lineOf(look: Look, frames: readonly Frame[], points: Point[], theme: Theme) {
    const { mark } = look;
    const colour = look.colour[theme];
    const bounds = frames.map((frame) => boundIn(this.figure, frame) !== null);
    const isAlone = this.looks.length === 1;
    return {
      data: points,
      borderColor: colour,
      backgroundColor: `${colour}1f`,
      fill: !isAlone ? false : this.figure.axis.scale === "linear" ? "origin" : "start",
      borderWidth: 2,
      tension: 0,
      pointStyle: mark,
      pointRadius: points.map((_, i) => i < points.length - 1 ? 0 : mark === "circle" ? 3 : 4.5),
      pointBackgroundColor: bounds.map((bound) => bound ? GROUND[theme].page : colour),
      segment: {
        borderDash: ({ p1DataIndex }: ScriptableLineSegmentContext) => bounds[p1DataIndex] ? [3, 3] : [],
      },
      clip: false as const,
    };
  }
}
