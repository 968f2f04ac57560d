import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { EXIT } from "../cli/exit.ts";
import { night } from "../testing/fixtures.ts";
import { recordMarkdown, sentenceOf, showRecord } from "./record.ts";

const CODES = [EXIT.ok, EXIT.failed, EXIT.inconclusive, EXIT.unavailable, EXIT.harness];

Deno.test("every exit code of a record has a sentence of its own, of a judged run and of a new baseline", () => {
  const sentences = CODES.flatMap((exit) => [false, true].map((new_baseline) => sentenceOf({ exit, new_baseline })));
  assertEquals(new Set(sentences).size, 2 * CODES.length);
  assertStringIncludes(sentenceOf({ exit: EXIT.unavailable, new_baseline: false }), "no experiment runs here");
  assertStringIncludes(sentenceOf({ exit: EXIT.harness, new_baseline: false }), "cannot be stored");
  assertThrows(() => sentenceOf({ exit: EXIT.usage, new_baseline: false }), RangeError);
});

Deno.test("the sentence of a record ends the table, and begins the Markdown", () => {
  const record = { ...night(1, { ratio: 1 }), exit: EXIT.harness };
  const sentence = "Not slower, but the record cannot be stored.";
  assertEquals(showRecord(record).split("\n").at(-1), sentence);
  assertEquals(recordMarkdown(record).split("\n")[0], `## ${sentence}`);
});
