/**
 * Puts servers under faults, with normal clients beside them, and shows which faults each of them survives.
 *
 * deno task faults epoll io-uring --fault rst-storm,pipelines
 */
import { join } from "node:path";
import { catalogue, findHttp, findIn, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns, progressLine, say } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { machineOf } from "../../lib/results/machine.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { readStudies, writeStudy } from "../../lib/results/studies.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { checkOwn, commandBehind, readAtRoot } from "../../lib/server/custom.ts";
import { StartError } from "../../lib/server/server.ts";
import { isCustom, startSubject, type Subject } from "../../lib/server/subject.ts";
import { counted } from "../../lib/text/format.ts";
import { measureCell } from "./cell.ts";
import { sweepControlGroups } from "./control_group.ts";
import { FAULTS } from "./faults.ts";
import { HarnessErrors } from "./harness_errors.ts";
import { type Cell, type Keeping, NOT_KEPT, openJournal } from "./keeping.ts";
import { allServers } from "./left_out.ts";
import { changes, contradicted, describe, fold } from "./report.ts";
import { runCells } from "./schedule.ts";
import { watchOver } from "./watchdog.ts";

const USAGE = `Usage: deno task faults <name>… [--fault ID,…] [--seed N] [--json] [--no-save]
       deno task faults --all
       deno task faults --name mine --url http://127.0.0.1:PORT [--pid N]
       deno task faults --name mine [--port N] -- <command>…
       --url: a server that already runs gets the faults that clients make. With
       --pid it also gets limits and stops. They are taken back after each cell,
       even if this command is killed. Faults that end the server, or must exist
       before it starts, need its command after --.
       A command gets its port from PORT in its environment; --port: it listens
       on this one instead.
       --fault: only these. --seed: of everything random; default: 1.
       It exits with 1 if a cell is failed or degraded. What the header of an
       experiment says that it cannot is "cannot", and no failure.
       The last lines name verdicts that differ from the last stored run.
       To resume an interrupted run, give the same command again.
Faults: ${FAULTS.map(({ id }) => id).join(" ")}`;
const SEED = 1;
const CELL_SECONDS = 3; // of a cell beside its fault: start, look before, look after, end
const LANES_PER_CORE = 3; // a cell waits most of its time: it takes a second of one core in all
const MAX_LANES = 8;
const JOURNAL = "faults-run.jsonl";

const secondsOf = ({ fault }: Cell) => fault.seconds + CELL_SECONDS;
const nameOf = ({ subject, fault }: Cell) => `${subject.name}, ${fault.id}`;

const duration = (seconds: number) => seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;

/** Cells at the same time: a server of somebody's own may be one process, or have one port, for all of its cells. */
const lanesFor = (subjects: readonly Subject[]) =>
  subjects.some(isCustom) ? 1 : Math.min(MAX_LANES, LANES_PER_CORE * navigator.hardwareConcurrency);

/** What a run has to know beside its cells. */
interface Run {
  seed: number;
  keeping: Keeping;
  harness: HarnessErrors;
  signal: AbortSignal;
}

/** Measures all cells but those that are kept. An interrupt ends those under way; the others are kept. */
async function measure(cells: readonly Cell[], { seed, keeping, harness, signal }: Run): Promise<FaultRow[]> {
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
  await runCells<Cell, FaultRow>(due, {
    lanes,
    isHeavy: ({ fault }) => fault.isHeavy ?? false,
    isIdle: ({ fault }) => fault.isIdle ?? false,
    measure: (cell) => harness.measure(cell, seed, signal),
    settle: (beside, alone) => harness.settle(beside, alone),
    onStart: (cell) => line.show(`${nameOf(cell)}: ${left()}`, `${nameOf(cell)}: ${left()}`),
    async onRow(cell, row) {
      rows.push(row);
      done += secondsOf(cell);
      line.clear();
      console.error(`${nameOf(cell)} is over: ${row.verdict}.`);
      if (!harness.has(row)) await keeping.keep(cell, row);
    },
    signal,
  });
  line.clear();
  const rank = ({ server, fault }: FaultRow) =>
    cells.findIndex((cell) => cell.subject.name === server && cell.fault.id === fault);
  return rows.sort((a, b) => rank(a) - rank(b));
}

/** What the command line asks for. */
async function readOrder() {
  const { own, words } = commandBehind(Deno.args);
  const flags = parseFlags(own, {
    string: ["fault", "seed", "name", "url", "pid", "port"],
    boolean: ["all", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const isOwn = words !== null || flags.url !== undefined;
  checkOwn(flags, isOwn);
  if (flags.all && (isOwn || flags._.length > 0)) throw new UsageError("--all takes all servers: name none beside it.");
  if (!isOwn && flags._.length === 0 && !flags.all) throw new UsageError("Name servers, or say --all.");
  const seed = flags.seed === undefined
    ? SEED
    : numberFlag("seed", flags.seed, { min: 0, max: 2 ** 32 - 1, integer: true });
  const faults =
    flags.fault?.split(",").map((id) => findIn(FAULTS.map((fault) => ({ ...fault, name: fault.id })), id, "fault")) ??
      FAULTS;
  const all = flags.all ? await allServers(catalogue()) : { here: [], leftOut: [] };
  const named = flags.all ? all.here : flags._.map((name) => findHttp(name));
  const taken = catalogue().filter(speaksHttp).map(({ name }) => name);
  const subjects: Subject[] = isOwn ? [readAtRoot(flags, words, taken)] : named;
  return { flags, seed, faults, subjects, leftOut: all.leftOut };
}

/** Prints what was measured. */
function show(rows: readonly FaultRow[], subjects: readonly Subject[], leftOut: readonly string[], isJson: boolean) {
  const width = outputColumns();
  const servers = subjects.flatMap((one) => isCustom(one) ? [] : [one]);
  const remarks = { leftOut, contradicted: contradicted(rows, servers, FAULTS) };
  console.log(isJson ? JSON.stringify(rows, null, 2) : describe(rows, width, remarks));
  for (const sentence of isJson ? leftOut : []) console.error(`skipped: ${sentence}`);
}

/**
 * Starts a server of the user's own once, before its cells: none of them could be measured of one that does not start.
 *
 * @returns Why it does not get ready; null if it does.
 */
async function whyNotReady(subjects: readonly Subject[], signal: AbortSignal): Promise<string | null> {
  for (const subject of subjects.filter(isCustom)) {
    try {
      await using _server = await startSubject(subject, { signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StartError)) throw error;
      return error.failure.reason;
    }
  }
  return null;
}

await runScript(USAGE, async () => {
  const { flags, seed, faults, subjects, leftOut } = await readOrder();
  if (Deno.build.os !== "linux") throw new Unavailable(`faults needs Linux. This is ${Deno.build.os}.`);
  sweepControlGroups([Deno.pid, ...subjects.flatMap((one) => isCustom(one) ? one.pid ?? [] : [])]);
  await using _watchdog = watchOver(subjects);
  using interrupt = onInterrupt();
  const storing = new Storing(flags.save);
  await storing.begin();
  const obstacle = await whyNotReady(subjects, interrupt.signal);
  if (obstacle !== null) {
    say(`Nothing was measured: ${obstacle}`);
    return EXIT.failed;
  }
  console.error(`Seed ${seed}.`);
  const machine = machineOf(hostFacts());
  const cells = subjects.flatMap((subject) => faults.map((fault) => ({ subject, fault })));
  const path = join("results", machine, JOURNAL);
  using keeping = flags.save ? await openJournal(cells, { seed, machine, path }) : NOT_KEPT;
  const harness = new HarnessErrors(measureCell);
  const rows = await measure(cells, { seed, keeping, harness, signal: interrupt.signal });
  const { studies: earlier } = await readStudies("faults", "results", machine); // before this run is one of them
  const command = taskLine("faults", Deno.args);
  if (rows.length > 0) await storing.add(() => writeStudy("faults", rows, { command, quick: false }));
  const isEmpty = interrupt.signal.aborted && rows.length === 0;
  if (flags.json || !isEmpty) show(rows, subjects, leftOut, flags.json);
  for (const line of changes(rows, earlier)) console.error(fold(line, outputColumns()).join("\n"));
  storing.finish();
  if (interrupt.signal.aborted) return endInterrupted(rows.length, "cell", flags.save);
  await keeping.close();
  return harness.exitOf(rows);
});
