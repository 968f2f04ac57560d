/**
 * Claims of texts in the notebooks: what is said, what the reader guesses, and what the ledger makes of the stored figures.
 *
 * Each function shows the same kinds of output whatever the verdict is, also where nothing is measured yet.
 *
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findIn } from "../catalogue/catalogue.ts";
import type { RankSpec } from "../charts/config.ts";
import { type Unit, written as drawn } from "../charts/theme.ts";
import { type Claim, written } from "../claims/claim.ts";
import { Evidence, NotMeasured } from "../claims/evidence.ts";
import type { Figure } from "../claims/figure.ts";
import { type Answer, judgeClaim, type Judged, LEDGER } from "../claims/ledger.ts";
import { NotTestable } from "../claims/ratio.ts";
import { figureOf, tally } from "../claims/table.ts";
import { cut } from "./excerpt.ts";
import { checkPrediction } from "./inputs.ts";
import { count } from "../text/format.ts";
import { show, showTable, showText } from "./show.ts";
import { type Look, LOOKS, type Mark } from "./claim_charts.ts";
import { findProbe, type ProbeRow } from "../probes/mod.ts";
import { type Stored } from "../results/stored.ts";

const FOLDER = fileURLToPath(new URL("../claims", import.meta.url));

/** Finds a claim that has a chart. */
const lookOf = (id: string): Look =>
  LOOKS[findIn(Object.keys(LOOKS).map((name) => ({ name })), id, "claim with a chart").name]!;
/** Finds a claim of the ledger. */
export const claimOf = (id: string): Claim =>
  findIn(LEDGER.map((claim) => ({ name: claim.id, claim })), id, "claim").claim;
const plain = (estimate: number): Figure => ({ estimate, low: null, high: null });

/** A figure as a row of a chart; what is not above zero has no place on a logarithmic axis. */
function item(name: string, family: string, { estimate, low, high }: Figure): RankSpec["items"][number] {
  if (estimate <= 0) return { name, family, value: null, note: "no more than noise" };
  return { name, family, value: estimate, low, high: low === null || low <= 0 ? null : high };
}

function measured({ name, family, of }: Mark, evidence: Evidence): RankSpec["items"][number] {
  try {
    return item(name, family, of(evidence));
  } catch (error) {
    if (error instanceof NotMeasured) return { name, family, value: null, note: "not measured yet" };
    if (!(error instanceof NotTestable)) throw error;
    return { name, family, value: null, note: error.message };
  }
}

/** What the text says and the reader guesses, with marks below them and a line at what the text says. */
const chart = ({ title, axis, said }: Look, guess: number | null, marks: RankSpec["items"]): RankSpec => ({
  kind: "dots",
  title,
  axis,
  reference: said.value,
  items: [
    { name: `the text: ${said.words}`, family: "custom", value: said.value }, // bytes are drawn in other units
    guess === null
      ? { name: "your guess", family: "custom", value: null, note: "none" }
      : item("your guess", "custom", plain(guess)),
    ...marks,
  ],
});

/** The figures of a claim beside what the text says and what the reader guessed. */
export const claimChart = (look: Look, guess: number | null, stored: Stored): RankSpec =>
  chart(look, guess, look.marks.map((mark) => measured(mark, new Evidence(stored))));

const wordsOf = ({ claim: { en, ko }, section }: Pick<Claim, "claim" | "section">) =>
  `> ${en}\n>\n> ${ko}\n\n${section}`;

/** Shows what a text says, where, and how that is tried. */
export async function showClaim(id: string): Promise<void> {
  const claim = claimOf(id);
  await showText(`${wordsOf(claim)}\n\n*How it is tested.* ${claim.tried}.`);
}

const links = (paths: readonly string[]) => paths.map((path) => `[${path}](../${path})`).join(", ");
const code = (commands: readonly string[]) => commands.map((command) => `\`${command}\``).join(", ");

/** The verdict in words; where a figure is missing, the commands that make it. */
export function verdictText({ row, missing }: Answer, guess: number | null, unit: Unit): string {
  const said = guess === null ? "nothing" : unit === "ratio" ? `× ${guess}` : drawn(guess, unit);
  const { id, verdict, because, rule, sceptic, results, commands } = row;
  const lines = missing === null
    ? [
      `*Because.* ${because}`,
      ...(results.length > 0 ? [`*From.* ${links(results)}`] : []),
      ...(commands.length > 0 ? [`*Repeat it.* ${code(commands)}`] : []),
    ]
    : [
      `*Because.* A figure is missing: ${code([missing.command])} measures it, ${
        code([`deno task claims --only ${id}`])
      } all that this claim needs. Then run this cell again.`,
    ];
  const came = row.figure === null ? "there is no figure" : `the figure is **${figureOf(row)}**`;
  const judging = [`*Rule.* ${rule}`, `*A sceptic.* ${sceptic}`];
  return [`**${id}: ${verdict}.** You guessed ${said}, ${came}.`, ...lines, ...judging].join("\n\n");
}

/** Shows the figures of a claim as a chart, and the verdict with its reasons. */
export async function tryClaim(stored: Stored, id: string, guess: number | null): Promise<Judged> {
  checkPrediction("Your guess", guess);
  const look = lookOf(id);
  const answer = judgeClaim(claimOf(id), stored);
  await show(claimChart(look, guess, stored));
  await showText(verdictText(answer, guess, look.axis.unit));
  return answer.row;
}

/** Shows how often each verdict was reached, and all claims with theirs. */
export async function showVerdicts(stored: Stored): Promise<void> {
  const rows = LEDGER.map((claim) => judgeClaim(claim, stored).row);
  const { os, cpu, cores, kernel } = stored.host;
  const isMissing = rows.some(({ verdict }) => verdict === "not measured yet");
  const left = isMissing ? " `deno task claims` measures what is missing." : "";
  await showText(`${tally(rows)}${left} The machine: ${cpu}, ${count(cores)} cores, ${os} ${kernel}.`);
  await showTable(rows, [
    { heading: "", cell: ({ id }) => id, left: true },
    { heading: "the claim", cell: ({ claim }) => claim.en, left: true },
    { heading: "in Korean", cell: ({ claim }) => claim.ko, left: true },
    { heading: "verdict", cell: ({ verdict }) => verdict, left: true },
    { heading: "figure", cell: figureOf },
  ]);
}

/** Shows the source of a claim with its rule. */
export async function showRule(id: string): Promise<void> {
  const named = new RegExp(`^const \\w+: Claim = \\{$(?=\\n  id: "${claimOf(id).id}",$)`, "m");
  for (const { name } of Deno.readDirSync(FOLDER)) {
    const source = Deno.readTextFileSync(join(FOLDER, name));
    const opening = named.exec(source)?.[0];
    if (opening === undefined) continue;
    const { line, text } = cut(source, opening);
    return await showText(`lib/claims/${name}, line ${line}:\n\n\`\`\`ts\n${text}\n\`\`\``);
  }
  throw new Error(`Cannot show the rule of ${id}: no file of lib/claims/ begins a claim with this id`);
}

/** Judges claims whose rules the reader has changed, a row each. */
export async function showJudged(stored: Stored, claims: readonly Claim[]): Promise<void> {
  await showTable(claims.map((claim) => judgeClaim(claim, stored).row), [
    { heading: "rule", cell: ({ rule }) => rule, left: true },
    { heading: "verdict", cell: ({ verdict }) => verdict, left: true },
    { heading: "figure", cell: figureOf },
    { heading: "because", cell: ({ because }) => because, left: true },
  ]);
}

/** Runs the quick form of a probe in a process of its own: a kernel checks the types of each thread before it starts. */
async function probeQuickly(name: string): Promise<ProbeRow[]> {
  const args = ["task", "probe", name, "--quick", "--json", "--no-save"];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: join(FOLDER, "..") }).output();
  const [said, why] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes).trim());
  if (code !== 0) throw new Error(`deno ${args.join(" ")} ended with code ${code}: ${why}`);
  return JSON.parse(said!);
}

/**
 * Measures context switches now, in the quick form of the probe, and draws them beside what the text says. It takes some
 * seconds. Nothing is stored.
 */
export async function showSwitches(guess: number | null): Promise<ProbeRow[]> {
  checkPrediction("Your guess", guess);
  const look = LOOKS["T-switch"]!;
  const probe = findProbe("context-switch");
  const obstacle = await probe.obstacle();
  const rows = obstacle === null ? await probeQuickly(probe.name) : [];
  const marks = look.marks.map(({ name, family }) => {
    const { value, note } = rows.find(({ variant, metric }) => variant === name && metric === "switch_us") ??
      { value: null, note: obstacle };
    return value === null ? { name, family, value, note: note ?? "no figure" } : item(name, family, plain(value));
  });
  await show(chart({ ...look, title: `${look.title}, measured just now` }, guess, marks));
  const told = marks.map(({ name, value, note }) =>
    `- ${name}: ${value === null ? note : written(plain(value), "µs")}`
  );
  await showText(told.join("\n"));
  return rows;
}
