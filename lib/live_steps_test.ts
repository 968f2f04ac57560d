import { assert, assertEquals } from "@std/assert";
import { nearestStep, roundSteps } from "./live_axis.ts";

Deno.test("the steps of a slider are whole round numbers from 1 to the limit of the machine", () => {
  assertEquals(roundSteps(30), [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30]);
  const steps = roundSteps(19_936);
  assertEquals([steps[0], steps.at(-1)], [1, 19_936]);
  for (const [i, step] of steps.slice(1).entries()) assert(step > steps[i]! && step <= 2 * steps[i]!, String(step));
  assertEquals(roundSteps(1), [1]);
});

Deno.test("a number between two steps is shown at the one that is closer by ratio", () => {
  const steps = roundSteps(1000);
  assertEquals([1, 13, 140, 999, 5000].map((value) => steps[nearestStep(steps, value)]), [1, 15, 150, 1000, 1000]);
});
