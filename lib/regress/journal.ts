/**
 * The journal of a run: the file regress-run.jsonl of a machine, a line for each round. An interrupted run is resumed from it
 * by the next one that measures the same.
 *
 * @module
 */
import { dirname } from "node:path";
import * as v from "valibot";
import { KnownFailure } from "../cli/errors.ts";
import { field, text } from "../results/check.ts";
import { CannotStore } from "../results/durable_file.ts";
import { appendLine, filterLines, readLines, repairLines } from "../results/jsonl.ts";
import { ROUND_FOUND } from "../results/rows.ts";
import type { PlacedRound } from "./rounds.ts";

/** A row, when it was stored, and under which key. */
type Stored<Row> = Row & { key: string; time: string };

const STORED = {
  key: field(
    text,
    "the same for rounds that can be put together: machine and its boot, runtime, experiment, its source, connections, load",
  ),
  time: field(text, "when the round ended, in UTC"),
};
const PLACED_ROUND = v.strictObject({
  experiment: field(text, "which one"),
  phase: field(v.picklist(["first", "confirmation"]), "`first`, or `confirmation` after an alarm"),
  ...ROUND_FOUND.entries,
});
/** A line of the journal. */
export const STORED_ROUND = v.strictObject({ ...STORED, ...PLACED_ROUND.entries });

/** Rounds of different days are of different machines, even of one kind: a night is over when the next one begins. */
const MAX_AGE_HOURS = 20;

/** Two runs at once would measure each other. */
export class AlreadyRunning extends KnownFailure {
  override readonly name = "AlreadyRunning";
}

/** The kernel lets go of a lock when its process ends, however that ends. */
async function tryLock(path: string): Promise<{ file: Deno.FsFile; taken: boolean }> {
  const file = await Deno.mkdir(dirname(path), { recursive: true })
    .then(() => Deno.open(path, { write: true, create: true }))
    .catch((cause) => {
      throw new CannotStore(`Cannot store ${path}: ${cause.message}`, { cause });
    });
  return { file, taken: await file.tryLock(true) };
}

/** The file of rounds, each a row of one shape; without one, rounds of a run against the baseline. */
export class Journal<Row extends object = PlacedRound> {
  readonly #row: v.GenericSchema;

  constructor(readonly path: string, row: { entries: v.ObjectEntries } = PLACED_ROUND) {
    this.#row = v.strictObject({ ...STORED, ...row.entries });
  }

  /**
   * Keeps other processes from measuring into this file until it is disposed of: each would be the other's load, and
   * of two that rewrite a file one loses a line.
   *
   * @throws {AlreadyRunning} If another one does.
   * @throws {CannotStore} If the lock cannot be made: the disk is full, or the folder may not be written.
   */
  async lock(): Promise<Disposable> {
    const path = `${this.path}.lock`;
    const { file, taken } = await tryLock(path);
    if (!taken) {
      file.close();
      throw new AlreadyRunning(`Another run measures into ${this.path}: wait for its end, or stop it.`);
    }
    return {
      [Symbol.dispose]() {
        Deno.removeSync(path);
        file.close();
      },
    };
  }

  /**
   * Repairs the file if it is torn, and reads it.
   *
   * @param keys Of the rounds that are wanted. Others stay in the file for whoever wants them.
   * @returns The rounds by key, and what there is to tell.
   * @throws {CannotStore} If it has to be repaired and cannot be written.
   */
  async open(keys: readonly string[]): Promise<{ rounds: Map<string, Row[]>; warnings: string[] }> {
    const repaired = await repairLines(this.path);
    const { values, warnings } = await readLines<Stored<Row>>(this.path, this.#row);
    const oldest = new Date(Date.now() - MAX_AGE_HOURS * 3_600_000).toISOString();
    const runs = new Set(values.filter(({ time }) => time >= oldest).map(({ key }) => key)); // all of a run, or none of it
    const isFresh = ({ key }: { key: string }) => runs.has(key);
    const fresh = values.filter(isFresh);
    const stale = values.length - fresh.length;
    if (stale > 0) {
      warnings.push(`${this.path}: ${stale} rounds are older than ${MAX_AGE_HOURS} hours and are taken out.`);
      await filterLines<Stored<Row>>(this.path, this.#row, isFresh);
    }
    const rounds = new Map(keys.map((key) => [key, [] as Row[]]));
    for (const { key, time: _, ...round } of fresh) rounds.get(key)?.push(round as unknown as Row);
    return { rounds, warnings: repaired === null ? warnings : [repaired, ...warnings] };
  }

  /** Stores a round. Throws {CannotStore} if it cannot be; the rounds before it are there. */
  async keep(key: string, round: Row): Promise<void> {
    await appendLine(this.path, { key, time: new Date().toISOString(), ...round });
  }

  /** Takes the rounds of these keys out: the run is over, and its result stands elsewhere. */
  async close(keys: readonly string[]): Promise<void> {
    await filterLines<Stored<Row>>(this.path, this.#row, ({ key }) => !keys.includes(key));
  }
}
