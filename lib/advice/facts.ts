/**
 * What is known of each architecture on this machine, as the advisor needs it.
 *
 * @module
 */
import { MARGIN } from "../claims/figure.ts";
import { speaksHttp } from "../catalogue/catalogue.ts";
import type { Experiment } from "../catalogue/header.ts";
import { median } from "../timing/stats.ts";
import { fullRuns, resultPath, type Stored, studyPath } from "../results/stored.ts";
import { type Study } from "../results/studies.ts";
import { CROWD, MIN_ROUNDS, MIXED } from "../results/conventions.ts";
import type { ComparisonRow, ReadinessRow } from "../results/rows.ts";
import { isSpoilt } from "../results/findings.ts";
import { isInconclusive } from "../tables/comparison.ts";

/** The call that each of them waits with: its cost may grow with the number of connections that are silent. */
const CALLS: Record<string, ReadinessRow["call"]> = { select: "select", poll: "poll", epoll: "epoll_wait" };

/** A figure, with the bounds between which it may lie. */
export interface Estimate {
  us: number;
  low: number;
  high: number;
}

/** A figure at a number of connections. */
export type Point = Estimate & { connections: number };

/** What heavy requests of one size do to the others. */
export interface Beside {
  /** What one request of a hundred burns, in CPU-µs. */
  heavyUs: number;
  /** How much longer the light ones wait than beside requests that burn nothing, by their p99. */
  wait: Estimate;
  /** CPU time of a request above that of the reference: what handing the work over costs. */
  handover: Estimate;
}

/** What is known of one architecture. Null or none: it was not measured. */
export interface Facts {
  name: string;
  /** Connections that it held; and why no more, null: it was asked for no more. */
  held: number;
  limit: string | null;
  /** Memory of process and kernel that a connection takes. */
  bytesPerConn: number | null;
  /** CPU time of a request under full load, by the connections that ask: ascending. */
  cpu: Point[];
  /** Whether these were measured over a wire: see `wirePoints`. */
  isWired: boolean;
  /** Cost of the call that waits, by all connections: ascending. Empty where it does not tell one by one. */
  wait: Point[];
  /** By what heavy requests burn: ascending, from nothing on. Empty: not measured. */
  beside: Beside[];
  /** The files of these figures. */
  results: string[];
}

/** An architecture that cannot be weighed, as a figure is missing. */
export interface Unknown {
  name: string;
  command: string;
}

/** Newest first; without rows that say nothing, because others used the machine. */
const comparisons = ({ studies }: Stored, scenario: ComparisonRow["scenario"], metric?: string) =>
  studies.comparison.toReversed().map((study) => ({
    study,
    rows: study.rows.filter((row) =>
      row.scenario === scenario && row.rounds >= MIN_ROUNDS && (metric === undefined || row.metric === metric) &&
      !isInconclusive(row)
    ),
  })).filter(({ rows }) => rows.length > 0);

/**
 * A server's figure in a comparison at one number of connections. The reference's is the median over all pairs, and a
 * candidate's is its ratio to that: so what changed from pair to pair is left out.
 */
function figureIn(rows: readonly ComparisonRow[], name: string): Estimate | null {
  const reference = rows.flatMap((row) => row.reference_value ?? []);
  if (reference.length === 0) return null;
  const us = median(reference);
  if (rows.some((row) => row.reference === name)) return { us, low: us, high: us };
  const row = rows.find((row) => row.candidate === name);
  if (row === undefined || row.ratio === null) return null;
  return { us: us * row.ratio, low: us * (row.ratio_low ?? row.ratio), high: us * (row.ratio_high ?? row.ratio) };
}

/** Points of which the first at each number of connections counts. */
function pointSet(results: Set<string>) {
  const points = new Map<number, Point>();
  return {
    add: (path: string, connections: number, figure: Estimate | null) => {
      if (figure === null || points.has(connections)) return;
      points.set(connections, { connections, ...figure });
      results.add(path);
    },
    sorted: () => [...points.values()].toSorted((a, b) => a.connections - b.connections),
  };
}

function cpuPoints(stored: Stored, name: string, results: Set<string>): Point[] {
  const { add, sorted } = pointSet(results);
  for (const { study, rows } of comparisons(stored, "throughput", "cpu_us_per_request")) {
    for (const [connections, same] of Map.groupBy(rows, (row) => row.connections)) {
      add(studyPath(study), connections, figureIn(same, name));
    }
  }
  for (const run of fullRuns(stored, name, "throughput").toReversed()) {
    if (isSpoilt(run.findings)) continue;
    if (run.parameters.wire !== undefined) continue; // process time, of a network that costs more
    const us = run.metrics.cpu_us_per_request;
    const figure = us === null ? null : { us, low: us * (1 - MARGIN.other), high: us * (1 + MARGIN.other) };
    add(resultPath(run), run.parameters.connections, figure);
  }
  return sorted();
}

/**
 * What a server costs that was measured over a wire only: the ratio to a server beside it there, by busy time of the cores,
 * times what that one costs over loopback, as all others do.
 */
function wirePoints(stored: Stored, name: string, results: Set<string>): Point[] {
  const { add, sorted } = pointSet(results);
  for (const study of stored.studies.wire.toReversed()) {
    for (const row of study.rows) {
      const { candidate, connections, ratio } = row;
      const isAsked = row.scenario === "throughput" && row.metric === "core_us_per_request" && candidate === name;
      if (!isAsked || row.rounds < MIN_ROUNDS || ratio === null || isInconclusive(row)) continue;
      const beside = cpuPoints(stored, row.reference, results).find((point) => point.connections === connections);
      if (beside === undefined) continue;
      const [low, high] = [row.ratio_low ?? ratio, row.ratio_high ?? ratio];
      const figure = { us: beside.us * ratio, low: beside.low * low, high: beside.high * high };
      add(studyPath(study), connections, figure);
    }
  }
  return sorted();
}

/** The most connections that a server held in a measurement of its own; null: there is none, or it was not run. */
function crowdOf({ studies }: Stored, name: string): { held: number; path: string } | null {
  if (name !== CROWD.server) return null;
  const counts = studies.probe.flatMap((study) =>
    study.rows.filter((row) => row.probe === CROWD.probe && row.metric === "held" && row.value !== null)
      .map((row) => ({ held: row.value!, path: studyPath(study) }))
  );
  return counts.toSorted((a, b) => b.held - a.held)[0] ?? null;
}

function waitPoints({ studies }: Stored, name: string, results: Set<string>): Point[] {
  const call = CALLS[name];
  const study: Study<"readiness"> | undefined = studies.readiness.at(-1);
  if (call === undefined || study === undefined) return [];
  results.add(studyPath(study));
  return study.rows.filter((row) => row.call === call)
    .map((row) => ({
      connections: row.descriptors,
      us: row.wait_us,
      low: row.wait_us_low,
      high: row.wait_us_high,
    }))
    .toSorted((a, b) => a.connections - b.connections);
}

const NOTHING: Estimate = { us: 0, low: 0, high: 0 };
/** By how much one figure is above another. At worst for both. */
const above = (a: Estimate, b: Estimate): Estimate => ({ us: a.us - b.us, low: a.low - b.high, high: a.high - b.low });
/** No wait is shorter than none. */
const atLeastNothing = ({ us, low, high }: Estimate): Estimate => ({
  us: Math.max(0, us),
  low: Math.max(0, low),
  high: Math.max(0, high),
});

/** What the rows of one size of heavy requests tell of a server; null: nothing. */
function besideIn(rows: readonly ComparisonRow[], name: string) {
  const of = (metric: string, who: string) => figureIn(rows.filter((row) => row.metric === metric), who);
  const reference = rows[0]!.reference;
  const p99 = of("p99_us", name);
  const [cpu, least] = [of("cpu_us_per_request", name), of("cpu_us_per_request", reference)];
  return p99 === null || cpu === null || least === null ? null : { p99, cpu: above(cpu, least) };
}

/**
 * The newest comparison that has the server beside heavy requests, at the one rate at which all waits are alike. What it
 * finds beside requests that burn nothing too is subtracted, where that was measured.
 */
function beside(stored: Stored, name: string, results: Set<string>): Beside[] {
  for (const { study, rows: all } of comparisons(stored, "mixed")) {
    const rows = all.filter(({ rate_per_s }) => rate_per_s === MIXED.ratePerS);
    const found = [...Map.groupBy(rows, (row) => row.heavy_us!)].toSorted(([a], [b]) => a - b)
      .flatMap(([heavyUs, same]) => {
        const of = besideIn(same, name);
        return of === null ? [] : [{ heavyUs, ...of }];
      });
    if (found.every(({ heavyUs }) => heavyUs === 0)) continue;
    results.add(studyPath(study));
    const idle = found[0]!.heavyUs === 0 ? found[0]! : { p99: NOTHING, cpu: NOTHING };
    const sizes = found.filter(({ heavyUs }) => heavyUs > 0).map(({ heavyUs, p99, cpu }) => ({
      heavyUs,
      wait: atLeastNothing(above(p99, idle.p99)),
      handover: above(cpu, idle.cpu),
    }));
    return [{ heavyUs: 0, wait: NOTHING, handover: NOTHING }, ...sizes];
  }
  return [];
}

/** What is known of one architecture; or the command that makes what is missing. */
function factsOf(stored: Stored, name: string): Facts | Unknown {
  const holds = fullRuns(stored, name, "hold");
  const results = new Set<string>();
  const most = holds.toSorted((a, b) => a.parameters.connections - b.parameters.connections).at(-1);
  const own = cpuPoints(stored, name, results);
  const cpu = own.length > 0 ? own : wirePoints(stored, name, results);
  if (most === undefined || most.metrics.answered === null) return { name, command: `deno task exp ${name}` };
  if (cpu.length === 0) {
    const isWired = most.parameters.wire !== undefined;
    return { name, command: `deno task ${isWired ? `compare c-epoll ${name}` : `exp ${name} --scenario throughput`}` };
  }
  const crowd = crowdOf(stored, name);
  const larger = crowd !== null && crowd.held > most.metrics.answered ? crowd : null;
  if (larger !== null) results.add(larger.path);
  const sized = holds.findLast(({ metrics }) => metrics.user_bytes_per_conn !== null)?.metrics;
  return {
    name,
    held: larger?.held ?? most.metrics.answered,
    limit: larger === null ? most.reason : null,
    bytesPerConn: sized === undefined ? null : sized.user_bytes_per_conn! + (sized.kernel_bytes_per_conn ?? 0),
    cpu,
    isWired: own.length === 0,
    wait: waitPoints(stored, name, results),
    beside: beside(stored, name, results),
    results: [resultPath(most), ...results],
  };
}

/**
 * What is known of each architecture that has run here, from easy to hard as the catalogue has them; peers are left out,
 * because they differ in more than that, and servers that push, which answer no requests.
 *
 * @returns Those that can be weighed, and those that lack a figure.
 */
export function collect(stored: Stored): { known: Facts[]; unknown: Unknown[] } {
  const ran = (experiment: Experiment) => !experiment.peer && speaksHttp(experiment) && hasRun(stored, experiment.name);
  const all = stored.experiments.filter(ran).map(({ name }) => factsOf(stored, name));
  const isKnown = (of: Facts | Unknown): of is Facts => "held" in of;
  return { known: all.filter(isKnown), unknown: all.filter((of): of is Unknown => !isKnown(of)) };
}

const hasRun = ({ results }: Stored, name: string): boolean =>
  results.some(({ experiment, ended }) => experiment === name && ended !== "skipped");
