/**
 * How long commands that measure take, for those that run them and for those that name them.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { MIN_ROUNDS, MIXED } from "./conventions.ts";
import type { ScenarioName } from "./results.ts";

/** How long `deno task exp` takes with all of its scenarios. */
export const EXP_TIME = "one to three minutes";
/** The same at most, in seconds. */
export const EXP_SECONDS = 180;

/** How servers are compared where the user says nothing else. */
export const COMPARING = {
  /** Of one slice; half of that in a quick comparison. */
  seconds: { throughput: 0.5, rate: 1, mixed: 2, hold: 1, churn: 0.5, broadcast: 2 },
  /** Of up to ten rounds the exact interval spans all of them, so that more than seven would only make it wider. */
  full: { rounds: MIN_ROUNDS, slices: 8 },
  quick: { rounds: 3, slices: 4 },
  settleSeconds: 10,
} as const;

/** What of a comparison says how long it takes. */
export interface Timed {
  scenario: ScenarioName;
  connections: number;
  rounds: number;
  /** Of one slice; of `hold` so long connections are held. */
  seconds: number;
  /** Of each server in a round. */
  slices: number;
  /** A warm-up is no longer. */
  settleSeconds: number;
}

/** A server starts and ends. */
const START_SECONDS = 1.5;
/** A server that needs long for a new connection takes and answers so many in a second. */
const CONNECTS_PER_S = 2000;

/**
 * How long a comparison takes at most, in seconds, if no round is made again: in each round both servers of a pair start, make
 * their connections, warm up and have their slices, one after the other.
 */
export function mostSeconds(
  { scenario, connections, rounds, seconds, slices, settleSeconds }: Timed,
  candidates: number,
): number {
  const load = scenario === "hold" ? seconds : settleSeconds + slices * seconds;
  return 2 * candidates * rounds * (START_SECONDS + connections / CONNECTS_PER_S + load);
}

/** The same of one pair, where the user says nothing but the scenario and the connections. */
export const usualSeconds = (scenario: keyof typeof COMPARING.seconds, connections = 100): number => {
  const { full, settleSeconds, seconds } = COMPARING;
  return mostSeconds({ scenario, connections, ...full, seconds: seconds[scenario], settleSeconds }, 1);
};

/** Of the comparison that shows what light requests wait beside heavy ones: all sizes, with so many candidates. */
export const mixedSeconds = (candidates: number): number => MIXED.sizesUs.length * candidates * usualSeconds("mixed");

/** In words, such as `at most about 12 min`. */
export const atMost = (seconds: number): string => `at most about ${count(Math.max(1, Math.ceil(seconds / 60)))} min`;
