/**
 * What is said of the cells that were measured.
 *
 * @module
 */
import type { FaultRow } from "../../lib/results/rows.ts";
import { isUnmeasured } from "../../lib/tables/faults.ts";
import { count, counted, MISSING } from "../../lib/text/format.ts";
import { type Column, table, wrap } from "../../lib/text/table.ts";
import type { Fault } from "./fault.ts";
import { abilitiesOf, keeps } from "./judge.ts";

const unless = (isMissing: (of: FaultRow) => boolean, cell: (of: FaultRow) => string) => (of: FaultRow) =>
  isMissing(of) ? MISSING : cell(of);
const percent = (share: number | null) => share === null ? MISSING : count(share * 100, 1);

const COLUMNS: Column<FaultRow>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "fault", cell: (of) => of.fault, left: true, isKey: true },
  { heading: "verdict", cell: (of) => of.verdict, left: true },
  { heading: "answered\n%", cell: (of) => percent(of.answered_share_during) },
  { heading: "p99 ms\nduring", cell: (of) => count(of.p99_ms_during, 1) },
  { heading: "p99 ms\nafter", cell: (of) => count(of.p99_ms_after, 1) },
  { heading: "back\nafter s", cell: (of) => count(of.recovery_s, 2) },
  { heading: "owed", cell: unless(isUnmeasured, (of) => count(of.owed)) },
  { heading: "lost", cell: unless(isUnmeasured, (of) => count(of.lost)) },
  { heading: "fds\nleft", cell: (of) => count(of.descriptors_left) },
  { heading: "threads\nleft", cell: (of) => count(of.threads_left) },
  {
    heading: "MiB\nleft",
    cell: (of) => count(of.memory_left_bytes === null ? null : of.memory_left_bytes / 2 ** 20, 1),
  },
];

const ORDER = ["failed", "degraded", "cannot", "skipped", "survived"];

/** Breaks a line so that it fits; what is indented goes on further to the right. */
export function fold(line: string, width: number): string[] {
  const text = line.trimStart();
  const indent = line.length - text.length;
  const further = indent === 0 ? 0 : indent + 2;
  return wrap(text, width - further).map((part, i) => " ".repeat(i === 0 ? indent : further) + part);
}

/**
 * The reasons, the gravest verdict first. Servers of the same fault and reason share a line, and so do the faults behind which
 * one that survives keeps something.
 */
function reasons(rows: readonly FaultRow[]): string[] {
  const reasoned = rows.filter(({ reason }) => reason !== null);
  const lines = Map.groupBy(
    reasoned,
    ({ verdict, server, fault, reason }) => `${verdict} ${verdict === "survived" ? server : fault} ${reason}`,
  );
  return [...lines.values()]
    .sort(([a], [b]) => ORDER.indexOf(a!.verdict) - ORDER.indexOf(b!.verdict))
    .map((same) => {
      const servers = [...new Set(same.map(({ server }) => server))].join(", ");
      const faults = [...new Set(same.map(({ fault }) => fault))].join(", ");
      return `  ${same[0]!.verdict}: ${servers}, ${faults}: ${same[0]!.reason}`;
    });
}

/** The last sentence. */
function answerOf(rows: readonly FaultRow[]): string {
  const measured = rows.filter(({ verdict }) => verdict !== "skipped");
  const survived = measured.filter(({ verdict }) => verdict === "survived").length;
  const excused = measured.filter(({ verdict }) => verdict === "cannot");
  const lostOf = (of: readonly FaultRow[]) => of.reduce((sum, row) => sum + row.lost, 0);
  const lostExcused = lostOf(excused);
  const lost = lostOf(rows) - lostExcused;
  return [
    `${count(survived)} of ${counted(measured.length, "cell")} survived, ${count(excused.length)} not promised`,
    `, ${count(rows.length - measured.length)} skipped; `,
    `${counted(lost, "answer")} lost that ${lost === 1 ? "was" : "were"} promised`,
    `, ${count(lostExcused)} lost that ${lostExcused === 1 ? "is" : "are"} not promised.`,
  ].join("");
}

/**
 * What headers say that a server cannot, and every cell of a fault that is about it contradicts. Null: nothing.
 *
 * @param servers What each header says that its server cannot, by ability.
 * @param faults All that there are: an ability counts only if all its faults were measured and none is loose about it. One of
 * what is kept counts once all faults were tried.
 */
export function contradicted(
  rows: readonly FaultRow[],
  servers: readonly { name: string; cannot: Readonly<Record<string, string>> }[],
  faults: readonly Pick<Fault, "id" | "abilities" | "loose">[],
): string | null {
  const survived = new Set(rows.filter(({ verdict }) => verdict === "survived").map(keyOf));
  const found = servers.flatMap(({ name, cannot }) => {
    const isContradicted = (ability: string) => {
      const about = faults.filter((fault) => abilitiesOf(fault).includes(ability));
      const isContradiction = ({ id, loose }: typeof about[number]) =>
        loose?.includes(ability) !== true && survived.has(keyOf({ server: name, fault: id }));
      return about.length > 0 && about.every(isContradiction);
    };
    const own = rows.filter(({ server }) => server === name);
    const isWhole = faults.every(({ id }) => own.some(({ fault }) => fault === id));
    const isNeverKept = (ability: string) => isWhole && own.every((row) => !keeps(ability, row));
    const abilities = Object.keys(cannot).filter((ability) => isContradicted(ability) || isNeverKept(ability));
    return abilities.length === 0 ? [] : [`${name}: ${abilities.join(", ")}`];
  });
  return found.length === 0 ? null : `Survived although the header says it cannot: ${found.join("; ")}`;
}

/** What there is to say beside the rows. */
export interface Remarks {
  /** Why servers were left out, a sentence for each. */
  leftOut?: readonly string[];
  /** As of {@linkcode contradicted}. */
  contradicted?: string | null;
}

/** The table, the reasons, what was left out, and one sentence in the end. */
export function describe(
  rows: readonly FaultRow[],
  width: number,
  { leftOut = [], contradicted = null }: Remarks = {},
): string {
  const why = [...reasons(rows), ...leftOut.map((sentence) => `  skipped: ${sentence}`)];
  if (rows.length === 0) return [...why, "Nothing was measured."].flatMap((line) => fold(line, width)).join("\n");
  const lines = [
    ...(why.length === 0 ? [] : ["Reasons", ...why, ""]),
    ...(contradicted === null ? [] : [contradicted]),
    answerOf(rows),
  ];
  return [table(rows, COLUMNS, width), "", ...lines.flatMap((line) => fold(line, width))].join("\n");
}

const keyOf = ({ server, fault }: Pick<FaultRow, "server" | "fault">) => `${server}, ${fault}`;

/** Says whether verdicts are as those that were stored last, and names the cells where they are not. */
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
  const all = known.length === 1 ? "The verdict is" : `All ${count(known.length)} verdicts are`;
  const differ = changed.length === 1 ? "differs" : "differ";
  const sentence = changed.length === 0
    ? `${all} as in the last run.`
    : `${count(changed.length)} of ${counted(known.length, "verdict")} ${differ} from the last run:`;
  const added = rows.length - known.length;
  const fresh = `${counted(added, "cell")} ${added === 1 ? "was" : "were"} not measured before.`;
  return [sentence, ...lines, ...(added === 0 ? [] : [fresh])];
}
