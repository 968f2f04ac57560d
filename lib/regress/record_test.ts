import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { EXIT } from "../cli/exit.ts";
import { night } from "../testing/fixtures.ts";
import { recordMarkdown, type RegressionRow, sentenceOf, showRecord } from "./record.ts";

const CODES = [EXIT.ok, EXIT.failed, EXIT.inconclusive, EXIT.unavailable, EXIT.harness];

/** A record that ends so, with these verdicts. */
const ended = (exit: number, rows: Partial<RegressionRow>[] = [], new_baseline = false) => ({
  exit,
  new_baseline,
  experiments: rows.flatMap((row) => night(1, { ratio: 1, ...row }).experiments),
});
const SLOWER = { verdict: "slower" } as const;

Deno.test("every exit code of a record has a sentence of its own, of a judged run and of a new baseline", () => {
  const sentences = CODES.flatMap((exit) => [false, true].map((isNew) => sentenceOf(ended(exit, [SLOWER], isNew))));
  assertEquals(new Set(sentences).size, 2 * CODES.length);
  assertStringIncludes(sentenceOf(ended(EXIT.unavailable)), "no experiment runs here");
  assertStringIncludes(sentenceOf(ended(EXIT.harness)), "cannot be stored");
  assertThrows(() => sentenceOf(ended(EXIT.usage)), RangeError);
});

Deno.test("the sentence names what got slower and what broke, and calls nothing slower that broke", () => {
  const a = { experiment: "a", verdict: "slower" } as const;
  const b = {
    experiment: "b",
    verdict: "broken",
    reason: "b ended with exit code 1: no such file\n  at x.js",
  } as const;
  const c = { experiment: "c", verdict: "broken", reason: "port 3000 is in use already." } as const;
  const of = (...rows: Partial<RegressionRow>[]) => sentenceOf(ended(EXIT.failed, rows));
  assertEquals(of(a, { experiment: "d" }), "Slower: a, and fresh rounds agree.");
  assertEquals(of(b, { experiment: "d" }), "Broken: b ended with exit code 1: no such file.");
  assertEquals(of(c), "Broken: c: port 3000 is in use already.");
  assertEquals(of(b, c), "Broken: b, c.");
  assertEquals(of(c, a), "Slower: a, and fresh rounds agree. Broken: c: port 3000 is in use already.");
  assertEquals(of({ ...b, reason: null }), "Broken: b.");
  assert(of({ ...b, reason: "x".repeat(9999) }).length < 300);
});

Deno.test("the sentence of a record ends the table, and begins the Markdown", () => {
  const record = { ...night(1, { ratio: 1 }), exit: EXIT.harness };
  const sentence = "Not slower, but the record cannot be stored.";
  assertEquals(showRecord(record).split("\n").at(-1), sentence);
  assertEquals(recordMarkdown(record).split("\n")[0], `## ${sentence}`);
});

Deno.test("the headings in Markdown are whole words", () => {
  const heading = recordMarkdown(night(1, { ratio: 1 })).split("\n")[2]!;
  assertStringIncludes(heading, "| ratio to reference | CPU-µs/request | connections | valid rounds |");
});
