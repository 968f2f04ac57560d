import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { filesIn, project, runTask } from "../../lib/testing/task.ts";

Deno.test({
  name: "a run compares its verdicts with those of this machine that were stored last, and names what differs",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const run = async (...args: string[]) => {
      const { stdout, stderr } = await runTask("faults", ["epoll", "--fault", "fragments", ...args], dir.path);
      return { rows: JSON.parse(stdout), stderr };
    };
    const first = await run("--json");
    assert(!first.stderr.includes("last run"), first.stderr);
    const files = filesIn(`${dir.path}/results`, ".json").filter((path) => path.includes("/studies/faults/"));
    assertEquals(files.length, 1);
    const study = JSON.parse(Deno.readTextFileSync(files[0]!));
    const { verdict } = first.rows[0];
    const other = verdict === "failed" ? "degraded" : "failed";
    Deno.writeTextFileSync(
      files[0]!,
      JSON.stringify({ ...study, rows: [{ ...study.rows[0], verdict: other, runs: [other], reason: "it was slow" }] }),
    );
    const second = await run("--json", "--no-save");
    const line = `  epoll, fragments: ${other} on ${study.time.slice(0, 16).replace("T", " ")}, now ${
      second.rows[0].verdict
    }`;
    assertStringIncludes(second.stderr, `1 of 1 verdict differs from the last run:\n${line}\n`);
  },
});
