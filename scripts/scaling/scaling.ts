/**
 * Measures servers on more and more cores: pairs of a server on one core and the same server on several, in rounds.
 *
 * @module
 */
import { shuffle } from "es-toolkit";
import { AGAIN_SHARE, counting } from "../../lib/compare/compare.ts";
import { figuresOf } from "../../lib/compare/pair.ts";
import { CannotCompare, type Load, Side } from "../../lib/compare/side.ts";
import type { Window } from "../../lib/load/generator.ts";
import type { Found } from "../../lib/results/findings.ts";
import { foundInCounted, isSpoilt } from "../../lib/results/findings.ts";
import type { ScalingRow } from "../../lib/results/rows.ts";
import { cpuList, type ScalingPlan } from "../../lib/sampling/cores.ts";
import { threadTimes } from "../../lib/sampling/sampler.ts";
import type { Subject } from "../../lib/server/subject.ts";
import { medianOf, ratioInterval } from "../../lib/timing/stats.ts";

/** How servers are measured. */
export interface Extent {
  rounds: number;
  /** Slices of each side in a round, an even number, and their length. */
  slices: number;
  seconds: number;
  settleSeconds: number;
}

/** What is measured of one server. */
export interface Task {
  subject: Subject;
  plan: ScalingPlan;
  path: string;
  /** How many each side of a pair holds. */
  connections: number;
}

/** What one side of a round has shown. */
interface Shown {
  requests_per_s: number;
  cpu_us_per_request: number;
  shares: number[];
  sharesOf: ScalingRow["shares_of"];
  findings: Found[];
}

/** One round of a server on one core and on several. */
export interface Round {
  one: Shown;
  many: Shown;
  /** ln(several / one), the median over neighbouring slices. */
  speedUpLog: number;
  cpuLog: number;
  /** Of both sides. */
  findings: Found[];
}

/** Threads under a tenth of an even share did not serve: a runtime has such that compile, and collect garbage. */
const MIN_OF_EVEN = 0.1;

/** What each has of the sum, the largest first. */
export function sharesIn(values: readonly number[]): number[] {
  const sum = values.reduce((total, value) => total + value, 0);
  return sum <= 0 ? [] : values.map((value) => value / sum).toSorted((a, b) => b - a);
}

/** The same of CPU times of threads, without those that did not serve. */
export function threadShares(us: readonly number[]): number[] {
  const shares = sharesIn(us.filter((value) => value > 0));
  return shares.filter((share) => share >= MIN_OF_EVEN / shares.length);
}

/** The shares of loops, as the server counts them, or else of the CPU time of its threads. */
async function sharesOf(side: Side, before: ReadonlyMap<number, number>): Promise<Pick<Shown, "shares" | "sharesOf">> {
  const after = side.server.pid === null ? new Map<number, number>() : threadTimes(side.server.pid);
  const { stopped } = await side.server.stop?.() ?? { stopped: null };
  if (stopped?.loops) return { shares: sharesIn(stopped.loops.map(({ served }) => served)), sharesOf: "requests" };
  return { shares: threadShares([...after].map(([tid, us]) => us - (before.get(tid) ?? 0))), sharesOf: "cpu" };
}

/** One round: both are started in random order, and their slices stand in ABBA order. */
async function round({ subject, plan, path, connections }: Task, cores: number[], extent: Extent, signal: AbortSignal) {
  const { seconds, slices, settleSeconds } = extent;
  const load: Load = { connections, seconds, settleSeconds, path, ratePerS: null, heavy: null, signal };
  const start = (server: number[]) =>
    Side.start(subject, { ...load, setup: { server_cores: cpuList(server), load_cores: cpuList(plan.load) } });
  const [first, second] = shuffle([plan.steps[0]!, cores]);
  await using early = await start(first!);
  await using late = await start(second!);
  const [one, many] = first === cores ? [late, early] : [early, late];
  for (const side of [one, many]) await side.warmUp();
  const before = [one, many].map(({ server }) => server.pid === null ? new Map() : threadTimes(server.pid));
  const seen: { reference: Window[]; candidate: Window[] } = { reference: [], candidate: [] };
  const sides = shuffle(["reference", "candidate"] as const);
  for (let i = 0; i < slices; i++) {
    for (const side of i % 2 === 0 ? sides : sides.toReversed()) {
      const [own, other] = side === "reference" ? [one, many] : [many, one];
      seen[side].push(await own.slice(own.load.ratePerS, other));
    }
  }
  const { reference, candidate, logs } = figuresOf(seen);
  const shown = async (side: Side, figures: Record<string, number>, i: number): Promise<Shown> => ({
    requests_per_s: figures["requests_per_s"]!,
    cpu_us_per_request: figures["cpu_us_per_request"]!,
    findings: side.findings(),
    ...await sharesOf(side, before[i]!),
  });
  const sidesShown = { one: await shown(one, reference, 0), many: await shown(many, candidate, 1) };
  return {
    ...sidesShown,
    speedUpLog: logs["requests_per_s"] as number,
    cpuLog: logs["cpu_us_per_request"] as number,
    findings: [...sidesShown.one.findings, ...sidesShown.many.findings],
  } satisfies Round;
}

/** The median of the k-th largest share over the rounds, for each k. */
function medianShares(all: readonly Shown[]): number[] {
  const most = Math.max(0, ...all.map(({ shares }) => shares.length));
  return Array.from({ length: most }, (_, k) => medianOf(all.map(({ shares }) => shares[k] ?? 0))!);
}

/** The row of one server on so many cores, by the rounds that count. `rounds`: of one core those of all steps. */
export function rowOf(
  { subject, plan, path, connections }: Task,
  cores: readonly number[],
  rounds: readonly Round[],
  reason: string | null,
): ScalingRow {
  const isOne = cores.length === 1;
  const shown = rounds.map(({ one, many }) => isOne ? one : many);
  const ratio = (of: (round: Round) => number) => {
    const logs = rounds.map(of);
    if (logs.length === 0 || !logs.every(Number.isFinite)) return { estimate: null, low: null, high: null };
    return isOne ? { estimate: 1, low: null, high: null } : ratioInterval(logs);
  };
  const speedUp = ratio(({ speedUpLog }) => speedUpLog);
  const cpu = ratio(({ cpuLog }) => cpuLog);
  return {
    server: subject.name,
    cores: cores.length,
    server_cores: cpuList(cores),
    load_cores: cpuList(plan.load),
    shared: plan.shared,
    path,
    connections,
    requests_per_s: medianOf(shown.map(({ requests_per_s }) => requests_per_s)),
    cpu_us_per_request: medianOf(shown.map(({ cpu_us_per_request }) => cpu_us_per_request)),
    speed_up: speedUp.estimate,
    speed_up_low: speedUp.low,
    speed_up_high: speedUp.high,
    cpu_ratio: cpu.estimate,
    cpu_ratio_low: cpu.low,
    cpu_ratio_high: cpu.high,
    shares_of: shown[0]?.sharesOf ?? "cpu",
    shares: medianShares(shown),
    rounds: rounds.length,
    findings: foundInCounted(shown),
    reason: rounds.length > 0 ? null : reason,
  };
}

/** What a measurement found, and those that could not take part. */
export interface Scaled {
  rows: ScalingRow[];
  failures: CannotCompare[];
}

/**
 * Measures all servers at all steps, a round of each in random order, then the next. A round in which others took CPU time is
 * made again. One that cannot take part has its reason in its row. If `signal` aborts, the rows are those of the rounds until
 * then.
 */
export async function scale(
  tasks: readonly Task[],
  extent: Extent,
  signal: AbortSignal,
  onRound: (task: Task, cores: number, round: number, speedUp: number) => void = () => {},
): Promise<Scaled> {
  const pairs = tasks.flatMap((task) =>
    task.plan.steps.slice(1).map((cores) => ({ task, cores, rounds: [] as Round[] }))
  );
  const failed = new Map<Task, CannotCompare>();
  const hasEnough = (rounds: readonly Round[]) =>
    rounds.filter(({ findings }) => !isSpoilt(findings)).length >= extent.rounds;
  for (let i = 1; i <= extent.rounds * (1 + AGAIN_SHARE); i++) {
    for (const { task, cores, rounds } of shuffle(pairs)) {
      if (failed.has(task) || signal.aborted || hasEnough(rounds)) continue;
      try {
        const found = await round(task, cores, extent, signal);
        rounds.push(found);
        onRound(task, cores.length, i, Math.exp(found.speedUpLog));
      } catch (error) {
        if (signal.aborted) continue; // the round under way is lost, those before it are not
        if (!(error instanceof CannotCompare)) throw error;
        failed.set(task, error);
      }
    }
  }
  const rows = tasks.flatMap((task) => {
    const own = pairs.filter((pair) => pair.task === task)
      .map(({ cores, rounds }) => ({ cores, rounds: counting(rounds, extent.rounds) }));
    const reason = failed.get(task)?.message ?? (signal.aborted ? "interrupted" : null);
    const one = rowOf(task, task.plan.steps[0]!, own.flatMap(({ rounds }) => rounds), reason);
    return [one, ...own.map(({ cores, rounds }) => rowOf(task, cores, rounds, reason))];
  });
  return { rows, failures: [...failed.values()] };
}
