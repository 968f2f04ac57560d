/**
 * How many processes a load needed: what the server did with one of them, with two, four and so on.
 *
 * @module
 */
import * as v from "valibot";
import { count } from "../text/format.ts";
import { field, number } from "./check.ts";

export const LOAD_TRIAL = v.strictObject({
  processes: field(number, "how many processes made the load, each on a core of its own"),
  server_core_share: field(number, "CPU time of the server by the time that its cores had"),
  requests_per_s: field(number, "requests answered per second"),
});
export type LoadTrial = v.InferOutput<typeof LOAD_TRIAL>;

/**
 * The server's share rises if it gains so much of what it was, and not so many points. A server with one loop on many cores
 * has a small share, and gains few points even if it does twice as much.
 */
export const MIN_RISE = 0.02;

/**
 * Whether more processes may bring more: the server is not full, and the last ones that were added had its share rise. After
 * the last trial it means that the load was the limit.
 */
export function mayRise(trials: readonly LoadTrial[]): boolean {
  const last = trials.at(-1)?.server_core_share;
  if (last === undefined) return true;
  if (last * (1 + MIN_RISE) > 1) return false;
  const before = trials.at(-2)?.server_core_share;
  return before === undefined || last >= before * (1 + MIN_RISE);
}

const percent = (share: number) => `${count(100 * share)} %`;

/** All trials in one line; null where there was none. */
export function describeTrials(trials: readonly LoadTrial[]): string | null {
  const last = trials.at(-1);
  if (last === undefined) return null;
  const list = (of: (trial: LoadTrial) => string) => trials.map(of).join(", ");
  const numbers = list(({ processes }) => count(processes));
  const noun = numbers === "1" ? "process" : "processes";
  return `with ${numbers} ${noun} of load the server used ${
    list((of) => percent(of.server_core_share))
  } of its cores and ` +
    `answered ${list((of) => count(of.requests_per_s))} requests/s: the run has ${count(last.processes)}`;
}

/** Why the load was the limit, as far as trials show it; null: they do not. */
export function limitShown(trials: readonly LoadTrial[]): string | null {
  const [before, last] = trials.slice(-2);
  if (before === undefined || last === undefined || !mayRise(trials)) return null;
  const { processes } = before;
  return `with ${processes === 1 ? "1 process" : `${count(processes)} processes`} of load the server used ` +
    `${percent(before.server_core_share)} of its cores, with ${count(last.processes)}, the most that was tried, ` +
    `${percent(last.server_core_share)}`;
}
