/**
 * One cell of the matrix, in a thread of its own: what a fault changes around a server is changed for that thread alone.
 *
 * @module
 */
import type { FaultRow } from "../../lib/results/rows.ts";
import type { Subject } from "../../lib/server/subject.ts";
import type { Fault } from "./fault.ts";

/** What the thread of a cell is asked to do. */
export type CellOrder = { subject: Subject; fault: string; seed: number } | "stop";
/** What it says: `ready`, and then the row, or why there is none. */
export type CellAnswer = "ready" | { row: FaultRow } | { error: string; stack: string };

const STOPPED_MS = 15_000; // what a fault has changed is taken back before, and a server is stopped in 5 s, or killed

/** Waits for the answer of a thread, and for its end of a cell that is interrupted. */
async function rowOf(worker: Worker, order: CellOrder, signal: AbortSignal): Promise<FaultRow> {
  const { promise, resolve, reject } = Promise.withResolvers<FaultRow>();
  const send = (message: CellOrder) => worker.postMessage(message);
  let timer: ReturnType<typeof setTimeout> | undefined;
  worker.onmessage = ({ data }: MessageEvent<CellAnswer>) => {
    if (data === "ready") send(order);
    else if ("row" in data) resolve(data.row);
    else reject(Object.assign(new Error(data.error), { stack: data.stack }));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(`A cell failed: ${event.message}`));
  };
  const onAbort = () => {
    send("stop");
    timer = setTimeout(() => reject(signal.reason), STOPPED_MS);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    clearTimeout(timer);
  }
}

/** Measures one cell. A server that cannot run here, or a fault that needs what is not there, is skipped with the reason. */
export async function measureCell(
  subject: Subject,
  fault: Pick<Fault, "id">,
  seed: number,
  signal: AbortSignal,
): Promise<FaultRow> {
  signal.throwIfAborted();
  const worker = new Worker(new URL("./cell_thread.ts", import.meta.url), { type: "module" });
  try {
    return await rowOf(worker, { subject, fault: fault.id, seed }, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    worker.terminate();
  }
}
