import { assertEquals } from "@std/assert";
import { catalogue } from "./catalogue.ts";
import { held, latencies, ratios, reached, waits } from "./figures.ts";
import { Histogram } from "./histogram.ts";
import { hostFacts } from "./host.ts";
import { newResult, type Result } from "./results.ts";
import { shown } from "./tables.ts";
import { comparisonRow as row } from "./testing/rows.ts";

const family = () => "readiness";
const run = (change: Partial<Omit<Result, "metrics">> & { metrics?: Partial<Result["metrics"]> }) =>
  newResult({
    ...{ experiment: "epoll", family: "readiness", scenario: "hold", host: hostFacts(), findings: [], histogram: null },
    ...{ manifest: null, ended: "ok", reason: null, command: "deno task exp epoll", metrics: {} },
    parameters: { connections: 100, seconds: 1, warmup_seconds: 1 },
    ...change,
  });

Deno.test("ratios stand in order with their intervals, and who has none says why", () => {
  const rows = [
    row({ candidate: "go-net", ratio: 1.3, ratio_low: 1.2, ratio_high: 1.4 }),
    row(),
    row({ candidate: "blocking", ratio: null, ratio_low: null, ratio_high: null, reason: "no answer" }),
    row({ metric: "threads", ratio: 9 }),
  ];
  const { items, axis, reference } = ratios(rows, "cpu_us_per_request", "Cost", family);
  assertEquals([axis.label, reference], ["ratio to c-epoll", 1]);
  assertEquals(items.map(({ name, value, low, note }) => [name, value, low, note]), [
    ["epoll", 1.1, 1.05, undefined],
    ["go-net", 1.3, 1.2, undefined],
    ["blocking", null, null, "no answer"],
  ]);
});

Deno.test("what is reached shows the reference too, and bounds where the load generator was the limit", () => {
  const findings = ["epoll: client_bound"];
  const rows = [
    row({ metric: "requests_per_s", reference_value: 900, candidate_value: 800, findings }),
    row({ metric: "p99_us", reference_value: 90, candidate_value: 80, findings }),
  ];
  const of = (metric: "requests_per_s" | "p99_us") =>
    reached(rows, metric, "Reached", family).items.map(({ name, value, bound }) => [name, value, bound]);
  assertEquals(of("requests_per_s"), [["c-epoll", 900, undefined], ["epoll", 800, "at least"]]);
  assertEquals(of("p99_us"), [["epoll", 80, "at most"], ["c-epoll", 90, undefined]]);
});

Deno.test("what was held is a bound where all that was asked for was held; what was not measured is said", () => {
  const all = catalogue().filter(({ name }) => ["epoll", "select", "kqueue"].includes(name));
  const limited = { ended: "limited", reason: "FD_SETSIZE", experiment: "select" } as const;
  const results = [
    run({ metrics: { answered: 100, user_bytes_per_conn: -3 } }),
    run({ ...limited, metrics: { answered: 99 } }),
  ];
  const of = (metric: "answered" | "user_bytes_per_conn") =>
    held(shown(all, results), metric, { title: "", label: "", unit: "connections", scale: "log" }).items
      .map(({ name, value, bound, note }) => [name, value, bound, note]);
  assertEquals(of("answered"), [
    ["epoll", 100, "at least", undefined],
    ["select", 99, undefined, undefined],
    ["kqueue", null, undefined, "not measured"],
  ]);
  assertEquals(of("user_bytes_per_conn").toSorted(), [
    ["epoll", null, undefined, "-3 connections: no more than noise"], // a logarithmic axis has no place for it
    ["kqueue", null, undefined, "not measured"],
    ["select", null, undefined, "FD_SETSIZE"],
  ]);
});

Deno.test("percentiles that stand on fewer than ten requests are not drawn", () => {
  const histogram = new Histogram();
  for (let us = 1; us <= 1000; us++) histogram.record(us);
  const { series } = latencies([run({ scenario: "rate", histogram: histogram.toJSON() }), run({})], "Latency");
  assertEquals(series.map(({ name }) => name), ["epoll"]);
  assertEquals(series[0]!.points.map(({ x }) => x), [2, 4, 10, 20, 100]);
  assertEquals(series[0]!.points[0]!.value, 500);
});

Deno.test("each wait call is a line over the descriptors", () => {
  const wait = (call: "poll" | "epoll_wait", descriptors: number, wait_us: number) => ({
    ...{ call, descriptors, wait_us, wait_us_low: wait_us - 1, wait_us_high: wait_us + 1 },
    ...{ turn_us: 9, turn_us_low: 8, turn_us_high: 10 },
  });
  const { series } = waits([wait("poll", 10, 5), wait("epoll_wait", 10, 2), wait("poll", 100, 50)]);
  assertEquals(series.map(({ name, points }) => [name, points.map(({ x, value, low }) => [x, value, low])]), [
    ["poll", [[10, 5, 4], [100, 50, 49]]],
    ["epoll_wait", [[10, 2, 1]]],
  ]);
});
