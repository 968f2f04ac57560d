/**
 * What a server still has when a fault is over, looked at while it becomes less.
 *
 * @module
 */
import { delay } from "@std/async";
import type { Sample } from "../../lib/sampling/sampler.ts";

/** Between two looks. */
export const LOOK_MS = 250;
/** How long to wait after one has ended for the next: on a busy machine a thread takes seconds, and memory goes back behind it. */
const MAX_LEAVING_MS = 5000;

/** What is left once a server keeps no more than it may, or when no thread and no descriptor has ended for a while. */
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
