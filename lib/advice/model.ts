/**
 * Which architecture suits a load, by what was measured on one machine. The model is small, and all of it stands here:
 *
 * - An architecture that has not held so many connections is excluded, unless a setting of the host stopped it: then it may hold
 *   as many as memory takes, on the condition that the setting is changed.
 * - Memory is what the process takes anyway, and for each connection the measured slopes of process and kernel.
 * - A request costs the CPU time that was measured at as many active connections (those that are not idle), on the straight
 *   line between two measured numbers, and that of the nearest one outside of them, which is said.
 * - A call that looks at all connections looks at the idle ones too: what it costs more at all than at the active ones is
 *   added. That is so where one is ready at a time; under load a call finds several, and so it is the most. Beyond the largest
 *   measured number it goes on along the last line.
 * - One request of a hundred burns `cpuUs`. How much longer the others wait for it, and what handing it over costs, was
 *   measured at some sizes, and lies on the straight line between two of them; beyond the largest it grows in proportion. On one
 *   connection no request waits for another.
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
import { type Beside, type Estimate, type Facts, type Memory, type Point, type Setting, totalBytes } from "./facts.ts";
import { MEMORY_SHARE, MIXED, MIXED_FLAGS } from "../results/conventions.ts";
import { atMost, mixedSeconds } from "../results/duration.ts";
import { bytes, count, counted } from "../text/format.ts";

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
  /** Memory with all connections, in its parts and together. */
  memory: { process: number | null; connections: number; kernel: number | null; total: number } | null;
  /** The most connections that it held; and the setting of the host that must be changed for those asked for. */
  held: number;
  setting: Setting | null;
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

/** What a call costs that looks at so many: beyond all measured points it goes on along the last line. */
function looksAt(points: readonly Point[], at: number): number {
  const [before, last] = points.slice(-2);
  if (last === undefined || at <= last.connections) return points.length === 0 ? 0 : between(points, at).us;
  const slope = (last.us - before!.us) / (last.connections - before!.connections);
  return last.us + Math.max(0, slope) * (at - last.connections);
}

const isOutside = (points: readonly Point[], at: number) =>
  at < points[0]!.connections || at > points.at(-1)!.connections;

/** What one request of a hundred burns, where others can wait for it: on one connection there are none. */
export const heavyOf = ({ connections, cpuUs }: Load) => connections === 1 ? 0 : cpuUs;

/** What requests that burn so much do to the others; null: it is not known. */
function besideAt({ beside }: Facts, load: Load): Pick<Beside, "wait" | "handover"> | null {
  const cpuUs = heavyOf(load);
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
  if (heavyOf(load) > largest) notes.push(`waiting was measured with requests of at most ${count(largest)} µs`);
  if (isQuick) notes.push(`a figure of ${name} is from a quick study: there is no full one`);
  return notes;
}

/** The parts of the memory that so many connections take. */
function memoryAt(memory: Memory, connections: number): NonNullable<Choice["memory"]> {
  return {
    process: memory.processBytes,
    connections: memory.connectionBytes * connections,
    kernel: memory.kernelBytes === null ? null : memory.kernelBytes * connections,
    total: totalBytes(memory, connections),
  };
}

/** The price of one architecture; null: it cannot do it, or what it does is not known. */
function price(facts: Facts, load: Load): Choice | null {
  const heavy = besideAt(facts, load);
  if (facts.reach < load.connections || heavy === null) return null;
  const { wait } = heavy;
  const cpu = added(between(facts.cpu, activeOf(load)), heavy.handover);
  const idleUs = Math.max(0, looksAt(facts.wait, load.connections) - looksAt(facts.wait, activeOf(load)));
  return {
    name: facts.name,
    cpuUs: cpu.us,
    idleUs,
    waitUs: wait.us,
    totalUs: cpu.us + idleUs + wait.us,
    lowUs: Math.max(0, cpu.low) + idleUs + wait.low, // a difference of two figures has bounds below nothing, CPU time has not
    highUs: cpu.high + idleUs + wait.high,
    memory: facts.memory === null ? null : memoryAt(facts.memory, load.connections),
    held: facts.held,
    setting: facts.held < load.connections ? facts.setting : null,
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

/** What stopped it is not all where its memory is too much. A command is no help where this machine cannot hold so many. */
function smallOut({ name, held, limit, setting, memory }: Facts, connections: number, memoryBytes: number): Out {
  const wanted = memory === null ? 0 : totalBytes(memory, connections);
  const most = memoryBytes * MEMORY_SHARE;
  const tooMuch = wanted <= most ? "" : `; ${count(connections)} would need ${bytes(wanted)} of memory`;
  if (limit === null) {
    return {
      names: [name],
      why: `never tested beyond ${counted(held, "connection")}${tooMuch}`,
      command: tooMuch === "" ? `deno task exp ${name} --scenario hold --connections ${connections}` : null,
      time: null,
    };
  }
  return {
    names: [name],
    why: `it holds ${count(held)}: ${limit}${setting === null ? "" : tooMuch}`,
    command: null,
    time: null,
  };
}

/**
 * Those that are not among the choices.
 *
 * @param memoryBytes The memory of the machine that would measure.
 */
export function outOf(all: readonly Facts[], load: Load, memoryBytes = Infinity): Out[] {
  const small = all.filter(({ reach }) => reach < load.connections);
  const unmixed = all.filter((facts) => !small.includes(facts) && facts.beside.length === 0 && heavyOf(load) > 0);
  const rest = unmixed.filter(({ isWired }) => !isWired).map(({ name }) => name);
  const wired = unmixed.filter(({ isWired }) => isWired).map(({ name }) => name);
  const why = "the wait of light requests beside heavy ones is not measured";
  const candidates = rest.filter((name) => name !== MIXED.reference);
  const command = `deno task compare ${MIXED.reference} ${candidates.join(" ")} ${MIXED_FLAGS}`;
  const time = atMost(mixedSeconds(candidates.length));
  return [
    ...small.map((facts) => smallOut(facts, load.connections, memoryBytes)),
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
