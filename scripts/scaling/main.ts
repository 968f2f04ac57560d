/**
 * Measures what more cores bring: requests/s and CPU time of servers on one core and on several.
 *
 * deno task scaling multi-reactor go-net
 */
import { findHttp } from "../../lib/catalogue/catalogue.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../../lib/cli/interrupt.ts";
import { outputColumns } from "../../lib/cli/progress.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { connectionsFor, MIN_ROUNDS, SCALING } from "../../lib/results/conventions.ts";
import { isSpoilt } from "../../lib/results/findings.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import type { ScalingRow } from "../../lib/results/rows.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { cpusHere, describeScaling } from "../../lib/run/setup.ts";
import { type Cpu, planScaling, type ScalingPlan } from "../../lib/sampling/cores.ts";
import { hasWork, type Subject } from "../../lib/server/subject.ts";
import { describeScalingRows } from "../../lib/tables/scaling.ts";
import { count } from "../../lib/text/format.ts";
import { wrap } from "../../lib/text/table.ts";
import { type Extent, scale, type Scaled, type Task } from "./scaling.ts";

const QUICK = { rounds: 3, slices: 2, seconds: 0.4, settleSeconds: 2 };
const FULL = { rounds: MIN_ROUNDS, slices: 4, seconds: 0.5, settleSeconds: 10 };
/** A round starts two servers and warms them up. */
const START_SECONDS = { quick: 4, full: 6 };

/** The least connections, and as many as servers get whose processes or threads have one each. */
const FEW = 100;

const USAGE = `Usage: deno task scaling [<name>…] [--connections N] [--rounds ${FULL.rounds}]
       [--seconds S] [--quick] [--json] [--no-save]
       Asks each server on one core and on 2, 4 … cores for ${SCALING.path}, in paired
       rounds; servers without such requests for /, where the load has cores of
       its own. deno task doctor shows the cores. Connections: ${FEW}, and more
       on more than two cores, so that chance spreads them evenly over loops.
       Without a name: ${SCALING.servers.join(", ")}.
       It takes six minutes on two cores, one with --quick. Rounds in which
       others used the machine are repeated and do not count; where too few
       are left, the ratios are inconclusive, and it ends with 3.`;

function readFlags() {
  const flags = parseFlags(Deno.args, {
    string: ["connections", "rounds", "seconds"],
    boolean: ["quick", "json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const usual = flags.quick ? QUICK : FULL;
  const names = flags._.length > 0 ? [...new Set(flags._)] : SCALING.servers;
  const { rounds = String(usual.rounds), seconds = String(usual.seconds) } = flags;
  const extent: Extent = {
    ...usual,
    rounds: numberFlag("rounds", rounds, { min: 1, max: 1000, integer: true }),
    seconds: numberFlag("seconds", seconds, { min: 0.1, max: 600 }),
  };
  const connections = flags.connections === undefined
    ? null
    : numberFlag("connections", flags.connections, { min: 1, max: 1e5, integer: true });
  return { ...flags, subjects: names.map((name) => findHttp(name)), extent, connections };
}

/** How many connections a server holds: enough for each loop, where it holds more than one in each process or thread. */
function connectionsOf({ family }: Subject, { steps }: ScalingPlan): number {
  return family === "blocking" ? FEW : Math.max(FEW, connectionsFor(steps.at(-1)!.length));
}

/** What is measured of each server, and the rows of those that cannot be measured on these cores. */
function tasksOf(subjects: readonly Subject[], cpus: readonly Cpu[], named: number | null) {
  const tasks: Task[] = [];
  const excluded: string[] = [];
  for (const subject of subjects) {
    const isHeavy = hasWork(subject);
    const plan = planScaling(cpus, isHeavy);
    if (plan === null) excluded.push(subject.name);
    else {
      const connections = named ?? connectionsOf(subject, plan);
      tasks.push({ subject, plan, path: isHeavy ? SCALING.path : "/", connections });
    }
  }
  const rows = excluded.map((server): ScalingRow => ({
    server,
    cores: 1,
    server_cores: "",
    load_cores: "",
    shared: false,
    path: "/",
    connections: named ?? FEW,
    requests_per_s: null,
    cpu_us_per_request: null,
    speed_up: null,
    speed_up_low: null,
    speed_up_high: null,
    cpu_ratio: null,
    cpu_ratio_low: null,
    cpu_ratio_high: null,
    shares_of: "cpu",
    shares: [],
    rounds: 0,
    findings: [],
    reason: "it has no requests that burn CPU, and here the load would need the cores that the server is given",
  }));
  return { tasks, rows };
}

/** Measures all, and says on stderr where it stands. */
async function measure(tasks: readonly Task[], extent: Extent, quick: boolean, signal: AbortSignal): Promise<Scaled> {
  const { rounds, slices, seconds } = extent;
  const all = rounds * tasks.reduce((sum, { plan }) => sum + plan.steps.length - 1, 0);
  const expected = START_SECONDS[quick ? "quick" : "full"] + 2 * slices * seconds;
  const startMs = performance.now();
  let done = 0;
  const left = () => {
    const each = done === 0 ? expected : (performance.now() - startMs) / 1000 / done;
    const minutes = each * Math.max(0, all - done) / 60;
    return minutes < 1 ? "under a minute" : `about ${Math.ceil(minutes)} min`;
  };
  console.error(`${describeScaling()} This takes ${left()}.`);
  const found = await scale(tasks, extent, signal, ({ subject }, cores, round, speedUp) => {
    done++;
    const which = round > rounds ? `round ${round}, for one that others disturbed` : `round ${round} of ${rounds}`;
    console.error(
      `${subject.name} on ${cores} cores, ${which}: × ${count(speedUp, 2)}; ${left()} left`,
    );
  });
  for (const { subject, message, ended } of found.failures) {
    if (ended !== "skipped") console.error(`${subject.name}: ${message}`);
  }
  return found;
}

function exitOf({ rows, failures }: Scaled): number {
  if (failures.some(({ ended }) => ended !== "skipped")) return EXIT.failed;
  if (!rows.some(({ rounds }) => rounds > 0)) return EXIT.unavailable;
  return rows.some(({ findings }) => isSpoilt(findings)) ? EXIT.inconclusive : EXIT.ok;
}

await runScript(USAGE, async () => {
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const { subjects, extent, connections, quick, json, save } = readFlags();
  const cpus = cpusHere();
  if (cpus.length === 0) throw new Unavailable("This system does not report its cores: scaling is measured on Linux.");
  if (planScaling(cpus, true) === null) throw new Unavailable(describeScaling(cpus));
  const { tasks, rows: excluded } = tasksOf(subjects, cpus, connections);
  if (tasks.length === 0) throw new UsageError("None of these has requests that burn CPU: name others.");
  const storing = new Storing(save);
  await storing.begin();
  const found = await measure(tasks, extent, quick, signal);
  const rows = [...found.rows, ...excluded];
  const rounds = Math.max(0, ...rows.map((row) => row.rounds));
  if (rounds > 0) {
    const isQuick = quick || extent.rounds < MIN_ROUNDS || signal.aborted;
    await storing.add(() => writeStudy("scaling", rows, { command: taskLine("scaling", Deno.args), quick: isQuick }));
  }
  const { table, sentences } = describeScalingRows(rows, outputColumns());
  const text = sentences.flatMap((sentence) => wrap(sentence, outputColumns())).join("\n");
  const isEmpty = signal.aborted && rounds === 0;
  if (json || !isEmpty) {
    console.log(json ? JSON.stringify(rows, null, 2) : [table, text].filter((part) => part !== "").join("\n\n"));
  }
  storing.finish();
  return signal.aborted ? endInterrupted(rounds, "round", save) : exitOf({ rows, failures: found.failures });
});
