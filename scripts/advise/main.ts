/**
 * Says which architecture suits a load, by what was measured on this machine.
 *
 * deno task advise --connections 10000 --cpu-us 0 --idle 90
 */
import { collect } from "../../lib/advice/facts.ts";
import { MIXED_FLAGS } from "../../lib/results/conventions.ts";
import { advise, describeAdvice } from "./answer.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { outputColumns } from "../../lib/cli/progress.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { chooseStored } from "../../lib/results/stored.ts";

const USAGE = `Usage: deno task advise --connections N [--cpu-us 0] [--idle 0] [--machine NAME] [--json]
       --connections: at one time; --cpu-us: CPU that one request of a hundred burns, in µs; --idle: % of the connections that
       are idle`;
const MAKERS = ["epoll", "reactor-pool", "thread-per-conn"];

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, { string: ["connections", "cpu-us", "idle", "machine"], boolean: ["json"] });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}.`);
  if (flags.connections === undefined) throw new UsageError("Say how many connections: --connections 10000.");
  const load = {
    connections: numberFlag("connections", flags.connections, { min: 1, max: 1e6, integer: true }),
    cpuUs: numberFlag("cpu-us", flags["cpu-us"] ?? "0", { min: 0, max: 100_000 }),
    idlePercent: numberFlag("idle", flags.idle ?? "0", { min: 0, max: 100 }),
  };
  const { stored, passedOver, line } = await chooseStored({
    machine: flags.machine,
    covers: (stored) => collect(stored).known.map(({ name }) => `figures of ${name}`),
  });
  for (const { path, why } of passedOver) console.error(`Skipped ${path}: ${why}`);
  console.error(line);
  const { known, unknown } = collect(stored);
  if (known.length === 0) {
    console.error("Nothing is stored that was measured on a machine like this one. These commands measure what is needed:");
    for (const name of MAKERS) console.error(`  deno task exp ${name}`);
    console.error(`  deno task compare ${MAKERS.join(" ")} ${MIXED_FLAGS}`);
    return 1;
  }
  const advice = advise(known, unknown, load);
  const { pairs, ...rest } = advice;
  const json = { ...rest, pairs: pairs.map((pair) => ({ ...pair, before: pair.before.name, after: pair.after.name })) };
  console.log(flags.json ? JSON.stringify(json, null, 2) : describeAdvice(advice, outputColumns()));
  return advice.choices.length > 0 ? 0 : 1;
});
