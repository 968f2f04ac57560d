import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { judgeClaim, LEDGER } from "../claims/ledger.ts";
import type { ProbeRow } from "../probes/mod.ts";
import {
  claimChart,
  claimOf,
  showClaim,
  showJudged,
  showRule,
  showSwitches,
  showVerdicts,
  tryClaim,
  verdictText,
} from "./claims.ts";
import { LOOKS } from "./claim_charts.ts";
import { showing } from "../testing/jupyter.ts";
import { call, compared, held, on, type Piece, probed, storedOf } from "../testing/fixtures.ts";

const IDS = Object.keys(LOOKS);
const SIZES = [10, 100, 1000, 10_000];
const nothing = storedOf();
const cpu = (of: string, to: string): Piece =>
  compared(["throughput", 100, "cpu_us_per_request"], [of, to], [0.8, 0.75, 0.85]);
/** Figures for all marks, those of the probes by the names that the probes give them. */
const everything = storedOf(
  ...["pipe", "futex"].flatMap((by) => ["one-core", "two-cores"].map((on) => `${by} ${on}`))
    .map((variant) => probed("context-switch", variant, "switch_us", 2)),
  probed("thread-memory", "c-threads 8 MiB", "virtual_bytes_per_thread", 8 * 2 ** 20),
  held("c-threads", 10_000, { pss_bytes: 200e6 }),
  ...["process-per-conn", "prefork", "apache-prefork", "python-prefork"]
    .map((name) => probed("process-memory", name, "pss_bytes_per_process", 300e3)),
  held("process-per-conn", 10_000),
  ...SIZES.flatMap((size) => [call("select", size, size), call("epoll_wait", size, 0.5)]),
  ...[cpu("c-io-uring", "c-epoll"), cpu("io-uring", "epoll")],
);
const kinds = (shown: { type: string; data: Record<string, string> }[]) =>
  shown.map(({ type, data }) => [type, ...Object.keys(data)].join(" "));

Deno.test("the size to which a chart holds its figures is that which the claim names", () => {
  for (const id of IDS) assertStringIncludes(claimOf(id).claim.en, LOOKS[id]!.said.words, id);
  assertThrows(() => claimOf("T-swich"), Error, "Did you mean T-switch?");
});

Deno.test("a chart has the text, the guess and every mark, with a line at what the text says", () => {
  for (const id of IDS) {
    const look = LOOKS[id]!;
    const { items, reference } = claimChart(look, 5, everything);
    assertEquals(reference, look.said.value);
    assertEquals(items.map(({ name }) => name).slice(2), look.marks.map(({ name }) => name));
    assertEquals(items.slice(0, 2).map(({ value }) => value), [look.said.value, 5]);
    for (const { name, value } of items) assert(value! > 0, `${id}, ${name}`);
  }
  const { items } = claimChart(LOOKS["C-100x"]!, null, everything);
  assertEquals(items.map(({ value }) => value), [100, null, 20, 200, 2000, 20_000]);
});

Deno.test("what is not measured, cannot be had, or is no more than noise stands in its row with the reason", () => {
  const some = storedOf(
    probed("context-switch", "pipe one-core", "switch_us", null),
    probed("context-switch", "futex two-cores", "switch_us", -1),
  );
  const notes = claimChart(LOOKS["T-switch"]!, 0, some).items.slice(1).map(({ value, note }) => value ?? note);
  assertEquals(notes, [
    "no more than noise",
    "pipe one-core: it could not be had",
    "not measured yet",
    "not measured yet",
    "no more than noise",
  ]);
});

Deno.test("a verdict is shown with guess, figure, reasons, files and command; a missing one with what makes it", () => {
  const found = verdictText(judgeClaim(claimOf("C-100x"), everything), 50, "ratio");
  for (
    const text of [
      "**C-100x: holds in part.** You guessed × 50, the figure is **× 20 000",
      "(../results/a-cpu-2c-24g-linux/studies/",
      "`deno",
    ]
  ) {
    assertStringIncludes(found, text);
  }
  for (const words of ["rule", "sceptic"] as const) assertStringIncludes(found, claimOf("C-100x")[words]);
  const missing = verdictText(judgeClaim(claimOf("T-switch"), nothing), null, "us");
  for (
    const text of ["not measured yet.** You guessed nothing, there is no figure", "`deno task probe context-switch`"]
  ) {
    assertStringIncludes(missing, text);
  }
  assertStringIncludes(missing, "`deno task claims --only T-switch`");
});

Deno.test("each call shows the same kinds of output, whether all is measured or nothing", async () => {
  const stored = [nothing, everything, storedOf(on({ os: "windows" }))];
  for (const id of IDS) {
    for (const of of stored) {
      const shown = await showing(() => tryClaim(of, id, 1)); // one after the other: there is one kernel
      assertEquals(kinds(shown), ["display_data image/png text/plain", "display_data text/markdown text/plain"], id);
    }
  }
  for (const of of stored) {
    const shown = await showing(() => showVerdicts(of));
    assertEquals(kinds(shown), ["display_data text/markdown text/plain", "display_data text/markdown text/plain"]);
  }
});

Deno.test("the table of verdicts has every claim in both languages, and says what is missing", async () => {
  const [tally, table] = (await showing(() => showVerdicts(nothing))).map(({ data }) => data["text/markdown"]!);
  assertMatch(tally!, new RegExp(`^${LEDGER.length} claims\\. .*\`deno task claims\` measures what is missing\\.`));
  for (const { id, claim: { en, ko } } of LEDGER) assertStringIncludes(table!, `| ${id} | ${en} | ${ko} |`);
});

Deno.test("a claim is shown in both languages with how it is tried, and its rule as it stands in the source", async () => {
  for (const id of IDS) {
    const { claim: { en, ko }, tried } = claimOf(id);
    const [about] = await showing(() => showClaim(id));
    const [source] = await showing(() => showRule(id));
    for (const text of [en, ko, tried]) assertStringIncludes(about!.data["text/markdown"]!, text);
    assertMatch(
      source!.data["text/markdown"]!,
      new RegExp(`^lib/claims/\\w+\\.ts, line \\d+:[^]*id: "${id}",[^]*judge\\(`),
    );
  }
  await assertRejects(() => showing(() => showRule("T-swich")), Error, "Unknown claim T-swich");
});

Deno.test("a rule that the reader has changed is judged by the same figures", async () => {
  const changed = (["holds", "does not hold"] as const).map((verdict) => ({
    ...claimOf("C-100x"),
    rule: `to ${verdict}`,
    judge: () => ({ verdict, figure: 3, low: 2, high: 4, unit: "×" as const, because: "." }),
  }));
  const [table] = await showing(() => showJudged(nothing, changed));
  for (const verdict of ["holds", "does not hold"]) {
    assertStringIncludes(table!.data["text/markdown"]!, `| to ${verdict} | ${verdict} | × 3.00 [× 2.00, × 4.00] |`);
  }
});

Deno.test("switches are measured while the cell runs; where that cannot be, the reason stands in the chart", async () => {
  let rows: ProbeRow[] = [];
  const shown = await showing(async () => void (rows = await showSwitches(3)));
  assertEquals(kinds(shown), ["display_data image/png text/plain", "display_data text/markdown text/plain"]);
  const text = shown[0]!.data["text/plain"]!;
  assertMatch(text, Deno.build.os === "linux" ? /pipe one-core: [\d.]+ µs/ : /pipe one-core: .* needs Linux/);
  const marks = LOOKS["T-switch"]!.marks.map(({ name }) => name);
  if (Deno.build.os === "linux") assertEquals([...new Set(rows.map(({ variant }) => variant))], marks);
  assertEquals(shown[1]!.data["text/markdown"]!.match(/^- [\w -]+(?=: )/gm), marks.map((name) => `- ${name}`));
});
