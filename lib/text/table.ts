/**
 * Rows as a table, for a terminal or as Markdown. Runs in a browser too.
 *
 * @module
 */
/** One column: its heading, how a row shows in it, and whether the heading's side is the right (numbers) or the left. */
export interface Column<Row> {
  /** May have several lines. A hyphen at the end of a line parts a word. */
  heading: string;
  cell: (row: Row) => string;
  left?: boolean;
  /** Whether it says what a row is about: it stands in each block of a folded table. The first column always does. */
  isKey?: boolean;
}

/** The width of a terminal that does not say its own, and of output that goes elsewhere. */
const DEFAULT_WIDTH = 80;
const GAP = "  "; // between two columns
/** A text column may be wrapped to so few characters. */
const MIN_TEXT = 24;
/** A table whose wide columns are mostly text is easier to read as one block for each row. */
const LONG_TEXT = 40;

/** A column with its cells as they are printed. */
interface Laid {
  /** The lines of the heading. */
  heading: string[];
  cells: string[];
  left: boolean;
  isKey: boolean;
  width: number;
}

/** A heading in one line: a parted word is whole again. */
export const inLine = (heading: string): string =>
  heading.replaceAll("-\n", "").replaceAll("\n/", "/").replaceAll("\n", " ");

const longest = (lines: readonly string[]) => Math.max(0, ...lines.map((line) => line.length));

function lay<Row>(rows: readonly Row[], { heading, cell, left = false, isKey = false }: Column<Row>): Laid {
  const lines = heading.split("\n");
  const cells = rows.map(cell);
  return { heading: lines, cells, left, isKey, width: Math.max(longest(lines), longest(cells)) };
}

const pad = (text: string, { left, width }: Laid) => left ? text.padEnd(width) : text.padStart(width);
const widthOf = (columns: readonly Laid[]) =>
  columns.reduce((sum, { width }) => sum + width, GAP.length * (columns.length - 1));

/** One block: the columns side by side. A cell of several lines makes its row as high. */
function block(columns: readonly Laid[]): string {
  const depth = Math.max(...columns.map(({ heading }) => heading.length));
  const line = (cells: readonly string[]) => cells.map((text, i) => pad(text, columns[i]!)).join(GAP).trimEnd();
  const head = Array.from(
    { length: depth },
    (_, i) => line(columns.map(({ heading }) => heading[i - depth + heading.length] ?? "")),
  );
  const body = columns[0]!.cells.flatMap((_, row) => {
    const parts = columns.map(({ cells }) => cells[row]!.split("\n"));
    const height = Math.max(...parts.map((lines) => lines.length));
    return Array.from({ length: height }, (_, i) => line(parts.map((lines) => lines[i] ?? "")));
  });
  return [...head, columns.map(({ width }) => "-".repeat(width)).join(GAP), ...body].join("\n");
}

/** A text column whose cells are wrapped to a width. */
function wrapped(column: Laid, width: number): Laid {
  const cells = column.cells.map((cell) => wrap(cell, width).join("\n"));
  return {
    ...column,
    cells,
    width: Math.max(longest(column.heading), longest(cells.flatMap((cell) => cell.split("\n")))),
  };
}

/** Groups of columns that fit, each behind the columns that say what a row is about. */
function groupsOf(columns: readonly Laid[], width: number): Laid[][] {
  const isKey = (column: Laid) => column.isKey || column === columns[0];
  const keys = columns.filter(isKey);
  const groups: Laid[][] = [];
  for (const column of columns.filter((column) => !isKey(column))) {
    const room = Math.max(MIN_TEXT, width - widthOf(keys) - GAP.length);
    const fitting = column.left && column.width > room ? wrapped(column, room) : column;
    const last = groups.at(-1);
    if (last !== undefined && widthOf([...last, fitting]) <= width) last.push(fitting);
    else groups.push([...keys, fitting]);
  }
  return groups;
}

/** One paragraph for each row: the first column, and below it what the others say. */
function paragraphs([key, ...others]: readonly Laid[], width: number): string {
  return key!.cells.map((title, row) => {
    const lines = others.filter(({ cells }) => cells[row] !== "").flatMap(({ heading, cells }) => {
      const [first, ...rest] = wrap(`${inLine(heading.join("\n"))}: ${cells[row]}`, width - 4);
      return [`  ${first}`, ...rest.map((line) => `    ${line}`)];
    });
    return [title, ...lines].join("\n");
  }).join("\n");
}

/**
 * Lays rows out in aligned columns, for a terminal. Headings may have several lines, separated by `\n`. Columns that do not
 * fit the width follow in further blocks, each behind the key columns again; a table of long texts becomes a paragraph for
 * each row.
 *
 * @param width The columns of the terminal; 80 by default.
 *
 * @example
 * ```ts
 * console.log(table([{ name: "epoll" }], [{ heading: "name", cell: (row) => row.name, left: true }]));
 * ```
 */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[], width = DEFAULT_WIDTH): string {
  const laid = columns.map((column) => lay(rows, column));
  if (widthOf(laid) <= width) return block(laid);
  const texts = laid.slice(1).filter((column) => column.left && column.width > LONG_TEXT);
  if (texts.length > 1) return paragraphs(laid, width);
  return groupsOf(laid, width).map(block).join("\n\n");
}

/** The same rows as a Markdown table. */
export function markdown<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    line(columns.map((column) => inLine(column.heading))),
    line(columns.map((column) => column.left ? ":--" : "--:")),
    ...rows.map((row) => line(columns.map((column) => column.cell(row)))),
  ].join("\n");
}

/** Stands for a space at which no line ends, until the lines are made. */
const BOUND = "\0";
const UNITS = "µs|ms|s|min|h|d|B|[kKMGT]i?B|[MG]Hz|%|CPU-µs|core-µs";
/** The spaces between groups of digits, behind a sign, and between a number and its unit. */
const IN_NUMBERS = new RegExp(
  `(?<=(?<![\\d.])\\d{1,3}(?: \\d{3})*) (?=\\d{3}(?!\\d))|(?<=(?:^|[\\s([])[≤≥×~]) (?=\\d)|(?<=\\d) (?=(?:${UNITS})(?![\\w-]))`,
  "g",
);

/** Breaks a text into lines of at most `width` characters; a longer word stands alone. Numbers stay with their units. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.replace(IN_NUMBERS, BOUND).split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].map((line) => line.replaceAll(BOUND, " "));
}
