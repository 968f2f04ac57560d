/**
 * Measures what one call of select(2), poll(2) and epoll_wait(2) costs while one of N connections has something to say.
 *
 * deno task readiness [--sizes 10,100,1000,10000] [--batches 30] [--json] [--no-save]
 */
import { UsageError } from "../lib/errors.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/flags.ts";
import { type Column, count, table } from "../lib/format.ts";
import { type ReadinessRow, writeStudy } from "../lib/study.ts";

const USAGE = "Usage: deno task readiness [--sizes 10,100,1000,10000] [--batches 30] [--json] [--no-save]";
const interval = (value: number, low: number, high: number) =>
  `${count(value, 2)} [${count(low, 2)}, ${count(high, 2)}]`;

/** How much dearer the call is than the same call at the size before; nothing at the first. */
function growth(rows: readonly ReadinessRow[], { call, descriptors, wait_us }: ReadinessRow): string {
  const smaller = rows.filter((row) => row.call === call && row.descriptors < descriptors).at(-1);
  return smaller === undefined ? "" : `× ${count(wait_us / smaller.wait_us, 2)}`;
}

const columns = (rows: readonly ReadinessRow[]): Column<ReadinessRow>[] => [
  { heading: "call", cell: (row) => row.call, left: true },
  { heading: "descriptors", cell: (row) => count(row.descriptors) },
  { heading: "CPU-µs of the call\n[98 %]", cell: (row) => interval(row.wait_us, row.wait_us_low, row.wait_us_high) },
  { heading: "against the\nsize before", cell: (row) => growth(rows, row) },
  {
    heading: "CPU-µs with finding who is ready\n[98 %]",
    cell: (row) => interval(row.turn_us, row.turn_us_low, row.turn_us_high),
  },
];

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
  const sizes = numberList("sizes", flags.sizes ?? "10,100,1000,10000", { min: 2, max: 1e6, integer: true });
  const batches = numberFlag("batches", flags.batches ?? "30", { min: 3, max: 1000, integer: true });
  const { measureReadiness } = await import("../lib/readiness.ts"); // it loads libc: Linux only
  const onSize = (size: number) => console.error(`${count(size)} descriptors…`);
  const rows = (await measureReadiness({ sizes: sizes.toSorted((a, b) => a - b), batches, onSize }))
    .toSorted((a, b) => a.call < b.call ? -1 : a.call > b.call ? 1 : a.descriptors - b.descriptors);
  if (flags.save) {
    const command = `deno task readiness --sizes ${sizes} --batches ${batches}`;
    console.error(`Stored ${await writeStudy("readiness", rows, command)}`);
  }
  console.log(flags.json ? JSON.stringify(rows, null, 2) : table(rows, columns(rows)));
  return 0;
});
