/**
 * What a server still has when a fault is over, looked at while it becomes less.
 *
 * @module
 */
import { delay } from "@std/async";
import type { Sample } from "../../lib/sampling/sampler.ts";

/** Between two looks. */
export const LOOK_MS = 250;
/** So long nothing may have ended: threads take their time, on a busy machine seconds, and memory goes back behind them. */
const MAX_LEAVING_MS = 5000;

/** What is left once no more of it is than a server may keep, or when nothing has ended for so long that nothing will. */
export async function lastLook(
  look: () => Sample | null,
  isTooMuch: (left: Sample | null) => boolean,
  signal: AbortSignal,
  patienceMs = MAX_LEAVING_MS,
): Promise<Sample | null> {
  let fewest = Infinity;
  let untilMs = 0;
  for (;;) {
    const left = look();
    const open = (left?.threads ?? 0) + (left?.descriptors ?? 0);
    if (open < fewest) untilMs = performance.now() + patienceMs;
    fewest = Math.min(fewest, open);
    if (!isTooMuch(left) || performance.now() >= untilMs) return left;
    await delay(LOOK_MS, { signal });
  }
}
