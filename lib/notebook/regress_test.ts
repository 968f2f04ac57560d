import { assert, assertAlmostEquals, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  judgeLive,
  madeUpNights,
  roundsChart,
  showCourse,
  showHistory,
  showSelftest,
  spreadPercent,
  tellJudgement,
} from "./regress.ts";
import { readBook } from "./stored.ts";
import { decide } from "../regress/decision.ts";
import type { PlacedRound } from "../regress/rounds.ts";
import { showing } from "../testing/jupyter.ts";
import { night } from "../testing/fixtures.ts";

const round = (change: Partial<PlacedRound>): PlacedRound => ({
  experiment: "copy",
  phase: "first",
  log_ratio: 0,
  rate_per_s: 1000,
  findings: [],
  failure: null,
  reference_cpu_us_per_request: 10,
  candidate_cpu_us_per_request: 10,
  ...change,
});

Deno.test("a round is drawn in pairs and alone; one that failed is a gap", () => {
  const failed = round({ log_ratio: null, reference_cpu_us_per_request: null, candidate_cpu_us_per_request: null });
  const slow = round({ reference_cpu_us_per_request: 20, candidate_cpu_us_per_request: 22, log_ratio: Math.log(1.1) });
  const { series } = roundsChart([round({}), slow, failed, round({})], "x");
  const [paired, alone] = series.map(({ points }) => points.map(({ value }) => value));
  assertEquals([paired![0], paired![2], alone![2]], [0, null, null]);
  assertAlmostEquals(paired![1]!, 10, 1e-9);
  assertAlmostEquals(alone![1]!, 120, 1e-9); // the machine was slow, and only the pair knows it
});

Deno.test("the spread is from the lowest to the highest", () => {
  assertAlmostEquals(spreadPercent([12, 10, 11])!, 20, 1e-9);
  assertEquals([spreadPercent([3]), spreadPercent([])], [0, null]);
});

Deno.test({
  name: "a slower copy is drawn round by round, judged, and shown with what was put in",
  ignore: Deno.build.os !== "linux",
}, async () => {
  const shown = await showing(async () => {
    const found = await judgeLive(20, 1, 8);
    assert(found.cpuUs! > 0 && found.addedPercent !== 0, JSON.stringify(found));
    assertEquals(found.decision!.verdict, "inconclusive"); // of one round there is no interval
  });
  assertEquals(shown.map(({ type }) => type), ["display_data", "display_data"]);
  assertMatch(shown[1]!.data["text/plain"]!, /about 20 % slower\*\*: inconclusive .*too few rounds.*; injected: -?\d/);
});

Deno.test("where nothing was measured the sentence says so", () => {
  const nothing = { cpuUs: null, addedPercent: null, foundPercent: null, alonePercent: null, pairedPercent: null };
  assertEquals(tellJudgement("epoll", { ...nothing, decision: null }), "epoll: there is no figure");
});

Deno.test("where the pairs find less than was injected, the sentence says why that may be", () => {
  const nothing = { cpuUs: null, foundPercent: null, alonePercent: null, pairedPercent: null };
  const change = { estimate: 1.074, low: 1.06, high: 1.1 };
  const decision = decide({ first: Array(8).fill(Math.log(1.074)), fresh: null, baseline: null, rounds: 8 });
  const said = (addedPercent: number) =>
    tellJudgement("copy", { ...nothing, addedPercent, decision: { ...decision, all: { ...decision.all, change } } });
  assertStringIncludes(
    said(10.5),
    "+7.4 % [+6.0 %, +10.0 %]; injected: 10.5 %. Less is found than was injected: while",
  );
  assertEquals(said(9.5).includes("Less is found"), false);
});

Deno.test("too few nights cannot show a change, and say so", async () => {
  const text = async (nights: number) => {
    const history = Array.from({ length: nights }, (_, i) => night(i, { ratio: 1 }));
    return (await showing(() => showHistory(history))).at(-1)!.data["text/plain"];
  };
  assertEquals(await text(2), "2 nights cannot show a change: the search needs 10, 5 on each side.");
  assertEquals(await text(10), "No change is found.");
  const course = madeUpNights({ nights: 1, from: 1, changePercent: 5, noisePercent: 1 });
  const shown = await showing(() => showCourse(course));
  assertStringIncludes(shown.at(-1)!.data["text/plain"]!, "1 night cannot show a change");
});

Deno.test("made-up nights are the same each time, and their change is found where it is large enough", async () => {
  const plan = { nights: 40, from: 25, changePercent: 5, noisePercent: 1 };
  assertEquals(madeUpNights(plan), madeUpNights(plan));
  const shown = await showing(async () => assertEquals(await showCourse(madeUpNights(plan)), 25));
  assertStringIncludes(shown[1]!.data["text/plain"]!, "(16 nights, 24 before)");
  await showing(async () => assertEquals(await showCourse(madeUpNights({ ...plan, changePercent: 0 })), null));
});

Deno.test("stored nights are one chart and one text, whether there are any or not, and so is the self-test one text", async () => {
  await showing(() => readBook()); // the first call shows whose figures these are
  const kinds = async (cell: () => Promise<void>) => (await showing(cell)).map(({ data }) => Object.keys(data)[0]);
  const history = [...Array(10).fill(1), ...Array(10).fill(1.05)].map((ratio, i) => night(i, { ratio }));
  assertEquals(await kinds(() => showHistory([])), ["image/png", "text/markdown"]);
  assertEquals(await kinds(() => showHistory(history)), ["image/png", "text/markdown"]);
  const [, text] = await showing(() => showHistory(history));
  assertEquals(text!.data["text/plain"], "- event-loop: +5.0 % since 2026-01-11 (10 nights, 10 before)");
  assertEquals(await kinds(showSelftest), ["text/markdown"]);
});
