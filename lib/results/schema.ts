/**
 * The format of a file in results/: its types, and the checks that a file must pass. results/README.md explains it.
 *
 * @module
 */
import { type Finding, FINDING_IDS } from "./findings.ts";
import { type HostFacts, type Sysctl, SYSCTLS } from "../sampling/host.ts";
import { type Check, either, list, nullOr, number, object, oneOf, optional, type Shape, text, truth } from "./check.ts";

/** The version of the format. It grows with every change of a field's name, meaning or unit, and with every new field. */
export const SCHEMA = 2;
/** The scenarios of `deno task exp`, see results/README.md. */
export const SCENARIOS = ["hold", "throughput", "rate", "mixed", "churn", "slow"] as const;
/** The scenario of `deno task stress`. */
export const STRESS = "stress";
/** How a run can end. */
export const ENDS = ["ok", "limited", "crashed", "not_ready", "skipped"] as const;
/** What is measured: the unit stands last in the key. */
export const METRICS = [
  "connections",
  "answered",
  "lost",
  "connect_seconds",
  "connects_per_s",
  "requests_per_s",
  "p50_us",
  "p99_us",
  "p99_9_us",
  "raw_p50_us",
  "raw_p99_us",
  "raw_p99_9_us",
  "cpu_us_per_request",
  "user_bytes_per_conn",
  "kernel_bytes_per_conn",
  "rss_bytes",
  "pss_bytes",
  "processes",
  "threads",
  "context_switches_per_request",
  "ratio",
  "ratio_low",
  "ratio_high",
] as const;

export type ScenarioName = typeof SCENARIOS[number];
export type Ended = typeof ENDS[number];
/** Null: not measured in this scenario, or this system does not tell. Never a guess, never a zero in its place. */
export type Metrics = Record<typeof METRICS[number], number | null>;

/** What a scenario was asked for. */
export interface Parameters {
  connections: number;
  seconds: number;
  warmup_seconds: number;
  climb_seconds?: number;
  rate_per_s?: number;
  heavy_share?: number;
  heavy_path?: string;
  slow?: number;
  staying?: number;
  workers?: number;
}

/** What a stress has shown. Counts are those of the whole run, warm-up included. */
export interface StressFigures {
  requests: number;
  answered: number;
  resets: number;
  half_closes: number;
  unanswered: number;
  unended: number;
  errors: Record<string, number>;
  served: number | null;
  descriptors_before: number;
  descriptors_after: number;
  threads_before: number;
  threads_after: number;
  pss_anon_bytes: (number | null)[];
  level: boolean | null;
  broken: string[];
}

/** One run of one experiment in one scenario. */
export interface Result {
  schema: typeof SCHEMA;
  id: string;
  /** When it was made, as `Date.toISOString` has it. */
  time: string;
  experiment: string;
  family: string;
  scenario: ScenarioName | typeof STRESS;
  parameters: Parameters;
  host: HostFacts;
  metrics: Metrics;
  /** What the server was, as it was found at the end of the run; null where it was not looked at. */
  manifest: Manifest | null;
  /** Base64, see lib/timing/histogram.ts. */
  histogram: string | null;
  findings: Finding[];
  /** In the scenario `stress`, unless its server crashed or there was none. */
  stress?: StressFigures;
  ended: Ended;
  /** One sentence, unless it ended `ok`. */
  reason: string | null;
  /** The command line that repeats the run. */
  command: string;
}

/** One server's. Null: this system does not tell, or there was none of it to look at. */
export interface Manifest {
  /** Of what serves: the runtime, the compiler of a program, the server itself. */
  version: string;
  /** What the header says of it. */
  settings: string | null;
  /** What of the contract the header says it cannot: what is not done need not be paid for. */
  cannot: string[];
  /** The cores that it may use, as in `0-3`. */
  cpus: string | null;
  processes: number | null;
  /** With the connections that it held when it was looked at. */
  threads: number | null;
  /** Of the listening socket, as the kernel has cut it. */
  backlog: number | null;
  /** TCP_NODELAY of an accepted connection. */
  nodelay: boolean | null;
  /** SO_SNDBUF and SO_RCVBUF of an accepted connection, as the kernel set them. */
  send_buffer_bytes: number | null;
  receive_buffer_bytes: number | null;
}

/** The fields, with the check of each. A test holds results/README.md against them. */
export const MANIFEST: Shape<Manifest> = {
  version: text,
  settings: nullOr(text),
  cannot: list(text),
  cpus: nullOr(text),
  processes: nullOr(number),
  threads: nullOr(number),
  backlog: nullOr(number),
  nodelay: nullOr(truth),
  send_buffer_bytes: nullOr(number),
  receive_buffer_bytes: nullOr(number),
};

const record = <K extends string>(keys: readonly K[], check: Check) =>
  Object.fromEntries(keys.map((key) => [key, check])) as Record<K, Check>;

const LIMITS: Shape<HostFacts["limits"]> = record(["nofile_soft", "nofile_hard", "nproc"], nullOr(number));
const SETTINGS: Shape<Record<Sysctl, unknown>> = record(SYSCTLS, nullOr(either(number, list(number))));

/** An object of numbers under any keys. */
const counts: Check = (value, path) =>
  typeof value === "object" && value !== null && Object.values(value).every(Number.isFinite)
    ? undefined
    : `${path} is not an object of numbers`;
const yesOrNo: Check = (value, path) => typeof value === "boolean" ? undefined : `${path} is not true or false`;

const PARTS = {
  parameters: {
    connections: number,
    seconds: number,
    warmup_seconds: number,
    climb_seconds: optional(number),
    rate_per_s: optional(number),
    heavy_share: optional(number),
    heavy_path: optional(text),
    slow: optional(number),
    staying: optional(number),
    workers: optional(number),
  } satisfies Shape<Parameters>,
  host: {
    os: text,
    arch: text,
    kernel: text,
    cpu: nullOr(text),
    cores: number,
    memory_bytes: number,
    page_bytes: nullOr(number),
    deno: text,
    v8: text,
    limits: object(LIMITS),
    io_uring: nullOr(text),
    sysctls: object(SETTINGS),
  } satisfies Shape<HostFacts>,
  metrics: record(METRICS, nullOr(number)) satisfies Shape<Metrics>,
  limits: LIMITS,
  sysctls: SETTINGS,
  stress: {
    ...record(["requests", "answered", "resets", "half_closes", "unanswered", "unended"], number),
    errors: counts,
    served: nullOr(number),
    ...record(["descriptors_before", "descriptors_after", "threads_before", "threads_after"], number),
    pss_anon_bytes: list(nullOr(number)),
    level: nullOr(yesOrNo),
    broken: list(text),
  } satisfies Shape<StressFigures>,
  finding: { id: oneOf(FINDING_IDS), sentence: text } satisfies Shape<Finding>,
};

const isTime: Check = (value, path) =>
  typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value) && !isNaN(Date.parse(value))
    ? undefined
    : `${path} is not a time like 2025-01-31T12:00:00.000Z`;

const RESULT: Shape<Result> = {
  schema: oneOf([SCHEMA]),
  id: text,
  time: isTime,
  experiment: text,
  family: text,
  scenario: oneOf([...SCENARIOS, STRESS]),
  parameters: object(PARTS.parameters),
  host: object(PARTS.host),
  metrics: object(PARTS.metrics),
  manifest: nullOr(object(MANIFEST)),
  histogram: nullOr(text),
  findings: list(object(PARTS.finding)),
  stress: optional(object(PARTS.stress)),
  ended: oneOf(ENDS),
  reason: nullOr(text),
  command: text,
};

/** The fields of a file and of the objects in it, with the check of each. A test holds results/README.md against them. */
export const FIELDS = { result: RESULT, ...PARTS };

/** What is wrong with a value that should be a result; undefined if nothing is. */
export function wrongInResult(value: unknown): string | undefined {
  return object(RESULT)(value, "");
}
