/**
 * Says which architecture suits a load, by what was measured on this machine, else on the reference.
 *
 * deno task advise --connections 10000 --cpu-us 0 --idle 90
 */
import { collect, untried } from "../../lib/advice/facts.ts";
import type { Load } from "../../lib/advice/model.ts";
import { atMost } from "../../lib/results/duration.ts";
import { type Advice, advise, describeAdvice } from "./answer.ts";
import { coverage, describeUncounted, makersOf } from "./commands.ts";
import { evidenceOf } from "./evidence.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { outputColumns } from "../../lib/cli/progress.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { machineOf, referenceMachine } from "../../lib/results/machine.ts";
import { chooseStored, readStored, type Stored } from "../../lib/results/stored.ts";
import { diagnose } from "../../lib/run/limits.ts";
import { type HostFacts, hostFacts } from "../../lib/sampling/host.ts";

const USAGE = `Usage: deno task advise --connections N [--cpu-us 0] [--idle 0] [--machine NAME] [--json]
       --connections: at one time; --cpu-us: CPU that one request of a hundred burns, in µs; --idle: % of the connections that
       are idle
       The figures are those of this machine where it has what an answer needs
       at least, else of the reference; then it names the commands that measure
       it here. It ends with 3 where the figures do not tell the best from others.`;

/** Says how to get figures of this machine, if there is a way. */
function tellMakers(own: Stored, load: Load, shown: Stored | null): void {
  const { lines, seconds } = makersOf(own, load, shown);
  if (lines.length === 0) return;
  for (const line of describeUncounted(own)) console.error(line);
  console.error(`These commands measure what this machine lacks, in ${atMost(seconds)}:`);
  for (const line of lines) console.error(`  ${line}`);
  console.error(`Then ask again: ${taskLine("advise", Deno.args)}`);
}

function readLoad(flags: { connections: string; "cpu-us"?: string; idle?: string }): Load {
  return {
    connections: numberFlag("connections", flags.connections, { min: 1, max: 1e6, integer: true }),
    cpuUs: numberFlag("cpu-us", flags["cpu-us"] ?? "0", { min: 0, max: 100_000, unit: "µs" }),
    idlePercent: numberFlag("idle", flags.idle ?? "0", { min: 0, max: 100, unit: "percent" }),
  };
}

/** The answer, with what this machine allows. */
async function answerOf(stored: Stored, load: Load, host: HostFacts): Promise<Advice> {
  const { known, unknown } = collect(stored);
  const here = { memoryBytes: host.memory_bytes, limits: diagnose(host) };
  const advice = advise(known, unknown, load, untried(stored), here);
  const isHeld = advice.choices.some(({ setting }) => setting === null);
  return isHeld ? advice : { ...advice, evidence: await evidenceOf(load.connections) };
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { string: ["connections", "cpu-us", "idle", "machine"], boolean: ["json"] });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}.`);
  if (flags.connections === undefined) throw new UsageError("Say how many connections: --connections 10000.");
  const load = readLoad({ ...flags, connections: flags.connections });
  const host = hostFacts();
  const here = machineOf(host);
  const reference = await referenceMachine("results");
  const shown = reference === null || reference === here ? null : (await readStored("results", reference)).stored;
  const { stored, passedOver, line } = await chooseStored({
    machine: flags.machine,
    covers: (stored) => coverage(stored, load, shown),
  });
  for (const { path, why } of passedOver) console.error(`Skipped ${path}: ${why}`);
  console.error(line);
  const hasKnown = collect(stored).known.length > 0;
  const isOwn = stored.machine === here;
  if (!hasKnown) console.error(`Nothing of ${stored.machine} is stored that an answer can rest on.`);
  if (!hasKnown || (!isOwn && flags.machine === undefined)) {
    tellMakers(isOwn ? stored : (await readStored()).stored, load, shown);
  }
  if (!hasKnown) return EXIT.failed;
  const advice = await answerOf(stored, load, host);
  const { pairs, ...rest } = advice;
  const json = { ...rest, pairs: pairs.map((pair) => ({ ...pair, before: pair.before.name, after: pair.after.name })) };
  console.log(flags.json ? JSON.stringify(json, null, 2) : describeAdvice(advice, outputColumns()));
  if (advice.choices.length === 0) return EXIT.failed;
  return advice.alike.length > 0 ? EXIT.inconclusive : EXIT.ok;
});
