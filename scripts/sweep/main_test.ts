/** The command as it runs: at a server that bears a known rate. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { capacities, meets, readSlo } from "../../lib/results/capacity.ts";
import type { SweepRow } from "../../lib/results/rows.ts";
import { filesIn, project, runTask } from "../../lib/testing/task.ts";

/** It answers one request after the other, each after 5 ms: at most 200 in a second. */
const SERIAL = [
  ...["--", Deno.execPath(), "eval", "--no-lock"],
  `let last = Promise.resolve();
   Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, async () => {
     last = last.then(() => new Promise((resolve) => setTimeout(resolve, 5)));
     await last;
     return new Response("x");
   });`,
];

Deno.test({
  name: "a bisection at a real server ends between two close rates, and is stored with its answer",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const flags = ["--name", "serial", "--slo", "p99=1s", "--rates", "10,600", "--rounds", "1"];
    const load = ["--connections", "10", "--seconds", "0.5", "--quick", "--json"];
    const { code, stdout, stderr } = await runTask("sweep", [...flags, ...load, ...SERIAL], dir.path);
    assertEquals(code, 0, stderr);
    const rows: SweepRow[] = JSON.parse(stdout);
    const slo = readSlo("p99=1s");
    const [found] = capacities(rows, slo).values();
    assert(found !== undefined && found >= 8 && found < 300, `${found}: ${stderr}`);
    const bisection = rows.filter(({ round }) => round === 1);
    const failed = Math.min(...bisection.filter((row) => !meets(row, slo)).map((row) => row.rate_per_s));
    assert(failed <= Math.ceil(found * 1.06) + 1, `${found} meets and ${failed} does not`);
    assertMatch(stderr, /^This takes (about \d+ min|under a minute)\.$/m);
    assertMatch(stderr, /^serial, round 1: .*; .* left$/m);
    assertEquals(filesIn(dir.path, ".json").length, 1);
  },
});
