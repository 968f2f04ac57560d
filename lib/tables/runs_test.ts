import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { hostFacts } from "../sampling/host.ts";
import { newResult, type Result, type Run } from "../results/results.ts";
import { conclude, describe, label, serverCost } from "./runs.ts";
import { run, storedOf } from "../testing/fixtures.ts";

const host = hostFacts();

function result(run: Partial<Run>): Result {
  return newResult({
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    host,
    histogram: null,
    findings: [],
    command: "",
    parameters: { connections: 10_000, seconds: 1, warmup_seconds: 0 },
    metrics: {},
    ended: "ok",
    reason: null,
    ...run,
  });
}

Deno.test("what was not measured is shown as missing, never as zero", () => {
  const row = describe([result({ metrics: { answered: 10_000 } })], 200).split("\n").at(-1)!;
  assertMatch(row, /^hold +10 000 +10 000 +– +– +– +– +– +– +– +– +– +– +ok$/);
});

Deno.test("a step that broke is named below the table with its reason", () => {
  const text = describe([result({ ended: "limited", reason: "stopped at 1 900 of 10 000: memory" })]);
  assertStringIncludes(text, "Failures and limits\n  hold 10 000: limited, stopped at 1 900 of 10 000: memory");
  assert(!describe([result({})]).includes("What broke"));
});

Deno.test("a throughput that the generator limited is marked as a lower bound, and the finding is printed", () => {
  const findings = [{ server: "epoll", id: "client_bound" as const, sentence: "it was at its limit" }];
  const text = describe([result({ scenario: "throughput", metrics: { requests_per_s: 40_000 }, findings })]);
  assertStringIncludes(text, "≥ 40 000");
  assertStringIncludes(text, "client_bound, it was at its limit");
});

Deno.test("an open loop tells its rate, and the raw latency beside the corrected one", () => {
  const parameters = { connections: 100, seconds: 1, warmup_seconds: 0, rate_per_s: 20_000 };
  const metrics = { p99_us: 9_000, raw_p50_us: 100, raw_p99_us: 300, raw_p99_9_us: 400 };
  const of = result({ scenario: "rate", parameters, metrics });
  assertEquals(label(of), "rate 100 at 20 000/s");
  assertStringIncludes(describe([of]), "actual send p50, p99, p99.9 are 100 µs, 300 µs, 400 µs");
});

Deno.test("no result at all is said", () => assertEquals(describe([]), "Nothing was measured."));

Deno.test("a run ends with one sentence: what was held, reached and paid", () => {
  const { results } = storedOf(
    run("epoll", "hold", { connections: 1000 }, { answered: 1000 }),
    run("epoll", "hold", { connections: 10_000 }, { answered: 10_000 }),
    run("epoll", "throughput", { connections: 100 }, {
      answered: 9,
      requests_per_s: 145_091,
      cpu_us_per_request: 6.79,
    }),
    run("epoll", "rate", { connections: 100, rate_per_s: 70_000 }, { answered: 9, p99_us: 410 }),
  );
  assertEquals(
    conclude("epoll", results),
    "epoll: held and answered 10 000 of 10 000 connections; answered 145 091 requests/s at 100 connections, " +
      "6.79 CPU-µs each; p99 was 410 µs at 70 000 requests/s.",
  );
  assertEquals(conclude("epoll", []), "epoll: nothing was measured.");
});

Deno.test("the last line is about the most connections that were asked for, and says in how many runs requests failed", () => {
  const { results } = storedOf(
    run("mine", "hold", { connections: 10 }, { answered: 10 }),
    run("mine", "hold", { connections: 100 }, { answered: 9 }),
  );
  const finding = { server: "mine", id: "unanswered", sentence: "10 requests got no answer" } as const;
  const [sound, mute] = results.map((of, i) => ({ ...of, findings: i === 0 ? [] : [finding] }));
  assertEquals(
    conclude("mine", [sound!, mute!]),
    "mine: held and answered 9 of 100 connections. In 1 of 2 runs requests failed: see the caveats.",
  );
});

Deno.test("a run without an answer says so, and has no rate", () => {
  const parameters = { connections: 1, seconds: 1, warmup_seconds: 0 };
  const none = result({ scenario: "churn", parameters, metrics: { answered: 0, requests_per_s: 0 }, ended: "limited" });
  assertEquals(conclude("mine", [none]), "mine: no request was answered at 1 connection in churn.");
  const few = result({ scenario: "throughput", parameters, metrics: { answered: 9, requests_per_s: 9 } });
  assertEquals(conclude("mine", [few]), "mine: answered 9 requests/s at 1 connection.");
});

Deno.test("a run over a wire says so, and has the time of the server's cores before that of its processes", () => {
  const metrics = { requests_per_s: 50_000, core_us_per_request: 20, cpu_us_per_request: 7 };
  const parameters = { connections: 100, seconds: 1, warmup_seconds: 0, wire: "veth" as const };
  const wired = result({ experiment: "xdp", scenario: "throughput", parameters, metrics });
  const text = describe([wired], 200);
  assertMatch(text, /core-µs +CPU-µs/);
  assertMatch(text, / 20\.00 +7\.00 /);
  assertStringIncludes(text, "Over a wire\n");
  assertStringIncludes(conclude("xdp", [wired]), "20.00 µs of the server's cores each, 7.00 of them in its processes");
  assertEquals([serverCost(wired, 1), serverCost(undefined, 1)], ["20.0 of its core (veth)", "–"]);
  const own = result({ scenario: "throughput", metrics: { cpu_us_per_request: 7 } });
  assertEquals([serverCost(own, 1), describe([own]).includes("core-µs")], ["7.0", false]);
});
