/** Faults at a server around the kernel: the same clients do the same things to it. */
import { assert, assertEquals } from "@std/assert";
import { find } from "../../lib/catalogue/catalogue.ts";
import { networkObstacle } from "../../lib/network/namespaces.ts";
import { processTree } from "../../lib/sampling/process.ts";
import { settledCell } from "./cell.ts";
import { FAULTS } from "./faults.ts";
import { OF_SOCKETS } from "./wire.ts";

const SEED = 1;
const obstacle = await networkObstacle();
const { signal } = new AbortController();
const cell = (fault: string) => settledCell(find("xdp"), { id: fault }, SEED, signal);
const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: obstacle === null ? name : `${name} (${obstacle})`, ignore: obstacle !== null, fn });

const SURVIVED = ["fragments", "half-close", "half-open", "sigstop-sigcont", "disk-full"];
for (const fault of SURVIVED) {
  test(`xdp survives ${fault}, and no process of the cell's network is left`, async () => {
    const before = processTree(Deno.pid);
    const row = await cell(fault);
    assertEquals([row.verdict, row.reason, row.lost], ["survived", null, 0], JSON.stringify(row));
    assert(row.p99_ms_before !== null && row.p99_ms_after !== null, "the normal clients were answered");
    assertEquals(processTree(Deno.pid), before); // the namespaces live as long as these processes
  });
}

Deno.test("the faults of these tests are in the matrix", () => {
  const known = FAULTS.map(({ id }) => id);
  assertEquals([...SURVIVED, ...OF_SOCKETS].filter((id) => !known.includes(id)), []);
});

test("a fault that finds connections among the sockets of the kernel is skipped with the reason", async () => {
  for (const id of OF_SOCKETS) {
    const { verdict, reason } = await cell(id);
    assertEquals([verdict, reason], ["skipped", "its connections are not sockets of the kernel"]);
  }
});
