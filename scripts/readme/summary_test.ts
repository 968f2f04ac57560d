import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { storedOf, swept } from "../../lib/testing/fixtures.ts";
import { loadChart } from "./summary.ts";

Deno.test("README.md shows latency against load where a sweep is stored, in few bytes", () => {
  const lines = loadChart(storedOf(swept("epoll", 10_000)));
  assertStringIncludes(lines[0]!, "](results/charts/load.png)");
  assertStringIncludes(lines[1]!, "](results/README.md#latency-against-load)");
  assert(lines.join("\n\n").length < 200);
  assertEquals(loadChart(storedOf()), []);
});
