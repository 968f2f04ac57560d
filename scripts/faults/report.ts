/**
 * What is said of the cells that were measured.
 *
 * @module
 */
import type { FaultRow } from "../../lib/results/rows.ts";
import { count, counted, MISSING } from "../../lib/text/format.ts";
import { type Column, table } from "../../lib/text/table.ts";

const unless = (isMissing: (of: FaultRow) => boolean, cell: (of: FaultRow) => string) => (of: FaultRow) =>
  isMissing(of) ? MISSING : cell(of);
/** Nothing was measured: the fault cannot be done, or the server does not start with it. */
const isUnmeasured = (of: FaultRow) =>
  of.verdict === "skipped" || (of.p99_ms_before === null && of.recovery_s === null);

const COLUMNS: Column<FaultRow>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "fault", cell: (of) => of.fault, left: true, isKey: true },
  { heading: "verdict", cell: (of) => of.verdict, left: true },
  { heading: "answered\n%", cell: unless(isUnmeasured, (of) => count(of.answered_share_during * 100, 1)) },
  { heading: "p99 ms\nduring", cell: (of) => count(of.p99_ms_during, 1) },
  { heading: "p99 ms\nafter", cell: (of) => count(of.p99_ms_after, 1) },
  { heading: "back\ns", cell: (of) => count(of.recovery_s, 2) },
  { heading: "owed", cell: unless(isUnmeasured, (of) => count(of.owed)) },
  { heading: "lost", cell: unless(isUnmeasured, (of) => count(of.lost)) },
  { heading: "left:\nfds", cell: (of) => count(of.descriptors_left) },
  { heading: "\nthreads", cell: (of) => count(of.threads_left) },
  { heading: "\nMiB", cell: (of) => count(of.memory_left_bytes === null ? null : of.memory_left_bytes / 2 ** 20, 1) },
];

const ORDER = ["failed", "degraded", "cannot", "skipped", "survived"];

/** The reasons, the gravest verdict first; servers of the same reason on one line. */
function reasons(rows: readonly FaultRow[]): string[] {
  const lines = new Map<string, { verdict: string; fault: string; reason: string; servers: string[] }>();
  for (const { server, fault, verdict, reason } of rows) {
    if (reason === null) continue;
    const key = `${verdict} ${fault} ${reason}`;
    const line = lines.get(key) ?? { verdict, fault, reason, servers: [] };
    line.servers.push(server);
    lines.set(key, line);
  }
  return [...lines.values()]
    .sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict))
    .map(({ verdict, fault, reason, servers }) => `  ${verdict}: ${servers.join(", ")}, ${fault}: ${reason}`);
}

/** The table, the reasons, and one sentence in the end. */
export function describe(rows: readonly FaultRow[], width: number): string {
  if (rows.length === 0) return "No cell was measured.";
  const why = reasons(rows);
  const survived = rows.filter(({ verdict }) => verdict === "survived").length;
  const lost = rows.reduce((sum, row) => sum + (row.verdict === "cannot" ? 0 : row.lost), 0);
  const excused = rows.filter(({ verdict }) => verdict === "cannot").length;
  const skipped = rows.filter(({ verdict }) => verdict === "skipped").length;
  const promised = `${counted(lost, "answer")} lost that ${lost === 1 ? "was" : "were"} promised`;
  const answer = `${survived} of ${
    counted(rows.length, "cell")
  } survived, ${excused} not promised, ${skipped} skipped; ${promised}.`;
  return `${table(rows, COLUMNS, width)}\n${why.length === 0 ? "" : `\nReasons\n${why.join("\n")}\n`}\n${answer}`;
}

const keyOf = ({ server, fault }: Pick<FaultRow, "server" | "fault">) => `${server}, ${fault}`;

/** Which verdicts differ from those that were stored last, as sentences. */
export function changes(rows: readonly FaultRow[], earlier: readonly { time: string; rows: readonly FaultRow[] }[]) {
  const last = new Map<string, { verdict: string; time: string }>();
  for (const { time, rows } of earlier) for (const row of rows) last.set(keyOf(row), { verdict: row.verdict, time });
  const known = rows.filter((row) => last.has(keyOf(row)));
  if (known.length === 0) return [];
  const changed = known.filter((row) => last.get(keyOf(row))!.verdict !== row.verdict);
  const lines = changed.map((row) => {
    const { verdict, time } = last.get(keyOf(row))!;
    return `  ${keyOf(row)}: ${verdict} on ${time.slice(0, 16).replace("T", " ")}, now ${row.verdict}`;
  });
  const equal = `${known.length - changed.length} of ${counted(known.length, "verdict")}: as in the last run.`;
  return lines.length === 0 ? [equal] : [equal, "Changed", ...lines];
}
