/**
 * How charts look: one colour and one mark for each family, everywhere, in light and dark.
 *
 * @module
 */
import type { PointStyle } from "chart.js";
import { bytes, count, microseconds } from "../text/format.ts";

/** Light or dark: what the reader's page is. */
export type Theme = "light" | "dark";

/**
 * The hues of Okabe and Ito (2008, "Color Universal Design"), which people with any colour vision tell apart, darkened for a
 * light ground and lightened for a dark one until each has a contrast of 3 : 1 (WCAG 2.2, 1.4.11). The mark says it again.
 */
export const FAMILY: Record<string, { light: string; dark: string; mark: PointStyle }> = {
  blocking: { light: "#c04a00", dark: "#f08040", mark: "rect" },
  readiness: { light: "#0068a8", dark: "#4fa8e8", mark: "circle" },
  completion: { light: "#007a5a", dark: "#2fc495", mark: "triangle" },
  runtime: { light: "#a8447e", dark: "#e08fbd", mark: "rectRot" },
  hybrid: { light: "#8a6d00", dark: "#e0b72a", mark: "star" },
  bypass: { light: "#4d5fa8", dark: "#9aa8ec", mark: "crossRot" },
  push: { light: "#7a45b5", dark: "#b48cf0", mark: "rectRounded" },
  custom: { light: "#555555", dark: "#bbbbbb", mark: "cross" },
};

/** What is not data. */
export const GROUND: Record<Theme, { page: string; text: string; faint: string; grid: string }> = {
  light: { page: "#ffffff", text: "#1c1c1e", faint: "#5f6368", grid: "#e3e5e8" },
  dark: { page: "#16181c", text: "#f0f1f3", faint: "#a6abb3", grid: "#33373d" },
};

/** The colour of a family; of a server that is in none, grey. */
export const colourOf = (family: string, theme: Theme): string => (FAMILY[family] ?? FAMILY["custom"]!)[theme];
/** The mark of a family. */
export const markOf = (family: string): PointStyle => (FAMILY[family] ?? FAMILY["custom"]!).mark;

/** What a value counts; it decides how the value is written. */
export type Unit =
  | "us"
  | "bytes"
  | "per_s"
  | "ratio"
  | "percent"
  | "connections"
  | "descriptors"
  | "threads"
  | "requests"
  | "seconds"
  | "rounds"
  | "switches"
  | "nights";

/** What stands behind the name of an axis. */
export const UNIT_NAME: Record<Unit, string> = {
  us: "µs",
  bytes: "bytes",
  per_s: "/s",
  ratio: "ratio",
  percent: "%",
  connections: "connections",
  descriptors: "descriptors",
  threads: "threads",
  requests: "requests",
  seconds: "s",
  rounds: "rounds",
  switches: "context switches",
  nights: "nights",
};

/** A value in its unit, as a reader wants it: three digits that mean something, no exponent. */
export function written(value: number, unit: Unit): string {
  if (unit === "bytes") return bytes(value);
  if (unit === "us" && Math.abs(value) >= 1000) return microseconds(value);
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const isNear = unit === "ratio" && Math.abs(value) < 10; // what a ratio near 1 says is in its third digit
  return `${count(value, isNear ? 3 : digits)}${
    unit === "us" ? " µs" : unit === "percent" ? " %" : unit === "seconds" ? " s" : ""
  }`;
}

/** Units that stand at each value, so that no axis has to name them. */
export const WRITTEN_UNITS: readonly Unit[] = ["us", "bytes", "percent", "seconds"];

/** What is counted in whole things: there is no half a night. */
export const WHOLE_UNITS: readonly Unit[] = [
  ...["connections", "descriptors", "threads", "requests", "rounds", "switches", "nights"] as const,
];

/** A value at a tick of an axis: as short as it can be. */
export function atTick(value: number, unit: Unit): string {
  if (WRITTEN_UNITS.includes(unit)) {
    return written(value, unit).replace(/\.(\d*?)0+(?= |$)/, (_, rest) => rest && `.${rest}`);
  }
  const [, fraction = ""] = String(Number(value.toPrecision(6))).split(".");
  return count(value, fraction.length);
}
