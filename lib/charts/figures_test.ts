import { assert, assertEquals, assertThrows } from "@std/assert";
import { catalogue } from "../catalogue/catalogue.ts";
import {
  FAN_OUT,
  fanOut,
  held,
  isOneRate,
  latencies,
  loads,
  memories,
  MEMORY,
  ratios,
  reached,
  waits,
} from "./figures.ts";
import { Histogram } from "../timing/histogram.ts";
import { hostFacts } from "../sampling/host.ts";
import type { FindingId } from "../results/findings.ts";
import { newResult, type Result } from "../results/results.ts";
import { userMemoryText } from "../tables/overview.ts";
import { NOISE_BYTES } from "../results/conventions.ts";
import { broadcastRuns, shown } from "../results/choose.ts";
import { comparisonRow as row, found, storedOf, swept } from "../testing/fixtures.ts";

const family = () => "readiness";
const run = (change: Partial<Omit<Result, "metrics">> & { metrics?: Partial<Result["metrics"]> }) =>
  newResult({
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    host: hostFacts(),
    findings: [],
    histogram: null,
    manifest: null,
    ended: "ok",
    reason: null,
    command: "deno task exp epoll",
    metrics: {},
    parameters: { connections: 100, seconds: 1, warmup_seconds: 1 },
    ...change,
  });

Deno.test("ratios stand in order with their intervals, and a server without one says why", () => {
  const rows = [
    row({ candidate: "go-net", ratio: 1.3, ratio_low: 1.2, ratio_high: 1.4 }),
    row(),
    row({ candidate: "blocking", ratio: null, ratio_low: null, ratio_high: null, reason: "blocking: no answer" }),
    row({ metric: "threads", ratio: 9 }),
  ];
  const { items, axis, reference } = ratios(rows, "cpu_us_per_request", "Cost", family);
  assertEquals([axis.label, reference], ["ratio to c-epoll", 1]);
  assertEquals(items.map(({ name, value, low, note }) => [name, value, low, note]), [
    ["epoll", 1.1, 1.05, undefined],
    ["go-net", 1.3, 1.2, undefined],
    ["blocking", null, undefined, "no answer"],
  ]);
});

Deno.test("a ratio of bounds is none, and what was the limit is said; what bounds a latency does not bound CPU", () => {
  const of = (metric: "cpu_us_per_request" | "p99_us", server: string, id: FindingId) =>
    ratios([row({ metric, findings: [found(server, id)] })], metric, "", family).items.map((
      { value, note },
    ) => [value, note]);
  assertEquals(of("p99_us", "c-epoll", "late_sends"), [[null, "the load generator was the limit"]]);
  assertEquals(of("p99_us", "epoll", "foreign_load"), [[null, "others used the machine"]]);
  assertEquals(of("p99_us", "epoll", "short_run"), [[1.1, undefined]]);
  assertEquals(of("cpu_us_per_request", "epoll", "client_bound"), [[1.1, undefined]]);
  assertEquals(of("cpu_us_per_request", "epoll", "steal"), [[null, "others used the machine"]]);
});

Deno.test("what is reached at one rate shows the reference too, bounds where findings make them, what is missing last", () => {
  const findings = [found("epoll", "client_bound")];
  const rate_per_s = 200;
  const none = {
    candidate: "blocking",
    candidate_value: null,
    rounds: 0,
    rate_per_s: null,
    reason: "blocking: silent",
  };
  const rows = (["requests_per_s", "p99_us"] as const).flatMap((metric) => [
    row({ metric, ...none }),
    row({ metric, reference_value: 90, candidate_value: 80, findings, rate_per_s }),
  ]);
  const of = (metric: "requests_per_s" | "p99_us") =>
    reached(rows, metric, "Reached", family).items.map(({ name, value, bound, note }) => [name, value, bound ?? note]);
  const missing = ["blocking", null, "silent"];
  assertEquals(of("requests_per_s"), [["c-epoll", 90, undefined], ["epoll", 80, "at least"], missing]);
  assertEquals(of("p99_us"), [["epoll", 80, "at most"], ["c-epoll", 90, undefined], missing]);
});

Deno.test("figures of pairs that were asked for different rates, or for none, are not ranked", () => {
  const of = (...rates: (number | null)[]) => rates.map((rate_per_s) => row({ metric: "p99_us", rate_per_s }));
  for (const rows of [of(100, 200), of(null), of(null, 100)]) {
    assert(!isOneRate(rows));
    assertThrows(() => reached(rows, "p99_us", "", family), RangeError, "draw their ratios");
  }
  assert(isOneRate(of(100, 100)));
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
    ["epoll", null, undefined, "−3 connections: no more than noise"], // a logarithmic axis has no place for it
    ["kqueue", null, undefined, "not measured"],
    ["select", null, undefined, "not known: FD_SETSIZE"],
  ]);
});

Deno.test("what a connection takes is that of the largest full run that has it, less than noise is a bound", () => {
  const runs = (name: string, ...all: [connections: number, bytes: number | null][]) =>
    all.map(([connections, user_bytes_per_conn]) =>
      run({ experiment: name, metrics: { connections, user_bytes_per_conn }, reason: "no more", ended: "limited" })
    );
  const results = [
    ...runs("select", [10, 5e6], [1000, 4096], [2000, null]),
    ...runs("epoll", [16_384, -5]),
    run({ experiment: "select", metrics: { connections: 9000, user_bytes_per_conn: 1 }, quick: true }),
  ];
  const all = shown(catalogue().filter(({ name }) => ["epoll", "select"].includes(name)), results);
  const { items } = held(all, "user_bytes_per_conn", MEMORY);
  assertEquals(items.map(({ name, value, bound }) => [name, value, bound]), [
    ["epoll", NOISE_BYTES / 16_384, "at most"],
    ["select", 4096, undefined],
  ]);
  assertEquals(all.map(userMemoryText), ["4 KiB", "≤ 128 B"]);
});

Deno.test("percentiles that stand on fewer than ten requests are not drawn", () => {
  const histogram = new Histogram();
  for (let us = 1; us <= 1000; us++) histogram.record(us);
  const { series } = latencies(
    [run({ scenario: "rate", histogram: histogram.toJSON() }), run({ reason: "skipped" })],
    "Latency",
  );
  assertEquals(series.map(({ name, note }) => [name, note]), [["epoll", undefined], ["epoll", "skipped"]]);
  assertEquals(series[0]!.points.map(({ x }) => x), [2, 4, 10, 20, 100]);
  assertEquals([series[0]!.points[0]!.value, series[0]!.points[0]!.bound], [500, undefined]);
  const late = run({ histogram: histogram.toJSON(), findings: [{ server: "epoll", id: "late_sends", sentence: "" }] });
  assert(latencies([late], "").series[0]!.points.every(({ bound }) => bound === "at most"));
});

Deno.test("each wait call is a line over the descriptors", () => {
  const wait = (call: "poll" | "epoll_wait", descriptors: number, wait_us: number) => ({
    call,
    descriptors,
    wait_us,
    wait_us_low: wait_us - 1,
    wait_us_high: wait_us + 1,
    turn_us: 9,
    turn_us_low: 8,
    turn_us_high: 10,
  });
  const { series } = waits([wait("poll", 10, 5), wait("epoll_wait", 10, 2), wait("poll", 100, 50)]);
  assertEquals(series.map(({ name, points }) => [name, points.map(({ x, value, low }) => [x, value, low])]), [
    ["poll", [[10, 5, 4], [100, 50, 49]]],
    ["epoll_wait", [[10, 2, 1]]],
  ]);
});

Deno.test("latency against load is a line of each server's ladder, by rate, and what the load bounded says so", () => {
  const { rows } = storedOf(swept("epoll", 10_000), swept("go-net", 40_000)).studies.sweep[0]!;
  const weak = rows.map((of) => of.rate_per_s === 40_000 ? { ...of, findings: [found("go-net", "client_bound")] } : of);
  const { series } = loads(weak.toReversed(), family);
  assertEquals(
    series.map(({ name, points }) => [name, points.map(({ x, value, bound }) => [x, value, bound ?? null])]),
    [
      ["go-net", [[4000, 1000, null], [20_000, 5000, null], [40_000, 10_000, "at most"]]],
      ["epoll", [[1000, 1000, null], [5000, 5000, null], [10_000, 10_000, null]]],
    ],
  );
});

Deno.test("broadcasts are lines by the number of listeners: of each the newest, without those beside slow ones", () => {
  const told = (experiment: string, connections: number, cpu: number | null, change: Partial<Result> = {}) => ({
    ...run({
      experiment,
      family: "push",
      scenario: "broadcast",
      metrics: { cpu_us_per_delivery: cpu, p99_us: 900, last_p50_us: 800 },
      parameters: { connections, seconds: 1, warmup_seconds: 1, rate_per_s: 10, message_bytes: 128 },
    }),
    ...change,
  });
  const slow = { parameters: { connections: 10, seconds: 1, warmup_seconds: 1, slow: 5 } };
  const results = [
    told("ws-epoll", 100, 5, { time: "2026-01-01T00:00:00.000Z" }),
    told("ws-epoll", 100, 4, { time: "2026-01-02T00:00:00.000Z" }),
    told("ws-epoll", 10, 9, { findings: [{ ...found("ws-epoll", "foreign_load"), sentence: "." }] }),
    told("ws-epoll", 10, 1, slow),
    told("ws-epoll", 1000, 1, { quick: true }),
    told("ws-go", 10, null, { ended: "limited", reason: "no CPU time" }),
  ];
  const runs = broadcastRuns([{ name: "ws-epoll" }, { name: "ws-go" }], results);
  const cost = fanOut(runs, FAN_OUT.cost);
  assertEquals(cost.series.map(({ name, points }) => [name, points]), [
    ["ws-epoll", [{ x: 10, value: 9 }, { x: 100, value: 4 }]],
    ["ws-go", [{ x: 10, value: null, note: "no CPU time" }]],
  ]);
  const asked = told("ws-threads", 10_000, 6), few = { ...asked, metrics: { ...asked.metrics, connections: 1651 } };
  assertEquals(fanOut([few], FAN_OUT.cost).series[0]!.points, [{ x: 1651, value: 6 }]); // where it held fewer, at these
  const last = fanOut(runs, FAN_OUT.last);
  assertEquals(last.series[0]!.points, [{ x: 10, value: 800, bound: "at most" }, { x: 100, value: 800 }]);
});

Deno.test("where the memory of the reference is within noise a chart shows the figures themselves, with their bounds", () => {
  const memory = { scenario: "hold", metric: "user_bytes_per_conn", connections: 10_000, ratio: 700 } as const;
  const rows = [row({ ...memory, candidate: "go-net", reference_value: 80, candidate_value: 7000 })];
  const { items, axis } = memories(rows, "Memory", () => "runtime");
  assertEquals(axis.unit, "bytes");
  assertEquals(items.map(({ name, value, bound }) => [name, Math.round(value!), bound]), [
    ["c-epoll", 210, "at most"],
    ["go-net", 7000, undefined],
  ]);
});
