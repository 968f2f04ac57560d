import { assertEquals } from "@std/assert";
import { type Found, judgeStress } from "./judge.ts";

const MIB = 2 ** 20;
const GOOD: Found = {
  requests: 10_000,
  answered: 9_920,
  resets: 100,
  half_closes: 100,
  unanswered: 0,
  unended: 0,
  errors: {},
  served: 9_950,
  descriptors_before: 26,
  descriptors_after: 28,
  threads_before: 6,
  threads_after: 3,
  pss_anon_bytes: [10 * MIB, 20 * MIB, 25 * MIB, 24 * MIB],
};
const COURSE = { seconds: 60, lost: 0, stoppedEarly: null, exitCode: 0 };
const judge = (found: Partial<Found>, course: Partial<typeof COURSE> = {}) =>
  judgeStress({ ...GOOD, ...found }, { ...COURSE, ...course });

Deno.test("a server that is at the limit of every rule passes", () => {
  assertEquals(judge({}), { level: true, broken: [] });
  for (const served of [9_920, 10_020]) assertEquals(judge({ served }).broken, []);
});

Deno.test("every rule that is broken is one sentence with its figures", () => {
  const cases: [found: Partial<Found>, sentence: string][] = [
    [{ unanswered: 1 }, "1 requests got no answer, although their clients did not reset them"],
    [{ unended: 2 }, "2 half-closed connections were answered, but not closed by the server"],
    [{ errors: { http_500: 1, ECONNREFUSED: 2 } }, "the clients met errors: http_500 1, ECONNREFUSED 2"],
    [{ descriptors_after: 29 }, "it has 29 descriptors at rest, before it had 26"],
    [{ threads_after: 7 }, "it has 7 threads at rest, before it had 6"],
    [{ served: null }, "the server did not say how many requests it has served"],
    [{ served: 9_919 }, "the server says that it has served 9 919 requests, but its clients have 9 920 answers"],
    [
      { served: 10_021 },
      "the server says that it has served 10 021 requests, 101 more than its clients have answers, but only 100 of " +
      "them made a reset",
    ],
    [{ half_closes: 0 }, "only 100 resets and 0 half-closes: give it more time"],
  ];
  for (const [found, sentence] of cases) assertEquals(judge(found).broken, [sentence]);
  assertEquals(judge({}, { lost: 3 }).broken, ["3 connections were closed or reset by the server before their time"]);
  assertEquals(judge({}, { exitCode: 1 }).broken, ["it ended with exit code 1"]);
  assertEquals(judge({ unanswered: 1, unended: 1 }).broken.length, 2);
});

Deno.test("memory is level up to 10 % + 2 MiB from the second quarter of the time to the last, and not judged in a short run", () => {
  const memory = (half: number | null, whole: number | null) => ({ pss_anon_bytes: [null, half, null, whole] });
  assertEquals(judge(memory(20 * MIB, 24 * MIB)).level, true);
  assertEquals(judge(memory(20 * MIB, 5 * MIB)).level, true);
  const grown = memory(20 * MIB, 24 * MIB + 1);
  assertEquals(judge(grown), {
    level: false,
    broken: ["memory grew from 20 MiB in the second quarter of the time to 24 MiB in the last"],
  });
  assertEquals(judge(grown, { seconds: 29 }), { level: null, broken: [] });
  assertEquals(judge(memory(null, 24 * MIB)).level, null);
});
