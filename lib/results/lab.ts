/**
 * The version of the lab: without it a figure cannot be tied to the code that made it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { dirname, posix, relative } from "node:path";
import { readSources } from "../catalogue/sources.ts";
import type { Lab } from "./schema.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const LIB = fileURLToPath(new URL("..", import.meta.url));
/** The process of the load generator, and what its hosts say to each other. */
const [PROCESS, PROTOCOL] = ["load/main.ts", "fleet/protocol.ts"];
/** What a module of this project loads: `import type` and packages are left out. */
const LOADED = [/^(?:import|export)\s(?!type\b)[^"';]*?\bfrom\s+"(\.[^"]+)"/gm, /\bimport\s*\(?"(\.[^"]+)"/g];

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

/** A file below a folder, and all that it loads from there. */
function closureOf(folder: string, path: string, known = new Set<string>()): Set<string> {
  if (known.has(path)) return known;
  known.add(path);
  const text = Deno.readTextFileSync(`${folder}/${path}`);
  for (const pattern of LOADED) {
    for (const [, other] of text.matchAll(pattern)) closureOf(folder, posix.join(posix.dirname(path), other!), known);
  }
  return known;
}

/**
 * A digest of the load generator's source: what it does differently may change every figure, and what counts in other buckets does
 * not merge. It is made of lib/load, of what its process loads besides, as histograms, and of the protocol of its hosts. Needs
 * `--allow-read`.
 */
export function loadDigest(lib: string = LIB): Promise<string> {
  const own = [...Deno.readDirSync(`${lib}/load`)].filter(({ name, isFile }) => isFile && !name.endsWith("_test.ts"));
  const paths = closureOf(lib, PROCESS).union(new Set([PROTOCOL, ...own.map(({ name }) => `load/${name}`)]));
  return digestOf([...paths].sort().map((path) => [path, Deno.readTextFileSync(`${lib}/${path}`)]));
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
