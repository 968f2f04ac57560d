import { assert, assertEquals } from "@std/assert";
import { MAX_ALONE } from "../../lib/results/conventions.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { faultRow } from "../../lib/testing/fixtures.ts";
import { FAULTS } from "./faults.ts";
import { ABILITIES } from "../../lib/testing/abilities.ts";
import {
  abilitiesOf,
  EXCUSES,
  type Figures,
  judge,
  KEEPS,
  leavesTooMuch,
  MAX_KEPT,
  RULES,
  settle,
  unmeasured,
} from "./judge.ts";

const GOOD: Figures = faultRow();

/** Figures that break each rule, and no other. */
const BROKEN: Record<string, Partial<Figures>> = {
  ended: { ended_early: true },
  exit: { exit_code: 1 },
  lost: { lost: 7 },
  after: { lost: 3, lost_after: 3 },
  recovery: { recovery_s: null },
  spins: { cpu_share_during: 0.6 },
  held: { memory_held_bytes: 2 ** 30 },
  share: { answered_share_during: 0.9 },
  p99: { p99_ms_during: 201 },
  descriptors: { descriptors_left: 4 },
  threads: { threads_left: 5 },
  memory: { memory_left_bytes: 256 * 2 ** 20 },
};

const faultOf = (id: string) => {
  const fault = FAULTS.find((one) => one.id === id);
  assert(fault !== undefined, id);
  return fault;
};

/** What is said of a cell that breaks some rules, at a server that cannot do some things. */
function verdictOf(fault: string, rules: string[], ...abilities: string[]): string {
  const cannot = Object.fromEntries(abilities.map((ability) => [ability, "It does not."]));
  const figures = rules.reduce((sum, rule) => ({ ...sum, ...BROKEN[rule]! }), GOOD);
  return judge(figures, faultOf(fault), cannot).verdict;
}

Deno.test("each rule is broken by its own figures alone, and the gravest counts", () => {
  assertEquals(RULES.map(({ id }) => id as string), Object.keys(BROKEN));
  const fault = faultOf("half-open");
  for (const { id, verdict, says } of RULES) {
    const figures = { ...GOOD, ...BROKEN[id]! };
    assertEquals(judge(figures, fault, {}), { verdict, reason: says });
    assertEquals(RULES.filter((rule) => rule.isBroken(figures, fault)).map((rule) => rule.id), [id]);
  }
  assertEquals(judge(GOOD, fault, {}), { verdict: "survived", reason: null });
  assertEquals(verdictOf("fragments", ["descriptors", "lost"]), "failed");
});

Deno.test("CPU counts only where the fault leaves nothing to do", () => {
  const busy = { ...GOOD, cpu_share_during: 0.9 };
  assertEquals(judge(busy, faultOf("slow-heads"), {}).verdict, "degraded");
  assertEquals(judge(busy, faultOf("rst-storm"), {}).verdict, "survived");
});

Deno.test("what an architecture does not promise is shown with its reason", () => {
  const cannot = { "half-close": "It drops the request." };
  assertEquals(judge({ ...GOOD, lost: 1 }, faultOf("half-close"), cannot), {
    verdict: "cannot",
    reason: "half-close: It drops the request.",
  });
  assertEquals(judge({ ...GOOD, lost: 1 }, faultOf("fragments"), cannot).verdict, "failed");
});

Deno.test("an ability excuses the rules that it is about, and no other", () => {
  const cases: [fault: string, rules: string[], ability: string, verdict: string][] = [
    ["thundering-herd", ["lost"], "serve-herd", "cannot"],
    ["thundering-herd", ["lost", "recovery", "after"], "serve-herd", "cannot"],
    ["thundering-herd", ["ended"], "serve-herd", "failed"],
    ["thundering-herd", ["lost", "descriptors", "threads"], "serve-herd", "cannot"], // the queue is still worked off
    ["thundering-herd", ["lost", "memory"], "serve-herd", "degraded"],
    ["descriptors-exhausted", ["lost", "share"], "recover-emfile", "cannot"],
    ["descriptors-exhausted", ["ended"], "recover-emfile", "failed"],
    ["descriptors-exhausted", ["recovery"], "wait-at-emfile", "failed"],
    ["pipelines", ["share", "p99"], "share-pipelines", "cannot"],
    ["pipelines", ["recovery", "p99"], "share-pipelines", "failed"],
    ["descriptors-exhausted", ["share", "p99"], "serve-at-emfile", "cannot"],
    ["descriptors-exhausted", ["after"], "serve-at-emfile", "failed"],
    ["descriptors-exhausted", ["spins"], "rest-at-emfile", "cannot"],
    ["slow-heads", ["spins"], "rest-at-emfile", "degraded"],
    ["memory-limited", ["ended", "lost"], "bound-memory", "cannot"],
    ["memory-limited", ["descriptors"], "bound-memory", "degraded"],
    ["processes-exhausted", ["ended"], "survive-no-process", "cannot"],
    ["half-open", ["lost", "descriptors"], "keepalive", "cannot"],
    ["half-open", ["lost", "memory"], "keepalive", "degraded"],
    ["half-open", ["p99"], "keepalive", "degraded"],
    ["half-close", ["lost"], "half-close", "cannot"],
    ["rst-storm", ["descriptors"], "survive-resets", "cannot"],
    ["rst-storm", ["ended"], "survive-resets", "failed"],
    ["non-readers-pipelined", ["after"], "drain", "failed"],
    ["pipelines", ["lost", "memory"], "drain", "degraded"],
    ["sigterm-under-load", ["lost"], "stop-in-flight", "cannot"],
    ["sigterm-under-load", ["lost", "exit"], "stop-in-flight", "failed"],
    ["fragments", ["lost", "recovery", "share", "p99"], "serve-others", "cannot"],
    ["slow-heads", ["memory"], "return-memory", "survived"], // behind any fault
    ["slow-heads", ["memory", "threads"], "return-memory", "degraded"],
    ["non-readers-pipelined", ["held", "memory"], "return-memory", "degraded"], // clients are there
    ["fragments", ["after"], "serve-others", "failed"], // nobody is there but the new ones
    ["fragments", ["ended"], "serve-others", "failed"],
    ["fragments", ["descriptors"], "return-descriptors", "survived"],
    ["thundering-herd", ["threads"], "return-threads", "survived"],
    ["memory-limited", ["ended", "memory"], "return-memory", "failed"],
    ["fragments", ["lost", "descriptors"], "return-descriptors", "failed"],
    ["fragments", ["lost"], "half-close", "failed"],
  ];
  for (const [fault, rules, ability, verdict] of cases) {
    assertEquals(verdictOf(fault, rules, ability), verdict, `${fault}, ${rules}: ${ability}`);
  }
});

Deno.test("too much is left while one of what is left is, however much the fault lets a server keep", () => {
  const nothing = { descriptors_left: 0, threads_left: 0, memory_left_bytes: 0 };
  const isTooMuch = (left: Partial<Figures>, fault = "slow-heads") =>
    leavesTooMuch({ ...nothing, ...left }, faultOf(fault), {});
  const cases = [{}, BROKEN["descriptors"]!, BROKEN["threads"]!, BROKEN["memory"]!].map((left) => isTooMuch(left));
  assertEquals(cases, [false, true, true, true]);
  const bytes = 100 * 2 ** 20;
  assertEquals([isTooMuch({ memory_left_bytes: bytes }), isTooMuch({ memory_left_bytes: bytes }, "thundering-herd")], [
    true,
    false,
  ]);
  assertEquals(isTooMuch({ descriptors_left: null, threads_left: null, memory_left_bytes: null }), false);
});

Deno.test("what a header says that its server keeps is waited for in no cell, and is the reason of one that survives", () => {
  const memory = BROKEN["memory"]!;
  const cannot = { "return-memory": "The heap grows." };
  assertEquals(leavesTooMuch(memory, faultOf("slow-heads"), cannot), false);
  assertEquals(leavesTooMuch({ ...memory, ...BROKEN["threads"] }, faultOf("slow-heads"), cannot), true);
  const says = (change: Partial<Figures>) => judge({ ...GOOD, ...change }, faultOf("slow-heads"), cannot);
  assertEquals(says(memory), { verdict: "survived", reason: "return-memory: The heap grows." });
  assertEquals(says({}), { verdict: "survived", reason: null });
  const leak = { memory_left_bytes: MAX_KEPT.bytes + 1 };
  assertEquals([says(leak).verdict, leavesTooMuch(leak, faultOf("slow-heads"), cannot)], ["degraded", true]);
});

Deno.test("a fault is loose about abilities that it names, and so is chance", () => {
  for (const { id, abilities, loose = [], byChance = [] } of FAULTS) {
    assertEquals([...loose, ...byChance].filter((ability) => !abilities.includes(ability)), [], id);
  }
});

Deno.test("what headers may say that a server keeps are abilities that headers know", () => {
  const known: readonly string[] = ABILITIES;
  assertEquals(Object.keys(KEEPS).filter((ability) => !known.includes(ability)), []);
});

Deno.test("a server that lacks what shows by chance does not survive, whatever this run has shown", () => {
  const cannot = { "survive-no-process": "It ends where it needs a thread." };
  const verdict = (change: Partial<Figures>, fault = "processes-exhausted") =>
    judge({ ...GOOD, ...change }, faultOf(fault), cannot);
  assertEquals(verdict({}), { verdict: "cannot", reason: "survive-no-process: It ends where it needs a thread." });
  assertEquals(verdict({ ended_early: true }).verdict, "cannot");
  assertEquals(verdict({ exit_code: 1 }).verdict, "failed");
  assertEquals(verdict({}, "fragments").verdict, "survived");
});

Deno.test("two abilities excuse what each of them is about", () => {
  assertEquals(verdictOf("sigterm-under-load", ["lost"], "stop-backlog", "stop-in-flight"), "cannot");
  assertEquals(verdictOf("descriptors-exhausted", ["lost", "recovery"], "wait-at-emfile"), "failed");
  assertEquals(verdictOf("descriptors-exhausted", ["lost", "recovery"], "wait-at-emfile", "recover-emfile"), "cannot");
});

Deno.test("a herd is about no other fault", () => {
  const excused = FAULTS.filter((fault) => abilitiesOf(fault).includes("serve-herd")).map(({ id }) => id);
  assertEquals(excused, ["thundering-herd"]);
});

Deno.test("the end of a server is excused by what says that it goes on, and an exit code by nothing", () => {
  const about = (rule: string) => Object.keys(EXCUSES).filter((ability) => EXCUSES[ability]!.some((id) => id === rule));
  assertEquals(about("ended"), ["bound-memory", "survive-no-process", "outlive-worker"]);
  assertEquals(about("exit"), []);
});

Deno.test("each ability that a fault names is about a rule, so that a header can excuse it", () => {
  for (const { id, abilities } of FAULTS) {
    for (const ability of abilities) assert((EXCUSES[ability] ?? []).length > 0, `${id}: ${ability}`);
  }
});

Deno.test("each excuse is by an ability that a fault names", () => {
  const named = new Set(FAULTS.flatMap(abilitiesOf));
  assertEquals(Object.keys(EXCUSES).filter((ability) => !named.has(ability)), []);
});

Deno.test("a p99 without an answer is too late where somebody asked, and a share of nothing breaks no rule", () => {
  const verdict = (change: Partial<Figures>) => judge({ ...GOOD, ...change }, faultOf("rst-storm"), {}).verdict;
  assertEquals(verdict({ p99_ms_during: null }), "degraded");
  const nobody = { p99_ms_during: null, requests_during: 0, answered_share_during: null };
  assertEquals(verdict(nobody), "survived");
});

Deno.test("what was slow before may be three times as slow", () => {
  const verdict = (before: number, during: number) =>
    judge({ ...GOOD, p99_ms_before: before, p99_ms_during: during }, faultOf("rst-storm"), {}).verdict;
  assertEquals([verdict(10, 200), verdict(10, 201), verdict(100, 300), verdict(100, 301)], [
    "survived",
    "degraded",
    "survived",
    "degraded",
  ]);
});

const rowOf = (verdict: FaultRow["verdict"], change: Partial<FaultRow> = {}): FaultRow =>
  faultRow({ fault: "fragments", verdict, runs: [verdict], ...change });
const survived = rowOf("survived");
const degraded = rowOf("degraded");
const failed = rowOf("failed", { lost: 7 });
const cannot = rowOf("cannot", { lost: 7 });
const late = rowOf("cannot", { p99_ms_during: 900 });
const unserved = rowOf("cannot", { lost: 1, lost_after: 1 });
const skipped = unmeasured({ server: "epoll", fault: "fragments", seed: 1 }, "skipped", "no pid");
/** What counts of a cell's runs; null: it has to be measured again. */
const settled = (beside: FaultRow | null, ...alone: FaultRow[]) => settle(beside, alone)?.verdict ?? null;

Deno.test("beside others only what they cannot have caused counts", () => {
  assertEquals(settled(survived), "survived");
  assertEquals(settled(skipped), "skipped");
  assertEquals([settled(degraded), settled(failed), settled(late)], [null, null, null]);
  assertEquals(settled({ ...skipped, verdict: "cannot" }), "cannot"); // it did not start, and says why
  // Nobody is owed less because others are beside it; but they may be what made new clients wait, or normal ones.
  assertEquals(settled(rowOf("cannot", { lost: 1 })), "cannot");
  assertEquals(settled(rowOf("cannot", { lost: 2, lost_after: 1 })), "cannot");
  assertEquals(settled(unserved), null);
  assertEquals(settled(late), null);
  assertEquals(settled(rowOf("cannot")), "cannot"); // nothing is broken: its header alone says so
});

Deno.test("what survived only because it was slow before is measured alone", () => {
  assertEquals(settled(rowOf("survived", { p99_ms_before: 100, p99_ms_during: 250 })), null);
  assertEquals(settled(rowOf("survived", { p99_ms_before: 100, p99_ms_during: 150 })), "survived");
  assertEquals(settled(rowOf("survived", { p99_ms_before: 10, p99_ms_during: 150 })), "survived");
  assertEquals(settled(rowOf("survived", { p99_ms_before: 100, p99_ms_after: 250 })), null);
  assertEquals(settled(rowOf("survived", { p99_ms_before: 100, p99_ms_during: 1990 })), "survived"); // a standstill
});

Deno.test("one run alone is enough where it is plain", () => {
  assertEquals(settled(degraded, survived), "survived");
  assertEquals(settled(rowOf("failed", { recovery_s: null }), survived), "survived"); // what was late alone is in time
  assertEquals(settled(rowOf("failed", { ended_early: true }), survived), null);
  assertEquals(settled(failed, failed), "failed");
  assertEquals(settled(cannot, cannot), "cannot");
  assertEquals(settled(failed, cannot), "cannot");
  assertEquals([settled(null, survived), settled(null, cannot), settled(null, skipped)], [
    "survived",
    "cannot",
    "skipped",
  ]);
  assertEquals(settled(null, rowOf("failed", { lost: 80 })), "failed");
});

Deno.test("else the verdict is that of the majority of at most three runs alone", () => {
  assertEquals([settled(degraded, degraded), settled(failed, survived), settled(unserved, survived)], [
    null,
    null,
    null,
  ]);
  assertEquals(settled(null, failed), null);
  assertEquals(settled(degraded, degraded, degraded), "degraded");
  assertEquals(settled(degraded, degraded, survived), null);
  assertEquals(settled(degraded, degraded, survived, survived), "survived");
  assertEquals(settled(degraded, degraded, survived, degraded), "degraded");
  assertEquals(settled(degraded, failed, survived, degraded), "degraded");
  assertEquals(MAX_ALONE, 3);
});

Deno.test("a row says what all runs of its cell have shown", () => {
  assertEquals(settle(degraded, [degraded, survived, survived])!.runs, [
    "degraded",
    "degraded",
    "survived",
    "survived",
  ]);
  assertEquals(settle(survived, [])!.runs, ["survived"]);
});
