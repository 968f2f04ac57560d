/**
 * The file results/claims.json, and the tables that show it.
 *
 * @module
 */
import { join } from "node:path";
import { type Column, count, markdown, MISSING, table } from "../format.ts";
import { type HostFacts, hostFacts } from "../host.ts";
import { FIELDS } from "../result_schema.ts";
import type { PassedOver } from "../results.ts";
import { type Check, list, nullOr, number, object, oneOf, type Shape, text, truth } from "../shape.ts";
import { store } from "../store.ts";
import { UNITS, VERDICTS, written } from "./claim.ts";
import type { Judged } from "./ledger.ts";

/** The version of the format of results/claims.json. */
export const CLAIMS_SCHEMA = 1;

/** The file: a verdict for each claim, as of the figures of one machine. */
export interface ClaimsFile {
  schema: number;
  /** When it was made, as `Date.toISOString` has it. */
  time: string;
  host: HostFacts;
  rows: Judged[];
}

const ROW: Shape<Judged> = {
  id: text,
  claim: object({ en: text, ko: text }),
  section: text,
  tried: text,
  rule: text,
  verdict: oneOf(VERDICTS),
  figure: nullOr(number),
  low: nullOr(number),
  high: nullOr(number),
  unit: nullOr(oneOf(UNITS)),
  because: text,
  quick: truth,
  results: list(text),
  hosts: list(text),
  commands: list(text),
};

/** The columns of its rows, with the check of each. A test holds results/README.md against them. */
export const CLAIM_COLUMNS: Readonly<Record<string, Check>> = ROW;

const wrongInClaims = (value: unknown) =>
  object({ schema: oneOf([CLAIMS_SCHEMA]), time: text, host: object(FIELDS.host), rows: list(object(ROW)) })(value, "");

/**
 * Stores the verdicts. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored, or a row is not what the format promises.
 */
export async function writeClaims(rows: Judged[], dir = "results"): Promise<string> {
  const file: ClaimsFile = { schema: CLAIMS_SCHEMA, time: new Date().toISOString(), host: hostFacts(), rows };
  const path = join(dir, "claims.json"), wrong = wrongInClaims(file);
  if (wrong !== undefined) throw new Error(`Cannot store ${path}: ${wrong}.`);
  await store(path, JSON.stringify(file, null, 2) + "\n");
  return path;
}

/**
 * Reads the stored verdicts; null: there are none, or the file is damaged or newer, and `onWrong` is told why. Needs
 * `--allow-read`.
 */
export async function readClaims(dir = "results", onWrong?: (of: PassedOver) => void): Promise<ClaimsFile | null> {
  const path = join(dir, "claims.json");
  try {
    const value: unknown = JSON.parse(await Deno.readTextFile(path));
    const wrong = wrongInClaims(value);
    if (wrong === undefined) return value as ClaimsFile;
    onWrong?.({ path, why: wrong });
  } catch (error) {
    if (error instanceof SyntaxError) onWrong?.({ path, why: `it is damaged: ${error.message}` });
    else if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return null;
}

/** The figure of a claim with its interval and unit; {@linkcode MISSING} where there is none. */
export const figureOf = ({ figure, low, high, unit }: Pick<Judged, "figure" | "low" | "high" | "unit">): string =>
  figure === null || unit === null ? MISSING : written({ estimate: figure, low, high }, unit);
const verdictOf = ({ verdict, quick }: Judged) => quick ? `${verdict} (quick)` : verdict;

/** How often each verdict was reached: `38 claims: 12 holds, …`. */
export function tally(rows: readonly Judged[]): string {
  const counts = VERDICTS.map((verdict) => [verdict, rows.filter((row) => row.verdict === verdict).length] as const);
  const told = counts.filter(([, times]) => times > 0).map(([verdict, times]) => `${verdict}: ${count(times)}`);
  return `${count(rows.length)} claims. ${told.join(", ")}.`;
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

const linkOf = ({ id, results }: Judged) => results.length === 0 ? id : `[${id}](${results[0]})`;

/** The ledger in Markdown, with a link from each claim to the first file that its figures are from. */
export function claimsTable({ rows }: Pick<ClaimsFile, "rows">): string {
  const columns: Column<Judged>[] = [
    { heading: "", cell: linkOf, left: true },
    { heading: "where", cell: (row) => row.section, left: true },
    { heading: "the claim", cell: (row) => row.claim.en, left: true },
    { heading: "verdict", cell: verdictOf, left: true },
    { heading: "figure", cell: figureOf },
    { heading: "because", cell: (row) => row.because, left: true },
  ];
  const hosts = [...new Set(rows.flatMap((row) => row.hosts))];
  return `${tally(rows)}\n\n${markdown(rows, columns)}\n\n\`deno task claims\` makes it. Measured on: ${
    hosts.join("; ")
  }.`;
}
