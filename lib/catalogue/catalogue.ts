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
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../cli/errors.ts";
import { say } from "../cli/progress.ts";
import { type Experiment, HeaderError, parseHeader } from "./header.ts";

export { type Experiment, HeaderError } from "./header.ts";

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

/** What stands in a folder of experiments. */
interface Contents {
  experiments: Experiment[];
  /** Files that cannot be used: the name of each, and a sentence that names the file and what must change. */
  wrong: { name: string; reason: string }[];
}

/** Those whose name no experiment before them has. */
function withoutNamesakes({ experiments, wrong }: Contents, shown: (path: string) => string): Contents {
  const firstOf = ({ name }: Experiment) => experiments.find((other) => other.name === name)!;
  const repeated = experiments.filter((one) => firstOf(one) !== one).map((one) => ({
    name: one.name,
    reason: `${shown(one.path)}: ${shown(firstOf(one).path)} has the same name, rename one of them.`,
  }));
  return { experiments: experiments.filter((one) => firstOf(one) === one), wrong: [...wrong, ...repeated] };
}

const OWN = fileURLToPath(new URL("../../experiments", import.meta.url));

function readFolder(dir: string): Contents {
  const order = readingOrder(ifThere(() => Deno.readTextFileSync(join(dir, "README.md"))) ?? "");
  const rank = (name: string) => order.includes(name) ? order.indexOf(name) : order.length;
  const shown = (path: string) => relative(dirname(dir), path);
  const wrong: Contents["wrong"] = [];
  const readOne = (name: string, path: string): Experiment[] => {
    try {
      return [parseHeader(name, path, Deno.readTextFileSync(path))];
    } catch (error) {
      if (!(error instanceof HeaderError)) throw error;
      wrong.push({ name, reason: error.message.replace(path, shown(path)) });
      return [];
    }
  };
  const read = (folder: string) =>
    [...ifThere(() => [...Deno.readDirSync(folder)]) ?? []]
      .filter((entry) => entry.isFile && entry.name.endsWith(".ts") && !entry.name.endsWith("_test.ts"))
      .flatMap(({ name }) => readOne(basename(name, ".ts"), join(folder, name)))
      .sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1));
  return withoutNamesakes({ experiments: [...read(dir), ...read(join(dir, "peers"))], wrong }, shown);
}

/** Sentences that stderr has already: a command reads the folder several times. */
const said = new Set<string>();

/** The experiments that can be used. Says on stderr, once, which files are left out, and why. */
function usable({ experiments, wrong }: Contents): Experiment[] {
  for (const { reason } of wrong) {
    if (!said.has(reason)) say(`Left out: ${reason}`);
    said.add(reason);
  }
  return experiments;
}

/**
 * Reads the headers of all experiments: those of the folder first, then the peers; both in the order of the folder's
 * README.md, and by name where it does not mention them. A file that cannot be used is left out, with a sentence on stderr.
 * Needs `--allow-read` for the folder.
 *
 * @param dir The folder; by default experiments/ of this project.
 */
export const catalogue = (dir: string = OWN): Experiment[] => usable(readFolder(dir));

/**
 * The same for tests of all experiments.
 *
 * @throws {HeaderError} If a header is wrong (see `parseHeader`), or a peer has the name of an experiment.
 */
export function wholeCatalogue(dir: string = OWN): Experiment[] {
  const { experiments, wrong } = readFolder(dir);
  if (wrong.length > 0) throw new HeaderError(wrong.map(({ reason }) => reason).join("\n"));
  return experiments;
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
 * @throws {UsageError} If there is none of that name (`Unknown experiment epol. Did you mean epoll?`), or if its file cannot
 * be used.
 */
export const find = (name: string): Experiment => findInFolder(OWN, name);

/** The same in any folder. */
export function findInFolder(dir: string, name: string): Experiment {
  const contents = readFolder(dir);
  const isThere = contents.experiments.some((experiment) => experiment.name === name);
  const wrong = contents.wrong.find((file) => file.name === name);
  if (!isThere && wrong !== undefined) throw new UsageError(`${name} cannot be used. ${wrong.reason}`);
  return findIn(usable(contents), name);
}

/** The name that somebody may mean by another case or by the path of its file. */
const plainName = (text: string): string => basename(text.toLowerCase()).replace(/\.ts$/, "");

/**
 * Finds an experiment, or another `what`, by its name among those given.
 *
 * @throws {UsageError} If there is none of that name.
 */
export function findIn<T extends { name: string }>(things: readonly T[], name: string, what = "experiment"): T {
  const found = things.find((thing) => thing.name === name);
  if (found) return found;
  const names = things.map((thing) => thing.name);
  const plain = plainName(name);
  const near = names.length > 0 ? closest(plain, names) : "";
  // Half of the letters may be wrong; a name with more wrong letters is no typing error.
  const hint = distance(plain, near) * 2 <= near.length ? `Did you mean ${near}?` : `There are: ${names.join(", ")}.`;
  throw new UsageError(`Unknown ${what} ${name}. ${hint}`);
}
