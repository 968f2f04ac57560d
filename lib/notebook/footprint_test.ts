import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { type Footprint, footprints, slope } from "./footprint.ts";

const ignore = Deno.build.os !== "linux";

async function all(name: string, sizes: number[]): Promise<Footprint[]> {
  return await Array.fromAsync(footprints(find(name), sizes));
}

Deno.test({
  name: "a thread for each connection is seen as a thread for each connection, an event loop is not",
  ignore,
  fn: async () => {
    const threads = await all("thread-per-conn", [2, 6]);
    const loop = await all("epoll", [2, 6]);
    assertEquals(threads.map(({ connections }) => connections), [2, 6]);
    assertEquals([slope(threads, "threads"), slope(loop, "threads")], [1, 0]);
    assert(slope(threads, "address_bytes")! > slope(threads, "pss_bytes")!, "more is promised than is there");
    assert(threads.every(({ pss_bytes, address_bytes }) => 0 < pss_bytes && pss_bytes < address_bytes));
  },
});

Deno.test({
  name: "a server that answers fewer than asked for ends the climb with both numbers",
  ignore,
  fn: async () => {
    await assertRejects(() => all("blocking", [1, 3]), Error, "of 3 connections only 1 were answered");
  },
});

Deno.test({
  name: "of a server of several processes the addresses are those of all, as its memory is",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const [few, many] = await all("process-per-conn", [1, 5]);
    // Two or three processes have become four more: of the root alone the addresses would be the same.
    assert(many!.address_bytes > 2 * few!.address_bytes, `${few!.address_bytes}, then ${many!.address_bytes}`);
  },
});

Deno.test("what one more takes is the difference over the connections between, and unknown where an end is", () => {
  const at = (connections: number, bytes: number | null) => ({ connections, bytes });
  assertEquals(slope([at(10, 1000), at(20, 7777), at(30, 1600)], "bytes"), 30);
  assertEquals(slope([at(10, 1000), at(30, null)], "bytes"), null);
  assertEquals(slope([at(10, 1000)], "bytes"), null);
  assertEquals(slope([], "bytes"), null);
});
