import { assertEquals } from "@std/assert";
import { isWarm } from "./side.ts";

const LONG_SECONDS = 1000;

Deno.test("costs that fall or rise have not settled, however many there are", () => {
  const falling = Array.from({ length: 30 }, (_, i) => 100 * 0.9 ** i);
  assertEquals(isWarm(falling, LONG_SECONDS), false);
  assertEquals(isWarm(falling.toReversed(), LONG_SECONDS), false);
  assertEquals(isWarm([5, 5, 9], LONG_SECONDS), false);
});

Deno.test("costs have settled once three in a row lie within a tenth, whatever was before", () => {
  assertEquals(isWarm([100, 40, 10, 10.9, 10.4], LONG_SECONDS), true);
  assertEquals(isWarm([100, 40, 10, 11.1, 10.4], LONG_SECONDS), false);
  assertEquals(isWarm([10, 10, 10, 40], LONG_SECONDS), false);
});

Deno.test("fewer than three alike costs are not enough", () => {
  for (const costs of [[], [10], [10, 10]]) assertEquals(isWarm(costs, LONG_SECONDS), false);
  assertEquals(isWarm([10, 10, 10], LONG_SECONDS), true);
});

Deno.test("after its time a warm-up is over although nothing has settled, and not before", () => {
  const falling = (length: number) => Array.from({ length }, (_, i) => 100 * 0.5 ** i);
  assertEquals(isWarm(falling(19), 10), false); // stretches of half a second
  assertEquals(isWarm(falling(20), 10), true);
  assertEquals(isWarm(falling(1), 0.5), true);
});
