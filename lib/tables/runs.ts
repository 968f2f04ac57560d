import { type boundOf, boundOfRun } from "../results/findings.ts";
import { userMemoryOf } from "../results/choose.ts";
import { describeTrials } from "../results/load_trial.ts";
import { bytes, count, counted, microseconds, MISSING } from "../text/format.ts";
import { acceptsPerS, heldOf, type Metrics, type Result } from "../results/results.ts";
import { type Column, table, wrap } from "../text/table.ts";

/** Memory of a connection in the server's processes; within the variation of a heap it is an upper bound. */
function userMemoryText({ metrics }: Result): string {
  const { value, bound } = userMemoryOf(metrics);
  return signOf(bound) + bytes(value);
}

/** The columns of the table that a run ends with. */
export const RESULT_COLUMNS: Column<Result>[] = [
  { heading: "scenario", cell: (of) => of.scenario, left: true },
  { heading: "connec-\ntions", cell: (of) => count(of.parameters.connections), isKey: true },
  { heading: "answered", cell: (of) => count(of.metrics.answered) },
  { heading: "accepts\n/s", cell: (of) => of.scenario === "hold" ? count(acceptsPerS(of.metrics)) : MISSING },
  { heading: "requests\n/s", cell: (of) => bounded(of, count(of.metrics.requests_per_s)) },
  { heading: "p50", cell: (of) => bounded(of, microseconds(of.metrics.p50_us), "p50_us") },
  { heading: "p99", cell: (of) => bounded(of, microseconds(of.metrics.p99_us), "p99_us") },
  { heading: "p99.9", cell: (of) => bounded(of, microseconds(of.metrics.p99_9_us), "p99_9_us") },
  { heading: "CPU-µs\n/request", cell: (of) => count(of.metrics.cpu_us_per_request, 2) },
  { heading: "user mem\n/conn.", cell: userMemoryText },
  { heading: "kernel mem\n/conn.", cell: (of) => bytes(of.metrics.kernel_bytes_per_conn) },
  { heading: "threads", cell: (of) => count(of.metrics.threads) },
  { heading: "switches\n/request", cell: (of) => count(of.metrics.context_switches_per_request, 2) },
  { heading: "ended", cell: (of) => of.ended, left: true },
];

const percent = (share: number | null | undefined) =>
  share === null || share === undefined ? MISSING : `${count(100 * share, share === 1 ? 0 : 2)} %`;

/** How many listened, and of how many where that was more. */
function listenersText(of: Result): string {
  const { connections: asked } = of.parameters, held = heldOf(of);
  return held < asked ? `${count(held)} of ${count(asked)}` : count(asked);
}

/** The same of broadcasts, whose figures are of deliveries. */
export const BROADCAST_COLUMNS: Column<Result>[] = [
  { heading: "scenario", cell: (of) => of.scenario, left: true },
  { heading: "lis-\nteners", cell: listenersText, isKey: true },
  { heading: "messages\n/s", cell: (of) => count(of.parameters.rate_per_s) },
  { heading: "de-\nlivered", cell: (of) => percent(of.metrics.delivered_share) },
  { heading: "deliveries\n/s", cell: (of) => count(of.metrics.deliveries_per_s) },
  { heading: "p50", cell: (of) => bounded(of, microseconds(of.metrics.p50_us), "p50_us") },
  { heading: "p99", cell: (of) => bounded(of, microseconds(of.metrics.p99_us), "p99_us") },
  { heading: "last,\np50", cell: (of) => bounded(of, microseconds(of.metrics.last_p50_us), "last_p50_us") },
  { heading: "last,\np99", cell: (of) => bounded(of, microseconds(of.metrics.last_p99_us), "last_p99_us") },
  { heading: "CPU-µs\n/delivery", cell: (of) => count(of.metrics.cpu_us_per_delivery, 2) },
  { heading: "user mem\n/conn.", cell: userMemoryText },
  { heading: "kernel mem\n/conn.", cell: (of) => bytes(of.metrics.kernel_bytes_per_conn) },
  { heading: "threads", cell: (of) => count(of.metrics.threads) },
  { heading: "ended", cell: (of) => of.ended, left: true },
];

const isBroadcast = ({ scenario }: Result) => scenario === "broadcast";

/** Beside the CPU time of processes, of runs over a wire. */
const CORE_COLUMN: Column<Result> = {
  heading: "core-µs\n/request",
  cell: (of) => count(of.metrics.core_us_per_request ?? null, 2),
};
/** What the two columns are. */
export const WIRE_SAYS =
  "server and load stand in two network namespaces, joined by a veth pair. core-µs/request is the " +
  "busy time of the server's cores, with the kernel's work on packets that leave and that arrive; those of the load do the " +
  "same at their end. What arrives is work of a soft interrupt on these cores (RPS), and for a server that bypasses the " +
  "kernel of a kernel thread bound to them (threaded NAPI). CPU-µs/request is that of the server's processes alone";

/** The columns that fit these runs. */
export const columnsOf = (results: readonly Result[]): Column<Result>[] =>
  results.every(isBroadcast)
    ? BROADCAST_COLUMNS
    : results.some(isWired)
    ? RESULT_COLUMNS.flatMap((column) => column.heading === "CPU-µs\n/request" ? [CORE_COLUMN, column] : [column])
    : RESULT_COLUMNS;

const isWired = ({ parameters }: Result) => parameters.wire !== undefined;

/** What the signs of a table mean. */
const SIGNS_SAY = "≥ lower bound, ≤ upper bound, – not measured";

/** How a bound is written in a table. */
export const signOf = (bound: ReturnType<typeof boundOf>): string =>
  bound === "at least" ? "≥ " : bound === "at most" ? "≤ " : "";

/** A figure of a run, with the sign of a bound where findings make it one. An open loop's throughput is what was asked. */
export function bounded(of: Result, figure: string, metric: keyof Metrics = "requests_per_s"): string {
  const isAsked = metric === "requests_per_s" && of.parameters.rate_per_s !== undefined;
  const bound = figure === MISSING || isAsked ? null : boundOfRun(metric, of);
  return signOf(bound) + figure;
}

/**
 * What a request of a run cost the server, for tables of single runs: CPU time of its processes; over a wire busy time of
 * its cores, named as such, because the two are not the same.
 */
export function serverCost(of: Result | undefined, digits: number): string {
  if (of === undefined || !isWired(of)) return count(of?.metrics.cpu_us_per_request, digits);
  const { core_us_per_request: core = null } = of.metrics;
  return core === null ? MISSING : `${count(core, digits)} of its core (veth)`;
}

/** What one run was, in a few words: `hold 10 000`, `rate 100 at 20 000/s`. */
export function label(of: Result): string {
  const { connections, rate_per_s: rate, slow } = of.parameters;
  const beside = of.scenario === "broadcast" && slow !== undefined ? ` beside ${count(slow)} slow` : "";
  return `${of.scenario} ${count(connections)}${beside}${rate === undefined ? "" : ` at ${count(rate)}/s`}`;
}

/** What the user named of cores and head, where it is not the default. */
function setupNote(results: readonly Result[]): string[] {
  const notes = results.map(({ parameters: { head, server_cores, load_cores } }) =>
    [
      ...(head === undefined ? [] : [`requests with the head ${head}`]),
      ...(server_cores === undefined ? [] : [`server on cores ${server_cores}`]),
      ...(load_cores === undefined ? [] : [`load on cores ${load_cores}`]),
    ].join(", ")
  );
  return [...new Set(notes)].filter((note) => note !== "");
}

/** The latency that a generator would report if it forgot what it could not send in time; open loops only. */
function rawLatency(of: Result): string[] {
  const { raw_p50_us, raw_p99_us, raw_p99_9_us } = of.metrics;
  if (raw_p99_us === null || raw_p99_us === undefined) return [];
  const raw = [raw_p50_us, raw_p99_us, raw_p99_9_us].map(microseconds).join(", ");
  return [`${label(of)}: latency counts from the scheduled send; from the actual send p50, p99, p99.9 are ${raw}`];
}

/** Columns where nobody says how many there are. */
const DEFAULT_WIDTH = 80;

/** What a request cost the server. */
function costOf({ metrics: { core_us_per_request: core = null, cpu_us_per_request: cpu } }: Result): string {
  if (cpu === null) return "";
  if (core === null) return `, ${count(cpu, 2)} CPU-µs each`;
  return `, ${count(core, 2)} µs of the server's cores each, ${count(cpu, 2)} of them in its processes`;
}

/** What one run showed, as a part of a sentence; null: nothing worth a word. */
function outcomeOf(run: Result): string | null {
  const { metrics: { answered, requests_per_s, p99_us }, scenario, parameters } = run;
  const size = `at ${counted(parameters.connections, "connection")}`;
  if (scenario !== "hold" && answered === 0) return `no request was answered ${size} in ${scenario}`;
  if (scenario === "hold") {
    return `held and answered ${count(answered)} of ${count(parameters.connections)} connections`;
  }
  if (scenario === "throughput" || scenario === "churn") {
    const rate = bounded(run, count(requests_per_s));
    return `answered ${rate} requests/s ${size}${costOf(run)}`;
  }
  if (p99_us === null) return null;
  if (isBroadcast(run)) {
    const { delivered_share, last_p50_us, cpu_us_per_delivery } = run.metrics;
    const last = `the last listener had a message after ${microseconds(last_p50_us ?? null)} in the median`;
    const cost = cpu_us_per_delivery == null ? "" : `, ${count(cpu_us_per_delivery, 2)} CPU-µs per delivery`;
    return `delivered ${percent(delivered_share)} to ${count(parameters.connections)} listeners, ${last}${cost}`;
  }
  return `p99 was ${bounded(run, microseconds(p99_us), "p99_us")} at ${count(parameters.rate_per_s)} requests/s`;
}

/** Findings of runs in which requests failed. */
const FAILURES: readonly string[] = ["errors", "unanswered", "lost_connections"];

/** How many of the runs had failures: the last line says so, as figures without them read like those of a sound server. */
function failed(results: readonly Result[]): string {
  const failing = results.filter(({ findings }) => findings.some(({ id }) => FAILURES.includes(id))).length;
  return failing === 0 ? "" : ` In ${failing} of ${counted(results.length, "run")} requests failed: see the caveats.`;
}

/** The result in one sentence: of each scenario the run with the most connections. */
export function conclude(name: string, results: readonly Result[]): string {
  const told = results.filter(({ ended }) => ended === "ok" || ended === "limited");
  const last = [...Map.groupBy(told, ({ scenario }) => scenario).values()].map((runs) =>
    runs.toSorted((a, b) =>
      b.parameters.connections - a.parameters.connections || (b.metrics.answered ?? 0) - (a.metrics.answered ?? 0)
    )[0]!
  );
  const parts = last.map(outcomeOf).filter((part) => part !== null);
  if (parts.length > 0) return `${name}: ${parts.join("; ")}.${failed(told)}`;
  return `${name}: nothing was measured${results[0]?.reason ? `, ${results[0].reason.replace(/\.$/, "")}` : ""}.`;
}

/** What a run ends with: the table, then what broke and why, then what weakens the figures. */
export function describe(results: readonly Result[], width?: number): string {
  if (results.length === 0) return "Nothing was measured.";
  const broke = results.filter((of) => of.ended !== "ok").map((of) => `${label(of)}: ${of.ended}, ${of.reason}`);
  const notes = results.flatMap((of) => of.findings.map(({ id, sentence }) => `${label(of)}: ${id}, ${sentence}`));
  const raw = results.flatMap(rawLatency);
  const trials = results.flatMap((of) => {
    const line = describeTrials(of.load_trials ?? []);
    return line === null ? [] : [`${label(of)}: ${line}`];
  });
  const indent = "  ";
  const fold = (line: string) => wrap(line, (width ?? DEFAULT_WIDTH) - 2 * indent.length).join(`\n${indent}${indent}`);
  const list = (heading: string, lines: string[]) =>
    lines.length > 0 ? `\n\n${heading}\n${lines.map((line) => indent + fold(line)).join("\n")}` : "";
  const wire = results.some((of) => isWired(of) && of.ended !== "skipped") ? [WIRE_SAYS] : [];
  const figures = table(results, columnsOf(results), width);
  const signs = /[≥≤]/.test(figures) ? `\n\n${SIGNS_SAY}` : "";
  return figures + signs + list("Failures and limits", broke) + list("Over a wire", wire) +
    list("Not the default", setupNote(results)) +
    list("Processes of load", trials) +
    list("Raw latency", raw) +
    list("Caveats", notes);
}
