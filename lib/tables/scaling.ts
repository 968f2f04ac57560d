/**
 * Servers on more and more cores, as text.
 *
 * @module
 */
import type { ScalingRow } from "../results/rows.ts";
import type { Study } from "../results/studies.ts";
import { count, MISSING } from "../text/format.ts";
import { type Column, markdown, table } from "../text/table.ts";

/** A ratio with its interval, if it has one. */
function ratioText(value: number | null, low: number | null, high: number | null): string {
  if (value === null) return MISSING;
  return low === null || high === null ? count(value, 2) : `${count(value, 2)} [${count(low, 2)}, ${count(high, 2)}]`;
}

/** Of more shares only these are shown. */
const SHARES_SHOWN = 4;

function sharesText({ shares }: ScalingRow): string {
  if (shares.length === 0) return MISSING;
  const shown = shares.slice(0, SHARES_SHOWN).map((share) => count(100 * share)).join(" ");
  return shares.length > SHARES_SHOWN ? `${shown} … (${shares.length})` : shown;
}

const COLUMNS: Column<ScalingRow>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "cores", cell: (of) => count(of.cores), isKey: true },
  { heading: "requests\n/s", cell: (of) => count(of.requests_per_s) },
  { heading: "speed-up\n[98 %]", cell: (of) => ratioText(of.speed_up, of.speed_up_low, of.speed_up_high) },
  { heading: "CPU-µs\n/request", cell: (of) => count(of.cpu_us_per_request, 2) },
  { heading: "ratio of it\n[98 %]", cell: (of) => ratioText(of.cpu_ratio, of.cpu_ratio_low, of.cpu_ratio_high) },
  { heading: "share of each\nloop, thread, %", cell: sharesText, left: true },
];

const isMeasured = ({ rounds }: ScalingRow) => rounds > 0;

/** What weakens the figures, and who could not take part: a sentence each. */
function notesOf(rows: readonly ScalingRow[]): string[] {
  const measured = rows.filter(isMeasured);
  const ids = [...new Set(measured.flatMap(({ findings }) => findings.map(({ id }) => id)))];
  const out = new Map(rows.filter((row) => !isMeasured(row)).map(({ server, reason }) => [server, reason]));
  return [
    ...[...out].map(([server, reason]) =>
      `${server} is excluded: ${(reason ?? "no round was completed").replace(/\.$/, "")}.`
    ),
    ...(measured.some(({ shared }) => shared)
      ? ["The load runs on the server's cores too: a speed-up over all of them is a lower bound."]
      : []),
    ...ids.map((id) => {
      const servers = new Set(
        measured.filter(({ findings }) => findings.some((of) => of.id === id)).map((of) => of.server),
      );
      return `${id}: ${[...servers].join(", ")}.`;
    }),
  ];
}

/** What the largest number of cores brings each server, in one sentence; null: nothing was measured. */
export function speedUps(rows: readonly ScalingRow[]): string | null {
  const measured = rows.filter((row) => isMeasured(row) && row.cores > 1 && row.speed_up !== null);
  const most = [...Map.groupBy(measured, ({ server }) => server).values()].map((own) => own.at(-1)!);
  if (most.length === 0) return null;
  const parts = most.toSorted((a, b) => b.speed_up! - a.speed_up!)
    .map((of) => `${of.server} × ${ratioText(of.speed_up, of.speed_up_low, of.speed_up_high)} on ${of.cores} cores`);
  return `Requests/s against one core: ${parts.join("; ")}.`;
}

/** The table, and sentences of which the last one is the answer. */
export function describeScalingRows(rows: readonly ScalingRow[], width: number) {
  const measured = rows.filter(isMeasured);
  const answer = speedUps(rows) ?? "No speed-up was measured.";
  return {
    table: measured.length === 0 ? "" : table(measured, COLUMNS, width),
    sentences: [...notesOf(rows), answer],
  };
}

/** A stored one in Markdown. */
export function scalingTable({ rows, command, quick }: Pick<Study<"scaling">, "rows" | "command" | "quick">): string {
  const notes = notesOf(rows).map((note) => `- ${note}`).join("\n");
  const asked = [...new Set(rows.map(({ path }) => `\`${path}\``))].join(", ");
  return `${markdown(rows.filter(isMeasured), COLUMNS)}\n\n${notes}\n\nRequests for ${asked} in a closed loop. ` +
    `${quick ? "A quick look. " : ""}Reproduce: \`${command}\`.`;
}
