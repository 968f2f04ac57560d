/**
 * Runs one experiment: prints what it asks and predicts, holds and loads its server, prints one table and what broke.
 *
 * deno task exp epoll --quick
 */
import { type Experiment, find } from "../lib/catalogue.ts";
import { UsageError } from "../lib/errors.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/flags.ts";
import { createGuard } from "../lib/guard.ts";
import { count } from "../lib/format.ts";
import { hostFacts } from "../lib/host.ts";
import { ladder, type Wish } from "../lib/ladder.ts";
import { type Result, type ScenarioName, SCENARIOS, writeResult } from "../lib/results.ts";
import { runStep, type StepProgress } from "../lib/run.ts";
import { describe } from "../lib/summary.ts";

const USAGE = `Usage: deno task exp <name> [--quick] [--scenario ${SCENARIOS.join(",")}] [--connections 10,100]
       [--seconds S] [--rate N] [--json] [--no-save]`;

function readWish(flags: { quick: boolean; scenario?: string; connections?: string; seconds?: string; rate?: string }) {
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

function introduce(experiment: Experiment): void {
  const { name, title, question, idea, prediction } = experiment;
  console.error(`\n${name}: ${title}\n\nQuestion    ${question}\nIdea        ${idea}\nPrediction  ${prediction}\n`);
}

/** Progress: on a terminal one line that is written over, elsewhere a line for each new phase. */
function progressLine() {
  const terminal = Deno.stderr.isTerminal(), encoder = new TextEncoder();
  let phase = "";
  return {
    show({ step, progress }: StepProgress): void {
      if (progress.phase === "") return; // between two commands
      const { scenario, parameters } = step, { connections, answered, seconds } = progress;
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
async function measure(experiment: Experiment, wish: Wish, save: boolean) {
  const results: Result[] = [], paths: string[] = [];
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

await runScript(USAGE, async () => {
  const known = {
    string: ["scenario", "connections", "seconds", "rate"],
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  } as const;
  const flags = parseFlags(Deno.args, known);
  if (flags._.length !== 1) throw new UsageError("Name one experiment; deno task list shows them all.");
  const experiment = find(flags._[0]!), wish = readWish(flags);
  introduce(experiment);
  const { results, paths, interrupted } = await measure(experiment, wish, flags.save);
  if (flags.json) console.log(JSON.stringify(results, null, 2));
  else console.log(describe(results));
  if (paths.length > 0) console.error(`\nStored:\n${paths.map((path) => `  ${path}`).join("\n")}`);
  if (interrupted) {
    console.error("\nInterrupted: what was measured until then is kept.");
    return 130;
  }
  return results.some((result) => result.ended === "crashed" || result.ended === "not_ready") ? 1 : 0;
});
