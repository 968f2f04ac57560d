/**
 * Draws the charts of the page, each when it comes near to what is seen.
 *
 * @module
 */
/// <reference lib="dom" />
import {
  BarController,
  BarElement,
  CategoryScale,
  Chart,
  Legend,
  LinearScale,
  LineController,
  LineElement,
  LogarithmicScale,
  PointElement,
  Title,
  Tooltip,
} from "chart.js";
import {
  chartConfig,
  type ChartSpec,
  type Configuration,
  describeChart,
  folded,
  heightOf,
} from "../../../lib/charts/config.ts";
import { unbroken } from "../../../lib/text/format.ts";
import { theme } from "./theme.ts";

const NARROW = 480; // pixels
const NEAR = "600px"; // drawn that far ahead, so that nobody sees an empty box while scrolling

/** The same chart of some of its servers. */
export function only(spec: ChartSpec, names: ReadonlySet<string>): ChartSpec {
  const has = ({ name }: { name: string }) => names.has(name);
  return spec.kind === "lines"
    ? { ...spec, series: spec.series.filter(has) }
    : { ...spec, items: spec.items.filter(has) };
}

/** On a narrow screen the texts beside the marks take more of the width than the charts have set aside for them. */
function roomy(config: Configuration, { kind }: ChartSpec, width: number): Configuration {
  if (width >= NARROW || kind === "lines") return config;
  const x = config.options!.scales!["x"] as { type: string; min?: number; max?: number; grace: number | string };
  if (x.type === "linear") x.grace = "90%";
  else if (x.min !== undefined && x.max !== undefined) x.max *= (x.max / x.min) ** 0.15;
  return config;
}

/** The charts of a page. */
export interface Charts {
  /** Draws all again that are drawn, as when the theme has changed. */
  redraw(): void;
  /** Shows these servers only, where a chart is of servers. */
  show(names: ReadonlySet<string>): void;
}

/** Finds every canvas that names a chart, and draws it when it is near. */
export function drawCharts(specs: Readonly<Record<string, ChartSpec>>): Charts {
  Chart.register(
    ...[BarController, BarElement, LineController, LineElement, PointElement],
    ...[CategoryScale, LinearScale, LogarithmicScale, Legend, Title, Tooltip],
  );
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Object.assign(globalThis, { Chart }); // so that a console can ask: Chart.getChart(canvas).data
  const canvases = [...document.querySelectorAll<HTMLCanvasElement>("canvas[data-chart]")];
  const drawn = new Set<HTMLCanvasElement>();
  let shown: ReadonlySet<string> | null = null;
  const specOf = (canvas: HTMLCanvasElement) => {
    const spec = specs[canvas.dataset["chart"]!]!;
    return shown === null || canvas.dataset["ofServers"] !== "true" ? spec : only(spec, shown);
  };
  const draw = (canvas: HTMLCanvasElement) => {
    const whole = specOf(canvas);
    const { spec, without } = folded(whole);
    const said = canvas.closest("figure")!.querySelector<HTMLElement>(".without")!;
    said.textContent = without && unbroken(without);
    said.hidden = without === null;
    Chart.getChart(canvas)?.destroy();
    canvas.parentElement!.style.height = `${heightOf(spec)}px`;
    canvas.setAttribute("aria-label", describeChart(whole));
    new Chart(canvas, roomy(chartConfig(spec, theme()), spec, canvas.parentElement!.clientWidth));
    drawn.add(canvas);
  };
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target as HTMLCanvasElement);
    }
  }, { rootMargin: NEAR });
  document.fonts.ready.then(() => canvases.forEach((canvas) => near.observe(canvas))); // text is measured in its font
  const redraw = () => drawn.forEach(draw);
  return {
    redraw,
    show(names) {
      shown = names;
      redraw();
      for (const canvas of canvases.filter((of) => of.dataset["ofServers"] === "true")) {
        const rows = canvas.closest("figure")!.querySelectorAll<HTMLTableRowElement>("tbody tr");
        for (const row of rows) row.hidden = !names.has(row.dataset["name"]!);
      }
    },
  };
}
