/**
 * Puts servers under faults, with normal clients beside them, and shows which faults each of them survives.
 *
 * deno task faults epoll io-uring --fault rst-storm,pipelines
 */
import { join } from "node:path";
import { catalogue, findHttp, findIn, runsHere, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns, progressLine } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { Journal } from "../../lib/regress/journal.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { digestOf } from "../../lib/results/lab.ts";
import { machineOf } from "../../lib/results/machine.ts";
import { type FaultRow, ROWS } from "../../lib/results/rows.ts";
import { readStudies, writeStudy } from "../../lib/results/studies.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { commandBehind, readCustom } from "../../lib/server/custom.ts";
import { isCustom, type Subject } from "../../lib/server/subject.ts";
import { counted } from "../../lib/text/format.ts";
import { measureCell } from "./cell.ts";
import type { Fault } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { changes, describe } from "./report.ts";
import { runCells } from "./schedule.ts";

const USAGE = `Usage: deno task faults <name>… [--fault ID,…] [--seed N] [--json] [--no-save]
       deno task faults --all
       deno task faults --name mine --url http://127.0.0.1:PORT [--pid N]
       deno task faults --name mine -- <command>…
       A server that runs already (--url) gets what clients can do to it, and
       with --pid limits and stops, which end with their cell. SIGTERM, and what
       has to be there from the start, need the command that starts it.
       An interrupted run goes on where it was: give the same command again.
Faults: ${FAULTS.map(({ id }) => id).join(" ")}`;
const SEED = 1;
const CELL_SECONDS = 3; // of a cell beside its fault: start, look before, look after, end
const LANES_PER_CORE = 3; // a cell waits most of its time: it takes a second of one core in all
const MAX_LANES = 8;
const JOURNAL = "faults-run.jsonl";

/** A server and what is done to it. */
interface Cell {
  subject: Subject;
  fault: Fault;
}
const secondsOf = ({ fault }: Cell) => fault.seconds + CELL_SECONDS;

/** Where rows are kept as they come. */
interface Keeping {
  /** Rows of a run that was interrupted. */
  kept: FaultRow[];
  keep(subject: Subject, row: FaultRow): Promise<void>;
  /** The run is over, and its rows stand elsewhere. */
  close(): Promise<void>;
  [Symbol.dispose](): void;
}

/** The same as long as a cell would be measured the same. */
const keyOf = (subject: Subject, seed: number, machine: string): Promise<string> => {
  const source = isCustom(subject) ? JSON.stringify(subject) : Deno.readTextFileSync(subject.path);
  return digestOf([machine, Deno.version.deno, subject.name, source, seed]);
};

async function openJournal(subjects: readonly Subject[], seed: number, machine: string): Promise<Keeping> {
  const journal = new Journal<FaultRow>(join("results", machine, JOURNAL), ROWS.faults);
  const lock = await journal.lock();
  const keys = new Map<Subject, string>();
  for (const subject of subjects) keys.set(subject, await keyOf(subject, seed, machine));
  const { rounds, warnings } = await journal.open([...keys.values()]);
  for (const warning of warnings) console.error(warning);
  let last = Promise.resolve(); // of two writers at once one could tear the line of the other
  return {
    kept: [...rounds.values()].flat(),
    keep: (subject, row) => last = last.then(() => journal.keep(keys.get(subject)!, row)),
    close: () => journal.close([...keys.values()]),
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
}

const NOT_KEPT: Keeping = {
  kept: [],
  keep: () => Promise.resolve(),
  close: () => Promise.resolve(),
  [Symbol.dispose]: () => {},
};

const duration = (seconds: number) => seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;

/** Cells at the same time: a server of somebody's own may be one process, or have one port, for all of its cells. */
const lanesFor = (subjects: readonly Subject[]) =>
  subjects.some(isCustom) ? 1 : Math.min(MAX_LANES, LANES_PER_CORE * navigator.hardwareConcurrency);

/** Measures all cells but those that are kept. An interrupt ends those under way; the others are kept. */
async function measure(cells: readonly Cell[], seed: number, keeping: Keeping, signal: AbortSignal) {
  const rows = [...keeping.kept];
  const isKept = ({ subject, fault }: Cell) =>
    rows.some((row) => row.server === subject.name && row.fault === fault.id);
  const due = cells.filter((cell) => !isKept(cell));
  if (due.length < cells.length) console.error(`${cells.length - due.length} cells are kept from an interrupted run.`);
  const line = progressLine();
  const startedMs = performance.now();
  const lanes = lanesFor(cells.map(({ subject }) => subject));
  const all = due.reduce((sum, cell) => sum + secondsOf(cell), 0);
  let done = 0;
  const left = () => {
    const share = done > 0 ? (performance.now() - startedMs) / 1000 / done : 1 / lanes;
    return `${rows.length} of ${counted(cells.length, "cell")}, ${duration(share * (all - done))} left`;
  };
  const name = ({ subject, fault }: Cell) => `${subject.name}, ${fault.id}`;
  await runCells<Cell, FaultRow>(due, {
    lanes,
    isHeavy: ({ fault }) => fault.isHeavy ?? false,
    isIdle: ({ fault }) => fault.isIdle ?? false,
    isSuspect: ({ verdict }) => verdict === "failed" || verdict === "degraded",
    measure: ({ subject, fault }) => measureCell(subject, fault, seed, signal),
    onStart: (cell) => line.show(`${name(cell)}: ${left()}`, `${name(cell)}: ${left()}`),
    async onRow(cell, row) {
      rows.push(row);
      done += secondsOf(cell);
      line.clear();
      console.error(`${name(cell)} is over: ${row.verdict}.`);
      await keeping.keep(cell.subject, row);
    },
    signal,
  });
  line.clear();
  const rank = ({ server, fault }: FaultRow) =>
    cells.findIndex((cell) => cell.subject.name === server && cell.fault.id === fault);
  return rows.filter((row) => rank(row) >= 0).sort((a, b) => rank(a) - rank(b));
}

function exitOf(rows: readonly FaultRow[]): number {
  if (rows.every(({ verdict }) => verdict === "skipped")) return EXIT.unavailable;
  return rows.some(({ verdict }) => verdict === "failed") ? EXIT.failed : EXIT.ok;
}

/** What the command line asks for. */
function readOrder() {
  const { own, words } = commandBehind(Deno.args);
  const flags = parseFlags(own, {
    string: ["fault", "seed", "name", "url", "pid", "port"],
    boolean: ["all", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const http = catalogue().filter(speaksHttp);
  const isOwn = words !== null || flags.url !== undefined;
  if (!isOwn && flags._.length === 0 && !flags.all) throw new UsageError("Name servers, or say --all.");
  const seed = flags.seed === undefined
    ? SEED
    : numberFlag("seed", flags.seed, { min: 0, max: 2 ** 32 - 1, integer: true });
  const faults =
    flags.fault?.split(",").map((id) => findIn(FAULTS.map((fault) => ({ ...fault, name: fault.id })), id, "fault")) ??
      FAULTS;
  const named = flags.all ? http.filter((one) => runsHere(one).runs) : flags._.map((name) => findHttp(name));
  const subjects: Subject[] = isOwn ? [readCustom(flags, words, http.map(({ name }) => name))] : named;
  return { flags, seed, faults, subjects };
}

await runScript(USAGE, async () => {
  const { flags, seed, faults, subjects } = readOrder();
  if (Deno.build.os !== "linux") throw new Unavailable(`faults needs Linux. This is ${Deno.build.os}.`);
  using interrupt = onInterrupt();
  const storing = new Storing(flags.save);
  await storing.begin();
  console.error(`Seed ${seed}.`);
  const machine = machineOf(hostFacts());
  using keeping = flags.save ? await openJournal(subjects, seed, machine) : NOT_KEPT;
  const cells = subjects.flatMap((subject) => faults.map((fault) => ({ subject, fault })));
  const rows = await measure(cells, seed, keeping, interrupt.signal);
  const earlier = flags.save ? (await readStudies("faults", "results", machine)).studies : [];
  const command = taskLine("faults", Deno.args);
  if (rows.length > 0) await storing.add(() => writeStudy("faults", rows, { command, quick: false }));
  console.log(flags.json ? JSON.stringify(rows, null, 2) : describe(rows, outputColumns()));
  for (const sentence of changes(rows, earlier)) console.error(sentence);
  storing.finish();
  if (interrupt.signal.aborted) {
    console.error(`\nInterrupted after ${counted(rows.length, "cell")}: what was measured until then is kept.`);
    return EXIT.interrupted;
  }
  await keeping.close();
  return exitOf(rows);
});
