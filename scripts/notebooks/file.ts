/**
 * What notebooks are for those that check them: whether a cell still shows what its file says it showed.
 *
 * @module
 */

/** The part of nbformat 4 that is looked at. */
export interface Notebook {
  cells: Cell[];
}

/** A cell of any type; what follows `source` is there in a code cell. */
export interface Cell {
  cell_type: string;
  /** A text, or its lines. */
  source: string | string[];
  execution_count?: number | null;
  outputs?: Output[];
}

/** What a cell has shown. */
export interface Output {
  output_type: string;
  /** Of a stream: `stdout` or `stderr`. */
  name?: string;
  /** Of what is displayed: its content by MIME type. */
  data?: Record<string, unknown>;
}

/** What is wrong with a cell. */
export interface Difference {
  /** Counted from 0 among the cells of all types. */
  cell: number;
  what: string;
}

/**
 * The kinds of what a cell has shown, in order. A stream counts once, where it began: into how many parts it falls is chance.
 *
 * ```ts
 * kinds([{ output_type: "display_data", data: { "text/html": "<svg/>" } }]); // ["display_data text/html"]
 * ```
 */
export function kinds(outputs: readonly Output[]): string[] {
  const all = outputs.map(({ output_type, name, data }) =>
    [output_type, name, ...Object.keys(data ?? {}).sort()].filter((word) => word !== undefined).join(" ")
  );
  return all.filter((kind, i) => !kind.startsWith("stream ") || all.indexOf(kind) === i);
}

const list = (kinds: string[]) => kinds.length === 0 ? "nothing" : kinds.join(", ");

function compareCell(stored: Cell, executed: Cell): string | null {
  if (typeof executed.execution_count !== "number") return "was not executed: it is empty, or tagged to be skipped.";
  if (typeof stored.execution_count !== "number") return "is stored without its outputs: use --write.";
  const before = list(kinds(stored.outputs ?? []));
  const now = list(kinds(executed.outputs ?? []));
  return before === now ? null : `is stored with ${before}, but showed ${now}.`;
}

/**
 * Compares a notebook as it is stored with the same one executed, in kind: text and pictures may differ.
 *
 * @returns What differs; also code cells that were never executed.
 */
export function differences(stored: Notebook, executed: Notebook): Difference[] {
  return executed.cells.flatMap((after, cell) => {
    const what = after.cell_type === "code" ? compareCell(stored.cells[cell]!, after) : null;
    return what === null ? [] : [{ cell, what }];
  });
}

/**
 * Names a cell for a person.
 *
 * ```ts
 * cellName(notebook, 3); // cell 2 (const server = await start…)
 * ```
 *
 * @param cell Counted from 0 among all cells; the name counts code cells from 1, as Jupyter shows them.
 */
export function cellName({ cells }: Notebook, cell: number): string {
  const number = cells.slice(0, cell + 1).filter(({ cell_type }) => cell_type === "code").length;
  const text = [cells[cell]!.source].flat().join("").trim();
  const line = text.split("\n")[0]!;
  return `cell ${number} (${line.length > 40 ? `${line.slice(0, 40)}…` : line})`;
}
