import { assertEquals } from "@std/assert";
import { passes } from "./shares.ts";

const chosen = (requests: number, share: number, start?: number) =>
  Array.from({ length: requests }, (_, i) => i).filter((request) => passes(request, share, start));

Deno.test("a share of the requests is chosen, evenly spread", () => {
  assertEquals(chosen(20, 0.25), [3, 7, 11, 15, 19]);
  assertEquals(chosen(20, 0.25, 0.5), [1, 5, 9, 13, 17]);
  assertEquals([chosen(1000, 0.29).length, chosen(1000, 0).length, chosen(1000, 1).length], [290, 0, 1000]);
});
