import { assertEquals } from "@std/assert";
import { hostFacts } from "../sampling/host.ts";
import { type Study, STUDY_SCHEMA } from "./studies.ts";
import { newestLaw, widest } from "./choose.ts";
import type { ReadinessRow } from "./rows.ts";
import { comparisonRow as row } from "../testing/fixtures.ts";

Deno.test("of comparisons the widest is shown for each number of connections, of equals the newest, of few rounds none", () => {
  const study = (id: string, time: string, rows: Study<"comparison">["rows"]): Study<"comparison"> => ({
    schema: STUDY_SCHEMA,
    kind: "comparison",
    id,
    time,
    host: hostFacts(),
    command: id,
    manifests: {},
    rows,
  });
  const two = [row(), row({ candidate: "nginx" })];
  const studies = [
    study("wide", "2026-01-01", two),
    study("wide and newer", "2026-01-02", two),
    study("newest", "2026-01-03", [row()]),
    study("many connections", "2026-01-04", [row({ connections: 1000 }), row({ connections: 1000, rounds: 6 })]),
    study("few rounds", "2026-01-05", [row({ connections: 10, rounds: 6 }), row({ connections: 10, rounds: 6 })]),
    study("another reference", "2026-01-06", [row({ reference: "epoll", connections: 10 })]),
    study("another scenario", "2026-01-06", [row({ scenario: "rate", connections: 10 })]),
  ];
  const found = widest(studies, "throughput", "c-epoll");
  assertEquals(found.map(({ study, rows }) => [study.id, rows.length]), [["wide and newer", 2], [
    "many connections",
    2,
  ]]);
});

Deno.test("of studies of wait calls the newest is shown that has enough sizes", () => {
  const of = (id: string, sizes: number[]): Study<"readiness"> => ({
    schema: STUDY_SCHEMA,
    kind: "readiness",
    id,
    time: id,
    host: hostFacts(),
    command: id,
    manifests: {},
    rows: sizes.map((descriptors) => ({ descriptors }) as ReadinessRow),
  });
  const studies = [of("old", [1, 2, 3, 4]), of("new", [1, 2, 3, 4]), of("quick", [1, 2, 3, 3])];
  assertEquals(newestLaw(studies)?.id, "new");
  assertEquals(newestLaw([]), undefined);
});
