import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { boundOf, type Evidence, FINDING_IDS, foundOften, judge } from "./findings.ts";

/** A run without fault: 100 connections, 50 000 requests/s, 2 ms each. */
const SOUND: Evidence = {
  generatorCoreShare: 0.5,
  lateShare: 0,
  connections: 100,
  ratePerS: 50_000,
  meanLatencyUs: 2000,
  lost: 0,
  stealShare: 0.01,
  foreignShare: 0.02,
  seconds: 10,
  closedLoop: true,
};
const idsOf = (change: Partial<Evidence>) => judge({ ...SOUND, ...change }).map(({ id }) => id);
const sentenceOf = (change: Partial<Evidence>) => judge({ ...SOUND, ...change })[0]!.sentence;

Deno.test("a run without fault has no findings", () => assertEquals(idsOf({}), []));

Deno.test("a generator above 80 % of its core is client_bound", () => {
  assertEquals(idsOf({ generatorCoreShare: 0.8 }), []);
  assertEquals(idsOf({ generatorCoreShare: 0.801 }), ["client_bound"]);
  assertStringIncludes(sentenceOf({ generatorCoreShare: 0.934 }), "93 % of its core");
  assertStringIncludes(sentenceOf({ generatorCoreShare: 0.934 }), "lower bound");
});

Deno.test("more than one late send in a hundred are late_sends", () => {
  assertEquals(idsOf({ lateShare: 0.01 }), []);
  assertEquals(idsOf({ lateShare: 0.0101 }), ["late_sends"]);
  assertStringIncludes(sentenceOf({ lateShare: 0.034 }), "3.4 %");
});

Deno.test("a closed loop that is over 5 % off Little's law, above or below, is little", () => {
  for (const factor of [0.951, 1, 1.049]) {
    assertEquals(idsOf({ connections: 100_000, meanLatencyUs: 2e6 / factor }), []);
  }
  for (const factor of [0.949, 1.051]) {
    assertEquals(idsOf({ connections: 100_000, meanLatencyUs: 2e6 / factor }), ["little"]);
  }
  assertMatch(sentenceOf({ connections: 1, meanLatencyUs: 2e6 }), / 100000 requests in flight, but 1 connections/);
  assertMatch(sentenceOf({ meanLatencyUs: 1000 }), / 50 requests in flight, but 100 connections/);
});

Deno.test("Little's law is not asked about an open loop, nor where nothing was answered or measured", () => {
  assertEquals(idsOf({ meanLatencyUs: 1, closedLoop: false }), []);
  assertEquals(idsOf({ ratePerS: 0 }), []);
  assertEquals(idsOf({ meanLatencyUs: 0 }), []);
  assertEquals(idsOf({ ratePerS: null }), []);
  assertEquals(idsOf({ meanLatencyUs: null }), []);
});

Deno.test("a single lost connection is lost_connections", () => {
  assertEquals(idsOf({ lost: 1 }), ["lost_connections"]);
  assertMatch(sentenceOf({ lost: 1 }), /^1 connection was /);
  assertMatch(sentenceOf({ lost: 2 }), /^2 connections were /);
});

Deno.test("steal or foreign processes over 10 %, each by itself, are foreign_load", () => {
  assertEquals(idsOf({ stealShare: 0.1, foreignShare: 0.1 }), []);
  assertEquals(idsOf({ stealShare: 0.101 }), ["foreign_load"]);
  assertEquals(idsOf({ foreignShare: 0.101 }), ["foreign_load"]);
  assertEquals(idsOf({ stealShare: 0.3, foreignShare: null }), ["foreign_load"]);
});

Deno.test("foreign_load names only the one that it is", () => {
  const hypervisor = "hypervisor gave 30 %";
  const processes = "processes outside of the run used 20 %";
  const steal = sentenceOf({ stealShare: 0.3 });
  const foreign = sentenceOf({ foreignShare: 0.2 });
  assert(steal.includes(hypervisor) && !steal.includes("processes"));
  assert(foreign.includes(processes) && !foreign.includes("hypervisor"));
  const both = sentenceOf({ stealShare: 0.3, foreignShare: 0.2 });
  assert(both.includes(hypervisor) && both.includes(processes));
});

Deno.test("less than a second is short_run", () => {
  assertEquals(idsOf({ seconds: 1 }), []);
  assertEquals(idsOf({ seconds: 0.99 }), ["short_run"]);
  assertStringIncludes(sentenceOf({ seconds: 0.2504 }), "0.25 s");
});

Deno.test("what was not measured is no finding", () => {
  assertEquals(idsOf({ generatorCoreShare: null, lateShare: null, stealShare: null, foreignShare: null }), []);
});

Deno.test("all findings can come together, in their order, each with what follows from it", () => {
  const worst = judge({
    generatorCoreShare: 1,
    lateShare: 1,
    connections: 100,
    ratePerS: 1,
    meanLatencyUs: 1,
    lost: 7,
    stealShare: 1,
    foreignShare: 1,
    seconds: 0.1,
    closedLoop: true,
  });
  assertEquals(worst.map(({ id }) => id), [...FINDING_IDS]);
  for (const { sentence } of worst) assertMatch(sentence, /^[a-z0-9].*: .*[^.]$/);
});

Deno.test("what weakens a comparison is what was found in more than half of its rounds", () => {
  const rounds = [["a", "b"], ["a", "c"], ["b", "a"], ["c"]].map((findings) => ({ findings }));
  assertEquals(foundOften(rounds), ["a"]);
  assertEquals(foundOften([]), []);
});

Deno.test("a bound is said of throughput and latency alone, and by the findings that make it one", () => {
  assertEquals(boundOf("requests_per_s", ["client_bound"]), "at least");
  assertEquals(boundOf("requests_per_s", ["late_sends", "foreign_load"]), null);
  for (const id of ["client_bound", "late_sends", "foreign_load"]) assertEquals(boundOf("p99_us", [id]), "at most");
  for (const metric of ["p50_us", "p99_9_us", "raw_p99_us"]) assertEquals(boundOf(metric, ["late_sends"]), "at most");
  assertEquals(boundOf("p99_us", ["short_run", "little"]), null);
  assertEquals(boundOf("cpu_us_per_request", ["client_bound", "late_sends", "foreign_load"]), null);
});
