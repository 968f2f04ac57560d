import { assert, assertEquals } from "@std/assert";
import { boundIn, FIGURES, loadPoints, remarks, remarksOf, shown, spoken, spokenLoad, spokenOf } from "./figures.ts";
import type { Frame } from "../../lib/run/watch.ts";

const FRAME: Frame = {
  elapsed_s: 1,
  wanted: { connections: 100, rate_per_s: null },
  connections: 100,
  requests_per_s: 48_213.4,
  p50_us: 633,
  p99_us: 12_700,
  cpu_percent: 33.3,
  cpu_us_per_request: 6.83,
  pss_bytes: 16.7 * 2 ** 20,
  threads: 6,
  processes: 1,
  open: null,
  latencies: [],
  findings: [],
  reason: null,
};
const BOUND: Frame = {
  ...FRAME,
  findings: [{ server: "epoll", id: "client_bound", sentence: "the generator is full" }],
};

const written = (frame: Frame) =>
  FIGURES.map((figure) => Object.values(shown(figure, frame)).filter((part) => part !== "").join(" "));

Deno.test("every figure is shown with its unit", () => {
  assertEquals(written(FRAME), ["100", "48 213 /s", "633 µs", "12.7 ms", "33 %", "6.8 µs", "16.7 MiB", "6"]);
});

Deno.test("where the load generator was the limit, throughput is a lower bound and latency an upper one", () => {
  const changed = written(BOUND).filter((text, i) => text !== written(FRAME)[i]);
  assertEquals(changed, ["≥ 48 213 /s", "≤ 633 µs", "≤ 12.7 ms", "≥ 33 %"]);
});

Deno.test("where it sent late, or was full as the server was, latency is an upper bound and throughput a figure", () => {
  for (const id of ["late_sends", "both_bound"] as const) {
    const frame = { ...FRAME, findings: [{ server: "epoll", id, sentence: "" }] };
    const changed = written(frame).filter((text, i) => text !== written(FRAME)[i]);
    assertEquals(changed, ["≤ 633 µs", "≤ 12.7 ms"], id);
    assertEquals(FIGURES.map((figure) => boundIn(figure, frame)).filter((bound) => bound !== null).length, 2);
  }
  const lost = { server: "epoll", id: "lost_connections", sentence: "" } as const;
  assertEquals(written({ ...FRAME, findings: [lost] }), written(FRAME));
});

Deno.test("what was not measured is a dash and no zero, nor a bound", () => {
  const none = { p50_us: null, p99_us: null, cpu_percent: null, cpu_us_per_request: null, pss_bytes: null };
  const frame = { ...BOUND, ...none, threads: null, processes: null };
  assertEquals(written(frame), ["100", "≥ 48 213 /s", "–", "–", "–", "–", "–", "–"]);
  assertEquals(spoken(FIGURES[2]!, [frame]), "p50 latency: not measured");
});

Deno.test("why the server falls short is shown before what weakens the figures, in whole sentences", () => {
  assertEquals(remarks({ ...BOUND, reason: "3 requests got no answer" }), [
    { id: "reason", text: "3 requests got no answer." },
    { id: "client_bound", text: "The generator is full." },
  ]);
  assertEquals(remarks({ ...FRAME, reason: "All connections were lost." })[0]!.text, "All connections were lost.");
  assertEquals(remarks(FRAME), []);
});

Deno.test("what was wanted stands below what is", () => {
  const wanted = { connections: 500, rate_per_s: 2000 };
  const details = FIGURES.map((figure) => figure.detail({ ...FRAME, wanted, processes: 3 }));
  assertEquals([details[0], details[1], details[7]], ["of 500 wanted", "of 2 000 /s that are due", "in 3 processes"]);
});

Deno.test("what the server counts itself stands beside what the load generator holds", () => {
  assertEquals(FIGURES[0]!.detail({ ...FRAME, open: 1 }), "all connected; server counts 1");
});

Deno.test("of two servers each remark and each chart names its own", () => {
  const names = ["epoll", "blocking"];
  const lost = { ...FRAME, reason: "3 requests got no answer" };
  assertEquals(remarksOf(names, [FRAME, lost]), [
    { id: "blocking reason", text: "blocking: 3 requests got no answer." },
  ]);
  assertEquals(remarksOf(["epoll"], [lost]), remarks(lost));
  const threads = FIGURES[7]!;
  assertEquals(
    spokenOf(threads, names, [[FRAME, { ...FRAME, threads: 9 }]]),
    "epoll: Threads of the last 1 s: from 6 to 6. blocking: Threads of the last 1 s: from 9 to 9",
  );
  assertEquals(spokenOf(threads, ["epoll"], [[FRAME]]), spoken(threads, [FRAME]));
});

Deno.test("a chart is described by the span of its values", () => {
  const frames = [10, 30, 20].map((threads, i) => ({ ...FRAME, threads, elapsed_s: 1.1 * i }));
  assertEquals(spoken(FIGURES[7]!, frames), "Threads of the last 4 s: from 10 to 30");
  assert(spoken(FIGURES[0]!, []).endsWith("not measured"));
});

Deno.test("latency against load has a dot for each second with as many connections as now, and its ends in words", () => {
  const at = (requests_per_s: number, p99_us: number | null, more: Partial<Frame> = {}) => ({
    ...FRAME,
    requests_per_s,
    p99_us,
    ...more,
  });
  const frames = [at(500, 300, { connections: 10 }), at(9000, 12_700), at(0, null), at(1000, 400), at(1000, null)];
  const points = loadPoints([...frames, { ...BOUND, p99_us: 20_000 }]);
  assertEquals(points.map(({ x, y, isBound }) => [x, y, isBound]), [
    [9000, 12_700, false],
    [1000, 400, false],
    [48_213.4, 20_000, true],
  ]);
  assertEquals(
    spokenLoad("epoll", points),
    "epoll: p99 400 µs at 1 000 requests/s, p99 20.0 ms at 48 213 requests/s",
  );
  assertEquals(spokenLoad("epoll", points.slice(0, 1)), "epoll: p99 12.7 ms at 9 000 requests/s");
  assertEquals(spokenLoad("epoll", loadPoints([])), "epoll: no latency yet");
});
