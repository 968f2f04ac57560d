/**
 * Latency against load, as it comes: a point for each second, so that who moves the rate sees where latency bends.
 *
 * @module
 */
/// <reference lib="dom" />
import { Chart } from "chart.js";
import type { Axis } from "../../../lib/charts/config.ts";
import { scaleOf } from "../../../lib/charts/scales.ts";
import { GROUND, type Theme } from "../../../lib/charts/theme.ts";
import { type LoadPoint, loadPoints, spokenLoad } from "../figures.ts";
import type { Round } from "../wire.ts";
import { byId } from "./controls.ts";
import { extent, ticksOf } from "./scale.ts";
import { label, type Look } from "./servers.ts";

const LOAD: Axis = { label: "requests/s", unit: "per_s", scale: "log" };
const LATENCY: Axis = { label: "p99 latency", unit: "us", scale: "log" };
const KEPT = 600; // seconds: longer than the other charts, because it takes time to try rates

function axisOf(axis: Axis, values: readonly number[], theme: Theme) {
  const scale = scaleOf(axis, theme);
  const { faint } = GROUND[theme];
  const ends = extent(axis, values);
  return {
    ...scale,
    ...ends,
    title: { ...(scale["title"] as object), color: faint, font: { size: 11 } },
    ticks: { ...(scale["ticks"] as object), font: { size: 11 } },
    afterBuildTicks: (built: { ticks: { value: number }[] }) => void (built.ticks = ticksOf(axis, ends)),
  };
}

function optionsOf(points: readonly LoadPoint[], theme: Theme) {
  return {
    animation: false as const,
    responsive: true,
    maintainAspectRatio: false,
    events: [],
    layout: { padding: { top: 6, right: 16 } },
    scales: {
      x: axisOf(LOAD, points.map(({ x }) => x), theme),
      y: axisOf(LATENCY, points.map(({ y }) => y), theme),
    },
  };
}

/** The section of the page. */
export class LoadChart {
  readonly #chart = new Chart<"line", LoadPoint[]>(byId<HTMLCanvasElement>("load-curve"), {
    type: "line",
    data: { datasets: [] },
  });
  #rounds: readonly Round[] = [];

  constructor(readonly looks: readonly Look[]) {
    const names = looks.flatMap((look, i) => i > 0 ? [" ", label(look, i)] : [label(look, i)]);
    byId("load-servers").replaceChildren(...names);
    byId("load-servers").hidden = looks.length === 1;
  }

  /** Begins with the rounds that the command still has. */
  begin(rounds: readonly Round[]): void {
    this.#rounds = rounds;
  }

  add(round: Round): void {
    this.#rounds = [...this.#rounds, round].slice(-KEPT);
  }

  draw(theme: Theme): void {
    const points = this.looks.map((_, i) => loadPoints(this.#rounds.map((round) => round[i]!)));
    this.#chart.data.datasets = this.looks.map((look, i) => dotsOf(look, points[i]!, theme));
    this.#chart.options = optionsOf(points.flat(), theme);
    this.#chart.update("none");
    const spoken = this.looks.map(({ name }, i) => spokenLoad(name, points[i]!)).join(". ");
    byId("load-curve").setAttribute("aria-label", spoken);
  }
}

/** A dot for each second, the last one large; a bound is hollow. */
function dotsOf({ colour, mark }: Look, points: LoadPoint[], theme: Theme) {
  const size = mark === "circle" ? 3 : 4; // a square on its corner looks smaller
  return {
    data: points,
    showLine: false,
    borderColor: colour[theme],
    pointBackgroundColor: points.map(({ isBound }) => isBound ? GROUND[theme].page : `${colour[theme]}99`),
    pointStyle: mark,
    pointRadius: points.map((_, i) => i < points.length - 1 ? size : 2 * size),
    clip: false as const,
  };
}
