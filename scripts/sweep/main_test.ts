/** The command as it runs: at a server with a known capacity. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { EXIT } from "../../lib/cli/exit.ts";
import { bisected, type CapacityRatio, COMPARED_CLOSENESS, readSlo } from "../../lib/results/capacity.ts";
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
    const flags = ["--name", "serial", "--slo", "p99=1s", "--rates", "10,600", "--rounds", "1", "--seed", "3"];
    // In a shorter window the last answer, which a busy machine may hold up, makes too few answers a second of them all.
    const load = ["--connections", "10", "--seconds", "3", "--json"];
    const { code, stdout, stderr } = await runTask("sweep", [...flags, ...load, ...SERIAL], dir.path);
    assertEquals(code, 0, stderr);
    const rows: SweepRow[] = JSON.parse(stdout);
    const slo = readSlo("p99=1s");
    const { met, failed } = bisected(rows, slo).found.get(1)!;
    assert(met !== null && met >= 8 && met < 300, `${met}: ${stderr}`);
    assert(failed! <= Math.ceil(met * 1.06) + 1, `${met} meets and ${failed} does not`);
    const bisection = rows.filter(({ round }) => round === 1);
    assertEquals(bisection.map(({ over }) => over), bisection.map((_, i) => i === bisection.length - 1));
    assert(bisection.every(({ seed }) => seed === 3));
    assertMatch(stderr, /^Seed 3\.$/m);
    assertMatch(stderr, /^This takes (about \d+ min|under a minute)\.$/m);
    assertMatch(stderr, /^serial, round 1: .*; .* left$/m);
    const [path, ...others] = filesIn(dir.path, ".json");
    // One round has no interval: the sweep is no full one, and takes no place in the documents from one that is.
    assertEquals([JSON.parse(Deno.readTextFileSync(path!)).quick, others], [true, []]);
  },
});

Deno.test({
  name: "compare --scenario sweep bisects both servers, stores the rates, and gives no verdict by a single round",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const flags = ["--scenario", "sweep", "--slo", "p99=1s", "--rounds", "1", "--seed", "3"];
    // In a shorter window an answer that comes after its end weighs too much: on a busy machine no rate would be met.
    const load = ["--connections", "1", "--seconds", "1", "--quick", "--json"];
    const { code, stdout, stderr } = await runTask("compare", ["epoll", "poll", ...flags, ...load], dir.path);
    assertEquals(code, 0, stderr);
    const { rows, ratios }: { rows: SweepRow[]; ratios: CapacityRatio[] } = JSON.parse(stdout);
    const [{ candidate, ratio, rounds, verdict, reason }] = ratios as [CapacityRatio];
    assertEquals([candidate, rounds, verdict], ["poll", 1, "inconclusive"], stderr);
    assertEquals([ratio!.low, reason], [null, "too few rounds for an interval"]);
    assert(ratio!.estimate > 0.01 && ratio!.estimate < 100, `${ratio!.estimate}: ${stderr}`);
    const bisections = rows.filter(({ round }) => round === 1);
    assertEquals(new Set(bisections.map(({ server }) => server)), new Set(["epoll", "poll"]));
    assert(bisections.every(({ seed, closeness }) => seed === 3 && closeness === COMPARED_CLOSENESS));
    const [path, ...others] = filesIn(dir.path, ".json");
    const stored = JSON.parse(Deno.readTextFileSync(path!));
    assertEquals([stored.kind, stored.quick, stored.rows, others], ["sweep", true, rows, []]);
  },
});

Deno.test("flags of a sweep are refused elsewhere, and a comparison of capacities without an objective", async () => {
  using dir = project();
  for (
    const [task, args, sentence] of [
      ["compare", ["epoll", "poll", "--seed", "1"], "--seed belongs to --scenario sweep."],
      ["compare", ["epoll", "poll", "--scenario", "sweep"], "--scenario sweep needs an objective: --slo p99=5ms."],
      [
        "compare",
        ["epoll", "--scenario", "sweep", "--slo", "p99=5ms", "--slow", "9"],
        "--slow does not belong to sweep.",
      ],
      [
        "compare",
        ["epoll", "poll", "--scenario", "sweep", "--slo", "p99=5ms", "--bytes", "99"],
        "--bytes does not belong to sweep.",
      ],
      ["sweep", ["epoll", "--name", "mine"], "--name belongs to a server of your own"],
      ["sweep", ["epoll", "--pid", "7"], "--pid belongs to a server of your own"],
      ["sweep", ["epoll", "--seed", "1"], "--seed belongs to --slo."],
      ["sweep", ["epoll", "--slo", "p99=5ms", "--seed", "-1"], "--seed -1 is not a whole number from 0 to 4294967295."],
    ] as const
  ) {
    const { code, stderr } = await runTask(task, args, dir.path);
    assertEquals(code, EXIT.usage, stderr);
    assertStringIncludes(stderr, sentence);
  }
});
