/**
 * Runs the probes: small measurements of single costs, such as that of a context switch or of a thread.
 *
 * deno task probe context-switch system-calls --quick
 */
import { bytes, count } from "../lib/text/format.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { findProbe, type Probe, type ProbeRow, PROBES } from "../lib/probes/mod.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { type Column, table } from "../lib/text/table.ts";

const USAGE = `Usage: deno task probe [name …] [--quick] [--json] [--no-save]
Without a name, all of them:
${PROBES.map(({ name, title }) => `  ${name.padEnd(16)}${title}`).join("\n")}`;
const EX_UNAVAILABLE = 69; // <sysexits.h>

/** A figure in the unit of its metric; of a small one, more digits. */
function figure(metric: string, value: number | null): string {
  if (metric.includes("bytes")) return bytes(value);
  return count(value, value === null || Number.isInteger(value) ? 0 : Math.abs(value) < 1 ? 4 : 2);
}

const interval = ({ metric, low, high }: ProbeRow) =>
  low === null || high === null ? "" : `[${figure(metric, low)}, ${figure(metric, high)}]`;

const COLUMNS: Column<ProbeRow>[] = [
  { heading: "probe", cell: (row) => row.probe, left: true },
  { heading: "variant", cell: (row) => row.variant, left: true },
  { heading: "metric", cell: (row) => row.metric, left: true },
  { heading: "median", cell: (row) => figure(row.metric, row.value) },
  { heading: "[98 %]", cell: interval },
  { heading: "runs", cell: (row) => count(row.runs) },
  { heading: "note", cell: (row) => row.note ?? "", left: true },
];

/** Runs one probe and stores it at once, so that an interrupt loses one only. Returns null where it cannot run here. */
async function runOne(probe: Probe, { quick, save }: { quick: boolean; save: boolean }, signal: AbortSignal) {
  const { name } = probe;
  const obstacle = await probe.obstacle();
  if (obstacle !== null) {
    console.error(`${name} is skipped: ${obstacle}`);
    return null;
  }
  const rows = await probe.run({ quick, signal, onProgress: (what) => console.error(`${name}: ${what}…`) });
  if (save) {
    const command = `deno task probe ${name}${quick ? " --quick" : ""}`;
    console.error(`Stored ${await writeStudy("probe", rows, { command, quick })}`);
  }
  return rows;
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const probes = flags._.length > 0 ? flags._.map(findProbe) : PROBES;
  const interrupt = new AbortController();
  const rows: ProbeRow[] = [];
  Deno.addSignalListener("SIGINT", () => interrupt.abort());
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", () => interrupt.abort());
  let ran = 0;
  try {
    for (const probe of probes) {
      const found = await runOne(probe, flags, interrupt.signal);
      if (found !== null) ran++;
      rows.push(...found ?? []);
    }
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    console.error("Interrupted: what was measured until then is kept.");
  }
  if (flags.json) console.log(JSON.stringify(rows, null, 2));
  else if (rows.length > 0) console.log(table(rows, COLUMNS));
  return interrupt.signal.aborted ? 130 : ran > 0 ? 0 : EX_UNAVAILABLE;
});
