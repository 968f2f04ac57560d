/**
 * Progress on stderr: on a terminal one line that is overwritten, elsewhere a line for each new phase.
 *
 * @module
 */
import { wrap } from "../text/table.ts";

/** Where progress is written. */
export interface ProgressLine {
  /** @param text What to show now. @param phase A line that is not overwritten is printed once for each phase. */
  show(text: string, phase: string): void;
  /** Removes the line, so that other output can follow. */
  clear(): void;
}

/** The width of a terminal that does not say its own, and of output that goes elsewhere. */
const DEFAULT_COLUMNS = 80;

/** Cuts a line so that a terminal of `columns` shows it on one row. */
export const fit = (text: string, columns: number): string =>
  [...text].length < columns ? text : `${[...text].slice(0, Math.max(0, columns - 2)).join("")}…`;

/** The width of the terminal that shows a stream; {@linkcode DEFAULT_COLUMNS} where there is none. */
export const columnsOf = (stream: { isTerminal(): boolean }): number =>
  stream.isTerminal() ? Deno.consoleSize().columns || DEFAULT_COLUMNS : DEFAULT_COLUMNS;

/** The same of stdout. */
export const outputColumns = (): number => columnsOf(Deno.stdout);

/** Breaks sentences that are too long for the terminal that shows stderr. */
export function folded(text: string): string {
  const columns = columnsOf(Deno.stderr);
  return text.split("\n").flatMap((line) => line.length <= columns ? line : wrap(line, columns)).join("\n");
}

/** Writes sentences on stderr, {@linkcode folded}. */
export const say = (text: string): void => console.error(folded(text));

/** Starts a line of progress. */
export function progressLine(): ProgressLine {
  const isTerminal = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  const write = (text: string) => Deno.stderr.writeSync(encoder.encode(text));
  let last = "";
  return {
    show(text, phase) {
      if (isTerminal) write(`\r\x1b[K${fit(text, columnsOf(Deno.stderr))}`);
      else if (phase !== last) console.error(phase);
      last = phase;
    },
    clear() {
      if (isTerminal) write("\r\x1b[K");
    },
  };
}
