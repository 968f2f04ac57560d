/**
 * Faults in the notebooks: some live, and the matrix that is stored.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { RankSpec } from "../charts/config.ts";
import { find } from "../catalogue/catalogue.ts";
import type { FaultRow } from "../results/rows.ts";
import { faultMatrix, faultsSentence, faultsTable, newestSoaks, soakTable } from "../tables/faults.ts";
import { count, MISSING } from "../text/format.ts";
import type { Column } from "../text/table.ts";
import { show, showTable, showText } from "./show.ts";
import { readBook } from "./stored.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const FAILED = 1; // a verdict "failed" is a result, and no failure of the command

const COLUMNS: Column<FaultRow>[] = [
  { heading: "", cell: (of) => of.server, left: true },
  { heading: "fault", cell: (of) => of.fault, left: true },
  { heading: "verdict", cell: (of) => of.verdict, left: true },
  {
    heading: "answered meanwhile",
    cell: ({ answered_share_during: share }) => share === null ? MISSING : `${count(share * 100, 1)} %`,
  },
  {
    heading: "p99 before, during, after (ms)",
    cell: (of) => [of.p99_ms_before, of.p99_ms_during, of.p99_ms_after].map((ms) => count(ms, 1)).join(", "),
  },
  { heading: "recovered after (s)", cell: (of) => count(of.recovery_s, 2) },
  { heading: "answers lost", cell: (of) => of.owed === 0 ? MISSING : `${count(of.lost)} of ${count(of.owed)}` },
  { heading: "reason", cell: (of) => of.reason ?? "", left: true },
];

const chartOf = (rows: readonly FaultRow[], fault: string): RankSpec => ({
  kind: "dots",
  title: `p99 of normal clients meanwhile: ${fault}`,
  axis: { label: "p99", unit: "us", scale: "linear" },
  items: rows.map(({ server, verdict, p99_ms_during: ms }) => ({
    name: server,
    family: find(server).family,
    value: ms === null ? null : ms * 1000,
    ...(ms === null && { note: verdict === "skipped" ? "skipped" : "no answer" }),
  })),
});

/** Puts servers under faults, and shows what the normal clients beside them saw. Nothing is stored. */
export async function faultsLive(servers: readonly string[], faults: readonly string[]): Promise<FaultRow[]> {
  const words = ["task", "--quiet", "faults", ...servers, "--fault", faults.join(","), "--json", "--no-save"];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: words, cwd: PROJECT }).output();
  const [said, complained] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  let rows: FaultRow[] = [];
  if (said!.startsWith("[")) rows = JSON.parse(said!);
  else if (code > FAILED) {
    await showText(`Skipped: ${complained!.split("\n").find((line) => !line.startsWith("Seed "))}`);
  }
  if (faults.length === 1) await show(chartOf(rows, faults[0]!)); // several do not belong on one axis
  await showTable(rows, COLUMNS);
  return rows;
}

/** Shows what is stored of faults and of soaks, a row for each server. */
export async function showFaults(): Promise<void> {
  const { studies, experiments } = await readBook(undefined, "faults");
  const matrix = faultMatrix(studies.faults, experiments.map(({ name }) => name));
  const soaks = newestSoaks(studies.soak);
  const nothing = (task: string) => `Nothing is stored yet: \`deno task ${task}\`.`;
  await showText(
    matrix.servers.length === 0 ? nothing("faults --all") : `${faultsSentence(matrix)}\n\n${faultsTable(matrix)}`,
  );
  await showText(soaks.length === 0 ? nothing("soak epoll --minutes 15") : soakTable(soaks));
}
