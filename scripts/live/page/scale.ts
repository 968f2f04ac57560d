/**
 * Where the axes of the live page end: they change rarely, so that the eye can rest.
 *
 * @module
 */
import type { Axis } from "../../../lib/charts/config.ts";
import { known } from "../../../lib/charts/scales.ts";

const HEADROOM = 1.05;
const ENDS = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10]; // of each decade

/** The round figure at which a linear axis ends: its half is round too. */
function roundEnd(axis: Axis, value: number): number {
  const unit = axis.unit === "bytes" ? 1024 ** Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)) : 1;
  const least = value * HEADROOM / unit;
  const decade = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  const fits = (end: number) => end >= least && (unit > 1 || end % 2 === 0); // there are no halves of a thread or a byte
  return unit * decade * (ENDS.find((end) => fits(end * decade)) ?? 10);
}

/** From zero to a round end; of a logarithmic axis whole decades, one at least. */
export function extent(axis: Axis, values: readonly (number | null)[]): { min: number; max: number } {
  const above = known(values);
  if (axis.scale === "linear") {
    return { min: 0, max: roundEnd(axis, Math.max(axis.unit === "percent" ? 9 : 1, ...above)) };
  }
  if (above.length === 0) return { min: 1, max: 10 };
  const [low, high] = [Math.floor(Math.log10(Math.min(...above))), Math.ceil(Math.log10(Math.max(...above)))];
  return { min: 10 ** low, max: 10 ** Math.max(high, low + 1) };
}

/** Where an axis has its numbers: a linear one at its ends and its half, a logarithmic one at each power of ten. */
export function ticksOf({ scale }: Axis, { min, max }: { min: number; max: number }): { value: number }[] {
  if (scale === "linear") return [min, (min + max) / 2, max].map((value) => ({ value }));
  return Array.from({ length: Math.round(Math.log10(max / min)) + 1 }, (_, i) => ({ value: min * 10 ** i }));
}

/**
 * A scale from 1 on whose steps are round numbers, and of about equal ratio: each key press on a slider is a step that
 * can be spoken.
 *
 * @module
 */

export const STEPS = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8];

/** The whole numbers 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, … up to `max`, which is the last one. */
export function roundSteps(max: number): number[] {
  const decades = Array.from({ length: Math.ceil(Math.log10(max)) }, (_, i) => 10 ** i);
  const round = decades.flatMap((decade) => STEPS.map((step) => step * decade));
  return [...round.filter((value) => Number.isInteger(value) && value < max), max];
}

/** The index of the step that is closest to a value, by their ratio. */
export function nearestStep(steps: readonly number[], value: number): number {
  const distance = (step: number) => Math.abs(Math.log(step / value));
  return steps.reduce((best, step, i) => distance(step) < distance(steps[best]!) ? i : best, 0);
}
