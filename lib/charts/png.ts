/**
 * Charts as PNG: Chart.js on a canvas without a browser, in a font that comes with the project, because systems without
 * any would show no text and no error.
 *
 * @module
 */
import { createCanvas, GlobalFonts } from "@napi-rs/canvas";
import { Chart, type ChartItem, registerables } from "chart.js";
import { Buffer } from "node:buffer";
import { INTER } from "../page/fonts.ts";
import { chartConfig, type ChartSpec, heightOf } from "./config.ts";
import { GROUND, type Theme } from "./theme.ts";

const FONT = "Inter";
const RATIO = 2; // pixels of the picture for each of the layout: sharp on any screen

let isReady = false;
function prepare(): void {
  if (isReady) return;
  for (const font of Object.values(INTER)) {
    if (GlobalFonts.register(Buffer.from(font), FONT) === null) throw new Error(`Cannot register the font ${FONT}.`);
  }
  Chart.register(...registerables);
  Chart.defaults.font.family = FONT;
  isReady = true;
}

/**
 * Draws a chart. Needs `--allow-ffi`, `--allow-read`, `--allow-env` and `--allow-sys` for the canvas.
 *
 * @param width In pixels of the layout; the picture has twice as many, in both directions.
 * @throws {Error} If the font cannot be registered: the chart would have no text.
 */
export async function renderPng(
  spec: ChartSpec,
  { width = 900, theme = "light" }: { width?: number; theme?: Theme } = {},
): Promise<Uint8Array> {
  prepare();
  const height = heightOf(spec);
  const canvas = createCanvas(width, height);
  const { options, plugins = [], ...rest } = chartConfig(spec, theme);
  const ground = {
    id: "ground",
    beforeDraw({ ctx }: Chart) {
      ctx.fillStyle = GROUND[theme].page;
      ctx.fillRect(0, 0, width, height);
    },
  };
  const chart = new Chart(canvas as unknown as ChartItem, {
    ...rest,
    options: { ...options, responsive: false, devicePixelRatio: RATIO },
    plugins: [ground, ...plugins],
  });
  try {
    return new Uint8Array(await canvas.encode("png"));
  } finally {
    chart.destroy();
  }
}
