import type { Guard } from "./guard.ts";
import type { Parameters, Result, ScenarioName } from "../results/results.ts";
import type { Setup } from "../results/schema.ts";
import { HEAVY_SHARE, heavyPath, MESSAGE_BYTES, WARMUP_SECONDS, WARMUP_SECONDS_QUICK } from "../results/conventions.ts";
import { count } from "../text/format.ts";

/** What load from other hosts is bounded by: no coordinator can raise it. */
export interface LoadBounds {
  connections: number;
  /** Requests per second over so many connections. */
  ratePerS(connections: number): number;
  /** From the first connection to the last answer of all runs. */
  seconds: number;
  /** Whether only an open loop is done: a closed loop and a churn have no rate that could be bounded. */
  openOnly: boolean;
}

/** What the user asked for; what is null is left to the plan. */
export interface MeasureOptions {
  quick: boolean;
  scenarios: ScenarioName[] | null;
  connections: number[] | null;
  seconds: number | null;
  rate: number | null;
  /** Of a broadcast: listeners that do not read. */
  slow: number | null;
  /** Of a broadcast: bytes of a message. */
  bytes: number | null;
  /** Cores and head, where some are named. */
  setup?: Setup;
  /** How many agents on other hosts make the load; default: this machine does. */
  agents?: number;
  /** What these agents do at the most. A plan beyond it is cut. */
  bounds?: LoadBounds;
  /** Takes a sentence wherever the plan is cut. */
  say?: (sentence: string) => void;
}

/** One run to come. */
export interface Step {
  scenario: ScenarioName;
  parameters: Parameters;
  /** A run for a first look; default: a full one. */
  quick?: boolean;
}

/** Runs one step, with a guard that knows the smaller steps. */
type RunStep = (step: Step, guard: Guard) => Promise<Result>;

const HOLD = [1, 10, 100, 1000, 10_000];
const HOLD_QUICK = [100, 1000];
const LISTENERS = [10, 100, 1000, 10_000];
const LISTENERS_QUICK = [100, 1000];
const MESSAGES_PER_S = 10; // of a broadcast
/** Of every scenario but hold and broadcast. */
export const LOADED_CONNECTIONS = 100;
const RATE = 1000; // requests/s of an open loop where no throughput was measured before
const RATE_SHARE = 0.5; // of the throughput: far from saturation, where latency is the server's own
const SECONDS: Record<ScenarioName, number> = {
  hold: 1,
  throughput: 5,
  rate: 10,
  mixed: 10,
  churn: 5,
  slow: 5,
  broadcast: 10,
};
const SECONDS_QUICK: Record<ScenarioName, number> = {
  hold: 0,
  throughput: 2,
  rate: 2,
  mixed: 2,
  churn: 2,
  slow: 2,
  broadcast: 2,
};
const DEFAULT_SCENARIOS: ScenarioName[] = ["hold", "throughput", "rate"];
/** These ask as fast as the server answers. */
export const WITHOUT_RATE: readonly ScenarioName[] = ["throughput", "churn"];
const COLD: ScenarioName[] = ["hold", "slow"]; // nothing runs before what is measured
/** A quick run gives up climbing after this time, so that the whole of it stays under 20 s. */
const CLIMB_SECONDS_QUICK = 3;

function parameters(options: MeasureOptions, scenario: ScenarioName, connections: number): Parameters {
  const seconds = options.seconds ?? (options.quick ? SECONDS_QUICK : SECONDS)[scenario];
  const base: Parameters = {
    ...options.setup,
    ...(options.agents !== undefined && { agents: options.agents }),
    connections,
    seconds,
    warmup_seconds: COLD.includes(scenario) ? 0 : options.quick ? WARMUP_SECONDS_QUICK : WARMUP_SECONDS,
  };
  if (scenario === "hold") return { ...base, ...(options.quick && { climb_seconds: CLIMB_SECONDS_QUICK }) };
  if (scenario === "throughput" || scenario === "churn") return base;
  if (scenario === "broadcast") return broadcastOf(options, base);
  const open = { ...base, rate_per_s: options.rate ?? RATE };
  if (scenario === "mixed") return { ...open, heavy_share: HEAVY_SHARE, heavy_path: heavyPath() };
  return scenario === "slow" ? { ...open, slow: connections } : open;
}

const broadcastOf = ({ rate, slow, bytes, quick }: MeasureOptions, base: Parameters): Parameters => ({
  ...base,
  rate_per_s: rate ?? MESSAGES_PER_S,
  message_bytes: bytes ?? MESSAGE_BYTES,
  ...(slow !== null && { slow }),
  ...(quick && { climb_seconds: CLIMB_SECONDS_QUICK }),
});

/** The sizes at which a server is asked how far it goes. */
const SIZES = {
  hold: { full: HOLD, quick: HOLD_QUICK },
  broadcast: { full: LISTENERS, quick: LISTENERS_QUICK },
} as const;
const isClimb = (scenario: ScenarioName): scenario is keyof typeof SIZES => scenario in SIZES;

/** What is asked for, or what is usual without that which the bounds forbid. */
function scenariosOf({ scenarios, bounds, say }: MeasureOptions): ScenarioName[] {
  if (scenarios !== null || bounds?.openOnly !== true) return scenarios ?? DEFAULT_SCENARIOS;
  say?.("throughput is left out: a closed loop has no rate, and these agents bound theirs (--max-rate).");
  return DEFAULT_SCENARIOS.filter((name) => !WITHOUT_RATE.includes(name));
}

/** How long a plan takes at the least, in seconds: the first step of a climb, and all steps behind the climb. */
export function leastSeconds(options: MeasureOptions): number {
  const all = scenariosOf({ ...options, say: () => {} });
  const loads = (options.connections ?? [LOADED_CONNECTIONS]).flatMap((connections) =>
    all.filter((scenario) => !isClimb(scenario)).map((scenario) => parameters(options, scenario, connections))
  );
  const climbs = all.filter(isClimb).map((scenario) => parameters(options, scenario, 1));
  return [...climbs, ...loads].reduce((sum, { seconds, warmup_seconds }) => sum + seconds + warmup_seconds, 0);
}

/** Cuts a step of a load to the bounds, and says so. */
function cut({ scenario, parameters: wanted, ...rest }: Step, { bounds, say }: MeasureOptions): Step {
  if (bounds === undefined) return { scenario, parameters: wanted, ...rest };
  const within = { ...wanted };
  // A climb stops by itself where the agents have no more; a churn and slow clients are made at once.
  const most = scenario === "churn" ? bounds.connections : Math.max(1, Math.floor(bounds.connections / 2));
  if ((scenario === "churn" || scenario === "slow") && wanted.connections > most) {
    within.connections = most;
    if (scenario === "slow") within.slow = most;
    say?.(`${scenario}: ${count(most)} connections in place of ${count(wanted.connections)} (--max-connections).`);
  }
  const { rate_per_s: rate = 0 } = wanted;
  const highest = bounds.ratePerS(within.connections);
  if (rate > highest) {
    within.rate_per_s = Math.floor(highest); // a command that repeats the run names a whole number
    say?.(`${scenario}: ${count(within.rate_per_s)} requests/s in place of ${count(rate)} (--max-rate).`);
  }
  return { scenario, parameters: within, ...rest };
}

/**
 * Walks the ladder: `hold`, or `broadcast`, at growing sizes until it holds no more, then `throughput` at 100 connections (fewer where
 * fewer were held), then `rate` at half of that throughput. What the user asked for replaces the defaults, and what other hosts do not lend is cut.
 */
export async function* ladder(options: MeasureOptions, runStep: RunStep, guard: Guard): AsyncGenerator<Result> {
  const scenarios = scenariosOf(options);
  let held = Infinity;
  for (const scenario of scenarios.filter(isClimb)) {
    held = 1;
    for (const connections of options.connections ?? SIZES[scenario][options.quick ? "quick" : "full"]) {
      const step = { scenario, parameters: parameters(options, scenario, connections), quick: options.quick };
      const result = await runStep(step, guard);
      yield result;
      if (["skipped", "crashed", "not_ready"].includes(result.ended)) return;
      held = Math.max(held, result.metrics.answered ?? 0);
      // Under load clients of such a server connect again, so that how many it keeps is no limit.
      if (scenario === "hold" && result.metrics.closes_after !== null) held = Infinity;
      if (result.ended !== "ok") break;
    }
  }
  for (const wanted of options.connections ?? [LOADED_CONNECTIONS]) {
    let peak: number | null = null;
    for (const scenario of scenarios) {
      if (isClimb(scenario) || (scenario === "rate" && peak === 0)) continue;
      const step: Step = {
        scenario,
        parameters: parameters(options, scenario, Math.min(wanted, held)),
        quick: options.quick,
      };
      if (scenario === "rate" && options.rate === null && peak !== null) step.parameters.rate_per_s = peak * RATE_SHARE;
      const result = await runStep(cut(step, options), guard);
      yield result;
      if (["skipped", "crashed", "not_ready"].includes(result.ended)) return;
      if (scenario === "throughput") peak = result.metrics.requests_per_s;
    }
  }
}
