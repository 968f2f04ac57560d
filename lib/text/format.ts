import { format as formatBytes } from "@std/fmt/bytes";

/** What stands where there is no figure: never a zero. */
export const MISSING = "–";

const inThrees = (digits: string): string => digits.replace(/\B(?=(\d{3})+(?!\d))/g, " ");
/** One minus sign everywhere, as wide as a plus; a zero has none. */
const signed = (text: string): string => /^-[0.]+(?!\S)/.test(text) ? text.slice(1) : text.replace(/^-/, "−");

/** A count with thin groups of three, e.g. `10 000`; `digits` after the point. */
export function count(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const [whole, fraction] = signed(value.toFixed(digits)).split(".");
  const grouped = inThrees(whole!);
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** Bytes in binary units, e.g. `7.4 MiB`, `37 B`; a measured slope may be negative, which means nothing was found. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const text = formatBytes(Math.round(value), { binary: true }).replace("kiB", "KiB"); // JSR's original writes kiB
  return signed(text.replace(/^-?\d+/, inThrees)); // up to 1 023 of a unit
}

/** Microseconds in the unit that reads best: `340 µs`, `12.5 ms`, `1.98 s`. */
export function microseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  if (value < 1000) return `${count(value)} µs`;
  return value < 1e6 ? `${(value / 1e3).toFixed(1)} ms` : `${(value / 1e6).toFixed(2)} s`;
}

/** A count with its noun: `1 round`, `2 rounds`. */
export const counted = (value: number, noun: string, plural = `${noun}s`): string =>
  `${count(value)} ${value === 1 ? noun : plural}`;

/** Spaces within a figure: between groups of digits, behind a sign, before a unit. */
const WITHIN =
  /(?<=\d) (?=\d{3}(?!\d))|(?<=[×≥≤−]) (?=\d)|(?<=\d) (?=%|(?:[µmn]?s|(?:[KMGT]i|[kKMGT])?B|[kMG]?bit|(?:CPU|core)-µs)(?![\p{L}\d]))/gu;

/** A text in which no line break divides a figure, for pages. */
export const unbroken = (text: string): string => text.replace(WITHIN, "\u00a0");

/** What has no figure: the names behind each reason, in a sentence; null: nothing. */
export function withoutFigure(missing: readonly { name: string; why: string }[]): string | null {
  if (missing.length === 0) return null;
  const groups = Map.groupBy(missing, ({ why }) => why.replace(/\.$/, ""));
  return `No figure: ${[...groups].map(([why, of]) => `${of.map(({ name }) => name).join(", ")}: ${why}`).join("; ")}.`;
}
