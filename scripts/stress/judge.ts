/**
 * What a server must be able to say of itself after a stress: the rules, each with the sentence that tells how it was broken.
 *
 * @module
 */
import { bytes, count } from "../../lib/text/format.ts";
import type { StressFigures } from "../../lib/results/schema.ts";

/** Descriptors that a server may have more than before: a runtime opens one now and then for itself. */
export const MORE_DESCRIPTORS = 2;
/** A heap is collected when it likes, so it may be larger by as much as this without a leak… */
const LEVEL_SHARE = 0.1;
const LEVEL_BYTES = 2 * 1024 * 1024;
/** …and runs shorter than this in seconds are not judged: the code is still being compiled, and the heap finds its size. */
const LEVEL_SECONDS = 30;
/** The rule in words. */
export const LEVEL_RULE =
  `level: from the second to the last quarter of the time memory grows by no more than ${LEVEL_SHARE * 100} % + ${
    bytes(LEVEL_BYTES)
  }; ` +
  `not judged below ${LEVEL_SECONDS} s`;

/** What was found, before it is judged. */
export type Found = Omit<StressFigures, "level" | "broken">;

/** How the run went beside the figures. */
export interface Trend {
  seconds: number;
  lost: number;
  stoppedEarly: string | null;
  exitCode: number;
}

/** Whether memory has stayed level; null if the run was too short, or the system does not tell. */
function isLevel({ pss_anon_bytes: [, half, , whole] }: Found, seconds: number): boolean | null {
  if (seconds < LEVEL_SECONDS || typeof half !== "number" || typeof whole !== "number") return null;
  return whole - half <= LEVEL_SHARE * half + LEVEL_BYTES;
}

/** Whether the server has served what was answered, and no more but what was reset before the answer came. */
function disagreement({ served, answered, resets }: Found): string | null {
  if (served === null) return "the server did not say how many requests it has served";
  const more = served - answered;
  if (more >= 0 && more <= resets) return null;
  const said = `the server says that it has served ${count(served)} requests`;
  return more < 0
    ? `${said}, but its clients have ${count(answered)} answers`
    : `${said}, ${count(more)} more than its clients have answers, but only ${count(resets)} of them made a reset`;
}

/**
 * Judges what a stress has found. A server passes if `broken` is empty; each sentence in it names one rule with its figures.
 *
 * @example
 * ```ts
 * judgeStress(found, { seconds: 60, lost: 0, stoppedEarly: null, exitCode: 0 });
 * // { level: true, broken: ["3 requests got no answer, although their clients did not reset them"] }
 * ```
 */
export function judgeStress(found: Found, course: Trend): Pick<StressFigures, "level" | "broken"> {
  const { unanswered, unended, errors, resets, half_closes, pss_anon_bytes: memory } = found;
  const level = isLevel(found, course.seconds);
  const grown = (name: "descriptors" | "threads") =>
    `it has ${found[`${name}_after`]} ${name} at rest, before it had ${found[`${name}_before`]}`;
  const told = Object.entries(errors).map(([key, times]) => `${key} ${count(times)}`).join(", ");
  const rules: [broken: boolean, sentence: string | null][] = [
    [course.stoppedEarly !== null, `the load ended early: ${course.stoppedEarly}`],
    [resets === 0 || half_closes === 0, `only ${resets} resets and ${half_closes} half-closes: give it more time`],
    [unanswered > 0, `${count(unanswered)} requests got no answer, although their clients did not reset them`],
    [unended > 0, `${count(unended)} half-closed connections were answered, but not closed by the server`],
    [course.lost > 0, `${count(course.lost)} connections were closed or reset by the server before their time`],
    [told !== "", `the clients met errors: ${told}`],
    [found.descriptors_after > found.descriptors_before + MORE_DESCRIPTORS, grown("descriptors")],
    [found.threads_after > found.threads_before, grown("threads")],
    [
      level === false,
      `memory grew from ${bytes(memory[1])} in the second quarter of the time to ${bytes(memory[3])} in the last`,
    ],
    [disagreement(found) !== null, disagreement(found)],
    [course.exitCode !== 0, `it ended with exit code ${course.exitCode}`],
  ];
  return { level, broken: rules.flatMap(([broken, sentence]) => broken ? [sentence!] : []) };
}
