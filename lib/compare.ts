/**
 * Compares servers by pairs in interleaved rounds: what disturbs the machine falls on both of a pair alike, so that their
 * ratio is steadier than either figure.
 *
 * @module
 */
import { shuffle } from "es-toolkit";
import { CannotCompare, Contender, type Load } from "./contender.ts";
import { createGuard } from "./guard.ts";
import { hostFacts } from "./host.ts";
import type { Window } from "./load.ts";
import type { Manifest } from "./manifest_schema.ts";
import type { ScenarioName } from "./results.ts";
import { runStep } from "./run.ts";
import { StartError } from "./server.ts";
import { median, ratioInterval } from "./stats.ts";
import type { ComparisonRow } from "./study.ts";
import type { Subject } from "./subject.ts";

/** How experiments are compared. */
export interface ComparePlan extends Omit<Load, "signal" | "ratePerS"> {
  scenario: Extract<ScenarioName, "throughput" | "rate" | "mixed" | "hold">;
  /** Their number decides the width of the interval. */
  rounds: number;
  /** Slices of each server in a round, an even number: ABBA ABBA, so that a drift falls on both alike. */
  slices: number;
  /** Of an open loop: requests/s, or half of what the slower of the pair reaches in a closed one. */
  ratePerS: number | "half" | null;
  signal: AbortSignal;
  onRound?: (round: number, candidate: string, values: Figures) => void;
}

/** What is compared of slices. Ratios are candidate / reference: under 1 is cheaper, or for `requests_per_s` slower. */
const OF_SLICES = ["cpu_us_per_request", "requests_per_s", "p50_us", "p99_us"] as const;
/** What is compared of the connections that are held. */
const OF_CONNECTIONS = ["user_bytes_per_conn", "kernel_bytes_per_conn", "threads"] as const;
/** What is compared where connections are held and nothing else. */
const OF_HOLD = ["connects_per_s", ...OF_CONNECTIONS, "pss_bytes"] as const;

type Figures = Partial<Record<string, number | null>>;

/** What one round of a pair found. */
interface Round {
  reference: Figures;
  candidate: Figures;
  /** Logarithms of the ratios: of slices the median over pairs of neighbours. */
  logs: Figures;
  ratePerS: number | null;
  findings: string[];
}

/** What all rounds found. */
export interface Comparison {
  rows: ComparisonRow[];
  /** Of the last round, by the experiment's name. */
  manifests: Map<string, Manifest>;
}

const figuresOf = (window: Window): Record<typeof OF_SLICES[number], number> => ({
  cpu_us_per_request: (window.server_cpu_us ?? NaN) / window.requests,
  requests_per_s: window.requests / window.seconds,
  p50_us: window.histogram.percentile(50),
  p99_us: window.histogram.percentile(99),
});

const logRatio = (candidate: number | null | undefined, reference: number | null | undefined): number | null =>
  candidate! > 0 && reference! > 0 ? Math.log(candidate! / reference!) : null;

/** The slices of both, in ABBA order, as figures: the medians of each, and of the log-ratios of neighbours. */
async function slices(reference: Contender, candidate: Contender, count: number, ratePerS: number | null) {
  const seen: Record<"reference" | "candidate", ReturnType<typeof figuresOf>[]> = { reference: [], candidate: [] };
  for (let i = 0; i < count; i++) {
    const order = i % 2 === 0 ? ["reference", "candidate"] as const : ["candidate", "reference"] as const;
    for (const side of order) {
      seen[side].push(figuresOf(await (side === "reference" ? reference : candidate).slice(ratePerS)));
    }
  }
  const of = (values: (key: typeof OF_SLICES[number]) => number[]) =>
    Object.fromEntries(OF_SLICES.map((key) => [key, median(values(key))]));
  return {
    reference: of((key) => seen.reference.map((each) => each[key])),
    candidate: of((key) => seen.candidate.map((each) => each[key])),
    logs: of((key) => seen.candidate.map((each, i) => Math.log(each[key] / seen.reference[i]![key]))),
  };
}

/** One round: a fresh pair, started in random order. */
async function pairRound(reference: Subject, candidate: Subject, plan: ComparePlan, into: Map<string, Manifest>) {
  const load: Load = { ...plan, ratePerS: null };
  const [first, second] = shuffle([reference, candidate]);
  await using early = await Contender.start(first!, load);
  await using late = await Contender.start(second!, load);
  const [a, b] = early.experiment === reference ? [early, late] : [late, early];
  const reached = [await early.warmUp(), await late.warmUp()];
  const ratePerS = plan.ratePerS === "half" ? Math.max(1, Math.floor(Math.min(...reached) / 2)) : plan.ratePerS;
  const found = await slices(a, b, plan.slices, ratePerS);
  for (const { experiment, manifest } of [a, b]) into.set(experiment.name, manifest);
  const findings = [a, b].flatMap((side) => side.findings().map((id) => `${side.experiment.name}: ${id}`));
  const logs = Object.fromEntries(OF_CONNECTIONS.map((key) => [key, logRatio(b.memory[key], a.memory[key])]));
  return {
    reference: { ...found.reference, ...a.memory },
    candidate: { ...found.candidate, ...b.memory },
    logs: { ...found.logs, ...logs },
    ratePerS,
    findings,
  } satisfies Round;
}

/** One round of `hold`: one after the other, for memory and descriptors of both at once might be more than there are. */
async function holdRound(reference: Subject, candidate: Subject, plan: ComparePlan, into: Map<string, Manifest>) {
  const figures = new Map<Subject, Figures>();
  const findings: string[] = [];
  for (const experiment of shuffle([reference, candidate])) {
    const result = await runStep({
      experiment,
      host: hostFacts(),
      step: {
        scenario: "hold",
        parameters: { connections: plan.connections, seconds: plan.seconds, warmup_seconds: 0 },
      },
      guard: createGuard(),
      signal: plan.signal,
      onProgress: () => {},
    });
    if (result.ended !== "ok") throw new CannotCompare(`${experiment.name}: ${result.reason ?? result.ended}`);
    figures.set(experiment, result.metrics);
    if (result.manifest !== null) into.set(experiment.name, result.manifest);
    findings.push(...result.findings.map(({ id }) => `${experiment.name}: ${id}`));
  }
  const [a, b] = [figures.get(reference)!, figures.get(candidate)!];
  const logs = Object.fromEntries(OF_HOLD.map((key) => [key, logRatio(b[key], a[key])]));
  return { reference: a, candidate: b, logs, ratePerS: null, findings } satisfies Round;
}

const medianOf = (values: (number | null | undefined)[]): number | null => {
  const known = values.filter((value) => value !== null && value !== undefined && Number.isFinite(value)) as number[];
  return known.length === 0 ? null : median(known);
};

/** The rows of one candidate: a figure each. A ratio stands only where every round has one. */
function rowsOf(reference: string, candidate: string, plan: ComparePlan, rounds: Round[], reason: string | null) {
  const { scenario, connections } = plan;
  const often = (finding: string) =>
    rounds.filter(({ findings }) => findings.includes(finding)).length * 2 > rounds.length;
  const findings = [...new Set(rounds.flatMap((round) => round.findings))].filter(often);
  const metrics = scenario === "hold" ? OF_HOLD : [...OF_SLICES, ...OF_CONNECTIONS];
  return metrics.map((metric): ComparisonRow => {
    const logs = rounds.map((round) => round.logs[metric]);
    const known = logs.filter((log) => log !== null && log !== undefined && Number.isFinite(log)) as number[];
    const interval = rounds.length > 0 && known.length === rounds.length ? ratioInterval(known) : null;
    return {
      scenario,
      connections,
      rate_per_s: medianOf(rounds.map((round) => round.ratePerS)),
      reference,
      candidate,
      metric,
      reference_value: medianOf(rounds.map((round) => round.reference[metric])),
      candidate_value: medianOf(rounds.map((round) => round.candidate[metric])),
      ratio: interval?.estimate ?? null,
      ratio_low: interval?.low ?? null,
      ratio_high: interval?.high ?? null,
      rounds: rounds.length,
      findings,
      reason,
    };
  });
}

/**
 * Compares candidates with a reference. The value of a round is the median over its pairs of slices of
 * ln(candidate / reference); the interval is a bootstrap over rounds, for slices of a round share what disturbed them.
 * In each round every candidate has its turn, in random order. One that cannot take part has its reason in its rows. If
 * `plan.signal` aborts, the rows are those of the rounds until then.
 */
export async function compare(
  reference: Subject,
  candidates: readonly Subject[],
  plan: ComparePlan,
): Promise<Comparison> {
  const rounds = new Map(candidates.map((candidate) => [candidate, [] as Round[]]));
  const reasons = new Map<Subject, string>(), manifests = new Map<string, Manifest>();
  for (let i = 1; i <= plan.rounds; i++) {
    for (const candidate of shuffle([...candidates])) {
      if (reasons.has(candidate) || plan.signal.aborted) continue;
      try {
        const round = plan.scenario === "hold"
          ? await holdRound(reference, candidate, plan, manifests)
          : await pairRound(reference, candidate, plan, manifests);
        rounds.get(candidate)!.push(round);
        const ratios = Object.entries(round.logs).map(([key, log]) => [key, log == null ? null : Math.exp(log)]);
        plan.onRound?.(i, candidate.name, Object.fromEntries(ratios));
      } catch (error) {
        if (plan.signal.aborted) continue; // the round under way is lost, those before it are not
        if (!(error instanceof StartError || error instanceof CannotCompare)) throw error;
        reasons.set(candidate, error.message);
      }
    }
  }
  const rows = candidates.flatMap((candidate) =>
    rowsOf(reference.name, candidate.name, plan, rounds.get(candidate)!, reasons.get(candidate) ?? null)
  );
  return { rows, manifests };
}
