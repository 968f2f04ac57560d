import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { wholeCatalogue } from "../lib/catalogue/catalogue.ts";
import { obstacleTo } from "../lib/catalogue/tools.ts";

/** Runs the command with the permissions of its task. */
async function list(...args: string[]) {
  const script = fileURLToPath(new URL("list.ts", import.meta.url));
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--allow-read",
      "--allow-run",
      "--allow-ffi",
      "--allow-sys=osRelease",
      script,
      ...args,
    ],
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    env: { NO_COLOR: "1" },
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("every experiment is listed below its family or below the peers, and says whether it runs here", async () => {
  const { code, stdout } = await list();
  const blocks = stdout.trimEnd().split("\n\n").map((block) => block.split("\n"));
  const experiments = wholeCatalogue();
  for (const experiment of experiments) {
    const block = blocks.find(([heading]) => heading === (experiment.peer ? "peers" : experiment.family))!;
    const from = block.findIndex((line) => line.startsWith(`  ${experiment.name} `));
    const to = block.findIndex((line, i) => i > from && /^ {2}\S/.test(line));
    const said = block.slice(from, to < 0 ? undefined : to).map((line) => line.trim()).join(" ");
    const reason = await obstacleTo(experiment);
    assertStringIncludes(said, `${experiment.idea} ${reason === null ? "runs here" : `skipped: ${reason}`}`);
  }
  assertEquals(stdout.match(/^ {2}\S/gm)?.length, experiments.length);
  assert(stdout.split("\n").every((line) => line.length <= 80), "no line is longer than 80 characters");
  assertEquals(code, 0);
});

Deno.test("--json gives the headers as data", async () => {
  const { stdout } = await list("--json");
  const rows: { name: string; idea: string; runs_here: boolean; reason: string | null }[] = JSON.parse(stdout);
  assertEquals(rows.map(({ name, idea }) => [name, idea]), wholeCatalogue().map(({ name, idea }) => [name, idea]));
  for (const { runs_here, reason } of rows) assertEquals(runs_here, reason === null);
});

Deno.test("an unknown flag or a name is a usage error", async () => {
  for (const [word, sentence] of [["--jsn", "Unknown flag --jsn."], ["epoll", "Unexpected epoll"]] as const) {
    const { code, stdout, stderr } = await list(word);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, new RegExp(`^${sentence}.*\nHelp: deno task list --help`));
  }
});
