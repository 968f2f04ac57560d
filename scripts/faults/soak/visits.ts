/**
 * Clients that come, ask once and leave, beside those that stay: without them a server would accept nothing between faults.
 *
 * @module
 */
import net from "node:net";
import { delay } from "@std/async";
import { AnswerCounter } from "../answers.ts";

export const VISITS_PER_S = 20;
/** So long a client waits for its answer, and for the end of its connection. */
const PATIENCE_MS = 3000;
/** What a request for work burns, in µs of CPU time. */
const WORK_US = 1000;
const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n`;

/** How the visits went. */
export interface VisitCounts {
  visits: number;
  /** Refused, reset, or without a good answer in time. */
  visitsFailed: number;
}

/** Connects, asks once and reads to the end. Returns whether the answer was good; all that goes wrong is none. */
function visit(port: number, path: string, patienceMs: number, stop: AbortSignal): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const counter = new AnswerCounter();
  const socket = net.connect({ port, host: "127.0.0.1" });
  const leave = () => socket.destroy();
  const timer = setTimeout(leave, patienceMs);
  stop.addEventListener("abort", leave, { once: true });
  socket.once("connect", () => socket.write(request(path)));
  socket.on("data", (data) => counter.push(data.toString("latin1")));
  socket.on("error", () => {}); // `close` follows each error, and the visit counts as failed
  socket.once("close", () => {
    clearTimeout(timer);
    stop.removeEventListener("abort", leave);
    counter.end();
    resolve(counter.good > 0);
  });
  return promise;
}

/**
 * Visits a server again and again, one client at a time, until it is disposed of. Each visit is counted but the one that is
 * under way then.
 *
 * @param workEach Each so many of the visits ask for `/work/1000`; Infinity: none.
 * @param patienceMs How long a client waits. It is given so that a test need not wait for it.
 */
export function visiting(
  port: number,
  workEach: number,
  counts: VisitCounts,
  patienceMs = PATIENCE_MS,
): AsyncDisposable {
  const stop = new AbortController();
  const loop = (async () => {
    while (!stop.signal.aborted) {
      const isWork = (counts.visits + 1) % workEach === 0;
      const isGood = await visit(port, isWork ? `/work/${WORK_US}` : "/", patienceMs, stop.signal);
      if (stop.signal.aborted) break;
      counts.visits++;
      if (!isGood) counts.visitsFailed++;
      await delay(1000 / VISITS_PER_S);
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await loop;
    },
  };
}
