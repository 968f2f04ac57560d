import { assertEquals, assertStringIncludes } from "@std/assert";
import { FINDING_SAYS } from "../results/findings.ts";
import { describeChart } from "../charts/config.ts";
import { found, type Piece, storedOf, swept } from "../testing/fixtures.ts";
import { showing } from "../testing/jupyter.ts";
import { loadsShown, showLoads } from "./sweep.ts";

Deno.test("latency against load is drawn for each server, with what it bears; where nothing is stored both say so", async () => {
  const { studies } = storedOf(swept("epoll", 10_000), swept("go-net", 40_000));
  const ladder = studies.sweep[0]!.rows.filter(({ server, round }) => server === "go-net" && round === 0);
  ladder[0]!.findings.push(found("go-net", "late_sends"));
  const { chart, text } = loadsShown(studies.sweep[0], () => "readiness");
  assertEquals(chart.series.map(({ name }) => name), ["epoll", "go-net"]);
  assertEquals(chart.series[0]!.points.map(({ x }) => x), [1000, 5000, 10_000]);
  assertStringIncludes(
    text,
    "go-net 20 396 [20 000 to 20 800]; epoll 5 099 [5 000 to 5 200]",
  );
  assertStringIncludes(text, `At some rates of go-net: ${FINDING_SAYS.late_sends}.`);
  assertEquals(/late_sends/.test(text), false);
  const none = loadsShown(undefined, () => "custom");
  assertStringIncludes(describeChart(none.chart), "go-net: not measured yet");
  assertStringIncludes(
    none.text,
    "Not measured yet on this machine: `deno task sweep ",
  );
  const kinds = async (...pieces: Piece[]) =>
    (await showing(() => showLoads(storedOf(...pieces)))).map((
      { type, data },
    ) => `${type} ${Object.keys(data)[0]}`);
  assertEquals(await kinds(), await kinds(swept("epoll", 10_000)));
});
