import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { hostFacts } from "../sampling/host.ts";
import { newResult, type Result, type Run } from "../results/results.ts";
import { describe, label } from "./runs.ts";

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

Deno.test("a step that broke is told below the table with its reason", () => {
  const text = describe([result({ ended: "limited", reason: "stopped at 1 900 of 10 000: memory" })]);
  assertStringIncludes(text, "What broke, and why\n  hold 10 000: limited, stopped at 1 900 of 10 000: memory");
  assert(!describe([result({})]).includes("What broke"));
});

Deno.test("a throughput that the generator limited is marked as a lower bound, and the finding is told", () => {
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
  assertStringIncludes(describe([of]), "from the actual send p50, p99, p99.9 are 100 µs, 300 µs, 400 µs");
});

Deno.test("no result at all is said", () => assertEquals(describe([]), "Nothing was measured."));
