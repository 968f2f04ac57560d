/**
 * Measures what one call of select(2), poll(2) and epoll_wait(2) costs while one of N connections has something to say.
 *
 * deno task readiness [--sizes 10,100,1000,10000] [--batches 30] [--json] [--no-save]
 */
import { Unavailable, UsageError } from "../lib/cli/errors.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../lib/cli/interrupt.ts";
import { outputColumns } from "../lib/cli/progress.ts";
import { taskLine } from "../lib/cli/shell.ts";
import { MIN_ROUNDS } from "../lib/results/conventions.ts";
import { Storing } from "../lib/results/durable_file.ts";
import { count } from "../lib/text/format.ts";
import { DESCRIPTOR_RESERVE } from "../lib/run/guard.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { table, wrap } from "../lib/text/table.ts";
import { disturbedCalls, readinessColumns } from "../lib/tables/studies.ts";

const USAGE = `Usage: deno task readiness [--sizes 10,100,1000,10000] [--batches 30] [--json] [--no-save]
       --sizes: how many descriptors are watched; --batches: ${MIN_ROUNDS} at least, for an interval.`;
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
    throw new Unavailable(`readiness needs Linux, as epoll is a part of it. This is ${Deno.build.os}.`);
  }
  const { nofile_hard } = hostFacts().limits;
  const max = (nofile_hard ?? 1e6) - DESCRIPTOR_RESERVE;
  const sizes = numberList("sizes", flags.sizes ?? "10,100,1000,10000", { min: 2, max, integer: true });
  const batches = numberFlag("batches", flags.batches ?? "30", { min: MIN_ROUNDS, max: 1000, integer: true });
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const storing = new Storing(flags.save);
  await storing.begin();
  const { measureReadiness } = await import("../lib/probes/readiness.ts"); // it loads libc: Linux only
  const onSize = (size: number) => console.error(`${count(size)} descriptors…`);
  const found = await measureReadiness({ sizes: sizes.toSorted((a, b) => a - b), batches, onSize, signal });
  const rows = found.toSorted((a, b) => a.call < b.call ? -1 : a.call > b.call ? 1 : a.descriptors - b.descriptors);
  if (rows.length > 0) {
    const quick = sizes.length < FULL_SIZES || batches < FULL_BATCHES;
    const line = taskLine("readiness", ["--sizes", sizes.join(), "--batches", String(batches)]);
    await storing.add(() => writeStudy("readiness", rows, { command: line, quick }));
  }
  const text = rows.length === 0 ? "Nothing was measured." : table(rows, readinessColumns(rows), outputColumns());
  const isEmpty = signal.aborted && rows.length === 0;
  if (flags.json || !isEmpty) console.log(flags.json ? JSON.stringify(rows, null, 2) : text);
  const caveat = disturbedCalls(rows);
  if (caveat !== null) console.error(`\n${wrap(caveat, outputColumns()).join("\n")}`);
  storing.finish();
  if (!signal.aborted) return EXIT.ok;
  return endInterrupted(new Set(rows.map(({ descriptors }) => descriptors)).size, "size", flags.save);
});
