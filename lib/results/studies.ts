/**
 * What many runs together show: a study is one file of rows, stored like a result. results/FORMAT.md explains its columns.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { HOST, hostFacts } from "../sampling/host.ts";
import { field, text, time, wrongIn } from "./check.ts";
import { entries, fileName, newId, store, STUDIES } from "./durable_file.ts";
import { labVersion } from "./lab.ts";
import { machineOf } from "./machine.ts";
import type { PassedOver } from "./results.ts";
import { type Kind, ROWS, type Rows } from "./rows.ts";
import { LAB, MANIFEST, type Manifest } from "./schema.ts";

/** The version of the format of studies. */
export const STUDY_SCHEMA = 2;

/** The fields of a study beside its kind and its rows. */
export const STUDY = v.strictObject({
  schema: field(v.literal(STUDY_SCHEMA), "the version of the format of studies"),
  id: field(text, "as in a result"),
  time: field(time, "when it was made, in UTC"),
  quick: field(v.boolean(), "whether it was a quick one, for a first look"),
  host: field(HOST, "on which machine: see [Host](#host)"),
  lab: field(LAB, "by which version of the lab: see [Lab](#lab)"),
  command: field(text, "the command line that repeats it"),
  manifests: field(
    v.record(v.string(), MANIFEST),
    "of a comparison, what each of the compared servers was: see [Manifest](#manifest); empty in other kinds",
  ),
});

/** One study. */
export type Study<K extends Kind> = v.InferOutput<typeof STUDY> & { kind: K; rows: Rows[K][] };

/** What is wrong with a value that should be a study of a kind; undefined if nothing is. */
const wrongInStudy = (value: unknown, kind: Kind): string | undefined =>
  wrongIn(v.strictObject({ ...STUDY.entries, kind: v.literal(kind), rows: v.array(ROWS[kind]) }), value);

/**
 * Stores a study under `results/<machine>/studies/<kind>/`. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored, or a row is not what its kind promises.
 */
export async function writeStudy<K extends Kind>(
  kind: K,
  rows: Rows[K][],
  { command, quick, manifests = {}, dir = "results" }: {
    command: string;
    quick: boolean;
    manifests?: Record<string, Manifest>;
    dir?: string;
  },
): Promise<string> {
  const host = hostFacts();
  const study: Study<K> = {
    schema: STUDY_SCHEMA,
    kind,
    id: newId(),
    time: new Date().toISOString(),
    quick,
    host,
    lab: await labVersion(null),
    command,
    manifests,
    rows,
  };
  const path = join(dir, machineOf(host), STUDIES, kind, fileName(study));
  const wrong = wrongInStudy(study, kind);
  if (wrong !== undefined) throw new Error(`Cannot store ${path}: ${wrong}.`);
  await store(path, JSON.stringify(study, null, 2) + "\n");
  return path;
}

/** Reads the studies of one kind and machine, the oldest first. Files that cannot be used are named. Needs `--allow-read`. */
export async function readStudies<K extends Kind>(
  kind: K,
  dir: string,
  machine: string,
): Promise<{ studies: Study<K>[]; passedOver: PassedOver[] }> {
  const studies: Study<K>[] = [];
  const passedOver: PassedOver[] = [];
  const folder = join(dir, machine, STUDIES, kind);
  for (const entry of await entries(folder)) {
    if (!entry.isFile || !entry.name.endsWith(".json")) continue;
    const path = join(folder, entry.name);
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
