/**
 * Rows as they come: a run that is interrupted goes on where it was.
 *
 * @module
 */
import { join } from "node:path";
import { Journal } from "../../lib/regress/journal.ts";
import { digestOf } from "../../lib/results/lab.ts";
import { type FaultRow, ROWS } from "../../lib/results/rows.ts";
import { isCustom, type Subject } from "../../lib/server/subject.ts";
import type { Fault } from "./fault.ts";

/** A server and what is done to it. */
export interface Cell {
  subject: Subject;
  fault: Fault;
}

/** Where rows are kept as they come. */
export interface Keeping extends Disposable {
  /** Rows of a run that was interrupted. */
  kept: FaultRow[];
  keep(cell: Cell, row: FaultRow): Promise<void>;
  /** The run is over, and its rows stand elsewhere. */
  close(): Promise<void>;
}

export const NOT_KEPT: Keeping = {
  kept: [],
  keep: () => Promise.resolve(),
  close: () => Promise.resolve(),
  [Symbol.dispose]: () => {},
};

/** What does the faults and judges them: a row of other code is not taken. */
function ownSources(folder = import.meta.dirname!): [path: string, text: string][] {
  return [...Deno.readDirSync(folder)].toSorted((a, b) => a.name < b.name ? -1 : 1).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory) return ownSources(path);
    return entry.name.endsWith("_test.ts") ? [] : [[entry.name, Deno.readTextFileSync(path)]];
  });
}

/**
 * A key for each cell: the same as long as a run of the same cells would measure the same. So a run of one fault neither takes
 * nor removes what a run of all of them has kept.
 */
async function keysOf(cells: readonly Cell[], seed: number, machine: string): Promise<Map<string, string>> {
  const scope = cells.map(nameOf).toSorted();
  const common = await digestOf([machine, Deno.version.deno, seed, scope, ownSources()]);
  const sources = new Map<Subject, string>();
  for (const subject of new Set(cells.map((cell) => cell.subject))) {
    const source = isCustom(subject) ? JSON.stringify(subject) : Deno.readTextFileSync(subject.path);
    sources.set(subject, await digestOf(source));
  }
  const keys = new Map<string, string>();
  for (const cell of cells) {
    keys.set(nameOf(cell), await digestOf([common, sources.get(cell.subject), nameOf(cell)]));
  }
  return keys;
}

const nameOf = ({ subject, fault }: Cell): string => `${subject.name}, ${fault.id}`;

/**
 * Opens the journal of a run.
 *
 * @param path Of the file.
 * @throws {KnownFailure} If another run measures into it, or nothing can be stored there.
 */
export async function openJournal(
  cells: readonly Cell[],
  { seed, machine, path }: { seed: number; machine: string; path: string },
): Promise<Keeping> {
  const journal = new Journal<FaultRow>(path, ROWS.faults);
  const lock = await journal.lock();
  const keys = await keysOf(cells, seed, machine);
  const { rounds, warnings } = await journal.open([...keys.values()]);
  for (const warning of warnings) console.error(warning);
  let last = Promise.resolve(); // of two writers at once one could tear the line of the other
  return {
    kept: [...rounds.values()].flat(),
    keep: (cell, row) => last = last.then(() => journal.keep(keys.get(nameOf(cell))!, row)),
    close: () => journal.close([...keys.values()]),
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
}
