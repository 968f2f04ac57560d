/**
 * Servers on more and more cores, as text.
 *
 * @module
 */
import { boundOf, DISTURBED, idsOf, isSpoilt } from "../results/findings.ts";
import type { ScalingRow } from "../results/rows.ts";
import type { Study } from "../results/studies.ts";
import { count, MISSING } from "../text/format.ts";
import { type Column, markdown, table } from "../text/table.ts";
import { signOf } from "./runs.ts";

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

/** Whether the requests/s of a row are a lower bound, because the load or others limited it. */
export function isLimited({ server, findings, shared }: ScalingRow): boolean {
  const ids = idsOf(findings, server).filter((id) => !shared || id !== "shared_core"); // it is on both sides then
  return boundOf("requests_per_s", ids) !== null;
}

/**
 * What a speed-up is where the load or others limited one of its sides: null where it is a figure, or where both sides are lower
 * bounds. Load that shares the cores takes more of them from the side that has fewer left.
 *
 * @param one The row of one core; undefined: it is not known.
 */
export function boundOfSpeedUp(row: ScalingRow, one: ScalingRow | undefined): "at least" | "at most" | null {
  if (row.cores === 1) return null;
  const isMany = isLimited(row) || row.shared;
  const isOne = one !== undefined && isLimited(one);
  return isMany === isOne ? null : isMany ? "at least" : "at most";
}

/** Whether others used the machine too often while a server ran on so many cores, or on one. */
const isInconclusive = (row: ScalingRow, rows: readonly ScalingRow[]): boolean =>
  rows.some((of) => of.server === row.server && (of.cores === row.cores || of.cores === 1) && isSpoilt(of.findings));

/** The ratio of CPU time per request to that on one core. */
const cpuText = (row: ScalingRow, rows: readonly ScalingRow[]): string =>
  isInconclusive(row, rows) ? MISSING : ratioText(row.cpu_ratio, row.cpu_ratio_low, row.cpu_ratio_high);

/** A speed-up with its interval, and the sign of a bound. */
function speedUpText(row: ScalingRow, rows: readonly ScalingRow[], times = ""): string {
  const one = rows.find(({ server, cores }) => server === row.server && cores === 1);
  const sign = row.speed_up === null ? "" : signOf(boundOfSpeedUp(row, one));
  return sign + times + ratioText(row.speed_up, row.speed_up_low, row.speed_up_high);
}

const columnsOf = (rows: readonly ScalingRow[]): Column<ScalingRow>[] => [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "cores", cell: (of) => count(of.cores), isKey: true },
  { heading: "requests\n/s", cell: (of) => count(of.requests_per_s) },
  { heading: "speed-up\n[98 %]", cell: (of) => speedUpText(of, rows) },
  { heading: "CPU-µs\n/request", cell: (of) => count(of.cpu_us_per_request, 2) },
  { heading: "ratio of it\n[98 %]", cell: (of) => cpuText(of, rows) },
  { heading: "share of each\nloop, thread, %", cell: sharesText, left: true },
];

const isMeasured = ({ rounds }: ScalingRow) => rounds > 0;

/** What weakens the figures, and which servers could not take part: a sentence each. */
function notesOf(rows: readonly ScalingRow[]): string[] {
  const measured = rows.filter(isMeasured);
  const signs = measured.some((row) => /[≥≤]/.test(speedUpText(row, rows)));
  const ids = [...new Set(measured.flatMap(({ findings }) => findings.map(({ id }) => id)))];
  const out = new Map(rows.filter((row) => !isMeasured(row)).map(({ server, reason }) => [server, reason]));
  return [
    ...[...out].map(([server, reason]) =>
      `${server} is excluded: ${(reason ?? "no round was completed").replace(/\.$/, "")}.`
    ),
    ...(measured.some(({ shared }) => shared)
      ? ["The load runs on the server's cores too: a speed-up over all of them is a lower bound."]
      : []),
    ...(signs
      ? ["≥ lower bound: the side with more cores was limited from outside. ≤ upper bound: the side with one was."]
      : []),
    ...[...new Set(measured.filter((row) => isInconclusive(row, rows)).map(({ server }) => server))].map((server) =>
      `${server}: inconclusive: ${DISTURBED}.`
    ),
    ...ids.map((id) => {
      const weakened = measured.filter(({ findings }) => findings.some((of) => of.id === id));
      const servers = [...Map.groupBy(weakened, ({ server }) => server)].map(([server, own]) =>
        `${server} on ${own.map(({ cores }) => cores).join(", ")} ${own.at(-1)!.cores === 1 ? "core" : "cores"}`
      );
      return `${id}: ${servers.join("; ")}.`;
    }),
  ];
}

/** What the largest number of cores brings each server, in one sentence; null: nothing was measured. */
export function speedUps(rows: readonly ScalingRow[]): string | null {
  const measured = rows.filter((row) => isMeasured(row) && row.cores > 1 && row.speed_up !== null);
  const most = [...Map.groupBy(measured, ({ server }) => server).values()].map((own) => own.at(-1)!);
  if (most.length === 0) return null;
  const parts = most.toSorted((a, b) => b.speed_up! - a.speed_up!)
    .map((of) => `${of.server} ${speedUpText(of, rows, "× ")} on ${of.cores} cores`);
  return `Requests/s against one core: ${parts.join("; ")}.`;
}

/** The table, and sentences of which the last one is the answer. */
export function describeScalingRows(rows: readonly ScalingRow[], width: number) {
  const measured = rows.filter(isMeasured);
  const answer = speedUps(rows) ?? "No speed-up was measured.";
  return {
    table: measured.length === 0 ? "" : table(measured, columnsOf(rows), width),
    sentences: [...notesOf(rows), answer],
  };
}

/** A stored one in Markdown. */
export function scalingTable({ rows, command, quick }: Pick<Study<"scaling">, "rows" | "command" | "quick">): string {
  const notes = notesOf(rows).map((note) => `- ${note}`).join("\n");
  const asked = [...new Set(rows.map(({ path }) => `\`${path}\``))].join(", ");
  return `${
    markdown(rows.filter(isMeasured), columnsOf(rows))
  }\n\n${notes}\n\nRequests for ${asked} in a closed loop. ` +
    `${quick ? "A quick look. " : ""}Reproduce: \`${command}\`.`;
}
