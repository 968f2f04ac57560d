/**
 * Verdicts in the notebooks: a server against itself and against a slower copy, in a cell; and what is stored of the nights.
 *
 * @module
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { catalogue, find } from "../catalogue/catalogue.ts";
import { changePoints, LEAST_SEGMENT } from "../regress/change_points.ts";
import type { LinesSpec } from "../charts/config.ts";
import { tellChanges, type Trend, trendChart, trends } from "../regress/trend.ts";
import { CONNECTIONS } from "../regress/command.ts";
import { decide, type Decision } from "../regress/decision.ts";
import { changeInterval, readHistory, type RegressionRecord } from "../regress/record.ts";
import { checkNumber, checkWhole } from "./inputs.ts";
import { isQuick, Picture, show, showText } from "./show.ts";
import { PatchedCopies } from "../catalogue/patched_copies.ts";
import { type Candidate, measurePairs, measureRounds, type PlacedRound } from "../regress/rounds.ts";
import { burntUs, guessTurns, REFERENCE, slowed } from "../regress/selftest/slowed_epoll.ts";
import { isWholeSelftest, selftestTable } from "../regress/selftest/table.ts";
import { medianOf } from "../timing/stats.ts";
import { readBook, RESULTS } from "./stored.ts";
import { counted } from "../text/format.ts";
import { seededRandom } from "../timing/random.ts";

/** What a few rounds found. In %, of the CPU time per request; null: there is no figure. */
export interface LiveJudgement {
  /** CPU time of a request of the server itself, in µs. */
  cpuUs: number | null;
  /** What was injected, in CPU time of the copy's thread. */
  addedPercent: number | null;
  /** What the pairs found. */
  foundPercent: number | null;
  /** From the lowest to the highest round: each server's own figure, and the ratio of the two. */
  alonePercent: number | null;
  pairedPercent: number | null;
  decision: Decision | null;
}

/** How far apart the lowest and the highest of some positive figures are, in % of the lowest. */
export const spreadPercent = (values: readonly number[]): number | null =>
  values.length === 0 ? null : (Math.max(...values) / Math.min(...values) - 1) * 100;

const percent = (ratio: number) => (ratio - 1) * 100;
const known = (values: (number | null)[]) => values.filter((value) => value !== null);

/** Each round twice: the copy by the server beside it in the same round, and by the middle of that server's rounds. */
export function roundsChart(rounds: readonly PlacedRound[], title: string): LinesSpec {
  const middle = medianOf(rounds.map((round) => round.reference_cpu_us_per_request));
  const line = (name: string, family: string, value: (round: PlacedRound) => number | null) => ({
    name,
    family,
    points: rounds.map((round, i) => ({ x: i + 1, value: value(round) })),
  });
  return {
    kind: "lines",
    title,
    x: { label: "rounds", unit: "rounds", scale: "linear" },
    y: { label: "change of the CPU time per request", unit: "percent", scale: "linear" },
    series: [
      line("in pairs", "readiness", ({ log_ratio: log }) => log === null ? null : percent(Math.exp(log))),
      line(
        "alone",
        "custom",
        ({ candidate_cpu_us_per_request: cpu }) => cpu === null || middle === null ? null : percent(cpu / middle),
      ),
    ],
  };
}

function judge(rounds: readonly PlacedRound[], wanted: number, extraUs: number): LiveJudgement {
  const logs = known(rounds.map(({ log_ratio }) => log_ratio));
  const found = medianOf(logs);
  const cpuUs = medianOf(rounds.map((round) => round.reference_cpu_us_per_request));
  const alone = known(rounds.map((round) => round.candidate_cpu_us_per_request));
  return {
    cpuUs,
    addedPercent: cpuUs === null ? null : extraUs / cpuUs * 100,
    foundPercent: found === null ? null : percent(Math.exp(found)),
    alonePercent: spreadPercent(alone),
    pairedPercent: spreadPercent(logs.map(Math.exp)),
    decision: logs.length === 0 ? null : decide({ first: logs, fresh: null, baseline: null, rounds: wanted }),
  };
}

/** Why the pairs find less than was injected. It says nothing where the interval contains what was injected. */
const LESS_FOUND =
  "Less is found than was injected: while a server is busy for longer, more requests come in, and its next call reports them " +
  "together. That saves calls.";

/** The verdict in words. */
export function tellJudgement(name: string, { addedPercent, decision }: LiveJudgement): string {
  if (decision === null) return `${name}: there is no figure`;
  const { verdict, reason, all: { change } } = decision;
  const found = change === null ? "" : `, ${changeInterval(change.estimate, change.low, change.high)}`;
  const put = addedPercent ? `; injected: ${addedPercent.toFixed(1)} %` : "";
  const isLess = addedPercent !== null && change !== null && change.high !== null &&
    addedPercent > percent(change.high);
  const said = `**${name}**: ${verdict.replace("_", " ")}${reason === null ? "" : ` (${reason})`}${found}${put}`;
  return isLess ? `${said}. ${LESS_FOUND}` : said;
}

/**
 * Measures epoll against a copy of itself in short paired rounds, with a chart that grows by each, and decides. A quick run
 * has 2 rounds at the most, and no verdict. Some 4 s a round; nothing is stored.
 *
 * @param extraPercent What the copy burns beyond the CPU time of a request; 0: it is the same.
 * @param rounds For an interval of 98 % it takes 7.
 * @param cpuUs What a request takes, in CPU-µs, as an earlier call has found; needed where the copy is slower.
 */
export async function judgeLive(
  extraPercent: number,
  rounds: number,
  cpuUs: number | null = null,
): Promise<LiveJudgement> {
  checkNumber("extraPercent", extraPercent);
  checkWhole("rounds", rounds);
  if (cpuUs !== null) checkNumber("cpuUs", cpuUs);
  using changed = new PatchedCopies(join(tmpdir(), "c10k-lab")); // a kernel stands in notebooks/, and may write anywhere
  const wanted = isQuick ? Math.min(rounds, 2) : rounds;
  const isSlower = extraPercent > 0 && cpuUs !== null;
  const turns = isSlower ? guessTurns(cpuUs * extraPercent / 100) : 0;
  const name = isSlower ? `${REFERENCE}, about ${extraPercent} % slower` : `${REFERENCE} again`;
  const copy = slowed(changed, "copy", turns);
  const extraUs: number[] = [];
  const candidate: Candidate = {
    subject: copy,
    connections: CONNECTIONS,
    ratePerS: null,
    baseline: null,
    rounds: [],
  };
  const picture = new Picture();
  const { signal } = new AbortController();
  const load = isQuick
    ? { slices: 2, seconds: 0.1, settleSeconds: 0.5 }
    : { slices: 12, seconds: 0.125, settleSeconds: 1.5 };
  const title = `${name}, against ${REFERENCE}`;
  await measureRounds([candidate], {
    rounds: wanted,
    confirm: false,
    signal,
    measure: measurePairs(find(REFERENCE), { ...load, signal }),
    keep: async ({ rounds }) => {
      if (isSlower && rounds.at(-1)!.failure === null) {
        extraUs.push(await burntUs(copy));
      }
      await picture.draw(roundsChart(rounds, title));
    },
  });
  const found = judge(candidate.rounds, rounds, medianOf(extraUs) ?? 0);
  const { failure } = candidate.rounds.at(-1)!;
  await showText(tellJudgement(name, found) + (failure === null ? "" : `\n\n${failure.reason}`));
  return found;
}

/** Shows how often verdicts are right, by the stored self-test. */
export async function showSelftest(): Promise<void> {
  const whole = (await readBook()).studies.selftest.findLast(isWholeSelftest);
  await showText(
    whole === undefined ? "Nothing is stored yet: `deno task selftest:regress`." : selftestTable(whole, 100),
  );
}

const MADE_UP = { time: "2000-01-01T03:00:00.000Z", deno: "" }; // dates of no night that ever was

/** Nights that are made up: a ratio of 1 with noise of a normal distribution, and a change from one night on. Repeatable. */
export function madeUpNights(
  { nights, from, changePercent, noisePercent }: Record<"nights" | "from" | "changePercent" | "noisePercent", number>,
  seed = 1,
): Trend {
  checkWhole("nights", nights);
  checkWhole("from", from);
  checkNumber("changePercent", changePercent, -100);
  checkNumber("noisePercent", noisePercent);
  const random = seededRandom(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()); // Box and Muller
  const points = Array.from({ length: nights }, (_, i) => {
    const time = new Date(Date.parse(MADE_UP.time) + i * 86_400_000).toISOString();
    const ratio = Math.exp(noisePercent / 100 * normal()) * (i + 1 >= from ? 1 + changePercent / 100 : 1);
    return { ...MADE_UP, time, ratio, low: null, high: null };
  });
  return {
    experiment: "made up",
    reference: REFERENCE,
    points,
    changes: changePoints(points.map(({ ratio }) => Math.log(ratio))),
  };
}

/** What is said where no change is found: too few nights cannot show one. */
function noChange(nights: number): string {
  const least = 2 * LEAST_SEGMENT;
  return nights >= least
    ? "No change is found."
    : `${counted(nights, "night")} cannot show a change: the search needs ${least}, ${LEAST_SEGMENT} on each side.`;
}

/** Shows nights and where they changed. Returns the first night of the first change, counted from 1; null: there is none. */
export async function showCourse(course: Trend): Promise<number | null> {
  await show(trendChart(course, find(REFERENCE).family));
  await showText(tellChanges([course])[0] ?? noChange(course.points.length));
  return course.changes[0] === undefined ? null : course.changes[0] + 1;
}

const EMPTY: LinesSpec = {
  kind: "lines",
  title: "There is no history yet",
  x: { label: "nights", unit: "nights", scale: "linear" },
  y: { label: "change of the CPU time per request", unit: "percent", scale: "linear" },
  series: [],
};

const familyOf = (name: string) => catalogue().find((of) => of.name === name)?.family ?? "custom";

/** Shows the longest course of the stored nights, and what changed in all of them. */
export async function showHistory(history?: readonly RegressionRecord[]): Promise<void> {
  const all = trends(history ?? (await readHistory(join(RESULTS, (await readBook()).machine))).values);
  const [longest] = all.toSorted((a, b) => b.points.length - a.points.length);
  await show(longest === undefined ? EMPTY : trendChart(longest, familyOf(longest.experiment)));
  const lines = tellChanges(all).map((line) => `- ${line}`).join("\n");
  await showText(
    longest === undefined ? "`deno task regress` adds a night." : lines || noChange(longest.points.length),
  );
}
