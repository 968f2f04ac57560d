/**
 * The catalogue: what each experiment says of itself in its header, read from the files. There is no second list to keep.
 *
 * @example
 * ```ts
 * import { catalogue, runsHere } from "./catalogue.ts";
 * for (const experiment of catalogue()) console.log(experiment.name, runsHere(experiment));
 * ```
 *
 * @module
 */
import { closest, distance } from "fastest-levenshtein";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../cli/errors.ts";
import { type Experiment, parseHeader } from "./header.ts";

export type { Experiment } from "./header.ts";

/** The system that `runsHere` asks about. */
export interface System {
  /** As in `Deno.build.os`. */
  os: string;
  /** As in `Deno.osRelease()`, such as `6.1.0-13-amd64`. */
  kernel: string;
}

const SYSTEM_NAMES: Record<string, string> = {
  linux: "Linux",
  darwin: "macOS",
  freebsd: "FreeBSD",
  windows: "Windows",
};

/** Runs `read`; what is not there is undefined. */
function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The names in the order of a README's lines: a list item or a table row starts with the name it is about. */
function readingOrder(readme: string): string[] {
  return [...readme.matchAll(/^\s*(?:[-*|]|\d+\.)\s*[[`*]*(?:peers\/)?([a-z0-9-]+)/gm)].map((match) => match[1]!);
}

/**
 * Reads the headers of all experiments: those of the folder first, then the peers; both in the order of the folder's
 * README.md, and by name where it does not mention them. Needs `--allow-read` for the folder.
 *
 * @param dir The folder; by default experiments/ of this project.
 * @throws {Error} If a header is wrong (see `parseHeader`), or a peer has the name of an experiment.
 */
export function catalogue(dir: string = fileURLToPath(new URL("../../experiments", import.meta.url))): Experiment[] {
  const order = readingOrder(ifThere(() => Deno.readTextFileSync(join(dir, "README.md"))) ?? "");
  const rank = (name: string) => order.includes(name) ? order.indexOf(name) : order.length;
  const read = (folder: string) =>
    [...ifThere(() => [...Deno.readDirSync(folder)]) ?? []]
      .filter((entry) => entry.isFile && entry.name.endsWith(".ts") && !entry.name.endsWith("_test.ts"))
      .map(({ name }) =>
        parseHeader(basename(name, ".ts"), join(folder, name), Deno.readTextFileSync(join(folder, name)))
      )
      .sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1));
  const all = [...read(dir), ...read(join(dir, "peers"))];
  for (const { name, path } of all) {
    const other = all.find((experiment) => experiment.name === name && experiment.path !== path);
    if (other) throw new Error(`${path} and ${other.path} have the same name: rename one.`);
  }
  return all;
}

/** Tells whether version `a` is older than `b`, number by number: 5.4 is older than 5.19. */
function isOlder(a: string, b: string): boolean {
  const [left, right] = [a, b].map((version) => (/^\d+(\.\d+)*/.exec(version)?.[0] ?? "").split(".").map(Number));
  const differs = right!.findIndex((number, i) => number !== (left![i] ?? 0));
  return differs >= 0 && (left![differs] ?? 0) < right![differs]!;
}

/**
 * Tells whether an experiment's `@requires` holds, from the system and its kernel alone. What only the experiment can
 * know (a library, a permission, a feature switched off) it says itself, with exit code 69. Needs `--allow-sys=osRelease`.
 *
 * @param system The system asked about; by default this one.
 */
export function runsHere(
  { name, requires }: Pick<Experiment, "name" | "requires">,
  system: System = { os: Deno.build.os, kernel: Deno.osRelease() },
): { runs: true } | { runs: false; reason: string } {
  const runs = requires.some(({ os, kernel }) =>
    os === "any" || (os === system.os && (kernel === null || !isOlder(system.kernel, kernel)))
  );
  if (runs) return { runs };
  const wanted = requires.map(({ os, kernel }) => (SYSTEM_NAMES[os] ?? os) + (kernel ? ` ${kernel} or newer` : ""));
  const here = `${SYSTEM_NAMES[system.os] ?? system.os} ${system.kernel}`;
  return { runs: false, reason: `${name} needs ${wanted.join(" or ")}; this is ${here}.` };
}

/** Whether a server answers HTTP requests. Those of the family `push` speak WebSocket. */
export const speaksHttp = ({ family }: Pick<Experiment, "family">): boolean => family !== "push";

/**
 * Finds an experiment of the catalogue by its name, for a command that asks it by HTTP.
 *
 * @throws {UsageError} If there is none of that name, or if it speaks WebSocket.
 */
export function findHttp(name: string): Experiment {
  const experiment = find(name);
  if (speaksHttp(experiment)) return experiment;
  throw new UsageError(`${name} speaks WebSocket, and this command uses HTTP: choose a server of another family.`);
}

/**
 * Finds an experiment of the catalogue by its name.
 *
 * @throws {UsageError} If there is none of that name: `Unknown experiment epol. Did you mean epoll?`
 */
export function find(name: string): Experiment {
  return findIn(catalogue(), name);
}

/**
 * Finds an experiment, or another `what`, by its name among those given.
 *
 * @throws {UsageError} If there is none of that name.
 */
export function findIn<T extends { name: string }>(things: readonly T[], name: string, what = "experiment"): T {
  const found = things.find((thing) => thing.name === name);
  if (found) return found;
  const names = things.map((thing) => thing.name);
  const near = names.length > 0 ? closest(name, names) : "";
  // Half of the letters may be wrong; a name with more wrong letters is no typing error.
  const hint = distance(name, near) * 2 <= near.length ? `Did you mean ${near}?` : `There are: ${names.join(", ")}.`;
  throw new UsageError(`Unknown ${what} ${name}. ${hint}`);
}
