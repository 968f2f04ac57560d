/**
 * What a night reports to the job on GitHub that runs it.
 *
 * @module
 */
import { EXIT } from "../../lib/cli/exit.ts";
import { appendTo } from "../../lib/regress/command.ts";
import { recordMarkdown, type RegressionRecord, sentenceOf, undecidedFor } from "../../lib/regress/record.ts";

/** Where the job takes reports. */
export interface Github {
  /** Whether a job reads what this process prints. */
  isJob: boolean;
  /** The file whose Markdown is shown with the job; null: there is none. */
  summary: string | null;
  /** The file of outputs, which later jobs read; null: there is none. */
  output: string | null;
}

/** What of a record makes its sentence. */
type Ended = Parameters<typeof sentenceOf>[0] & Parameters<typeof undecidedFor>[0];

/** Whether all that a night leaves open has its first baseline now. */
const isFirst = ({ exit, experiments }: Ended, made: readonly string[]) =>
  exit === EXIT.inconclusive && made.length > 0 &&
  experiments.every(({ experiment, verdict }) => verdict === "not_slower" || made.includes(experiment));

/**
 * How a night ended, in one line.
 *
 * @param made The experiments that have got their first baseline here: of them nothing could be judged.
 */
export function sentenceOfNight(record: Ended, made: readonly string[]): string {
  if (made.length === 0) return sentenceOf(record);
  const baseline = `A baseline was made of ${made.join(", ")}: the next night is compared with it.`;
  if (!isFirst(record, made)) return `${sentenceOf(record)} ${baseline}`;
  const judged = record.experiments.map(({ experiment }) => experiment).filter((name) => !made.includes(name));
  return judged.length === 0 ? baseline : `Not slower: ${judged.join(", ")}. ${baseline}`;
}

/** The line that GitHub shows beside a job; null: there is nothing to point out. */
export function annotationOf(record: Ended, made: readonly string[]): string | null {
  if (record.exit === EXIT.ok) return null;
  const undecided = undecidedFor(record);
  const isFine = undecided === null && isFirst(record, made);
  const level = isFine ? "notice" : record.exit === EXIT.inconclusive ? "warning" : "error";
  const text = sentenceOfNight(record, made) + (undecided === null ? "" : ` Also, ${undecided}.`);
  return `::${level}::${text.replaceAll("%", "%25")}`; // GitHub decodes it
}

/** Writes annotation, summary, and the output `night`: the record, in one line of JSON. Needs `--allow-run` for tee. */
export async function reportToGithub(
  record: RegressionRecord,
  made: readonly string[],
  changes: string,
  github: Github,
): Promise<void> {
  const annotation = annotationOf(record, made);
  if (github.isJob && annotation !== null) console.error(annotation);
  if (github.summary !== null) {
    const summary = recordMarkdown(record, sentenceOfNight(record, made));
    await appendTo(github.summary, summary + changes.replaceAll("\n", "\n\n"));
  }
  if (github.output !== null) await appendTo(github.output, `night=${JSON.stringify(record)}\n`);
}
