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

/** Nothing was measured: the fault cannot be done, or the server does not start with it. */
export const isUnmeasured = (row: FaultRow): boolean => row.verdict === "skipped" || row.clients === 0;

/** The figures of a cell with their names, those that are known. */
export function cellFigures(row: FaultRow): [name: string, value: string][] {
  const ms = (value: number | null) => value === null ? MISSING : `${count(value, 1)} ms`;
  const { answered_share_during: share, requests_during: requests } = row;
  const all: [string, string | null][] = [
    ["answered during", share === null ? null : `${count(share * 100, 1)} % of ${counted(requests, "request")}`],
    ["p99 before, during, after", [row.p99_ms_before, row.p99_ms_during, row.p99_ms_after].map(ms).join(", ")],
    ["recovered after", row.recovery_s === null ? null : `${count(row.recovery_s, 2)} s`],
    ["answers lost", row.owed === 0 ? null : `${count(row.lost)} of ${count(row.owed)}`],
    ["of new clients behind it", row.lost_after === 0 ? null : count(row.lost_after)],
    ["clients of the fault", row.outcomes],
    ["CPU during, beyond before", row.cpu_share_during === null ? null : `${count(row.cpu_share_during, 2)} cores`],
    ["descriptors left", row.descriptors_left === null ? null : count(row.descriptors_left)],
    ["threads left", row.threads_left === null ? null : count(row.threads_left)],
    ["memory held", row.memory_held_bytes === null ? null : bytes(row.memory_held_bytes)],
    ["memory left", row.memory_left_bytes === null ? null : bytes(row.memory_left_bytes)],
  ];
  return isUnmeasured(row) ? [] : all.flatMap(([name, value]) => value === null ? [] : [[name, value]]);
}

const verdicts = ({ cells }: FaultsOf, verdict: FaultRow["verdict"]): FaultCell[] =>
  [...cells.values()].filter((row) => row.verdict === verdict);

/** The cells in which something was measured. */
const measured = ({ cells }: FaultsOf): FaultCell[] => [...cells.values()].filter((row) => !isUnmeasured(row));

/** The greatest of a figure, or `none` if it is missing in a cell: that is worse than any figure. */
function worst(of: FaultsOf, none: string, digits: number, figure: (row: FaultRow) => number | null): string {
  const figures = measured(of)
    .filter(({ exit_code }) => exit_code === null) // a server that was to end answers nobody in the end
    .map(figure);
  if (figures.includes(null)) return none;
  return figures.length === 0 ? MISSING : count(Math.max(...figures as number[]), digits);
}

const lostIn = (rows: readonly FaultRow[]): number => rows.reduce((sum, { lost }) => sum + lost, 0);

/** Answers that were lost although the architecture promises them. */
export const lostOf = ({ cells }: FaultsOf): number =>
  lostIn([...cells.values()].filter(({ verdict }) => verdict !== "cannot"));

/** Answers that were lost, and that the architecture does not promise. */
export const unpromisedOf = (of: FaultsOf): number => lostIn(verdicts(of, "cannot"));

/** Cells in which the fault was done, or the server did not start with it. */
const triedOf = (of: FaultsOf): number => of.cells.size - verdicts(of, "skipped").length;

/** What a server did not survive. */
const weaknesses = (of: FaultsOf): string =>
  (["failed", "degraded", "cannot"] as const).flatMap((verdict) => {
    const names = verdicts(of, verdict).map(({ fault }) => fault);
    return names.length === 0 ? [] : [`${verdict}: ${names.join(", ")}`];
  }).join("; ") || MISSING;

const COLUMNS: Column<FaultsOf>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "survived", cell: (of) => `${verdicts(of, "survived").length} of ${triedOf(of)}` },
  { heading: "degraded", cell: (of) => count(verdicts(of, "degraded").length) },
  { heading: "failed", cell: (of) => count(verdicts(of, "failed").length) },
  { heading: "not promised", cell: (of) => count(verdicts(of, "cannot").length) },
  { heading: "skipped", cell: (of) => count(verdicts(of, "skipped").length) },
  { heading: "answers lost that were promised", cell: (of) => count(lostOf(of)) },
  { heading: "lost that are not promised", cell: (of) => count(unpromisedOf(of)) },
  { heading: "worst p99 during, ms", cell: (of) => worst(of, "none", 1, (row) => row.p99_ms_during) },
  { heading: "slowest recovery, s", cell: (of) => worst(of, "never", 2, (row) => row.recovery_s) },
  { heading: "not survived", cell: weaknesses, left: true },
];

/** A row for each server. */
export const faultsTable = ({ servers }: FaultMatrix): string => markdown(servers, COLUMNS);

/** The matrix in one sentence. */
export function faultsSentence({ faults, servers }: FaultMatrix): string {
  const sum = (figure: (of: FaultsOf) => number) => servers.reduce((total, of) => total + figure(of), 0);
  const [survived, skipped] = [
    sum((of) => verdicts(of, "survived").length),
    sum((of) => verdicts(of, "skipped").length),
  ];
  return `${counted(servers.length, "server")} under ${counted(faults.length, "fault")}: ${count(survived)} of ` +
    `${counted(sum(triedOf), "cell")} survived, ${count(skipped)} skipped; ${
      counted(sum(lostOf), "answer")
    } lost that ` +
    `were promised, ${count(sum(unpromisedOf))} lost that are not promised.`;
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
  if (quantity === "memory") return bytes(value);
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
