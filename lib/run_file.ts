/**
 * The rounds of a run that is not over: results/regress-run.jsonl. A run that was killed is gone on with from there, by the
 * next one that would measure the same.
 *
 * @module
 */
import { appendLine, filterLines, readLines, repairLines } from "./lines.ts";
import { ENDS } from "./results.ts";
import type { PlacedRound } from "./rounds.ts";
import { list, nullOr, number, object, oneOf, type Shape, text } from "./shape.ts";

/** A round, when it ended, and under which key. */
interface StoredRound extends PlacedRound {
  key: string;
  time: string;
}

const nullable = nullOr(number);
/** The fields of a line, with the check of each. A test holds results/README.md against them. */
export const STORED_ROUND: Shape<StoredRound> = {
  key: text,
  time: text,
  experiment: text,
  phase: oneOf(["first", "confirmation"]),
  log_ratio: nullable,
  rate_per_s: nullable,
  reference_cpu_us_per_request: nullable,
  candidate_cpu_us_per_request: nullable,
  findings: list(text),
  failure: nullOr(object({ subject: text, ended: oneOf(ENDS), reason: text })),
};
const storedRound = object(STORED_ROUND);

/** Rounds of different days are of different machines, even of one kind: a night is over when the next one begins. */
const MAX_AGE_HOURS = 20;

/** Sixteen hexadecimal digits, the same for the same value. */
export async function digestOf(value: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
}

/** The file of rounds. */
export class RunFile {
  constructor(readonly path: string) {}

  /**
   * Repairs the file if it is torn, and reads it.
   *
   * @param keys Of the rounds that are wanted. Others stay in the file for whoever wants them.
   * @returns The rounds by key, and what there is to tell.
   * @throws {CannotStore} If it has to be repaired and cannot be written.
   */
  async open(keys: readonly string[]): Promise<{ rounds: Map<string, PlacedRound[]>; warnings: string[] }> {
    const repaired = await repairLines(this.path);
    const { values, warnings } = await readLines<StoredRound>(this.path, storedRound);
    const oldest = new Date(Date.now() - MAX_AGE_HOURS * 3_600_000).toISOString();
    const [fresh, stale] = [values.filter(({ time }) => time >= oldest), values.filter(({ time }) => time < oldest)];
    if (stale.length > 0) {
      warnings.push(`${this.path}: ${stale.length} rounds are older than ${MAX_AGE_HOURS} hours and are taken out.`);
      await filterLines<StoredRound>(this.path, storedRound, ({ time }) => time >= oldest);
    }
    const rounds = new Map(keys.map((key) => [key, [] as PlacedRound[]]));
    for (const { key, time: _, ...round } of fresh) rounds.get(key)?.push(round);
    return { rounds, warnings: repaired === null ? warnings : [repaired, ...warnings] };
  }

  /** Stores a round. Throws {CannotStore} if it cannot be; the rounds before it are there. */
  async keep(key: string, round: PlacedRound): Promise<void> {
    const stored: StoredRound = { key, time: new Date().toISOString(), ...round };
    await appendLine(this.path, stored);
  }

  /** Takes the rounds of these keys out: the run is over, and its result stands elsewhere. */
  async close(keys: readonly string[]): Promise<void> {
    await filterLines<StoredRound>(this.path, storedRound, ({ key }) => !keys.includes(key));
  }
}
