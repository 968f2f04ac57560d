/**
 * Command lines as text that a shell reads back word for word: what is printed and stored must run as pasted.
 *
 * @module
 */

/** Characters that no shell takes for anything else. `~` is not among them: at the start of a word it is a home folder. */
const PLAIN = /^[\w./:=,@%+-]+$/;

/**
 * Quotes words for a POSIX shell, where they need it.
 *
 * @example
 * ```ts
 * import { shellQuote } from "./shell.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(shellQuote(["sh", "-c", "exec node 'a b.js'"]), `sh -c 'exec node '\\''a b.js'\\'''`);
 * ```
 */
export function shellQuote(words: readonly string[]): string {
  return words.map((word) => PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}

/** The command line that runs a task of this project with these arguments. */
export const taskLine = (task: string, args: readonly string[]): string => shellQuote(["deno", "task", task, ...args]);
