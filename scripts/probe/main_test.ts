import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { type ProbeRow, PROBES } from "../../lib/probes/mod.ts";

const ROOT = new URL("../../", import.meta.url);
const { command } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT))).tasks.probe;

/** Runs the command with the permissions of its task. */
async function probe(...args: string[]) {
  const [, ...words] = (command as string).split(" ");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [words[0]!, "--no-prompt", ...words.slice(1), ...args],
    cwd: fileURLToPath(ROOT),
    env: { NO_COLOR: "1" },
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("--help names every probe, and an unknown one is a usage error that names the nearest", async () => {
  const help = await probe("--help");
  const text = help.stdout.replaceAll(/ *\n +/g, "\n").replaceAll(/\s+/g, " "); // long titles are wrapped
  for (const { name, title } of PROBES) assertStringIncludes(text, ` ${name} ${title}`);
  assertEquals(help.code, 0);
  const { code, stdout, stderr } = await probe("bcklog");
  assertEquals([code, stdout], [2, ""]);
  assertStringIncludes(stderr, "Unknown probe bcklog. Did you mean backlog?\nHelp: deno task probe --help");
});

Deno.test({
  name: "a probe runs with the permissions that its task names, and gives its rows as data",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const { code, stdout, stderr } = await probe("backlog", "--quick", "--json", "--no-save");
    assertEquals(code, 0, stderr);
    const rows: ProbeRow[] = JSON.parse(stdout);
    assertEquals(rows.map(({ probe, variant, metric }) => `${probe} ${variant} ${metric}`), [
      "backlog 128 completed",
      "backlog 4096 completed",
    ]);
    for (const { value, foreign_share: share } of rows) assert(value! > 100 && share! >= 0 && share! <= 1);
    assert(!stderr.includes("Stored"));
  },
});
