/**
 * What a night reports to the job on GitHub that runs it.
 *
 * @module
 */
import { EXIT } from "../../lib/cli/exit.ts";
import { appendTo } from "../../lib/regress/command.ts";
import { recordMarkdown, type RegressionRecord, sentenceOf } from "../../lib/regress/record.ts";

/** Where the job takes reports. */
export interface Github {
  /** Whether a job reads what this process prints. */
  isJob: boolean;
  /** The file whose Markdown is shown with the job; null: there is none. */
  summary: string | null;
  /** The file of outputs, which later jobs read; null: there is none. */
  output: string | null;
}

/** The line that GitHub shows beside a job; null: there is nothing to point out. */
export function annotationOf(record: Parameters<typeof sentenceOf>[0]): string | null {
  if (record.exit === EXIT.ok) return null;
  const sentence = sentenceOf(record).replaceAll("%", "%25"); // GitHub decodes it
  return `::${record.exit === EXIT.inconclusive ? "warning" : "error"}::${sentence}`;
}

/** Writes annotation, summary, and the output `night`: the record, in one line of JSON. Needs `--allow-run` for tee. */
export async function reportToGithub(record: RegressionRecord, changes: string, github: Github): Promise<void> {
  const annotation = annotationOf(record);
  if (github.isJob && annotation !== null) console.error(annotation);
  if (github.summary !== null) {
    await appendTo(github.summary, recordMarkdown(record) + changes.replaceAll("\n", "\n\n"));
  }
  if (github.output !== null) await appendTo(github.output, `night=${JSON.stringify(record)}\n`);
}
