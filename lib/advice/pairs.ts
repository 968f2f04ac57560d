/**
 * Where the costs of two architectures cross: the pair that shows it most clearly, as a chart and in a sentence.
 *
 * @module
 */
import type { LinesSpec } from "../charts/config.ts";
import type { Unit } from "../charts/theme.ts";
import { count, counted, microseconds } from "../text/format.ts";
import { type Column, table } from "../text/table.ts";
import type { Facts } from "./facts.ts";
import { type Choice, type Crossing, crossings, type Load, RANGES, weigh } from "./model.ts";

/** Two architectures, of which one costs less up to a number, and the other from there on. */
export interface Pair {
  axis: keyof Load;
  /** The other numbers of the load. */
  load: Load;
  crossing: Crossing;
  /** The one that is cheaper up to the crossing, and the one from there on. */
  before: Facts;
  after: Facts;
  /** Costs of both along the axis. */
  costs: { at: number; before: Choice; after: Choice }[];
}

/** Points that are drawn of each line. */
const POINTS = 13;

/** Whole numbers between two, the first and the last included, as far apart as the axis shows them. */
function spread(axis: keyof Load, from: number, to: number): number[] {
  const step = (share: number) => axis === "idlePercent" ? share * (to - from) : (to - from + 1) ** share - 1;
  const steps = Array.from({ length: POINTS }, (_, i) => from + Math.round(step(i / (POINTS - 1))));
  return [...new Set(steps)];
}

/** What both cost at a number; null: one of them cannot do it. */
function costsAt(before: Facts, after: Facts, load: Load) {
  const choices = weigh([before, after], load);
  const [a, b] = [before, after].map(({ name }) => choices.find((choice) => choice.name === name));
  return a === undefined || b === undefined ? null : { before: a, after: b };
}

/** The largest value of an axis at which both are still measured. */
function lastOf(a: Facts, b: Facts, axis: keyof Load): number {
  if (axis === "connections") return Math.min(a.held, b.held);
  if (axis === "idlePercent") return RANGES[axis][1];
  return Math.min(...[a, b].map(({ beside }) => beside.at(-1)?.heavyUs ?? 0));
}

/** The crossing of two; null: there is none, several, or one that no figures tell apart. */
function pairOf(a: Facts, b: Facts, load: Load, axis: keyof Load): Pair | null {
  const last = lastOf(a, b, axis);
  const found = crossings([a, b], load, axis)
    .filter(({ at, from, to, told }) => from !== null && to !== null && at <= last && told !== null && told <= last);
  const [crossing] = found;
  if (found.length !== 1 || crossing === undefined) return null;
  const [before, after] = crossing.from === a.name ? [a, b] : [b, a];
  const costs = spread(axis, RANGES[axis][0], last).flatMap((at) => {
    const both = costsAt(before, after, { ...load, [axis]: at });
    return both === null ? [] : [{ at, ...both }];
  });
  const [first, end] = [costs[0], costs.at(-1)];
  const isWhole = first !== undefined && first.before.totalUs < first.after.totalUs &&
    end!.after.totalUs < end!.before.totalUs; // what one of them cannot do is no crossing of costs
  return isWhole ? { axis, load, crossing, before, after, costs } : null;
}

/** How far the two are apart at that end at which they lie closer, as a ratio. */
function clarity({ costs }: Pair): number {
  const ratio = ({ before, after }: Pair["costs"][number]) => Math.abs(Math.log(before.totalUs / after.totalUs));
  return Math.min(ratio(costs[0]!), ratio(costs.at(-1)!));
}

/** Of all pairs that cross along an axis the one that differs most on both sides of it; null: none crosses. */
export function clearestPair(known: readonly Facts[], load: Load, axis: keyof Load): Pair | null {
  const pairs = known.flatMap((a, i) => known.slice(i + 1).flatMap((b) => pairOf(a, b, load, axis) ?? []));
  return pairs.toSorted((a, b) => clarity(b) - clarity(a))[0] ?? null;
}

interface AxisName {
  label: string;
  unit: Unit;
  scale: "log" | "linear";
  /** Of a column. */
  heading: string;
  at: (value: number) => string;
}

const AXES: Record<keyof Load, AxisName> = {
  connections: {
    label: "connections",
    unit: "connections",
    scale: "log",
    heading: "connections",
    at: (at) => counted(at, "connection"),
  },
  idlePercent: {
    label: "idle connections",
    unit: "percent",
    scale: "linear",
    heading: "idle, %",
    at: (at) => `${count(at)} % idle`,
  },
  cpuUs: {
    label: "CPU that one request of a hundred burns",
    unit: "us",
    scale: "log",
    heading: "one of a hundred\nburns, µs",
    at: (at) => `${microseconds(at)} of CPU for one request of a hundred`,
  },
};

/** The numbers of the load that do not change, in words. */
function othersOf({ axis, load }: Pair): string {
  const all: [keyof Load, string][] = [
    ["connections", counted(load.connections, "connection")],
    ["idlePercent", load.idlePercent === 0 ? "" : `${count(load.idlePercent)} % of the connections idle`],
    ["cpuUs", load.cpuUs === 0 ? "" : `one request of a hundred burning ${microseconds(load.cpuUs)}`],
  ];
  return all.filter(([name, text]) => name !== axis && text !== "").map(([, text]) => text).join(", ");
}

/** The two lines, each with the bounds between which its cost may lie. */
export function crossingChart(pair: Pair, family: (name: string) => string): LinesSpec {
  const { axis, before, after, costs } = pair;
  const { label, unit, scale } = AXES[axis];
  const line = (key: "before" | "after", name: string) => ({
    name,
    family: family(name),
    points: costs.map((of) => ({ x: of.at, value: of[key].totalUs, low: of[key].lowUs, high: of[key].highUs })),
  });
  return {
    kind: "lines",
    title: `Where ${before.name} and ${after.name} cross: ${othersOf(pair)}`,
    x: { label, unit, scale },
    y: { label: "CPU and waiting for one request", unit: "us", scale: "log" },
    series: [line("before", before.name), line("after", after.name)],
  };
}

const us = (value: number) => value < 100 ? `${count(value, 1)} µs` : microseconds(value);
const cost = ({ totalUs, lowUs, highUs }: Choice) => `${us(totalUs)} [${us(lowUs)}, ${us(highUs)}]`;

/** Whether the costs of a pair have waits in them: without heavy requests nobody waits. */
const hasWaits = ({ axis, load }: Pair): boolean => axis === "cpuUs" || load.cpuUs > 0;

/** The crossing in a sentence, with its margin and how many stored results it rests on. */
export function crossingSentence(pair: Pair): string {
  const { axis, crossing, before, after, costs } = pair;
  const { at: write } = AXES[axis];
  const end = costs.at(-1)!;
  const apart = crossing.told === crossing.at ? "" : `, and for certain from ${write(crossing.told!)} on`;
  const results = counted(new Set([...before.results, ...after.results]).size, "stored result");
  const range = `from ${write(crossing.at)} on${apart}: at ${write(end.at)}`;
  const [low, high] = [cost(end.after), cost(end.before)];
  return hasWaits(pair)
    ? `With ${
      othersOf(pair)
    }, CPU time of a request and wait of the light ones (p99) add up to less in ${after.name} than in ` +
      `${before.name} ${range} to ${low} instead of ${high} (${results}).`
    : `With ${
      othersOf(pair)
    }, ${after.name} costs less CPU time than ${before.name} ${range} a request takes ${low} instead of ` +
      `${high} (${results}).`;
}

/** The same for a terminal: what both cost along the axis, the lower one marked. */
export function crossingTable(pair: Pair, width: number): string {
  const { axis, before, after, costs } = pair;
  const shown = costs.filter((_, i) => i % 2 === 0);
  const cell = (key: "before" | "after") => (of: Pair["costs"][number]) => {
    const isLower = of[key].totalUs <= of[key === "before" ? "after" : "before"].totalUs;
    return `${cost(of[key])}${isLower ? " *" : "  "}`;
  };
  const columns: Column<Pair["costs"][number]>[] = [
    { heading: AXES[axis].heading, cell: ({ at }) => count(at) },
    { heading: before.name, cell: cell("before") },
    { heading: after.name, cell: cell("after") },
  ];
  return table(shown, columns, width);
}

/** The loads at which crossings are shown: an axis, and the numbers that stay. */
export const SHOWN: readonly { axis: keyof Load; load: Load }[] = [
  { axis: "connections", load: { connections: 100, cpuUs: 0, idlePercent: 90 } },
  { axis: "idlePercent", load: { connections: 1000, cpuUs: 0, idlePercent: 0 } },
  { axis: "cpuUs", load: { connections: 100, cpuUs: 0, idlePercent: 0 } },
];

/** The clearest crossing along each axis that has one. */
export const shownPairs = (known: readonly Facts[]): Pair[] =>
  SHOWN.flatMap(({ axis, load }) => clearestPair(known, load, axis) ?? []);
