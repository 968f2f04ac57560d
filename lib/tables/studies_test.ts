import { assert, assertEquals } from "@std/assert";
import type { ReadinessRow } from "../results/rows.ts";
import { call, storedOf } from "../testing/fixtures.ts";
import { table } from "../text/table.ts";
import { disturbedCalls, readinessColumns } from "./studies.ts";

const rowsOf = (): readonly ReadinessRow[] =>
  storedOf(call("select", 10, 1), call("select", 10_000, 700)).studies.readiness[0]!.rows;

Deno.test("at the width of a terminal each block of wait calls names call and descriptors", () => {
  const blocks = table(rowsOf(), readinessColumns(rowsOf()), 80).split("\n\n");
  assert(blocks.length > 1);
  for (const block of blocks) {
    for (const size of ["10", "10 000"]) {
      assert(block.split("\n").some((line) => line.startsWith("select") && line.includes(` ${size} `)), block);
    }
  }
});

Deno.test("wait calls that were measured while others used the machine are inconclusive, with the size and the share", () => {
  const [few, many] = rowsOf();
  assertEquals(disturbedCalls([few!, { ...many!, foreign_share: 0.1 }]), null);
  assertEquals(
    disturbedCalls([{ ...few!, foreign_share: 0.02 }, { ...many!, foreign_share: 0.45 }]),
    "Inconclusive at 10 000 descriptors: others used the machine, up to 45 % of its CPU time. Measure again on a quiet machine.",
  );
});
