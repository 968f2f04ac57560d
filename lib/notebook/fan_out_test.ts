import { assertEquals, assertStringIncludes } from "@std/assert";
import { describeChart } from "../charts/config.ts";
import { FAN_OUT } from "../charts/figures.ts";
import type { Result } from "../results/results.ts";
import type { ComparisonRow } from "../results/rows.ts";
import { comparisonRow, run, storedOf, studyOf } from "../testing/fixtures.ts";
import { showing } from "../testing/jupyter.ts";
import { broadcastPairs, fanOutChart, firstToLast, pairsChart, showDeliveries } from "./fan_out.ts";

/** A broadcast that was asked for so many listeners and held so many of them. */
const broadcast = (name: string, asked: number, held: number, us: number): Result =>
  storedOf(run(name, "broadcast", { connections: asked }, {
    connections: held,
    cpu_us_per_delivery: us,
    last_p50_us: 1000 * us,
  })).results[0]!;
const family = () => "push";

Deno.test("with one number of listeners each server is a row, and says where it held fewer", () => {
  const runs = [broadcast("ws-threads", 10_000, 1651, 6.43), broadcast("ws-epoll", 10_000, 10_000, 5.22)];
  const cost = fanOutChart(runs, FAN_OUT.cost);
  assertEquals(
    describeChart(cost),
    "Server CPU per delivery, 10 000 listeners. ws-epoll: 5.22 µs. ws-threads, held 1 651: 6.43 µs.",
  );
  assertEquals(cost.kind === "lines" ? null : [cost.kind, cost.axis.scale], ["bars", "linear"]);
  const last = fanOutChart(runs, FAN_OUT.last);
  assertEquals(last.kind === "lines" ? null : [last.kind, last.axis.scale], ["dots", "log"]);
});

Deno.test("with several numbers of listeners each server is a line, at those that it held", () => {
  const sizes = [100, 1000, 10_000];
  const runs = [
    ...sizes.map((size) => broadcast("ws-threads", size, Math.min(size, 1651), 6)),
    ...sizes.map((size) => broadcast("ws-epoll", size, size, 5)),
  ];
  const chart = fanOutChart(runs, FAN_OUT.cost);
  const lines = chart.kind === "lines" ? chart.series.map(({ name, points }) => [name, points.map(({ x }) => x)]) : [];
  assertEquals(lines, [["ws-threads", [100, 1000, 1651]], ["ws-epoll", sizes]]);
  assertEquals(chart.kind === "lines" && chart.y.scale, "linear"); // it begins at zero
});

const pair = (candidate: string, connections: number, ratio: number | null, change: Partial<ComparisonRow> = {}) => {
  const rest = { scenario: "broadcast", reference: "ws-epoll", rate_per_s: 10, candidate, connections, ratio } as const;
  const bounds = ratio === null
    ? { ratio_low: null, ratio_high: null }
    : { ratio_low: ratio - 0.01, ratio_high: ratio + 0.01 };
  return ["cpu_us_per_delivery", "last_p50_us"].map((metric) =>
    comparisonRow({ ...rest, ...bounds, metric, ...change })
  );
};
const study = (day: number, ...rows: ComparisonRow[][]) =>
  studyOf("comparison", rows.flat(), { time: `2025-01-0${day}T12:00:00.000Z`, id: `0000000${day}` });

Deno.test("a server that has a ratio at a size is shown, whatever study it stands in; of several the newest that counts", () => {
  const disturbed = { findings: [{ server: "ws-deno", id: "steal" as const }] };
  const studies = [
    study(1, pair("ws-io-uring", 100, 0.95), pair("ws-io-uring", 10_000, 0.94), pair("ws-deno", 10_000, 1.25)),
    study(2, pair("ws-go", 10_000, 1.5), pair("ws-node", 10_000, 1.6), pair("ws-deno", 10_000, 2, disturbed)),
    study(3, pair("ws-epoll beside 100 slow", 10_000, 1, { slow: 100 }), pair("ws-go", 10_000, 3, { rounds: 2 })),
    study(4, pair("ws-bun", 10_000, 0.5, { rate_per_s: 100 })),
  ];
  const pairs = broadcastPairs(studies, "ws-epoll");
  assertEquals([...pairs.keys()], [100, 10_000]);
  assertEquals(
    describeChart(pairsChart(pairs, family)),
    "CPU of a delivery, in pairs. ws-io-uring, 100 listeners: 0.950 [0.940, 0.960]. " +
      "ws-io-uring, 10 000 listeners: 0.940 [0.930, 0.950]. ws-deno, 10 000 listeners: 1.250 [1.240, 1.260]. " +
      "ws-go, 10 000 listeners: 1.500 [1.490, 1.510]. ws-node, 10 000 listeners: 1.600 [1.590, 1.610].",
  );
  const one = broadcastPairs(studies.slice(1, 2), "ws-epoll");
  assertStringIncludes(
    describeChart(pairsChart(one, family)),
    "CPU of a delivery, in pairs, 10 000 listeners. ws-go: 1.5",
  );
});

Deno.test("who serves the last listener first is said by intervals", () => {
  const first = firstToLast([...pair("ws-go", 100, 1.9), ...pair("ws-io-uring", 100, 0.928)]);
  assertEquals(
    first,
    "The last listener has the message first with **ws-io-uring**: after 0.928 [0.918, 0.938] × the time of ws-epoll.",
  );
  assertEquals(
    firstToLast(pair("ws-go", 100, 1.9)),
    "With none of them the last listener is shown to have the message before that of ws-epoll; " +
      "the lowest is **ws-go**, after 1.900 [1.890, 1.910] × the time of ws-epoll.",
  );
  const late = { findings: [{ server: "ws-epoll", id: "late_sends" as const }] };
  assertEquals(
    firstToLast(pair("ws-go", 100, 1.9, late)),
    "When the last listener has the message: no ratio, for the load generator was the limit.",
  );
});

Deno.test("deliveries are one chart and one text, also where nothing is stored", async () => {
  const kinds = async (...studies: ReturnType<typeof study>[]) =>
    (await showing(() => showDeliveries(studies, "ws-epoll", family))).map(({ data }) => Object.keys(data)[0]);
  assertEquals(await kinds(), ["image/png", "text/markdown"]);
  assertEquals(await kinds(study(1, pair("ws-go", 1000, 1.5))), ["image/png", "text/markdown"]);
});
