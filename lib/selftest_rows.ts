/**
 * What a self-test stores: rounds of epoll against copies of itself that are as quick, or slower by a known amount.
 *
 * @module
 */
import type { RoundFound } from "./rounds.ts";
import { ROUND_FOUND } from "./run_file.ts";
import { number, type Shape } from "./shape.ts";

/** One round of one copy. */
export interface SelftestRow extends RoundFound {
  /** What the copy was to burn beyond the CPU time of a request, in % of it; 0: it is the same. */
  extra_percent: number;
  /** Counted from 1, for each copy. */
  round: number;
  /** Turns of the loop that burns, for each request. */
  turns: number;
  /** What these turns cost in the round, in CPU-µs a request, by the clock of the thread; 0 also where the round failed. */
  extra_cpu_us: number;
  /** How long the round took, with starting both servers and warming them up. */
  seconds: number;
}

/** Its fields, with the check of each. */
export const SELFTEST: Shape<SelftestRow> = {
  extra_percent: number,
  round: number,
  turns: number,
  extra_cpu_us: number,
  seconds: number,
  ...ROUND_FOUND,
};
