/**
 * Which architecture suits a load, by what was measured on this machine. The model is small, and all of it stands here:
 *
 * - Who has not held so many connections is out.
 * - A request costs the CPU time that was measured at as many active connections (those that are not idle), on the straight
 *   line between two measured numbers, and that of the nearest one outside of them, which is said.
 * - A call that looks at all connections looks at the idle ones too: what it costs more at all than at the active ones is
 *   added. That is so where one is ready at a time; under load a call finds several, and so it is the most.
 * - One request of a hundred burns `cpuUs`. Where it blocks the others (they waited for over half of it), the light ones wait
 *   in proportion to it. Where it does not, they wait as long as was measured, but never longer than where it does. What
 *   handing it over to others costs is added, as it was measured.
 * - What counts is the sum of a request's CPU time and the wait of the light ones: a µs is a µs. The best is the lowest; of
 *   the others those are told whose intervals overlap with its own, for the figures do not tell them apart.
 *
 * @example
 * ```ts
 * const { known } = collect((await readStored()).stored);
 * console.log(weigh(known, { connections: 10_000, cpuUs: 0, idlePercent: 90 })[0]?.name);
 * ```
 *
 * @module
 */
import { type Estimate, type Facts, HEAVY_US, type Point } from "./advise_facts.ts";
import { count } from "./format.ts";

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
  /** Where a figure was taken beyond what was measured. */
  notes: string[];
}

/** A load at which another one is the best from here on. Null: none can do it. */
export interface Crossing {
  at: number;
  from: string | null;
  to: string | null;
}

/** The value on the line through the two points around `at`; outside of all, that of the nearest. */
function between(points: readonly Point[], at: number): Estimate {
  const above = points.find(({ connections }) => connections >= at) ?? points.at(-1)!;
  const below = points.findLast(({ connections }) => connections <= at) ?? points[0]!;
  const span = above.connections - below.connections;
  const part = span <= 0 ? 0 : (at - below.connections) / span;
  const mix = (key: "us" | "low" | "high") => below[key] + part * (above[key] - below[key]);
  return { us: mix("us"), low: mix("low"), high: mix("high") };
}

const isOutside = (points: readonly Point[], at: number) =>
  at < points[0]!.connections || at > points.at(-1)!.connections;

const blocks = ({ us }: Estimate) => us > HEAVY_US / 2;
/** The largest part of a heavy request that light ones wait for where it blocks them; all of it where none was measured. */
function shareOf(all: readonly Facts[]): number {
  const shares = all.flatMap(({ blocked }) => blocked !== null && blocks(blocked) ? blocked.us / HEAVY_US : []);
  return shares.length === 0 ? 1 : Math.max(...shares);
}

/** How long light requests wait for one that burns so much; null: it is not known. */
function waitOf({ blocked }: Facts, cpuUs: number, share: number): Estimate | null {
  if (cpuUs === 0) return { us: 0, low: 0, high: 0 };
  if (blocked === null) return null;
  const scaled = (us: number) => blocks(blocked) ? cpuUs * us / HEAVY_US : Math.min(us, cpuUs * share);
  return { us: scaled(blocked.us), low: scaled(blocked.low), high: scaled(blocked.high) };
}

const activeOf = ({ connections, idlePercent }: Load) => Math.max(1, Math.round(connections * (1 - idlePercent / 100)));

/** The measured numbers that a figure was taken beyond, in words. */
function notesOf({ cpu, wait }: Facts, load: Load): string[] {
  const active = activeOf(load), notes: string[] = [];
  const range = (points: readonly Point[]) =>
    [...new Set([points[0]!, points.at(-1)!].map(({ connections }) => count(connections)))].join(" to ");
  if (isOutside(cpu, active)) {
    notes.push(`CPU time was measured at ${range(cpu)} active connections, not at ${count(active)}`);
  }
  if (wait.length > 0 && isOutside(wait, load.connections)) {
    notes.push(`the cost of waiting was measured at ${range(wait)} descriptors, not at ${count(load.connections)}`);
  }
  if (load.cpuUs > HEAVY_US) notes.push(`waiting was measured with requests of ${count(HEAVY_US)} µs, not longer ones`);
  return notes;
}

/** The price of one architecture; null: it cannot do it, or what it does is not known. */
function price(facts: Facts, load: Load, share: number): Choice | null {
  const wait = waitOf(facts, load.cpuUs, share);
  if (facts.held < load.connections || wait === null) return null;
  const light = between(facts.cpu, activeOf(load)), none = { us: 0, low: 0, high: 0 };
  const heavy = load.cpuUs > 0 ? facts.handover : none;
  const cpu = { us: light.us + heavy.us, low: light.low + heavy.low, high: light.high + heavy.high };
  const looks = (at: number) => facts.wait.length === 0 ? 0 : between(facts.wait, at).us;
  const idleUs = Math.max(0, looks(load.connections) - looks(activeOf(load)));
  return {
    name: facts.name,
    ...{ cpuUs: cpu.us, idleUs, waitUs: wait.us, totalUs: cpu.us + idleUs + wait.us },
    ...{ lowUs: cpu.low + idleUs + wait.low, highUs: cpu.high + idleUs + wait.high },
    bytes: facts.bytesPerConn === null ? null : Math.max(0, facts.bytesPerConn) * load.connections,
    notes: notesOf(facts, load),
  };
}

/** Whether the figures tell two choices apart. */
export const areApart = (a: Choice, b: Choice): boolean => a.highUs < b.lowUs || b.highUs < a.lowUs;

/** Those that can do it, the best first. */
export const weigh = (all: readonly Facts[], load: Load): Choice[] =>
  all.map((facts) => price(facts, load, shareOf(all))).filter((choice) => choice !== null)
    .toSorted((a, b) => a.totalUs - b.totalUs);

/** Who is out, why, and the command that would tell more; null: none would. */
export interface Out {
  names: string[];
  why: string;
  command: string | null;
}

/** Those that are not among the choices. */
export function outOf(all: readonly Facts[], { connections, cpuUs }: Load): Out[] {
  const small = all.filter(({ held }) => held < connections);
  const rest = all.filter((facts) => !small.includes(facts) && facts.blocked === null && cpuUs > 0).map(({ name }) =>
    name
  );
  const why = "what light requests wait beside heavy ones is not measured";
  const command = `deno task compare epoll ${
    rest.filter((name) => name !== "epoll").join(" ")
  } --scenario mixed --rate 200`;
  return [
    ...small.map(({ name, held, limit }) =>
      limit === null
        ? {
          names: [name],
          why: `it was never asked for more than ${count(held)} connections`,
          command: `deno task exp ${name} --scenario hold --connections ${connections}`,
        }
        : { names: [name], why: `it holds ${count(held)}: ${limit}`, command: null }
    ),
    ...(rest.length > 0 ? [{ names: rest, why, command }] : []),
  ];
}

/** Between these the crossings are looked for; the protocol burns no more than 100 000 µs. */
const RANGES: Record<keyof Load, [from: number, to: number]> = {
  connections: [1, 1e6],
  cpuUs: [1, 100_000],
  idlePercent: [0, 100],
};
const GRID_STEPS = 400;

/** Whole numbers from `from` to `to`, ever farther apart: each about as many percent from the next. */
function grid(from: number, to: number): number[] {
  const steps = Array.from({ length: GRID_STEPS + 1 }, (_, i) => Math.round((to - from + 1) ** (i / GRID_STEPS)) - 1);
  return [...new Set(steps)].map((step) => from + step);
}

/**
 * Where the best changes while one number of the load grows and the others stay: each crossing is the first whole number at
 * which another is the best. Where heavy requests come in, only those are looked at that were measured with them.
 */
export function crossings(all: readonly Facts[], load: Load, axis: keyof Load): Crossing[] {
  const told = axis === "cpuUs" ? all.filter(({ blocked }) => blocked !== null) : all;
  const best = (at: number) => weigh(told, { ...load, [axis]: at })[0]?.name ?? null;
  const found: Crossing[] = [];
  const values = grid(...RANGES[axis]);
  for (const [i, value] of values.entries()) {
    if (i > 0) found.push(...changes(best, values[i - 1]!, value));
  }
  return found;
}

/** Every change between two numbers with different bests; found by halving, so that of two of the same name none is seen. */
function changes(best: (at: number) => string | null, start: number, end: number): Crossing[] {
  const found: Crossing[] = [];
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
