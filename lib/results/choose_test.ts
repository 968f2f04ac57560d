import { assertEquals } from "@std/assert";
import type { Study } from "./studies.ts";
import type { HostFacts } from "../sampling/host.ts";
import { newestLaw, slowTables, type Table, widest, widestSweep } from "./choose.ts";
import type { ReadinessRow, SweepRow } from "./rows.ts";
import { comparisonRow as row, studyOf } from "../testing/fixtures.ts";

const two = [row(), row({ candidate: "nginx" })];
const study = (id: string, time: string, rows: Study<"comparison">["rows"], quick = false) =>
  studyOf("comparison", rows, { id, time, quick });
const shownOf = (...studies: Study<"comparison">[]) =>
  widest(studies, "throughput", "c-epoll").map(({ study, rows }) => [study.id, rows.length]);

Deno.test("of comparisons the widest is shown for each number of connections, of equals the newest, of few rounds none", () => {
  const found = shownOf(
    study("wide", "2026-01-01", two),
    study("wide and newer", "2026-01-02", two),
    study("newest", "2026-01-03", [row()]),
    study("many connections", "2026-01-04", [row({ connections: 1000 }), row({ connections: 1000, rounds: 6 })]),
    study("few rounds", "2026-01-05", [row({ connections: 10, rounds: 6 }), row({ connections: 10, rounds: 6 })]),
    study("another reference", "2026-01-06", [row({ reference: "epoll", connections: 10 })]),
    study("another scenario", "2026-01-06", [row({ scenario: "rate", connections: 10 })]),
  );
  assertEquals(found, [["wide and newer", 2], ["many connections", 2]]);
});

/** A study of one candidate. */
const nginx = (time: string, change: Partial<typeof two[number]> = {}, flags = "") =>
  studyOf("comparison", [row({ candidate: "nginx", ratio: 7, ...change })], {
    id: time,
    time,
    quick: false,
    command: `deno task compare c-epoll nginx${flags}`,
  });
const ratiosOf = (...studies: Study<"comparison">[]) =>
  widest(studies, "throughput", "c-epoll")[0]!.rows.map(({ candidate, ratio }) => [candidate, ratio]);

Deno.test("studies with equal flags stand in one table: of each candidate the newest rows, disturbed ones last", () => {
  const taken = { findings: [{ server: "c-epoll", id: "foreign_load" as const }] };
  const wide = (change: Partial<typeof two[number]>) =>
    study("wide", "2026-01-02", [row({ ratio: 1 }), row({ candidate: "nginx", ratio: 2, ...change })]);
  const [old, again] = [[["epoll", 1], ["nginx", 2]], [["epoll", 1], ["nginx", 7]]];
  assertEquals(ratiosOf(wide(taken), nginx("2026-01-03")), again);
  assertEquals(ratiosOf(wide(taken), nginx("2026-01-03"), nginx("2026-01-04", taken)), again);
  assertEquals(ratiosOf(wide(taken), nginx("2026-01-01")), again); // older, but nobody disturbed it
  assertEquals(ratiosOf(wide({}), nginx("2026-01-03")), again);
  assertEquals(ratiosOf(wide({}), nginx("2026-01-01")), old);
  assertEquals(ratiosOf(wide({}), nginx("2026-01-03", taken)), old);
  assertEquals(ratiosOf(wide({}), nginx("2026-01-03", { rounds: 6 })), old);
  assertEquals(ratiosOf(wide({}), nginx("2026-01-03", {}, " --head browser")), old);
  assertEquals(ratiosOf(wide({}), { ...nginx("2026-01-03"), lab: { commit: null, load: "other", served: null } }), old);
  const on = (host: Partial<HostFacts>) => ({ ...nginx("2026-01-03"), host: { ...wide({}).host, ...host } });
  assertEquals(ratiosOf(wide({}), on({ deno: "9.9.9" })), old);
  assertEquals(ratiosOf(wide({}), on({ cores: 96 })), old);
  assertEquals(ratiosOf(wide({}), on({ kernel: "99.1.2" })), old);
  const excluded = { ratio: null, rounds: 0, reason: "nginx: it does not start" };
  assertEquals(ratiosOf(wide({}), nginx("2026-01-03", excluded)), [["epoll", 1], ["nginx", null]]);
});

Deno.test("builds of one kernel stand in one table, which names both", () => {
  const on = (kernel: string, of: Study<"comparison">) => ({ ...of, host: { ...of.host, kernel } });
  const builds = [
    on("6.18.44-fc-v595", study("wide", "2026-01-02", two)),
    on("6.18.44-fc-v857", nginx("2026-01-03")),
    on("6.18.45-fc-v857", nginx("2026-01-04")),
  ];
  const [{ rows, hosts }] = widest(builds, "throughput", "c-epoll") as [Table];
  assertEquals(rows.map(({ candidate, ratio }) => [candidate, ratio]), [["epoll", 1.1], ["nginx", 7]]);
  assertEquals(hosts.map(({ kernel }) => kernel), ["6.18.44-fc-v595", "6.18.44-fc-v857"]);
});

Deno.test("a table of several studies names one command that makes all of it", () => {
  const flags = " --connections 100 --rounds 9";
  const one = { ...study("one", "2026-01-02", two), command: `deno task compare c-epoll epoll nginx${flags}` };
  const more = { ...nginx("2026-01-03", { candidate: "io-uring" }, flags) };
  const commandOf = (...of: Study<"comparison">[]) => widest(of, "throughput", "c-epoll")[0]!.study.command;
  assertEquals(commandOf(one, more), `deno task compare c-epoll epoll nginx io-uring${flags}`);
  assertEquals(commandOf(one), one.command);
  const everything = (time: string, rows: Study<"comparison">["rows"]) => ({
    ...study(time, time, rows),
    command: `deno task compare c-epoll --all${flags}`,
  });
  const [first, again] = [everything("2026-01-04", two), everything("2026-01-05", [row({ candidate: "poll" })])];
  assertEquals(commandOf(first, again), `deno task compare c-epoll epoll nginx poll${flags}`);
});

Deno.test("a full comparison comes before a quick one, even one that is newer and wider", () => {
  const full = study("full", "2026-01-01", [row()]);
  const quick = study("quick", "2026-01-02", two, true);
  assertEquals(shownOf(full, quick), [["full", 1]]);
  assertEquals(shownOf(quick, full), [["full", 1]]);
});

Deno.test("a quick comparison is shown where there is no full one, of few rounds never", () => {
  const full = study("full", "2026-01-01", [row()]);
  const quick = study("quick", "2026-01-02", [row({ connections: 10 })], true);
  const few = study("few", "2026-01-03", [row({ connections: 1000, rounds: 6 })], true);
  assertEquals(shownOf(full, quick, few), [["quick", 1], ["full", 1]]);
});

Deno.test("of studies of wait calls the newest is shown that has enough sizes", () => {
  const of = (id: string, sizes: number[]): Study<"readiness"> =>
    studyOf("readiness", sizes.map((descriptors) => ({ descriptors }) as ReadinessRow), { id, time: id });
  const studies = [of("old", [1, 2, 3, 4]), of("new", [1, 2, 3, 4]), of("quick", [1, 2, 3, 3])];
  assertEquals(newestLaw(studies)?.id, "new");
  const disturbed = of("disturbed", [1, 2, 3, 4]);
  Object.assign(disturbed.rows[0]!, { foreign_share: 0.2 });
  assertEquals(newestLaw([...studies, disturbed])?.id, "new");
  assertEquals(newestLaw([disturbed])?.id, "disturbed"); // there is no other
  assertEquals(newestLaw([]), undefined);
});

Deno.test("of sweeps the widest is shown that has an objective, of equals the newest, a quick one last", () => {
  const of = (id: string, servers: string[], slo: string | null, quick = false): Study<"sweep"> =>
    studyOf("sweep", servers.map((server) => ({ server, slo }) as SweepRow), { id, time: id, quick });
  const all = [
    of("1", ["epoll", "poll"], "p99=5ms"),
    of("2", ["epoll", "poll"], "p99=5ms"),
    of("3", ["epoll"], "p99=5ms"),
    of("4", ["epoll", "poll", "select"], null),
    of("5", ["epoll", "poll", "select"], "p99=5ms", true),
  ];
  const shownIds = all.map((_, i) => widestSweep(all.slice(i))?.id);
  assertEquals(shownIds, ["2", "2", "3", "4", "5"]);
  assertEquals(widestSweep([]), undefined);
});

Deno.test("a server beside listeners that do not read has a table of its own, and is in no other", () => {
  const beside = (slow: number, connections = 100) => row({ scenario: "broadcast", connections, slow });
  const studies = [
    study("old", "2026-01-01", [beside(5)]),
    study("new", "2026-01-02", [beside(5), beside(5, 1000), row({ scenario: "broadcast" })]),
    study("quick", "2026-01-03", [beside(5)], true),
  ];
  assertEquals(slowTables(studies).map(({ study, rows }) => [study.id, rows.length, rows[0]!.connections]), [
    ["new", 1, 100],
    ["new", 1, 1000],
  ]);
  assertEquals(widest(studies, "broadcast", "c-epoll").map(({ rows }) => rows.length), [1]);
});
