import { assert, assertEquals } from "@std/assert";
import type { Axis } from "../../../lib/charts/config.ts";
import { extent, nearestStep, roundSteps, ticksOf } from "./scale.ts";

const axis = (unit: Axis["unit"], scale: Axis["scale"] = "linear"): Axis => ({ label: "", unit, scale });

Deno.test("a linear axis begins at zero and ends at a round figure above all values", () => {
  assertEquals(extent(axis("per_s"), [48_213, null, 12]), { min: 0, max: 60_000 });
  assertEquals(extent(axis("bytes"), [16.7 * 2 ** 20]), { min: 0, max: 20 * 2 ** 20 });
  assertEquals(extent(axis("percent"), [0.7]), { min: 0, max: 10 });
  for (let value = 1; value < 1e7; value *= 1.37) {
    const { max } = extent(axis("us"), [value]);
    assert(max > value && max <= 2 * value + 2, `${value} in 0…${max}`);
  }
});

Deno.test("there is a whole number in the middle of a linear axis, also where it has no value yet", () => {
  for (const unit of ["connections", "threads", "bytes", "per_s", "us"] as const) {
    for (let value = 1; value < 300; value++) {
      const { max } = extent(axis(unit), [value]);
      assert(max > value && Number.isInteger(max / 2), `${value} in 0…${max}`);
    }
    assertEquals(extent(axis(unit), []), { min: 0, max: 2 });
  }
});

Deno.test("a logarithmic axis has whole decades around its values, and one where there is a single value", () => {
  assertEquals(extent(axis("us", "log"), [633, null, 12_700]), { min: 100, max: 100_000 });
  assertEquals(extent(axis("us", "log"), [100]), { min: 100, max: 1000 });
  assertEquals(extent(axis("us", "log"), [null]), { min: 1, max: 10 });
});

Deno.test("a linear axis has numbers at its ends and its half, a logarithmic one at its decades", () => {
  const values = (of: Axis, ends: { min: number; max: number }) => ticksOf(of, ends).map(({ value }) => value);
  assertEquals(values(axis("per_s"), { min: 0, max: 600 }), [0, 300, 600]);
  assertEquals(values(axis("bytes"), { min: 0, max: 2 ** 25 }), [0, 2 ** 24, 2 ** 25]);
  assertEquals(values(axis("us", "log"), { min: 100, max: 10_000 }), [100, 1000, 10_000]);
});

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
