import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import type { ChartSpec } from "../charts/config.ts";
import { introduce, Picture, show, showResults, showTable } from "./show.ts";
import { hostFacts } from "../sampling/host.ts";
import { newResult } from "../results/results.ts";
import { loaded, run, storedOf } from "../testing/fixtures.ts";
import { showing } from "../testing/jupyter.ts";
import { run as runNow, runLive, titleOf } from "./run.ts";
import { stored } from "./stored.ts";

const ignore = Deno.build.os !== "linux";
const spec = (value: number | null): ChartSpec => ({
  kind: "bars",
  title: "How many",
  axis: { label: "things", unit: "connections", scale: "linear" },
  items: [{ name: "epoll", family: "readiness", value, note: "nobody looked" }],
});
const isPng = (data: Record<string, string>) =>
  Buffer.from(data["image/png"]!, "base64").subarray(1, 4).toString() === "PNG";

Deno.test("a chart is a picture and the same in words", async () => {
  const [shown] = await showing(() => show(spec(null)));
  assert(isPng(shown!.data));
  assertEquals(shown!.data["text/plain"], "How many. epoll: nobody looked.");
});

Deno.test("a picture that is drawn again stays in its place", async () => {
  const picture = new Picture();
  const shown = await showing(async () => {
    for (const value of [1, 2, 3]) await picture.draw(spec(value));
  });
  assertEquals(shown.map(({ type }) => type), ["display_data", "update_display_data", "update_display_data"]);
  assertEquals(new Set(shown.map(({ id }) => id)).size, 1);
});

Deno.test("text is Markdown, and the same for those who see no Markdown", async () => {
  const rows = [{ name: "epoll" }];
  const columns = [{ heading: "name", cell: ({ name }: { name: string }) => name }];
  const [table] = await showing(() => showTable(rows, columns));
  assertEquals(table!.data["text/plain"], table!.data["text/markdown"]);
  const [introduction] = await showing(() => introduce("epoll"));
  assertStringIncludes(introduction!.data["text/markdown"]!, "*Prediction.* 10 000 connections");
});

Deno.test("results have no column without a figure, and tell what broke and what weakens them", async () => {
  const result = newResult({
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    host: hostFacts(),
    histogram: null,
    command: "",
    parameters: { connections: 20, seconds: 1, warmup_seconds: 0 },
    metrics: { answered: 7 },
    findings: [
      { server: "epoll", id: "short_run", sentence: "it was short" },
      { server: "epoll", id: "little", sentence: "it does not add up" },
    ],
    ended: "limited",
    reason: "no more",
  });
  const [shown] = await showing(() => showResults([result]));
  const [heading, , row, ...notes] = shown!.data["text/markdown"]!.split("\n");
  assertEquals([heading, row], ["|  | connections | answered |", "| epoll | 20 | 7 |"]);
  assertEquals(notes, ["", "- epoll: limited, no more", "- epoll: it does not add up"]);
});

Deno.test("connections are those that were held, with what was asked for where that was more", async () => {
  const { results } = storedOf(
    loaded("epoll", { connections: 19_936 }, 30_000),
    loaded("poll", { connections: 30_000 }, 30_000),
    run("kqueue", "churn", { connections: 100 }, { connections: 0 }),
  );
  const [shown] = await showing(() => showResults(results));
  assertEquals(shown!.data["text/markdown"]!.trimEnd().split("\n").slice(2), [
    "| epoll | 19 936 of 30 000 |",
    "| poll | 30 000 |",
    "| kqueue | 100 |",
  ]);
  const listeners = storedOf(
    run("ws-threads", "broadcast", { connections: 10_000, message_bytes: 128 }, { connections: 1651 }),
  );
  const [table] = await showing(() => showResults(listeners.results));
  assertStringIncludes(table!.data["text/markdown"]!, "| ws-threads | 1 651 of 10 000 |");
});

Deno.test("a live chart names the connections that are held", () => {
  const wanted = { connections: 30_000, rate_per_s: null };
  assertEquals(titleOf("epoll", { connections: 19_936, wanted }), "epoll, 19 936 of 30 000 connections");
  assertEquals(titleOf("epoll", { connections: 30_000, wanted }), "epoll, 30 000 connections");
});

Deno.test("results tell the rate that was asked for, mark a latency that is a bound, and say who fell behind", async () => {
  const result = (requests_per_s: number, ...ids: ("late_sends" | "short_run")[]) =>
    newResult({
      experiment: "epoll",
      family: "readiness",
      scenario: "mixed",
      host: hostFacts(),
      histogram: null,
      command: "",
      parameters: { connections: 20, seconds: 1, warmup_seconds: 0, rate_per_s: 1000 },
      metrics: { requests_per_s, p99_us: 5000 },
      findings: ids.map((id) => ({ server: "epoll", id, sentence: "it was weak" })),
      ended: "ok" as const,
      reason: null,
    });
  const [shown] = await showing(() => showResults([result(600, "short_run"), result(990), result(600, "late_sends")]));
  assertEquals(shown!.data["text/markdown"]!.split("\n"), [
    "|  | connections | asked/s | requests/s | p99 |",
    "| :-- | --: | --: | --: | --: |",
    "| epoll | 20 | 1 000 | 600 | 5.0 ms |",
    "| epoll | 20 | 1 000 | 990 | 5.0 ms |",
    "| epoll | 20 | 1 000 | 600 | ≤ 5.0 ms |",
    "",
    "- epoll: 1 000 requests/s were due and 600 were answered: it falls behind, and what is due waits",
    "- epoll: it was weak", // whose fault it is that the third fell behind, nobody knows
  ]);
});

Deno.test({
  name: "a live run draws one picture again for each frame, and says last what it came to",
  ignore,
  fn: async () => {
    const shown = await showing(() => runLive("epoll", { connections: 3, ratePerS: 50, seconds: 1 }));
    assertEquals(shown.map(({ type }) => type), ["display_data", "update_display_data", "display_data"]);
    assert(isPng(shown[1]!.data));
    assertStringIncludes(shown[0]!.data["text/plain"]!, "epoll, 3 connections. epoll: ");
    assertStringIncludes(shown[2]!.data["text/markdown"]!, "epoll: p99");
  },
});

Deno.test({
  name: "a live run of what cannot run here shows a picture too, and the reason",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const shown = await showing(async () => {
      assertEquals(await runLive("iocp", { connections: 1, ratePerS: null, seconds: 1 }), []);
    });
    assertEquals(shown.map(({ type }) => type), ["display_data", "display_data"]);
    assertStringIncludes(shown[0]!.data["text/plain"]!, "iocp: skipped");
    assertStringIncludes(shown[1]!.data["text/markdown"]!, "iocp needs Windows");
  },
});

Deno.test({
  name: "one run shows its line, and what cannot run is a result too",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const [shown] = await showing(async () =>
      assertEquals((await runNow("iocp", "hold", { connections: 1 })).ended, "skipped")
    );
    assertStringIncludes(shown!.data["text/markdown"]!, "iocp: skipped, iocp needs Windows");
  },
});

Deno.test("what is stored is found from any folder, with the family of each name", async () => {
  const { all, results, family } = await stored();
  assert(results.length > 0 && all.some(({ hold }) => hold !== undefined));
  assertEquals([family("epoll"), family("mine")], ["readiness", "custom"]);
});
