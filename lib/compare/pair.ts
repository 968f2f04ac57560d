/**
 * One round of a paired measurement: two fresh servers, side by side, asked in turns.
 *
 * @module
 */
import { shuffle } from "es-toolkit";
import type { Found } from "../results/findings.ts";
import { type Load, Side } from "./side.ts";
import { answersPerS, type Broadcast, type Window } from "../load/generator.ts";
import { Histogram } from "../timing/histogram.ts";
import { median } from "../timing/stats.ts";
import { serverCoreUs } from "../run/bench.ts";
import { cpuPerDelivery } from "../run/broadcast.ts";
import { bypassesKernel, type Subject } from "../server/subject.ts";
import type { Manifest } from "../results/schema.ts";

/** How a pair is measured. */
export interface PairPlan extends Omit<Load, "ratePerS"> {
  /** Of a broadcast: listeners that do not read, beside those of the candidate only. */
  slow?: number;
  /** Slices of each server in a round, an even number: ABBA ABBA, so that a drift falls on both alike. */
  slices: number;
  /** Of an open loop: requests/s, or half of what the slower of the pair reaches in a closed one; null: closed loop. */
  ratePerS: number | "half" | null;
}

/**
 * What is compared of slices. Ratios are candidate / reference: under 1 is cheaper, or for `requests_per_s` slower. Busy
 * time of the server's cores counts over a wire only.
 */
export const OF_SLICES = [
  "core_us_per_request",
  "cpu_us_per_request",
  "requests_per_s",
  "p50_us",
  "p99_us",
] as const;
/** The same of broadcasts. */
export const OF_BROADCASTS = ["cpu_us_per_delivery", "p50_us", "p99_us", "last_p50_us"] as const;
/** What is compared of the connections that are held. */
export const OF_CONNECTIONS = ["user_bytes_per_conn", "kernel_bytes_per_conn", "threads"] as const;
/** Figures by their names; null: not measured. */
export type Figures = Partial<Record<string, number | null>>;

/** What one round of a pair found. */
export interface Round {
  reference: Figures;
  candidate: Figures;
  /** Logarithms of the ratios: the median over pairs of slices that were neighbours; of percentiles those of all slices. */
  logs: Figures;
  ratePerS: number | null;
  findings: Found[];
  /** All latencies of either; missing where connections were held and nothing else. */
  latencies?: Record<"reference" | "candidate", Latencies>;
}

/** The latencies of some slices, and of a broadcast when the last listener had each message. */
export interface Latencies {
  all: Histogram;
  last: Histogram;
}
/** Of which latencies a figure is the percentile. */
const PERCENTILES: Partial<Record<string, [of: keyof Latencies, percent: number]>> = {
  p50_us: ["all", 50],
  p99_us: ["all", 99],
  last_p50_us: ["last", 50],
};

/** The percentile of all latencies of some rounds; undefined: the figure is no percentile, or there are no latencies. */
export function percentileOver(
  rounds: readonly Round[],
  side: "reference" | "candidate",
  metric: string,
): number | undefined {
  const [of, percent] = PERCENTILES[metric] ?? [];
  if (of === undefined) return undefined;
  const merged = rounds.reduce((sum, { latencies }) => sum.merge(latencies?.[side][of] ?? NONE), new Histogram());
  return merged.count === 0 ? undefined : merged.percentile(percent!);
}
const NONE = new Histogram();

const isBroadcast = (window: Window): window is Broadcast => "last" in window;

/** What a slice tells without its latencies. */
const ratesOf = (window: Window): Record<string, number> =>
  isBroadcast(window) ? { cpu_us_per_delivery: cpuPerDelivery(window) ?? NaN } : {
    core_us_per_request: (serverCoreUs(window) ?? NaN) / (window.requests - window.drained),
    cpu_us_per_request: (window.server_cpu_us ?? NaN) / (window.requests - window.drained),
    requests_per_s: answersPerS(window),
  };

const latenciesOf = (windows: readonly Window[]): Latencies => ({
  all: windows.reduce((sum, { histogram }) => sum.merge(histogram), new Histogram()),
  last: windows.filter(isBroadcast).reduce((sum, window) => sum.merge(window.last), new Histogram()),
});

/** The percentiles of all latencies of some slices: no percentile of all can be made of the percentiles of parts. */
function percentilesOf(windows: readonly Window[]): Record<string, number> {
  const { all, last } = latenciesOf(windows);
  return {
    p50_us: all.percentile(50),
    p99_us: all.percentile(99),
    ...(last.count > 0 && { last_p50_us: last.percentile(50) }),
  };
}

/** The logarithm of a ratio; null where one of the two was not measured, or is nothing. */
export const logRatio = (candidate: number | null | undefined, reference: number | null | undefined): number | null =>
  candidate! > 0 && reference! > 0 ? Math.log(candidate! / reference!) : null;

/** The median of all that are numbers: a slice in which a busy machine left no time for an answer has no cost of a request. */
function medianKnown(values: readonly number[]): number {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.length === 0 ? NaN : median(known);
}

/** What the slices of both tell, given in the order in which they were neighbours in time. */
export function figuresOf(seen: Record<"reference" | "candidate", readonly Window[]>) {
  const rates = { reference: seen.reference.map(ratesOf), candidate: seen.candidate.map(ratesOf) };
  const of = (values: (key: string) => number[]) =>
    Object.fromEntries(Object.keys(rates.reference[0]!).map((key) => [key, medianKnown(values(key))]));
  const percentiles = { reference: percentilesOf(seen.reference), candidate: percentilesOf(seen.candidate) };
  const logs = Object.keys(percentiles.reference)
    .map((key) => [key, logRatio(percentiles.candidate[key], percentiles.reference[key])]);
  return {
    reference: { ...of((key) => rates.reference.map((each) => each[key]!)), ...percentiles.reference },
    candidate: { ...of((key) => rates.candidate.map((each) => each[key]!)), ...percentiles.candidate },
    logs: {
      ...of((key) => rates.candidate.map((each, i) => Math.log(each[key]! / rates.reference[i]![key]!))),
      ...Object.fromEntries(logs),
    },
  };
}

/** Measures the slices of both in ABBA order, which of them is A by chance. */
async function slices(reference: Side, candidate: Side, count: number, ratePerS: number | null) {
  const seen: Record<"reference" | "candidate", Window[]> = { reference: [], candidate: [] };
  const sides = shuffle(["reference", "candidate"] as const);
  for (let i = 0; i < count; i++) {
    for (const side of i % 2 === 0 ? sides : sides.toReversed()) {
      const [own, other] = side === "reference" ? [reference, candidate] : [candidate, reference];
      seen[side].push(await own.slice(ratePerS, other));
    }
  }
  return seen;
}

/**
 * One round: a fresh pair, started in random order; the slices in ABBA order, A by chance.
 *
 * @param into Takes what each of the two is, by its name.
 * @throws {CannotCompare} If one of the two cannot take part.
 */
export async function pairRound(
  reference: Subject,
  candidate: Subject,
  plan: PairPlan,
  into: Map<string, Manifest>,
): Promise<Round> {
  const isWired = plan.isWired === true || [reference, candidate].some(bypassesKernel);
  const messagesPerS = plan.isBroadcast === true && plan.ratePerS !== "half" ? plan.ratePerS : null;
  const load: Load = { ...plan, ratePerS: messagesPerS, isWired };
  const loadOf = (subject: Subject): Load => subject === candidate ? load : { ...load, slow: 0 };
  const [first, second] = shuffle([reference, candidate]);
  await using early = await Side.start(first!, loadOf(first!));
  await using late = await Side.start(second!, loadOf(second!));
  const [a, b] = early.experiment === reference ? [early, late] : [late, early];
  const reached = [await early.warmUp(), await late.warmUp()];
  const ratePerS = plan.ratePerS === "half" ? Math.max(1, Math.floor(Math.min(...reached) / 2)) : plan.ratePerS;
  const seen = await slices(a, b, plan.slices, ratePerS);
  const found = figuresOf(seen);
  for (const { experiment, manifest } of [a, b]) into.set(experiment.name, manifest);
  const findings = [a, b].flatMap((side) => side.findings());
  const logs = Object.fromEntries(OF_CONNECTIONS.map((key) => [key, logRatio(b.memory[key], a.memory[key])]));
  return {
    reference: { ...found.reference, ...a.memory },
    candidate: { ...found.candidate, ...b.memory },
    logs: { ...found.logs, ...logs },
    ratePerS,
    findings,
    latencies: { reference: latenciesOf(seen.reference), candidate: latenciesOf(seen.candidate) },
  };
}
