/**
 * Measures everything that the published tables, charts, claims and lessons rest on, on this machine. An interrupted
 * reproduction is resumed by the same command.
 *
 * deno task reproduce --quick
 */
import { catalogue } from "../../lib/catalogue/catalogue.ts";
import { obstacleTo } from "../../lib/catalogue/tools.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { PROBES } from "../../lib/probes/mod.ts";
import { digestOf, labVersion } from "../../lib/results/lab.ts";
import { machineOf, referenceMachine } from "../../lib/results/machine.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { counted } from "../../lib/text/format.ts";
import { choose, isInQuick, planOf, type Step } from "./plan.ts";
import { reproduce, type Reproduced } from "./reproduce.ts";

const USAGE = `Usage: deno task reproduce [--quick] [--only ID,ID] [--list]
       Measures what the published tables, charts, claims and lessons rest on, on a machine that does nothing else.
       Interrupt it at any time; the same command resumes it.
       --quick: a first look at the experiments and the main comparisons, in a quarter of an hour.
       --only: these steps, or all whose ids begin with these words (exp, compare/throughput-100).
       --list: the steps, what each is for, and about how long they take.`;

/** Those that run here. */
async function runnable() {
  const all = catalogue();
  const obstacles = await Promise.all(all.map(obstacleTo));
  return all.filter((_, i) => obstacles[i] === null);
}

/** Runs one task. Its tables go nowhere, its progress is seen. An interrupt is passed on, and its end waited for. */
async function run({ args }: Step, signal: AbortSignal): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", ...args],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const stop = () => child.kill("SIGTERM");
  signal.addEventListener("abort", stop, { once: true });
  const { code } = await child.status;
  signal.removeEventListener("abort", stop);
  return code;
}

/** The text of every file below a folder, by path. */
function sourcesIn(folder: string): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) { for (const [file, text] of sourcesIn(path)) texts.set(file, text); }
    else texts.set(path, Deno.readTextFileSync(path));
  }
  return texts;
}

/** A key of what a step measures: its command, the instrument, and the sources of the servers that it names. */
function keyOf({ args }: Step, instrument: readonly unknown[], sources: ReadonlyMap<string, string>): Promise<string> {
  const own = args.flatMap((name) =>
    sources.get(`experiments/${name}.ts`) ?? sources.get(`experiments/peers/${name}.ts`) ?? []
  );
  const hasPeer = args.some((name) => sources.has(`experiments/peers/${name}.ts`));
  const programs = hasPeer
    ? [...sources].filter(([path]) => path.startsWith("experiments/peers/") && !path.endsWith(".ts"))
    : [];
  return digestOf([args, instrument, own, programs]);
}

const hours = (minutes: number) =>
  minutes < 90 ? `${Math.ceil(minutes)} min` : `${Math.floor(minutes / 60)} h ${Math.round(minutes % 60)} min`;

/** The end in one sentence, and the exit code. */
function tell({ done, failed, spoilt, interrupted }: Reproduced, steps: number): number {
  for (const { step, exit } of failed) console.error(`${step} failed with exit code ${exit}.`);
  if (spoilt.length > 0) console.error(`Disturbed by other processes in every attempt: ${spoilt.join(", ")}.`);
  if (interrupted) {
    console.log(`Interrupted after ${done} of ${counted(steps, "step")}; the same command resumes.`);
    return EXIT.interrupted;
  }
  console.log(`Reproduced ${done} of ${counted(steps, "step")}.`);
  return failed.length > 0 ? EXIT.failed : EXIT.ok;
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { boolean: ["quick", "list"], string: ["only"] });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: --only takes the steps.`);
  const host = hostFacts();
  const machine = machineOf(host);
  const experiments = await runnable();
  const publishes = await referenceMachine("results") === machine;
  const whole = planOf(experiments, PROBES.map(({ name }) => name), { quick: flags.quick, publishes });
  const peers = experiments.filter(({ peer }) => peer).map(({ name }) => name);
  const steps = choose(
    flags.quick && flags.only === undefined ? whole.filter((step) => isInQuick(step, peers)) : whole,
    flags.only,
  );
  if (flags.list) {
    for (const { id, args, why } of steps) {
      console.log(`${id.padEnd(24)} deno task ${args.join(" ")}\n${" ".repeat(25)}${why}`);
    }
    const minutes = steps.reduce((sum, step) => sum + step.minutes, 0);
    console.log(`\n${counted(steps.length, "step")}, about ${hours(minutes)} on two cores`);
    return EXIT.ok;
  }
  using interrupt = onInterrupt();
  const { load } = await labVersion(null);
  const sources = sourcesIn("experiments");
  const keys = new Map(
    await Promise.all(steps.map(async (step) => [step.id, await keyOf(step, [host.deno, load], sources)] as const)),
  );
  const reproduced = await reproduce({
    steps,
    dir: "results",
    machine,
    keyOf: ({ id }) => keys.get(id)!,
    signal: interrupt.signal,
    run,
    say: (sentence) => console.error(sentence),
    onStep: ({ id, args }, { number, of, minutesLeft }) =>
      console.error(`[${number}/${of}] ${id}, ${hours(minutesLeft)} left: deno task ${args.join(" ").slice(0, 60)}`),
  });
  return tell(reproduced, steps.length);
});
