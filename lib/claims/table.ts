/**
 * The tables that show verdicts.
 *
 * @module
 */
import { count, MISSING } from "../text/format.ts";
import { VERDICTS, written } from "./claim.ts";
import type { Judged } from "./ledger.ts";
import { type Column, markdown, table } from "../text/table.ts";
import type { ClaimsFile } from "./file.ts";

/** The figure of a claim with its interval and unit; {@linkcode MISSING} where there is none. */
export const figureOf = ({ figure, low, high, unit }: Pick<Judged, "figure" | "low" | "high" | "unit">): string =>
  figure === null || unit === null ? MISSING : written({ estimate: figure, low, high }, unit);
const verdictOf = ({ verdict, quick }: Judged) => quick ? `${verdict} (quick)` : verdict;

/** How often each verdict was reached, and how often of that by quick figures: `38 claims. holds: 12 (2 by quick figures), …`. */
export function tally(rows: readonly Judged[]): string {
  const counts = VERDICTS.flatMap((verdict) => {
    const same = rows.filter((row) => row.verdict === verdict);
    if (same.length === 0) return [];
    const quick = same.filter((row) => row.quick).length;
    return [`${verdict}: ${count(same.length)}${quick === 0 ? "" : ` (${count(quick)} by quick figures)`}`];
  });
  return `${count(rows.length)} claims. ${counts.join(", ")}.`;
}

const SHORT: Column<Judged>[] = [
  { heading: "claim", cell: (row) => row.id, left: true },
  { heading: "verdict", cell: verdictOf, left: true },
  { heading: "figure", cell: figureOf },
];

/** The ledger for a terminal: what each claim says and why it came out so, and a table. */
export function describeClaims(rows: readonly Judged[]): string {
  const reasons = rows.map(({ id, claim, because }) => `${id}: ${claim.en}\n  ${because}`);
  return [...reasons, table(rows, SHORT), tally(rows)].join("\n\n");
}

/** How each claim is tried and judged, and what a sceptic says of that, folded: a list as long as the table. */
function rulesList(rows: readonly Judged[]): string {
  const items = rows.map(({ id, tried, rule, sceptic }) =>
    `- **${id}.** Tried: ${tried}. Rule: ${rule} A sceptic: ${sceptic}`
  );
  return [
    "<details>",
    "<summary>How each claim is tried, the rule of its verdict, and what a sceptic says of the rule</summary>",
    "",
    ...items,
    "",
    "</details>",
  ]
    .join("\n");
}

/** What holds for all rules. */
const SIGNS =
  "`Yes`, `No` and `Open` judge the parts of a claim. An interval wholly on one side of a threshold decides; any " +
  "other is open. *About* a size, and *N times*, is within a factor of two on either side (of √N where N is under four); " +
  "*No, less* and *No, more* say on which side a figure lies. *Does not hold* means that no part holds and one at least " +
  "fails; others may be open. Memory is that of processes (PSS). Kernel memory for sockets is not in it, and stacks and page " +
  "tables of the kernel are in it only where they are named.";

const linkOf = (top: string) => ({ id, results }: Judged) =>
  results.length === 0 ? id : `[${id}](${top}/${results[0]})`;

/**
 * The ledger in Markdown, with a link from each claim to the file of the figures that decide, and the rules below the table.
 *
 * @param top The top of the project, from the document that the table stands in.
 */
export function claimsTable({ rows }: Pick<ClaimsFile, "rows">, top: string): string {
  const columns: Column<Judged>[] = [
    { heading: "", cell: linkOf(top), left: true },
    { heading: "where", cell: (row) => row.section, left: true },
    { heading: "the claim", cell: (row) => row.claim.en, left: true },
    { heading: "verdict", cell: verdictOf, left: true },
    { heading: "figure", cell: figureOf },
    { heading: "because", cell: (row) => row.because, left: true },
  ];
  const hosts = [...new Set(rows.flatMap((row) => row.hosts))];
  const made = `Reproduce: \`deno task claims\`. Measured on: ${hosts.join("; ")}.`;
  return [tally(rows), SIGNS, markdown(rows, columns), rulesList(rows), made].join("\n\n");
}

/** The texts whose claims are judged, by the letter that their claims begin with. */
export const TEXTS: readonly { letter: string; title: string; what: string }[] = [
  { letter: "T", title: "Thread-per-connection vs Event-driven 아키텍처", what: "a short overview of architectures" },
  { letter: "C", title: "C10K 문제의 역사와 해결", what: "a long guide with listings, tables and advice" },
];
