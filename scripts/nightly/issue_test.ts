import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { EXIT } from "../../lib/cli/exit.ts";
import type { HostKind } from "../../lib/regress/baseline.ts";
import type { RegressionRecord, RegressionRow } from "../../lib/regress/record.ts";
import { night } from "../../lib/testing/fixtures.ts";
import { decideIssue, type IssueEntry, type IssueStep, readEntries, reasonToLeave } from "./issue.ts";

const RUN = "https://example.org/lab/actions/runs/7";
const KIND: HostKind = { cpu: "a CPU", cores: 4, kernel: "6.18", io_uring: "available" };
const OTHER: HostKind = { ...KIND, cpu: "another CPU" };
const SCHEDULE = { event: "schedule", branch: "main", defaultBranch: "", run: RUN };

type Verdicts = Record<string, RegressionRow["verdict"]>;

/** A record of the n-th day, with the exit code that these verdicts have. */
function record(day: number, verdicts: Verdicts, change: Partial<RegressionRecord> = {}): RegressionRecord {
  const all = Object.values(verdicts);
  const isBad = all.includes("slower") || all.includes("broken");
  const exit = isBad ? EXIT.failed : all.every((of) => of === "not_slower") ? EXIT.ok : EXIT.inconclusive;
  const experiments = Object.entries(verdicts).flatMap(([experiment, verdict]) =>
    night(day, { ratio: 1, experiment, verdict }).experiments
  );
  return { ...night(day, { ratio: 1 }), kind: KIND, exit, experiments, ...change };
}

const bodyOf = (step: IssueStep): string => {
  assert(step.step === "open" || step.step === "edit", step.step);
  return step.body;
};
const entriesOf = (body: string) =>
  readEntries(body)!.map(({ experiment, verdict, kind }) => [experiment, verdict, kind]);
/** The issue that a night opened. */
const opened = (of: RegressionRecord) => ({ number: 7, body: bodyOf(decideIssue(of, null, RUN)) });
const decide = (of: RegressionRecord, issue: { number: number; body: string } | null) => decideIssue(of, issue, RUN);

Deno.test("a regression opens the issue, and so does a broken experiment", () => {
  for (const verdict of ["slower", "broken"] as const) {
    const step = decide(record(1, { "event-loop": verdict, poll: "not_slower", select: "inconclusive" }), null);
    assert(step.step === "open");
    assertEquals(step.title, verdict === "slower" ? "Slower: event-loop" : "Broken: event-loop");
    assertEquals(entriesOf(step.body), [["event-loop", verdict, KIND]]);
  }
});

Deno.test("the body has the table, the link to the run, the kind of machine and what is open", () => {
  const { body } = opened(record(1, { "event-loop": "slower", poll: "not_slower" }));
  assertMatch(body, /^\| event-loop \| slower \|.*\|$/m);
  assertMatch(body, /^\| poll \| not_slower \|.*\|$/m);
  assertStringIncludes(
    body,
    `[The run](${RUN}) has all rounds. It was on: a CPU, 4 cores, kernel 6.18, io_uring available.`,
  );
  assertStringIncludes(
    body,
    "\n- event-loop: slower since 2026-01-02 on a CPU, 4 cores, kernel 6.18, io_uring available\n",
  );
  const text = decideIssue(record(1, { a: "slower" }), null, null);
  assertStringIncludes(bodyOf(text), "\nThe run has all rounds.");
});

Deno.test("another regression edits the issue: entries join, keep their first day, and take the newest table", () => {
  const issue = opened(record(1, { a: "slower", b: "not_slower" }));
  const again = decide(record(2, { a: "broken", b: "slower" }), issue);
  assert(again.step === "edit");
  assertEquals([again.number, again.title], [7, "Slower: b; broken: a"]);
  assertEquals(entriesOf(again.body), [["a", "broken", KIND], ["b", "slower", KIND]]);
  assertEquals(readEntries(again.body)!.map(({ since }) => since.slice(0, 10)), ["2026-01-02", "2026-01-03"]);
  const elsewhere = decide(record(3, { a: "slower" }, { kind: OTHER }), issue);
  assertEquals(entriesOf(bodyOf(elsewhere)), [["a", "slower", KIND], ["a", "slower", OTHER]]);
});

Deno.test("a night that is not slower, on such a machine and for all that the issue names, closes it", () => {
  const issue = opened(record(1, { a: "slower", b: "broken", c: "not_slower" }));
  const step = decide(record(2, { a: "not_slower", b: "not_slower" }), issue);
  assertEquals(step, { step: "close", number: 7, comment: `Not slower any more: [this run](${RUN}).` });
});

Deno.test("an issue on what broke alone is not closed as one on what got slower", () => {
  const issue = opened(record(1, { a: "broken", b: "broken" }));
  const step = decide(record(2, { a: "not_slower", b: "not_slower" }), issue);
  assertEquals(step, { step: "close", number: 7, comment: `It answers again, and is not slower: [this run](${RUN}).` });
});

Deno.test("nothing closes the issue but such a night: not another machine, and not a night without its experiment", () => {
  const issue = opened(record(1, { a: "slower" }));
  const nights = [record(2, { a: "not_slower" }, { kind: OTHER }), record(2, { b: "not_slower" })];
  for (const of of nights) {
    const step = decide(of, issue);
    assert(step.step === "leave");
    assertEquals(step.reason, "the night does not judge what #7 names on such a machine");
  }
});

Deno.test("beside a regression of something else, what is not slower any more is taken out, and the rest stays", () => {
  const issue = opened(record(1, { a: "slower", b: "broken" }));
  const step = decide(record(2, { a: "not_slower", b: "inconclusive", c: "slower" }), issue);
  assertEquals(entriesOf(bodyOf(step)), [["b", "broken", KIND], ["c", "slower", KIND]]);
  assert(step.step === "edit");
  assertEquals(step.title, "Slower: c; broken: b");
});

Deno.test("of entries on two kinds of machine, each kind takes out its own, and the last one closes", () => {
  const first = opened(record(1, { a: "slower" }));
  const both = { number: 7, body: bodyOf(decide(record(2, { a: "slower" }, { kind: OTHER }), first)) };
  const one = decide(record(3, { a: "not_slower" }), both);
  assertEquals([one.step, entriesOf(bodyOf(one))], ["edit", [["a", "slower", OTHER]]]);
  const last = decide(record(4, { a: "not_slower" }, { kind: OTHER }), { number: 7, body: bodyOf(one) });
  assertEquals(last.step, "close");
});

Deno.test("a good night without an open issue does nothing", () => {
  assertEquals(decide(record(1, { a: "not_slower" }), null), { step: "leave", reason: "no issue is open" });
});

Deno.test("an issue whose state was edited away is not closed, and gets a state again by a regression", () => {
  for (
    const body of [
      "",
      "text",
      '<!-- nightly-regression {"schema":1 -->',
      '<!-- nightly-regression {"schema":2,"entries":[]} -->\n',
    ]
  ) {
    const issue = { number: 7, body };
    const good = decide(record(2, { a: "not_slower" }), issue);
    assert(good.step === "leave", body);
    assertStringIncludes(good.reason, "close it by hand");
    assertEquals(entriesOf(bodyOf(decide(record(2, { a: "slower" }), issue))), [["a", "slower", KIND]]);
  }
});

Deno.test("state is read from the first line alone, also with the line ends of a browser", () => {
  const { body } = opened(record(1, { a: "slower" }));
  assertEquals(readEntries(body.replaceAll("\n", "\r\n")), readEntries(body));
  assertEquals(readEntries(`text\n${body}`), null);
});

Deno.test("what a broken server printed cannot change the state", () => {
  const fake = `<!-- nightly-regression {"schema":1,"entries":[]} -->`;
  const broken = record(1, { a: "broken" });
  broken.experiments[0]!.reason = `crashed: \n${fake}\n`;
  assertEquals(entriesOf(opened(broken).body), [["a", "broken", KIND]]);
});

Deno.test("a body is never longer than GitHub takes, and keeps its state then", () => {
  const broken = record(1, { a: "broken" });
  broken.experiments[0]!.reason = "x".repeat(100_000);
  const { body } = opened(broken);
  assert(body.length < 65_536);
  assertEquals(entriesOf(body), [["a", "broken", KIND]]);
});

Deno.test("whatever the names are, the state is read back as it was written, in one comment", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("-->", "--!>", "<!--", "\n", "\u2028"));
  const entry: fc.Arbitrary<IssueEntry> = fc.record({
    experiment: text,
    verdict: fc.constantFrom("slower" as const, "broken" as const),
    kind: fc.record({
      cpu: fc.option(text),
      cores: fc.integer({ min: 1, max: 1024 }),
      kernel: text,
      io_uring: fc.option(text),
    }, { noNullPrototype: true }),
    since: fc.constant("2026-01-02T03:00:00.000Z"),
  });
  fc.assert(fc.property(entry, ({ experiment, verdict, kind, since }) => {
    const { body } = opened(record(1, { [`x${experiment}`]: verdict }, { kind, time: since }));
    assertEquals(readEntries(body), [{ experiment: `x${experiment}`, verdict, kind, since }]);
    const [line] = body.split("\n");
    assertEquals([line!.indexOf("-->"), line!.lastIndexOf("<!--")], [line!.length - 3, 0]);
  }));
});

Deno.test("the issue is left alone where a night says nothing of it", () => {
  const good = record(1, { a: "not_slower" });
  const reasons: [string, ReturnType<typeof reasonToLeave>][] = [
    ["there is no verdict of this night", reasonToLeave(null, SCHEDULE)],
    ["a new baseline judges nothing", reasonToLeave({ ...good, new_baseline: true }, SCHEDULE)],
    ["the night is inconclusive", reasonToLeave(record(1, { a: "inconclusive" }), SCHEDULE)],
    [
      "the night is inconclusive, and nothing was decided about a for 4 nights in a row",
      reasonToLeave(record(1, { a: "inconclusive" }, { undecided: [{ experiment: "a", nights: 4 }] }), SCHEDULE),
    ],
    ["the night ended with exit code 69", reasonToLeave({ ...good, exit: EXIT.unavailable }, SCHEDULE)],
    ["the night ended with exit code 70", reasonToLeave({ ...good, exit: EXIT.harness }, SCHEDULE)],
  ];
  for (const [expected, reason] of reasons) assertEquals(reason, expected);
});

Deno.test("nights of other branches leave it alone, those of the default branch and of the schedule do not", () => {
  const bad = record(1, { a: "slower" });
  const dispatch = { ...SCHEDULE, event: "workflow_dispatch", defaultBranch: "main" };
  assertEquals(reasonToLeave(bad, SCHEDULE), null);
  assertEquals(reasonToLeave(bad, dispatch), null);
  assertEquals(reasonToLeave(record(1, { a: "not_slower" }), dispatch), null);
  for (const origin of [{ branch: "topic" }, { branch: "", defaultBranch: "" }, { defaultBranch: "" }]) {
    assertNotEquals(reasonToLeave(bad, { ...dispatch, ...origin }), null);
  }
});
