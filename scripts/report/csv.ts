/**
 * Rows as a file for spreadsheets. Runs in a page.
 *
 * @module
 */

type Cell = string | number | null;

const field = (value: Cell | undefined): string => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** CSV as RFC 4180 has it: a line for each row, below a line of the names of all columns; what is missing is empty. */
export function toCsv(rows: readonly Record<string, Cell>[]): string {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [keys, ...rows.map((row) => keys.map((key) => row[key]))]
    .map((line) => `${line.map((value) => field(value)).join(",")}\r\n`).join("");
}
