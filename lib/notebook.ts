/**
 * What the cells of the notebooks share: charts, tables, and small experiments whose figures are seen while they run.
 *
 * A cell ends with an awaited call of this file, for the kernel sends nothing that comes later.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { type ChartSpec, describeChart } from "./chart.ts";
import { renderPng } from "./chart_png.ts";
import { catalogue, find } from "./catalogue.ts";
import { type Column, count, markdown, microseconds } from "./format.ts";
import { createGuard } from "./guard.ts";
import { hostFacts } from "./host.ts";
import { type Frame, watch } from "./live.ts";
import { type Parameters, readResults, type Result, type ScenarioName } from "./results.ts";
import { runStep } from "./run.ts";
import { readStudies } from "./study.ts";
import { describe } from "./summary.ts";
import { shown } from "./tables.ts";

/** Whether cells should make smaller runs: the environment has C10K_QUICK=1, as under `notebook:run --quick`. */
export const isQuick = Deno.env.get("C10K_QUICK") === "1";

const RESULTS = fileURLToPath(new URL("../results", import.meta.url));

type Media = Record<string, string>;

/** A place in a cell's output that can be drawn again. */
class Display {
  #id = crypto.randomUUID();
  #isShown = false;

  async draw(data: Media): Promise<void> {
    const type = this.#isShown ? "update_display_data" : "display_data";
    this.#isShown = true;
    await Deno.jupyter.broadcast(type, { data, metadata: {}, transient: { display_id: this.#id } });
  }
}

const chartMedia = async (spec: ChartSpec): Promise<Media> => ({
  "image/png": Buffer.from(await renderPng(spec, { width: 760 })).toString("base64"),
  "text/plain": describeChart(spec), // for those who do not see it
});

/** Shows a chart. */
export const show = async (spec: ChartSpec): Promise<void> => await new Display().draw(await chartMedia(spec));

/** Shows rows as a table. */
export async function showTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): Promise<void> {
  await showText(markdown(rows, columns));
}

/** Shows Markdown. */
export async function showText(text: string): Promise<void> {
  await new Display().draw({ "text/markdown": text, "text/plain": text });
}

/** Shows what an experiment says of itself: question, idea, prediction. */
export async function introduce(name: string): Promise<void> {
  const { title, question, idea, prediction } = find(name);
  await showText(`**${name}**: ${title}\n\n*Question.* ${question}\n\n*Idea.* ${idea}\n\n*Prediction.* ${prediction}`);
}

const FRAME_S = 0.5;

function course(title: string, frames: readonly Frame[], family: string): ChartSpec {
  return {
    kind: "lines",
    title,
    x: { label: "seconds", unit: "seconds", scale: "linear" },
    y: { label: "requests/s", unit: "per_s", scale: "linear" },
    series: [{
      name: "",
      family,
      points: frames.map(({ elapsed_s, requests_per_s, findings }) => ({
        x: elapsed_s,
        value: requests_per_s,
        ...(findings.some(({ id }) => id === "client_bound") && { bound: "at least" as const }),
      })),
    }],
  };
}

/**
 * Runs a server under a load, with a chart that grows meanwhile. Returns all frames.
 *
 * @param load `ratePerS` in requests/s; null: as fast as it answers. Of `seconds` a quick run takes 2 at the most.
 */
export async function runLive(
  name: string,
  load: { connections: number; ratePerS: number | null; seconds: number },
): Promise<Frame[]> {
  const { family } = find(name), place = new Display(), stop = new AbortController(), frames: Frame[] = [];
  const wanted = Math.max(2, Math.round((isQuick ? Math.min(load.seconds, 2) : load.seconds) / FRAME_S));
  const title = `${name}, ${count(load.connections)} connections`;
  for await (const frame of watch(find(name), () => load, stop.signal, FRAME_S)) {
    frames.push(frame);
    await place.draw(await chartMedia(course(title, frames, family)));
    if (frames.length >= wanted) stop.abort();
  }
  const { p99_us, cpu_us_per_request, threads, findings, reason } = frames.at(-1)!;
  const found = [reason, ...findings.map(({ sentence }) => sentence)].filter((each) => each !== null);
  await showText(
    `${name}: p99 ${microseconds(p99_us)}, ${count(cpu_us_per_request, 2)} CPU-µs a request, ${
      count(threads)
    } threads.` +
      found.map((each) => `\n- ${each}`).join(""),
  );
  return frames;
}

/** Runs one scenario once, as `deno task exp` does, and shows its line. Nothing is stored. */
export async function run(
  name: string,
  scenario: ScenarioName,
  parameters: { connections: number } & Partial<Parameters>,
): Promise<Result> {
  const result = await runStep({
    experiment: find(name),
    host: hostFacts(),
    step: { scenario, parameters: { seconds: 1, warmup_seconds: 0.5, ...parameters } },
    guard: createGuard(),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  await showText("```\n" + describe([result]) + "\n```");
  return result;
}

/** What is stored in results/: the newest whole runs of each experiment, and all studies. */
export async function stored() {
  const { results } = await readResults(RESULTS);
  const all = catalogue();
  return {
    all: shown(all, results),
    results,
    comparisons: (await readStudies("comparison", RESULTS)).studies,
    readiness: (await readStudies("readiness", RESULTS)).studies,
    family: (name: string): string => all.find((of) => of.name === name)?.family ?? "own",
  };
}
