import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "./catalogue.ts";
import { each, type Footprint, footprints } from "./footprint.ts";

const ignore = Deno.build.os !== "linux";

async function all(name: string, sizes: number[]): Promise<Footprint[]> {
  return await Array.fromAsync(footprints(find(name), sizes));
}

Deno.test({
  name: "a thread for each connection is seen as a thread for each connection, an event loop is not",
  ignore,
  fn: async () => {
    const threads = await all("thread-per-conn", [2, 6]), loop = await all("epoll", [2, 6]);
    assertEquals(threads.map(({ connections }) => connections), [2, 6]);
    assertEquals([each(threads, "threads"), each(loop, "threads")], [1, 0]);
    assert(each(threads, "address_bytes") > each(threads, "pss_bytes"), "more is promised than is there");
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

Deno.test("what one more takes is the difference over the connections between", () => {
  const at = (connections: number, bytes: number) => ({ connections, threads: 1, address_bytes: 9, pss_bytes: bytes });
  assertEquals(each([at(10, 1000), at(20, 7777), at(30, 1600)], "pss_bytes"), 30);
});
