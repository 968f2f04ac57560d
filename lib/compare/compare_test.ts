import { assert, assertEquals, assertMatch } from "@std/assert";
import { readCustom } from "../server/custom.ts";
import { find } from "../catalogue/catalogue.ts";
import { found } from "../testing/fixtures.ts";
import type { FindingId } from "../results/findings.ts";
import { isInconclusive } from "../tables/comparison.ts";
import { compare, type ComparePlan, counting, rowsOf } from "./compare.ts";
import type { Round } from "./pair.ts";

const ignore = Deno.build.os !== "linux";
const never = new AbortController().signal;
const plan: ComparePlan = {
  scenario: "throughput",
  connections: 2,
  rounds: 2,
  slices: 2,
  seconds: 0.5, // one of a tenth may pass on a busy machine without a single request
  ratePerS: null,
  heavy: null,
  settleSeconds: 0.5,
  signal: never,
};
const LOADED = ["cpu_us_per_request", "requests_per_s", "p99_us"];

Deno.test({
  name: "two experiments are compared round by round, each ratio lies in its interval, and each server is described",
  ignore,
  fn: async () => {
    const rounds: string[] = [];
    const onRound = (round: number, candidate: string) => rounds.push(`${candidate} ${round}`);
    const rate = { ...plan, scenario: "rate", ratePerS: 500, onRound } as const;
    const { rows, manifests } = await compare(find("epoll"), [find("event-loop")], rate);
    // On a busy machine a round is made again.
    assertEquals(rounds, [1, 2, 3, 4].map((round) => `event-loop ${round}`).slice(0, Math.max(2, rounds.length)));
    for (const row of rows.filter(({ metric }) => LOADED.includes(metric))) {
      assert(row.reference_value! > 0 && row.candidate_value! > 0, row.metric);
      assert(row.ratio! > 0, row.metric);
      assert(row.rounds >= 2 && row.rounds <= rounds.length, `${row.rounds} of ${rounds.length} rounds`);
      assertEquals([row.rate_per_s, row.reason, row.ratio_low], [500, null, null]);
    }
    // Of two connections memory would be noise: there is no figure, and no ratio of none.
    const memory = rows.find(({ metric }) => metric === "user_bytes_per_conn")!;
    assertEquals([memory.candidate_value, memory.ratio], [null, null]);
    assertEquals([...manifests.keys()].sort(), ["epoll", "event-loop"]);
    assertEquals([manifests.get("epoll")!.backlog, manifests.get("epoll")!.nodelay], [4096, true]);
  },
});

Deno.test({
  name: "at half of what the slower one reaches, both of a pair get the same rate",
  ignore,
  fn: async () => {
    const half = { ...plan, scenario: "rate", ratePerS: "half", rounds: 1 } as const;
    const { rows } = await compare(find("epoll"), [find("io-uring")], half);
    const [both] = rows.filter(({ metric }) => metric === "requests_per_s");
    assert(both!.rate_per_s! > 0);
    for (const reached of [both!.reference_value!, both!.candidate_value!]) {
      // Both were asked alike: no more is answered than was due, and a busy machine answers less.
      assert(reached > 0 && reached < 1.05 * both!.rate_per_s!, `${reached} of ${both!.rate_per_s}`);
    }
  },
});

Deno.test({
  name: "a server that does not answer on every connection is not compared, and its rows say why; the others are",
  ignore,
  fn: async () => {
    const { rows } = await compare(find("epoll"), [find("blocking"), find("io-uring")], { ...plan, rounds: 1 });
    const of = (name: string) =>
      rows.find(({ candidate, metric }) => candidate === name && metric === "requests_per_s")!;
    assertMatch(of("blocking").reason!, /^blocking: .* got no answer$/);
    assertEquals([of("blocking").ratio, of("blocking").rounds], [null, 0]);
    assert(of("io-uring").ratio! > 0);
  },
});

Deno.test({
  name: "in hold memory, connects and threads are compared, and what was reached is printed where it was less",
  ignore,
  fn: async () => {
    const hold = { ...plan, scenario: "hold", connections: 20, seconds: 0, rounds: 1 } as const;
    const { rows } = await compare(find("epoll"), [find("io-uring"), find("blocking")], hold);
    const value = (name: string, metric: string) =>
      rows.find((row) => row.candidate === name && row.metric === metric)!.candidate_value;
    assert(value("io-uring", "connects_per_s")! > 0 && value("io-uring", "pss_bytes")! > 0);
    assertEquals(value("blocking", "pss_bytes"), null);
  },
});

Deno.test({
  name: "in churn each request has a connection of its own, so that a server for one client at a time takes part",
  ignore,
  fn: async () => {
    const { rows } = await compare(find("epoll"), [find("blocking")], { ...plan, scenario: "churn", rounds: 1 });
    assertEquals(rows.map(({ metric }) => metric), ["cpu_us_per_request", "requests_per_s", "p50_us", "p99_us"]);
    for (const { metric, ratio, reason } of rows) {
      assertEquals(reason, null);
      assert(ratio! > 0, metric);
    }
  },
});

Deno.test({
  name: "an abort ends the round under way, and the rounds before it are kept",
  ignore,
  fn: async () => {
    const abort = new AbortController();
    const onRound = () => abort.abort();
    const { rows } = await compare(find("epoll"), [find("io-uring")], {
      ...plan,
      rounds: 50,
      signal: abort.signal,
      onRound,
    });
    assertEquals(rows[0]!.rounds, 1);
    assert(rows[0]!.ratio! > 0);
    assertEquals([rows[0]!.ratio_low, rows[0]!.ratio_high], [null, null]); // of one round there is no interval
  },
});

Deno.test({
  name: "work is not asked of a server that has none, and its rows say so",
  ignore,
  fn: async () => {
    const without = { ...find("epoll"), name: "without", cannot: { "burn-cpu": "It has none." } };
    const mixed = {
      ...plan,
      scenario: "mixed",
      ratePerS: 100,
      rounds: 1,
      heavy: { share: 0.5, us: 10 },
    } as const;
    const path = find("epoll").path;
    const { rows } = await compare(find("epoll"), [{ ...without, path }], mixed);
    assertEquals([rows[0]!.reason, rows[0]!.heavy_us], ["without does not support requests that burn CPU (/work)", 10]);
  },
});

/** A custom server that ends after some requests. */
const DIES = readCustom(
  { name: "dies" },
  [
    ...[Deno.execPath(), "eval", "--no-lock"],
    `let served = 0;
     Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () => {
       if (++served === 500) { console.error("the last words"); Deno.exit(3); }
       return new Response("x");
     });`,
  ],
  [],
);

Deno.test({
  name: "a server that dies in a round is named with its last words, be it the candidate or the reference",
  ignore,
  fn: async () => {
    for (const [reference, candidate] of [[find("epoll"), DIES], [DIES, find("epoll")]] as const) {
      const { rows, failures } = await compare(reference, [candidate], { ...plan, rounds: 2 });
      assertEquals(failures.map((failure) => [failure.candidate, failure.error.subject.name, failure.error.ended]), [
        [candidate.name, "dies", "crashed"],
      ]);
      assertEquals(rows[0]!.reason, "dies: the server ended during the run with exit code 3: the last words");
    }
  },
});

Deno.test("rounds that others disturbed do not count where enough are left, and else all count and say so", () => {
  const round = (id: number, ...findings: FindingId[]) => ({
    id,
    findings: findings.map((one) => found("epoll", one)),
  });
  const clean = Array.from({ length: 7 }, (_, id) => round(id));
  const ids = (rounds: { id: number }[]) => rounds.map(({ id }) => id);
  assertEquals(ids(counting([round(9, "foreign_load"), ...clean, round(8, "steal")], 10)), [0, 1, 2, 3, 4, 5, 6]);
  assertEquals(ids(counting([round(9, "client_bound"), ...clean], 7)), [9, 0, 1, 2, 3, 4, 5]); // the load's own limit
  const disturbed = [7, 8, 9, 10].map((id) => round(id, "throttled"));
  assertEquals(ids(counting([...disturbed, ...clean.slice(1)], 7)), [7, 8, 9, 10, 1, 2, 3, 4, 5, 6]);
  assertEquals(ids(counting([round(1, "steal"), round(2), round(3)], 2)), [2, 3]);
  assertEquals(ids(counting([round(1, "steal"), round(2), round(3, "steal")], 2)), [1, 2, 3]);
});

Deno.test("where too few rounds are undisturbed the rows say so, however few others are", () => {
  const round = (...findings: ReturnType<typeof found>[]): Round => ({
    reference: { cpu_us_per_request: 10 },
    candidate: { cpu_us_per_request: 11 },
    logs: { cpu_us_per_request: Math.log(1.1) },
    ratePerS: null,
    findings,
  });
  const taken = found("epoll", "foreign_load");
  const rowOf = (rounds: Round[]) =>
    rowsOf("epoll", "poll", { ...plan, rounds: 7 }, rounds, null).find(({ metric }) =>
      metric === "cpu_us_per_request"
    )!;
  const few = rowOf([...Array.from({ length: 6 }, () => round()), ...Array.from({ length: 4 }, () => round(taken))]);
  assertEquals([few.rounds, few.findings, isInconclusive(few)], [10, [taken], true]);
  const enough = rowOf([...Array.from({ length: 7 }, () => round()), ...Array.from({ length: 3 }, () => round(taken))]);
  assertEquals([enough.rounds, enough.left_out, enough.findings, isInconclusive(enough)], [7, 3, [], false]);
});
