/**
 * How files of results/ come to be: under its final name there is the whole file or none, whenever this process or the
 * machine ends.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { CannotStore } from "../cli/errors.ts";
import { sweepTemporaryFolders, TEMPORARY as FOLDERS } from "../cli/temporary_folder.ts";

/** The folder that stands in results/ beside those of the experiments: see study.ts. */
export const STUDIES = "studies";

/** The end of the name that a file has until it is whole. */
const TEMPORARY = ".tmp";

/** Eight hexadecimal digits: two files of one second have different names. */
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
    await write(temporary, content, () => Deno.rename(temporary, path));
  } catch (error) {
    throw new CannotStore(`Cannot store ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Tries to open a file that others rename or remove at that moment. */
const MAX_TRIES = 100;

/** Whether a path still names an open file: another process may have renamed or removed it before it was locked. */
async function stillNames(path: string, file: Deno.FsFile): Promise<boolean> {
  try {
    return (await Deno.stat(path)).ino === (await file.stat()).ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Opens a file for this process alone. The kernel lets go of the lock when the process ends, however that ends. */
async function openLocked(path: string): Promise<Deno.FsFile> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const file = await Deno.open(path, { write: true, create: true }); // and not truncated, before the lock is held
    await file.lock(true);
    if (await stillNames(path, file)) return file;
    file.close();
  }
  throw new Error(`other processes have taken it away ${MAX_TRIES} times`);
}

/** Writes a file to the disk, and does with it what is to be done, all under its lock. A file that fails is removed. */
async function write(path: string, content: string, then: () => Promise<void>): Promise<void> {
  using file = await openLocked(path);
  try {
    await file.truncate(); // what a killed program has left under this name
    const bytes = new TextEncoder().encode(content);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
    await then();
  } catch (error) {
    await removeIfThere(path);
    throw error;
  }
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

/** Removes a file that nobody writes: whoever writes it holds its lock. */
async function sweepLeftover(path: string): Promise<void> {
  try {
    using file = await Deno.open(path, { write: true });
    if (await file.tryLock(true) && await stillNames(path, file)) await removeIfThere(path);
  } catch (error) {
    // It has got its name meanwhile, or belongs to another user, who sweeps it.
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) throw error;
  }
}

/** Removes what writes have left that were killed. */
async function sweepLeftovers(dir: string): Promise<void> {
  for (const { name, isDirectory, isFile } of await entries(dir)) {
    const path = join(dir, name);
    if (isDirectory && !name.startsWith(".")) await sweepLeftovers(path);
    if (isFile && name.endsWith(TEMPORARY)) await sweepLeftover(path);
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
    await write(path, "\n", () => Deno.remove(path));
    await sweepLeftovers(dir);
    sweepTemporaryFolders(join(dir, basename(FOLDERS)));
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
