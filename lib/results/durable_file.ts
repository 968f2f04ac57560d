/**
 * How files of results/ come to be: under its final name there is the whole file or none, whenever this process or the
 * machine ends.
 *
 * @module
 */
import { KnownFailure } from "../cli/errors.ts";
import { dirname } from "node:path";

/** The folder that stands in results/ beside those of the experiments: see study.ts. */
export const STUDIES = "studies";

/** Eight hexadecimal digits: two files of one second are told apart. */
export const newId = (): string => crypto.randomUUID().slice(0, 8);

/** The name of a file, from when it was made and its id: `20250131T120000Z-1b9d6bcd.json`. */
export const fileName = ({ time, id }: { time: string; id: string }): string =>
  `${time.slice(0, 19).replace(/[-:]/g, "")}Z-${id}.json`;

/** A file could not be stored: the disk is full, or the folder may not be written. What was there before is untouched. */
export class CannotStore extends KnownFailure {
  override readonly name = "CannotStore";
}

/**
 * Stores a text: written under another name, forced to the disk, and renamed. Needs `--allow-read` and `--allow-write`.
 *
 * @throws {CannotStore} If it cannot be stored: names the path and the cause. Nothing new is left then.
 */
export async function store(path: string, content: string): Promise<void> {
  const temporary = `${path}.tmp`; // in the same folder: rename(2) works within one file system only
  try {
    await Deno.mkdir(dirname(path), { recursive: true });
    await writeDurably(temporary, content);
    await Deno.rename(temporary, path);
  } catch (error) {
    await removeIfThere(temporary);
    throw new CannotStore(`Cannot store ${path}: ${(error as Error).message}`, { cause: error });
  }
}

async function writeDurably(path: string, content: string): Promise<void> {
  // What a killed program has left under this name is written over.
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  const bytes = new TextEncoder().encode(content);
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  await file.sync();
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    // NotADirectory: what should be the folder is a file, so nothing can be in it.
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) throw error;
  }
}

/** The entries of a folder in the order of their names; none if there is no such folder. */
export async function entries(dir: string): Promise<Deno.DirEntry[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir))).toSorted((a, b) => a.name < b.name ? -1 : 1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
