/**
 * What the report is made of: the catalogue, what is stored in results/, and what the schemas say of it.
 *
 * @module
 */
import { join } from "node:path";
import { catalogue, type Experiment } from "../../lib/catalogue/catalogue.ts";
import { type Trend, trends } from "../../lib/regress/trend.ts";
import { HOST, type HostFacts, LIMITS, SETTINGS } from "../../lib/sampling/host.ts";
import { describeFields } from "../../lib/results/check.ts";
import { FINDING_SAYS } from "../../lib/results/findings.ts";
import { END_SAYS, MANIFEST, METRICS_SCHEMA, PARAMETERS, RESULT, SCENARIO_SAYS } from "../../lib/results/schema.ts";
import { chooseStored, coverage, type Stored } from "../../lib/results/stored.ts";
import { HISTORY, readHistory } from "../../lib/regress/record.ts";
import type { SoakRow } from "../../lib/results/rows.ts";
import type { PassedOver, Result } from "../../lib/results/results.ts";
import type { Study } from "../../lib/results/studies.ts";
import {
  candidatesOf,
  newestLaw,
  type Shown,
  shown,
  type Table,
  widest,
  widestSweep,
} from "../../lib/results/choose.ts";
import { type FaultMatrix, faultMatrix, newestSoaks } from "../../lib/tables/faults.ts";
import { type SourceFile, sourcesOf } from "./source.ts";
import { collect } from "../../lib/advice/facts.ts";
import { type Pair, shownPairs } from "../../lib/advice/pairs.ts";
import { type ClaimsFile, readClaims } from "../../lib/claims/file.ts";
import { headlines } from "../../lib/claims/headlines.ts";
import { judgePrediction, type Prediction } from "../../lib/claims/prediction.ts";

/** What each field means. */
export type Meanings = ReadonlyMap<string, string>;

/** All that the report shows. Lists of experiments are in reading order. */
export interface ReportContents {
  /** The machine that all figures come from, by the name of its folder. */
  machine: string;
  /** What came out, a sentence each, in Markdown. */
  headlines: string[];
  /** The outcome of each prediction, by the name of the experiment. */
  predictions: ReadonlyMap<string, Prediction>;
  shown: Shown[];
  /** Servers that are in no catalogue, but were measured: `deno task measure --name mine`. */
  own: Shown[];
  /** Of each experiment, by name. */
  sources: ReadonlyMap<string, SourceFile[]>;
  results: readonly Result[];
  /** For each scenario and number of connections the comparison with the most candidates. */
  comparisons: Table[];
  readiness: Study<"readiness"> | undefined;
  /** Latency against load; undefined: not measured. */
  sweep: Study<"sweep"> | undefined;
  /** Where the costs of two architectures cross. */
  crossings: Pair[];
  claims: ClaimsFile | null;
  /** What breaks each server. */
  faults: FaultMatrix;
  /** What rises under load for long: the newest rows of each server. */
  soaks: SoakRow[];
  /** Of each experiment that was measured at night. */
  trends: Trend[];
  /** The same of the other machines that the page has. */
  others: readonly ReportContents[];
  passedOver: PassedOver[];
  /** Whose figures these are and why, in one line. */
  line: string;
  meanings: Meanings;
  /** When it was made, as `Date.toISOString` has it. */
  time: string;
}

/** The descriptions of the schemas. */
const MEANINGS: Meanings = new Map(
  [LIMITS, SETTINGS, HOST, PARAMETERS, METRICS_SCHEMA, MANIFEST, RESULT].flatMap(describeFields)
    .concat(Object.entries(FINDING_SAYS), Object.entries(SCENARIO_SAYS), Object.entries(END_SAYS)),
);

/** The widest comparison at each scenario and number of connections, whatever its reference. */
export function chosen(studies: readonly Study<"comparison">[]): Table[] {
  const rows = studies.flatMap((study) => study.rows);
  return [...Map.groupBy(rows, ({ scenario }) => scenario)].flatMap(([scenario, of]) => {
    const tables = [...new Set(of.map(({ reference }) => reference))].flatMap((name) =>
      widest(studies, scenario, name)
    );
    return [...Map.groupBy(tables, (table) => table.rows[0]!.connections)].toSorted(([a], [b]) => a - b)
      .map(([, same]) => same.toSorted((a, b) => candidatesOf(b).size - candidatesOf(a).size)[0]!);
  });
}

/** A custom server: all that is known of it is its name and what it was measured to do. */
const unknown = (name: string): Experiment => ({
  name,
  path: "",
  peer: false,
  family: "custom",
  title: name,
  question: "",
  idea: "",
  prediction: "",
  expect: [],
  workers: null,
  sources: "",
  compare: [],
  requires: [{ os: "any", kernel: null }],
  needs: [],
  version: null,
  fairness: null,
  cannot: {},
  run: "",
  try: "",
  simplified: "",
});

/** The servers that results or comparisons name and the catalogue does not. */
export function ownServers(all: readonly Experiment[], results: readonly Result[], comparisons: readonly Table[]) {
  const compared = comparisons.flatMap(({ rows }) => rows.flatMap((row) => [row.reference, row.candidate]));
  const names = new Set([...results.map(({ experiment }) => experiment), ...compared]);
  return shown([...names].filter((name) => all.every((of) => of.name !== name)).sort().map(unknown), results);
}

/** The other machines of the page that have something, by name. */
export const machinesWith = (
  { others }: Pick<ReportContents, "others">,
  has: (of: ReportContents) => boolean,
): string[] => others.filter(has).map(({ machine }) => machine);

/** The machines that figures come from, those with the most runs first. */
export function hostsOf(results: readonly Result[]): { host: HostFacts; runs: Result[] }[] {
  return [...Map.groupBy(results, ({ host }) => JSON.stringify(host)).values()]
    .map((runs) => ({ host: runs[0]!.host, runs }))
    .toSorted((a, b) => b.runs.length - a.runs.length);
}

/** The outcomes of all predictions, by the name of the experiment. */
function judgePredictions(stored: Stored): ReadonlyMap<string, Prediction> {
  return new Map(stored.experiments.flatMap((experiment) => {
    const prediction = judgePrediction(experiment, stored);
    return prediction === null ? [] : [[experiment.name, prediction] as const];
  }));
}

/** Reads all of it. Needs `--allow-read` for the two folders. */
export async function readContents(
  { results: dir = "results", experiments = "experiments", machine }: {
    results?: string;
    experiments?: string;
    machine?: string | undefined;
  } = {},
): Promise<ReportContents> {
  const { stored, passedOver, line } = await chooseStored({ dir, machine, covers: coverage });
  const folder = join(dir, stored.machine);
  const { results, studies } = stored;
  const history = await readHistory(folder);
  const torn = history.warnings.map((why) => ({ path: join(folder, HISTORY), why }));
  const all: Experiment[] = catalogue(experiments);
  const damaged: PassedOver[] = [];
  const claims = await readClaims(folder, (of) => damaged.push(of));
  const comparisons = chosen(studies.comparison);
  return {
    machine: stored.machine,
    headlines: headlines(stored),
    predictions: judgePredictions(stored),
    shown: shown(all, results),
    own: ownServers(all, results, comparisons),
    sources: new Map(await Promise.all(all.map(async (of) => [of.name, await sourcesOf(of)] as const))),
    results,
    comparisons,
    readiness: newestLaw(studies.readiness),
    sweep: widestSweep(studies.sweep),
    crossings: shownPairs(collect(stored).known),
    claims,
    faults: faultMatrix(studies.faults, all.map(({ name }) => name)),
    soaks: newestSoaks(studies.soak),
    trends: trends(history.values),
    others: [],
    passedOver: [passedOver, damaged, torn].flat(),
    line,
    meanings: MEANINGS,
    time: new Date().toISOString(),
  };
}
