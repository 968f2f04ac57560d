/**
 * The format of a result. results/FORMAT.md is generated from it.
 *
 * @module
 */
import * as v from "valibot";
import { HOST } from "../sampling/host.ts";
import { field, number, numberOrNull, text, textOrNull, time, wrongIn } from "./check.ts";
import { FINDING } from "./findings.ts";
import { LOAD_TRIAL } from "./load_trial.ts";

/**
 * The version of the format. It grows with every change of a field's name, meaning or unit, and with every new field; one
 * that may be missing is no such field.
 */
export const SCHEMA = 3;

/** The scenarios of `deno task exp`. */
export const SCENARIO_SAYS = {
  hold: "connect, hold all connections, send one request on each: all must answer",
  throughput: "closed loop: each connection asks again as soon as it has its answer",
  rate: "open loop: requests are due at a set rate, whether or not the answers come",
  mixed: "`rate`, with a share of requests that burn CPU; latencies are those of the light requests alone",
  churn: "connect, one request, close, again and again",
  slow: "`rate`, while other clients send one byte of a request per second; latencies are those of normal clients",
  broadcast:
    "WebSocket: one of the listeners publishes at a set rate, and each message goes to all; latency is that of a delivery, " +
    "from when its message was due until a listener has read it",
} as const;
export type ScenarioName = keyof typeof SCENARIO_SAYS;
export const SCENARIOS = Object.keys(SCENARIO_SAYS) as ScenarioName[];
/** The scenario of `deno task stress`. */
export const STRESS = "stress";

/** How a run can end. */
export const END_SAYS = {
  ok: "everything was done and answered",
  limited:
    "it stopped at a limit of memory, descriptors or patience, more than one request in a thousand failed, or the rate that was " +
    "asked for was not reached: where it breaks is the result",
  crashed: "the server exited by itself",
  not_ready: "the server did not start in time",
  skipped: "it cannot run on this system",
} as const;
export type Ended = keyof typeof END_SAYS;
export const ENDS = Object.keys(END_SAYS) as Ended[];

/** What the user named of cores and of the request; what is missing was left at its default. */
export const SETUP_FIELDS = {
  server_cores: v.exactOptional(
    field(text, "the cores that the user gave the server, such as `0,2-3`; missing: half of the physical ones"),
  ),
  load_cores: v.exactOptional(field(text, "the same of the load generator, which has a process on each")),
  head: v.exactOptional(
    field(
      v.picklist(["minimal", "client", "browser"]),
      "the fields of a request: Host alone, those of an HTTP client, or those of a browser; missing: `client`, and " +
        "`minimal` where `lab.load` is `null`: no other was known then",
    ),
  ),
};
const SETUP = v.strictObject(SETUP_FIELDS);
export type Setup = v.InferOutput<typeof SETUP>;

/**
 * Whether cores, head and hosts of the load are the default ones. Figures of others are not mixed with them: what a request costs depends on its
 * head, and throughput depends on the cores. Cores that are named as the plan has them are not stored as named: they are the
 * default.
 */
export const isUsualSetup = (
  { server_cores, load_cores, agents, head = "client" }: Setup & { agents?: number },
): boolean => server_cores === undefined && load_cores === undefined && agents === undefined && head === "client";

/** What a scenario was asked for. */
export const PARAMETERS = v.strictObject({
  connections: field(number, "how many connections were wanted"),
  seconds: field(number, "how long was measured; in `hold`, how long the connections were held idle"),
  warmup_seconds: field(number, "how long load ran before the first figure was taken"),
  climb_seconds: v.exactOptional(field(number, "how long connecting may take in a quick run")),
  rate_per_s: v.exactOptional(field(number, "requests due per second; in `broadcast` messages")),
  heavy_share: v.exactOptional(field(number, "the share of heavy requests, from 0 to 1")),
  heavy_path: v.exactOptional(field(text, "their target; `/work/50000` burns 50 000 µs of CPU")),
  slow: v.exactOptional(
    field(
      number,
      "clients that send one byte per second, next to the normal `connections`; in `broadcast` listeners that do not read",
    ),
  ),
  message_bytes: v.exactOptional(field(number, "in `broadcast`, bytes of a message, without its frame")),
  path: v.exactOptional(field(text, "what was asked for by GET; missing: `/`")),
  staying: v.exactOptional(field(number, "in `stress`, how many of the connections stay; the others churn")),
  ...SETUP_FIELDS,
  agents: v.exactOptional(
    field(
      number,
      "how many agents on other hosts made the load, driven by the machine of `host`; missing: that machine made it",
    ),
  ),
  workers: v.exactOptional(field(number, "in `stress`, the `--workers` of the server, where it has some")),
  wire: v.exactOptional(
    field(
      v.picklist(["veth"]),
      "what joined load and server: a veth pair between two network namespaces; missing: loopback",
    ),
  ),
});
export type Parameters = v.InferOutput<typeof PARAMETERS>;

/** Null: not measured in this scenario, or the system does not say. Never a guess, never a zero in its place. */
export const METRICS_SCHEMA = v.strictObject({
  connections: field(numberOrNull, "connections wanted or held during the measurement"),
  answered: field(
    numberOrNull,
    "in `hold` the connections whose last request was answered with 200; under load the answers with 200 in the window; " +
      "in `broadcast` the deliveries of its messages",
  ),
  unanswered: field(
    numberOrNull,
    "requests without an answer, or deliveries that did not come, when waiting ended; they are in the percentiles",
  ),
  lost: field(numberOrNull, "connections that the server closed or reset early"),
  reconnects: field(numberOrNull, "connections opened again for clients whose connection the server had closed"),
  closes_after: field(numberOrNull, "after how many answers the server closed each connection; `null`: no one number"),
  connect_seconds: field(
    numberOrNull,
    "how long connecting took in `hold`, with the first request and its answer on each connection",
  ),
  connects_per_s: field(
    numberOrNull,
    "handshakes per second: the kernel completes them, whether or not the server has accepted the connections yet",
  ),
  accepts_per_s: v.exactOptional(field(
    numberOrNull,
    "in `hold`: accepted connections per second, from the first connect until each connection has its first answer; an " +
      "answer shows that the server has accepted it. Missing in older results: `answered` by `connect_seconds`",
  )),
  requests_per_s: field(
    numberOrNull,
    "requests answered per second; a lower bound with the finding `client_bound`",
  ),
  p50_us: field(numberOrNull, "the median latency"),
  p99_us: field(numberOrNull, "latency, 99th percentile"),
  p99_9_us: field(numberOrNull, "latency, 99.9th percentile"),
  late_p50_us: field(
    numberOrNull,
    "how late requests left although a connection was idle, median: the generator's own fault; open loop only",
  ),
  late_p99_us: field(numberOrNull, "the same, 99th percentile"),
  raw_p50_us: field(numberOrNull, "the median latency from the moment of sending; open loop only"),
  raw_p99_us: field(numberOrNull, "the same, 99th percentile"),
  raw_p99_9_us: field(numberOrNull, "the same, 99.9th percentile"),
  cpu_us_per_request: field(
    numberOrNull,
    "CPU time, user and system, per answered request; it depends on the rate and is compared at one rate only. `null` where " +
      "more than one request in a hundred failed",
  ),
  core_us_per_request: v.exactOptional(field(
    numberOrNull,
    "over a wire: busy time of the server's cores per answered request, interrupts included; the kernel's work on packets " +
      "that belongs to no process is in it, and whatever else ran there. Compared in place of `cpu_us_per_request`",
  )),
  messages: v.exactOptional(field(numberOrNull, "in `broadcast`: messages that were due in the window")),
  delivered_share: v.exactOptional(
    field(numberOrNull, "in `broadcast`: deliveries by messages times listeners; 1: all have all, each once"),
  ),
  deliveries_per_s: v.exactOptional(
    field(numberOrNull, "in `broadcast`: deliveries per second, those after the end of the window left out"),
  ),
  cpu_us_per_delivery: v.exactOptional(
    field(numberOrNull, "in `broadcast`: CPU time of the server, user and system, per delivery"),
  ),
  last_p50_us: v.exactOptional(
    field(
      numberOrNull,
      "in `broadcast`: how long after a message was due the last listener had it, the median over messages",
    ),
  ),
  last_p99_us: v.exactOptional(field(numberOrNull, "the same, 99th percentile")),
  server_core_share: field(numberOrNull, "CPU time of the server by the time that its cores had"),
  client_core_share: field(
    numberOrNull,
    "the same of the busiest process of the load generator, without waiting for due times",
  ),
  user_bytes_per_conn: field(
    numberOrNull,
    "memory of the processes per additional connection (anonymous PSS), as the slope between two sizes",
  ),
  kernel_bytes_per_conn: field(
    numberOrNull,
    "memory of the kernel per additional connection at the server's end; it is in no process's figures; `null` where the server bypasses the kernel, or others opened or closed sockets meanwhile",
  ),
  rss_bytes: field(numberOrNull, "resident memory: pages that processes share are counted in each of them"),
  pss_bytes: field(
    numberOrNull,
    "proportional memory: a page that n processes share counts 1/n in each, so that the sum is right",
  ),
  processes: field(numberOrNull, "processes of the server"),
  threads: field(numberOrNull, "threads of the kernel"),
  context_switches_per_request: field(
    numberOrNull,
    "how often a thread gave up its core or lost it, per answered request",
  ),
});
export type Metrics = v.InferOutput<typeof METRICS_SCHEMA>;
export const METRICS = Object.keys(METRICS_SCHEMA.entries) as (keyof Metrics)[];

/** What a stress has shown. Counts are those of the whole run, warm-up included. */
export const STRESS_FIGURES = v.strictObject({
  requests: field(number, "requests that were sent, or the first half of them"),
  answered: field(number, "answers with 200 that the clients got"),
  resets: field(
    number,
    "connections that the clients reset; some right after the answer, so that the request counts as answered",
  ),
  half_closes: field(number, "requests after which the client closed its half"),
  unanswered: field(number, "requests without an answer that were not reset: must be 0"),
  unended: field(number, "half-closed connections that were answered and then not closed by the server: must be 0"),
  errors: field(v.record(v.string(), number), "what the clients met, by errno name or `http_<status>`: must be empty"),
  served: field(
    numberOrNull,
    "requests that the server says it served: at least `answered`, at most that and `resets`; `null` if it did not say",
  ),
  descriptors_before: field(number, "descriptors of the server's processes at rest, after the warm-up"),
  descriptors_after: field(number, "the same at rest at the end: at most 2 more"),
  threads_before: field(number, "threads of the server's processes at rest, after the warm-up"),
  threads_after: field(number, "the same at rest at the end: no more"),
  pss_anon_bytes: field(
    v.array(numberOrNull),
    "anonymous memory (PSS) of the server's processes under load: the lowest of four samples per quarter of the time",
  ),
  level: field(
    v.nullable(v.boolean()),
    "whether that grew by no more than 10 % + 2 MiB from the second quarter to the last: must be; `null` under 30 s",
  ),
  broken: field(v.array(text), "what does not hold, a sentence each"),
});
export type StressFigures = v.InferOutput<typeof STRESS_FIGURES>;

/** What a server was. Null: the system does not say, or there was nothing to look at. */
export const MANIFEST = v.strictObject({
  version: field(text, "of the runtime, the compiler or the server"),
  settings: field(textOrNull, "threads, buffers and flags, in words of the experiment's header"),
  cannot: field(v.array(text), "what of the contract it does not do: what is not done need not be paid for"),
  cpus: field(textOrNull, "the cores that it may use, as in `0-3`"),
  processes: field(numberOrNull, "how many it had"),
  threads: field(numberOrNull, "how many it had, with its connections"),
  backlog: field(numberOrNull, "of its listening socket, as the kernel has cut it"),
  nodelay: field(v.nullable(v.boolean()), "whether TCP_NODELAY is set on an accepted connection"),
  send_buffer_bytes: field(numberOrNull, "SO_SNDBUF of an accepted connection"),
  receive_buffer_bytes: field(numberOrNull, "SO_RCVBUF of an accepted connection"),
});
export type Manifest = v.InferOutput<typeof MANIFEST>;

/** The version of the lab that measured. */
export const LAB = v.strictObject({
  commit: field(textOrNull, "of the checkout, with `-dirty` behind it if files differ; `null` outside of a repository"),
  load: field(textOrNull, "a digest of the load generator's source; `null`: not recorded"),
  served: field(
    textOrNull,
    "a digest of the files that served, what a peer is built from included; `null`: not a file of this project, or not recorded",
  ),
});
export type Lab = v.InferOutput<typeof LAB>;

/**
 * The head that requests were made with. Before there were several, none was stored, and no digest of the load either: all
 * had Host alone.
 */
export const headOf = ({ head }: Setup, { load }: Pick<Lab, "load">): NonNullable<Setup["head"]> =>
  head ?? (load === null ? "minimal" : "client");

/** One run of one experiment in one scenario. */
export const RESULT = v.strictObject({
  schema: field(
    v.literal(SCHEMA),
    "the version of this format; it grows with every change of a field, and readers refuse other versions",
  ),
  id: field(text, "eight hexadecimal digits, so that two runs of one second differ"),
  time: field(time, "when the run ended, in UTC"),
  experiment: field(text, "which file of experiments/ served, or the name that `deno task measure` was given"),
  family: field(
    text,
    "its family: `blocking`, `readiness`, `completion`, `runtime`, `hybrid`, `bypass` or `push`; `custom`: no experiment",
  ),
  scenario: field(v.picklist([...SCENARIOS, STRESS]), "what was done to it: see [Scenarios](#scenarios)"),
  quick: field(v.boolean(), "whether it was a quick run, for a first look"),
  parameters: field(PARAMETERS, "with which numbers: see [Parameters](#parameters)"),
  host: field(HOST, "on which machine: see [Host](#host); nothing in it names the machine or its owner"),
  lab: field(LAB, "by which version of the lab: see [Lab](#lab)"),
  metrics: field(METRICS_SCHEMA, "the figures: see [Metrics](#metrics)"),
  manifest: field(
    v.nullable(MANIFEST),
    "what the server was at the end of the run: see [Manifest](#manifest); `null` if it was not looked at",
  ),
  load_trials: v.exactOptional(
    field(
      v.array(LOAD_TRIAL),
      "in `throughput`, where the load has several cores: what the server did with 1, 2, 4 … processes of load, until its " +
        "share stopped rising; the last number made the load: see [Load trials](#load-trials)",
    ),
  ),
  histogram: field(
    textOrNull,
    "all latencies, an HdrHistogram compressed and in base64 (lib/timing/histogram.ts reads it)",
  ),
  errors: field(
    v.nullable(v.record(v.string(), number)),
    "what went wrong, by errno name, `http_<status>` or the cause for which an answer could not be followed; `null`: not recorded",
  ),
  at_least: field(
    v.array(v.picklist(METRICS)),
    "the percentiles that are lower bounds, because unanswered requests reach them",
  ),
  findings: field(
    v.array(FINDING),
    "what weakens the figures: see [Findings](#findings); an empty list is the best one",
  ),
  stress: v.exactOptional(
    field(STRESS_FIGURES, "what a stress has shown: see [Stress](#stress); only in that scenario"),
  ),
  ended: field(v.picklist(ENDS), "how it ended: see [Ends](#ends)"),
  reason: field(textOrNull, "why, in one sentence; `null` if it ended `ok`"),
  command: field(text, "the command line that repeats the run"),
});
export type Result = v.InferOutput<typeof RESULT>;

/** What is wrong with a value that should be a result; undefined if nothing is. */
export const wrongInResult = (value: unknown): string | undefined => wrongIn(RESULT, value);
