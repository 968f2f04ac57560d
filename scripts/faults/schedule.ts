/**
 * In which order cells are measured, and which of them at the same time.
 *
 * Most cells wait nearly all of their time, so several share a machine. What others beside it can do to a cell is to make it
 * look worse, never better. So a cell that survives beside others has survived, and one that does not is measured again
 * alone: that row counts. Cells that do nothing but wait have lanes of their own, so that no other waits for them; they are
 * measured again among themselves.
 *
 * @module
 */

const IDLE_LANES = 4; // with them these cells are over when the others are

/** How cells are measured. */
export interface Schedule<Cell, Row> {
  /** How many cells at the same time. */
  lanes: number;
  /** It waits nearly all of its time, for many seconds; default: none does. */
  isIdle?(cell: Cell): boolean;
  /** Takes all cores: it is measured alone, behind the others. */
  isHeavy(cell: Cell): boolean;
  measure(cell: Cell): Promise<Row>;
  /** Others beside it may be the cause of what this row shows. */
  isSuspect(row: Row): boolean;
  onStart(cell: Cell): void;
  onRow(cell: Cell, row: Row): Promise<void>;
  signal: AbortSignal;
}

/**
 * Measures all cells, or as many as there is time for until the signal aborts.
 *
 * @throws {Error} The first error of a measurement, once all others under way are over.
 */
export async function runCells<Cell, Row>(cells: readonly Cell[], schedule: Schedule<Cell, Row>): Promise<void> {
  const { isHeavy, isIdle = () => false, measure, isSuspect, onStart, onRow, signal } = schedule;
  const idle = schedule.lanes === 1 ? [] : cells.filter(isIdle); // one lane: nothing may run beside
  const light = cells.filter((cell) => !isHeavy(cell) && !idle.includes(cell));
  const alone = cells.filter(isHeavy);
  const again: Cell[] = [];
  const lanes = Math.min(schedule.lanes, light.length);
  const isAlone = schedule.lanes === 1 || light.length + idle.length === 1;
  const errors: unknown[] = [];
  const isOver = () => signal.aborted || errors.length > 0;
  const take = async (cell: Cell, suspects: Cell[] | null) => {
    onStart(cell);
    try {
      const row = await measure(cell);
      if (suspects !== null && isSuspect(row)) suspects.push(cell);
      else await onRow(cell, row);
    } catch (error) {
      if (!signal.aborted) errors.push(error);
    }
  };
  const lane = async (queue: Cell[], suspects: Cell[] | null) => {
    while (queue.length > 0 && !isOver()) await take(queue.shift()!, suspects);
  };
  const share = (howMany: number, queue: Cell[], suspects: Cell[] | null) =>
    Array.from({ length: howMany }, () => lane(queue, suspects));
  await Promise.all([
    ...share(lanes, light, isAlone ? null : alone),
    ...share(IDLE_LANES, idle, isAlone ? null : again),
  ]);
  await Promise.all(share(IDLE_LANES, again, null));
  await lane(alone, null);
  if (errors.length > 0) throw errors[0];
}
