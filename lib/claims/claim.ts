/**
 * What a claim is, and how its verdict comes from parts that figures decide.
 *
 * @module
 */
import { bytes, count, microseconds } from "../text/format.ts";
import type { Evidence } from "./evidence.ts";
import type { Figure, Side } from "./figure.ts";

/** How a claim can come out. */
export const VERDICTS = ["holds", "does not hold", "holds in part", "open", "not measured yet"] as const;
export type Verdict = typeof VERDICTS[number];

/** Units of the figure that stands for a claim; what each looks like is in {@linkcode written}. */
export const UNITS = ["µs", "bytes", "bytes/s", "connections", "requests", "calls/request", "×", "%"] as const;
export type Unit = typeof UNITS[number];

/** What a rule makes of the figures. */
export interface Judgement {
  verdict: Exclude<Verdict, "not measured yet">;
  /** The figure that stands for all: null where there is none. */
  figure: number | null;
  /** Its interval: null where it has none, as a single run has not. */
  low: number | null;
  high: number | null;
  unit: Unit | null;
  /** Sentences with the figures of every part. */
  because: string;
}

/** One claim of the two texts on the C10K problem, T and C. */
export interface Claim {
  id: string;
  /** In our own words. */
  claim: { en: string; ko: string };
  /** Where it stands: `T §…` or `C §…`. */
  section: string;
  /** How it is tried. */
  tried: string;
  /** The rule in words: which figure has to pass which threshold, and why this one. */
  rule: string;
  /** What somebody who has not written the rule says of it: whether he would sign its verdicts, and what he holds against them. */
  sceptic: string;
  /** The rule. Asks the evidence for figures, which says by a throw what is not measured. */
  judge(evidence: Evidence): Judgement;
}

/** A part of a claim. Null: its interval lies on both sides of the threshold, or what was measured cannot decide it. */
export interface Part {
  says: string;
  holds: boolean | null;
  /** Where it fails for its size: whether the figure is less than what the text names, or more. */
  side?: Side;
}

/**
 * All parts hold: it holds. None does and one at least does not: it does not hold, and others may be open. Whatever lies between
 * holds in part. Where every part is open, nothing is decided: it could not be tested here, for the noise is wider than the
 * question.
 */
export function verdictOf(parts: readonly Part[]): Judgement["verdict"] {
  const [yes, no] = [parts.filter(({ holds }) => holds === true), parts.filter(({ holds }) => holds === false)];
  if (yes.length === parts.length) return "holds";
  if (yes.length + no.length === 0) return "open";
  return yes.length === 0 && no.length > 0 ? "does not hold" : "holds in part";
}

const WORD = new Map<boolean | null, string>([[true, "Yes"], [false, "No"], [null, "Open"]]);

/** The judgement of a claim whose parts are decided. */
export function judged({ estimate, low, high }: Figure, unit: Unit, parts: readonly Part[]): Judgement {
  const because = parts.map(({ says, holds, side }) =>
    `${WORD.get(holds)}${side === undefined ? "" : `, ${side}`}: ${says}.`
  ).join(" ");
  return { verdict: verdictOf(parts), figure: estimate, low, high, unit, because };
}

/** The judgement where this machine cannot try it; a figure may stand beside the reason. */
export function notTestable(because: string, figure: number | null = null, unit: Unit | null = null): Judgement {
  return { verdict: "open", figure, low: null, high: null, unit, because };
}

const WRITTEN: Record<Unit, (value: number) => string> = {
  "µs": (value) => value < 10 ? `${count(value, 2)} µs` : microseconds(value),
  "bytes": bytes,
  "bytes/s": (value) => `${bytes(value)}/s`,
  "connections": (value) => `${count(value)} connections`,
  "requests": (value) => `${count(value)} requests`,
  "calls/request": (value) => `${count(value, 3)} calls per request`,
  "×": (value) => `× ${count(value, value < 1 ? 3 : value < 100 ? 2 : 0)}`,
  "%": (value) => `${count(value, value < 10 ? 1 : 0)} %`,
};

/** A figure with its interval, where it has a wider one than itself. */
export function written({ estimate, low, high }: Figure, unit: Unit): string {
  const write = WRITTEN[unit];
  return low === null || high === null || low === high
    ? write(estimate)
    : `${write(estimate)} [${write(low)}, ${write(high)}]`;
}
