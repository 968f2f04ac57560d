/**
 * Stored results, comparisons and regression records for tests.
 *
 * @module
 */
import type { FindingId, Found } from "../results/findings.ts";
import type { ComparisonRow, CrosscheckRow, FaultRow, Kind, ReadinessRow, Rows, ScalingRow } from "../results/rows.ts";
import { HISTORY_SCHEMA, type RegressionRecord, type RegressionRow } from "../regress/record.ts";
import { hostKind } from "../regress/baseline.ts";
import { type HostFacts, NOT_AVAILABLE } from "../sampling/host.ts";
import type { Experiment } from "../catalogue/header.ts";
import { type Metrics, newResult, type Parameters, type Result, type ScenarioName } from "../results/results.ts";
import type { Stored } from "../results/stored.ts";
import { connectionsFor, EQUAL_RATE, HEAVY_US, MIN_ROUNDS, MIXED } from "../results/conventions.ts";
import { machineOf } from "../results/machine.ts";
import { type Study, STUDY_SCHEMA } from "../results/studies.ts";

/** A finding on a server. */
export const found = (server: string, id: FindingId): Found => ({ server, id });

/** A study of the machine {@linkcode HOST}, with these rows. */
export const studyOf = <K extends Kind>(kind: K, rows: Rows[K][], change: Partial<Study<K>> = {}): Study<K> => ({
  schema: STUDY_SCHEMA,
  kind,
  id: "0badcafe",
  time: "2025-01-31T12:00:00.000Z",
  quick: false,
  host: HOST,
  lab: { commit: null, load: null, served: null },
  command: "deno task made-up",
  manifests: {},
  rows,
  ...change,
});

/** A row of a comparison as tests want it: with figures, unless they say otherwise. */
export const comparisonRow = (change: Partial<ComparisonRow> = {}): ComparisonRow => ({
  scenario: "throughput",
  connections: 100,
  rate_per_s: null,
  heavy_us: null,
  reference: "c-epoll",
  candidate: "epoll",
  metric: "cpu_us_per_request",
  reference_value: 6,
  candidate_value: 6.6,
  ratio: 1.1,
  ratio_low: 1.05,
  ratio_high: 1.15,
  rounds: 7,
  findings: [],
  reason: null,
  ...change,
});

/** A night with one experiment, so many days after the first. A ratio has an interval of 1 % on either side. */
export function night(day: number, change: Partial<RegressionRow> & { ratio: number | null }): RegressionRecord {
  const { ratio } = change;
  const row: RegressionRow = {
    experiment: "event-loop",
    connections: 10,
    verdict: "not_slower",
    reason: null,
    rounds: 30,
    valid_rounds: 30,
    reference_cpu_us_per_request: 10,
    candidate_cpu_us_per_request: 14,
    ratio_low: ratio && ratio * 0.99,
    ratio_high: ratio && ratio * 1.01,
    change: 1,
    change_low: 0.99,
    change_high: 1.01,
    confirmed: null,
    confirmed_low: null,
    confirmed_high: null,
    findings: [],
    log_ratios: [],
    ...change,
  };
  return {
    schema: HISTORY_SCHEMA,
    id: String(day),
    time: new Date(Date.UTC(2026, 0, 1 + day, 3)).toISOString(),
    command: "deno task regress",
    reference: "epoll",
    new_baseline: false,
    kind: hostKind(HOST),
    deno: HOST.deno,
    v8: HOST.v8,
    exit: 0,
    experiments: [row],
  };
}

/** A machine of two cores and 24 GiB. */
export const HOST: HostFacts = {
  os: "linux",
  arch: "x86_64",
  kernel: "6.1.0",
  cpu: "a CPU",
  cores: 2,
  memory_bytes: 24 * 2 ** 30,
  deno: "2.9.6",
  v8: "15.0",
  ...NOT_AVAILABLE,
  limits: { nofile_soft: 20_000, nofile_hard: 20_000, nproc: 90_000 },
};

/** Something that is stored, or a change of the machine. */
export type Piece = (into: Made) => void;

export interface Made {
  host: HostFacts;
  experiments: Experiment[];
  results: Result[];
  rows: { [K in Kind]: Rows[K][] };
  /** The command of all studies. */
  command: string;
  /** Whether they are quick ones. */
  quick: boolean;
}

export const experiment = (name: string, family = "readiness"): Experiment => ({
  name,
  path: `experiments/${name}.ts`,
  peer: false,
  title: name,
  family,
  question: "",
  idea: "",
  prediction: "",
  compare: [],
  requires: [{ os: "any", kernel: null }],
  run: "",
  try: "",
  simplified: "",
  sources: [],
  cannot: [],
} as unknown as Experiment);

export function run(
  name: string,
  scenario: ScenarioName,
  parameters: Partial<Parameters>,
  metrics: Partial<Metrics>,
  quick = false,
): Piece {
  return (into) => {
    if (!into.experiments.some((of) => of.name === name)) into.experiments.push(experiment(name));
    const ended = (metrics.answered ?? 0) < (parameters.connections ?? 0) && scenario === "hold" ? "limited" : "ok";
    into.results.push(newResult({
      experiment: name,
      family: "readiness",
      scenario,
      host: into.host,
      metrics,
      ended,
      parameters: { connections: 100, seconds: 1, warmup_seconds: scenario === "hold" ? 0 : 1, ...parameters },
      quick,
      histogram: null,
      findings: [],
      reason: ended === "ok" ? null : "it broke",
      command: `deno task exp ${name} --scenario ${scenario}`,
    }, new Date(1e12 + 1000 * into.results.length)));
  };
}

/** A run of `hold`. */
export const held = (name: string, answered: number, metrics: Partial<Metrics> = {}, connections = 10_000): Piece =>
  run(name, "hold", { connections }, { answered, ...metrics });

/** A quick one. */
export const heldQuickly = (name: string, answered: number, metrics: Partial<Metrics> = {}): Piece =>
  run(name, "hold", { connections: 10_000, climb_seconds: 3 }, { answered, ...metrics }, true);

/** A run under full load. */
export const loaded = (name: string, metrics: Partial<Metrics>, connections = 100): Piece =>
  run(name, "throughput", { connections }, metrics);

/** What a call costs, give or take 1 %. */
export const call = (name: ReadinessRow["call"], descriptors: number, us: number): Piece => ({ rows }) => {
  const wait = { wait_us: us, wait_us_low: us * 0.99, wait_us_high: us * 1.01 };
  const turn = { turn_us: us, turn_us_low: us * 0.99, turn_us_high: us * 1.01 };
  rows.readiness.push({ call: name, descriptors, ...wait, ...turn });
};

/** A ratio with its interval. */
export function compared(
  [scenario, connections, metric]: [ComparisonRow["scenario"], number, string],
  [candidate, reference]: [string, string],
  [ratio, low, high]: [number, number, number],
  more: Partial<ComparisonRow> = {},
): Piece {
  return ({ rows }) =>
    rows.comparison.push({
      scenario,
      connections,
      rate_per_s: scenario === "mixed" ? MIXED.ratePerS : scenario === "rate" ? EQUAL_RATE : null,
      heavy_us: scenario === "mixed" ? HEAVY_US : null,
      reference,
      candidate,
      metric,
      reference_value: 10,
      candidate_value: 10 * ratio,
      ratio,
      ratio_low: low,
      ratio_high: high,
      rounds: MIN_ROUNDS,
      findings: [],
      reason: null,
      ...more,
    });
}

/** A ratio over a wire. */
export const overWire = (piece: Piece): Piece => (into) => {
  const { rows } = into;
  piece({ ...into, rows: { ...rows, comparison: rows.wire } });
};

/** A figure of a probe, give or take 1 %; null: it could not be had. */
export const probed = (probe: string, variant: string, metric: string, value: number | null): Piece => ({ rows }) => {
  const [low, high] = value === null ? [null, null] : [value * 0.99, value * 1.01];
  const note = value === null ? "it could not be had" : null;
  rows.probe.push({ probe, variant, metric, value, low, high, runs: MIN_ROUNDS, note });
};

/** What a server shows that survives a fault. */
export const faultRow = (change: Partial<FaultRow> = {}): FaultRow => ({
  server: "epoll",
  fault: "pipelines",
  seed: 1,
  verdict: "survived",
  reason: null,
  runs: ["survived"],
  clients: 20,
  requests_during: 500,
  answered_share_during: 1,
  p99_ms_before: 1,
  p99_ms_during: 1,
  p99_ms_after: 1,
  recovery_s: 0,
  cpu_share_during: 0,
  descriptors_left: 0,
  threads_left: 0,
  memory_left_bytes: 0,
  memory_held_bytes: null,
  owed: 100,
  lost: 0,
  lost_after: 0,
  outcomes: null,
  ended_early: false,
  exit_code: null,
  ...change,
});

/** One fault at a server. */
export const faulted = (server: string, fault: string, change: Partial<FaultRow> = {}): Piece => ({ rows }) => {
  rows.faults.push(faultRow({ server, fault, p99_ms_during: 2, recovery_s: 0.1, ...change }));
};

/** What one client and the server counted. */
export const counted = (client: CrosscheckRow["client"], answered: number, served: number): Piece => ({ rows }) => {
  const unused = { requests_per_s: 1, client_cpu_us_per_request: 1, mean_us: 1, p99_us: null };
  rows.crosscheck.push({
    experiment: "epoll",
    connections: 100,
    client,
    round: MIN_ROUNDS,
    answered,
    served,
    ...unused,
  });
};

/** A sweep of a server that meets 5 ms up to half of its limit, in as many rounds as an interval takes. */
export const swept = (server: string, limit: number): Piece => ({ rows }) => {
  const row = (round: number, share: number) => ({
    server,
    connections: 100,
    round,
    rate_per_s: limit * share,
    answered_per_s: Math.min(limit * share, 0.9 * limit),
    p50_us: 500 * share,
    p99_us: 10_000 * share,
    p99_9_us: 20_000 * share,
    server_core_share: share,
    ended: "ok" as const,
    slo: "p99=5ms",
    findings: [],
  });
  rows.sweep.push(...[0.1, 0.5, 1].map((share) => row(0, share)));
  for (let round = 1; round <= MIN_ROUNDS; round++) {
    rows.sweep.push(row(round, 0.5), row(round, 0.52));
  }
};

/**
 * A server on one core and on several, with the speed-up and its interval, and the share of each loop. `changes`: of the row of
 * several.
 */
export const scaled = (
  server: string,
  [speedUp, low, high]: [number, number, number],
  shares: number[],
  shared = true,
  changes: Partial<ScalingRow> = {},
): Piece =>
({ rows }) => {
  const row = (cores: number): ScalingRow => ({
    server,
    cores,
    server_cores: cores === 1 ? "0" : `0-${cores - 1}`,
    load_cores: shared ? "0-1" : String(cores),
    shared,
    path: "/work/100",
    connections: Math.max(100, connectionsFor(shares.length)),
    requests_per_s: 9000 * (cores === 1 ? 1 : speedUp),
    cpu_us_per_request: 110,
    speed_up: cores === 1 ? 1 : speedUp,
    speed_up_low: cores === 1 ? null : low,
    speed_up_high: cores === 1 ? null : high,
    cpu_ratio: 1,
    cpu_ratio_low: cores === 1 ? null : 0.99,
    cpu_ratio_high: cores === 1 ? null : 1.01,
    shares_of: "requests",
    shares: cores === 1 ? [1] : shares,
    rounds: MIN_ROUNDS,
    findings: [],
    reason: null,
  });
  rows.scaling.push(row(1), { ...row(shares.length), ...changes });
};

/** On another machine. */
export const on = (host: Partial<HostFacts>): Piece => (into) => void (into.host = { ...into.host, ...host });

/** With an experiment of that name. */
export const exists = (name: string, family?: string): Piece => ({ experiments }) =>
  void experiments.push(experiment(name, family));

/** Studies that another command made; with `--quick` in it, quick ones. */
export const by = (command: string): Piece => (into) => {
  into.command = command;
  into.quick = command.includes("--quick");
};

/** All pieces together: of each kind one study. Changes of the machine come first. */
export function storedOf(...pieces: readonly Piece[]): Stored {
  const rows: Made["rows"] = {
    readiness: [],
    comparison: [],
    wire: [],
    crosscheck: [],
    probe: [],
    selftest: [],
    faults: [],
    soak: [],
    sweep: [],
    scaling: [],
  };
  const made: Made = { host: HOST, experiments: [], results: [], rows, command: "deno task made-up", quick: false };
  for (const piece of pieces) piece(made);
  const studies = <K extends Kind>(kind: K): Study<K>[] => {
    const { host, command, quick } = made;
    return rows[kind].length === 0 ? [] : [studyOf(kind, rows[kind], { host, command, quick })];
  };
  return {
    machine: machineOf(made.host),
    host: made.host,
    experiments: made.experiments,
    results: made.results,
    studies: {
      readiness: studies("readiness"),
      comparison: studies("comparison"),
      wire: studies("wire"),
      crosscheck: studies("crosscheck"),
      probe: studies("probe"),
      selftest: studies("selftest"),
      faults: studies("faults"),
      soak: studies("soak"),
      sweep: studies("sweep"),
      scaling: studies("scaling"),
    },
  };
}
