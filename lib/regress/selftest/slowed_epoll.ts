/**
 * Copies of epoll that are slower by a known amount: each request turns a loop so many times. The copy measures the cost of
 * the loop itself when it ends, so that what the paired rounds find can be held against what was put in.
 *
 * @module
 */
import { CannotCompare } from "../../compare/side.ts";
import type { Experiment } from "../../catalogue/header.ts";
import { number } from "../../results/check.ts";
import { parseLine, readIfThere } from "../../results/jsonl.ts";
import type { PatchedCopies } from "../../catalogue/patched_copies.ts";

/** The server that is judged against copies of itself. */
export const REFERENCE = "epoll";

const REQUEST = "    at += head;\n";
const ANSWER = "function answer(fd: number, length: number, scanned: number): number {\n";
/** How often the loop is timed: so many batches, of which the median counts, of so many runs. */
const BATCHES = 21;
const BATCH = 100;
const STOPPED = '  show({ event: "stopped", ...counts });\n';

// Each turn needs the number before it, so that no compiler can leave one out or run two at once. The first needs what the
// request has come to, and what follows needs the last: else a processor would run some of the turns beside the code around
// them, and a request would pay for less than the loop costs alone. What it costs is measured at the end, in the same thread
// and by its clock, many times in a row: to read a clock among the requests would cost more than the loop, and slow the code
// around it.
const burning = (turns: number) =>
  `const spun = new Int32Array(2); // the second stays 0, which no compiler knows
function spin(at: number): number {
  let next = spun[0]! ^ at;
  for (let i = 0; i < ${turns}; i++) next = Math.imul(next, 1664525) ^ i;
  spun[0] = next;
  return at + Math.imul(next, spun[1]!);
}

function spinUs(): number {
  const stamp = new BigInt64Array(2), batches: number[] = []; // struct timespec
  const cpuUs =
    () => (libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, stamp), Number(stamp[0]) * 1e6 + Number(stamp[1]) / 1e3);
  for (let batch = 0; batch < ${BATCHES}; batch++) {
    const from = cpuUs();
    for (let i = 0; i < ${BATCH}; i++) spin(i);
    batches.push((cpuUs() - from) / ${BATCH});
  }
  return batches.sort((a, b) => a - b)[${BATCHES >> 1}]!;
}

`;

const costOf = ({ path }: Pick<Experiment, "path">) => `${path}.json`;

/**
 * A copy whose requests turn the loop so many times; 0 makes one that is the same, byte for byte.
 *
 * @throws {Error} If epoll has changed so that a copy cannot be made.
 */
export function slowed(changed: PatchedCopies, name: string, turns: number): Experiment {
  const change = { name, replace: REQUEST, by: turns === 0 ? REQUEST : `${REQUEST}    at = spin(at);\n` };
  if (turns === 0) return changed.make(REFERENCE, change);
  const write = '  Deno.writeTextFileSync(import.meta.filename + ".json", JSON.stringify(spinUs()));\n';
  const copy = changed.make(
    REFERENCE,
    change,
    { replace: ANSWER, by: burning(turns) + ANSWER },
    { replace: STOPPED, by: write + STOPPED },
  );
  return { ...copy, run: copy.run.replace("deno run ", `deno run --allow-write=${costOf(copy)} `) };
}

/**
 * What the loop of a slowed copy costs in the server that was stopped last, in CPU-µs per request.
 *
 * @throws {CannotCompare} If it has not reported it.
 */
export async function burntUs(copy: Experiment): Promise<number> {
  const path = costOf(copy);
  const parsed = parseLine<number>(await readIfThere(path), number);
  if (!("value" in parsed)) throw new CannotCompare(copy, `${copy.name} has not reported what it burnt`, "crashed");
  await Deno.remove(path); // so that no round takes it for its own
  return parsed.value;
}

const GUESS = { turns: 1e6, times: 15 }; // a millisecond or two each

/** Turns that cost about so much, in CPU-µs: by the loop in this process, the quickest of some tries. */
export function guessTurns(cpuUs: number): number {
  let next = 1;
  let leastMs = Infinity;
  for (let time = 0; time < GUESS.times; time++) {
    const from = performance.now();
    for (let i = 0; i < GUESS.turns; i++) next = Math.imul(next, 1664525) ^ i;
    leastMs = Math.min(leastMs, performance.now() - from);
  }
  return Math.max(1, Math.round(cpuUs * GUESS.turns / leastMs / 1000) + (next & 0)); // needed, so that the loop is
}
