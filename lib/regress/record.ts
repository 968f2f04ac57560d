/**
 * What one run against the baseline found: a line of results/history.jsonl, and how it is shown.
 *
 * @module
 */
import { join } from "node:path";
import { BASELINE_ENTRY, type HostKind, hostKindShape } from "./baseline.ts";
import { count, MISSING } from "../text/format.ts";
import { type Lines, readLines } from "../results/jsonl.ts";
import { list, nullOr, number, object, oneOf, type Shape, text, truth } from "../results/check.ts";
import { type Column, markdown, table } from "../text/table.ts";

export const HISTORY_SCHEMA = 1;
/** The file in results/, a line for each night. */
export const HISTORY = "history.jsonl";

/** Of one experiment. `alarm`: nobody was asked to confirm it; `broken`: it crashed, or did not answer. */
export const VERDICTS = [
  "regression",
  "broken",
  "alarm",
  "inconclusive",
  "improvement",
  "unchanged",
  "skipped",
] as const;
/** One of {@linkcode VERDICTS}. */
export type NightVerdict = typeof VERDICTS[number];

/** What was found of one experiment. Null: there is no such figure. */
export interface NightRow {
  experiment: string;
  connections: number;
  verdict: NightVerdict;
  reason: string | null;
  rounds: number;
  valid_rounds: number;
  reference_cpu_us_per_request: number | null;
  candidate_cpu_us_per_request: number | null;
  ratio: number | null;
  ratio_low: number | null;
  ratio_high: number | null;
  change: number | null;
  change_low: number | null;
  change_high: number | null;
  confirmed: number | null;
  confirmed_low: number | null;
  confirmed_high: number | null;
  findings: string[];
  log_ratios: number[];
}

/** One run. */
export interface Night {
  schema: number;
  id: string;
  time: string;
  command: string;
  reference: string;
  /** Its rounds are what later nights are compared with: nothing was judged. */
  new_baseline: boolean;
  kind: HostKind;
  deno: string;
  v8: string;
  exit: number;
  experiments: NightRow[];
}

const nullable = nullOr(number);
/** The fields of one experiment, with the check of each. A test holds results/README.md against them. */
export const NIGHT_ROW: Shape<NightRow> = {
  experiment: text,
  connections: number,
  verdict: oneOf(VERDICTS),
  reason: nullOr(text),
  rounds: number,
  valid_rounds: number,
  reference_cpu_us_per_request: nullable,
  candidate_cpu_us_per_request: nullable,
  ratio: nullable,
  ratio_low: nullable,
  ratio_high: nullable,
  change: nullable,
  change_low: nullable,
  change_high: nullable,
  confirmed: nullable,
  confirmed_low: nullable,
  confirmed_high: nullable,
  findings: list(text),
  log_ratios: BASELINE_ENTRY.log_ratios,
};
/** The fields of a run. */
export const NIGHT: Shape<Night> = {
  schema: oneOf([HISTORY_SCHEMA]),
  id: text,
  time: text,
  command: text,
  reference: text,
  new_baseline: truth,
  kind: hostKindShape,
  deno: text,
  v8: text,
  exit: number,
  experiments: list(object(NIGHT_ROW)),
};
const nightShape = object(NIGHT);

/** The nights of the history, the oldest first, and a sentence for each line that is damaged. Needs `--allow-read`. */
export const readHistory = (dir = "results"): Promise<Lines<Night>> => readLines(join(dir, HISTORY), nightShape);

/** A ratio as a change in per cent, with its sign: 1.051 is `+5.1 %`. */
export function percentChange(ratio: number | null): string {
  if (ratio === null) return MISSING;
  const percent = (ratio - 1) * 100;
  return `${percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(1)} %`;
}

/** A change with its interval. */
export function changeInterval(estimate: number | null, low: number | null, high: number | null): string {
  if (estimate === null) return MISSING;
  const bounds = low === null ? "too few rounds" : `${percentChange(low)}, ${percentChange(high)}`;
  return `${percentChange(estimate)} [${bounds}]`;
}

const COLUMNS: Column<NightRow>[] = [
  { heading: "experiment", cell: (of) => of.experiment, left: true },
  { heading: "verdict", cell: (of) => of.verdict, left: true },
  {
    heading: "against the baseline\n[98 %]",
    cell: (of) => changeInterval(of.change, of.change_low, of.change_high),
    left: true,
  },
  {
    heading: "fresh rounds\n[98 %]",
    cell: (of) => changeInterval(of.confirmed, of.confirmed_low, of.confirmed_high),
    left: true,
  },
  { heading: "by the\nreference", cell: (of) => count(of.ratio, 3) },
  { heading: "CPU-µs\n/request", cell: (of) => count(of.candidate_cpu_us_per_request, 2) },
  { heading: "connec-\ntions", cell: (of) => count(of.connections) },
  { heading: "valid\nrounds", cell: (of) => `${of.valid_rounds}/${of.rounds}` },
];

const SENTENCE: Record<number, string> = {
  0: "No regression.",
  1: "Regression: at least one experiment got slower, and fresh rounds agree, or it broke.",
  3: "Inconclusive: no regression was confirmed, but not every experiment could be judged.",
};

const BASELINE_SENTENCE: Record<number, string> = {
  0: "A new baseline: nothing was judged.",
  1: "No new baseline of what broke.",
  3: "Not every experiment has got a new baseline.",
};

/** How it ended, in a sentence. */
const sentenceOf = ({ exit, new_baseline }: Night) => (new_baseline ? BASELINE_SENTENCE : SENTENCE)[exit] ?? "";

function notes(night: Night): string[] {
  const why = night.experiments.filter(({ reason }) => reason !== null).map((of) => `${of.experiment}: ${of.reason}`);
  const weak = night.experiments.filter(({ findings }) => findings.length > 0)
    .map((of) => `${of.experiment}: in more than half of the rounds ${of.findings.join(", ")}`);
  return [...why, ...weak];
}

/** The sentence, the table and the notes, for a terminal. */
export function showNight(night: Night): string {
  const lines = notes(night).map((note) => `  ${note}`);
  return [table(night.experiments, COLUMNS), ...lines, sentenceOf(night)].join("\n");
}

/** The same in Markdown. */
export function nightMarkdown(night: Night): string {
  const lines = notes(night).map((note) => `- ${note}`);
  const facts = `\`${night.command}\`, reference ${night.reference}, Deno ${night.deno}, ${night.time}`;
  return [`## ${sentenceOf(night)}`, "", markdown(night.experiments, COLUMNS), "", ...lines, "", facts, ""].join(
    "\n",
  );
}
