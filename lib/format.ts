import { format as formatBytes } from "@std/fmt/bytes";

/** What stands where there is no figure: never a zero. */
export const MISSING = "–";

/** A count with thin groups of three, e.g. `10 000`; `digits` after the point. */
export function count(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const [whole, fraction] = value.toFixed(digits).split(".");
  const grouped = whole!.replace(/\B(?=(\d{3})+(?!\d))/g, " ");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** Bytes in binary units, e.g. `7.4 MiB`, `37 B`; a measured slope may be negative, which means nothing was found. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  return formatBytes(Math.round(value), { binary: true }).replace("kiB", "KiB"); // JSR's original writes kiB
}

/** Microseconds in the unit that reads best: `340 µs`, `12.5 ms`, `1.98 s`. */
export function microseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  if (value < 1000) return `${value.toFixed(0)} µs`;
  return value < 1e6 ? `${(value / 1e3).toFixed(1)} ms` : `${(value / 1e6).toFixed(2)} s`;
}

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
