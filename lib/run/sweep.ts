/**
 * Sweeps the rate of servers: each point is an open loop at a server that was started for it.
 *
 * @module
 */
import {
  type Between,
  Bisection,
  bracket,
  CLOSENESS,
  keepsUp,
  meets,
  type Slo,
  wholeRate,
} from "../results/capacity.ts";
import type { SweepRow } from "../results/rows.ts";
import type { Result, Setup } from "../results/schema.ts";
import { seededRandom, shuffled } from "../timing/random.ts";
import type { Step } from "./ladder.ts";

/** How servers are swept. */
export interface SweepPlan {
  connections: number;
  seconds: number;
  warmupSeconds: number;
  /** Rates of the ladder; null: shares of what it answers in a closed loop. */
  rates: readonly number[] | null;
  slo: Slo | null;
  /** Bisections with fresh servers, from which the interval comes. */
  rounds: number;
  /** By which share the rates between which a bisection ends may differ. */
  closeness?: number;
  /** Of the random factors that shift where each bisection begins, and of the order of the servers. */
  seed: number;
  setup: Setup;
  quick: boolean;
  /** Measures one point of one server. */
  run: (server: string, step: Step) => Promise<Result>;
  onRow: (row: SweepRow) => void;
  /** Called before each ladder and each round of bisections. */
  onTurn?: (left: TurnsLeft) => void;
}

/** Ladders and bisections that are left, the one that begins included. */
export interface TurnsLeft {
  ladders: number;
  bisections: number;
  /** How many bisections take turns from now on; 0: a ladder begins. */
  together: number;
}

/** The ladder, in shares of the throughput of a closed loop. */
export const SHARES = [0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1];
/** Where the ladder lies on one side of the objective it goes on by these factors, so many times at most. */
const FURTHER = { down: 4, up: 1.5, times: 4 };
/** A round starts with a bracket that is so much wider than that of the ladder: a ladder is one measurement, too. */
const WIDER = 1.25;

/** A server cannot be swept any further: it does not run here, or broke. */
export class CannotSweep extends Error {
  override readonly name = "CannotSweep";
  constructor(readonly server: string, readonly ended: Result["ended"], message: string) {
    super(message);
  }
}

function stepOf(plan: SweepPlan, rate: number | null): Step {
  const parameters = {
    ...plan.setup,
    connections: plan.connections,
    seconds: plan.seconds,
    warmup_seconds: plan.warmupSeconds,
  };
  if (rate === null) return { scenario: "throughput", parameters, quick: plan.quick };
  return { scenario: "rate", parameters: { ...parameters, rate_per_s: rate }, quick: plan.quick };
}

async function runOrThrow(plan: SweepPlan, server: string, rate: number | null): Promise<Result> {
  const result = await plan.run(server, stepOf(plan, rate));
  if (["skipped", "crashed", "not_ready"].includes(result.ended)) {
    throw new CannotSweep(server, result.ended, result.reason ?? result.ended);
  }
  if (result.metrics.requests_per_s === null) { // the connections were not made: this rate was not too high for the server
    throw new CannotSweep(server, result.ended, `nothing was measured, ${result.reason ?? result.ended}`);
  }
  return result;
}

/** Measures one rate. @param round 0: of the ladder. */
async function measure(plan: SweepPlan, server: string, rate: number, round: number): Promise<SweepRow> {
  const { metrics, ended, findings } = await runOrThrow(plan, server, rate);
  return {
    server,
    connections: plan.connections,
    ...plan.setup,
    round,
    rate_per_s: rate,
    answered_per_s: metrics.requests_per_s,
    p50_us: metrics.p50_us,
    p99_us: metrics.p99_us,
    p99_9_us: metrics.p99_9_us,
    server_core_share: metrics.server_core_share,
    ended: ended === "ok" ? "ok" : "limited",
    slo: plan.slo?.text ?? null,
    findings: findings.map(({ server, id }) => ({ server, id })),
  };
}

/** One rate of a ladder. */
async function rung(plan: SweepPlan, server: string, rate: number): Promise<SweepRow> {
  const row = await measure(plan, server, rate, 0);
  plan.onRow(row);
  return row;
}

/**
 * Climbs until a rate saturates the server. A ladder made from its throughput goes on where all of it lies on one side of the
 * objective: below, for a server whose latency is long at a tenth of its throughput, or above, where the closed loop was slow.
 */
async function climb(plan: SweepPlan, server: string): Promise<SweepRow[]> {
  const peak = plan.rates === null ? (await runOrThrow(plan, server, null)).metrics.requests_per_s ?? 0 : 0;
  const rates = plan.rates ?? SHARES.map((share) => wholeRate(share * peak));
  const rows: SweepRow[] = [];
  for (const rate of new Set(rates.toSorted((a, b) => a - b))) {
    const row = await rung(plan, server, rate);
    rows.push(row);
    if (!keepsUp(row)) break;
  }
  const { slo } = plan;
  if (plan.rates !== null) return rows;
  const holds = (of: Parameters<typeof keepsUp>[0]) => slo === null ? keepsUp(of) : meets(of, slo);
  for (let i = 0; i < FURTHER.times; i++) {
    const { met, failed } = bracket(rows, holds);
    if (met !== null && failed !== null) break;
    const rate = wholeRate(met === null ? failed! / FURTHER.down : met * FURTHER.up);
    if (rows.some(({ rate_per_s }) => rate_per_s === rate)) break;
    rows.push(await rung(plan, server, rate));
  }
  return rows;
}

/** One step of a bisection. Returns whether there is another one. */
async function bisectOnce(
  plan: SweepPlan & { slo: Slo },
  server: string,
  round: number,
  bisection: Bisection,
): Promise<boolean> {
  const rate = bisection.next();
  if (rate === null) return false;
  const row = await measure(plan, server, rate, round);
  bisection.answer(rate, meets(row, plan.slo));
  const over = bisection.next() === null;
  plan.onRow({ ...row, seed: plan.seed, closeness: bisection.closeness, over });
  return !over;
}

/** Where bisections of a server begin; null: its ladder lies on one side of the objective, and the answer is a bound. */
async function begin(
  plan: SweepPlan & { slo: Slo },
  server: string,
): Promise<Between | null> {
  const { met, failed } = bracket(await climb(plan, server), (of) => meets(of, plan.slo));
  return met === null || failed === null ? null : { low: met / WIDER, high: failed * WIDER };
}

/** Does the work of one server. One that cannot go on is noted; it has no turn again. */
async function attempt<T>(failed: Map<string, CannotSweep>, server: string, work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CannotSweep)) throw error;
    failed.set(server, error);
    return null;
  }
}

const shifted = ({ low, high }: Between, by: number): Between => ({ low: low * by, high: high * by });

/**
 * Where a bisection of each server begins in each round: shifted by factors within its closeness. From one and the same
 * bracket all rounds would try the same rates; what lies between two of them would be missed by all rounds alike.
 */
function* shiftsOf(
  servers: readonly string[],
  { seed, closeness = CLOSENESS }: SweepPlan,
): Generator<Map<string, number>, never> {
  for (const random = seededRandom(seed);;) {
    yield new Map(servers.map((server) => [server, (1 + closeness) ** random()]));
  }
}

/** Of the order of the servers: numbers of its own, so that where bisections begin does not depend on how many turns there were. */
const ORDER = 0x6f726465;

/** One bisection of each server, step by step in turns, in random order. */
async function round(
  plan: SweepPlan & { slo: Slo },
  begins: readonly (readonly [server: string, between: Between])[],
  number: number,
  failed: Map<string, CannotSweep>,
  random: () => number,
): Promise<void> {
  const open = new Map(begins.map(([server, between]) => [server, new Bisection(between, plan.closeness)]));
  while (open.size > 0) {
    for (const [server, bisection] of shuffled([...open], random)) {
      const isOpen = await attempt(failed, server, () => bisectOnce(plan, server, number, bisection));
      if (isOpen !== true) open.delete(server);
    }
  }
}

/**
 * Climbs the ladder of each server, then bisects between its rates. In each round all servers bisect step by step in turns, so
 * that what disturbs the machine for a while falls on all alike: their capacities can be compared by rounds. The rows are
 * handed to `onRow` as they come.
 *
 * @returns Those that cannot run here or broke: the rows until then stand.
 */
export async function sweep(servers: readonly string[], plan: SweepPlan): Promise<CannotSweep[]> {
  const failed = new Map<string, CannotSweep>();
  const { slo } = plan;
  const brackets = new Map<string, Between>();
  for (const [i, server] of servers.entries()) {
    const bisections = slo === null ? 0 : servers.length * plan.rounds;
    plan.onTurn?.({ ladders: servers.length - i, bisections, together: 0 });
    if (slo === null) await attempt(failed, server, () => climb(plan, server));
    else {
      const between = await attempt(failed, server, () => begin({ ...plan, slo }, server));
      if (between !== null) brackets.set(server, between);
    }
  }
  if (slo === null) return [...failed.values()];
  const shifts = shiftsOf(servers, plan);
  const order = seededRandom(plan.seed ^ ORDER);
  for (let number = 1; number <= plan.rounds; number++) {
    for (const server of failed.keys()) brackets.delete(server);
    const bisections = (plan.rounds - number + 1) * brackets.size;
    plan.onTurn?.({ ladders: 0, bisections, together: brackets.size });
    const shift = shifts.next().value;
    const begins = [...brackets].map(([server, between]) => [server, shifted(between, shift.get(server)!)] as const);
    await round({ ...plan, slo }, begins, number, failed, order);
  }
  return [...failed.values()];
}
