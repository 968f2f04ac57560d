/**
 * Experiments with one line changed: what an option is worth shows where nothing else differs.
 *
 * @module
 */
import { basename, join } from "node:path";
import { CannotStore } from "../cli/errors.ts";
import { type TemporaryFolder, temporaryFolder } from "../cli/temporary_folder.ts";
import { find } from "./catalogue.ts";
import type { Experiment } from "./header.ts";

/** A change of one line: the part of it that is replaced must stand in the file exactly once. */
export interface Change {
  /** The name of the changed experiment, in kebab-case. */
  name: string;
  replace: string;
  by: string;
}

/**
 * Replaces a text that stands exactly once.
 *
 * @throws {Error} If it stands nowhere or several times: the file has changed, and so must the probe.
 */
export function replaced(source: string, { name, replace, by }: Change, path: string): string {
  const times = source.split(replace).length - 1;
  if (times !== 1) throw new Error(`Cannot make ${name}: ${JSON.stringify(replace)} stands ${times} times in ${path}`);
  return source.replace(replace, () => by);
}

/** Changed copies in a folder of their own, which is removed when they are disposed of. */
export class PatchedCopies implements Disposable {
  readonly #folder: TemporaryFolder;

  /** @param dir Where the folder is made; results/.tmp of the current folder unless a caller may write elsewhere. */
  constructor(dir?: string) {
    this.#folder = temporaryFolder(dir);
  }

  /**
   * Writes a changed copy of an experiment. Without a change it is the experiment itself, under another name.
   *
   * @param more Changes besides, to the copy of the same name.
   */
  make(of: string, change: Change, ...more: Omit<Change, "name">[]): Experiment {
    const experiment = find(of);
    const { name } = change;
    const path = join(this.#folder.path, `${name}.ts`);
    const source = Deno.readTextFileSync(experiment.path);
    const changed = [change, ...more].reduce((text, of) => replaced(text, { ...of, name }, experiment.path), source);
    Deno.writeTextFileSync(path, changed);
    return { ...experiment, name, path, run: experiment.run.replace(basename(experiment.path), `${name}.ts`) };
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

/** Why no changed copy can be written; null if it can. */
export function cannotChange(): string | null {
  try {
    using _ = new PatchedCopies();
    return null;
  } catch (error) {
    if (!(error instanceof CannotStore)) throw error;
    return `It writes changed copies of an experiment. ${error.message}`;
  }
}
