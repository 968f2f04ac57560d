/**
 * Runs servers from cells, with a chart that grows meanwhile.
 *
 * @module
 */
import { type Frame, watch } from "../run/watch.ts";
import type { ChartSpec } from "../charts/config.ts";
import { find } from "../catalogue/catalogue.ts";
import { checkPositive, checkRun, checkWhole } from "./inputs.ts";
import { isQuick, latency, Picture, showResults, showText } from "./show.ts";
import { count } from "../text/format.ts";
import { StartError } from "../server/server.ts";
import type { Parameters, Result, ScenarioName } from "../results/results.ts";
import { runStep } from "../run/step.ts";
import { hostFacts } from "../sampling/host.ts";
import { boundOf } from "../results/findings.ts";
import { createGuard } from "../run/guard.ts";

export const FRAME_S = 0.5;

/** What a live chart shows: the server, and how many connections it holds, with those that are wanted where they are more. */
export function titleOf(name: string, { connections, wanted }: Pick<Frame, "connections" | "wanted">): string {
  const all = count(wanted.connections);
  return `${name}, ${connections < wanted.connections ? `${count(connections)} of ${all}` : all} connections`;
}

export function course(name: string, title: string, frames: readonly Frame[]): ChartSpec {
  const { family } = find(name);
  return {
    kind: "lines",
    title,
    x: { label: "seconds", unit: "seconds", scale: "linear" },
    y: { label: "requests/s", unit: "per_s", scale: "linear" },
    series: [{
      name,
      family,
      points: frames.map(({ elapsed_s, requests_per_s, findings }) => ({
        x: elapsed_s,
        value: requests_per_s,
        ...(boundOf("requests_per_s", findings.map(({ id }) => id)) === "at least" && { bound: "at least" as const }),
      })),
    }],
  };
}

/** What a run ended with, in words. */
export async function tell(name: string, frame: Frame): Promise<void> {
  const { p99_us, cpu_us_per_request, threads, findings, reason } = frame;
  const found = [reason, ...findings.map(({ sentence }) => sentence)].filter((each) => each !== null);
  const figures = `p99 ${latency(frame, "p99_us", p99_us)}, ${count(cpu_us_per_request, 2)} CPU-µs per request, ${
    count(threads)
  } threads`;
  await showText(`${name}: ${figures}.${found.map((each) => `\n- ${each}`).join("")}`);
}

/**
 * Runs a server under a load, with a chart that grows meanwhile. Returns all frames; none, and an empty chart with the
 * reason below it, if the server cannot run here.
 *
 * @param load `ratePerS` in requests/s; null: as fast as it answers. Of `seconds` a quick run takes 2 at the most.
 */
export async function runLive(
  name: string,
  load: { connections: number; ratePerS: number | null; seconds: number },
): Promise<Frame[]> {
  const experiment = find(name);
  checkWhole("connections", load.connections);
  if (load.ratePerS !== null) checkPositive("ratePerS", load.ratePerS);
  checkPositive("seconds", load.seconds);
  const picture = new Picture();
  const stop = new AbortController();
  const frames: Frame[] = [];
  const frameCount = Math.max(2, Math.round((isQuick ? Math.min(load.seconds, 2) : load.seconds) / FRAME_S));
  const wanted = { connections: load.connections, rate_per_s: load.ratePerS };
  try {
    for await (const frame of watch(experiment, () => wanted, stop.signal, FRAME_S)) {
      frames.push(frame);
      await picture.draw(course(name, titleOf(name, frame), frames));
      if (frames.length >= frameCount) stop.abort();
    }
    await tell(name, frames.at(-1)!);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    await picture.draw(course(name, `${name}: skipped`, []));
    await showText(`${name}: ${error.failure.ended}. ${error.failure.reason}`);
  }
  return frames;
}

/** Runs one scenario once, as `deno task exp` does, and shows what came out. Nothing is stored. */
export async function run(
  name: string,
  scenario: ScenarioName,
  parameters: { connections: number } & Partial<Parameters>,
): Promise<Result> {
  const experiment = find(name);
  checkRun(scenario, parameters);
  const result = await runStep({
    experiment,
    host: hostFacts(),
    step: { scenario, parameters: { seconds: 1, warmup_seconds: 0.5, ...parameters } },
    guard: createGuard(),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  await showResults([result]);
  return result;
}
