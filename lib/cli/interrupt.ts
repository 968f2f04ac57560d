/**
 * SIGINT and SIGTERM, handled in one way by all commands that measure.
 *
 * @module
 */
import { counted } from "../text/format.ts";
import { Interrupted } from "./errors.ts";
import { EXIT } from "./exit.ts";

/** A signal that aborts when the user interrupts the command. Disposing of it gives the signals back. */
export interface Interrupt extends Disposable {
  /** Aborts with an {@linkcode Interrupted} at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

/**
 * Ctrl-C reaches a command twice at nearly the same time: from the terminal, and from `deno task`, which passes its own on.
 * Only one that comes later, or another signal, is a second one.
 */
const SAME_MS = 1000;

/**
 * Starts to listen for SIGINT and SIGTERM. The first one aborts the signal, so that the command stops its processes and
 * keeps what it measured. A second one ends this process at once: servers and load generators end with it.
 *
 * @example
 * ```ts
 * using interrupt = onInterrupt();
 * await measure({ signal: interrupt.signal });
 * ```
 */
export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  let first: { name: Deno.Signal; atMs: number } | null = null;
  const onSignal = (name: Deno.Signal) => {
    const atMs = performance.now();
    if (first === null) {
      first = { name, atMs };
      controller.abort(new Interrupted());
    } else if (first.name !== name || atMs - first.atMs > SAME_MS) Deno.exit(EXIT.interrupted);
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  const listeners = signals.map((name) => [name, () => onSignal(name)] as const);
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}

/**
 * Says on stderr what an interrupt leaves, in one way for all commands.
 *
 * @param done How many of `noun` were over.
 * @param isSaved False with `--no-save`.
 * @returns The exit code.
 */
export function endInterrupted(done: number, noun: string, isSaved: boolean, rest = ""): number {
  const kept = !isSaved ? "nothing is stored (--no-save)" : done === 1 ? "it is stored" : "these are stored";
  const what = done === 0
    ? `before the first ${noun} was over: nothing was measured`
    : `after ${counted(done, noun)}: ${kept}`;
  console.error(`\nInterrupted ${what}.${rest}`);
  return EXIT.interrupted;
}

/**
 * Runs the body of a command that an interrupt may end: then it reports what is kept, and returns the exit code for it.
 *
 * @param kept What an interrupted command leaves, as the end of a sentence.
 */
export async function interruptible(body: (signal: AbortSignal) => Promise<number>, kept: string): Promise<number> {
  using interrupt = onInterrupt();
  try {
    return await body(interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    console.error(`Interrupted: ${kept}`);
    return EXIT.interrupted;
  }
}
