/**
 * The rows that studies and journals store.
 *
 * @module
 */
import { type Ended, ENDS } from "./results.ts";
import { list, nullOr, number, object, oneOf, type Shape, text } from "./check.ts";
import { SCENARIOS } from "./schema.ts";

const nullable = nullOr(number);

/** What one round of a candidate found. */
export interface RoundFound {
  /** The natural logarithm of candidate / reference, in CPU time per request; null: the round failed. */
  log_ratio: number | null;
  /** Requests/s that both were asked at; null: as fast as each answers. */
  rate_per_s: number | null;
  reference_cpu_us_per_request: number | null;
  candidate_cpu_us_per_request: number | null;
  findings: string[];
  /** Why the round failed: whose fault it was, how that ended, and what it said. Null: it did not. */
  failure: { subject: string; ended: Exclude<Ended, "ok">; reason: string } | null;
}

/** What a round found, with the check of each field. */
export const ROUND_FOUND: Shape<RoundFound> = {
  log_ratio: nullable,
  rate_per_s: nullable,
  reference_cpu_us_per_request: nullable,
  candidate_cpu_us_per_request: nullable,
  findings: list(text),
  failure: nullOr(object({ subject: text, ended: oneOf(ENDS), reason: text })),
};

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

/** The cost of one call that waits for events. */
export interface ReadinessRow {
  call: "select" | "poll" | "epoll_wait";
  descriptors: number;
  wait_us: number;
  wait_us_low: number;
  wait_us_high: number;
  turn_us: number;
  turn_us_low: number;
  turn_us_high: number;
}

/** One figure of one candidate against the reference, in one scenario. Null where it was not measured: `reason` says why. */
export interface ComparisonRow {
  scenario: typeof SCENARIOS[number];
  connections: number;
  rate_per_s: number | null;
  /** What a heavy request of `mixed` burns, in CPU-µs; null in other scenarios. */
  heavy_us: number | null;
  reference: string;
  candidate: string;
  metric: string;
  reference_value: number | null;
  candidate_value: number | null;
  ratio: number | null;
  ratio_low: number | null;
  ratio_high: number | null;
  rounds: number;
  findings: string[];
  reason: string | null;
}

/** What one client saw of one server, and what the server counted of the same time. Null: the client does not tell. */
export interface CrosscheckRow {
  experiment: string;
  connections: number;
  client: "lab" | "wrk" | "h2load";
  round: number;
  requests_per_s: number;
  client_cpu_us_per_request: number;
  mean_us: number;
  p99_us: number | null;
  answered: number;
  served: number;
}

/** One figure of one variant of a probe: the median over its runs. See lib/probes/. */
export interface ProbeRow {
  probe: string;
  variant: string;
  /** With the unit last. */
  metric: string;
  value: number | null;
  low: number | null;
  high: number | null;
  runs: number;
  /** What has to be known of the figure, or why there is none. */
  note: string | null;
}

/** The rows of each kind of study. */
export interface Rows {
  readiness: ReadinessRow;
  comparison: ComparisonRow;
  crosscheck: CrosscheckRow;
  probe: ProbeRow;
  selftest: SelftestRow;
}

export type Kind = keyof Rows;

export const ROWS: { [K in Kind]: Shape<Rows[K]> } = {
  readiness: {
    call: oneOf(["select", "poll", "epoll_wait"]),
    descriptors: number,
    wait_us: number,
    wait_us_low: number,
    wait_us_high: number,
    turn_us: number,
    turn_us_low: number,
    turn_us_high: number,
  },
  comparison: {
    scenario: oneOf(SCENARIOS),
    connections: number,
    rate_per_s: nullable,
    heavy_us: nullable,
    reference: text,
    candidate: text,
    metric: text,
    reference_value: nullable,
    candidate_value: nullable,
    ratio: nullable,
    ratio_low: nullable,
    ratio_high: nullable,
    rounds: number,
    findings: list(text),
    reason: nullOr(text),
  },
  crosscheck: {
    experiment: text,
    connections: number,
    client: oneOf(["lab", "wrk", "h2load"]),
    round: number,
    requests_per_s: number,
    client_cpu_us_per_request: number,
    mean_us: number,
    p99_us: nullable,
    answered: number,
    served: number,
  },
  probe: {
    probe: text,
    variant: text,
    metric: text,
    value: nullable,
    low: nullable,
    high: nullable,
    runs: number,
    note: nullOr(text),
  },
  selftest: SELFTEST,
};
