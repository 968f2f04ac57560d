/**
 * How latency is distributed: a curve for each server, and the same numbers as a table.
 *
 * @module
 */
/// <reference lib="dom" />
import { Chart, type ScriptableLineSegmentContext } from "chart.js";
import { known, scaleOf } from "../../../lib/charts/scales.ts";
import type { Axis } from "../../../lib/charts/config.ts";
import { GROUND, type Theme } from "../../../lib/charts/theme.ts";
import { count, microseconds } from "../../../lib/text/format.ts";
import type { LatencyStep } from "../../../lib/run/watch.ts";
import type { Round } from "../wire.ts";
import { byId } from "./controls.ts";
import { extent, ticksOf } from "./scale.ts";
import { label, type Look } from "./servers.ts";

const STEPS = [2, 4, 10, 20, 100, 200, 1000, 2000, 10_000];
const NAMED = [2, 10, 100, 1000, 10_000]; // those that the axis names
const LATENCY: Axis = { label: "latency", unit: "us", scale: "log" };

interface Point {
  x: number;
  y: number;
}

const written = ({ us, at_least }: LatencyStep): string => `${at_least ? "≥ " : ""}${microseconds(us)}`;

/** A curve in words. */
const spoken = (name: string, steps: readonly LatencyStep[]): string =>
  steps.length === 0
    ? `${name}: too few requests yet`
    : `${name}: ${steps.map((step) => `1 in ${count(step.one_in)} over ${written(step)}`).join(", ")}`;

function optionsOf(values: readonly number[], theme: Theme) {
  const { faint, grid } = GROUND[theme];
  const ends = extent(LATENCY, known(values));
  const small = { color: faint, font: { size: 11 }, maxRotation: 0 };
  const y = scaleOf(LATENCY, theme);
  return {
    animation: false as const,
    responsive: true,
    maintainAspectRatio: false,
    events: [],
    layout: { padding: { top: 6, right: 16 } },
    scales: {
      x: {
        type: "logarithmic" as const,
        min: STEPS[0]!,
        max: STEPS.at(-1)!,
        grid: { color: grid },
        border: { color: grid },
        title: { display: true, text: "one in so many requests takes longer", color: faint, font: { size: 11 } },
        afterBuildTicks: (scale: { ticks: { value: number }[] }) =>
          void (scale.ticks = NAMED.map((value) => ({ value }))),
        ticks: { ...small, callback: (value: string | number) => count(Number(value)) },
      },
      y: {
        ...y,
        ...ends,
        title: { display: false },
        border: { display: false },
        ticks: { ...(y["ticks"] as object), ...small, padding: 6 },
        afterBuildTicks: (scale: { ticks: { value: number }[] }) => void (scale.ticks = ticksOf(LATENCY, ends)),
      },
    },
  };
}

/** The section of the page. */
export class Distribution {
  readonly #chart = new Chart<"line", Point[]>(byId<HTMLCanvasElement>("curve"), {
    type: "line",
    data: { datasets: [] },
  });

  constructor(readonly looks: readonly Look[]) {
    const first = document.createElement("th");
    first.scope = "col";
    first.textContent = "Longer than";
    const heads = looks.map((look, i) => {
      const head = document.createElement("th");
      head.scope = "col";
      head.append(label(look, i));
      return head;
    });
    byId("distribution-head").replaceChildren(first, ...heads);
  }

  show(round: Round | undefined, theme: Theme): void {
    const curves = this.looks.map((_, i) => round?.[i]?.latencies ?? []);
    this.#draw(curves, theme);
    this.#fill(curves);
    byId("distribution-note").textContent = "Of the last ten seconds at the most, and since the load was changed.";
    byId("curve").setAttribute("aria-label", this.looks.map(({ name }, i) => spoken(name, curves[i]!)).join(". "));
  }

  #draw(curves: readonly LatencyStep[][], theme: Theme): void {
    this.#chart.data.datasets = this.looks.map(({ colour, mark }, i) => {
      const steps = curves[i]!;
      return {
        data: steps.map(({ one_in, us }) => ({ x: one_in, y: us })),
        borderColor: colour[theme],
        backgroundColor: colour[theme],
        borderWidth: 2,
        tension: 0,
        pointStyle: mark,
        pointRadius: mark === "circle" ? 3.5 : 5,
        pointBackgroundColor: steps.map(({ at_least }) => at_least ? GROUND[theme].page : colour[theme]),
        segment: {
          borderDash: ({ p1DataIndex }: ScriptableLineSegmentContext) => steps[p1DataIndex]?.at_least ? [3, 3] : [],
        },
        clip: false as const,
      };
    });
    this.#chart.options = optionsOf(curves.flatMap((steps) => steps.map(({ us }) => us)), theme);
    this.#chart.update("none");
  }

  #fill(curves: readonly LatencyStep[][]): void {
    byId("distribution-rows").replaceChildren(...STEPS.map((step) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = `1 in ${count(step)}`;
      const cells = curves.map((steps) => {
        const cell = document.createElement("td");
        const of = steps.find(({ one_in }) => one_in === step);
        cell.textContent = of === undefined ? "–" : written(of);
        return cell;
      });
      row.append(head, ...cells);
      return row;
    }));
  }
}
