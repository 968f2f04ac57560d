/**
 * Measures what many load hosts cost their coordinator, and plans how many of them a rate takes.
 *
 * deno task fleet --rate 300000
 */
import { measureCost } from "./cost.ts";
import { generatorCpuUs, planOf, storedPlan } from "./plan.ts";
import { installLine, isInstalled, TOOLS } from "../../lib/catalogue/tools.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { MIN_ROUNDS } from "../../lib/results/conventions.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { readStored } from "../../lib/results/stored.ts";
import { writeStudy } from "../../lib/results/studies.ts";

const USAGE = `Usage: deno task fleet [--rate 300000] [--agents 64] [--windows ${MIN_ROUNDS}]
                        [--json] [--no-save] [--write]
       Agents without a load meet their coordinator at a nats-server of this
       host: how many messages and bytes a window takes, and how long the merge.
       --rate: requests/s of all of them; --write: the plan for it, from what is
       stored of this machine, goes into scripts/fleet/README.md.`;
const README = "scripts/fleet/README.md";
const [BEGIN, END] = ["<!-- plan:begin -->", "<!-- plan:end -->"];

/** The document around the plan: what stands before it, and what behind. */
async function around(): Promise<[before: string, after: string]> {
  const text = await Deno.readTextFile(README);
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new UsageError(`${README} needs a line ${BEGIN} and below it a line ${END}.`);
  return [text.slice(0, from + BEGIN.length), text.slice(to)];
}

/** Puts the plan that follows from what is stored of this machine between its markers. */
async function write(rate: number): Promise<void> {
  const plan = storedPlan((await readStored()).stored, rate);
  if (plan === null) throw new Error(`${README} is not written: no rows of this machine are stored.`);
  const [before, after] = await around();
  await Deno.writeTextFile(README, `${before}\n\n${plan}\n\n${after}`);
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
  const [rate, agents] = [whole("rate", 300_000, 2e6), whole("agents", 64, 1000)];
  const windows = whole("windows", MIN_ROUNDS, 1000);
  if (write && (!save || windows < MIN_ROUNDS)) {
    throw new UsageError(`--write needs rows that are stored, of ${MIN_ROUNDS} windows at least.`);
  }
  return { rate, agents, windows, json, save, write };
}

await runScript(USAGE, async () => {
  const { rate, agents, windows, json, save, write: writes } = asked();
  if (!await isInstalled("nats-server")) {
    throw new Unavailable(installLine(TOOLS.filter(({ command }) => command === "nats-server")));
  }
  if (writes) await around(); // what is missing is said before the measurement
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
    const { stored } = await readStored();
    const { machine } = stored;
    const plan = planOf({ rate, agents, rows, machine, cpuUs: generatorCpuUs(stored) });
    console.log(json ? JSON.stringify(rows, null, 2) : plan);
    storing.finish();
    if (writes) await write(rate);
    return EXIT.ok;
  }, "nothing is stored.");
});
