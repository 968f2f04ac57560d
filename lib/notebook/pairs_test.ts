import { assert, assertEquals } from "@std/assert";
import { chartConfig } from "../charts/config.ts";
import { compareLive, extremes, roundsChart, showManifests, sides, unequalIn, verdict, weakened } from "./pairs.ts";
import { found } from "../testing/fixtures.ts";
import { FINDING_SAYS, type Found } from "../results/findings.ts";
import { whyNoRatio } from "../tables/comparison.ts";
import { showing } from "../testing/jupyter.ts";
import type { ComparisonRow } from "../results/rows.ts";
import type { Manifest } from "../results/schema.ts";

const row = (rest: Partial<ComparisonRow>): ComparisonRow => ({
  scenario: "throughput",
  connections: 100,
  rate_per_s: null,
  heavy_us: null,
  reference: "epoll",
  candidate: "io-uring",
  metric: "cpu_us_per_request",
  reference_value: 10,
  candidate_value: 9,
  ratio: 0.9,
  ratio_low: null,
  ratio_high: null,
  rounds: 1,
  findings: [],
  reason: null,
  ...rest,
});
const judged = (ratio: number, low: number, high: number) =>
  row({ ratio, ratio_low: low, ratio_high: high, rounds: 9, candidate: `at ${ratio}` });

Deno.test("a verdict calls less or more only what the interval says", () => {
  assert(verdict(judged(0.9, 0.85, 0.95)).endsWith("0.900 [0.850, 0.950] × the CPU-µs/request of epoll: less"));
  assert(verdict(judged(1.2, 1.1, 1.3)).endsWith(": more"));
  assert(verdict(judged(0.99, 0.9, 1.1)).endsWith("no difference is shown: the interval contains 1"));
  assert(verdict(row({})).endsWith("in the median of 1 round: too few for an interval, a hint"));
  assert(verdict(row({ rounds: 3 })).includes("3 rounds"));
});

Deno.test("a verdict has no ratio where none was measured, or where the load generator was the limit", () => {
  assertEquals(
    verdict(row({ ratio: null, reason: "it needs gcc." })),
    "**io-uring** was not compared with epoll: it needs gcc.",
  );
  assertEquals(
    verdict(row({ metric: "p99_us", findings: [found("epoll", "client_bound")] })),
    "**io-uring**, p99: no ratio, for the load generator was the limit",
  );
});

Deno.test("candidates are sorted to a side by their intervals, and the extremes are shown by ratio", () => {
  const rows = [judged(1.2, 1.1, 1.3), judged(0.9, 0.8, 0.95), judged(1.01, 0.9, 1.1), row({ candidate: "few" })];
  const missing = row({ candidate: "none", ratio: null });
  assertEquals(sides([missing, ...rows, judged(0.8, 0.7, 0.9)]).split("\n"), [
    "- less: at 0.8, at 0.9",
    "- too few rounds to tell: few",
    "- no difference shown: at 1.01",
    "- more: at 1.2",
    "- not compared: none",
  ]);
  assertEquals(
    extremes([...rows, row({ metric: "p99_us", ratio: 0.1 })], "cpu_us_per_request"),
    "CPU-µs/request, against epoll: lowest **at 0.9** at 0.90 ×, highest **at 1.2** at 1.20 ×.",
  );
  assertEquals(extremes([], "cpu_us_per_request"), "There is no figure of CPU-µs/request.");
});

Deno.test("a ratio is inconclusive where others used the machine, and is shown all the same", () => {
  const disturbed = row({ candidate: "poll", ratio: 1.1, findings: [found("poll", "foreign_load")] });
  assertEquals(
    verdict(disturbed),
    `**poll**: 1.10 × the CPU-µs/request of ${disturbed.reference} in the median of 1 round, ` +
      "but others used the machine: inconclusive",
  );
  assertEquals(sides([disturbed]), "- inconclusive, for others used the machine: poll");
});

Deno.test("a ratio that says nothing is no extreme, and its reason is the one that it has", () => {
  const said = (server: string, ...ids: Found["id"][]) =>
    row({ candidate: "poll", ratio: 0.2, findings: ids.map((id) => found(server, id)) });
  const byLoad = said("poll", "client_bound");
  const disturbed = said("poll", "foreign_load");
  const shared = said("epoll", "shared_core");
  assertEquals(extremes([disturbed], "cpu_us_per_request"), "There is no figure of CPU-µs/request.");
  const fast = (of: ComparisonRow) => ({ ...of, metric: "requests_per_s" });
  assertEquals([byLoad, disturbed, shared].map(fast).map(whyNoRatio), [
    "the load generator was the limit",
    "others used the machine",
    "server and load generator shared a core",
  ]);
});

Deno.test("what weakens the figures is shown once with all servers that it concerns, and shortness is not", () => {
  const findings = [
    found("epoll", "foreign_load"),
    found("epoll", "short_run"),
    found("io-uring", "foreign_load"),
    found("io-uring", "client_bound"),
  ];
  assertEquals(weakened([row({ findings }), row({ findings })]), [
    `what weakens the figures of epoll and io-uring: ${FINDING_SAYS.foreign_load}`,
    `what weakens the figures of io-uring: ${FINDING_SAYS.client_bound}`,
  ]);
  assertEquals(weakened([row({ findings: [found("epoll", "short_run")] })]), []);
});

Deno.test("each round is a dot, a server without one is listed with the reason, and 1 lies within the chart", () => {
  const rounds = [{ candidate: "node-http", round: 1, ratio: 4 }, { candidate: "node-http", round: 2, ratio: 4.4 }];
  const out = [{ candidate: "go-net", reason: "go-net needs go." }];
  const spec = roundsChart(rounds, out, { title: "CPU", axis: "ratio to c-epoll", family: () => "runtime" });
  assertEquals(spec.items.map(({ name, value, note }) => [name, value, note ?? null]), [
    ["node-http, round 1", 4, null],
    ["node-http, round 2", 4.4, null],
    ["go-net", null, "go-net needs go."],
  ]);
  const { x } = chartConfig(spec, "light").options!.scales as { x: { min: number; max: number } };
  assert(x.min < 1 && x.max > 4.4, `${x.min} to ${x.max}`);
});

const manifest: Manifest = {
  version: "Deno 2",
  settings: "a",
  cannot: [],
  cpus: "0",
  processes: 1,
  threads: 6,
  backlog: 4096,
  nodelay: true,
  send_buffer_bytes: null,
  receive_buffer_bytes: null,
};

Deno.test("what is unequal between servers is named by its heading, and nothing else is", async () => {
  const other = { ...manifest, threads: 14, cannot: ["burn-cpu"], settings: "b" };
  assertEquals(unequalIn([["a", manifest], ["b", manifest]]), []);
  assertEquals(unequalIn([["a", manifest], ["b", other]]), ["threads", "cannot"]);
  const shown = await showing(() => showManifests([["a", manifest], ["b", other]]));
  assertEquals(shown.length, 2);
  assert(shown[0]!.data["text/markdown"]!.includes("| b | Deno 2 | 0 | 1 | 14 | 4 096 | yes | – | – | burn-cpu |"));
  assertEquals(shown[1]!.data["text/markdown"], "Not equal: threads, cannot.");
});

Deno.test({
  name: "what cannot run here is in the chart with its reason, in the same kinds of output",
  ignore: Deno.build.os !== "linux", // iocp runs elsewhere
  fn: async () => {
    const shown = await showing(() => compareLive("epoll", ["iocp"], { connections: 2, rounds: 1, title: "CPU" }));
    assertEquals(shown.map(({ data }) => Object.keys(data)), [
      ["image/png", "text/plain"],
      ["text/markdown", "text/plain"],
    ]);
    assert(shown[0]!.data["text/plain"]!.includes("iocp: iocp needs Windows"), shown[0]!.data["text/plain"]);
    assert(shown[1]!.data["text/markdown"]!.includes("**iocp** was not compared with epoll: iocp needs Windows"));
  },
});

Deno.test({
  name: "servers that push are compared by what a delivery costs",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const plan = { connections: 5, rounds: 1, title: "CPU", messagesPerS: 20 };
    const shown = await showing(() => compareLive("ws-epoll", ["ws-io-uring"], plan));
    const said = shown.at(-1)!.data["text/markdown"]!;
    assert(
      /^- \*\*ws-io-uring\*\*: \d+\.\d+ × the CPU-µs\/delivery of ws-epoll in the median of [12] rounds?/.test(said),
      said,
    );
  },
});
