/**
 * Requests that no server can answer: those under way in a process that a fault has ended.
 *
 * @module
 */
import type { Asked } from "./normal_clients.ts";

/**
 * All requests but so many of those without an answer, the first ones: a connection that is gone takes one request with it,
 * and the client connects again for the next.
 */
export function withoutExcused(asked: readonly Asked[], mayLose: number): Asked[] {
  let excused = 0;
  return asked.filter(([, ms]) => ms !== null || ++excused > mayLose);
}
