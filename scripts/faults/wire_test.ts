/** Faults at a server around the kernel: the same clients do the same things to it. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { find } from "../../lib/catalogue/catalogue.ts";
import { networkObstacle } from "../../lib/network/namespaces.ts";
import { namespaces } from "../../lib/testing/traces.ts";
import { measureCell } from "./cell.ts";
import { OF_SOCKETS } from "./wire.ts";
import { FAULTS } from "./faults.ts";

const SEED = 1;
const obstacle = await networkObstacle();
const { signal } = new AbortController();
const cell = (fault: string) => measureCell(find("xdp"), { id: fault }, SEED, signal);
const name = "xdp answers all that it owes";
const test = (fault: string, isRight: (row: Awaited<ReturnType<typeof cell>>) => void) =>
  Deno.test({
    name: `${name} under ${fault}${obstacle === null ? "" : ` (${obstacle})`}`,
    ignore: obstacle !== null,
    fn: async () => isRight(await cell(fault)),
  });

for (const fault of ["fragments", "half-close", "half-open", "sigstop-sigcont", "descriptors-exhausted"]) {
  test(fault, (row) => {
    assertEquals([row.verdict, row.reason, row.lost], ["survived", null, 0], JSON.stringify(row));
    assert(row.p99_ms_before !== null && row.p99_ms_after !== null, "the normal clients were answered");
  });
}

Deno.test({
  name: "a fault that finds connections among the sockets of the kernel is skipped with the reason",
  ignore: obstacle !== null,
  fn: async () => {
    for (const fault of OF_SOCKETS) {
      assert(FAULTS.some(({ id }) => id === fault), fault);
      const { verdict, reason } = await cell(fault);
      assertEquals(verdict, "skipped");
      assertMatch(reason!, /^its connections are no sockets of the kernel$/);
    }
  },
});

Deno.test({
  name: "nothing of a cell's network is left behind it",
  ignore: obstacle !== null,
  fn: async () => {
    const before = (await namespaces("self"))[0];
    await cell("rst-storm");
    assertEquals(await namespaces("thread-self"), [before]);
  },
});
