/**
 * Which architecture suits a load, by what was measured on one machine. The model is small, and all of it stands here:
 *
 * - An architecture that has not held so many connections is excluded.
 * - A request costs the CPU time that was measured at as many active connections (those that are not idle), on the straight
 *   line between two measured numbers, and that of the nearest one outside of them, which is said.
 * - A call that looks at all connections looks at the idle ones too: what it costs more at all than at the active ones is
 *   added. That is so where one is ready at a time; under load a call finds several, and so it is the most.
 * - One request of a hundred burns `cpuUs`. How much longer the others wait for it, and what handing it over costs, was
 *   measured at some sizes, and lies on the straight line between two of them; beyond the largest it grows in proportion.
 * - What counts is the sum of a request's CPU time and the wait of the light ones: a µs is a µs. The best is the lowest; of
 *   the others, those whose intervals overlap with its own are named, because the figures do not distinguish them.
 *
 * @example
 * ```ts
 * const { known } = collect((await readStored()).stored);
 * console.log(weigh(known, { connections: 10_000, cpuUs: 0, idlePercent: 90 })[0]?.name);
 * ```
 *
 * @module
 */
import type { Beside, Estimate, Facts, Point } from "./facts.ts";
import { MIXED, MIXED_FLAGS } from "../results/conventions.ts";
import { atMost, mixedSeconds } from "../results/duration.ts";
import { count } from "../text/format.ts";

/** What a server is for. */
export interface Load {
  /** Connections at one time, 1 and more. */
  connections: number;
  /** CPU time that one request of a hundred burns, in µs. */
  cpuUs: number;
  /** The share of connections that say nothing, 0 to 100. */
  idlePercent: number;
}

/** An architecture that can do it, and at which price. */
export interface Choice {
  name: string;
  cpuUs: number;
  /** What looking at the idle ones adds, in µs. */
  idleUs: number;
  /** What light requests wait for heavy ones, in µs. */
  waitUs: number;
  /** All three together, and between which bounds. */
  totalUs: number;
  lowUs: number;
  highUs: number;
  /** Memory of all connections. */
  bytes: number | null;
  /** Where a figure was taken beyond what was measured, or from a quick study. */
  notes: string[];
}

/** A load at which another one is the best from here on. Null: none can do it. */
export interface Crossing {
  at: number;
  from: string | null;
  to: string | null;
  /** From here on the intervals of the two lie apart, so that it is no chance; null: nowhere. */
  told: number | null;
}

const NONE: Estimate = { us: 0, low: 0, high: 0 };
const scaled = ({ us, low, high }: Estimate, by: number): Estimate => ({ us: us * by, low: low * by, high: high * by });
const added = (a: Estimate, b: Estimate): Estimate => ({ us: a.us + b.us, low: a.low + b.low, high: a.high + b.high });

/** The value on the line through the two points around `at`; outside of all, that of the nearest. */
function between(points: readonly Point[], at: number): Estimate {
  const above = points.find(({ connections }) => connections >= at) ?? points.at(-1)!;
  const below = points.findLast(({ connections }) => connections <= at) ?? points[0]!;
  const span = above.connections - below.connections;
  const part = span <= 0 ? 0 : (at - below.connections) / span;
  return added(scaled(below, 1 - part), scaled(above, part));
}

const isOutside = (points: readonly Point[], at: number) =>
  at < points[0]!.connections || at > points.at(-1)!.connections;

/** What requests that burn so much do to the others; null: it is not known. */
function besideAt({ beside }: Facts, cpuUs: number): Pick<Beside, "wait" | "handover"> | null {
  if (cpuUs === 0) return { wait: NONE, handover: NONE };
  const last = beside.at(-1);
  if (last === undefined) return null;
  if (cpuUs >= last.heavyUs) return { wait: scaled(last.wait, cpuUs / last.heavyUs), handover: last.handover };
  const below = beside.findLast(({ heavyUs }) => heavyUs <= cpuUs)!;
  const above = beside[beside.indexOf(below) + 1]!;
  const part = (cpuUs - below.heavyUs) / (above.heavyUs - below.heavyUs);
  const mix = (key: "wait" | "handover"): Estimate => added(scaled(below[key], 1 - part), scaled(above[key], part));
  return { wait: mix("wait"), handover: mix("handover") };
}

const activeOf = ({ connections, idlePercent }: Load) => Math.max(1, Math.round(connections * (1 - idlePercent / 100)));

/** The measured numbers that a figure was taken beyond, and where one is a quick one, in words. */
function notesOf({ name, cpu, isWired, wait, beside, isQuick }: Facts, load: Load): string[] {
  const active = activeOf(load);
  const notes: string[] = [];
  const range = (points: readonly Point[]) =>
    [...new Set([points[0]!, points.at(-1)!].map(({ connections }) => count(connections)))].join(" to ");
  if (isWired) {
    notes.push(
      `${name} was measured over a veth pair: its CPU time is its ratio there times what the other costs here`,
    );
  }
  if (isOutside(cpu, active)) {
    notes.push(`CPU time was measured at ${range(cpu)} active connections, not at ${count(active)}`);
  }
  if (wait.length > 0 && isOutside(wait, load.connections)) {
    notes.push(`the cost of waiting was measured at ${range(wait)} descriptors, not at ${count(load.connections)}`);
  }
  const largest = beside.at(-1)?.heavyUs ?? Infinity;
  if (load.cpuUs > largest) notes.push(`waiting was measured with requests of at most ${count(largest)} µs`);
  if (isQuick) notes.push(`a figure of ${name} is from a quick study: there is no full one`);
  return notes;
}

/** The price of one architecture; null: it cannot do it, or what it does is not known. */
function price(facts: Facts, load: Load): Choice | null {
  const heavy = besideAt(facts, load.cpuUs);
  if (facts.held < load.connections || heavy === null) return null;
  const { wait } = heavy;
  const cpu = added(between(facts.cpu, activeOf(load)), heavy.handover);
  const looks = (at: number) => facts.wait.length === 0 ? 0 : between(facts.wait, at).us;
  const idleUs = Math.max(0, looks(load.connections) - looks(activeOf(load)));
  return {
    name: facts.name,
    cpuUs: cpu.us,
    idleUs,
    waitUs: wait.us,
    totalUs: cpu.us + idleUs + wait.us,
    lowUs: Math.max(0, cpu.low) + idleUs + wait.low, // a difference of two figures has bounds below nothing, CPU time has not
    highUs: cpu.high + idleUs + wait.high,
    bytes: facts.bytesPerConn === null ? null : Math.max(0, facts.bytesPerConn) * load.connections,
    notes: notesOf(facts, load),
  };
}

/** Whether the figures tell two choices apart. */
export const areApart = (a: Choice, b: Choice): boolean => a.highUs < b.lowUs || b.highUs < a.lowUs;

/** Those that can do it, the best first. */
export const weigh = (all: readonly Facts[], load: Load): Choice[] =>
  all.map((facts) => price(facts, load)).filter((choice) => choice !== null)
    .toSorted((a, b) => a.totalUs - b.totalUs);

/** Which servers are excluded, why, and the command that would show more; null: none would. */
export interface Out {
  names: string[];
  why: string;
  command: string | null;
  /** How long the command takes, in words; null: it is not known. */
  time: string | null;
}

/** Those that are not among the choices. */
export function outOf(all: readonly Facts[], { connections, cpuUs }: Load): Out[] {
  const small = all.filter(({ held }) => held < connections);
  const unmixed = all.filter((facts) => !small.includes(facts) && facts.beside.length === 0 && cpuUs > 0);
  const rest = unmixed.filter(({ isWired }) => !isWired).map(({ name }) => name);
  const wired = unmixed.filter(({ isWired }) => isWired).map(({ name }) => name);
  const why = "the wait of light requests beside heavy ones is not measured";
  const candidates = rest.filter((name) => name !== MIXED.reference);
  const command = `deno task compare ${MIXED.reference} ${candidates.join(" ")} ${MIXED_FLAGS}`;
  const time = atMost(mixedSeconds(candidates.length));
  return [
    ...small.map(({ name, held, limit }) =>
      limit === null
        ? {
          names: [name],
          why: `never tested beyond ${count(held)} connections`,
          command: `deno task exp ${name} --scenario hold --connections ${connections}`,
          time: null,
        }
        : { names: [name], why: `it holds ${count(held)}: ${limit}`, command: null, time: null }
    ),
    ...(rest.length > 0 ? [{ names: rest, why, command, time }] : []),
    ...(wired.length > 0 ? [{ names: wired, why: `${why} over loopback`, command: null, time: null }] : []),
  ];
}

/** Between these the crossings are looked for; the protocol burns no more than 100 000 µs. */
export const RANGES: Record<keyof Load, [from: number, to: number]> = {
  connections: [1, 1e6],
  cpuUs: [1, 100_000],
  idlePercent: [0, 100],
};
const GRID_STEPS = 400;

/** Whole numbers from `from` to `to`, ever further apart: each about as many percent from the next. */
function grid(from: number, to: number): number[] {
  const steps = Array.from({ length: GRID_STEPS + 1 }, (_, i) => Math.round((to - from + 1) ** (i / GRID_STEPS)) - 1);
  return [...new Set(steps)].map((step) => from + step);
}

/**
 * Where the best changes while one number of the load grows and the others stay: each crossing is the first whole number at
 * which another is the best. Where heavy requests come in, only those are looked at that were measured with them.
 */
export function crossings(all: readonly Facts[], load: Load, axis: keyof Load): Crossing[] {
  const asked = axis === "cpuUs" ? all.filter(({ beside }) => beside.length > 0) : all;
  const best = (at: number) => weigh(asked, { ...load, [axis]: at })[0]?.name ?? null;
  const found: Change[] = [];
  const values = grid(...RANGES[axis]);
  for (const [i, value] of values.entries()) {
    if (i > 0) found.push(...changes(best, values[i - 1]!, value));
  }
  return found.map((change) => ({ ...change, told: toldFrom(asked, load, axis, change) }));
}

/** A change of the best, whether or not the figures tell the two apart. */
type Change = Omit<Crossing, "told">;

/** Where the figures begin to tell that another is the best. Which servers can do it does not depend on figures. */
function toldFrom(all: readonly Facts[], load: Load, axis: keyof Load, { at, from, to }: Change): number | null {
  const isTold = (value: number) => {
    const choices = weigh(all, { ...load, [axis]: value });
    const [before, now] = [from, to].map((name) => choices.find((choice) => choice.name === name));
    return before === undefined || now === undefined || now.highUs < before.lowUs;
  };
  if (isTold(at)) return at;
  const values = [at, ...grid(...RANGES[axis]).filter((value) => value > at)];
  const first = values.findIndex(isTold);
  if (first < 0) return null;
  let [low, high] = [values[first - 1]!, values[first]!];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (isTold(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Every change between two numbers with different bests; found by halving, so that of two of the same name none is seen. */
function changes(best: (at: number) => string | null, start: number, end: number): Change[] {
  const found: Change[] = [];
  for (let [low, from] = [start, best(start)]; from !== best(end);) {
    let high = end;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (best(middle) === from) low = middle;
      else high = middle;
    }
    found.push({ at: high, from, to: best(high) });
    [low, from] = [high, best(high)];
  }
  return found;
}
