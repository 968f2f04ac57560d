/**
 * Measures what one call of select(2), poll(2) and epoll_wait(2) costs while one of N connections has something to say.
 *
 * deno task readiness [--sizes 10,100,1000,10000] [--batches 30] [--json] [--no-save]
 */
import { UsageError } from "../lib/cli/errors.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/cli/flags.ts";
import { count } from "../lib/text/format.ts";
import { DESCRIPTOR_RESERVE } from "../lib/run/guard.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { table } from "../lib/text/table.ts";
import { readinessColumns } from "../lib/tables/studies.ts";

const USAGE = "Usage: deno task readiness [--sizes 10,100,1000,10000] [--batches 30] [--json] [--no-save]";
/** Fewer sizes show no law, fewer batches give wide intervals: a first look. */
const FULL_SIZES = 4;
const FULL_BATCHES = 30;
await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["sizes", "batches"],
    boolean: ["json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}.`);
  if (Deno.build.os !== "linux") {
    console.error(`readiness cannot run here: epoll is a part of Linux, this is ${Deno.build.os}.`);
    return 69;
  }
  const { nofile_hard } = hostFacts().limits;
  const max = (nofile_hard ?? 1e6) - DESCRIPTOR_RESERVE;
  const sizes = numberList("sizes", flags.sizes ?? "10,100,1000,10000", { min: 2, max, integer: true });
  const batches = numberFlag("batches", flags.batches ?? "30", { min: 7, max: 1000, integer: true });
  const { measureReadiness } = await import("../lib/probes/readiness.ts"); // it loads libc: Linux only
  const onSize = (size: number) => console.error(`${count(size)} descriptors…`);
  const rows = (await measureReadiness({ sizes: sizes.toSorted((a, b) => a - b), batches, onSize }))
    .toSorted((a, b) => a.call < b.call ? -1 : a.call > b.call ? 1 : a.descriptors - b.descriptors);
  if (flags.save) {
    const quick = sizes.length < FULL_SIZES || batches < FULL_BATCHES;
    const command = `deno task readiness --sizes ${sizes} --batches ${batches}`;
    console.error(`Stored ${await writeStudy("readiness", rows, { command, quick })}`);
  }
  console.log(flags.json ? JSON.stringify(rows, null, 2) : table(rows, readinessColumns(rows)));
  return 0;
});
