import { assertEquals } from "@std/assert";
import { readIgnored, readSummary } from "./run_tests.ts";

// Captured from deno test 2.9.6, with its colours.
const OUTPUT = "\x1b[0m\x1b[38;5;245mrunning 3 tests from ./lib/a_test.ts\x1b[0m\n" +
  "a server holds ... \x1b[0m\x1b[32mok\x1b[0m \x1b[0m\x1b[38;5;245m(12ms)\x1b[0m\n" +
  "wrk drives it ... \x1b[0m\x1b[33mignored\x1b[0m \x1b[0m\x1b[38;5;245m(0ms)\x1b[0m\n\n" +
  "\x1b[0m\x1b[31mFAILED\x1b[0m | 13 passed (4 steps) | 2 failed (1 step) | 3 ignored | 1 filtered out (49ms)\n\n";

Deno.test("the summary of deno test is read through colours and steps", () => {
  assertEquals(readSummary(OUTPUT), { passed: 13, failed: 2, skipped: 3 });
  assertEquals(readSummary("ok | 1 passed | 0 failed (1ms)\n"), { passed: 1, failed: 0, skipped: 0 });
});

Deno.test("the last summary counts, and without one no test was run", () => {
  assertEquals(readSummary(OUTPUT + "ok | 1 passed | 0 failed (1ms)\n"), { passed: 1, failed: 0, skipped: 0 });
  assertEquals(readSummary("error: Type checking failed.\n"), null);
});

Deno.test("the names of ignored tests are read", () => {
  assertEquals(readIgnored(OUTPUT), ["wrk drives it"]);
});
