/**
 * Rows as a table, for a terminal or as Markdown. Runs in a browser too.
 *
 * @module
 */
/** One column: its heading, how a row shows in it, and whether the heading's side is the right (numbers) or the left. */
export interface Column<Row> {
  heading: string;
  cell: (row: Row) => string;
  left?: boolean;
}

/**
 * Lays rows out in aligned columns, for a terminal. Headings may have several lines, separated by `\n`.
 *
 * @example
 * ```ts
 * console.log(table([{ name: "epoll" }], [{ heading: "name", cell: (row) => row.name, left: true }]));
 * ```
 */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const headings = columns.map((column) => column.heading.split("\n"));
  const depth = Math.max(...headings.map((lines) => lines.length));
  const head = Array.from({ length: depth }, (_, i) => headings.map((lines) => lines[i - depth + lines.length] ?? ""));
  const body = rows.map((row) => columns.map((column) => column.cell(row)));
  const widths = columns.map((_, i) => Math.max(...[...head, ...body].map((line) => line[i]!.length)));
  const line = (cells: string[]) =>
    cells.map((cell, i) => columns[i]!.left ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd();
  return [...head.map(line), widths.map((width) => "-".repeat(width)).join("  "), ...body.map(line)].join("\n");
}

/** The same rows as a Markdown table. */
export function markdown<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    line(columns.map((column) => column.heading.replaceAll("\n", " "))),
    line(columns.map((column) => column.left ? ":--" : "--:")),
    ...rows.map((row) => line(columns.map((column) => column.cell(row)))),
  ].join("\n");
}

// columns that the idea gets, however narrow the terminal is

/** Breaks a text into lines of at most `width` characters; a longer word stands alone. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
