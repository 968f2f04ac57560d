/**
 * Keeps servers under mixed load for long, with faults at random, and judges whether memory, descriptors, threads and
 * latency stay flat.
 *
 * deno task soak epoll --minutes 15
 */
import { catalogue, findHttp, speaksHttp } from "../../../lib/catalogue/catalogue.ts";
import { Unavailable, UsageError } from "../../../lib/cli/errors.ts";
import { EXIT } from "../../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../../lib/cli/interrupt.ts";
import { outputColumns, progressLine, say } from "../../../lib/cli/progress.ts";
import { taskLine } from "../../../lib/cli/shell.ts";
import { Storing } from "../../../lib/results/durable_file.ts";
import type { SoakRow } from "../../../lib/results/rows.ts";
import { writeStudy } from "../../../lib/results/studies.ts";
import { checkOwn, commandBehind, readAtRoot } from "../../../lib/server/custom.ts";
import { StartError } from "../../../lib/server/server.ts";
import { isCustom, type Subject } from "../../../lib/server/subject.ts";
import { soakFigure } from "../../../lib/tables/faults.ts";
import { count, counted } from "../../../lib/text/format.ts";
import { type Column, table, wrap } from "../../../lib/text/table.ts";
import { sweepControlGroups } from "../control_group.ts";
import { watchOver } from "../watchdog.ts";
import { FLAT_RULE } from "./judge.ts";
import { soak } from "./soak.ts";

const USAGE = `Usage: deno task soak <name>… [--minutes 15] [--seed N] [--json] [--no-save]
       deno task soak --name mine --url http://127.0.0.1:PORT [--pid N]
       deno task soak --name mine [--port N] -- <command>…
       --minutes: the load of each server, one after the other; default: 15.
       With --pid faults also stop and limit the processes of a running server.
       That is taken back, even if this command is killed.
       A command gets its port from PORT in its environment; --port: it listens
       on this one instead.
       --seed: of the faults and their order. It is printed; give it to repeat.
It exits with 1 if a series rises or a server breaks, with 3 if there are too
few points.`;
const MINUTES = 15;
const MAX_MINUTES = 24 * 60;
const SEEDS = 2 ** 32;

const COLUMNS: Column<SoakRow>[] = [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "quantity", cell: (of) => of.quantity, left: true, isKey: true },
  { heading: "verdict", cell: (of) => of.verdict, left: true },
  { heading: "points", cell: (of) => count(of.values.length) },
  { heading: "level", cell: (of) => soakFigure(of, of.level) },
  { heading: "rise", cell: (of) => soakFigure(of, of.rise) },
  { heading: "at least", cell: (of) => soakFigure(of, of.rise_low) },
  { heading: "step", cell: (of) => soakFigure(of, of.step) },
  { heading: "allowed", cell: (of) => soakFigure(of, of.allowed) },
];

/** What is wrong with each server, as parts of a sentence; none if all is flat. */
function complaints(rows: readonly SoakRow[]): string[] {
  return [...Map.groupBy(rows, ({ server }) => server)].flatMap(([server, of]) => {
    const rising = of.filter(({ verdict }) => verdict === "rising");
    const names = rising.map((row) => `${row.quantity} by ${soakFigure(row, Math.max(row.rise!, row.step!))}`);
    const broken = of[0]!.broken;
    if (names.length === 0 && broken === null) return [];
    const parts = [
      ...(names.length === 0 ? [] : [`rises in ${names.join(", ")}`]),
      ...(broken === null ? [] : [broken]),
    ];
    return [`${server}: ${parts.join("; ")}`];
  });
}

/** The answer in one sentence. */
function answerOf(rows: readonly SoakRow[]): string {
  const servers = new Set(rows.map(({ server }) => server)).size;
  const faults = rows.filter(({ quantity }) => quantity === "latency").reduce((sum, row) => sum + row.faults.length, 0);
  const under = `${counted(faults, "fault")} at ${counted(servers, "server")}`;
  const wrong = complaints(rows);
  if (wrong.length > 0) return `Not flat under ${under}. ${wrong.join(". ")}.`;
  const isUnclear = rows.some(({ verdict, values }) => verdict === "unclear" && values.length > 0);
  return isUnclear ? `Unclear after ${under}: too few points, give it more minutes.` : `Flat under ${under}.`;
}

function describe(rows: readonly SoakRow[]): string {
  const width = outputColumns();
  return [table(rows, COLUMNS, width), "", ...wrap(FLAT_RULE, width), "", ...wrap(answerOf(rows), width)].join("\n");
}

function exitOf(rows: readonly SoakRow[]): number {
  if (rows.length === 0) return EXIT.unavailable;
  if (complaints(rows).length > 0) return EXIT.failed;
  return rows.some(({ verdict, values }) => verdict === "unclear" && values.length > 0) ? EXIT.inconclusive : EXIT.ok;
}

/** Soaks one server after the other. An interrupt ends the one under way; those before it are kept. */
async function soakAll(
  subjects: readonly Subject[],
  plan: { minutes: number; seed: number; signal: AbortSignal },
): Promise<SoakRow[]> {
  const rows: SoakRow[] = [];
  const line = progressLine();
  for (const subject of subjects) {
    const { name } = subject;
    try {
      const onTurn: Parameters<typeof soak>[1]["onTurn"] = ({ fault }, seconds) => {
        const doing = `${name}: ${fault?.id ?? "no fault"}`;
        line.show(`${doing}, ${(seconds / 60).toFixed(1)} of ${plan.minutes} min`, doing);
      };
      const onLeftOut: Parameters<typeof soak>[1]["onLeftOut"] = ({ id }, reason) => {
        line.clear();
        say(`${name}: ${id} is left out: ${reason}.`);
      };
      rows.push(...await soak(subject, { ...plan, onTurn, onLeftOut }));
    } catch (error) {
      if (plan.signal.aborted) break;
      if (!(error instanceof StartError)) throw error;
      line.clear();
      say(`${name} is skipped: ${error.failure.reason}`);
    } finally {
      line.clear();
    }
  }
  return rows;
}

await runScript(USAGE, async () => {
  const { own, words } = commandBehind(Deno.args);
  const flags = parseFlags(own, {
    string: ["minutes", "seed", "name", "url", "pid", "port"],
    boolean: ["json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const isOwn = words !== null || flags.url !== undefined;
  checkOwn(flags, isOwn);
  if (!isOwn && flags._.length === 0) throw new UsageError("Name servers: deno task soak epoll.");
  const names = catalogue().filter(speaksHttp).map(({ name }) => name);
  const subjects: Subject[] = isOwn ? [readAtRoot(flags, words, names)] : flags._.map((name) => findHttp(name));
  const minutes = flags.minutes === undefined
    ? MINUTES
    : numberFlag("minutes", flags.minutes, { min: 0.05, max: MAX_MINUTES });
  const seed = flags.seed === undefined
    ? Math.floor(Math.random() * SEEDS)
    : numberFlag("seed", flags.seed, { min: 0, max: SEEDS - 1, integer: true });
  if (Deno.build.os !== "linux") throw new Unavailable(`soak needs Linux. This is ${Deno.build.os}.`);
  sweepControlGroups([Deno.pid, ...subjects.flatMap((one) => isCustom(one) ? one.pid ?? [] : [])]);
  await using _watchdog = watchOver(subjects);
  using interrupt = onInterrupt();
  const storing = new Storing(flags.save);
  await storing.begin();
  console.error(`Seed ${seed}.`);
  const rows = await soakAll(subjects, { minutes, seed, signal: interrupt.signal });
  const command = taskLine("soak", flags.seed === undefined ? ["--seed", String(seed), ...Deno.args] : Deno.args);
  if (rows.length > 0) await storing.add(() => writeStudy("soak", rows, { command, quick: minutes < MINUTES }));
  const { aborted } = interrupt.signal;
  if (flags.json) console.log(JSON.stringify(rows, null, 2));
  else if (rows.length > 0) console.log(describe(rows));
  else if (!aborted) console.log("Nothing was measured.");
  storing.finish();
  return aborted ? endInterrupted(rows.length / 4, "server", flags.save) : exitOf(rows);
});
