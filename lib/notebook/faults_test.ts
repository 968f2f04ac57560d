import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { showing } from "../testing/jupyter.ts";
import { faultsLive, showFaults } from "./faults.ts";

const ignore = Deno.build.os !== "linux";
const textOf = ({ data }: { data: Record<string, string> }) => data["text/plain"]!;

Deno.test("a fault at a server is a chart and a row, and nothing is stored", { ignore }, async () => {
  let rows: Awaited<ReturnType<typeof faultsLive>> = [];
  const shown = await showing(async () => rows = await faultsLive(["epoll"], ["fragments"]));
  assertEquals(shown.length, 2);
  assertMatch(textOf(shown[0]!), /^p99 of normal clients meanwhile: fragments\. epoll: /);
  assertStringIncludes(textOf(shown[1]!), `| epoll | fragments | ${rows[0]!.verdict} |`);
});

Deno.test("what cannot be done says why, in the same kind of output", { ignore }, async () => {
  const shown = await showing(() => faultsLive(["epoll"], ["no-such-fault"]));
  assertMatch(textOf(shown[0]!), /^Skipped: .*no-such-fault/);
});

Deno.test("the stored matrix and the soaks are two texts, also where nothing is stored", async () => {
  const shown = await showing(showFaults);
  const [matrix, soaks] = shown.slice(-2).map(textOf);
  assertMatch(matrix!, /deno task faults --all|servers? under \d+ faults?/);
  assertMatch(soaks!, /deno task soak|quantity/);
});
