import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
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
