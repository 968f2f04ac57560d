import { assert, assertEquals } from "@std/assert";
import type { Found } from "../results/findings.ts";
import {
  boundIn,
  comparisonParts,
  figure,
  isInconclusive,
  isOfNoise,
  isVoid,
  notes,
  ofReference,
  ratio,
} from "./comparison.ts";
import { comparisonRow as row, found } from "../testing/fixtures.ts";

const bound = [found("epoll", "client_bound"), found("c-epoll", "client_bound")];

Deno.test("each finding is one line that names all it weakens, the reference in how many pairs", () => {
  const groups = [
    [row({ findings: bound })],
    [row({ candidate: "nginx", findings: [found("c-epoll", "client_bound"), found("nginx", "foreign_load")] })],
  ];
  assertEquals(notes(groups), [
    "  nginx: inconclusive: others used the machine",
    "  client_bound: epoll; the reference in 2 of 2 pairs",
    "  foreign_load: nginx",
  ]);
  assertEquals(notes([groups[0]!, [row({ candidate: "go-net" })]]), [
    "  client_bound: epoll; the reference in 1 of 2 pairs",
  ]);
  assertEquals(notes([[row()]]), []);
  assertEquals(notes([[row({ rounds: 3, ratio_low: null, ratio_high: null })]]), [
    "  ~ a hint, the median of 3 rounds: an interval needs 7 rounds",
  ]);
  assertEquals(notes([[row({ rounds: 1, ratio_low: null, ratio_high: null })]]), [
    "  ~ a hint, the median of 1 round: an interval needs 7 rounds",
  ]);
});

Deno.test("too few rounds are the reason where there is no interval, and each ratio of theirs is a hint", () => {
  const findings = [found("epoll", "foreign_load"), found("c-epoll", "foreign_load")];
  const few = { rounds: 6, ratio_low: null, ratio_high: null, findings };
  const rows = [row(few), row({ ...few, metric: "p99_us", ratio: 0.9 })];
  assertEquals(ratio.withInterval("cpu_us_per_request")(rows), "~ 1.100");
  assertEquals(ratio.withInterval("p99_us")(rows), "~ 0.900");
  assertEquals(notes([rows]), [
    "  ~ a hint, the median of 6 rounds: an interval needs 7 rounds",
    "  epoll: inconclusive: too few undisturbed rounds",
    "  foreign_load: epoll, c-epoll",
  ]);
  assert(rows.every(isInconclusive));
  const limited = [row({ ...few, metric: "requests_per_s", findings: bound })];
  assertEquals(ratio.withInterval("requests_per_s")(limited), "–"); // of the load generator, not of the servers
});

Deno.test("rounds that do not count are named with their number", () => {
  assertEquals(notes([[row({ candidate: "poll", left_out: 2 })]]), [
    "  poll: 2 rounds left out, as others took CPU time from them",
  ]);
});

Deno.test("a candidate that was excluded says after how many rounds, and why", () => {
  const reason = "blocking: 99 of 100 connections got no answer";
  assertEquals(notes([[row({ candidate: "blocking", rounds: 0, ratio: null, reason })]]), [
    "  blocking: excluded after 0 rounds: 99 of 100 connections got no answer",
  ]);
});

Deno.test("what the load generator limits is a bound, and there is no ratio of bounds; of CPU there is", () => {
  const rows = [
    row({ findings: bound }),
    row({ metric: "requests_per_s", candidate_value: 1000, findings: bound }),
    row({ metric: "p99_us", candidate_value: 1000, findings: bound }),
  ];
  assertEquals(figure.of("requests_per_s")(rows), "≥ 1 000");
  assertEquals(figure.of("p99_us")(rows), "≤ 1.0 ms");
  assertEquals(ratio.withInterval("requests_per_s")(rows), "–");
  assertEquals(ratio.withInterval("cpu_us_per_request")(rows), "1.100 [1.050, 1.150]");
  assertEquals(figure.of("threads")(rows), "");
});

Deno.test("a figure that findings of either weaken is a bound, findings of others weaken nothing", () => {
  const p99 = (...findings: Found[]) => row({ metric: "p99_us", findings });
  for (const name of ["epoll", "c-epoll"]) {
    for (const id of ["late_sends", "foreign_load", "steal", "client_bound", "both_bound"] as const) {
      assert(isVoid(p99(found(name, id))), id);
    }
  }
  assert(!isVoid(p99(found("nginx", "client_bound"), found("epoll", "short_run"))));
  assert(isVoid(row({ metric: "requests_per_s", findings: [found("epoll", "foreign_load")] })));
  assert(!isVoid(row({ metric: "requests_per_s", findings: [found("epoll", "both_bound")] })));
  assertEquals(boundIn(p99(found("c-epoll", "late_sends")), "epoll"), null);
});

Deno.test("the reference's own figures are those beside the first candidate that took part", () => {
  const none = row({ candidate: "blocking", rounds: 0, reference_value: null, candidate_value: null, ratio: null });
  const [own] = ofReference([none, row()]);
  assertEquals([own!.candidate, own!.candidate_value, own!.ratio], ["c-epoll", 6, null]);
  assertEquals(ofReference([none]), []);
});

Deno.test("a ratio of CPU time is inconclusive where others used the machine, one of memory is not", () => {
  for (const name of ["epoll", "c-epoll"]) {
    const findings = [found(name, "foreign_load")];
    const rows = [row({ findings }), row({ metric: "pss_bytes", ratio: 2, findings })];
    assertEquals(rows.map(isInconclusive), [true, false]);
    assertEquals(rows.map(isVoid), [true, false]);
    assertEquals(ratio.withInterval("cpu_us_per_request")(rows), "–");
    assertEquals(figure.of("cpu_us_per_request")(rows), "6.60"); // the figure itself is shown
    assertEquals(notes([rows])[0], "  epoll: inconclusive: others used the machine");
  }
  assert(!isInconclusive(row({ findings: [found("nginx", "foreign_load")] })));
  assert(!isInconclusive(row({ rounds: 0, findings: [found("epoll", "foreign_load")] })));
});

Deno.test("memory within noise is an upper bound, and no ratio divides by it", () => {
  const memory = { scenario: "hold", metric: "user_bytes_per_conn", connections: 10_000, ratio: 718 } as const;
  const rows = [row({ ...memory, reference_value: 80, candidate_value: 57_440 })];
  assert(isOfNoise(rows[0]!));
  assertEquals([ratio.alone(memory.metric)(rows), ratio.withInterval(memory.metric)(rows)], ["–", "–"]);
  const { groups, columns } = comparisonParts(rows);
  assertEquals(groups.map(figure.of(memory.metric)), ["≤ 210 B", "56.1 KiB"]);
  assert(!columns.some(({ heading }) => heading === "ratio"));
  const known = [row({ ...memory, ratio: 2, reference_value: 1000, candidate_value: 2000 })];
  assertEquals([isOfNoise(known[0]!), ratio.alone(memory.metric)(known)], [false, "× 2.00"]);
});
