import { assertEquals } from "@std/assert";
import * as v from "valibot";
import { describeFields, field, number, text, textOrNull, time, wrongIn } from "./check.ts";

const SCHEMA = v.strictObject({
  n: field(number, "a number"),
  at: v.exactOptional(field(time, "a time")),
  of: v.exactOptional(field(v.picklist(["ok", "no"]), "one of two")),
  why: v.exactOptional(field(textOrNull, "a reason")),
  rows: v.exactOptional(v.nullable(v.array(v.strictObject({ id: text })))),
});

Deno.test("what a schema accepts has nothing wrong", () => {
  const whole = { n: 1.5, at: "2025-01-31T12:00:00.000Z", of: "no", rows: [{ id: "a" }] };
  for (const value of [{ n: 0 }, { n: -1, rows: null }, whole]) assertEquals(wrongIn(SCHEMA, value), undefined);
});

Deno.test("the first thing that is wrong is named by its path, with what is expected and what is found", () => {
  const cases: [value: unknown, wrong: string][] = [
    [null, "the value: expected Object, found null"],
    [{}, "n: missing"],
    [{ n: "410" }, 'n: expected number, found "410"'],
    [{ n: NaN }, "n: expected number, found NaN"],
    [JSON.parse('{ "n": 1e999 }'), "n: expected finite number, found Infinity"],
    [{ n: 1, more: 2 }, "more: unknown field"],
    [{ n: 1, at: "yesterday" }, "at is not a time like 2025-01-31T12:00:00.000Z"],
    [{ n: 1, of: "fine" }, 'of: expected ("ok" | "no"), found "fine"'],
    [{ n: 1, rows: [{ id: "a" }, { id: 3 }] }, "rows.1.id: expected string, found 3"],
    [{ n: 1, rows: [{ id: "a", x: 1 }] }, "rows.0.x: unknown field"],
    [{ n: 1, rows: [{}] }, "rows.0.id: missing"],
  ];
  for (const [value, wrong] of cases) assertEquals(wrongIn(SCHEMA, value), wrong);
});

Deno.test("fields come in the order of the schema, with their descriptions, optional ones too", () => {
  assertEquals(describeFields(SCHEMA), [
    ["n", "a number"],
    ["at", "a time"],
    ["of", "one of two"],
    ["why", "a reason"],
    ["rows", ""],
  ]);
});
