import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { installLine, isInstalled, missingTools, type Tool, TOOLS } from "./tools.ts";

const ABSENT: Tool = {
  command: "no-such-program-7f3a",
  package: "nothing",
  reason: "is never there",
  everywhere: true,
};
const PRESENT: Tool = { command: Deno.execPath(), package: "deno", reason: "runs this test", everywhere: true };

Deno.test("a program is installed if it can be started, whatever it answers", async () => {
  assert(await isInstalled(PRESENT.command));
  assertEquals(await isInstalled(ABSENT.command), false);
});

Deno.test("only what is not installed is missing, and only where it exists", async () => {
  const { everywhere: _, ...onLinuxOnly } = ABSENT;
  assertEquals(await missingTools([PRESENT, ABSENT]), [ABSENT]);
  assertEquals(await missingTools([onLinuxOnly]), Deno.build.os === "linux" ? [onLinuxOnly] : []);
});

Deno.test("the install line names every package once", () => {
  assertStringIncludes(installLine(TOOLS, "linux"), "apt-get install -y curl wrk util-linux procps strace");
  assertEquals(installLine([ABSENT], "darwin"), "brew install nothing");
  assertStringIncludes(installLine([ABSENT, PRESENT], "windows"), "nothing deno");
});

Deno.test("every program is listed once and says what it is good for", () => {
  assertEquals(new Set(TOOLS.map((tool) => tool.command)).size, TOOLS.length);
  for (const tool of TOOLS) assertMatch(tool.reason, /^[a-z].{10,70}[^.]$/);
});
