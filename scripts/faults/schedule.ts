/**
 * In which order cells are measured, and which of them at the same time.
 *
 * Most cells wait nearly all of their time, so several share a machine. What others beside it can do to a cell is to make it
 * look worse, never better. So a cell that survives beside others has survived, and one that does not is measured again
 * alone: that row counts.
 *
 * @module
 */

/** How cells are measured. */
export interface Schedule<Cell, Row> {
  /** How many cells at the same time. */
  lanes: number;
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
  const { isHeavy, measure, isSuspect, onStart, onRow, signal } = schedule;
  const light = cells.filter((cell) => !isHeavy(cell));
  const alone = cells.filter(isHeavy);
  const lanes = Math.min(schedule.lanes, light.length);
  const errors: unknown[] = [];
  let next = 0;
  const isOver = () => signal.aborted || errors.length > 0;
  const take = async (cell: Cell, isAlone: boolean) => {
    onStart(cell);
    try {
      const row = await measure(cell);
      if (!isAlone && isSuspect(row)) alone.push(cell);
      else await onRow(cell, row);
    } catch (error) {
      if (!signal.aborted) errors.push(error);
    }
  };
  const lane = async () => {
    while (next < light.length && !isOver()) await take(light[next++]!, lanes === 1);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  for (let cell = alone.shift(); cell !== undefined && !isOver(); cell = alone.shift()) await take(cell, true);
  if (errors.length > 0) throw errors[0];
}
