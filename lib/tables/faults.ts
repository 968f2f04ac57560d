/**
 * The matrix of servers and faults, and what soaks have shown.
 *
 * @module
 */
import { taskLine } from "../cli/shell.ts";
import type { FaultRow, SoakRow } from "../results/rows.ts";
import type { Study } from "../results/studies.ts";
import { bytes, count, counted, MISSING } from "../text/format.ts";
import { type Column, markdown } from "../text/table.ts";

/** A cell, with the command line that measures it again. */
export interface FaultCell extends FaultRow {
  command: string;
}

/** One server under all faults: the newest cell of each. */
export interface FaultsOf {
  server: string;
  cells: ReadonlyMap<string, FaultCell>;
}

/** What is stored of all servers. */
export interface FaultMatrix {
  /** In the order in which they were made. */
  faults: string[];
  servers: FaultsOf[];
}

/**
 * Puts the newest cells together.
 *
 * @param studies The oldest first.
 * @param order Names of servers in reading order; others stand behind them.
 */
export function faultMatrix(studies: readonly Study<"faults">[], order: readonly string[]): FaultMatrix {
  const faults = new Set<string>();
  const byServer = new Map<string, Map<string, FaultCell>>();
  const widest = studies.toSorted((a, b) => namesOf(b).size - namesOf(a).size || b.time.localeCompare(a.time));
  for (const study of widest) for (const name of namesOf(study)) faults.add(name);
  const all = studies.flatMap(({ rows, command }) =>
    // Nobody but the command itself knows how a server of the user's own is started.
    rows.map((row): FaultCell => ({ ...row, command: order.includes(row.server) ? cellCommand(row) : command }))
  );
  for (const row of all) {
    const cells = byServer.get(row.server) ?? new Map<string, FaultCell>();
    const known = cells.get(row.fault);
    // A cell that was skipped says less than one that was measured before.
    if (known === undefined || row.verdict !== "skipped" || known.verdict === "skipped") cells.set(row.fault, row);
    byServer.set(row.server, cells);
  }
  const place = (name: string) => order.includes(name) ? order.indexOf(name) : order.length;
  const servers = [...byServer].map(([server, cells]) => ({ server, cells }))
    .toSorted((a, b) => place(a.server) - place(b.server) || a.server.localeCompare(b.server));
  return { faults: [...faults], servers };
}

const namesOf = ({ rows }: Study<"faults">): Set<string> => new Set(rows.map(({ fault }) => fault));

const cellCommand = ({ server, fault, seed }: FaultRow): string =>
  taskLine("faults", [server, "--fault", fault, "--seed", String(seed)]);

/** The figures of a cell with their names, those that are known. */
export function cellFigures(row: FaultRow): [name: string, value: string][] {
  const ms = (value: number | null) => value === null ? MISSING : `${count(value, 1)} ms`;
  const all: [string, string | null][] = [
    ["answered during", `${count(row.answered_share_during * 100, 1)} %`],
    ["p99 before, during, after", [row.p99_ms_before, row.p99_ms_during, row.p99_ms_after].map(ms).join(", ")],
    ["recovered after", row.recovery_s === null ? null : `${count(row.recovery_s, 2)} s`],
    ["answers lost", row.owed === 0 ? null : `${count(row.lost)} of ${count(row.owed)}`],
    ["clients of the fault", row.outcomes],
    ["CPU during, beyond before", row.cpu_share_during === null ? null : `${count(row.cpu_share_during, 2)} cores`],
    ["descriptors left", row.descriptors_left === null ? null : count(row.descriptors_left)],
    ["threads left", row.threads_left === null ? null : count(row.threads_left)],
    ["memory held", row.memory_held_bytes === null ? null : signed(row.memory_held_bytes)],
    ["memory left", row.memory_left_bytes === null ? null : signed(row.memory_left_bytes)],
  ];
  return row.verdict === "skipped" ? [] : all.flatMap(([name, value]) => value === null ? [] : [[name, value]]);
}

const signed = (value: number) => value < 0 ? `−${bytes(-value)}` : bytes(value);

const verdicts = ({ cells }: FaultsOf, verdict: FaultRow["verdict"]): FaultCell[] =>
  [...cells.values()].filter((row) => row.verdict === verdict);

/** The greatest of figures that are known. */
const worst = (of: FaultsOf, figure: (row: FaultRow) => number | null): number | null => {
  const known = [...of.cells.values()].filter(({ verdict }) => verdict !== "skipped")
    .flatMap((row) => figure(row) ?? []);
  return known.length === 0 ? null : Math.max(...known);
};

/** Answers that were lost although the architecture promises them. */
export const lostOf = ({ cells }: FaultsOf): number =>
  [...cells.values()].filter(({ verdict }) => verdict !== "cannot").reduce((sum, { lost }) => sum + lost, 0);

/** What a server did not survive. */
const weaknesses = (of: FaultsOf): string =>
  (["failed", "degraded", "cannot"] as const).flatMap((verdict) => {
    const names = verdicts(of, verdict).map(({ fault }) => fault);
    return names.length === 0 ? [] : [`${verdict}: ${names.join(", ")}`];
  }).join("; ") || MISSING;

const COLUMNS: Column<FaultsOf>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "survived", cell: (of) => `${verdicts(of, "survived").length} of ${of.cells.size}` },
  { heading: "degraded", cell: (of) => count(verdicts(of, "degraded").length) },
  { heading: "failed", cell: (of) => count(verdicts(of, "failed").length) },
  { heading: "not promised", cell: (of) => count(verdicts(of, "cannot").length) },
  { heading: "answers lost that were promised", cell: (of) => count(lostOf(of)) },
  { heading: "worst p99 during, ms", cell: (of) => count(worst(of, (row) => row.p99_ms_during), 1) },
  { heading: "slowest recovery, s", cell: (of) => count(worst(of, (row) => row.recovery_s), 2) },
  { heading: "not survived", cell: weaknesses, left: true },
];

/** A row for each server. */
export const faultsTable = ({ servers }: FaultMatrix): string => markdown(servers, COLUMNS);

/** The matrix in one sentence. */
export function faultsSentence({ faults, servers }: FaultMatrix): string {
  const cells = servers.flatMap((of) => [...of.cells.values()]);
  const survived = cells.filter(({ verdict }) => verdict === "survived").length;
  const lost = servers.reduce((sum, of) => sum + lostOf(of), 0);
  return `${counted(servers.length, "server")} under ${counted(faults.length, "fault")}: ${count(survived)} of ` +
    `${counted(cells.length, "cell")} survived, ${counted(lost, "answer")} lost that were promised.`;
}

/** The newest rows of each server. */
export const newestSoaks = (studies: readonly Study<"soak">[]): SoakRow[] =>
  [
    ...Map.groupBy(
      studies.flatMap(({ rows, time }) => rows.map((row) => ({ row, time }))),
      ({ row: { server, quantity } }) => `${server} ${quantity}`,
    ).values(),
  ].map((of) => of.at(-1)!.row);

/** A figure of a soak with its unit. */
export function soakFigure({ quantity }: SoakRow, value: number | null): string {
  if (value === null) return MISSING;
  if (quantity === "memory") return signed(value);
  return quantity === "latency" ? `${count(value, 1)} ms` : count(value, 1);
}

/** The columns of what soaks have shown. */
export const SOAK_COLUMNS: Column<SoakRow>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "minutes", cell: (of) => count(of.minutes, 1) },
  { heading: "faults", cell: (of) => count(of.faults.length) },
  { heading: "quantity", cell: (of) => of.quantity, left: true },
  { heading: "verdict", cell: (of) => of.broken ?? of.verdict, left: true },
  { heading: "level", cell: (of) => soakFigure(of, of.level) },
  { heading: "rise over the second half [98 %]", cell: (of) => riseText(of) },
  { heading: "allowed", cell: (of) => soakFigure(of, of.allowed) },
];

const riseText = (of: SoakRow): string =>
  of.rise === null
    ? MISSING
    : `${soakFigure(of, of.rise)} [${soakFigure(of, of.rise_low)}, ${soakFigure(of, of.rise_high)}]`;

/** A row for each quantity of each server. */
export const soakTable = (rows: readonly SoakRow[]): string => markdown(rows, SOAK_COLUMNS);
