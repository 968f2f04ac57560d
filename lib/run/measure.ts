/**
 * What the commands that measure one server have in common: their flags, the line of progress, and the run itself.
 *
 * @module
 */
import { UsageError } from "../cli/errors.ts";
import { numberFlag, numberList } from "../cli/flags.ts";
import { count } from "../text/format.ts";
import { createGuard } from "./guard.ts";
import { hostFacts } from "../sampling/host.ts";
import { ladder, type Wish } from "./ladder.ts";
import { type Result, type ScenarioName, SCENARIOS, writeResult } from "../results/results.ts";
import { runStep, type StepProgress } from "./step.ts";
import type { Subject } from "../server/subject.ts";
import { describe } from "../tables/runs.ts";

/** The flags, as `parseFlags` takes them. */
export const WISH_FLAGS = {
  string: ["scenario", "connections", "seconds", "rate"],
  boolean: ["quick", "json", "save"],
  negatable: ["save"],
  defaults: { save: true },
} as const;

/** How they stand in a usage. */
export const WISH_USAGE = `[--quick] [--scenario ${SCENARIOS.join(",")}] [--connections 10,100]
       [--seconds S] [--rate N] [--json] [--no-save]`;

/**
 * Reads what the user asked for.
 *
 * @throws {UsageError} If a value cannot be used.
 */
export function readWish(
  flags: { quick: boolean; scenario?: string; connections?: string; seconds?: string; rate?: string },
) {
  const scenarios = flags.scenario?.split(",") ?? null;
  for (const name of scenarios ?? []) {
    if (!(SCENARIOS as readonly string[]).includes(name)) throw new UsageError(`Unknown scenario ${name}.`);
  }
  const { connections, seconds, rate } = flags;
  const onlyHold = scenarios !== null && scenarios.every((name) => name === "hold");
  return {
    quick: flags.quick,
    scenarios: scenarios as ScenarioName[] | null,
    connections: connections === undefined
      ? null
      : numberList("connections", connections, { min: 1, max: 2e6, integer: true }),
    seconds: seconds === undefined ? null : numberFlag("seconds", seconds, { min: onlyHold ? 0 : 0.01, max: 1800 }),
    rate: rate === undefined ? null : numberFlag("rate", rate, { min: 1, max: 2e6 }),
  } satisfies Wish;
}

/** Progress: on a terminal one line that is written over, elsewhere a line for each new phase. */
function progressLine() {
  const terminal = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  let phase = "";
  return {
    show({ step, progress }: StepProgress): void {
      if (progress.phase === "") return; // between two commands
      const { scenario, parameters } = step;
      const { connections, answered, seconds } = progress;
      const size = `${scenario} ${count(parameters.connections)}: ${progress.phase}`;
      const text = `${size}, ${count(connections)} connected, ${count(answered)} answered, ${seconds.toFixed(1)} s`;
      if (terminal) Deno.stderr.writeSync(encoder.encode(`\r\x1b[K${text}`));
      else if (size !== phase) console.error(text);
      phase = size;
    },
    clear: () => terminal && Deno.stderr.writeSync(encoder.encode("\r\x1b[K")),
  };
}

/** Runs all steps. An interrupt ends the step under way; what was measured before is kept. */
async function measure(experiment: Subject, wish: Wish, save: boolean) {
  const results: Result[] = [];
  const paths: string[] = [];
  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort();
  Deno.addSignalListener("SIGINT", onSignal);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", onSignal);
  const line = progressLine();
  const host = hostFacts();
  const steps = ladder(wish, (step, guard) => {
    return runStep({ experiment, host, step, guard, signal: interrupt.signal, onProgress: line.show });
  }, createGuard());
  try {
    for await (const result of steps) {
      results.push(result);
      if (save) paths.push(await writeResult(result));
    }
  } catch (error) {
    if (!interrupt.signal.aborted) {
      line.clear();
      console.error(describe(results)); // it would be lost otherwise
      throw error;
    }
  } finally {
    line.clear();
  }
  return { results, paths, interrupted: interrupt.signal.aborted };
}

/**
 * Measures a subject, tells what came out, and returns the exit code: 1 if the server crashed or was not ready, 130 if
 * somebody interrupted it.
 */
export async function measureAndTell(
  experiment: Subject,
  wish: Wish,
  { json, save }: { json: boolean; save: boolean },
) {
  const { results, paths, interrupted } = await measure(experiment, wish, save);
  if (json) console.log(JSON.stringify(results, null, 2));
  else console.log(describe(results));
  if (paths.length > 0) console.error(`\nStored:\n${paths.map((path) => `  ${path}`).join("\n")}`);
  if (interrupted) {
    console.error("\nInterrupted: what was measured until then is kept.");
    return 130;
  }
  return results.some((result) => result.ended === "crashed" || result.ended === "not_ready") ? 1 : 0;
}
