/**
 * In which order cells are measured, and which of them at the same time.
 *
 * Most cells wait nearly all of their time, so several share a machine. Others beside a cell can make it look worse: clients
 * and server wait for a core. They can make it look better too: a storm is weaker on a busy core, and where requests are slow
 * before the fault, slow ones are allowed during it. So a cell whose row others may have caused is measured again alone, until
 * a row counts. Cells that do nothing but wait have lanes of their own, so that no other waits for them. They are measured
 * again among themselves.
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
 * Measures one cell alone until a row counts. Null: the signal aborts before.
 *
 * @param settle As in {@linkcode Schedule}, with the runs so far.
 */
export async function measureAlone<Row>(
  measure: () => Promise<Row>,
  settle: (alone: readonly Row[]) => Row | null,
  signal: AbortSignal,
): Promise<Row | null> {
  const rows: Row[] = [];
  let row: Row | null = null;
  while (row === null && !signal.aborted) {
    rows.push(await measure());
    row = settle(rows);
  }
  return row;
}

/** A cell that is to be measured, and what it showed beside others. */
interface Due<Cell, Row> {
  cell: Cell;
  beside: Row | null;
}

/**
 * Measures all cells, or as many as there is time for until the signal aborts.
 *
 * @throws {Error} The first error of a measurement, once all others under way are over.
 */
export async function runCells<Cell, Row>(cells: readonly Cell[], schedule: Schedule<Cell, Row>): Promise<void> {
  const { isHeavy, isIdle = () => false, measure, settle, onStart, onRow, signal } = schedule;
  const start = cells.map((cell): Due<Cell, Row> => ({ cell, beside: null }));
  const idle = schedule.lanes === 1 ? [] : start.filter(({ cell }) => isIdle(cell)); // one lane: nothing may run beside
  const alone = start.filter(({ cell }) => isHeavy(cell));
  const light = start.filter((one) => !idle.includes(one) && !alone.includes(one));
  const again: Due<Cell, Row>[] = [];
  const lanes = Math.min(schedule.lanes, light.length);
  const isBeside = schedule.lanes > 1 && light.length + idle.length > 1;
  const errors: unknown[] = [];
  const isOver = () => signal.aborted || errors.length > 0;
  const measureOne = async ({ cell, beside }: Due<Cell, Row>) => {
    const started = () => {
      onStart(cell);
      return measure(cell);
    };
    const row = await measureAlone(started, (alone) => settle(beside, alone), signal);
    if (row !== null) await onRow(cell, row);
  };
  const measureBeside = async (cell: Cell, doubtful: Due<Cell, Row>[]) => {
    onStart(cell);
    const beside = await measure(cell);
    const row = settle(beside, []);
    if (row === null) doubtful.push({ cell, beside });
    else await onRow(cell, row);
  };
  const lane = async (queue: Due<Cell, Row>[], doubtful: Due<Cell, Row>[] | null) => {
    for (let due = queue.shift(); due !== undefined && !isOver(); due = queue.shift()) {
      try {
        await (doubtful === null ? measureOne(due) : measureBeside(due.cell, doubtful));
      } catch (error) {
        if (!signal.aborted) errors.push(error);
      }
    }
  };
  const share = (howMany: number, queue: Due<Cell, Row>[], doubtful: Due<Cell, Row>[] | null) =>
    Array.from({ length: howMany }, () => lane(queue, doubtful));
  await Promise.all([
    ...share(lanes, light, isBeside ? alone : null),
    ...share(IDLE_LANES, idle, isBeside ? again : null),
  ]);
  await Promise.all(share(IDLE_LANES, again, null));
  await lane(alone, null);
  if (errors.length > 0) throw errors[0];
}
