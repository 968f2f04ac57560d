/**
 * What many runs together show: a study is one file of rows in results/studies/, stored like a result. results/README.md
 * explains its columns.
 *
 * @module
 */
import { join } from "node:path";
import { type HostFacts, hostFacts } from "../sampling/host.ts";
import { FIELDS, MANIFEST, type Manifest } from "./schema.ts";
import { type Check, dictionary, list, nullOr, number, object, oneOf, text } from "./check.ts";
import { entries, fileName, newId, store, STUDIES } from "./durable_file.ts";
import { type Kind, ROWS, type Rows } from "./rows.ts";

/** The version of the format of studies. */
export const STUDY_SCHEMA = 1;

/** One study. */
export interface Study<K extends Kind> {
  schema: number;
  kind: K;
  id: string;
  /** When it was made, as `Date.toISOString` has it. */
  time: string;
  host: HostFacts;
  /** The command line that repeats it. */
  command: string;
  /** Of a comparison, what each of the compared is: see lib/server/manifest.ts. Empty in other kinds. */
  manifests: Record<string, Manifest>;
  rows: Rows[K][];
}

export const nullable = nullOr(number);
/** The columns of each kind, with the check of each. A test holds results/README.md against them. */
export const COLUMNS: { [K in Kind]: Readonly<Record<string, Check>> } = ROWS;

/** What is wrong with a value that should be a study of a kind; undefined if nothing is. */
function wrongInStudy(value: unknown, kind: Kind): string | undefined {
  return object({
    schema: oneOf([STUDY_SCHEMA]),
    kind: oneOf([kind]),
    id: text,
    time: text,
    host: object(FIELDS.host),
    command: text,
    manifests: dictionary(object(MANIFEST)),
    rows: list(object(ROWS[kind])),
  })(value, "");
}

/**
 * Stores a study under `results/studies/<kind>/`. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored, or a row is not what its kind promises.
 */
export async function writeStudy<K extends Kind>(
  kind: K,
  rows: Rows[K][],
  command: string,
  { manifests = {}, dir = "results" }: { manifests?: Record<string, Manifest>; dir?: string } = {},
): Promise<string> {
  const time = new Date().toISOString();
  const study: Study<K> = {
    schema: STUDY_SCHEMA,
    kind,
    id: newId(),
    time,
    host: hostFacts(),
    command,
    manifests,
    rows,
  };
  const path = join(dir, STUDIES, kind, fileName(study));
  const wrong = wrongInStudy(study, kind);
  if (wrong !== undefined) throw new Error(`Cannot store ${path}: ${wrong}.`);
  await store(path, JSON.stringify(study, null, 2) + "\n");
  return path;
}

/** Reads the studies of a kind, the oldest first. Damaged or newer files are named and passed over. Needs `--allow-read`. */
export async function readStudies<K extends Kind>(kind: K, dir = "results") {
  const studies: Study<K>[] = [];
  const passedOver: { path: string; why: string }[] = [];
  for (const entry of await entries(join(dir, STUDIES, kind))) {
    if (!entry.isFile || !entry.name.endsWith(".json")) continue;
    const path = join(dir, STUDIES, kind, entry.name);
    const study = parseStudy(await Deno.readTextFile(path), kind);
    if (typeof study === "string") passedOver.push({ path, why: study });
    else studies.push(study);
  }
  return { studies, passedOver };
}

/** Parses one file: a study, or what is wrong with it. */
function parseStudy<K extends Kind>(content: string, kind: K): Study<K> | string {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    return `it is damaged: ${(error as SyntaxError).message}`;
  }
  return wrongInStudy(value, kind) ?? value as Study<K>;
}
