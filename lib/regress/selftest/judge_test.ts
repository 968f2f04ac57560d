import { assert, assertAlmostEquals, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { brokenPromises, draw, judgeSelftest } from "./judge.ts";
import { isWholeSelftest, SELFTEST_COLUMNS, selftestNotes, selftestTable } from "./table.ts";
import { readStudies, writeStudy } from "../../results/studies.ts";
import { machineOf } from "../../results/machine.ts";
import { hostFacts } from "../../sampling/host.ts";
import { found } from "../../testing/fixtures.ts";
import { seededRandom } from "../../timing/random.ts";
import type { SelftestRow } from "../../results/rows.ts";

const DECISIONS = 30;

/** Rounds of a copy, scattered evenly by so much on either side of its truth. */
function rounds(
  extra_percent: number,
  many: number,
  scatter: number,
  change: Partial<SelftestRow> = {},
): SelftestRow[] {
  const random = seededRandom(extra_percent + 1);
  return Array.from({ length: many }, (_, i) => ({
    extra_percent,
    round: i + 1,
    turns: extra_percent * 100,
    extra_cpu_us: extra_percent / 10,
    seconds: 12,
    log_ratio: Math.log1p(extra_percent / 100) + scatter * (2 * random() - 1),
    rate_per_s: 1000,
    reference_cpu_us_per_request: 10,
    candidate_cpu_us_per_request: 10 + extra_percent / 10,
    findings: [],
    failure: null,
    ...change,
  }));
}

Deno.test("with quiet rounds what is the same is never called slower, and what is slower always", () => {
  const cases = judgeSelftest([...rounds(5, 90, 0.02), ...rounds(0, 90, 0.02), ...rounds(10, 90, 0.02)], DECISIONS);
  assertEquals(cases.map((of) => [of.extraPercent, of.failed, of.inconclusive, of.decisions]), [
    [0, 0, 0, DECISIONS],
    [5, DECISIONS, 0, DECISIONS],
    [10, DECISIONS, 0, DECISIONS],
  ]);
  const [same, slower] = cases;
  assertEquals([same!.added, same!.sampleRounds, same!.minutes], [null, 30, 6]);
  assertAlmostEquals(slower!.added!.estimate, 1.05, 1e-12);
  assertAlmostEquals(slower!.found!.estimate, 1.05, 0.01);
  assert(slower!.failedShare.low! > 0.8 && slower!.failedShare.high === 1);
  assert(same!.halfWidth!.median > 0 && same!.halfWidth!.median <= same!.halfWidth!.most);
});

Deno.test("with noisy rounds it is said that nobody can tell", () => {
  const [same] = judgeSelftest(rounds(0, 90, 0.4), DECISIONS);
  assertEquals([same!.failed, same!.inconclusive], [0, DECISIONS]);
});

Deno.test("a promise that decisions do not keep is said, for each of the four", () => {
  const all = [0, 1, 4, 5].flatMap((extra) => rounds(extra, 90, 0.01));
  const cases = judgeSelftest(all, DECISIONS);
  assertEquals(brokenPromises(cases), []);
  const [same, little, much, more] = cases;
  const share = (estimate: number) => ({ estimate, low: estimate, high: estimate });
  assertEquals(
    brokenPromises([
      { ...same!, failed: 1 },
      { ...little!, failedShare: share(0.02) },
      { ...much!, notSlowerShare: share(0.02) },
      { ...more!, notSlowerShare: share(0.02), failedShare: share(0.9) },
    ]),
    [
      "Promise broken: what costs 0 % more is never called slower.",
      "Promise broken: what costs 1 % more is called slower in less than 1 % of decisions.",
      "Promise broken: what costs 4 % more is called not slower in less than 1 % of decisions.",
      "Promise broken: what costs 5 % more is called not slower in less than 1 % of decisions.",
      "Promise broken: what costs 5 % more is found in over 95 % of decisions.",
    ],
  );
});

Deno.test("rounds that do not count in a judgement do not count here", () => {
  const spoilt = rounds(0, 90, 0.02, { findings: [found("epoll", "foreign_load")] });
  const [same] = judgeSelftest(spoilt, DECISIONS);
  assertEquals([same!.inconclusive, same!.found], [DECISIONS, null]);
  const failure = { subject: "epoll", ended: "crashed" as const, reason: "it died" };
  const [, slower] = judgeSelftest(
    [...rounds(0, 90, 0.02), ...rounds(5, 60, 0, { failure, log_ratio: null })],
    DECISIONS,
  );
  assertEquals(slower!.failed, DECISIONS); // it crashed, and a job would fail by that
});

Deno.test("no round stands in a decision twice, and those of two decisions differ", () => {
  const same = rounds(0, 21, 0.01);
  const copy = rounds(5, 14, 0.01);
  const random = seededRandom(2);
  const seen = new Set<string>();
  for (const slower of [null, copy]) {
    for (let i = 0; i < 10; i++) {
      const { baseline, first, confirmation } = draw(same, slower, 7, random);
      const all = [...baseline, ...first, ...confirmation];
      assertEquals([all.length, new Set(all).size], [21, 21]);
      assertEquals([...first, ...confirmation].every((row) => (slower ?? same).includes(row)), true);
      assert(baseline.every((row) => same.includes(row)));
      seen.add(first.map(({ round }) => round).join());
    }
  }
  assertEquals(seen.size, 20);
});

Deno.test("of fewer rounds the samples are smaller, and it is said; of none there is no decision", () => {
  const cases = judgeSelftest([...rounds(0, 22, 0.01), ...rounds(5, 15, 0.01)], 2);
  assertEquals(cases.map((of) => of.sampleRounds), [7, 7]);
  assertStringIncludes(selftestNotes(cases).join(" "), "samples of 30 rounds: these are fewer");
  assertEquals(judgeSelftest(rounds(0, 2, 0.01), 2), []);
  assertEquals(judgeSelftest([], 2), []);
});

Deno.test("the same rounds give the same counts, and the table shows them with their intervals", () => {
  const rows = [...rounds(0, 30, 0.03), ...rounds(5, 20, 0.03)];
  const [once, again] = [judgeSelftest(rows, 10), judgeSelftest(rows, 10)];
  assertEquals(once, again);
  const cells = SELFTEST_COLUMNS.map(({ cell }) => cell({ ...once[0]!, failed: 0, decisions: 60, minutes: 2 }));
  assertEquals([cells[0], cells[1], cells[4], cells.at(-1)], ["itself", "–", "60", "2.0"]);
});

Deno.test("a self-test that was stored is read again, and one of too few rounds is none to show", async () => {
  const dir = Deno.makeTempDirSync();
  try {
    const command = "deno task selftest:regress";
    const whole = [...rounds(0, 90, 0.02), ...rounds(10, 60, 0.02)];
    await writeStudy("selftest", whole, { command, quick: false, dir });
    await writeStudy("selftest", rounds(0, 89, 0.02), { command: `${command} --rounds 89`, quick: false, dir });
    const { studies, passedOver } = await readStudies("selftest", dir, machineOf(hostFacts()));
    assertEquals([passedOver, studies.map(isWholeSelftest).sort()], [[], [false, true]]);
    const table = selftestTable(studies.find(isWholeSelftest)!, 5);
    const [, , same, slower, ...notes] = table.split("\n");
    assertMatch(
      same!,
      /^\| itself \| – \| .* \| 90 \| 5 \| 0 \[0\.0 %, 60\.2 %\] \| 5 \[39\.8 %, 100\.0 %\] \| 0 \|/,
    );
    assertMatch(
      slower!,
      /^\| about 10 % slower \| \+10\.0 % \[.* \| 60 \| 5 \| 5 \[39\.8 %, 100\.0 %\] \| 0 \[0\.0 %, 60\.2 %\] \| 0 \|/,
    );
    assertStringIncludes(notes.join("\n"), "Reproduce: `deno task selftest:regress`. Measured on: ");
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});
