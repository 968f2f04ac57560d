import { assertEquals } from "@std/assert";
import type { RegressionRecord, RegressionRow } from "../../lib/regress/record.ts";
import { night } from "../../lib/testing/fixtures.ts";
import { UNDECIDED_NIGHTS, withUndecided } from "./undecided.ts";

/** The night of a day, of one experiment. */
const of = (day: number, verdict: RegressionRow["verdict"], change: Partial<RegressionRecord> = {}) => ({
  ...night(day, { ratio: 1, experiment: "my-api", verdict }),
  ...change,
});
const open = (...days: number[]) => days.map((day) => of(day, "inconclusive"));
/** The nights that the last one of these says. */
const said = (...nights: RegressionRecord[]) => withUndecided(nights.at(-1)!, nights.slice(0, -1)).undecided;

Deno.test("from the third night in a row without a verdict on, a night says how many there were", () => {
  assertEquals(UNDECIDED_NIGHTS, 3);
  assertEquals(said(...open(1, 2)), undefined);
  assertEquals(said(...open(1, 2, 3)), [{ experiment: "my-api", nights: 3 }]);
  assertEquals(said(...open(2, 1, 4, 5)), [{ experiment: "my-api", nights: 4 }]);
  const nights = open(1, 2, 3);
  assertEquals(withUndecided(nights[2]!, nights).undecided, [{ experiment: "my-api", nights: 3 }]);
});

Deno.test("a verdict or a new baseline begins the row again, other experiments and a second run of a day do not count", () => {
  for (const verdict of ["not_slower", "slower", "broken"] as const) {
    assertEquals(said(...open(1, 2, 3), of(4, verdict), ...open(5, 6)), undefined);
  }
  assertEquals(said(...open(1, 2, 3), of(4, "inconclusive", { new_baseline: true }), ...open(5, 6)), undefined);
  assertEquals(said(...open(1, 2, 2, 2)), undefined);
  const other = night(3, { ratio: 1, experiment: "other" });
  assertEquals(said(...open(1, 2), other, ...open(4)), [{ experiment: "my-api", nights: 3 }]);
  assertEquals(said(...open(1, 2, 3), of(4, "not_slower")), undefined);
});
