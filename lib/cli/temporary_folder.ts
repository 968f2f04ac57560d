/**
 * Folders for what a command writes only to use it: they go with the command, or with the next one if it was killed.
 *
 * They stand in results/.tmp/ and not in the folder that TMPDIR names. A task may write where deno.json says, and no line
 * of deno.json can follow a variable. So the one folder that every command may write holds them too. A command needs no
 * second permission, and a leftover is where the next run looks.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { CannotStore } from "./errors.ts";

/** Where they stand, seen from the folder of a command. */
export const TEMPORARY = join("results", ".tmp");
const MUTEX = "mutex"; // held while folders are made and swept
const LOCK = ".lock"; // beside each folder: the kernel lets go of it when its process ends, however that ends

const open = (path: string): Deno.FsFile => Deno.openSync(path, { write: true, create: true });

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Removes the folders whose processes have ended. Returns how many there were. */
function sweep(dir: string): number {
  let swept = 0;
  for (const { name } of [...Deno.readDirSync(dir)]) {
    if (!name.endsWith(LOCK)) continue;
    const path = join(dir, name);
    using lock = open(path);
    if (!lock.tryLockSync(true)) continue; // its process lives
    removeIfThere(path.slice(0, -LOCK.length)); // a process that was killed early has made its lock alone
    Deno.removeSync(path);
    swept++;
  }
  return swept;
}

/** Removes what killed commands have left, if anything. Needs `--allow-read` and `--allow-write=results`. */
export function sweepTemporaryFolders(dir: string = TEMPORARY): void {
  if (!existsSync(dir)) return;
  using mutex = open(join(dir, MUTEX));
  mutex.lockSync(true);
  sweep(dir);
}

/** A folder of this process. Disposing of it removes it, with all that is in it. */
export interface TemporaryFolder extends Disposable {
  /** From the root, as servers run in folders of their own. */
  readonly path: string;
}

/**
 * Makes a folder, and removes what killed commands have left. Needs `--allow-read` and `--allow-write=results`.
 *
 * @throws {CannotStore} If the folder cannot be made.
 */
export function temporaryFolder(dir: string = TEMPORARY): TemporaryFolder {
  try {
    return make(resolve(dir));
  } catch (error) {
    throw new CannotStore(`Cannot make a temporary folder in ${dir}: ${(error as Error).message}`, { cause: error });
  }
}

function make(dir: string): TemporaryFolder {
  Deno.mkdirSync(dir, { recursive: true });
  using mutex = open(join(dir, MUTEX));
  mutex.lockSync(true); // else a sweep could take away a lock that was made and is not held yet
  sweep(dir);
  const path = join(dir, crypto.randomUUID().slice(0, 8));
  const lock = open(path + LOCK);
  lock.lockSync(true);
  Deno.mkdirSync(path);
  return {
    path,
    [Symbol.dispose]() {
      Deno.removeSync(path, { recursive: true });
      Deno.removeSync(path + LOCK);
      lock.close();
    },
  };
}
