/**
 * Figures with what they may be off by, and the questions that rules put to them: yes, no, or open.
 *
 * @module
 */
import type { Interval } from "../timing/stats.ts";

/**
 * By how much a figure without an interval, as of a single run, may be off, so that a verdict does not turn by noise. Memory
 * comes out alike; the CPU time of a request moves by 14 % from run to run of the same server on a shared machine.
 */
export const MARGIN = { memory: 0.1, other: 0.25 };

/** A figure, with its own margin where it has no interval. */
export type Figure = Interval & { margin?: number };

/** A count that has no noise: connections that were answered, threads that were there. */
export const exactly = (estimate: number): Figure => ({ estimate, low: estimate, high: estimate });
/** The figure of a single run. */
export const once = (estimate: number, margin: number): Figure => ({ estimate, low: null, high: null, margin });

const lowOf = ({ low, estimate, margin = MARGIN.other }: Figure) => low ?? estimate * (1 - margin);
const highOf = ({ high, estimate, margin = MARGIN.other }: Figure) => high ?? estimate * (1 + margin);

/** How often b goes into a. At worst for both: without the pairs that a comparison has, nothing narrower is known. */
export const quotient = (a: Interval, b: Interval): Figure => ({
  estimate: a.estimate / b.estimate,
  low: a.low === null || b.high === null ? null : a.low / b.high,
  high: a.high === null || b.low === null ? null : a.high / b.low,
});

/** So many times a figure. */
export const times = ({ estimate, low, high, ...rest }: Figure, factor: number): Figure => ({
  ...rest,
  estimate: estimate * factor,
  low: low === null ? null : low * factor,
  high: high === null ? null : high * factor,
});

/** All figures together, at worst for each. */
export const sumOf = (figures: readonly Figure[]): Figure => ({
  estimate: figures.reduce((sum, { estimate }) => sum + estimate, 0),
  low: figures.reduce((sum, each) => sum + lowOf(each), 0),
  high: figures.reduce((sum, each) => sum + highOf(each), 0),
});

/** Whether a figure is at least so large: no only below `refuted`, and between the two nothing is decided. */
export function atLeast(of: Figure, wanted: number, refuted: number = wanted): boolean | null {
  return lowOf(of) >= wanted ? true : highOf(of) < refuted ? false : null;
}

/** Whether a figure is at most so large: no only above `refuted`. */
export function atMost(of: Figure, wanted: number, refuted: number = wanted): boolean | null {
  return highOf(of) <= wanted ? true : lowOf(of) > refuted ? false : null;
}

/** "About" in a text: within a factor of two, for it names a size and no measurement. */
export const ABOUT = 2;

/** On which side of what a text names a figure lies: stated where a part fails for its size. */
export type Side = "less" | "more";
/** An answer on a size that a text names; where it is no, with the side. */
export interface Match {
  holds: boolean | null;
  side?: Side;
}

function within(of: Figure, least: number, most: number): Match {
  if (highOf(of) < least) return { holds: false, side: "less" };
  if (lowOf(of) > most) return { holds: false, side: "more" };
  return { holds: lowOf(of) >= least && highOf(of) <= most ? true : null };
}

/** Whether a figure is about so large, and if not, on which side it lies. */
export const about = (of: Figure, named: number): Match => within(of, named / ABOUT, named * ABOUT);

/**
 * Whether a ratio is "N times", or "N to M times": within a factor of two of what is named, on either side. Where N is under
 * four the factor is √N: with two, "twice" would include no difference at all.
 */
export function isTimes(of: Figure, least: number, most = least): Match {
  const factor = Math.min(ABOUT, Math.sqrt(least));
  return within(of, least / factor, most * factor);
}

/** What an option must change to count, as a ratio: less is not worth a line of code. */
export const EFFECT = 1.1;
/** Whether a ratio shows a gain of `EFFECT`: less is none. */
export const gains = (of: Figure): boolean | null => atLeast(of, EFFECT);
/** Whether a ratio speaks for the one that it is measured against: no where it speaks for the other; about as much is open. */
export const favours = (of: Figure): boolean | null => atLeast(of, EFFECT, 1 / EFFECT);

/** All of several answers: one no is a no. */
export const all = (answers: readonly (boolean | null)[]): boolean | null =>
  answers.includes(false) ? false : answers.includes(null) ? null : true;
