/**
 * The rows that studies and journals store.
 *
 * @module
 */
import * as v from "valibot";
import { field, number, numberOrNull, text, textOrNull } from "./check.ts";
import { FOUND } from "./findings.ts";
import { ENDS, SCENARIOS, SETUP_FIELDS } from "./schema.ts";

/** What one round of a candidate found. */
export const ROUND_FOUND = v.strictObject({
  log_ratio: field(
    numberOrNull,
    "the natural logarithm of candidate / reference, in CPU time per request; `null`: the round failed",
  ),
  rate_per_s: field(numberOrNull, "requests per second that both were asked at; `null`: as fast as each answers"),
  reference_cpu_us_per_request: field(numberOrNull, "CPU time per request of the reference"),
  candidate_cpu_us_per_request: field(numberOrNull, "the same of the candidate"),
  findings: field(v.array(FOUND), "what weakened it: `server` and `id`; some findings make a round not count"),
  failure: field(
    v.nullable(
      v.strictObject({ subject: text, ended: v.picklist(ENDS.filter((ended) => ended !== "ok")), reason: text }),
    ),
    "why the round failed: the server that failed (`subject`), how it `ended`, and the `reason`; `null`: it did not",
  ),
});
export type RoundFound = v.InferOutput<typeof ROUND_FOUND>;

/** One round of one copy of a server whose slow-down is known. */
export const SELFTEST = v.strictObject({
  extra_percent: field(
    number,
    "what the copy was to burn beyond the CPU time per request, in % of it; 0: it is the same",
  ),
  round: field(number, "counted from 1, for each copy"),
  turns: field(number, "turns of the loop that burns, per request"),
  extra_cpu_us: field(
    number,
    "what these turns cost, in CPU-µs per request, by the clock of the thread; 0 also in a round that failed",
  ),
  seconds: field(number, "how long the round took, with starting both servers and warming them up"),
  ...ROUND_FOUND.entries,
});
export type SelftestRow = v.InferOutput<typeof SELFTEST>;

const FOREIGN = v.exactOptional(
  field(
    number,
    "the share of the CPU time of all cores that other processes used meanwhile; missing: not known. Over 0.1 no figure of " +
      "time decides anything",
  ),
);

/** The cost of one call that waits for events. */
const READINESS = v.strictObject({
  call: field(v.picklist(["select", "poll", "epoll_wait"]), "which call"),
  descriptors: field(number, "how many are watched"),
  wait_us: field(number, "the call, and what has to be prepared for it: select's set is filled"),
  wait_us_low: field(number, "lower end of its 98 % interval"),
  wait_us_high: field(number, "upper end"),
  turn_us: field(number, "the same, including the scan for ready descriptors: select's set and poll's array"),
  turn_us_low: field(number, "lower end of its 98 % interval"),
  turn_us_high: field(number, "upper end"),
  foreign_share: FOREIGN,
});
export type ReadinessRow = v.InferOutput<typeof READINESS>;

/** One figure of one candidate against the reference, in one scenario. */
const COMPARISON = v.strictObject({
  scenario: field(v.picklist(SCENARIOS), "`throughput`, `rate`, `mixed`, `hold`, `churn` or `broadcast`"),
  connections: field(number, "how many each of the two held; in `churn` how many lived at a time"),
  rate_per_s: field(numberOrNull, "requests due per second, the same for both; `null` in a closed loop"),
  heavy_us: field(numberOrNull, "CPU time that one request of a hundred burns in `mixed`; `null` elsewhere"),
  slow: v.exactOptional(
    field(
      number,
      "in `broadcast`: listeners of the candidate that do not read, next to the `connections`; the reference has none",
    ),
  ),
  message_bytes: v.exactOptional(field(number, "in `broadcast`: bytes of a message, where they are not 128")),
  ...SETUP_FIELDS,
  reference: field(text, "the experiment that all are compared with"),
  candidate: field(text, "the other one"),
  metric: field(text, "which figure: the names are those of [Metrics](#metrics)"),
  reference_value: field(numberOrNull, "the median of the reference over the rounds with this candidate"),
  candidate_value: field(numberOrNull, "the median of the candidate"),
  ratio: field(numberOrNull, "candidate / reference, from pairs of neighbouring slices: the median over the rounds"),
  ratio_low: field(numberOrNull, "lower end of its 98 % interval; `null` if a figure is missing in a round"),
  ratio_high: field(numberOrNull, "upper end"),
  rounds: field(number, "rounds that both completed, and that count"),
  left_out: v.exactOptional(
    field(number, "rounds that do not count, because other processes took CPU time from them; missing: none"),
  ),
  findings: field(
    v.array(FOUND),
    "what weakened more than half of the rounds, or took CPU time from one: `server` and `id`",
  ),
  reason: field(textOrNull, "why the candidate was excluded before the last round; `null` if it was not"),
});
export type ComparisonRow = v.InferOutput<typeof COMPARISON>;
/** What one client saw of one server, and what the server counted at the same time. */
const CROSSCHECK = v.strictObject({
  experiment: field(text, "which server"),
  connections: field(number, "how many the client held"),
  client: field(v.picklist(["lab", "wrk", "h2load"]), "`lab`: the load generator of this project; `wrk`; `h2load`"),
  round: field(number, "in which round; in each, every client has its turn, in random order"),
  requests_per_s: field(number, "as the client counts them"),
  client_cpu_us_per_request: field(number, "CPU time of the client per request"),
  mean_us: field(number, "mean latency, as the client reports it"),
  p99_us: field(numberOrNull, "as the client reports it; `null`: it does not"),
  answered: field(number, "answers that the client counted, warm-up included"),
  served: field(number, "answers that the server counted; clients other than the lab do not wait for their last ones"),
});
export type CrosscheckRow = v.InferOutput<typeof CROSSCHECK>;

/** One figure of one variant of a probe. */
const PROBE = v.strictObject({
  probe: field(text, "which measurement"),
  variant: field(text, "what of it: an experiment, a number of connections, an option"),
  metric: field(text, "which figure, with its unit last"),
  value: field(numberOrNull, "the median over the runs; `null`: it could not be measured"),
  low: field(
    numberOrNull,
    "lower end of its 98 % interval, exact, by order statistics; `null`: too few runs (most need 7)",
  ),
  high: field(numberOrNull, "upper end"),
  runs: field(number, "how many runs"),
  note: field(textOrNull, "a caveat of the figure, or why there is none; `null`: nothing to add"),
  foreign_share: FOREIGN,
});
export type ProbeRow = v.InferOutput<typeof PROBE>;

const FAULT_VERDICT = v.picklist(["survived", "degraded", "failed", "cannot", "skipped"]);

/** What a server shows under one fault. */
const FAULT = v.strictObject({
  server: field(text, "which server"),
  fault: field(text, "what was done to it"),
  seed: field(number, "of all that is random in the fault"),
  verdict: field(
    FAULT_VERDICT,
    "by the rules of `scripts/faults/judge.ts`; `cannot`: its architecture does not promise it",
  ),
  reason: field(
    textOrNull,
    "the rule that is broken, why there is no figure, or what it keeps by its header; `null`: it survived and keeps nothing",
  ),
  runs: field(
    v.array(FAULT_VERDICT),
    "the verdicts of all its runs: the first beside other cells or alone, those behind it alone",
  ),
  clients: field(number, "how many normal clients it had; 0: nothing was measured"),
  requests_during: field(
    number,
    "requests of normal clients that were due during the fault, or in a second from its start",
  ),
  answered_share_during: field(numberOrNull, "share of these that were answered; `null`: there were none"),
  p99_ms_before: field(
    numberOrNull,
    "of the normal clients, in ms, before the fault; `null`: that request had no answer",
  ),
  p99_ms_during: field(numberOrNull, "the same during the fault, or in a second from its start"),
  p99_ms_after: field(numberOrNull, "the same after it"),
  recovery_s: field(
    numberOrNull,
    "from the end of the fault until 99 % of the requests are answered in time again; `null`: never while it was looked at",
  ),
  cpu_share_during: field(
    numberOrNull,
    "CPU of the server during the fault, in cores, beyond what it was before; the time in which its threads were ready and others had the CPU does not count",
  ),
  descriptors_left: field(numberOrNull, "open descriptors after the fault, beyond those before it"),
  threads_left: field(numberOrNull, "threads after it, beyond those before it"),
  memory_left_bytes: field(numberOrNull, "anonymous PSS after it, beyond that before it"),
  memory_held_bytes: field(
    numberOrNull,
    "anonymous PSS while clients do not read, beyond that of their idle connections; `null`: another fault",
  ),
  owed: field(number, "answers that the clients of the fault, and new ones behind it, had to get"),
  lost: field(number, "how many of these did not come"),
  lost_after: field(number, "how many of the lost ones were owed to the new clients behind the fault"),
  outcomes: field(
    textOrNull,
    "in what ways it ended for the clients of the fault, with how often; `null`: not counted",
  ),
  ended_early: field(v.boolean(), "whether the server ended by itself"),
  exit_code: field(numberOrNull, "of a server that the fault ends; `null` elsewhere"),
});
export type FaultRow = v.InferOutput<typeof FAULT>;

/** One quantity of a server over a soak. */
const SOAK = v.strictObject({
  server: field(text, "which server"),
  seed: field(number, "of the faults, their order and what is random in them"),
  minutes: field(number, "how long it was loaded"),
  quantity: field(
    v.picklist(["memory", "descriptors", "threads", "latency"]),
    "`memory`: anonymous PSS in bytes; `latency`: the p99 of normal clients in ms; the others are counts",
  ),
  verdict: field(
    v.picklist(["flat", "rising", "unclear"]),
    "by the rule of `scripts/faults/soak/judge.ts`; `unclear`: too few points, or nothing is known",
  ),
  level: field(numberOrNull, "the median of the third quarter"),
  rise: field(numberOrNull, "by how much it rose over the second half, by the median slope"),
  rise_low: field(numberOrNull, "lower end of its 98 % interval"),
  rise_high: field(numberOrNull, "upper end"),
  step: field(numberOrNull, "from the upper quartile of the third quarter to the lower quartile of the last"),
  allowed: field(numberOrNull, "by how much it may rise"),
  at_s: field(v.array(number), "when each value was taken, in seconds; none, where the process is not known"),
  values: field(v.array(number), "the values, each at the end of a stretch without a fault"),
  faults: field(v.array(text), "what was done to it, in this order"),
  requests: field(number, "requests of normal clients in the stretches without a fault"),
  unanswered: field(number, "how many of these got no answer"),
  visits: field(number, "connections of clients that ask once and leave, beside the normal ones, under faults too"),
  visits_failed: field(number, "how many of these got no answer in 3 s: refused, reset, or late"),
  owed: field(number, "answers that the clients of the faults had to get"),
  lost: field(number, "how many of these did not come"),
  broken: field(
    textOrNull,
    "how the server ended, or that answers under faults were lost, or that too many got none; `null`: none of it",
  ),
});
export type SoakRow = v.InferOutput<typeof SOAK>;

/** One rate of a sweep. */
const SWEEP = v.strictObject({
  server: field(text, "which server"),
  connections: field(number, "how many were held"),
  ...SETUP_FIELDS,
  round: field(number, "0: of the ladder; else the number of the bisection, counted from 1"),
  rate_per_s: field(number, "requests due per second"),
  answered_per_s: field(numberOrNull, "requests answered per second; clearly fewer than were due: it is saturated"),
  p50_us: field(numberOrNull, "the median latency, from when a request was due"),
  p99_us: field(numberOrNull, "the same, 99th percentile"),
  p99_9_us: field(numberOrNull, "the same, 99.9th percentile"),
  server_core_share: field(numberOrNull, "CPU time of the server by the time that its cores had"),
  ended: field(v.picklist(["ok", "limited"]), "`limited`: requests failed or got no answer, and no objective is met"),
  slo: field(textOrNull, "the objective that a bisection looked for, such as `p99=5ms`; `null`: none"),
  seed: v.exactOptional(
    field(
      number,
      "in a bisection: the seed of the factors that shift the rates at which the rounds begin, and of the order of the servers",
    ),
  ),
  closeness: v.exactOptional(
    field(
      number,
      "in a bisection: it ends where the rate that fails is so much above the one that meets; missing: 0.05",
    ),
  ),
  over: v.exactOptional(
    field(
      v.boolean(),
      "in a bisection: whether it ended with this rate; without such a row the round may be unfinished",
    ),
  ),
  findings: field(v.array(FOUND), "what weakens the figures: `server` and `id`"),
});
export type SweepRow = v.InferOutput<typeof SWEEP>;

/** One server on so many cores. */
const SCALING = v.strictObject({
  server: field(text, "which server"),
  cores: field(number, "how many cores the server had"),
  server_cores: field(text, "which ones, such as `0,2-3`"),
  load_cores: field(text, "those of the load generator, which has a process on each"),
  shared: field(v.boolean(), "whether the load ran on cores of the server too: a speed-up is a lower bound then"),
  path: field(text, "what each request asked for, in a closed loop"),
  connections: field(number, "how many were held"),
  requests_per_s: field(numberOrNull, "requests answered per second, the median over the rounds"),
  cpu_us_per_request: field(numberOrNull, "CPU time of the server per request, the same"),
  speed_up: field(
    numberOrNull,
    "requests/s against one core, from pairs of neighbouring slices: the median over the rounds; `null`: not measured",
  ),
  speed_up_low: field(numberOrNull, "lower end of its 98 % interval; `null`: too few rounds, or the row of one core"),
  speed_up_high: field(numberOrNull, "upper end"),
  cpu_ratio: field(numberOrNull, "CPU time per request against one core, in the same way"),
  cpu_ratio_low: field(numberOrNull, "lower end of its 98 % interval"),
  cpu_ratio_high: field(numberOrNull, "upper end"),
  shares_of: field(
    v.picklist(["requests", "cpu"]),
    "what the shares are of: requests that each loop says it served, or CPU time of each thread",
  ),
  shares: field(
    v.array(number),
    "the share of each loop or thread, the largest first, each the median over the rounds; threads under a tenth of an even share " +
      "are left out",
  ),
  rounds: field(number, "rounds that were completed"),
  findings: field(
    v.array(FOUND),
    "what weakened more than half of the rounds, or took CPU time from one: `server` and `id`",
  ),
  reason: field(textOrNull, "why there is no figure; `null`: there is one"),
});
export type ScalingRow = v.InferOutput<typeof SCALING>;

/** The rows of each kind of study. */
export const ROWS = {
  readiness: READINESS,
  comparison: COMPARISON,
  wire: COMPARISON,
  crosscheck: CROSSCHECK,
  probe: PROBE,
  selftest: SELFTEST,
  faults: FAULT,
  soak: SOAK,
  sweep: SWEEP,
  scaling: SCALING,
};
export type Kind = keyof typeof ROWS;
export type Rows = { [K in Kind]: v.InferOutput<typeof ROWS[K]> };
export const KINDS = Object.keys(ROWS) as Kind[];
