/**
 * Which of the stored studies a table or a chart shows.
 *
 * @module
 */
import { taskLine } from "../cli/shell.ts";
import type { HostFacts } from "../sampling/host.ts";
import { machineOf } from "./machine.ts";
import type { Study } from "./studies.ts";
import { isDisturbedCall, isSpoilt } from "./findings.ts";
import { HEAVY_US, isUsualMessage, MIN_ROUNDS, NOISE_BYTES } from "./conventions.ts";
import type { ComparisonRow, ProbeRow } from "./rows.ts";
import type { Experiment } from "../catalogue/catalogue.ts";
import type { Metrics, Result, ScenarioName } from "./results.ts";

/** The rows of one comparison at one number of connections, with the study they stand in. */
export interface Table {
  study: Study<"comparison" | "wire">;
  /** What all rows were measured on: the builds of a kernel may differ. */
  hosts: HostFacts[];
  rows: ComparisonRow[];
}

/**
 * What to show of all comparisons with a reference in a scenario: for each number of connections, the smallest first, those
 * with the most candidates; of several the newest. Studies with equal flags, on machines of one kind with one release of the
 * kernel and of Deno, and by one load generator, count as one, so that a candidate can be measured again, or added, by itself.
 * A quick study is shown only where there is no full one, one of few rounds never, and of `mixed` none with other heavy
 * requests than `deno task exp` makes.
 */
export function widest(
  studies: readonly Study<"comparison" | "wire">[],
  scenario: ComparisonRow["scenario"],
  reference: string,
): Table[] {
  const fits = (row: ComparisonRow) =>
    row.scenario === scenario && row.reference === reference && (row.heavy_us ?? HEAVY_US) === HEAVY_US &&
    isUsualMessage(row);
  const tables = studies.flatMap((study) =>
    [...Map.groupBy(study.rows.filter(fits), (row) => row.connections).values()].map((rows) => tableOf(study, rows))
  );
  const joint = [...Map.groupBy(tables, conditionsOf).values()].map(joined).filter(({ rows }) => rows.some(hasRounds));
  const best = Map.groupBy(joint, ({ rows }) => rows[0]!.connections).values().map((of) => of.toSorted(byWidth)[0]!);
  return [...best].toSorted((a, b) => a.rows[0]!.connections - b.rows[0]!.connections);
}

const tableOf = (study: Table["study"], rows: ComparisonRow[]): Table => ({ study, hosts: [study.host], rows });
const hasRounds = ({ rounds }: ComparisonRow): boolean => rounds >= MIN_ROUNDS;
/** What a comparison has beside its reference. */
export const candidatesOf = ({ rows }: Table): Set<string> => new Set(rows.map(({ candidate }) => candidate));
const byTime = (a: Table, b: Table): number => b.study.time.localeCompare(a.study.time);
const byWidth = (a: Table, b: Table): number =>
  Number(a.study.quick) - Number(b.study.quick) || candidatesOf(b).size - candidatesOf(a).size || byTime(a, b);

/** The flags of a command, without those that stand for names. */
const flagsOf = ({ command }: Pick<Table["study"], "command">): string =>
  (/ --.*/.exec(command)?.[0] ?? "").replace(/ --(?:all|family[ =]\S+)(?= |$)/g, "");

/** The release of a kernel: `6.18.44` of `6.18.44-fc-v595`. A virtual machine that is made anew often has another build. */
const releaseOf = ({ kernel }: HostFacts): string => /^[\d.]*/.exec(kernel)![0];

/** Only rows that were measured alike stand in one table. */
function conditionsOf({ study: { quick, lab, host, command }, rows }: Table): string {
  const platform = [machineOf(host), releaseOf(host), host.deno];
  return JSON.stringify([quick, lab.load, ...platform, flagsOf({ command }), rows[0]!.connections]);
}

/** A candidate that could not take part has no rows to wait for. */
const isTelling = (row: ComparisonRow): boolean => row.reason !== null || (hasRounds(row) && !isSpoilt(row.findings));

/** Several studies as one: of each candidate the newest rows, those that others disturbed only where there are no others. */
function joined(tables: readonly Table[]): Table {
  const [widest, ...others] = tables.toSorted(byWidth) as [Table, ...Table[]];
  const newest = tables.toSorted(byTime);
  const names = new Set([widest, ...others].flatMap((table) => [...candidatesOf(table)]));
  const rows = [...names].flatMap((name) => {
    const all = newest.map(({ rows }) => rows.filter(({ candidate }) => candidate === name)).filter(({ length }) =>
      length
    );
    return all.find((own) => own.every(isTelling)) ?? all.find((own) => own.some(hasRounds)) ?? [];
  });
  if (rows.every((row) => widest.rows.includes(row))) return widest;
  const hosts = tables.filter((table) => table.rows.some((row) => rows.includes(row))).map(({ study }) => study.host);
  const { reference } = rows[0]!;
  const flags = flagsOf(widest.study);
  if (flags.split(" ").includes(reference)) return { study: widest.study, hosts, rows }; // flags came first: the names are behind them
  return { study: { ...widest.study, command: taskLine("compare", [reference, ...names]) + flags }, hosts, rows };
}

const SIZES = 4; // of a study of wait calls: fewer show no law

/** The newest study of wait calls that has enough sizes to show a law; one that others disturbed only where there is no other. */
export function newestLaw(studies: readonly Study<"readiness">[]): Study<"readiness"> | undefined {
  const laws = studies.filter(({ rows }) => new Set(rows.map((row) => row.descriptors)).size >= SIZES);
  return laws.findLast(({ rows }) => !rows.some(isDisturbedCall)) ?? laws.at(-1);
}

/**
 * The sweep that a chart shows: of those with the most servers the newest, one without an objective only where there is none
 * with one, and a quick one only where there is no full one. Comparisons of capacities are sweeps, too.
 */
export function widestSweep(studies: readonly Study<"sweep">[]): Study<"sweep"> | undefined {
  const rank = ({ quick, rows }: Study<"sweep">) => [
    Number(!quick),
    Number(rows.some(({ slo }) => slo !== null)),
    new Set(rows.map(({ server }) => server)).size,
  ];
  const compare = (a: number[], b: number[]) => b.map((value, i) => value - a[i]!).find((by) => by !== 0) ?? 0;
  return studies.toSorted((a, b) => compare(rank(a), rank(b)) || b.time.localeCompare(a.time))[0];
}

/** One experiment, and its newest full run in each scenario. */
export interface Shown {
  experiment: Experiment;
  hold: Result | undefined;
  throughput: Result | undefined;
  rate: Result | undefined;
  /** All full runs of `hold`: what the one above does not tell, another may. */
  holds: readonly Result[];
}

/** The newest full run of a scenario; of `hold` the newest of those that were asked for the most connections. */
export function best(
  results: readonly Result[],
  name: string,
  scenario: ScenarioName,
  most = Infinity,
): Result | undefined {
  const isClimb = scenario === "hold" || scenario === "broadcast";
  const asked = (of: Result) => isClimb ? of.parameters.connections : 0;
  const hasFigures = ({ ended }: Result) => Number(ended === "ok" || ended === "limited"); // they come first
  return results
    .filter((of) => of.experiment === name && of.scenario === scenario && !of.quick && asked(of) <= most)
    .toSorted((a, b) => hasFigures(b) - hasFigures(a) || asked(b) - asked(a) || b.time.localeCompare(a.time))[0];
}

/**
 * The newest full broadcasts of each experiment, one for each number of listeners; those with others that do not read
 * are left out, those with messages of another size, and those without figures.
 */
export function broadcastRuns(experiments: readonly Pick<Experiment, "name">[], results: readonly Result[]): Result[] {
  return experiments.flatMap(({ name }) => {
    const own = results.filter((of) =>
      of.experiment === name && of.scenario === "broadcast" && !of.quick && isUsualMessage(of.parameters) &&
      (of.ended === "ok" || of.ended === "limited")
    );
    const sizes = Map.groupBy(own, (of) => of.parameters.connections);
    return [...sizes].toSorted(([a], [b]) => a - b)
      .map(([, same]) => same.toSorted((a, b) => b.time.localeCompare(a.time))[0]!);
  });
}

/** The newest full comparison of a server with itself beside listeners that do not read, for each number of both. */
export function slowTables(studies: readonly Study<"comparison">[]): Table[] {
  const tables = studies.filter(({ quick }) => !quick).flatMap((study) =>
    [...Map.groupBy(study.rows.filter((row) => row.slow !== undefined), keyOfSlow).values()]
      .map((rows) => tableOf(study, rows))
  );
  return [...Map.groupBy(tables, ({ rows }) => keyOfSlow(rows[0]!)).values()]
    .map((same) => same.toSorted((a, b) => b.study.time.localeCompare(a.study.time))[0]!);
}

const keyOfSlow = ({ reference, connections, slow, message_bytes: bytes }: ComparisonRow) =>
  `${reference} ${connections} ${slow} ${bytes}`;

/** Finds what the tables show of each experiment. */
export const shown = (experiments: readonly Experiment[], results: readonly Result[]): Shown[] =>
  experiments.map((experiment) => ({
    experiment,
    hold: best(results, experiment.name, "hold"),
    throughput: best(results, experiment.name, "throughput"),
    rate: best(results, experiment.name, "rate"),
    holds: results.filter((of) => of.experiment === experiment.name && of.scenario === "hold" && !of.quick),
  }));

/**
 * The full runs of the same server, scenario and code, asked for the same, in which others took no CPU time; the run itself,
 * where there is none, or where its code is not known.
 */
export function repeatsOf(of: Result, results: readonly Result[]): Result[] {
  if (of.lab.load === null || of.lab.served === null) return [of];
  const kind = ({ experiment, scenario, parameters, lab: { load, served } }: Result) =>
    JSON.stringify([experiment, scenario, Object.entries(parameters).sort(), load, served]);
  const isSound = ({ quick, ended, findings }: Result) =>
    !quick && (ended === "ok" || ended === "limited") && !isSpoilt(findings);
  const sound = results.filter((other) => isSound(other) && kind(other) === kind(of));
  return sound.length > 0 ? sound : [of];
}

/** Of the runs of one server that tell a metric the one with the most connections, of equals the newest. */
export const telling = (runs: readonly Result[], metric: keyof Metrics): Result | undefined =>
  runs.filter(({ metrics }) => metrics[metric] !== null)
    .toSorted((a, b) => (b.metrics.connections ?? 0) - (a.metrics.connections ?? 0) || b.time.localeCompare(a.time))[0];

/**
 * What one connection takes of a server's own memory, in bytes. Less than a heap differs by without a connection more is no
 * figure: that difference, for each of the connections, is an upper bound. Null: no full run measured it.
 */
export const userMemory = ({ holds }: Pick<Shown, "holds">): UserMemory =>
  userMemoryOf(telling(holds, "user_bytes_per_conn")?.metrics);

/** Memory of one connection, in bytes, or an upper bound of it. */
export interface UserMemory {
  value: number | null;
  bound: "at most" | null;
}

/** The same of one run. */
export function userMemoryOf(of: Pick<Metrics, "user_bytes_per_conn" | "connections"> | undefined): UserMemory {
  const value = of?.user_bytes_per_conn ?? null;
  if (of === undefined || value === null) return { value: null, bound: null };
  const noise = of.connections ? NOISE_BYTES / of.connections : -Infinity;
  return value < noise ? { value: noise, bound: "at most" } : { value, bound: null };
}

/** The rows of a probe, of the newest study that has some; none if there is no such study. */
export const newestProbe = (studies: readonly Study<"probe">[], probe: string): ProbeRow[] =>
  studies.toSorted((a, b) => b.time.localeCompare(a.time))
    .map(({ rows }) => rows.filter((row) => row.probe === probe))
    .find((rows) => rows.length > 0) ?? [];
