/**
 * One cell of the matrix, in a thread of its own: what a fault changes around a server is changed for that thread alone.
 *
 * @module
 */
import type { FaultRow } from "../../lib/results/rows.ts";
import type { Subject } from "../../lib/server/subject.ts";
import type { Fault } from "./fault.ts";
import { settle } from "./judge.ts";
import { measureAlone } from "./schedule.ts";

/** What the thread of a cell is asked to do. */
export type CellOrder = { subject: Subject; fault: string; seed: number } | "stop";
/** What it says: `ready`, and then the row, or why there is none. */
export type CellAnswer = "ready" | { row: FaultRow } | { error: string; stack: string };

const STOPPED_MS = 15_000; // what a fault has changed is taken back before, and a server is stopped in 5 s, or killed
/** A server may take a minute to get ready; each wait behind that has a limit, and all of them together less than this. */
const MAX_CELL_MS = 180_000;

/** Waits for the answer of a thread, and for its end of a cell that is interrupted or takes too long. */
async function rowOf(worker: Worker, order: CellOrder, signal: AbortSignal, limitMs: number): Promise<FaultRow> {
  const { promise, resolve, reject } = Promise.withResolvers<FaultRow>();
  const send = (message: CellOrder) => worker.postMessage(message);
  let cause: unknown = null; // of the stop
  worker.onmessage = ({ data }: MessageEvent<CellAnswer>) => {
    if (data === "ready" && cause !== null) reject(cause);
    else if (data === "ready") send(order);
    else if ("row" in data) resolve(data.row);
    else reject(cause ?? Object.assign(new Error(data.error), { stack: data.stack }));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(`A cell failed: ${event.message}`));
  };
  let timer: ReturnType<typeof setTimeout>;
  const late = new Error(`The cell was not over after ${limitMs / 1000} s.`);
  const stop = (reason: unknown) => {
    cause ??= reason;
    clearTimeout(timer);
    send("stop");
    timer = setTimeout(() => reject(cause), STOPPED_MS);
  };
  const onAbort = () => stop(signal.reason);
  timer = setTimeout(() => stop(late), limitMs);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    clearTimeout(timer);
  }
}

/**
 * Measures one cell. A server that cannot run here, or a fault that needs what is not there, is skipped with the reason.
 *
 * @param limitMs How long it may take. It is given so that a test need not wait for it.
 * @throws {Error} If this program fails, or the cell takes too long.
 */
export async function measureCell(
  subject: Subject,
  fault: Pick<Fault, "id">,
  seed: number,
  signal: AbortSignal,
  limitMs = MAX_CELL_MS,
): Promise<FaultRow> {
  signal.throwIfAborted();
  const worker = new Worker(new URL("./cell_thread.ts", import.meta.url), { type: "module" });
  try {
    return await rowOf(worker, { subject, fault: fault.id, seed }, signal, limitMs);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    worker.terminate();
  }
}

/**
 * Measures one cell as a run of nothing else does: again, where the machine may be the cause of what it shows.
 *
 * @throws As {@linkcode measureCell}.
 */
export async function settledCell(
  subject: Subject,
  fault: Pick<Fault, "id">,
  seed: number,
  signal: AbortSignal,
): Promise<FaultRow> {
  const measure = () => measureCell(subject, fault, seed, signal);
  const row = await measureAlone(measure, (alone) => settle(null, alone), signal);
  if (row === null) throw signal.reason;
  return row;
}
