/**
 * How files of results/ come to be: under its final name there is the whole file or none, whenever this process or the
 * machine ends.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { CannotStore } from "../cli/errors.ts";

/** The folder that stands in results/ beside those of the experiments: see study.ts. */
export const STUDIES = "studies";

/** The end of the name that a file has until it is whole. */
const TEMPORARY = ".tmp";

/** Eight hexadecimal digits: two files of one second are told apart. */
export const newId = (): string => crypto.randomUUID().slice(0, 8);

/** The name of a file, from when it was made and its id: `20250131T120000Z-1b9d6bcd.json`. */
export const fileName = ({ time, id }: { time: string; id: string }): string =>
  `${time.slice(0, 19).replace(/[-:]/g, "")}Z-${id}.json`;

export { CannotStore };

/**
 * Stores a text: written under another name, forced to the disk, and renamed. Needs `--allow-read` and `--allow-write`.
 *
 * @throws {CannotStore} If it cannot be stored: names the path and the cause. Nothing new is left then.
 */
export async function store(path: string, content: string): Promise<void> {
  const temporary = `${path}${TEMPORARY}`; // in the same folder: rename(2) works within one file system only
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

/** So old what a write has left must be, in minutes: a younger file may be one that another process is writing. */
const LEFTOVER_MINUTES = 10;

/** Removes what writes have left that were killed. */
async function sweepLeftovers(dir: string): Promise<void> {
  for (const { name, isDirectory, isFile } of await entries(dir)) {
    const path = join(dir, name);
    if (isDirectory && !name.startsWith(".")) await sweepLeftovers(path);
    if (!isFile || !name.endsWith(TEMPORARY)) continue;
    const { mtime } = await Deno.stat(path);
    if (mtime !== null && Date.now() - mtime.getTime() > LEFTOVER_MINUTES * 60_000) await removeIfThere(path);
  }
}

/**
 * Makes sure that files can be stored, by storing one and removing it: a command calls it before the load, since nobody
 * wants to measure for an hour and lose the figures. Removes what killed writes have left.
 *
 * @throws {CannotStore} If nothing can be stored: names the folder and the cause.
 */
export async function mustStore(dir = "results"): Promise<void> {
  const path = join(dir, `.${newId()}${TEMPORARY}`);
  try {
    await Deno.mkdir(dir, { recursive: true });
    await writeDurably(path, "\n");
    await Deno.remove(path);
    await sweepLeftovers(dir);
  } catch (error) {
    const remedy = "Make the folder writable, or measure with --no-save.";
    throw new CannotStore(`Cannot store in ${dir}: ${(error as Error).message}. ${remedy}`, { cause: error });
  }
}

/**
 * What a command stores while it measures. A write that fails does not end the command: figures are printed first, and
 * `finish` reports the failure.
 */
export class Storing {
  /** The paths of what was stored. */
  readonly paths: string[] = [];
  #failure: unknown = null;

  /** @param wanted False for `--no-save`: nothing is stored then. */
  constructor(readonly wanted: boolean) {}

  /** Makes sure that there is room before anything is measured: see {@linkcode mustStore}. */
  async begin(dir?: string): Promise<void> {
    if (this.wanted) await mustStore(dir);
  }

  /** Stores something, unless an earlier write has failed: a disk that is full stays full. */
  async add(write: () => Promise<string>): Promise<void> {
    if (!this.wanted || this.#failure !== null) return;
    try {
      this.paths.push(await write());
    } catch (error) {
      this.#failure = error;
    }
  }

  /**
   * Names what was stored on stderr, after the figures.
   *
   * @throws {CannotStore} If a write has failed.
   */
  finish(): void {
    if (this.paths.length > 0) console.error(`\nStored:\n${this.paths.map((path) => `  ${path}`).join("\n")}`);
    if (this.#failure !== null) throw this.#failure;
  }
}
