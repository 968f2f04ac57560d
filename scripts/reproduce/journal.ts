/**
 * What a reproduction has done: the file reproduce.jsonl in the folder of the machine, a line for each attempt at a step, so
 * that an interrupted reproduction is resumed.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { field, number, text, time } from "../../lib/results/check.ts";
import { appendLine, readLines, repairLines } from "../../lib/results/jsonl.ts";

/** One attempt at a step. */
export const ATTEMPT = v.strictObject({
  key: field(
    text,
    "the same as long as a step would measure the same: full or quick, runtime, load generator, servers",
  ),
  step: field(text, "the id of the step"),
  time: field(time, "when it ended, in UTC"),
  seconds: field(number, "how long it took"),
  exit: field(number, "the exit code of the command"),
  spoilt: field(v.array(text), "servers whose figures other processes disturbed; empty: none"),
});
export type Attempt = v.InferOutput<typeof ATTEMPT>;

/** The file in the folder of a machine. */
export const JOURNAL = "reproduce.jsonl";

/** Reads all attempts, and repairs a torn line before. */
export async function readJournal(folder: string): Promise<{ attempts: Attempt[]; warnings: string[] }> {
  const path = join(folder, JOURNAL);
  const repaired = await repairLines(path);
  const { values, warnings } = await readLines<Attempt>(path, ATTEMPT);
  const all = repaired === null ? warnings : [repaired, ...warnings];
  return { attempts: values, warnings: all };
}

/** Stores an attempt. */
export const keepAttempt = (folder: string, attempt: Attempt): Promise<void> =>
  appendLine(join(folder, JOURNAL), attempt);
