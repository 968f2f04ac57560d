/**
 * `@std/fmt/colors` over `styleText` of Node, for places where JSR cannot be reached.
 *
 * @module
 */
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

let enabled = !Deno.noColor;

/** Switches the colours on or off. Where NO_COLOR is set they stay off. */
export function setColorEnabled(value: boolean): void {
  enabled = value && !Deno.noColor;
}

/** Whether the functions below colour their text. */
export function getColorEnabled(): boolean {
  return enabled;
}

// Whether the stream is a terminal is left to the caller, as in the original.
const style = (format: Style, text: string) => enabled ? styleText(format, text, { validateStream: false }) : text;

/** The text in bold. */
export const bold = (str: string): string => style("bold", str);
/** The text in faint letters. */
export const dim = (str: string): string => style("dim", str);
/** The text in red. */
export const red = (str: string): string => style("red", str);
/** The text in yellow. */
export const yellow = (str: string): string => style("yellow", str);
/** The text in green. */
export const green = (str: string): string => style("green", str);
/** The text in cyan. */
export const cyan = (str: string): string => style("cyan", str);
