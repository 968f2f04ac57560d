import { assertEquals, assertMatch } from "@std/assert";
import type { RegressionRecord, RegressionRow } from "../../lib/regress/record.ts";
import { night } from "../../lib/testing/fixtures.ts";
import { BASELINE_NIGHTS } from "../../lib/regress/baseline.ts";
import { type BaselineEvidence, decideBaselines, heldExperiments } from "./baselines.ts";

type Verdicts = Record<string, RegressionRow["verdict"]>;

/** A record of the n-th day with these verdicts. Of what broke or did not run there is no change. */
function record(day: number, verdicts: Verdicts, change: Partial<RegressionRecord> = {}): RegressionRecord {
  const rows = Object.entries(verdicts).flatMap(([experiment, verdict]) =>
    night(day, {
      ratio: 1,
      experiment,
      verdict,
      ...(verdict === "broken" || verdict === "skipped" ? { change: null } : {}),
    }).experiments
  );
  return { ...night(day, { ratio: 1 }), experiments: rows, ...change };
}

const times = (...days: number[]) => days.map((day) => night(day, { ratio: 1 }).time);

/** The steps of a night, by experiment. */
function steps(of: RegressionRecord, evidence: Partial<BaselineEvidence> = {}): Record<string, string> {
  const decided = decideBaselines({ record: of, nights: new Map(), history: [], ...evidence });
  return Object.fromEntries(decided.map(({ experiment, step }) => [experiment, step]));
}

Deno.test("an experiment without a baseline here gets one from the rounds of this night", () => {
  assertEquals(steps(record(9, { a: "inconclusive", b: "inconclusive" })), { a: "make", b: "make" });
  const nights = new Map([["a", times(1, 2, 3, 4, 5)]]);
  assertEquals(steps(record(9, { a: "not_slower", b: "inconclusive" }), { nights }), { a: "leave", b: "make" });
});

Deno.test("what is skipped or broken gets no baseline, nor does anything in a night in which something breaks that had one", () => {
  assertEquals(steps(record(9, { a: "skipped", b: "inconclusive" })), { a: "leave", b: "make" });
  const history = [record(3, { a: "not_slower" })];
  assertEquals(steps(record(9, { a: "broken", b: "inconclusive" }), { history }), { a: "leave", b: "leave" });
  const later = [...history, record(8, { a: "broken" })];
  assertEquals(steps(record(9, { a: "inconclusive" }), { history: later }), { a: "leave" });
});

Deno.test("what broke before it was ever judged holds nothing back, in that night and later", () => {
  const broken = record(3, { a: "broken" });
  assertEquals(steps(record(9, { a: "broken", b: "inconclusive" })), { a: "leave", b: "make" });
  assertEquals(steps(record(9, { a: "inconclusive" }), { history: [broken] }), { a: "make" });
  assertEquals(heldExperiments([broken, record(9, { a: "not_slower" })]), []);
  assertEquals(heldExperiments([broken, record(9, { a: "slower" })]).map(({ verdict }) => verdict), ["slower"]);
});

Deno.test("no baseline is made while the newest verdict is a regression, this night's or an earlier one's on any machine", () => {
  assertEquals(steps(record(9, { a: "slower", b: "inconclusive" })), { a: "leave", b: "leave" });
  const slower = record(3, { a: "slower" });
  const of = record(9, { a: "inconclusive" });
  assertEquals(steps(of, { history: [slower] }), { a: "leave" });
  assertEquals(steps(of, { history: [record(4, { a: "inconclusive" }), slower] }), { a: "leave" });
  assertEquals(steps(of, { history: [record(4, { a: "not_slower" }), slower] }), { a: "make" });
  assertEquals(steps(of, { history: [record(2, { a: "not_slower" }), slower] }), { a: "leave" });
  const [step] = decideBaselines({ record: of, nights: new Map(), history: [slower] });
  assertMatch(
    step!.reason!,
    /^a gets no baseline here: a was slower on 2026-01-04, .* deno task nightly --new-baseline\.$/,
  );
});

Deno.test("a regression of an experiment that this night does not measure holds nothing back", () => {
  assertEquals(steps(record(9, { a: "inconclusive" }), { history: [record(3, { b: "slower" })] }), { a: "make" });
});

Deno.test("a new baseline accepts what was slower before, unless it could not be made", () => {
  const slower = record(3, { a: "slower" });
  const forced = (exit: number, verdict: "slower" | "broken" = "slower") =>
    record(4, { a: verdict }, { new_baseline: true, exit });
  const held = (...history: RegressionRecord[]) => heldExperiments(history).map(({ experiment }) => experiment);
  assertEquals(held(slower), ["a"]);
  assertEquals(held(slower, forced(0)), []);
  assertEquals(held(slower, forced(3)), ["a"]);
  assertEquals(held(forced(1, "broken")), []);
  assertEquals(held(slower, forced(1, "broken")), ["a"]);
  assertEquals(held(forced(0), record(5, { a: "broken" })), ["a"]);
});

Deno.test("a night that is not slower joins a short baseline, once a day, until it has enough nights", () => {
  const of = record(9, { a: "not_slower" });
  for (let length = 1; length < BASELINE_NIGHTS; length++) {
    const nights = new Map([["a", times(...Array(length).keys())]]);
    assertEquals(steps(of, { nights }), { a: "extend" }, `${length} nights`);
  }
  assertEquals(steps(of, { nights: new Map([["a", times(0, 1, 2, 3, 4)]]) }), { a: "leave" });
  assertEquals(steps(of, { nights: new Map([["a", times(1, 9)]]) }), { a: "leave" });
});

Deno.test("a night that is inconclusive or slower joins no baseline, and after a new one nothing is decided", () => {
  const nights = new Map([["a", times(1)]]);
  for (const verdict of ["inconclusive", "slower", "broken", "skipped"] as const) {
    assertEquals(steps(record(9, { a: verdict }), { nights }), { a: "leave" }, verdict);
  }
  assertEquals(steps(record(9, { a: "not_slower" }, { new_baseline: true }), { nights }), { a: "leave" });
});
