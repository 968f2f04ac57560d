/**
 * Copies of epoll that are slower by a known amount: each request turns a loop so many times. The copy measures the cost of
 * the loop itself, where it costs, so that what the paired rounds find can be held against what was put in.
 *
 * @module
 */
import { CannotCompare } from "./contender.ts";
import type { Experiment } from "./header.ts";
import { list, number } from "./shape.ts";
import { parseLine, readIfThere } from "./lines.ts";
import type { Changed } from "./probes/changed.ts";

/** The server that is judged against copies of itself. */
export const REFERENCE = "epoll";

const REQUEST = "    if (request.workUs > 0) burn(request.workUs);\n";
const ANSWER = "function answer(fd: number, length: number): void {\n";
const STOPPED = '  console.log(JSON.stringify({ event: "stopped", ...counts }));\n';
/** One request of so many is timed. */
const EVERY = 128;
/** Left out at either end: an interrupt in one call of two hundred would decide. */
const TRIMMED = 0.05;

// Each turn needs the number before it, so that no compiler can leave one out or run two at once. Reading the clock in a
// server that has just woken takes longer than in a loop: so of the requests that are timed, every other one has the loop
// between the two readings, the others have nothing there, and the difference is what the loop costs.
const burning = (turns: number) =>
  `let asked = 0;
const timed: [ms: number, hasLoop: number, us: number][] = [];
const spun = new Int32Array(1), stamp = new BigInt64Array(2); // struct timespec
const cpuNow =
  () => (libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, stamp), Number(stamp[0]) * 1e6 + Number(stamp[1]) / 1e3);

function spin(): void {
  let next = spun[0]!;
  for (let i = 0; i < ${turns}; i++) next = Math.imul(next, 1664525) ^ i;
  spun[0] = next;
}

function spinTimed(): void {
  const isTimed = ++asked % ${EVERY} === 0, hasLoop = asked % ${2 * EVERY} === 0;
  const from = isTimed ? cpuNow() : 0, between = isTimed && !hasLoop ? cpuNow() - from : 0;
  spin();
  if (isTimed) timed.push([Date.now(), Number(hasLoop), hasLoop ? cpuNow() - from : between]);
}

`;

const timesOf = ({ path }: Pick<Experiment, "path">) => `${path}.json`;

/**
 * A copy whose requests turn the loop so many times; 0 makes one that is the same, byte for byte.
 *
 * @throws {Error} If epoll has changed so that a copy cannot be made.
 */
export function slowed(changed: Changed, name: string, turns: number): Experiment {
  const change = { name, replace: REQUEST, by: turns === 0 ? REQUEST : `${REQUEST}    spinTimed();\n` };
  if (turns === 0) return changed.make(REFERENCE, change);
  const write = '  Deno.writeTextFileSync(import.meta.filename + ".json", JSON.stringify(timed));\n';
  const copy = changed.make(
    REFERENCE,
    change,
    { replace: ANSWER, by: burning(turns) + ANSWER },
    { replace: STOPPED, by: write + STOPPED },
  );
  return { ...copy, run: copy.run.replace("deno run ", `deno run --allow-write=${timesOf(copy)} `) };
}

const times = list(list(number));

function trimmedMean(values: readonly number[]): number {
  const out = Math.floor(values.length * TRIMMED),
    kept = values.toSorted((a, b) => a - b).slice(out, values.length - out);
  return kept.reduce((sum, value) => sum + value, 0) / kept.length;
}

/**
 * What the loop of a slowed copy cost in the server that was stopped last, in CPU-µs a request, by the clock of its thread.
 *
 * @param seconds Of its time, the last ones that count: before them it was warmed up under another load.
 * @throws {CannotCompare} If it has not told, or was asked too little for a figure.
 */
export async function burntUs(copy: Experiment, seconds: number): Promise<number> {
  const path = timesOf(copy), told = await readIfThere(path);
  const parsed = parseLine<[ms: number, hasLoop: number, us: number][]>(told, times);
  if (!("value" in parsed)) throw new CannotCompare(copy, `${copy.name} has not told what it burnt`, "crashed");
  await Deno.remove(path); // so that no round takes it for its own
  const all = parsed.value, from = (all.at(-1)?.[0] ?? 0) - seconds * 1000;
  const of = (hasLoop: number) => all.filter((one) => one[0] >= from && one[1] === hasLoop).map(([, , us]) => us);
  const [without, withLoop] = [of(0), of(1)];
  if (without.length === 0 || withLoop.length === 0) {
    throw new CannotCompare(copy, `${copy.name} was asked too little to tell what it burnt`, "limited");
  }
  const reading = trimmedMean(without);
  return trimmedMean(withLoop) - reading + 2 * reading / EVERY; // the clock is read twice, and that is put in too
}

const GUESS = { turns: 1e6, times: 15 }; // a millisecond or two each

/** Turns that cost about so much, in CPU-µs: by the loop in this process, the quickest of some tries. */
export function guessTurns(cpuUs: number): number {
  let next = 1, leastMs = Infinity;
  for (let time = 0; time < GUESS.times; time++) {
    const from = performance.now();
    for (let i = 0; i < GUESS.turns; i++) next = Math.imul(next, 1664525) ^ i;
    leastMs = Math.min(leastMs, performance.now() - from);
  }
  return Math.max(1, Math.round(cpuUs * GUESS.turns / leastMs / 1000) + (next & 0)); // needed, so that the loop is
}
