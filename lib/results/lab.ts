/**
 * The version of the lab: without it a figure cannot be tied to the code that made it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { dirname, relative } from "node:path";
import { readSources } from "../catalogue/sources.ts";
import type { Lab } from "./schema.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const LIB = fileURLToPath(new URL("..", import.meta.url));
/** What makes and counts load: the generator, its clocks and histograms, and what its hosts say to each other. */
const LOAD = ["load", "timing", "fleet"];

/** Sixteen hexadecimal digits, the same for the same value. */
export async function digestOf(value: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
}

/** The commit of a checkout; null without git or outside of a repository. Needs `--allow-run`. */
export async function readCommit(folder: string = ROOT): Promise<string | null> {
  try {
    const args = ["-C", folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    const { success, stdout } = await new Deno.Command("git", { args, stdin: "null", stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout).trim() : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return null;
    throw error;
  }
}

/**
 * A digest of the load generator's source: what it does differently may change every figure, and what counts in other buckets does
 * not merge. Needs `--allow-read`.
 */
export function loadDigest(lib: string = LIB): Promise<string> {
  const paths = LOAD.flatMap((folder) =>
    [...Deno.readDirSync(`${lib}/${folder}`)].map(({ name }) => `${folder}/${name}`)
  );
  const sources = paths.filter((path) => !path.endsWith("_test.ts")).sort();
  return digestOf(sources.map((path) => [path, Deno.readTextFileSync(`${lib}/${path}`)]));
}

/** A digest of all that a server is made of. The folder it stands in is no part of it. */
const servedDigest = (path: string): Promise<string> =>
  digestOf(readSources(path).map(([file, text]) => [relative(dirname(path), file), text]));

let known: Promise<Omit<Lab, "served">> | null = null;

/**
 * The version of the lab that runs.
 *
 * @param served The file that serves; null: it is none of this project.
 */
export async function labVersion(served: string | null): Promise<Lab> {
  known ??= Promise.all([readCommit(), loadDigest()]).then(([commit, load]) => ({ commit, load }));
  return { ...await known, served: served === null ? null : await servedDigest(served) };
}
