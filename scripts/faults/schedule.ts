/**
 * In which order cells are measured, and which of them at the same time.
 *
 * Most cells wait nearly all of their time, so several share a machine. Others beside a cell can make it look worse: clients
 * and server wait for a core. They can make it look better too: a storm is weaker on a busy core, and where requests are slow
 * before the fault, slow ones are allowed during it. So a cell whose row others may have caused is measured again alone, until
 * a row counts.
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
  /**
   * The row that counts, or null: the cell has to be measured again, alone.
   *
   * @param beside What it showed beside other cells; null: it was measured alone from the start.
   * @param alone What it showed alone, in order.
   */
  settle(beside: Row | null, alone: readonly Row[]): Row | null;
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
  const { isHeavy, measure, settle, onStart, onRow, signal } = schedule;
  const light = cells.filter((cell) => !isHeavy(cell));
  const lanes = Math.min(schedule.lanes, light.length);
  const alone: { cell: Cell; beside: Row | null }[] = cells.filter(isHeavy).map((cell) => ({ cell, beside: null }));
  const errors: unknown[] = [];
  let next = 0;
  const isOver = () => signal.aborted || errors.length > 0;
  const guarded = async (task: () => Promise<void>) => {
    try {
      await task();
    } catch (error) {
      if (!signal.aborted) errors.push(error);
    }
  };
  const measureBeside = async (cell: Cell) => {
    onStart(cell);
    const beside = await measure(cell);
    const row = settle(beside, []);
    if (row === null) alone.push({ cell, beside });
    else await onRow(cell, row);
  };
  const measureAlone = async ({ cell, beside }: typeof alone[number]) => {
    const rows: Row[] = [];
    for (let row: Row | null = null; row === null && !signal.aborted;) {
      onStart(cell);
      rows.push(await measure(cell));
      row = settle(beside, rows);
      if (row !== null) await onRow(cell, row);
    }
  };
  const lane = async () => {
    while (next < light.length && !isOver()) {
      const cell = light[next++]!;
      await guarded(() => lanes === 1 ? measureAlone({ cell, beside: null }) : measureBeside(cell));
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  for (let one = alone.shift(); one !== undefined && !isOver(); one = alone.shift()) {
    const due = one;
    await guarded(() => measureAlone(due));
  }
  if (errors.length > 0) throw errors[0];
}
