/**
 * The file of judged claims: its format, reading and writing.
 *
 * @module
 */
import { type HostFacts, hostFacts } from "../sampling/host.ts";
import type { Judged } from "./ledger.ts";
import { type Check, list, nullOr, number, object, oneOf, type Shape, text, truth } from "../results/check.ts";
import { UNITS, VERDICTS } from "./claim.ts";
import { FIELDS } from "../results/schema.ts";
import { join } from "node:path";
import { store } from "../results/durable_file.ts";
import type { PassedOver } from "../results/results.ts";

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

export const ROW: Shape<Judged> = {
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

export const wrongInClaims = (value: unknown) =>
  object({ schema: oneOf([CLAIMS_SCHEMA]), time: text, host: object(FIELDS.host), rows: list(object(ROW)) })(value, "");

/**
 * Stores the verdicts. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored, or a row is not what the format promises.
 */
export async function writeClaims(rows: Judged[], dir = "results"): Promise<string> {
  const file: ClaimsFile = { schema: CLAIMS_SCHEMA, time: new Date().toISOString(), host: hostFacts(), rows };
  const path = join(dir, "claims.json");
  const wrong = wrongInClaims(file);
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
