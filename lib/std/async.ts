/**
 * `@std/async` over es-toolkit: the signatures and the outcomes of the original, for places where JSR cannot be reached.
 *
 * @module
 */
import { delay as sleep, TimeoutError, withTimeout } from "es-toolkit";

/**
 * Resolves after `ms` milliseconds.
 *
 * @throws {unknown} The reason of `signal`, if that is aborted before.
 */
export async function delay(ms: number, options: { signal?: AbortSignal } = {}): Promise<void> {
  try {
    await sleep(ms, options);
  } catch {
    throw options.signal?.reason; // an abort is all that can end a sleep; the original passes its reason on
  }
}

/**
 * Waits for a promise, but for no more than `ms` milliseconds.
 *
 * @throws {DOMException} If the time is over; its name is `TimeoutError`.
 */
export async function deadline<T>(p: Promise<T>, ms: number): Promise<T> {
  try {
    return await withTimeout(() => p, ms);
  } catch (error) {
    throw error instanceof TimeoutError ? new DOMException("Signal timed out.", "TimeoutError") : error;
  }
}
