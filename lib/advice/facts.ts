/**
 * What is known of each architecture on one machine, as the advisor needs it.
 *
 * @module
 */
import { MARGIN } from "../claims/figure.ts";
import { runsHere, speaksHttp } from "../catalogue/catalogue.ts";
import type { Experiment } from "../catalogue/header.ts";
import { median } from "../timing/stats.ts";
import type { Result } from "../results/results.ts";
import { fullRuns, resultPath, type Stored, studyPath } from "../results/stored.ts";
import { type Study } from "../results/studies.ts";
import { CROWD, MEMORY_SHARE, MIN_ROUNDS, MIXED } from "../results/conventions.ts";
import { atMost, EXP_TIME, usualSeconds } from "../results/duration.ts";
import type { ComparisonRow, Kind, ReadinessRow } from "../results/rows.ts";
import { isDisturbedCall, isSpoilt } from "../results/findings.ts";
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

/** Memory of a server, as a line: what it takes anyway, and what each connection adds. */
export interface Memory {
  /** Null: it was not measured with few connections. */
  processBytes: number | null;
  /** Of the process, for each connection. */
  connectionBytes: number;
  /** Of the kernel, for each connection; null: it was not measured. */
  kernelBytes: number | null;
}

/** Settings of a host that stop a server which could hold more; doctor's names for them. */
const SETTINGS = [
  { what: "descriptors per process", stopped: /: descriptors, / },
  { what: "vm.max_map_count", stopped: /: (mapped areas of memory|memory mappings), / },
] as const;
export type Setting = typeof SETTINGS[number]["what"];

/** What is known of one architecture. Null or none: it was not measured. */
export interface Facts {
  name: string;
  /** Connections that it held; and why no more, null: it was asked for no more. */
  held: number;
  limit: string | null;
  /** What stopped it, if that is a setting of the host and no property of the architecture. */
  setting: Setting | null;
  /** Connections that it may hold with another setting: as many as the memory of that machine takes. Else those it held. */
  reach: number;
  memory: Memory | null;
  /** CPU time of a request under full load, by the connections that ask: ascending. */
  cpu: Point[];
  /** Whether these were measured over a wire: see `wirePoints`. */
  isWired: boolean;
  /** Cost of the call that waits, by all connections: ascending. Empty where it does not tell one by one. */
  wait: Point[];
  /** By what heavy requests burn: ascending, from nothing on. Empty: not measured. */
  beside: Beside[];
  /** Whether one of these figures comes from a quick study, because there is no full one. */
  isQuick: boolean;
  /** The files of these figures. */
  results: string[];
}

/** An architecture that cannot be weighed, as a figure is missing. */
export interface Unknown {
  name: string;
  command: string;
  /** How long the command takes, in words; null: it is not known. */
  time: string | null;
}

/** What the figures of one architecture come from. */
class Sources {
  readonly results = new Set<string>();
  isQuick = false;

  add(study: Study<Kind>): void {
    this.results.add(studyPath(study));
    this.isQuick ||= study.quick;
  }
}

/** Full ones first, of both the newest first. */
const byWorth = <K extends Kind>(studies: readonly Study<K>[]): Study<K>[] =>
  studies.toReversed().toSorted((a, b) => Number(a.quick) - Number(b.quick));

/** By their worth; without rows that say nothing, because others used the machine. */
const comparisons = ({ studies }: Stored, scenario: ComparisonRow["scenario"], metric?: string) =>
  byWorth(studies.comparison).map((study) => ({
    study,
    rows: study.rows.filter((row) =>
      row.scenario === scenario && row.rounds >= MIN_ROUNDS && (metric === undefined || row.metric === metric) &&
      !isInconclusive(row)
    ),
  })).filter(({ rows }) => rows.length > 0);

/**
 * A server's figure in a comparison at one number of connections. The reference's is the median over all pairs, between the
 * lowest and the highest of them; of a single pair nothing is known of that. A candidate's is its ratio to the median: so what
 * changed from pair to pair is left out.
 */
function figureIn(rows: readonly ComparisonRow[], name: string): Estimate | null {
  const reference = rows.flatMap((row) => row.reference_value ?? []);
  if (reference.length === 0) return null;
  const us = median(reference);
  if (rows.some((row) => row.reference === name)) {
    return { us, low: Math.min(...reference), high: Math.max(...reference) };
  }
  const row = rows.find((row) => row.candidate === name);
  if (row === undefined || row.ratio === null) return null;
  return { us: us * row.ratio, low: us * (row.ratio_low ?? row.ratio), high: us * (row.ratio_high ?? row.ratio) };
}

/** Points of which the first at each number of connections counts. */
function pointSet() {
  const points = new Map<number, Point>();
  return {
    /** @param note Notes where the figure comes from, if it counts. */
    add: (connections: number, figure: Estimate | null, note: () => void) => {
      if (figure === null || points.has(connections)) return;
      points.set(connections, { connections, ...figure });
      note();
    },
    sorted: () => [...points.values()].toSorted((a, b) => a.connections - b.connections),
  };
}

/** CPU time by connections. Where a server is the reference of a single pair its figure has no bounds: such come last. */
function cpuPoints(stored: Stored, name: string, sources: Sources): Point[] {
  const { add, sorted } = pointSet();
  const tables = comparisons(stored, "throughput", "cpu_us_per_request").flatMap(({ study, rows }) =>
    [...Map.groupBy(rows, (row) => row.connections)].map(([connections, same]) => ({
      study,
      connections,
      same,
      isAlone: same.length === 1 && same[0]!.reference === name,
    }))
  );
  const byBounds = tables.toSorted((a, b) =>
    Number(a.study.quick) - Number(b.study.quick) || Number(a.isAlone) - Number(b.isAlone)
  );
  for (const { study, connections, same } of byBounds) {
    add(connections, figureIn(same, name), () => sources.add(study));
  }
  for (const run of fullRuns(stored, name, "throughput").toReversed()) {
    if (isSpoilt(run.findings)) continue;
    if (run.parameters.wire !== undefined) continue; // process time, of a network that costs more
    const us = run.metrics.cpu_us_per_request;
    const figure = us === null ? null : { us, low: us * (1 - MARGIN.other), high: us * (1 + MARGIN.other) };
    add(run.parameters.connections, figure, () => sources.results.add(resultPath(run)));
  }
  return sorted();
}

/**
 * What a server costs that was measured over a wire only: the ratio to a server beside it there, by busy time of the cores,
 * times what that one costs over loopback, as all others do.
 */
function wirePoints(stored: Stored, name: string, sources: Sources): Point[] {
  const { add, sorted } = pointSet();
  for (const study of byWorth(stored.studies.wire)) {
    for (const row of study.rows) {
      const { candidate, connections, ratio } = row;
      const isAsked = row.scenario === "throughput" && row.metric === "core_us_per_request" && candidate === name;
      if (!isAsked || row.rounds < MIN_ROUNDS || ratio === null || isInconclusive(row)) continue;
      const beside = cpuPoints(stored, row.reference, sources).find((point) => point.connections === connections);
      if (beside === undefined) continue;
      const [low, high] = [row.ratio_low ?? ratio, row.ratio_high ?? ratio];
      const figure = { us: beside.us * ratio, low: beside.low * low, high: beside.high * high };
      add(connections, figure, () => sources.add(study));
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

function waitPoints({ studies }: Stored, name: string, sources: Sources): Point[] {
  const call = CALLS[name];
  const study: Study<"readiness"> | undefined =
    byWorth(studies.readiness.filter(({ rows }) => !rows.some(isDisturbedCall)))[0];
  if (call === undefined || study === undefined) return [];
  sources.add(study);
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
  const p99 = of("p99_us", name);
  const [cpu, least] = [of("cpu_us_per_request", name), of("cpu_us_per_request", MIXED.reference)];
  if (p99 === null || cpu === null || least === null) return null;
  // A candidate's bounds are those of its ratio to exactly this figure of the reference.
  const { us } = least;
  return { p99, cpu: name === MIXED.reference ? NOTHING : above(cpu, { us, low: us, high: us }) };
}

/** All comparisons beside heavy requests at the one rate at which all waits are alike, each at one number of connections. */
const mixedTables = (stored: Stored, name: string) =>
  comparisons(stored, "mixed").flatMap(({ study, rows }) => {
    const own = rows.filter((row) => row.rate_per_s === MIXED.ratePerS && row.reference === MIXED.reference);
    return [...Map.groupBy(own, (row) => row.connections).values()].map((same) => ({
      study,
      rows: same.filter((row) => row.heavy_us! > 0),
      idle: besideIn(same.filter((row) => row.heavy_us === 0), name),
    }));
  });

/**
 * What heavy requests do to the others, by size: of each size the first study that has it, full ones first, of these those that
 * measured requests that burn nothing too, of these the newest. What is so beside such requests is subtracted.
 */
function beside(stored: Stored, name: string, sources: Sources): Beside[] {
  const tables = mixedTables(stored, name)
    .toSorted((a, b) => Number(a.study.quick) - Number(b.study.quick) || Number(!a.idle) - Number(!b.idle));
  const sizes = new Map<number, Beside>();
  for (const { study, rows, idle } of tables) {
    for (const [heavyUs, same] of Map.groupBy(rows, (row) => row.heavy_us!)) {
      const of = besideIn(same, name);
      if (of === null || sizes.has(heavyUs)) continue;
      const wait = atLeastNothing(above(of.p99, idle?.p99 ?? NOTHING));
      sizes.set(heavyUs, { heavyUs, wait, handover: above(of.cpu, idle?.cpu ?? NOTHING) });
      sources.add(study);
    }
  }
  if (sizes.size === 0) return [];
  const sorted = [...sizes.values()].toSorted((a, b) => a.heavyUs - b.heavyUs);
  return [{ heavyUs: 0, wait: NOTHING, handover: NOTHING }, ...sorted];
}

/** Whether it is known what heavy requests do to the others. */
export const isMixedKnown = (stored: Stored, name: string): boolean => beside(stored, name, new Sources()).length > 0;

/** What a server takes without connections is what it took with the fewest, less what these added. */
function memoryOf(holds: readonly Result[]): Memory | null {
  const user = holds.findLast(({ metrics }) => metrics.user_bytes_per_conn !== null)?.metrics.user_bytes_per_conn;
  const kernel = holds.findLast(({ metrics }) => metrics.kernel_bytes_per_conn !== null)?.metrics.kernel_bytes_per_conn;
  const fewest = holds.filter(({ metrics }) => metrics.pss_bytes !== null)
    .toSorted((a, b) => a.metrics.connections! - b.metrics.connections!)[0]?.metrics;
  if (user === undefined || fewest === undefined) return null;
  const connectionBytes = Math.max(0, user!); // a slope below nothing means that nothing was found
  const processBytes = fewest.pss_bytes! - connectionBytes * (fewest.connections ?? 0);
  return {
    processBytes: processBytes > 0 ? processBytes : null,
    connectionBytes,
    kernelBytes: kernel ?? null,
  };
}

/** Memory of so many connections. */
export const totalBytes = ({ processBytes, connectionBytes, kernelBytes }: Memory, connections: number): number =>
  (processBytes ?? 0) + (connectionBytes + (kernelBytes ?? 0)) * connections;

/** The most connections for which the memory of a machine is enough. */
function mostFor({ processBytes, connectionBytes, kernelBytes }: Memory, memoryBytes: number): number {
  return Math.floor((memoryBytes * MEMORY_SHARE - (processBytes ?? 0)) / (connectionBytes + (kernelBytes ?? 0)));
}

/** What is known of one architecture; or the command that makes what is missing. */
function factsOf(stored: Stored, name: string): Facts | Unknown {
  const holds = fullRuns(stored, name, "hold");
  const sources = new Sources();
  const most = holds.toSorted((a, b) => a.parameters.connections - b.parameters.connections).at(-1);
  const own = cpuPoints(stored, name, sources);
  const cpu = own.length > 0 ? own : wirePoints(stored, name, sources);
  if (most === undefined || most.metrics.answered === null) {
    return { name, command: `deno task exp ${name}`, time: EXP_TIME };
  }
  if (cpu.length === 0 && most.parameters.wire !== undefined) {
    const time = atMost(usualSeconds("throughput"));
    return { name, command: `deno task compare c-epoll ${name}`, time };
  }
  if (cpu.length === 0) return { name, command: `deno task exp ${name} --scenario throughput`, time: null };
  const crowd = crowdOf(stored, name);
  const larger = crowd !== null && crowd.held > most.metrics.answered ? crowd : null;
  if (larger !== null) sources.results.add(larger.path);
  const wait = waitPoints(stored, name, sources);
  const heavy = beside(stored, name, sources);
  const memory = memoryOf(holds);
  const held = larger?.held ?? most.metrics.answered;
  const limit = larger === null ? most.reason : null;
  const setting = SETTINGS.find(({ stopped }) => limit !== null && stopped.test(limit))?.what ?? null;
  return {
    name,
    held,
    limit,
    setting,
    reach: setting === null || memory === null ? held : Math.max(held, mostFor(memory, stored.host.memory_bytes)),
    memory,
    cpu,
    isWired: own.length === 0,
    wait,
    beside: heavy,
    isQuick: sources.isQuick,
    results: [resultPath(most), ...sources.results],
  };
}

/**
 * What is known of each architecture that has run there, from easy to hard as the catalogue has them; peers are left out,
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

/** What is stored and has no weight in an answer: quick ones, and those that others disturbed. */
export function uncounted({ results, studies }: Stored): { quick: number; disturbed: number } {
  const all = [...results, ...Object.values(studies).flat()];
  const full = studies.comparison.filter(({ quick }) => !quick);
  const disturbed = [
    ...results.filter(({ quick, scenario, findings }) => !quick && scenario === "throughput" && isSpoilt(findings)),
    ...full.filter(({ rows }) => rows.every(isInconclusive)),
  ];
  return { quick: all.filter(({ quick }) => quick).length, disturbed: disturbed.length };
}

/** Those that could run on that machine, and of which nothing is stored. */
export const untried = ({ experiments, results, host }: Stored): string[] =>
  experiments.filter((experiment) =>
    !experiment.peer && speaksHttp(experiment) && runsHere(experiment, host).runs &&
    !results.some((run) => run.experiment === experiment.name)
  ).map(({ name }) => name);

const hasRun = ({ results }: Stored, name: string): boolean =>
  results.some(({ experiment, ended }) => experiment === name && ended !== "skipped");
