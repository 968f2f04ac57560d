/**
 * The files that make a server: what a measured figure depends on, beside the versions of what runs them.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";

/** The folder of launchers; what a launcher builds and runs stands in folders beside it. */
const LAUNCHERS = "peers";

/** What building leaves beside sources. Names with a leading dot are of editors and tools. */
const BUILT = ["node_modules", "target"];
const isBuilt = (name: string): boolean => name.startsWith(".") || BUILT.includes(name);

/** Files only: a link, a socket or a pipe is no source. */
function filesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].filter(({ name }) => !isBuilt(name)).flatMap(({ name, isDirectory, isFile }) => {
    const path = join(folder, name);
    if (isDirectory) return filesBelow(path);
    return isFile ? [path] : [];
  }).sort();
}

/** The folders beside a launcher that its text names: `c` of `${here}c/c-epoll.c`. */
const foldersOf = (path: string, text: string): string[] =>
  [...Deno.readDirSync(dirname(path))]
    .filter(({ name, isDirectory }) => isDirectory && !isBuilt(name) && new RegExp(`[}"'\`/]${name}[/"'\`]`).test(text))
    .map(({ name }) => join(dirname(path), name))
    .sort();

/**
 * The sources of an experiment: its file, and for a peer all files of the folders that its launcher names. These may be more
 * than it needs: then a change of a neighbour changes the digest too, which costs a measurement and hides nothing.
 *
 * @param path The experiment's file, or the launcher of a peer.
 * @returns Paths and texts, the file itself first. Needs `--allow-read`.
 */
export function readSources(path: string): [path: string, text: string][] {
  const text = Deno.readTextFileSync(path);
  const folders = basename(dirname(path)) === LAUNCHERS ? foldersOf(path, text) : [];
  const files = folders.flatMap(filesBelow);
  return [[path, text], ...files.map((file): [string, string] => [file, Deno.readTextFileSync(file)])];
}
