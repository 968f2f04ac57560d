/**
 * Puts servers under faults, with normal clients beside them, and shows which faults each of them survives.
 *
 * deno task faults epoll io-uring --fault rst-storm,pipelines
 */
import { catalogue, findHttp, findIn, runsHere, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns, progressLine } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { commandBehind, readCustom } from "../../lib/server/custom.ts";
import type { Subject } from "../../lib/server/subject.ts";
import { count, counted, MISSING } from "../../lib/text/format.ts";
import { type Column, table } from "../../lib/text/table.ts";
import { measureCell } from "./cell.ts";
import type { Fault } from "./fault.ts";
import { FAULTS } from "./faults.ts";

const USAGE = `Usage: deno task faults <name>… [--fault ID,…] [--seed N] [--json] [--no-save]
       deno task faults --all
       deno task faults --name mine --url http://127.0.0.1:PORT [--pid N]
       deno task faults --name mine -- <command>…
Faults: ${FAULTS.map(({ id }) => id).join(" ")}`;
const SEED = 1;
const CELL_SECONDS = 4; // a first estimate of the remaining time

const COLUMNS: Column<FaultRow>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "fault", cell: (of) => of.fault, left: true, isKey: true },
  { heading: "verdict", cell: (of) => of.verdict, left: true },
  {
    heading: "answered\n%",
    cell: (of) => of.verdict === "skipped" ? MISSING : count(of.answered_share_during * 100, 1),
  },
  { heading: "p99 ms\nduring", cell: (of) => count(of.p99_ms_during, 1) },
  { heading: "back\ns", cell: (of) => count(of.recovery_s, 2) },
  { heading: "lost", cell: (of) => count(of.lost) },
];

function describe(rows: readonly FaultRow[]): string {
  if (rows.length === 0) return "No cell was measured.";
  const reasons = rows.flatMap(({ server, fault, reason }) =>
    reason === null ? [] : [`  ${server}, ${fault}: ${reason}`]
  );
  const why = reasons.length === 0 ? "" : `\nReasons\n${reasons.join("\n")}\n`;
  const survived = rows.filter(({ verdict }) => verdict === "survived").length;
  const lost = rows.reduce((sum, row) => sum + (row.verdict === "cannot" ? 0 : row.lost), 0);
  const excused = rows.filter(({ verdict }) => verdict === "cannot").length;
  const promised = `${counted(lost, "answer")} lost that ${lost === 1 ? "was" : "were"} promised`;
  const answer = `${survived} of ${counted(rows.length, "cell")} survived, ${excused} not promised; ${promised}.`;
  return `${table(rows, COLUMNS, outputColumns())}\n${why}\n${answer}`;
}

/** Measures cell after cell. An interrupt ends the cell under way; those before it are kept. */
async function measure(subjects: readonly Subject[], faults: readonly Fault[], seed: number, signal: AbortSignal) {
  const cells = subjects.flatMap((subject) => faults.map((fault) => ({ subject, fault })));
  const rows: FaultRow[] = [];
  const line = progressLine();
  const startedMs = performance.now();
  for (const [i, { subject, fault }] of cells.entries()) {
    const perCell = i === 0 ? CELL_SECONDS : (performance.now() - startedMs) / 1000 / i;
    const left = `cell ${i + 1} of ${cells.length}, ${Math.ceil(perCell * (cells.length - i))} s left`;
    const text = `${subject.name}, ${fault.id}: ${left}`;
    line.show(text, text);
    try {
      rows.push(await measureCell(subject, fault, seed, signal));
    } catch (error) {
      if (!signal.aborted) throw error;
      break;
    } finally {
      line.clear();
    }
    if (signal.aborted) break;
  }
  return rows;
}

function exitOf(rows: readonly FaultRow[]): number {
  if (rows.every(({ verdict }) => verdict === "skipped")) return EXIT.unavailable;
  return rows.some(({ verdict }) => verdict === "failed") ? EXIT.failed : EXIT.ok;
}

await runScript(USAGE, async () => {
  const { own, words } = commandBehind(Deno.args);
  const flags = parseFlags(own, {
    string: ["fault", "seed", "name", "url", "pid", "port"],
    boolean: ["all", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const http = catalogue().filter(speaksHttp);
  const isCustom = words !== null || flags.url !== undefined;
  if (!isCustom && flags._.length === 0 && !flags.all) throw new UsageError("Name servers, or say --all.");
  const seed = flags.seed === undefined
    ? SEED
    : numberFlag("seed", flags.seed, { min: 0, max: 2 ** 32 - 1, integer: true });
  const faults = flags.fault?.split(",").map((id) =>
    findIn(FAULTS.map((fault) => ({ ...fault, name: fault.id })), id, "fault")
  ) ?? FAULTS;
  const named = flags.all ? http.filter((one) => runsHere(one).runs) : flags._.map((name) => findHttp(name));
  const subjects = isCustom ? [readCustom(flags, words, http.map(({ name }) => name))] : named;
  if (Deno.build.os !== "linux") throw new Unavailable(`faults needs Linux. This is ${Deno.build.os}.`);
  using interrupt = onInterrupt();
  const storing = new Storing(flags.save);
  await storing.begin();
  console.error(`Seed ${seed}.`);
  const rows = await measure(subjects, faults, seed, interrupt.signal);
  const command = taskLine("faults", Deno.args);
  if (rows.length > 0) await storing.add(() => writeStudy("faults", rows, { command, quick: false }));
  console.log(flags.json ? JSON.stringify(rows, null, 2) : describe(rows));
  storing.finish();
  if (!interrupt.signal.aborted) return exitOf(rows);
  console.error(`\nInterrupted after ${counted(rows.length, "cell")}: what was measured until then is kept.`);
  return EXIT.interrupted;
});
