/**
 * A scale from 1 on whose steps are round numbers, and of about equal ratio: each key press on a slider is a step that
 * can be spoken.
 *
 * @module
 */

const STEPS = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8];

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
