/**
 * What compare says before it measures.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { find } from "../lib/catalogue/catalogue.ts";
import { obstacleTo } from "../lib/catalogue/tools.ts";
import { atMost, usualSeconds } from "../lib/results/duration.ts";
import { project, runTask } from "../lib/testing/task.ts";

const ABSENT = await obstacleTo(find("kqueue")) === null ? "iocp" : "kqueue"; // one of the two runs elsewhere only

Deno.test("a comparison says at its start how long all of it takes at most", async () => {
  using dir = project();
  const mixed = ["--scenario", "mixed", "--rate", "200", "--work", "0,5000"];
  const cases: [args: string[], time: string][] = [
    [[], atMost(usualSeconds("throughput"))],
    [mixed, atMost(2 * usualSeconds("mixed"))],
    [["--connections", "100,200", "--rounds", "1"], atMost(62)],
  ];
  for (const [args, time] of cases) {
    const { code, stderr } = await runTask("compare", ["event-loop", ABSENT, ...args, "--no-save"], dir.path);
    assertEquals(code, 69, stderr); // it cannot run here, so that nothing is measured
    assertStringIncludes(stderr, `This takes ${time}; up to 100 % more where others disturb it.\n`);
  }
});
