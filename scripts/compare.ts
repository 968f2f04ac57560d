/**
 * Compares experiments with the first one named, in interleaved rounds, and prints each ratio with its 98 % interval.
 *
 * deno task compare epoll event-loop io-uring --connections 100,1000
 * deno task compare ws-epoll --slow 100 --connections 10000
 */
import { catalogue, type Experiment, find, speaksHttp } from "../lib/catalogue/catalogue.ts";
import {
  AGAIN_SHARE,
  compare,
  COMPARED,
  type ComparePlan,
  type Comparison,
  isComparedOverWire,
} from "../lib/compare/compare.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/cli/flags.ts";
import { endInterrupted, onInterrupt } from "../lib/cli/interrupt.ts";
import { outputColumns, say } from "../lib/cli/progress.ts";
import { taskLine } from "../lib/cli/shell.ts";
import { Storing } from "../lib/results/durable_file.ts";
import { BYTES_RANGE, HEAD_OF_BROADCAST } from "../lib/run/measure.ts";
import { readSetup, SETUP_FLAGS, SETUP_USAGE, type SetupFlags, setupFlags } from "../lib/run/setup.ts";
import { bypassesKernel } from "../lib/server/subject.ts";
import { capacityRatio, COMPARED_CLOSENESS, readSlo } from "../lib/results/capacity.ts";
import { readSeed, SWEEP_FULL, SWEEP_QUICK, sweepAll } from "../lib/run/sweep_all.ts";
import { describeCapacities } from "../lib/tables/sweep.ts";
import { differences } from "../lib/server/manifest.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { obstacleTo } from "../lib/catalogue/tools.ts";
import { table, wrap } from "../lib/text/table.ts";
import { HEAVY_SHARE, HEAVY_US, MESSAGE_BYTES, MIN_ROUNDS } from "../lib/results/conventions.ts";
import { atMost, COMPARING, mostSeconds } from "../lib/results/duration.ts";
import type { ComparisonRow } from "../lib/results/rows.ts";
import { comparison, isInconclusive } from "../lib/tables/comparison.ts";
import { WIRE_SAYS } from "../lib/tables/runs.ts";
import type { Manifest } from "../lib/results/schema.ts";

const OF_OWN = "A server of your own: deno task ab compares two, deno task measure measures one.";

const USAGE = `Usage: deno task compare <reference> <candidate>… [--all] [--family F] [--quick]
       [--connections 100,1000] [--rounds ${COMPARING.full.rounds}] [--seconds S] [--json] [--no-save]
       [--scenario ${COMPARED.join("|")}|sweep]
       [--slo p99=5ms] [--rate N|half]
       [--work ${HEAVY_US}] [--slow N] [--bytes ${MESSAGE_BYTES}] [--seed N]
       ${SETUP_USAGE}
       --rate: requests/s, or half of what the slower reaches; of a broadcast
       messages/s.
       --all: with every experiment and peer that runs here; --family F: with
       those of a family. The reference is epoll if none is named. If one of
       the family bypass is compared, all run over a veth pair, which needs
       root; --all leaves it out.
       --work: what one request of a hundred burns in mixed, in CPU-µs;
       separate several by commas.
       An open loop (--rate) of few requests/s over many --connections is a
       crowd that is mostly idle.
       --scenario churn: each request on a new connection, --connections at a
       time; none is held.
       --slow N: broadcast of the reference against itself with N more
       listeners that do not read.
       --bytes: of a broadcast, the length of a message.
       --scenario sweep: the highest rate that meets --slo, found by bisection
       in ${SWEEP_FULL.rounds} paired rounds; about six minutes for each of them.
       --seed N: of the rates at which these begin, and of the order of servers;
         it is printed, and stored with the rates.
       ${OF_OWN}
       Rounds in which others used the machine are made again, up to as many.
       Where too few undisturbed ones are left all count, ratios of time are
       inconclusive, and the command ends with 3. Of fewer than ${MIN_ROUNDS} rounds,
       as with --quick, a ratio is a hint, without an interval.`;
const MAX_WORK_US = 100_000; // experiments burn no more
const MESSAGES_PER_S = 10;

type Flags = Record<
  "scenario" | "rate" | "rounds" | "seconds" | "connections" | "family" | "work" | "slow" | "bytes",
  string | undefined
>;

/** @param usual The scenario where none is named. */
function readPlans(
  flags: Partial<Flags> & SetupFlags & { quick: boolean },
  usual: ComparePlan["scenario"],
  signal: AbortSignal,
): ComparePlan[] {
  const scenario = COMPARED.find((name) => name === (flags.scenario ?? usual));
  if (scenario === undefined) {
    throw new UsageError(`--scenario ${flags.scenario} is none of ${COMPARED.join(", ")}, sweep.`);
  }
  const isBroadcast = scenario === "broadcast", isOpen = scenario === "rate" || scenario === "mixed" || isBroadcast;
  if (flags.rate !== undefined && !isOpen) {
    throw new UsageError(`--rate belongs to rate, mixed and broadcast, not to ${scenario}.`);
  }
  if (isBroadcast && flags.rate === "half") throw new UsageError("A broadcast has a number of messages/s: --rate 10.");
  if (flags.rate === undefined && scenario === "mixed") throw new UsageError("mixed needs a --rate.");
  if (flags.work !== undefined && scenario !== "mixed") throw new UsageError("--work belongs to mixed.");
  for (const flag of ["slow", "bytes"] as const) {
    if (flags[flag] !== undefined && !isBroadcast) throw new UsageError(`--${flag} belongs to broadcast.`);
  }
  if (isBroadcast && flags.head !== undefined) throw new UsageError(HEAD_OF_BROADCAST);
  const rate = flags.rate ?? (isBroadcast ? String(MESSAGES_PER_S) : "half");
  const quick = flags.quick;
  const { rounds, slices } = quick ? COMPARING.quick : COMPARING.full;
  const plan = {
    scenario,
    rounds: numberFlag("rounds", flags.rounds ?? String(rounds), { min: 1, max: 1000, integer: true }),
    seconds: numberFlag("seconds", flags.seconds ?? String(COMPARING.seconds[scenario] / (quick ? 2 : 1)), {
      min: 0.1,
      max: 600,
    }),
    slices,
    ratePerS: !isOpen ? null : rate === "half" ? rate : numberFlag("rate", rate, { min: 1, max: 1e6 }),
    settleSeconds: COMPARING.settleSeconds,
    ...(flags.slow !== undefined && { slow: numberFlag("slow", flags.slow, { min: 1, max: 1e6, integer: true }) }),
    ...(flags.bytes !== undefined && { bytes: numberFlag("bytes", flags.bytes, BYTES_RANGE) }),
    setup: readSetup(flags),
    signal,
  } as const;
  const work = { min: 0, max: MAX_WORK_US, integer: true };
  const heavy = scenario === "mixed"
    ? numberList("work", flags.work ?? String(HEAVY_US), work).map((us) => ({ share: HEAVY_SHARE, us }))
    : [null];
  return numberList("connections", flags.connections ?? "100", { min: 1, max: 1e6, integer: true })
    .flatMap((connections) => heavy.map((heavy) => ({ ...plan, connections, heavy })));
}

/** Finds an experiment. Names of servers of the user's own are no experiments. */
function findCompared(name: string): Experiment {
  try {
    return find(name);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${error.message}\n${OF_OWN}`);
  }
}

/** The reference and those it is compared with. */
async function readNames(
  names: string[],
  { all, family, slow }: { all: boolean; family?: string; slow?: string },
): Promise<[Experiment, Experiment[]]> {
  const reference = findCompared(names[0] ?? "epoll");
  if (slow !== undefined) {
    if (names.length > 1 || all || family !== undefined) throw new UsageError("With --slow name the reference alone.");
    return [reference, [{ ...reference, name: `${reference.name} beside ${slow} slow` }]];
  }
  if (!all && family === undefined) {
    if (names.length < 2) throw new UsageError("Name a reference and at least one candidate.");
    if (new Set(names.slice(1)).size < names.length - 1) throw new UsageError("Name each candidate once.");
    return [reference, names.slice(1).map(findCompared)];
  }
  if (names.length > 1) throw new UsageError("With --all or --family name the reference alone.");
  const wanted = catalogue().filter((of) =>
    speaksHttp(of) === speaksHttp(reference) && of.name !== reference.name &&
    (family === undefined ? !bypassesKernel(of) : of.family === family)
  );
  const chosen = (await Promise.all(wanted.map(async (of) => await obstacleTo(of) === null ? [of] : []))).flat();
  if (chosen.length === 0) throw new UsageError(`No other experiment of the family ${family} runs here.`);
  return [reference, chosen];
}

/** How long all plans take. */
function describeTime(plans: readonly ComparePlan[], candidates: number): string {
  const seconds = plans.reduce((sum, plan) => sum + mostSeconds(plan, candidates), 0);
  return `This takes ${atMost(seconds)}; up to ${100 * AGAIN_SHARE} % more where others disturb it.`;
}

/** What all plans found. */
interface Compared {
  rows: ComparisonRow[];
  manifests: Map<string, Manifest>;
  failures: Comparison["failures"];
  tables: string[];
}

/** Reports one round of a pair, on stderr. */
function showRound(reference: Experiment, { connections, heavy, rounds }: ComparePlan): ComparePlan["onRound"] {
  const work = heavy === null ? "" : ` beside ${heavy.us} µs`;
  return (round, name, values) => {
    const known = Object.entries(values).filter(([, value]) => value !== null);
    const shown = known.map(([key, value]) => `${key} ${value!.toFixed(3)}`);
    const which = round > rounds ? `round ${round}, for one that others disturbed` : `round ${round} of ${rounds}`;
    say(`${name}/${reference.name} at ${connections}${work}, ${which}: ${shown.join(", ")}`);
  };
}

/** Compares by one plan after the other. An interrupt keeps the rounds until then. */
async function compareAll(reference: Experiment, candidates: Experiment[], plans: ComparePlan[]): Promise<Compared> {
  const all: Compared = { rows: [], manifests: new Map(), failures: [], tables: [] };
  for (const plan of plans) {
    if (plan.signal.aborted) break;
    const onRound = showRound(reference, plan);
    const { rows, manifests, failures } = await compare(reference, candidates, {
      ...plan,
      ...(onRound && { onRound }),
    });
    all.rows.push(...rows);
    all.failures.push(...failures);
    for (const [name, manifest] of manifests) all.manifests.set(name, manifest);
    const text = comparison(rows, (groups, columns) => table(groups, columns, outputColumns()));
    all.tables.push(
      text.split("\n").flatMap((line) => line.length > outputColumns() ? hanging(line) : line).join("\n"),
    );
  }
  if (isComparedOverWire([reference, ...candidates])) {
    all.tables.push(wrap(`All over a wire: ${WIRE_SAYS}.`, outputColumns()).join("\n"));
  }
  const named = setupFlags(plans[0]?.setup ?? {});
  if (named.length > 0) all.tables.push(wrap(`Not the default: ${named.join(" ")}.`, outputColumns()).join("\n"));
  const lines = differences(all.manifests).flatMap(hanging);
  if (lines.length > 0) all.tables.push(["Not equal between them:", ...lines].join("\n"));
  return all;
}

/** A line as several that fit, each but the first indented by two more. */
function hanging(line: string): string[] {
  const text = line.trimStart();
  const indent = " ".repeat(line.length - text.length);
  return wrap(text, outputColumns() - indent.length - 2).map((part, i) => `${indent}${i > 0 ? "  " : ""}${part}`);
}

/** The exit code, after a sentence for each server that died or was not ready: it is not always the candidate. */
function exitOf({ rows, failures }: Compared): number {
  const broken = failures.filter(({ error: { ended } }) => ended === "crashed" || ended === "not_ready");
  for (const { candidate, error } of broken) {
    const { name } = error.subject;
    if (name !== candidate) say(`${candidate} is excluded because the reference failed: ${error.message}`);
  }
  const isMeasured = rows.some(({ rounds }) => rounds > 0);
  if (broken.length > 0) return EXIT.failed;
  if (isMeasured) return rows.some(isInconclusive) ? EXIT.inconclusive : EXIT.ok;
  return failures.every(({ error }) => error.ended === "skipped") ? EXIT.unavailable : EXIT.failed;
}

/** How capacities are compared. */
function readSweep(flags: Partial<Flags> & SetupFlags & { quick: boolean; slo?: string; seed?: string }) {
  const { slo, connections, rounds, seconds, rate, work, slow, bytes, seed, quick } = flags;
  if (slo === undefined) throw new UsageError("--scenario sweep needs an objective: --slo p99=5ms.");
  for (const [name, value] of Object.entries({ rate, work, slow, bytes })) {
    if (value !== undefined) throw new UsageError(`--${name} does not belong to sweep.`);
  }
  const usual = quick ? SWEEP_QUICK : SWEEP_FULL;
  return {
    connections: numberFlag("connections", connections ?? "100", { min: 1, max: 1e6, integer: true }),
    seconds: numberFlag("seconds", seconds ?? String(usual.seconds), { min: 0.1, max: 600 }),
    warmupSeconds: usual.warmupSeconds,
    rates: null,
    slo: readSlo(slo),
    rounds: numberFlag("rounds", rounds ?? String(usual.rounds), { min: 1, max: 1000, integer: true }),
    closeness: COMPARED_CLOSENESS,
    seed: readSeed(seed),
    setup: readSetup(flags),
    quick,
  };
}

/** Compares capacities, stores the sweep that they come from, and returns the exit code. */
async function compareCapacities(
  reference: Experiment,
  candidates: readonly Experiment[],
  plan: ReturnType<typeof readSweep>,
  { json, save, signal }: { json: boolean; save: boolean; signal: AbortSignal },
): Promise<number> {
  if (!speaksHttp(reference)) throw new UsageError("sweep is for servers that answer HTTP requests.");
  const storing = new Storing(save);
  await storing.begin();
  const { rows, failed } = await sweepAll([reference, ...candidates], plan, signal);
  if (rows.length > 0) {
    const quick = plan.quick || plan.rounds < MIN_ROUNDS || signal.aborted;
    await storing.add(() => writeStudy("sweep", rows, { command: taskLine("compare", Deno.args), quick }));
  }
  const { table, sentences } = describeCapacities(rows, reference.name, plan.slo, outputColumns());
  const ratios = candidates.map(({ name }) => capacityRatio(rows, reference.name, name, plan.slo));
  const text = sentences.flatMap((sentence) => wrap(sentence, outputColumns())).join("\n");
  const isEmpty = signal.aborted && rows.length === 0;
  if (json || !isEmpty) console.log(json ? JSON.stringify({ rows, ratios }, null, 2) : `${table}\n\n${text}`);
  storing.finish();
  if (signal.aborted) return endInterrupted(rows.length, "rate", save);
  if (failed.some(({ ended }) => ended !== "skipped")) return EXIT.failed;
  return ratios.some(({ rounds }) => rounds > 0) ? EXIT.ok : failed.length > 0 ? EXIT.unavailable : EXIT.failed;
}

const FLAGS = {
  string: [
    ...(["connections", "rounds", "seconds", "rate", "scenario", "family", "work", "slow", "bytes"] as const),
    ...(["slo", "seed"] as const),
    ...SETUP_FLAGS,
  ],
  boolean: ["json", "all", "quick", "save"],
  negatable: ["save"],
  defaults: { save: true },
} as const;

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, FLAGS);
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const [reference, candidates] = await readNames(flags._, flags);
  const isPush = !speaksHttp(reference);
  const other = candidates.find((candidate) => speaksHttp(candidate) === isPush);
  if (other !== undefined) throw new UsageError(`${reference.name} and ${other.name} do not speak the same protocol.`);
  if (flags.scenario === "sweep") {
    return await compareCapacities(reference, candidates, readSweep(flags), { ...flags, signal });
  }
  for (const flag of ["slo", "seed"] as const) {
    if (flags[flag] !== undefined) throw new UsageError(`--${flag} belongs to --scenario sweep.`);
  }
  const plans = readPlans(flags, isPush ? "broadcast" : "throughput", signal);
  if (plans.some(({ scenario }) => (scenario === "broadcast") !== isPush)) {
    throw new UsageError("broadcast is for servers of the family push, and the only scenario for them.");
  }
  const storing = new Storing(flags.save);
  await storing.begin();
  console.error(describeTime(plans, candidates.length));
  const all = await compareAll(reference, candidates, plans);
  const manifests = Object.fromEntries(all.manifests);
  const rounds = Math.max(0, ...all.rows.map((row) => row.rounds));
  if (rounds > 0) {
    await storing.add(() =>
      writeStudy(isComparedOverWire([reference, ...candidates]) ? "wire" : "comparison", all.rows, {
        command: taskLine("compare", Deno.args),
        quick: flags.quick || rounds < MIN_ROUNDS,
        manifests,
      })
    );
  }
  const isEmpty = signal.aborted && rounds === 0;
  if (flags.json) console.log(JSON.stringify({ rows: all.rows, manifests }, null, 2));
  else if (!isEmpty) console.log(all.tables.join("\n\n"));
  storing.finish();
  return signal.aborted ? endInterrupted(rounds, "round", flags.save) : exitOf(all);
});
