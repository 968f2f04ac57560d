/**
 * Light requests beside heavy ones in the notebooks: from which size on it pays to hand the heavy ones to other threads.
 *
 * @module
 */
import { find } from "../catalogue/catalogue.ts";
import type { RankSpec } from "../charts/config.ts";
import { compare } from "../compare/compare.ts";
import { boundOf, idsOf } from "../results/findings.ts";
import { checkSizes, findAll } from "./inputs.ts";
import { count, microseconds } from "../text/format.ts";
import { isQuick, Picture, showTable, showText } from "./show.ts";
import { weakened } from "./pairs.ts";
import type { ComparisonRow } from "../results/rows.ts";

/** One size of heavy requests: candidate / reference. Null: not measured, for the reason given. */
export interface CrossingPoint {
  heavyUs: number;
  p99: Pick<ComparisonRow, "reference_value" | "candidate_value" | "ratio">;
  /** Whose p99 is an upper bound. */
  bounds: string[];
  /** Each round's ratio of p99; none where it says nothing. */
  rounds: number[];
  cpuRatio: number | null;
  reason: string | null;
}

/** The CPU that heavy requests take in all, in cores: the same in few large ones as in many small ones. */
const HEAVY_CORES = 0.25;
const LIGHT_PER_S = 500; // of whose p99 the chart tells
const IDLE_HEAVY_PER_S = 250; // where they burn nothing

/** How many requests are due in a second, and which share of them is heavy. */
export function loadOf(heavyUs: number): { ratePerS: number; share: number } {
  const heavyPerS = heavyUs === 0 ? IDLE_HEAVY_PER_S : HEAVY_CORES * 1e6 / heavyUs;
  return { ratePerS: LIGHT_PER_S + heavyPerS, share: heavyPerS / (LIGHT_PER_S + heavyPerS) };
}

/** The ratio of p99 at each size; under 1 the candidate is the quicker one. */
export function crossingChart(points: readonly CrossingPoint[], reference: string, candidate: string): RankSpec {
  const { family } = find(candidate);
  return {
    kind: "dots",
    title: `${candidate} against ${reference}: p99 of light requests`,
    axis: { label: `ratio to ${reference}`, unit: "ratio", scale: "log" },
    reference: 1,
    items: points.map(({ heavyUs, p99, reason }) => ({
      name: `/work/${heavyUs}`,
      family,
      value: p99.ratio,
      ...(p99.ratio === null && { note: reason ?? "not measured" }),
    })),
  };
}

/** What a crossing is. */
export interface Crossing {
  /** The smallest size, in CPU-µs, from which on the candidate is ahead; null: there is none. */
  fromUs: number | null;
  /** The same in words. */
  text: string;
}

/**
 * From which size on the candidate's p99 is the lower one, at it and at all larger sizes, in a sentence. A ratio counts that
 * is farther from 1 than each round's at size 0, where both do the same.
 */
export function crossing(points: readonly CrossingPoint[], reference: string, candidate: string): Crossing {
  const known = points.filter(({ p99 }) => p99.ratio !== null).toSorted((a, b) => a.heavyUs - b.heavyUs);
  if (known.length === 0) return { fromUs: null, text: `There is no figure: ${points[0]?.reason ?? "none was taken"}` };
  const control = known.find(({ heavyUs }) => heavyUs === 0)?.rounds ?? [];
  const chance = Math.max(0, ...control.map((ratio) => Math.abs(Math.log(ratio))));
  const sizes = known.filter(({ heavyUs }) => heavyUs > 0);
  const first = sizes.findLastIndex(({ p99 }) => Math.log(p99.ratio!) >= -chance) + 1;
  const from = sizes[first];
  const noise = control.length === 0
    ? "There is no ratio without work, so how much is chance is not known."
    : `Without work the ratio was ${control.map((ratio) => count(ratio, 2)).join(", ")} in ${control.length} ${
      control.length === 1 ? "round" : "rounds"
    }: so much is chance at least. As far as ratios go beyond that:`;
  if (from === undefined) {
    return { fromUs: null, text: `${noise} p99 is lower with ${candidate} at none of these sizes.` };
  }
  const below = first === 0 ? "the smallest that was tried" : `and at ${microseconds(sizes[first - 1]!.heavyUs)} not`;
  const cost = `There a request takes ${count(from.cpuRatio, 2)} × the CPU of ${reference}.`;
  const text = `${noise} p99 is lower with ${candidate} from ${
    microseconds(from.heavyUs)
  } of work on, ${below}. ${cost}`;
  return { fromUs: from.heavyUs, text };
}

/** A size as its rows say. Where p99 of one of the two is a bound, their ratio is nothing. */
export function pointOf(heavyUs: number, rows: readonly ComparisonRow[], rounds: readonly number[]): CrossingPoint {
  const row = (metric: string) => rows.find((row) => row.metric === metric)!;
  const p99 = row("p99_us");
  const cpuRatio = row("cpu_us_per_request").ratio;
  const bounds = [p99.reference, p99.candidate].filter((name) => boundOf("p99_us", idsOf(p99.findings, name)) !== null);
  const rest = { heavyUs, bounds, cpuRatio };
  if (bounds.length === 0 || p99.ratio === null) return { ...rest, p99, rounds: [...rounds], reason: p99.reason };
  const reason = `p99 is an upper bound for ${bounds.join(" and ")}: the ratio says nothing`;
  return { ...rest, p99: { ...p99, ratio: null }, rounds: [], reason };
}

const CONTROL_ROUNDS = 3; // without work: one round does not show how far rounds lie apart

/**
 * Measures p99 of light requests at each size of heavy ones, in neighbouring slices of both servers, with the same CPU spent on
 * heavy requests at each size. It is one round a size, of some 4 s, and three where nothing burns; a quick run makes one there
 * too, and takes the first size and the last alone. Nothing is stored.
 */
export async function crossingLive(
  reference: string,
  candidate: string,
  sizesUs: readonly number[],
): Promise<Crossing> {
  findAll([reference, candidate]);
  checkSizes(sizesUs, 0);
  const picture = new Picture();
  const points: CrossingPoint[] = [];
  const all: ComparisonRow[] = [];
  for (const heavyUs of isQuick ? [sizesUs[0]!, sizesUs.at(-1)!] : sizesUs) {
    const { ratePerS, share } = loadOf(heavyUs);
    const ratios: (number | null)[] = [];
    const rounds = heavyUs === 0 && !isQuick ? CONTROL_ROUNDS : 1;
    const { rows } = await compare(find(reference), [find(candidate)], {
      scenario: "mixed",
      connections: 50,
      rounds,
      settleSeconds: 0.5,
      signal: new AbortController().signal,
      ratePerS,
      heavy: { share, us: heavyUs },
      onRound: (_round, _candidate, { p99_us }) => void ratios.push(p99_us ?? null),
      ...(isQuick ? { slices: 2, seconds: 0.2 } : { slices: 4, seconds: 0.3 }),
    });
    all.push(...rows);
    points.push(pointOf(heavyUs, rows, ratios.filter((ratio) => ratio !== null)));
    await picture.draw(crossingChart(points, reference, candidate));
  }
  const own = (name: string, value: number | null, { bounds }: CrossingPoint) =>
    value !== null && bounds.includes(name) ? `≤ ${microseconds(value)}` : microseconds(value);
  await showTable(points, [
    { heading: "heavy request", cell: ({ heavyUs }) => `/work/${heavyUs}`, left: true },
    { heading: `${reference}: p99 of light`, cell: (of) => own(reference, of.p99.reference_value, of) },
    { heading: `${candidate}: p99 of light`, cell: (of) => own(candidate, of.p99.candidate_value, of) },
    { heading: "ratio of p99", cell: ({ p99 }) => count(p99.ratio, 2) },
    { heading: "ratio of CPU per request", cell: ({ cpuRatio }) => count(cpuRatio, 2) },
  ]);
  const found = crossing(points, reference, candidate);
  await showText([found.text, ...weakened(all).map((line) => `- ${line}`)].join("\n"));
  return found;
}
