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
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "./errors.ts";

/** One alternative of `@requires`: a system and, on Linux, the oldest kernel that will do. */
export interface Requirement {
  os: "any" | "linux" | "darwin" | "windows";
  /** The kernel minimum, such as `5.19`; null: any kernel. */
  kernel: string | null;
}

/** The header of one experiment. A value that stands on several lines is joined by single spaces. */
export interface Experiment {
  /** The name of the file without `.ts`: also the name of the task and of the folder in results/. */
  name: string;
  /** The path of the file as it was found. */
  path: string;
  /** True for a file of experiments/peers/. */
  peer: boolean;
  title: string;
  family: string;
  question: string;
  idea: string;
  prediction: string;
  /** Names of the experiments to put beside this one. */
  compare: string[];
  /** Alternatives: one of them must hold. */
  requires: Requirement[];
  run: string;
  try: string;
  simplified: string;
  sources: string;
  /** What of the contract this architecture cannot show: id → sentence. */
  cannot: Record<string, string>;
}

/** The system that `runsHere` asks about. */
export interface System {
  /** As in `Deno.build.os`. */
  os: string;
  /** As in `Deno.osRelease()`, such as `6.1.0-13-amd64`. */
  kernel: string;
}

const HEADER = /^\/\*\*\r?\n(.*?)^ \*\//ms; // the first block of documentation in the file
const KEYS = "title family question idea prediction compare requires run try simplified cannot sources".split(" ");
const REPEATED = "cannot"; // the only key that may be missing or stand several times
const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const REQUIREMENT = /^(any|darwin|windows|linux)(?:\s+(\d+(?:\.\d+)*))?$/;
const SYSTEM_NAMES: Record<string, string> = { linux: "Linux", darwin: "macOS", windows: "Windows" };

/** Takes the header apart: key and value in the order in which they stand. */
function* headerEntries(path: string, source: string): Generator<[key: string, value: string]> {
  const header = HEADER.exec(source)?.[1];
  if (header === undefined) throw new Error(`${path}: there is no header, a comment that starts with /** and @title.`);
  const [before, ...parts] = header.replace(/^ \* ?/gm, "").split(/^@/m);
  if (before!.trim() !== "") throw new Error(`${path}: text before the first key of the header.`);
  for (const part of parts) {
    const [, key, value] = /^(\S*)(.*)$/s.exec(part)!;
    yield [key!, value!.trim().replace(/\s+/g, " ")];
  }
}

/** Collects the values of the header by key and insists on their order. */
function headerValues(path: string, source: string): { values: Map<string, string>; cannot: Record<string, string> } {
  const values = new Map<string, string>();
  const cannot: Record<string, string> = {};
  let last = 0;
  for (const [key, value] of headerEntries(path, source)) {
    const at = KEYS.indexOf(key);
    if (at < 0) throw new Error(`${path}: @${key} is unknown, the keys are ${KEYS.map((k) => `@${k}`).join(" ")}.`);
    if (at < last) throw new Error(`${path}: @${key} stands after @${KEYS[last]}, it belongs before it.`);
    if (value === "") throw new Error(`${path}: @${key} is empty.`);
    if (values.has(key)) throw new Error(`${path}: @${key} stands twice.`);
    last = at;
    if (key !== REPEATED) values.set(key, value);
    else {
      const [, id, sentence] = /^(\S+) (.+)$/.exec(value) ?? [];
      if (id === undefined || !NAME.test(id)) {
        throw new Error(`${path}: @cannot ${value}: it must be an id and a sentence.`);
      }
      if (Object.hasOwn(cannot, id)) throw new Error(`${path}: @cannot ${id} stands twice.`);
      cannot[id] = sentence!;
    }
  }
  const missing = KEYS.find((key) => key !== REPEATED && !values.has(key));
  if (missing !== undefined) throw new Error(`${path}: @${missing} is missing.`);
  return { values, cannot };
}

function parseRequires(path: string, text: string): Requirement[] {
  return text.split(",", 1)[0]!.split("|").map((alternative) => { // what follows a comma is said to people
    const [, os, kernel] = REQUIREMENT.exec(alternative.trim()) ?? [];
    if (os === undefined || (kernel !== undefined && os !== "linux")) {
      throw new Error(
        `${path}: @requires ${text}: it must be any, linux [kernel minimum], darwin or windows, several joined by |.`,
      );
    }
    return { os: os as Requirement["os"], kernel: kernel ?? null };
  });
}

/**
 * Reads the header of one experiment.
 *
 * @param name The name that the experiment bears: its file name without `.ts`.
 * @param path Its path. A file in a folder `peers` is a peer.
 * @param source The text of the file.
 * @throws {Error} If a key is missing, empty, unknown, repeated, out of order or malformed: names the file and the key.
 */
export function parseHeader(name: string, path: string, source: string): Experiment {
  const { values, cannot } = headerValues(path, source);
  const value = (key: string) => values.get(key)!;
  const compare = value("compare").split(",").map((other) => other.trim());
  const wrong = compare.find((other) => !NAME.test(other));
  if (wrong !== undefined) {
    throw new Error(`${path}: @compare ${wrong}: it must be names of experiments, joined by commas.`);
  }
  const run = value("run").split(" ");
  const file = run.indexOf(`${name}.ts`);
  if (run[0] !== "deno" || run[1] !== "run" || file < 0 || !run.slice(2, file).every((flag) => flag.startsWith("-"))) {
    throw new Error(`${path}: @run ${value("run")}: it must be deno run, its flags, ${name}.ts and options.`);
  }
  return {
    name,
    path,
    peer: basename(dirname(path)) === "peers",
    title: value("title"),
    family: value("family"),
    question: value("question"),
    idea: value("idea"),
    prediction: value("prediction"),
    compare,
    requires: parseRequires(path, value("requires")),
    run: value("run"),
    try: value("try"),
    simplified: value("simplified"),
    sources: value("sources"),
    cannot,
  };
}

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
 * @param dir The folder; experiments/ of this project unless said.
 * @throws {Error} If a header is wrong (see `parseHeader`), or a peer bears the name of an experiment.
 */
export function catalogue(dir: string = fileURLToPath(new URL("../experiments", import.meta.url))): Experiment[] {
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
    if (other) throw new Error(`${path} and ${other.path} bear the same name: rename one.`);
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
 * @param system The system asked about; this one unless said.
 */
export function runsHere(
  { name, requires }: Experiment,
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

/**
 * Finds an experiment of the catalogue by its name.
 *
 * @throws {UsageError} If there is none of that name: `Unknown experiment epol. Did you mean epoll?`
 */
export function find(name: string): Experiment {
  return findIn(catalogue(), name);
}

/**
 * Finds an experiment by its name among those given.
 *
 * @throws {UsageError} If there is none of that name.
 */
export function findIn(experiments: readonly Experiment[], name: string): Experiment {
  const found = experiments.find((experiment) => experiment.name === name);
  if (found) return found;
  const names = experiments.map((experiment) => experiment.name);
  const near = names.length > 0 ? closest(name, names) : "";
  // Half of the letters may be wrong; a name farther off was no slip of the finger.
  const hint = distance(name, near) * 2 <= near.length ? `Did you mean ${near}?` : `There are: ${names.join(", ")}.`;
  throw new UsageError(`Unknown experiment ${name}. ${hint}`);
}
