/**
 * Measures what many load hosts cost their coordinator, and plans how many of them a rate takes.
 *
 * deno task fleet --rate 300000
 */
import { measureCost } from "./cost.ts";
import { planOf } from "./plan.ts";
import { installLine, isInstalled, TOOLS } from "../../lib/catalogue/tools.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { machineOf, referenceMachine } from "../../lib/results/machine.ts";
import { readStored } from "../../lib/results/stored.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { medianOf } from "../../lib/timing/stats.ts";

const USAGE = `Usage: deno task fleet [--rate 300000] [--agents 64] [--windows ${MIN_ROUNDS}]
                        [--json] [--no-save] [--write]
       Agents without a load meet their coordinator at a nats-server of this
       host: how many messages and bytes a window takes, and how long the merge.
       --rate: requests/s of all of them; --write: the plan for it goes into
       scripts/fleet/README.md.`;
const README = "scripts/fleet/README.md";
const [BEGIN, END] = ["<!-- plan:begin -->", "<!-- plan:end -->"];

/** CPU time of the load generator per request on the machine whose figures are published; null: not measured. */
async function generatorCpu(): Promise<{ us: number; machine: string } | null> {
  const machine = await referenceMachine("results") ?? machineOf(hostFacts());
  const { stored } = await readStored("results", machine);
  const rows = stored.studies.crosscheck.at(-1)?.rows.filter(({ client }) => client === "lab") ?? [];
  const us = medianOf(rows.map((row) => row.client_cpu_us_per_request));
  return us === null ? null : { us, machine };
}

/** Puts the plan between its markers. */
async function write(plan: string): Promise<void> {
  const text = await Deno.readTextFile(README);
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new UsageError(`${README} needs a line ${BEGIN} and below it a line ${END}.`);
  await Deno.writeTextFile(README, `${text.slice(0, from)}${BEGIN}\n\n${plan}\n\n${text.slice(to)}`);
}

/** @throws {UsageError} If the command line cannot be understood. */
function asked() {
  const flags = parseFlags(Deno.args, {
    string: ["rate", "agents", "windows"],
    boolean: ["json", "save", "write"],
    negatable: ["save"],
    defaults: { save: true },
  });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}.`);
  const whole = (name: "rate" | "agents" | "windows", fallback: number, max: number) =>
    numberFlag(name, flags[name] ?? String(fallback), { min: 1, max, integer: true });
  const { json, save, write } = flags;
  return {
    ...{ rate: whole("rate", 300_000, 2e6), agents: whole("agents", 64, 1000) },
    ...{ windows: whole("windows", MIN_ROUNDS, 1000), json, save, write },
  };
}

await runScript(USAGE, async () => {
  const { rate, agents, windows, json, save, write: writes } = asked();
  if (!await isInstalled("nats-server")) {
    throw new Unavailable(installLine(TOOLS.filter(({ command }) => command === "nats-server")));
  }
  const storing = new Storing(save);
  await storing.begin();
  return await interruptible(async (signal) => {
    const onWindow = (number: number) => console.error(`Window ${number} of ${windows}…`);
    const rows = await measureCost({ agents, rate, windows, signal, onWindow });
    const command = taskLine("fleet", [
      ...["--rate", String(rate), "--agents", String(agents)],
      ...["--windows", String(windows)],
    ]);
    await storing.add(() => writeStudy("probe", rows, { command, quick: windows < MIN_ROUNDS }));
    const plan = planOf({ rate, agents, rows, machine: machineOf(hostFacts()), cpu: await generatorCpu() });
    console.log(json ? JSON.stringify(rows, null, 2) : plan);
    if (writes) await write(plan);
    storing.finish();
    return EXIT.ok;
  }, "nothing is stored.");
});
