/**
 * Runs the probes: small measurements of single costs, such as that of a context switch or of a thread.
 *
 * deno task probe context-switch system-calls --quick
 */
import { bytes, count } from "../../lib/text/format.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { parseFlags, runScript } from "../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns, say } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { foreignShare, readClocks } from "../../lib/sampling/foreign.ts";
import { DISTURBED, isDisturbedProbe } from "../../lib/results/findings.ts";
import { findProbe, type Probe, type ProbeRow, PROBES } from "../../lib/probes/mod.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { type Column, table } from "../../lib/text/table.ts";

const USAGE = `Usage: deno task probe [name …] [--quick] [--json] [--no-save]
Without a name, all of them:
${PROBES.map(({ name, title }) => `  ${name.padEnd(16)}${title}`).join("\n")}`;

/** A figure in the unit of its metric; of a small one, more digits. */
function figure(metric: string, value: number | null): string {
  if (metric.includes("bytes")) return bytes(value);
  return count(value, value === null || Number.isInteger(value) ? 0 : Math.abs(value) < 1 ? 4 : 2);
}

const interval = ({ metric, low, high }: ProbeRow) =>
  low === null || high === null ? "" : `[${figure(metric, low)}, ${figure(metric, high)}]`;

const COLUMNS: Column<ProbeRow>[] = [
  { heading: "probe", cell: (row) => row.probe, left: true },
  { heading: "variant", cell: (row) => row.variant, left: true, isKey: true },
  { heading: "metric", cell: (row) => row.metric, left: true },
  { heading: "median", cell: (row) => figure(row.metric, row.value) },
  { heading: "[98 %]", cell: interval },
  { heading: "runs", cell: (row) => count(row.runs) },
  { heading: "note", cell: (row) => row.note ?? "", left: true },
];

/** What the probes found, and how many of them could run here. */
interface Found {
  rows: ProbeRow[];
  ran: number;
  /** Rows of a probe that was interrupted. They are shown and not stored: a reader would take them for the whole. */
  partial: ProbeRow[];
}

/** Runs one probe after the other and stores each at once, so that an interrupt loses one only. */
async function runAll(probes: readonly Probe[], quick: boolean, storing: Storing, signal: AbortSignal, into: Found) {
  for (const probe of probes) {
    const { name } = probe;
    const obstacle = await probe.obstacle();
    if (obstacle !== null) {
      say(`${name} is skipped: ${obstacle}`);
      continue;
    }
    const onProgress = (what: string) => console.error(`${name}: ${what}…`);
    const before = readClocks();
    const found = await probe.run({ quick, signal, onProgress, onRows: (rows) => void into.partial.push(...rows) });
    const foreign = foreignShare(before, readClocks());
    const rows = found.map((row) => ({ ...row, ...(foreign !== null && { foreign_share: foreign }) }));
    into.partial = [];
    into.ran++;
    into.rows.push(...rows);
    console.error(`${name} is over.`);
    if (rows.some(isDisturbedProbe)) {
      console.error(
        `${name}: figures of time are inconclusive: ${DISTURBED}, ${count(100 * foreign!)} % of its CPU time`,
      );
    }
    if (rows.every(({ value }) => value === null)) continue; // an empty study would say nothing
    const command = taskLine("probe", [name, ...(quick ? ["--quick"] : [])]);
    await storing.add(() => writeStudy("probe", rows, { command, quick }));
  }
}

/** Shows what was found, as far as it goes. */
function show({ rows, partial }: Found, json: boolean): void {
  const all = [...rows, ...partial];
  if (json) console.log(JSON.stringify(all, null, 2));
  else if (all.length > 0) console.log(table(all, COLUMNS, outputColumns()));
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const probes = flags._.length > 0 ? flags._.map(findProbe) : PROBES;
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const storing = new Storing(flags.save);
  await storing.begin();
  const found: Found = { rows: [], ran: 0, partial: [] };
  try {
    await runAll(probes, flags.quick, storing, signal, found);
  } catch (error) {
    if (!signal.aborted) {
      show(found, flags.json); // it would be lost otherwise
      throw error;
    }
  }
  show(found, flags.json);
  storing.finish();
  if (signal.aborted) {
    const rest = found.partial.length > 0 ? " What the last one found is shown, and not stored." : "";
    return endInterrupted(found.ran, "probe", flags.save, rest);
  }
  if (found.ran === 0) return EXIT.unavailable;
  return found.rows.some(({ value }) => value !== null) ? EXIT.ok : EXIT.failed;
});
