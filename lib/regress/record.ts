/**
 * What one run against the baseline found: a line of the file history.jsonl of a machine, and how it is shown.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { field, number, numberOrNull, text, textOrNull } from "../results/check.ts";
import { FOUND } from "../results/findings.ts";
import { type Lines, readLines } from "../results/jsonl.ts";
import { count, MISSING } from "../text/format.ts";
import { type Column, markdown, table } from "../text/table.ts";
import { HOST_KIND } from "./baseline.ts";

export const HISTORY_SCHEMA = 2;
/** The file in the folder of a machine, a line for each run. */
export const HISTORY = "history.jsonl";

/** The verdicts on one experiment, with what each means. */
const VERDICT_SAYS = {
  slower: "by more than 2 %, confirmed by fresh rounds",
  broken: "it crashed or did not answer, twice",
  inconclusive: "it could not be decided",
  not_slower: "by less than 2 %, or faster",
  skipped: "it cannot run here",
} as const;
export type NightVerdict = keyof typeof VERDICT_SAYS;
export const VERDICTS = Object.keys(VERDICT_SAYS) as NightVerdict[];

/** What was found of one experiment. */
export const NIGHT_ROW = v.strictObject({
  experiment: field(text, "which one"),
  connections: field(number, "how many each of the two held"),
  verdict: field(
    v.picklist(VERDICTS),
    Object.entries(VERDICT_SAYS).map(([name, says]) => `\`${name}\`: ${says}`).join("; "),
  ),
  reason: field(textOrNull, "why, and which rounds do not count; `null` if there is nothing to add"),
  rounds: field(number, "rounds before a confirmation"),
  valid_rounds: field(number, "those of them that count"),
  reference_cpu_us_per_request: field(numberOrNull, "CPU time per request of the reference, the median of all rounds"),
  candidate_cpu_us_per_request: field(numberOrNull, "the same of the experiment"),
  ratio: field(numberOrNull, "experiment / reference, the median of the valid rounds"),
  ratio_low: field(numberOrNull, "lower end of its 98 % interval"),
  ratio_high: field(numberOrNull, "upper end"),
  change: field(numberOrNull, "that ratio / the baseline's ratio, of all rounds: over 1 it got slower"),
  change_low: field(numberOrNull, "lower end of its interval, which has the uncertainty of both"),
  change_high: field(numberOrNull, "upper end"),
  confirmed: field(numberOrNull, "the same by the fresh rounds alone; `null`: there were none"),
  confirmed_low: field(numberOrNull, "lower end of its interval"),
  confirmed_high: field(numberOrNull, "upper end"),
  findings: field(v.array(FOUND), "what weakened more than half of the rounds: `server` and `id`"),
  log_ratios: field(v.array(number), "the logarithms of the valid rounds"),
});
export type NightRow = v.InferOutput<typeof NIGHT_ROW>;

/** One run. */
export const NIGHT = v.strictObject({
  schema: field(v.literal(HISTORY_SCHEMA), "the version of this format"),
  id: field(text, "the same for the same rounds, so that no run is added twice"),
  time: field(text, "when it ended, in UTC"),
  command: field(text, "the command line that repeats it"),
  reference: field(text, "the experiment that all are measured next to"),
  new_baseline: field(v.boolean(), "whether its rounds are what later runs are compared with: nothing was judged then"),
  kind: field(HOST_KIND, "the machine, as in the baseline"),
  deno: field(text, "the version of the runtime"),
  v8: field(text, "the version of its engine"),
  exit: field(number, "the exit code: 0 no regression, 1 a regression or something broke, 3 inconclusive"),
  experiments: field(v.array(NIGHT_ROW), "what was found of each: see below"),
});
export type Night = v.InferOutput<typeof NIGHT>;

/** The runs in the folder of a machine, the oldest first, and a sentence for each line that is damaged. Needs `--allow-read`. */
export const readHistory = (folder: string): Promise<Lines<Night>> => readLines(join(folder, HISTORY), NIGHT);

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
  { heading: "ratio to\nreference", cell: (of) => count(of.ratio, 3) },
  { heading: "CPU-µs\n/request", cell: (of) => count(of.candidate_cpu_us_per_request, 2) },
  { heading: "connec-\ntions", cell: (of) => count(of.connections) },
  { heading: "valid\nrounds", cell: (of) => `${of.valid_rounds}/${of.rounds}` },
];

const SENTENCE: Record<number, string> = {
  0: "Not slower.",
  1: "Slower: at least one experiment got slower, and fresh rounds agree, or it broke.",
  3: "Inconclusive: nothing is shown to be slower, but not every experiment is shown to be not slower.",
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
    .map((of) =>
      `${of.experiment}: in more than half of the rounds ${
        of.findings.map(({ server, id }) => `${server}: ${id}`).join(", ")
      }`
    );
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
