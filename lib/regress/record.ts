/**
 * What one run against the baseline found: a line of the file history.jsonl of a machine, and how it is shown.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { EXIT } from "../cli/exit.ts";
import { field, number, numberOrNull, text, textOrNull } from "../results/check.ts";
import { FOUND } from "../results/findings.ts";
import { type Lines, readLines } from "../results/jsonl.ts";
import { count, counted, MISSING } from "../text/format.ts";
import { type Column, markdown, table } from "../text/table.ts";
import { HOST_KIND } from "./baseline.ts";

export const HISTORY_SCHEMA = 2;
/** The file in the folder of a machine, a line for each run. */
export const HISTORY = "history.jsonl";

/** The verdicts on one experiment, with what each means. */
const VERDICT_SAYS = {
  slower: "by more than 2 %, confirmed by fresh rounds",
  broken: "it did not start, crashed, or did not answer, twice",
  inconclusive: "it could not be decided",
  not_slower: "by less than 2 %, or faster",
  skipped: "it cannot run here",
} as const;
export type RowVerdict = keyof typeof VERDICT_SAYS;
export const VERDICTS = Object.keys(VERDICT_SAYS) as RowVerdict[];

/** What was found of one experiment. */
export const REGRESSION_ROW = v.strictObject({
  experiment: field(text, "which one, or the name of a server of one's own"),
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
export type RegressionRow = v.InferOutput<typeof REGRESSION_ROW>;

const UNDECIDED = v.strictObject({ experiment: text, nights: number });
/** An experiment about which nothing was decided, for so many nights in a row. */
export type Undecided = v.InferOutput<typeof UNDECIDED>;

/** One run. */
export const REGRESSION_RECORD = v.strictObject({
  schema: field(v.literal(HISTORY_SCHEMA), "the version of this format"),
  id: field(text, "the same for the same rounds, so that no run is added twice"),
  time: field(text, "when it ended, in UTC"),
  command: field(text, "the command line that repeats it"),
  reference: field(text, "the experiment that all are measured next to"),
  new_baseline: field(v.boolean(), "whether its rounds are what later runs are compared with: nothing was judged then"),
  kind: field(HOST_KIND, "the machine, as in the baseline"),
  deno: field(text, "the version of the runtime"),
  v8: field(text, "the version of its engine"),
  exit: field(
    number,
    "the exit code: 0 not slower, 1 slower or broken, 3 inconclusive, 69 nothing runs here, 70 not stored",
  ),
  experiments: field(v.array(REGRESSION_ROW), "what was found of each: see below"),
  undecided: v.exactOptional(
    field(
      v.array(UNDECIDED),
      "only in what `deno task nightly --json` prints: `experiment` and `nights` where nothing was decided for several " +
        "nights in a row",
    ),
  ),
});
export type RegressionRecord = v.InferOutput<typeof REGRESSION_RECORD>;

/** The runs in the folder of a machine, the oldest first, and a sentence for each line that is damaged. Needs `--allow-read`. */
export const readHistory = (folder: string): Promise<Lines<RegressionRecord>> =>
  readLines(join(folder, HISTORY), REGRESSION_RECORD);

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

const COLUMNS: Column<RegressionRow>[] = [
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

/** The exit codes of a run that has a record. */
type RecordExit = Exclude<keyof typeof EXIT, "usage" | "interrupted">;

/** An exit code whose sentence does not depend on what is bad. */
type PlainExit = Exclude<RecordExit, "failed">;

const SENTENCE: Record<PlainExit, string> = {
  ok: "Not slower.",
  inconclusive: "Inconclusive: nothing is shown to be slower, but not every experiment is shown to be not slower.",
  unavailable: "Nothing was judged: no experiment runs here.",
  harness: "Not slower, but the record cannot be stored.",
};

const BASELINE_SENTENCE: Record<PlainExit, string> = {
  ok: "A new baseline: nothing was judged.",
  inconclusive: "Not every experiment has got a new baseline.",
  unavailable: "No new baseline: no experiment runs here.",
  harness: "No new baseline: it cannot be stored.",
};

/** The reason of what broke may be all that it printed: of this, so many characters of the first line. */
const MAX_REASON = 240;

/** What broke, and of one alone why. */
function brokenSentence(broken: readonly Pick<RegressionRow, "experiment" | "reason">[]): string {
  const [{ experiment, reason } = { experiment: "", reason: null }, ...more] = broken;
  const [line = ""] = reason?.split("\n", 1) ?? [];
  if (more.length > 0 || line === "") return `Broken: ${broken.map((of) => of.experiment).join(", ")}.`;
  const why = line.startsWith(experiment) ? line : `${experiment}: ${line}`;
  return `Broken: ${why.length > MAX_REASON ? `${why.slice(0, MAX_REASON)}…` : why.replace(/[.:]?$/, ".")}`;
}

/** What is bad: what got slower, what broke, or both. */
function badSentence(rows: readonly RegressionRow[]): string {
  const slower = rows.filter(({ verdict }) => verdict === "slower").map(({ experiment }) => experiment);
  const broken = rows.filter(({ verdict }) => verdict === "broken");
  return [
    ...(slower.length > 0 ? [`Slower: ${slower.join(", ")}, and fresh rounds agree.`] : []),
    ...(broken.length > 0 ? [brokenSentence(broken)] : []),
  ].join(" ");
}

/** About what nothing was decided for several nights, as part of a sentence; null: of nothing. */
export function undecidedFor({ undecided }: Pick<RegressionRecord, "undecided">): string | null {
  if (undecided === undefined || undecided.length === 0) return null;
  const each = undecided.map(({ experiment, nights }) => `${experiment} for ${counted(nights, "night")}`);
  return `nothing was decided about ${each.join(", about ")} in a row`;
}

/** How it ended, in one line. */
export function sentenceOf(record: Pick<RegressionRecord, "exit" | "new_baseline" | "experiments">): string {
  const { exit, new_baseline, experiments } = record;
  if (exit === EXIT.failed) return `${new_baseline ? "Not every baseline is new. " : ""}${badSentence(experiments)}`;
  const sentences = new_baseline ? BASELINE_SENTENCE : SENTENCE;
  const names = Object.keys(sentences) as PlainExit[];
  const name = names.find((each) => EXIT[each] === exit);
  if (name === undefined) throw new RangeError(`A record does not end with exit code ${exit}`);
  return sentences[name];
}

function notes(record: RegressionRecord): string[] {
  const why = record.experiments.filter(({ reason }) => reason !== null).map((of) => `${of.experiment}: ${of.reason}`);
  const weak = record.experiments.filter(({ findings }) => findings.length > 0)
    .map((of) =>
      `${of.experiment}: in more than half of the rounds ${
        of.findings.map(({ server, id }) => `${server}: ${id}`).join(", ")
      }`
    );
  const undecided = undecidedFor(record);
  return [...why, ...weak, ...(undecided === null ? [] : [`Warning: ${undecided}.`])];
}

/**
 * The table, the notes and the sentence, for a terminal.
 *
 * @param sentence How it ended, from whoever knows more of it than the record says.
 */
export function showRecord(record: RegressionRecord, sentence = sentenceOf(record)): string {
  const lines = notes(record).map((note) => `  ${note}`);
  return [table(record.experiments, COLUMNS), ...lines, sentence].join("\n");
}

/** The same in Markdown. */
export function recordMarkdown(record: RegressionRecord, sentence = sentenceOf(record)): string {
  const lines = notes(record).map((note) => `- ${note}`);
  const facts = `\`${record.command}\`, reference ${record.reference}, Deno ${record.deno}, ${record.time}`;
  return [`## ${sentence}`, "", markdown(record.experiments, COLUMNS), "", ...lines, "", facts, ""].join(
    "\n",
  );
}
