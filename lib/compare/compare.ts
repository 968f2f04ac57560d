/**
 * Compares servers by pairs in interleaved rounds: what disturbs the machine falls on both of a pair alike, so that their
 * ratio is steadier than either figure.
 *
 * @module
 */
import { shuffle } from "es-toolkit";
import { CannotCompare } from "./side.ts";
import { type Found, foundInCounted, isSpoilt } from "../results/findings.ts";
import { createGuard } from "../run/guard.ts";
import { hostFacts } from "../sampling/host.ts";
import {
  type Figures,
  logRatio,
  OF_BROADCASTS,
  OF_CONNECTIONS,
  OF_SLICES,
  type PairPlan,
  pairRound,
  percentileOver,
  type Round,
} from "./pair.ts";
import { MESSAGE_BYTES, MIN_ROUNDS } from "../results/conventions.ts";
import type { ScenarioName } from "../results/results.ts";
import { runStep } from "../run/step.ts";
import { medianOf, ratioInterval } from "../timing/stats.ts";
import { bypassesKernel, type Subject } from "../server/subject.ts";
import type { ComparisonRow } from "../results/rows.ts";
import type { Manifest } from "../results/schema.ts";

/** Rounds that others disturb are made again, up to this share of all rounds more. */
export const AGAIN_SHARE = 1;

/** What servers are compared in, one of a pair beside the other. */
export const COMPARED = ["throughput", "rate", "mixed", "hold", "churn", "broadcast"] as const satisfies ScenarioName[];

/** How experiments are compared. */
export interface ComparePlan extends PairPlan {
  scenario: typeof COMPARED[number];
  /** Their number decides the width of the interval. */
  rounds: number;
  onRound?: (round: number, candidate: string, values: Figures) => void;
}

/** What is compared where connections are held and nothing else. */
const OF_HOLD = ["connects_per_s", ...OF_CONNECTIONS, "pss_bytes"] as const;

/** Whether servers are compared over a veth pair: one of them can be had there only, and the wire must be the same for all. */
export const isComparedOverWire = (subjects: readonly Subject[]): boolean => subjects.some(bypassesKernel);

/** What all rounds found. */
export interface Comparison {
  rows: ComparisonRow[];
  /** Of the last round, by the experiment's name. */
  manifests: Map<string, Manifest>;
  /** Why candidates were excluded, with the one of the pair that could not go on. */
  failures: { candidate: string; error: CannotCompare }[];
}

/** One round of `hold`: one after the other, because memory and descriptors of both at once might be more than there are. */
async function holdRound(reference: Subject, candidate: Subject, plan: ComparePlan, into: Map<string, Manifest>) {
  const figures = new Map<Subject, Figures>();
  const findings: Found[] = [];
  for (const experiment of shuffle([reference, candidate])) {
    const result = await runStep({
      experiment,
      host: hostFacts(),
      step: {
        scenario: "hold",
        parameters: { ...plan.setup, connections: plan.connections, seconds: plan.seconds, warmup_seconds: 0 },
      },
      isWired: plan.isWired === true,
      guard: createGuard(),
      signal: plan.signal,
      onProgress: () => {},
    });
    if (result.ended !== "ok") {
      throw new CannotCompare(experiment, `${experiment.name}: ${result.reason ?? result.ended}`, result.ended);
    }
    figures.set(experiment, result.metrics);
    if (result.manifest !== null) into.set(experiment.name, result.manifest);
    findings.push(...result.findings.map(({ server, id }) => ({ server, id })));
  }
  const [a, b] = [figures.get(reference)!, figures.get(candidate)!];
  const logs = Object.fromEntries(OF_HOLD.map((key) => [key, logRatio(b[key], a[key])]));
  return { reference: a, candidate: b, logs, ratePerS: null, findings } satisfies Round;
}

/**
 * The rounds that count: those in which others took no CPU time, if there are enough of them; else all. Their findings say so
 * then, and the ratios are inconclusive.
 */
export function counting<R extends Pick<Round, "findings">>(all: readonly R[], wanted: number): R[] {
  const clean = all.filter(({ findings }) => !isSpoilt(findings));
  return clean.length >= Math.min(wanted, MIN_ROUNDS) ? clean.slice(0, wanted) : [...all];
}

/** The rows of one candidate: a figure each. A ratio stands only where every round has one. */
export function rowsOf(
  reference: string,
  candidate: string,
  plan: ComparePlan,
  all: readonly Round[],
  reason: string | null,
): ComparisonRow[] {
  const rounds = counting(all, plan.rounds);
  const { scenario, connections, heavy, slow = 0, bytes = MESSAGE_BYTES } = plan;
  const findings = foundInCounted(rounds);
  const ofSlices = plan.isWired === true ? OF_SLICES : OF_SLICES.filter((metric) => metric !== "core_us_per_request");
  const metrics = scenario === "hold"
    ? OF_HOLD
    : scenario === "broadcast"
    ? [...OF_BROADCASTS, ...OF_CONNECTIONS]
    : scenario === "churn"
    ? ofSlices // no connection is held
    : [...ofSlices, ...OF_CONNECTIONS];
  const valueOf = (side: "reference" | "candidate", metric: string) =>
    percentileOver(rounds, side, metric) ?? medianOf(rounds.map((round) => round[side][metric]));
  return metrics.map((metric): ComparisonRow => {
    const logs = rounds.map((round) => round.logs[metric]);
    const known = logs.filter((log) => log !== null && log !== undefined && Number.isFinite(log)) as number[];
    const interval = rounds.length > 0 && known.length === rounds.length ? ratioInterval(known) : null;
    return {
      scenario,
      connections,
      rate_per_s: medianOf(rounds.map((round) => round.ratePerS)),
      heavy_us: heavy?.us ?? null,
      ...(slow > 0 && { slow }),
      ...(bytes !== MESSAGE_BYTES && { message_bytes: bytes }),
      ...plan.setup,
      reference,
      candidate,
      metric,
      reference_value: valueOf("reference", metric),
      candidate_value: valueOf("candidate", metric),
      ratio: interval?.estimate ?? null,
      ratio_low: interval?.low ?? null,
      ratio_high: interval?.high ?? null,
      rounds: rounds.length,
      ...(all.length > rounds.length && { left_out: all.length - rounds.length }),
      findings,
      reason,
    };
  });
}

/**
 * Compares candidates with a reference. The value of a round is the median over its pairs of slices of
 * ln(candidate / reference). The interval is the exact one of the median over rounds, by order statistics: over rounds,
 * because slices of a round share what disturbed them. In each round every candidate has its turn, in random order. A round
 * in which others took CPU time is made again. If one of all bypasses the kernel, all of them run over a veth pair: see
 * {@linkcode isComparedOverWire}. One that cannot take part has its reason in its rows. If `plan.signal` aborts, the rows are
 * those of the rounds until then.
 */
export async function compare(
  reference: Subject,
  candidates: readonly Subject[],
  wanted: ComparePlan,
): Promise<Comparison> {
  const plan = {
    ...wanted,
    isBroadcast: wanted.scenario === "broadcast",
    isChurn: wanted.scenario === "churn",
    isWired: isComparedOverWire([reference, ...candidates]),
  };
  const rounds = new Map(candidates.map((candidate) => [candidate, [] as Round[]]));
  const failed = new Map<Subject, CannotCompare>();
  const manifests = new Map<string, Manifest>();
  const hasEnough = (candidate: Subject) =>
    rounds.get(candidate)!.filter(({ findings }) => !isSpoilt(findings)).length >= plan.rounds;
  for (let i = 1; i <= plan.rounds * (1 + AGAIN_SHARE); i++) {
    for (const candidate of shuffle([...candidates])) {
      if (failed.has(candidate) || plan.signal.aborted || hasEnough(candidate)) continue;
      try {
        const round = plan.scenario === "hold"
          ? await holdRound(reference, candidate, plan, manifests)
          : await pairRound(reference, candidate, plan, manifests);
        rounds.get(candidate)!.push(round);
        const ratios = Object.entries(round.logs).map(([key, log]) => [key, log == null ? null : Math.exp(log)]);
        plan.onRound?.(i, candidate.name, Object.fromEntries(ratios));
      } catch (error) {
        if (plan.signal.aborted) continue; // the round under way is lost, those before it are not
        if (!(error instanceof CannotCompare)) throw error;
        failed.set(candidate, error);
      }
    }
  }
  const rows = candidates.flatMap((candidate) =>
    rowsOf(reference.name, candidate.name, plan, rounds.get(candidate)!, failed.get(candidate)?.message ?? null)
  );
  const failures = [...failed].map(([{ name }, error]) => ({ candidate: name, error }));
  return { rows, manifests, failures };
}
