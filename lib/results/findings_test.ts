import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  boundOf,
  boundOfRun,
  type Evidence,
  FINDING_IDS,
  type Found,
  foundInCounted,
  foundOften,
  idsOf,
  isDisturbed,
  isDisturbedProbe,
  isSpoilt,
  judge,
} from "./findings.ts";
import type { LoadTrial } from "./load_trial.ts";
import { found } from "../testing/fixtures.ts";

/** A run without fault: 100 connections, 50 000 requests/s, 2 ms each. */
const SOUND: Evidence = {
  generatorCoreShare: 0.5,
  loadCoresLeft: null,
  trials: [],
  serverCoreShare: 0.99,
  lateP99Us: null,
  p99Us: 3000,
  connections: 100,
  ratePerS: 50_000,
  askedPerS: null,
  meanLatencyUs: 2000,
  answered: 500_000,
  errors: {},
  unanswered: 0,
  lost: 0,
  redials: 0,
  reconnects: 0,
  closesAfter: null,
  stealShare: 0.01,
  foreignShare: 0.02,
  stealBurst: null,
  foreignBurst: null,
  throttledShare: 0,
  irqApart: false,
  seconds: 10,
  closedLoop: true,
  otherListener: null,
  sharedCore: null,
  unit: "request",
};
const judged = (change: Partial<Evidence>) => judge("epoll", { ...SOUND, ...change }).map(({ id }) => id);
const sentenceOf = (change: Partial<Evidence>) => judge("epoll", { ...SOUND, ...change })[0]!.sentence;

Deno.test("a run without fault has no findings", () => assertEquals(judged({}), []));

Deno.test("a process of load from 90 % of its core is client_bound where the server has slack, and both_bound where not", () => {
  assertEquals(judged({ generatorCoreShare: 0.89, serverCoreShare: 0.5 }), []);
  assertEquals(judged({ generatorCoreShare: 0.9, serverCoreShare: 0.89 }), ["client_bound"]);
  assertEquals(judged({ generatorCoreShare: 0.9, serverCoreShare: null }), ["client_bound"]);
  assertEquals(judged({ generatorCoreShare: 0.9, serverCoreShare: 0.9 }), ["both_bound"]);
  const sentence = sentenceOf({ generatorCoreShare: 0.934, serverCoreShare: 0.5 });
  assertStringIncludes(sentence, "93 % of its core and the server 50 % of its own: ");
  assertStringIncludes(sentence, "lower bound");
  const alone = sentenceOf({ generatorCoreShare: 0.934, serverCoreShare: 0.5, loadCoresLeft: 0 });
  assertStringIncludes(alone, "50 % of its own, and no core is left for another process: ");
  assertEquals(sentenceOf({ generatorCoreShare: 0.934, serverCoreShare: 0.5, loadCoresLeft: 2 }), sentence);
});

const trial = (processes: number, server_core_share: number): LoadTrial => ({
  processes,
  server_core_share,
  requests_per_s: 100_000 * server_core_share,
});

Deno.test("a server whose share still rose with the last processes is client_bound, however idle these are", () => {
  const rising = {
    generatorCoreShare: 0.5,
    serverCoreShare: 0.8,
    trials: [trial(1, 0.3), trial(2, 0.5), trial(3, 0.8)],
  };
  assertEquals(judged(rising), ["client_bound"]);
  assertMatch(
    sentenceOf(rising),
    /^with 2 processes of load the server used 50 % of its cores, with 3, the most that was tried, 80 %: /,
  );
  assertEquals(judged({ ...rising, serverCoreShare: 0.9 }), []);
  assertEquals(judged({ ...rising, trials: [trial(1, 0.3), trial(2, 0.8), trial(4, 0.81)] }), []);
  assertEquals(judged({ ...rising, trials: [trial(1, 0.8)] }), []);
});

Deno.test("an open loop that is answered more slowly than it asks is server_bound, unless the generator was the limit", () => {
  const open = { closedLoop: false, askedPerS: 20_000 };
  assertEquals(judged({ ...open, ratePerS: 19_600 }), []);
  assertEquals(judged({ ...open, ratePerS: 4842 }), ["server_bound"]);
  const missing = (20_000 - 4842) * SOUND.seconds; // all of it failed: there is no queue
  assertEquals(judged({ ...open, ratePerS: 4842, unanswered: missing }).includes("server_bound"), false);
  assertMatch(sentenceOf({ ...open, ratePerS: 4842 }), /^20 000 requests\/s were due and 4 842 were answered/);
  assertEquals(judged({ ...open, ratePerS: 4842, generatorCoreShare: 1, serverCoreShare: 0.3 }), ["client_bound"]);
});

Deno.test("lateness of more than a tenth of p99 is late_sends", () => {
  const open = { closedLoop: false, p99Us: 1000 };
  assertEquals(judged({ ...open, lateP99Us: 100 }), []);
  assertEquals(judged({ ...open, lateP99Us: 101 }), ["late_sends"]);
  assertStringIncludes(sentenceOf({ ...open, lateP99Us: 450 }), "up to 450 µs late");
});

Deno.test("what failed is errors with its kinds, the most frequent first", () => {
  assertEquals(judged({ errors: { ECONNRESET: 3, http_503: 12 } }), ["errors"]);
  assertMatch(sentenceOf({ errors: { ECONNRESET: 3, http_503: 12 } }), /^12 http_503, 3 ECONNRESET next to 500 000 /);
});

Deno.test("a single unanswered request is unanswered", () => {
  assertEquals(judged({ unanswered: 1 }), ["unanswered"]);
  assertMatch(sentenceOf({ unanswered: 5, answered: 95 }), /^5 of 100 requests got no answer/);
});

Deno.test("connections that the server closes after some answers are reconnects", () => {
  assertEquals(judged({ reconnects: 50 }), ["reconnects"]);
  assertMatch(sentenceOf({ reconnects: 50, closesAfter: 100 }), /after 100 answers each and 50 were reopened/);
});

Deno.test("throttling over 1 % of the time is throttled, and interrupts with an account of their own are irq_apart", () => {
  assertEquals(judged({ throttledShare: 0.01 }), []);
  assertEquals(judged({ throttledShare: 0.011 }), ["throttled"]);
  assertEquals(judged({ irqApart: true }), ["irq_apart"]);
});

Deno.test("a closed loop that is over 5 % off Little's law, above or below, is little", () => {
  for (const factor of [0.951, 1, 1.049]) {
    assertEquals(judged({ connections: 100_000, meanLatencyUs: 2e6 / factor }), []);
  }
  for (const factor of [0.949, 1.051]) {
    assertEquals(judged({ connections: 100_000, meanLatencyUs: 2e6 / factor }), ["little"]);
  }
  assertMatch(sentenceOf({ connections: 1, meanLatencyUs: 2e6 }), / 100 000 requests in flight, but 1 connection /);
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

Deno.test("foreign processes over 10 % are foreign_load, and a hypervisor that gives away as much is steal", () => {
  assertEquals(judged({ stealShare: 0.1, foreignShare: 0.1 }), []);
  assertEquals(judged({ stealShare: 0.101, foreignShare: null }), ["steal"]);
  assertEquals(judged({ foreignShare: 0.101 }), ["foreign_load"]);
  assertEquals(judged({ stealShare: 0.3, foreignShare: 0.2 }), ["foreign_load", "steal"]);
  assertStringIncludes(sentenceOf({ stealShare: 0.3 }), "steal time was 30 %");
  assertStringIncludes(sentenceOf({ foreignShare: 0.2 }), "processes outside of the run used 20 % of the CPU time: ");
  assertEquals(judged({ stealBurst: 0.5, foreignBurst: 0.6 }), ["foreign_load", "steal"]);
  assertStringIncludes(
    sentenceOf({ foreignBurst: 0.6 }),
    "used 2 % of the CPU time, 60 % in the worst stretch of it: ",
  );
});

Deno.test("a core that both sides use is shared_core, and makes throughput a lower bound and latency an upper one", () => {
  assertEquals(judged({ sharedCore: "core" }), ["shared_core"]);
  assertStringIncludes(sentenceOf({ sharedCore: "core" }), "shared a core");
  assertStringIncludes(sentenceOf({ sharedCore: "siblings" }), "hardware threads of one core");
  assertEquals(boundOf("requests_per_s", ["shared_core"]), "at least");
  assertEquals(boundOf("p99_us", ["shared_core"]), "at most");
});

Deno.test("another process on the server's port is other_listener, with the sentence of the look at it", () => {
  assertEquals(judged({ otherListener: "process 7 (sh): x" }), ["other_listener"]);
  assertEquals(sentenceOf({ otherListener: "process 7 (sh): x" }), "process 7 (sh): x");
});

Deno.test("numbers in a finding are grouped as in a table", () => {
  assertStringIncludes(sentenceOf({ errors: { http_302: 1403 }, answered: 12_345 }), "1 403 http_302 next to 12 345");
  assertStringIncludes(sentenceOf({ reconnects: 1628, closesAfter: 1 }), "after 1 answer each and 1 628 were");
});

Deno.test("attempts to connect that found the accept queue full are redials", () => {
  assertEquals(judged({ redials: 1 }), ["redials"]);
  assertMatch(sentenceOf({ redials: 1234 }), /^1 234 attempts to connect found the accept queue full/);
});

Deno.test("less than a second is short_run", () => {
  assertEquals(judged({ seconds: 1 }), []);
  assertEquals(judged({ seconds: 0.99 }), ["short_run"]);
  assertStringIncludes(sentenceOf({ seconds: 0.2504 }), "0.25 s");
});

Deno.test("what was not measured is no finding", () => {
  assertEquals(
    judged({
      ...{ generatorCoreShare: null, serverCoreShare: null, lateP99Us: null, p99Us: null },
      ...{ stealShare: null, foreignShare: null, stealBurst: null, foreignBurst: null, throttledShare: null },
    }),
    [],
  );
});

const WORST: Evidence = {
  generatorCoreShare: 1,
  loadCoresLeft: null,
  trials: [],
  serverCoreShare: 0.5,
  lateP99Us: 500,
  p99Us: 1000,
  connections: 100,
  ratePerS: 1,
  askedPerS: null,
  meanLatencyUs: 1,
  answered: 1,
  errors: {},
  unanswered: 1,
  lost: 7,
  redials: 3,
  reconnects: 1,
  closesAfter: 1,
  stealShare: 1,
  foreignShare: 1,
  stealBurst: 1,
  foreignBurst: 1,
  throttledShare: 1,
  irqApart: true,
  seconds: 0.1,
  closedLoop: true,
  otherListener: null,
  sharedCore: null,
  unit: "request",
};

Deno.test("findings come together, in their order, each with what follows from it", () => {
  const worst = judge("poll", WORST);
  const changes: Partial<Evidence>[] = [
    { serverCoreShare: 1 },
    { generatorCoreShare: 0, askedPerS: 9, unanswered: 0, errors: {} },
    { errors: { EPIPE: 1 } },
    { sharedCore: "core" },
    { otherListener: "process 12 (nginx) listens on port 80 and is no part of the server: nothing is known" },
  ];
  const others = changes.flatMap((change) => judge("poll", { ...WORST, ...change }));
  const ids = worst.map(({ id }) => id);
  assertEquals(ids, FINDING_IDS.filter((id) => ids.includes(id)));
  assertEquals(new Set([...ids, ...others.map(({ id }) => id)]), new Set(FINDING_IDS));
  assertEquals(new Set(worst.map(({ server }) => server)), new Set(["poll"]));
  for (const { sentence } of [...worst, ...others]) assertMatch(sentence, /^[a-z0-9].*: .*[^.]$/);
});

Deno.test("of a broadcast deliveries are counted, and no requests", () => {
  const failed = { errors: { close_1001: 3 }, lost: 3, unanswered: 90, answered: 910, unit: "delivery" } as const;
  const behind = { closedLoop: false, askedPerS: 9, ratePerS: 1, unit: "delivery" } as const;
  const sentences = [failed, behind].flatMap((change) => judge("ws-epoll", { ...SOUND, ...change }))
    .map(({ sentence }) => sentence);
  assertEquals(sentences.length, 4);
  for (const sentence of sentences) {
    assertStringIncludes(sentence, "deliveries");
    assertEquals(/request|status|answer/.test(sentence), false, sentence);
  }
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
  const taken = ["foreign_load", "steal", "throttled"];
  for (const id of ["client_bound", ...taken]) assertEquals(boundOf("requests_per_s", [id]), "at least");
  assertEquals(boundOf("requests_per_s", ["late_sends", "both_bound", "server_bound"]), null);
  for (const id of ["client_bound", "both_bound", "late_sends", ...taken]) {
    assertEquals(boundOf("p99_us", [id]), "at most");
  }
  for (const metric of ["p50_us", "p99_9_us", "raw_p99_us"]) assertEquals(boundOf(metric, ["late_sends"]), "at most");
  assertEquals(boundOf("p99_us", ["short_run", "little"]), null);
  assertEquals(boundOf("cpu_us_per_request", ["client_bound", "late_sends", "foreign_load"]), null);
});

Deno.test("a percentile that unanswered requests reach is a lower bound, whatever else was found", () => {
  const run = { findings: [found("epoll", "client_bound")], at_least: ["p99_us"] };
  assertEquals(boundOfRun("p99_us", run), "at least");
  assertEquals(boundOfRun("p50_us", run), "at most");
});

Deno.test("a run is spoilt where others took CPU time", () => {
  assert(isSpoilt([found("epoll", "little"), found("epoll", "steal")]));
  assert(!isSpoilt([found("epoll", "short_run"), found("epoll", "client_bound")]));
});

Deno.test("what took CPU time from one round that counts is found, whatever the others show", () => {
  const round = (...findings: Found[]) => ({ findings });
  const late = found("epoll", "late_sends");
  const taken = found("c-epoll", "steal");
  assertEquals(foundInCounted([round(late, taken), round(late), round()]), [late, taken]);
  assertEquals(foundInCounted([round(taken), round(taken)]), [taken]);
  assertEquals(foundInCounted([]), []);
});

Deno.test("others that use the machine make each figure of time doubtful, and none of memory", () => {
  const times = [
    "cpu_us_per_request",
    "core_us_per_request",
    "cpu_us_per_delivery",
    "requests_per_s",
    "connects_per_s",
  ];
  for (const id of ["foreign_load", "steal", "throttled"] as const) {
    for (const metric of [...times, "p99_us", "p99_9_us", "last_p50_us"]) {
      assert(isDisturbed(metric, [found("epoll", id)]), metric);
    }
    for (const metric of ["pss_bytes", "user_bytes_per_conn", "threads", "context_switches_per_request"]) {
      assert(!isDisturbed(metric, [found("epoll", id)]), metric);
    }
  }
  assert(!isDisturbed("cpu_us_per_request", [found("epoll", "client_bound"), found("epoll", "shared_core")]));
});

Deno.test("of a probe beside others no figure of time counts, and each of memory and of connections does", () => {
  const beside = (metric: string, foreign_share = 0.11) => isDisturbedProbe({ metric, foreign_share });
  const times = ["switch_us", "cpu_us", "cpu_us_first", "p50_us_ratio", "cpu_percent_at_rate", "requests_per_s"];
  for (const metric of [...times, "system_calls_per_request", "bytes_per_s_per_conn", "connect_seconds"]) {
    assert(beside(metric) && !beside(metric, 0.1), metric);
    assert(!isDisturbedProbe({ metric }), metric);
  }
  for (const metric of ["pss_bytes_per_thread", "kernel_bytes_per_conn", "answered", "completed", "nofile_limit"]) {
    assert(!beside(metric), metric);
  }
});
