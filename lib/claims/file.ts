/**
 * The file of judged claims: its format, reading and writing.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { field, numberOrNull, text, time, wrongIn } from "../results/check.ts";
import { store } from "../results/durable_file.ts";
import type { PassedOver } from "../results/results.ts";
import { HOST, type HostFacts } from "../sampling/host.ts";
import { UNITS, VERDICTS } from "./claim.ts";
import { judgeAll, type Judged } from "./ledger.ts";
import type { Stored } from "../results/stored.ts";

/** The version of the format of claims.json. */
export const CLAIMS_SCHEMA = 2;
/** The file in the folder of a machine. */
const CLAIMS_FILE = "claims.json";

/** One claim with its verdict. */
export const CLAIM_ROW = v.strictObject({
  id: field(text, "`T-…` or `C-…`, after the text that it is from"),
  claim: field(
    v.strictObject({ en: text, ko: text }),
    "the claim in other words, in English (`en`) and in Korean (`ko`)",
  ),
  section: field(text, "where the text makes it"),
  tried: field(text, "how it is tried"),
  rule: field(text, "how the verdict follows from figures"),
  sceptic: field(text, "what somebody who has not written the rule says of it: whether he would sign its verdicts"),
  verdict: field(v.picklist(VERDICTS), VERDICTS.map((verdict) => `\`${verdict}\``).join(", ")),
  figure: field(numberOrNull, "the figure that stands for all of them; `null`: there is none"),
  low: field(numberOrNull, "lower end of its interval; `null`: it has none, as that of a single run"),
  high: field(numberOrNull, "upper end"),
  unit: field(v.nullable(v.picklist(UNITS)), "its unit; `×` is a ratio"),
  because: field(
    text,
    "each part of the claim with its figures: `Yes`, `No`, or `Open` if they do not decide it; or why there are none",
  ),
  quick: field(
    v.boolean(),
    "whether a figure of a quick run is among them: it stands in only where there is no full one",
  ),
  results: field(v.array(text), "the files of the figures"),
  hosts: field(v.array(text), "the machine that they were measured on, with kernel and runtime"),
  commands: field(v.array(text), "the commands that made the figures; or the next one to run, if figures are missing"),
});

/** The file: a verdict for each claim, by the figures of one machine. */
const CLAIMS = v.strictObject({
  schema: v.literal(CLAIMS_SCHEMA),
  time,
  host: HOST,
  rows: v.array(CLAIM_ROW),
});
export type ClaimsFile = Omit<v.InferOutput<typeof CLAIMS>, "rows"> & { rows: Judged[] };

/**
 * Stores the verdicts. Needs `--allow-read` and `--allow-write` for `folder`.
 *
 * @param folder The folder of the machine.
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored, or a row is not what the format promises.
 */
export async function writeClaims(rows: Judged[], host: HostFacts, folder: string): Promise<string> {
  const file: ClaimsFile = { schema: CLAIMS_SCHEMA, time: new Date().toISOString(), host, rows };
  const path = join(folder, CLAIMS_FILE);
  const wrong = wrongIn(CLAIMS, file);
  if (wrong !== undefined) throw new Error(`Cannot store ${path}: ${wrong}.`);
  await store(path, JSON.stringify(file, null, 2) + "\n");
  return path;
}

/**
 * Reads the stored verdicts in the folder of a machine; null: there are none, or the file is damaged or of another version,
 * and `onWrong` gets the reason. Needs `--allow-read`.
 */
export async function readClaims(folder: string, onWrong?: (file: PassedOver) => void): Promise<ClaimsFile | null> {
  const path = join(folder, CLAIMS_FILE);
  try {
    const value: unknown = JSON.parse(await Deno.readTextFile(path));
    const wrong = wrongIn(CLAIMS, value);
    if (wrong === undefined) return value as ClaimsFile;
    onWrong?.({ path, why: wrong });
  } catch (error) {
    if (error instanceof SyntaxError) onWrong?.({ path, why: `it is damaged: ${error.message}` });
    else if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return null;
}

/**
 * Judges all claims by what is stored of a machine, and stores the verdicts where they differ from those in its folder, so that the
 * file never says what the rules do not. Permissions as for the other two.
 *
 * @param dir The folder of all results.
 * @returns The file as it is now, and whether it was written.
 */
export async function refreshClaims(
  stored: Stored,
  dir: string,
  onWrong?: (file: PassedOver) => void,
): Promise<{ claims: ClaimsFile | null; isNew: boolean }> {
  const folder = join(dir, stored.machine);
  const rows = judgeAll(stored);
  const before = await readClaims(folder, onWrong);
  if (before !== null && equal(before.rows, rows)) return { claims: before, isNew: false };
  await writeClaims(rows, stored.host, folder);
  return { claims: await readClaims(folder, onWrong), isNew: true };
}

/** Whether two lists of verdicts are the same as JSON. */
const equal = (a: readonly Judged[], b: readonly Judged[]): boolean => JSON.stringify(a) === JSON.stringify(b);
