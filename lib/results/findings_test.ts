import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { boundOf, type Evidence, FINDING_IDS, foundOften, idsOf, judge } from "./findings.ts";
import { found } from "../testing/fixtures.ts";

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
const judged = (change: Partial<Evidence>) => judge("epoll", { ...SOUND, ...change }).map(({ id }) => id);
const sentenceOf = (change: Partial<Evidence>) => judge("epoll", { ...SOUND, ...change })[0]!.sentence;

Deno.test("a run without fault has no findings", () => assertEquals(judged({}), []));

Deno.test("a generator above 80 % of its core is client_bound", () => {
  assertEquals(judged({ generatorCoreShare: 0.8 }), []);
  assertEquals(judged({ generatorCoreShare: 0.801 }), ["client_bound"]);
  assertStringIncludes(sentenceOf({ generatorCoreShare: 0.934 }), "93 % of its core");
  assertStringIncludes(sentenceOf({ generatorCoreShare: 0.934 }), "lower bound");
});

Deno.test("more than one late send in a hundred are late_sends", () => {
  assertEquals(judged({ lateShare: 0.01 }), []);
  assertEquals(judged({ lateShare: 0.0101 }), ["late_sends"]);
  assertStringIncludes(sentenceOf({ lateShare: 0.034 }), "3.4 %");
});

Deno.test("a closed loop that is over 5 % off Little's law, above or below, is little", () => {
  for (const factor of [0.951, 1, 1.049]) {
    assertEquals(judged({ connections: 100_000, meanLatencyUs: 2e6 / factor }), []);
  }
  for (const factor of [0.949, 1.051]) {
    assertEquals(judged({ connections: 100_000, meanLatencyUs: 2e6 / factor }), ["little"]);
  }
  assertMatch(sentenceOf({ connections: 1, meanLatencyUs: 2e6 }), / 100000 requests in flight, but 1 connections/);
  assertMatch(sentenceOf({ meanLatencyUs: 1000 }), / 50 requests in flight, but 100 connections/);
});

Deno.test("Little's law is not asked about an open loop, nor where nothing was answered or measured", () => {
  assertEquals(judged({ meanLatencyUs: 1, closedLoop: false }), []);
  assertEquals(judged({ ratePerS: 0 }), []);
  assertEquals(judged({ meanLatencyUs: 0 }), []);
  assertEquals(judged({ ratePerS: null }), []);
  assertEquals(judged({ meanLatencyUs: null }), []);
});

Deno.test("a single lost connection is lost_connections", () => {
  assertEquals(judged({ lost: 1 }), ["lost_connections"]);
  assertMatch(sentenceOf({ lost: 1 }), /^1 connection was /);
  assertMatch(sentenceOf({ lost: 2 }), /^2 connections were /);
});

Deno.test("steal or foreign processes over 10 %, each by itself, are foreign_load", () => {
  assertEquals(judged({ stealShare: 0.1, foreignShare: 0.1 }), []);
  assertEquals(judged({ stealShare: 0.101 }), ["foreign_load"]);
  assertEquals(judged({ foreignShare: 0.101 }), ["foreign_load"]);
  assertEquals(judged({ stealShare: 0.3, foreignShare: null }), ["foreign_load"]);
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
  assertEquals(judged({ seconds: 1 }), []);
  assertEquals(judged({ seconds: 0.99 }), ["short_run"]);
  assertStringIncludes(sentenceOf({ seconds: 0.2504 }), "0.25 s");
});

Deno.test("what was not measured is no finding", () => {
  assertEquals(judged({ generatorCoreShare: null, lateShare: null, stealShare: null, foreignShare: null }), []);
});

Deno.test("all findings can come together, in their order, each with what follows from it", () => {
  const worst = judge("poll", {
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
  assertEquals(new Set(worst.map(({ server }) => server)), new Set(["poll"]));
  for (const { sentence } of worst) assertMatch(sentence, /^[a-z0-9].*: .*[^.]$/);
});

Deno.test("what weakens a comparison is what was found in more than half of its rounds", () => {
  const late = found("epoll", "late_sends");
  const full = found("epoll", "client_bound");
  const otherFull = found("poll", "client_bound");
  const rounds = [[late, full], [late, otherFull], [full, late], [otherFull]].map((findings) => ({ findings }));
  assertEquals(foundOften(rounds), [late]);
  assertEquals(foundOften([]), []);
});

Deno.test("what weakens a comparison has no sentence: its numbers are those of one round", () => {
  const round = { findings: judge("epoll", { ...SOUND, lost: 1 }) };
  assertEquals(foundOften([round]), [found("epoll", "lost_connections")]);
});

Deno.test("the findings on one server are found by its whole name", () => {
  const findings = [found("epoll", "little"), found("epoll-edge", "late_sends")];
  assertEquals(idsOf(findings, "epoll"), ["little"]);
  assertEquals(idsOf(findings, "poll"), []);
});

Deno.test("a bound is said of throughput and latency alone, and by the findings that make it one", () => {
  assertEquals(boundOf("requests_per_s", ["client_bound"]), "at least");
  assertEquals(boundOf("requests_per_s", ["late_sends", "foreign_load"]), null);
  for (const id of ["client_bound", "late_sends", "foreign_load"]) assertEquals(boundOf("p99_us", [id]), "at most");
  for (const metric of ["p50_us", "p99_9_us", "raw_p99_us"]) assertEquals(boundOf(metric, ["late_sends"]), "at most");
  assertEquals(boundOf("p99_us", ["short_run", "little"]), null);
  assertEquals(boundOf("cpu_us_per_request", ["client_bound", "late_sends", "foreign_load"]), null);
});
