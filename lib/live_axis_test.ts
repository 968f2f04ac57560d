import { assert, assertEquals } from "@std/assert";
import type { Axis } from "./chart.ts";
import { decades, extent } from "./live_axis.ts";

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

Deno.test("what is counted has a whole number in the middle of its axis", () => {
  for (let value = 1; value < 300; value++) {
    const { max } = extent(axis("connections"), [value]);
    assert(max > value && Number.isInteger(max / 2), `${value} in 0…${max}`);
  }
});

Deno.test("a logarithmic axis has whole decades around its values, and one where there is a single value", () => {
  assertEquals(extent(axis("us", "log"), [633, null, 12_700]), { min: 100, max: 100_000 });
  assertEquals(extent(axis("us", "log"), [100]), { min: 100, max: 1000 });
  assertEquals(extent(axis("us", "log"), [null]), { min: 1, max: 10 });
  assertEquals(decades(100, 10_000), [{ value: 100 }, { value: 1000 }, { value: 10_000 }]);
});
