/**
 * Sweeps the rate of one server: each point is an open loop at a server that was started for it.
 *
 * @module
 */
import type { SweepRow } from "../../lib/results/rows.ts";
import type { Result, Setup } from "../../lib/results/schema.ts";
import type { Step } from "../../lib/run/ladder.ts";
import { bracket, keepsUp, meets, nextRate, type Slo } from "./capacity.ts";

/** How a server is swept. */
export interface SweepPlan {
  connections: number;
  seconds: number;
  warmupSeconds: number;
  /** Rates of the ladder; null: shares of what it answers in a closed loop. */
  rates: readonly number[] | null;
  slo: Slo | null;
  /** Bisections with fresh servers, from which the interval comes. */
  rounds: number;
  setup: Setup;
  quick: boolean;
  run: (step: Step) => Promise<Result>;
  onRow: (row: SweepRow) => void;
}

/** The ladder, in shares of the throughput of a closed loop. */
const SHARES = [0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1];
/** A bisection ends when the rates lie so close, or after so many of them. */
const CLOSENESS = 0.05;
const MAX_STEPS = 8;
/** A round starts with a bracket that is so much wider than that of the ladder: a ladder is one measurement, too. */
const WIDER = 1.25;
/** Rates below this are not tried. */
const MIN_RATE = 1;

/** A server cannot be swept any further: it does not run here, or broke. */
export class CannotSweep extends Error {
  override readonly name = "CannotSweep";
  constructor(readonly ended: Result["ended"], message: string) {
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

async function runOrThrow(plan: SweepPlan, rate: number | null): Promise<Result> {
  const result = await plan.run(stepOf(plan, rate));
  if (["skipped", "crashed", "not_ready"].includes(result.ended)) {
    throw new CannotSweep(result.ended, result.reason ?? result.ended);
  }
  if (result.metrics.requests_per_s === null) { // the connections were not made: that is no rate that it cannot bear
    throw new CannotSweep(result.ended, `nothing was measured, ${result.reason ?? result.ended}`);
  }
  return result;
}

/** Measures one rate. @param round 0: of the ladder. */
async function point(plan: SweepPlan, rate: number, round: number): Promise<SweepRow> {
  const { experiment, metrics, ended, findings } = await runOrThrow(plan, rate);
  const row: SweepRow = {
    server: experiment,
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
  plan.onRow(row);
  return row;
}

/** Climbs until a rate saturates the server. */
async function climb(plan: SweepPlan): Promise<SweepRow[]> {
  const peak = plan.rates === null ? (await runOrThrow(plan, null)).metrics.requests_per_s ?? 0 : 0;
  const rates = plan.rates ?? SHARES.map((share) => Math.max(MIN_RATE, Math.round(share * peak)));
  const rows: SweepRow[] = [];
  for (const rate of rates.toSorted((a, b) => a - b)) {
    const row = await point(plan, rate, 0);
    rows.push(row);
    if (!keepsUp(row)) break;
  }
  return rows;
}

/** One bisection. Both ends of the bracket are tried only if the bisection runs into them. */
async function bisect(plan: SweepPlan, slo: Slo, round: number, low: number, high: number): Promise<void> {
  let [met, failed] = [low, high];
  for (let step = 0; step < MAX_STEPS; step++) {
    const rate = nextRate(met, failed, CLOSENESS);
    if (rate === null) return;
    const row = await point(plan, Math.round(rate), round);
    if (meets(row, slo)) met = rate;
    else failed = rate;
  }
}

/**
 * Climbs the ladder, then bisects between its rates in each round.
 *
 * @throws {CannotSweep} If the server cannot run here, or breaks. The rows until then were handed to `onRow`.
 */
export async function sweep(plan: SweepPlan): Promise<void> {
  const ladder = await climb(plan);
  if (plan.slo === null) return;
  const { slo } = plan;
  const { met, failed } = bracket(ladder, (of) => meets(of, slo));
  if (met === null || failed === null) return; // the ladder lies on one side of the objective: the answer is a bound
  for (let round = 1; round <= plan.rounds; round++) await bisect(plan, slo, round, met / WIDER, failed * WIDER);
}
