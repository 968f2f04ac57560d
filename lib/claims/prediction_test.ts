import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { judgeCondition, judgePrediction, parseCondition } from "./prediction.ts";
import { HEAVY_US } from "../results/conventions.ts";
import type { Found } from "../results/findings.ts";
import { compared, comparisonRow, found, overWire, probed, run, storedOf } from "../testing/fixtures.ts";
import type { Stored } from "../results/stored.ts";

const judge = (text: string, stored: Stored, name = "epoll") => judgeCondition(parseCondition(text), name, stored);

Deno.test("a condition is parsed, and what is none is an error that quotes it", () => {
  assertEquals(parseCondition("hold(10000).answered >= 10000"), {
    text: "hold(10000).answered >= 10000",
    kind: "hold",
    at: "10000",
    metric: "answered",
    sign: ">=",
    right: { number: 10_000 },
  });
  assertEquals(parseCondition("throughput(100).cpu_us_per_request < 0.85 * event-loop").right, {
    factor: 0.85,
    server: "event-loop",
  });
  assertEquals(parseCondition("probe(system-calls).system_calls_per_request <= epoll").right, {
    factor: 1,
    server: "epoll",
  });
  for (
    const text of ["hold.answered > 1", "holds(1).answered > 1", "hold(1).answered = 1", "hold(many).answered > 1"]
  ) {
    assertThrows(() => parseCondition(text), Error, text);
  }
});

Deno.test("a number is compared with the newest full run", () => {
  const stored = storedOf(run("epoll", "hold", { connections: 20_000 }, { answered: 19_936, user_bytes_per_conn: 37 }));
  assertEquals(judge("hold(10000).answered >= 10000", stored).outcome, "held");
  const failed = judge("hold(20000).answered >= 20000", stored);
  assertEquals(failed.outcome, "failed");
  assertEquals(failed.because, "answered in hold(20000) was 19 936, at least 20 000 was expected");
  const bytes = judge("hold(10000).user_bytes_per_conn < 256", stored);
  assertEquals([bytes.outcome, bytes.because], [
    "held",
    "user_bytes_per_conn in hold(20000) was 37 B, under 256 B was expected",
  ]);
});

Deno.test("memory within the variation of a heap is an upper bound, below zero too", () => {
  const stored = storedOf(
    run("epoll", "hold", { connections: 10_000 }, { user_bytes_per_conn: -8, connections: 10_000 }),
  );
  const judged = judge("hold(10000).user_bytes_per_conn < 256", stored);
  assertEquals(
    [judged.outcome, judged.because],
    ["held", "user_bytes_per_conn in hold(10000) was ≤ 210 B, under 256 B was expected"],
  );
  assertEquals(judge("hold(10000).user_bytes_per_conn < 100", stored).outcome, "open");
});

Deno.test("accepted connections per second of an older result are its answered connections by the time that took", () => {
  const old = storedOf(run("epoll", "hold", { connections: 1000 }, { answered: 1000, connect_seconds: 10 }));
  const judged = judge("hold(1000).accepts_per_s <= 200", old);
  assertEquals(judged.outcome, "held");
  assertEquals(judged.because, "accepts_per_s in hold(1000) was 100, at most 200 was expected");
  const own = { answered: 1000, connect_seconds: 10, accepts_per_s: 400 };
  assertEquals(
    judge("hold(1000).accepts_per_s <= 200", storedOf(run("epoll", "hold", { connections: 1000 }, own))).outcome,
    "failed",
  );
  const none = storedOf(run("epoll", "hold", { connections: 1000 }, { connects_per_s: 9 }));
  assertEquals(judge("hold(1000).accepts_per_s <= 200", none).outcome, "open");
});

Deno.test("what was not measured is open, with the command that measures it", () => {
  const { outcome, because } = judge("throughput(100).cpu_us_per_request < 10", storedOf());
  assertEquals([outcome, because], [
    "open",
    "not measured yet (deno task exp epoll --scenario throughput --connections 100)",
  ]);
});

Deno.test("a bound decides in its own direction only", () => {
  const stored = storedOf(run("epoll", "throughput", { connections: 100 }, { requests_per_s: 90_000 }));
  const found = { server: "epoll", id: "client_bound", sentence: "" } as const;
  const bound = { ...stored, results: stored.results.map((result) => ({ ...result, findings: [found] })) };
  assertEquals(judge("throughput(100).requests_per_s > 80000", bound).outcome, "held");
  assertEquals(judge("throughput(100).requests_per_s > 95000", bound).outcome, "open");
  assertEquals(judge("throughput(100).requests_per_s < 80000", bound).outcome, "failed");
  assertEquals(judge("throughput(100).requests_per_s < 95000", bound).outcome, "open");
});

Deno.test("another server is compared with by the whole interval of a pair, whichever of the two was the reference", () => {
  const stored = storedOf();
  const row = comparisonRow({
    reference: "event-loop",
    candidate: "epoll",
    ratio: 0.5,
    ratio_low: 0.45,
    ratio_high: 0.6,
  });
  const study = { ...storedOf(probed("x", "y", "z", 1)).studies.probe[0]!, kind: "comparison" as const, rows: [row] };
  const paired: Stored = { ...stored, studies: { ...stored.studies, comparison: [study] } };
  const outcome = (text: string, name = "epoll") => judge(text, paired, name).outcome;
  assertEquals(outcome("throughput(100).cpu_us_per_request < 0.85 * event-loop"), "held");
  assertEquals(outcome("throughput(100).cpu_us_per_request < 0.5 * event-loop"), "open");
  assertEquals(outcome("throughput(100).cpu_us_per_request < 0.4 * event-loop"), "failed");
  assertEquals(outcome("throughput(100).cpu_us_per_request > 1.5 * epoll", "event-loop"), "held");
  assertEquals(outcome("throughput(1000).cpu_us_per_request < event-loop"), "open");
});

Deno.test("two servers that were compared with a third are compared by both intervals, unless they were directly", () => {
  const cost = ["throughput", 100, "cpu_us_per_request"] as const;
  const own = compared([...cost], ["epoll", "c-epoll"], [2, 1.9, 2.1]);
  const their = compared([...cost], ["event-loop", "c-epoll"], [4, 3.8, 4.2]);
  const less = "throughput(100).cpu_us_per_request < 0.6 * event-loop";
  assertEquals(judge(less, storedOf(own, their)).outcome, "held");
  assertStringIncludes(judge(less, storedOf(own, their)).because, "was 50 % of event-loop's [45 %, 55 %]");
  assertEquals(judge("throughput(100).cpu_us_per_request < 0.5 * event-loop", storedOf(own, their)).outcome, "open");
  assertEquals(judge(less, storedOf(own)).outcome, "open");
  const elsewhere = compared(["throughput", 1000, "cpu_us_per_request"], ["event-loop", "c-epoll"], [4, 3.8, 4.2]);
  assertEquals(judge(less, storedOf(own, elsewhere)).outcome, "open");
  const direct = compared([...cost], ["epoll", "event-loop"], [0.8, 0.7, 0.9]);
  assertEquals(judge(less, storedOf(own, their, direct)).outcome, "failed");
});

Deno.test("of heavy requests only those of the usual size decide a prediction", () => {
  const beside = (heavy_us: number, ratio: number) =>
    compared(["mixed", 100, "p99_us"], ["reactor-pool", "epoll"], [ratio, ratio * 0.9, ratio * 1.1], { heavy_us });
  const outcome = (stored: Stored) => judge("mixed(100).p99_us < 0.1 * epoll", stored, "reactor-pool").outcome;
  assertEquals(outcome(storedOf(beside(0, 1), beside(HEAVY_US, 0.02))), "held");
  assertEquals(outcome(storedOf(beside(0, 1))), "open");
});

Deno.test("variants of a probe are compared by both intervals", () => {
  const stored = storedOf(
    probed("system-calls", "io-uring", "system_calls_per_request", 0.242),
    probed("system-calls", "epoll", "system_calls_per_request", 2.013),
  );
  const { outcome, because } = judge("probe(system-calls).system_calls_per_request < 0.1 * epoll", stored, "io-uring");
  assertEquals(outcome, "failed");
  assertStringIncludes(because, "system_calls_per_request in probe(system-calls) was 12 % of epoll's");
  assertStringIncludes(because, "under 10 % was expected");
});

Deno.test("ten million connections are judged by their own command, and busy time of cores by a comparison over a wire", () => {
  const crowd = "probe(c10m).held >= 10_000_000";
  assertEquals(judge(crowd, storedOf(), "xdp").because, "not measured yet (deno task c10m)");
  const fewer = storedOf(probed("c10m", "1000000 connections", "held", 1_000_000));
  assertEquals(judge(crowd, fewer, "xdp").outcome, "open");
  const held = (value: number) =>
    storedOf(probed("c10m", "10000000 connections", "held", value), ({ rows }) => {
      Object.assign(rows.probe[0]!, { low: null, high: null }); // a count of one run
    });
  assertEquals(judge(crowd, held(10_000_000), "xdp").outcome, "held");
  assertEquals(judge(crowd, held(9_000_000), "xdp").outcome, "failed");
  const core = "throughput(100).core_us_per_request < 0.75 * c-epoll";
  const ratio = compared(["throughput", 100, "core_us_per_request"], ["xdp", "c-epoll"], [0.5, 0.4, 0.6]);
  assertEquals(judge(core, storedOf(overWire(ratio)), "xdp").outcome, "held");
  assertEquals(judge(core, storedOf(ratio), "xdp").outcome, "open");
});

Deno.test("a prediction fails with one of its conditions, and its sentence says which", () => {
  const stored = storedOf(
    run("epoll", "hold", { connections: 10_000 }, { answered: 10_000, user_bytes_per_conn: 300 }),
  );
  const expect = ["hold(10000).answered >= 10000", "hold(10000).user_bytes_per_conn < 256"];
  const failed = judgePrediction({ name: "epoll", expect }, stored)!;
  assertEquals(
    failed.sentence,
    "Prediction failed: user_bytes_per_conn in hold(10000) was 300 B, under 256 B was expected.",
  );
  assertEquals(judgePrediction({ name: "epoll", expect: expect.slice(0, 1) }, stored)!.outcome, "held");
  assertEquals(
    judgePrediction({ name: "epoll", expect: [...expect.slice(0, 1), "rate(100).p99_us < 5000"] }, stored)!.outcome,
    "open",
  );
  assertEquals(judgePrediction({ name: "epoll", expect: [] }, stored), null);
});

Deno.test("what others disturbed decides no prediction: neither a ratio of CPU time nor a run", () => {
  const cost = "throughput(100).cpu_us_per_request < 0.85 * event-loop";
  const ratio = (findings: Found[]) =>
    judge(
      cost,
      storedOf(
        compared(["throughput", 100, "cpu_us_per_request"], ["epoll", "event-loop"], [0.5, 0.4, 0.6], { findings }),
      ),
    );
  assertEquals(ratio([]).outcome, "held");
  assertEquals(ratio([found("event-loop", "foreign_load")]).outcome, "open");
  const own = storedOf(run("epoll", "throughput", { connections: 100 }, { cpu_us_per_request: 20 }));
  assertEquals(judge("throughput(100).cpu_us_per_request < 30", own).outcome, "held");
  own.results[0]!.findings.push({ ...found("epoll", "steal"), sentence: "." });
  assertEquals(
    judge("throughput(100).cpu_us_per_request < 30", own).because,
    "cpu_us_per_request in throughput(100) is inconclusive: others used the machine",
  );
});

Deno.test("a run in which others took CPU time decides nothing where there is an older one without them", () => {
  const cost = (us: number) => run("epoll", "throughput", { connections: 100 }, { cpu_us_per_request: us });
  const stored = storedOf(cost(20), cost(25), cost(50));
  const outcome = () => judge("throughput(100).cpu_us_per_request < 30", stored);
  assertEquals(outcome().outcome, "failed");
  stored.results[2]!.findings.push({ ...found("epoll", "foreign_load"), sentence: "." });
  assertEquals(outcome().because, "cpu_us_per_request in throughput(100) was 25, under 30 was expected");
});

Deno.test("a probe beside others decides no prediction by a figure of time", () => {
  const beside = (share: number) =>
    storedOf(probed("stats-line", "epoll", "cpu_us", 10), ({ rows }) => {
      Object.assign(rows.probe[0]!, { foreign_share: share });
    });
  const outcome = (share: number) => judge("probe(stats-line).cpu_us < 50", beside(share)).outcome;
  assertEquals([outcome(0.05), outcome(0.3)], ["held", "open"]);
});
