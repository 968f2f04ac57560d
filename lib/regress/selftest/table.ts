/**
 * How a self-test is shown.
 *
 * @module
 */
import { count, MISSING } from "../../text/format.ts";
import { ROUND } from "../command.ts";
import { changeInterval } from "../record.ts";
import { type CaseJudged, DECISIONS, judgeSelftest, SAMPLES } from "./judge.ts";
import { REFERENCE } from "./slowed_epoll.ts";
import type { Interval } from "../../timing/stats.ts";
import type { Study } from "../../results/studies.ts";
import { machines } from "../../tables/overview.ts";
import { type Column, markdown } from "../../text/table.ts";

const percent = (share: number, digits = 1) => `${(share * 100).toFixed(digits)} %`;
const change = (of: Interval | null) => of === null ? MISSING : changeInterval(of.estimate, of.low, of.high);
const share = ({ low, high }: Interval) => `[${percent(low!)}, ${percent(high!)}]`;

/** The columns: a row is a copy. */
export const SELFTEST_COLUMNS: Column<CaseJudged>[] = [
  {
    heading: `against ${REFERENCE}`,
    cell: ({ extraPercent }) => extraPercent === 0 ? "itself" : `about ${extraPercent} % slower`,
    left: true,
  },
  { heading: "injected (thread\nCPU time) [98 %]", cell: ({ added }) => change(added), left: true },
  { heading: "found by all rounds\n[98 %]", cell: ({ found }) => change(found), left: true },
  { heading: "rounds", cell: ({ rounds }) => count(rounds) },
  { heading: "decisions", cell: ({ decisions }) => count(decisions) },
  { heading: "slower\n[98 %]", cell: ({ failed, failedShare }) => `${count(failed)} ${share(failedShare)}` },
  {
    heading: "not slower\n[98 %]",
    cell: ({ notSlower, notSlowerShare }) => `${count(notSlower)} ${share(notSlowerShare)}`,
  },
  { heading: "inconclusive", cell: ({ inconclusive }) => count(inconclusive) },
  {
    heading: "half-width of interval:\nmedian, p90",
    cell: ({ halfWidth }) =>
      halfWidth === null ? MISSING : `${percent(halfWidth.median, 2)}, ${percent(halfWidth.most, 2)}`,
  },
  { heading: "minutes per\nexperiment", cell: ({ minutes }) => count(minutes, 1) },
];

/** What has to be known to read the table right: a sentence each. */
export function selftestNotes(cases: readonly CaseJudged[]): string[] {
  const sizes = [...new Set(cases.map(({ sampleRounds }) => sampleRounds))];
  const few = sizes.some((n) => n < ROUND.rounds);
  return [
    `A decision has ${SAMPLES} samples of ${
      sizes.join(" or ")
    } rounds: the baseline, the first, and fresh ones after ` +
    "an alarm. Its rounds are drawn from the stored real ones without replacement; different decisions share rounds, so " +
    "the intervals of their counts are what they would be if they did not, and too narrow.",
    '"Slower" for the same server is a false alarm; "not slower" for one that is slower by more than 2 % is a miss.',
    "What is found may be less than what was put in: while a server is busy for longer, more requests come in that the next " +
    "call tells of together.",
    "All rounds are of one run: what differs from night to night, such as where memory lies after a new start of the machine, " +
    "is not in them.",
    "Minutes are those without an alarm; fresh rounds take as many again.",
    ...(few ? [`A judgement takes samples of ${ROUND.rounds} rounds: these are fewer, a first look.`] : []),
  ];
}

/** Whether a self-test is one to show: with rounds enough for decisions as a judgement makes them. */
export const isWholeSelftest = ({ rows }: Study<"selftest">): boolean =>
  rows.filter((row) => row.extra_percent === 0).length >= SAMPLES * ROUND.rounds;

/** A stored self-test in Markdown. */
export function selftestTable({ rows, command, host }: Study<"selftest">, decisions = DECISIONS): string {
  const cases = judgeSelftest(rows, decisions);
  const notes = selftestNotes(cases).map((note) => `- ${note}`).join("\n");
  return `${markdown(cases, SELFTEST_COLUMNS)}\n\n${notes}\n\nReproduce: \`${command}\`. ${machines([{ host }])}`;
}
