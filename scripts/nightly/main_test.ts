import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { EXIT } from "../../lib/cli/exit.ts";
import { ROUND, TAKES } from "../../lib/regress/command.ts";
import type { RegressionRecord } from "../../lib/regress/record.ts";
import { filesIn, project, runTask } from "../../lib/testing/task.ts";
import { UNDECIDED_NIGHTS } from "./undecided.ts";

Deno.test("the guide names the numbers by which the command works", () => {
  const guide = Deno.readTextFileSync(new URL("README.md", import.meta.url)).replaceAll(/\s+/g, " ");
  assertStringIncludes(guide, `It takes ${TAKES}; it counts its ${ROUND.rounds} rounds.`);
  assertStringIncludes(guide, `After ${UNDECIDED_NIGHTS} of them in a row`);
});

Deno.test("what cannot be understood ends with 2 and a sentence, before anything is measured", async () => {
  using dir = project();
  const cases: [string[], string][] = [
    [["--experiments", "event-lop"], "Did you mean event-loop?"],
    [["--experiments", "c-epoll"], "c-epoll is the reference: leave it out."],
    [["--experiments", "select,select"], "Name each experiment once."],
    [["select"], "Unexpected select: --experiments takes the names."],
    [["--quick"], "Unknown flag --quick."],
    [["--name", "my-api"], "--name belongs to a server of your own"],
    [["--name", "my-api", "--experiments", "select", "--", "node", "x.js"], "not both"],
  ];
  for (const [args, sentence] of cases) {
    const { code, stdout, stderr } = await runTask("nightly", args, dir.path);
    assertEquals([code, stdout], [EXIT.usage, ""], sentence);
    assertStringIncludes(stderr, sentence);
  }
  assertEquals([...Deno.readDirSync(join(dir.path, "results"))], []);
});

Deno.test({
  name: "where nothing can be stored the night ends with 70 and a sentence, and reports no verdict",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const results = join(dir.path, "results");
    const output = join(dir.path, "output");
    Deno.removeSync(results);
    Deno.writeTextFileSync(results, "in the way");
    const { code, stdout, stderr } = await runTask("nightly", ["--experiments", "poll", "--json"], dir.path, {
      GITHUB_OUTPUT: output,
    });
    assertEquals([code, stdout], [EXIT.harness, ""], stderr);
    assertMatch(stderr, /^Cannot store\s.*results/m);
    assertEquals([...Deno.readDirSync(dir.path)].map(({ name }) => name), ["results"]);
  },
});

Deno.test({
  name: "a night in which nothing can run ends with 69, prints the record, and hands it on to the job",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const env = {
      GITHUB_ACTIONS: "true",
      GITHUB_OUTPUT: join(dir.path, "output"),
      GITHUB_STEP_SUMMARY: join(dir.path, "summary"),
    };
    const { code, stdout, stderr } = await runTask("nightly", ["--experiments", "kqueue", "--json"], dir.path, env);
    assertEquals(code, EXIT.unavailable, stderr);
    const record: RegressionRecord = JSON.parse(stdout);
    assertEquals(record.experiments.map(({ experiment, verdict }) => [experiment, verdict]), [["kqueue", "skipped"]]);
    assertEquals([record.exit, record.command], [69, "deno task nightly --experiments kqueue --json"]);
    assert(!(stderr + stdout).includes("--update-baseline"), stderr); // a flag of regress
    assertMatch(stderr, /^::error::Nothing was judged: no experiment runs here\.$/m);
    assertEquals(Deno.readTextFileSync(env.GITHUB_OUTPUT), `night=${JSON.stringify(record)}\n`);
    assertMatch(Deno.readTextFileSync(env.GITHUB_STEP_SUMMARY), /^## Nothing was judged: no experiment runs here\.\n/);
    assertEquals(filesIn(join(dir.path, "results"), "baseline.json"), []);
  },
});
