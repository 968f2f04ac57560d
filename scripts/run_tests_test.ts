import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { UsageError } from "../lib/cli/errors.ts";
import { folder } from "../lib/testing/folder.ts";
import { readFailed, readFlags, readIgnored, readSummary, split } from "./run_tests.ts";

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

Deno.test("each failed test is named once at the end, with its place and the first line of its error", () => {
  const failures = "\n\x1b[0m\x1b[1m\x1b[37m\x1b[41m ERRORS \x1b[0m\n\n" +
    "a server holds \x1b[0m\x1b[38;5;245m=> ./lib/a_test.ts:3:6\x1b[0m\n" +
    "\x1b[0m\x1b[1m\x1b[31merror\x1b[0m: AssertionError: 1 is not 2\n    at file:///lib/a_test.ts:4:3\n\n" +
    "it ends \x1b[0m\x1b[38;5;245m=> ./lib/b_test.ts:9:6\x1b[0m\nLeaks detected:\n  - A timer\n\n" +
    " FAILURES \n\na server holds \x1b[0m\x1b[38;5;245m=> ./lib/a_test.ts:3:6\x1b[0m\n" +
    "it ends \x1b[0m\x1b[38;5;245m=> ./lib/b_test.ts:9:6\x1b[0m\n\n";
  assertEquals(readFailed(OUTPUT + failures), [
    "a server holds (lib/a_test.ts:3:6): AssertionError: 1 is not 2",
    "it ends (lib/b_test.ts:9:6): Leaks detected:",
  ]);
  assertEquals(readFailed(OUTPUT), []);
});

Deno.test("the last lines of a run name what failed", async () => {
  using dir = folder();
  const path = `${dir.path}/breaks_test.ts`;
  Deno.writeTextFileSync(path, 'Deno.test("it breaks", () => { throw new Error("by design"); });\n');
  const { code, stdout } = await runTests(path);
  assertEquals(code, 1);
  assertMatch(stdout, /^Failed: it breaks \(.*breaks_test\.ts:1:6\): Error: by design\n0 passed, 1 failed$/m);
});

/** The command, with the permissions of its task. */
async function runTests(...args: string[]) {
  const cwd = new URL("../", import.meta.url);
  const { command } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", cwd))).tasks.test;
  const words = [...command.split(" ").slice(1), ...args];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: words, cwd: fileURLToPath(cwd) })
    .output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("help goes to standard output; an unknown flag or file is a usage error, and no test runs", async () => {
  const { code, stdout } = await runTests("--jsr", "--help");
  assertEquals(code, 0);
  assertMatch(stdout, /^Usage: deno task test /);
  for (
    const [word, sentence] of [["--fliter", "Unknown flag --fliter."], [
      "lib/no.ts",
      "There is no file or folder lib/no.ts.",
    ]]
  ) {
    const { code, stdout, stderr } = await runTests(word!);
    assertEquals([code, stdout, stderr.split("\n")[0]], [2, "", sentence]);
  }
});

Deno.test("with all that takes long each file is tested once, and those of the contract in both halves", () => {
  const parts = split(readFlags(["--require-all"]));
  const filesOf = (half: string | undefined) =>
    parts.filter(([, own]) => own[0] === half).flatMap(([files]) => files).toSorted();
  assertEquals(filesOf("--peers"), filesOf("--own"));
  assert(filesOf("--peers").length === 6, filesOf("--peers").join());
  const rest = filesOf(undefined);
  assertEquals(new Set(rest).size, rest.length);
  assert(rest.includes("scripts/run_tests_test.ts") && rest.includes("scripts/exit_test.ts"));
});

Deno.test("what chooses experiments, cases and seed is passed on to the tests of the contract", () => {
  const partsOf = (...args: string[]) => split(readFlags(args));
  const chosen = partsOf("--only", "kqueue,epoll", "--fuzz", "5", "--seed", "-7");
  assertEquals(new Set(chosen.flatMap(([, own]) => own)), new Set(["--only=kqueue,epoll", "--fuzz=5", "--seed=-7"]));
  for (const [files] of chosen) assertMatch(files.join(), /^experiments\/[a-z_]+_test\.ts$/);
  assertEquals(new Set(partsOf("--peers").flatMap(([, own]) => own)), new Set(["--peers"]));
  // Without a choice all tests are run, and those of the contract get the number and the seed in both halves.
  const all = partsOf("--fuzz=5", "--seed=7");
  const ofContract = all.filter(([, own]) => own.includes("--own") || own.includes("--peers"));
  assert(ofContract.length > 1 && all.length > ofContract.length);
  for (const [, own] of ofContract) assertEquals(own.slice(1), ["--fuzz=5", "--seed=7"]);
  assertThrows(() => readFlags(["--own", "--peers"]), UsageError, "leave both out");
  assertThrows(() => readFlags(["--fuzz", "0"]), UsageError, "--fuzz 0");
  assertThrows(() => readFlags(["--only", "epol"]), UsageError, "Did you mean epoll?");
});
