/**
 * The header of an experiment: the one comment in which a file says what it is, read by the harness and shown to people.
 *
 * @module
 */
import { basename, dirname } from "node:path";
import { KnownFailure } from "../cli/errors.ts";

/** A file whose header cannot be used. The message names the file and what must change. */
export class HeaderError extends KnownFailure {
  override readonly name = "HeaderError";
}

/** One alternative of `@requires`: a system and, on Linux, the oldest kernel that will do. */
export interface Requirement {
  os: "any" | "linux" | "darwin" | "freebsd" | "windows";
  /** The kernel minimum, such as `5.19`; null: any kernel. */
  kernel: string | null;
}

/** One item of `@needs`: a command, a library (`libname.so.1`) or a header (`name.h`), and the Debian package that has it. */
export interface Need {
  thing: string;
  /** Null: Debian has none. It is used where it is installed, and a user is not asked to install it. Written as a hyphen. */
  package: string | null;
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
  /** The prediction as conditions that a program can judge, such as `hold(10000).answered >= 10000`. */
  expect: string[];
  /** Names of the experiments to put beside this one. */
  compare: string[];
  /** Alternatives: one of them must hold. */
  requires: Requirement[];
  /** What must be installed; empty where the system is enough. */
  needs: Need[];
  /** The command that prints the version of what serves, such as `go version`; null: it is Deno that serves. */
  version: string | null;
  /** What a comparison with others has to know of it, in prose: threads, buffers, flags; null: nothing unusual. */
  fairness: string | null;
  /** What `--workers` counts, and how many there are by default; null: it has no such option. */
  workers: string | null;
  run: string;
  try: string;
  simplified: string;
  sources: string;
  /** What of the contract this architecture cannot show: id → sentence. */
  cannot: Record<string, string>;
}

const HEADER = /^\/\*\*\r?\n(.*?)^ \*\//ms; // the first block of documentation in the file
const KEYS =
  "title family question idea prediction expect compare requires needs version fairness cannot workers run try simplified sources"
    .split(
      " ",
    );
const OPTIONAL = ["expect", "needs", "version", "fairness", "workers", "cannot"];
const REPEATED = "cannot"; // the only key that may stand several times
const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const REQUIREMENT = /^(any|darwin|freebsd|windows|linux)(?:\s+(\d+(?:\.\d+)*))?$/;

/** Takes the header apart: key and value in the order in which they stand. */
function* headerEntries(path: string, source: string): Generator<[key: string, value: string]> {
  const header = HEADER.exec(source)?.[1];
  if (header === undefined) {
    throw new HeaderError(`${path}: there is no header, a comment that starts with /** and @title.`);
  }
  const [before, ...parts] = header.replace(/^ \* ?/gm, "").split(/^@/m);
  if (before!.trim() !== "") throw new HeaderError(`${path}: text before the first key of the header.`);
  for (const part of parts) {
    const [, key, value] = /^(\S*)(.*)$/s.exec(part)!;
    // The conditions of @expect stand on a line each; any other value is one text.
    yield [key!, key === "expect" ? value!.trim() : value!.trim().replace(/\s+/g, " ")];
  }
}

/** Keys stand in order; in a file of an older commit they may stand in the order of that time. */
export type KeyOrder = "in order" | "any order";

/** A condition of `@expect`: scenario or probe, at which size, figure, sign, and what it is compared with. */
export const CONDITION =
  /^([a-z]+)\(([\w-]+)\)\.(\w+)\s*(>=|>|<=|<)\s*(?:([\d._]+)\s*(?:\*\s*([a-z][\w-]*))?|([a-z][\w-]*))$/;

function parseExpect(path: string, text: string): string[] {
  const conditions = text.split("\n").map((condition) => condition.trim());
  const wrong = conditions.find((condition) => !CONDITION.test(condition));
  if (wrong === undefined) return conditions;
  throw new HeaderError(`${path}: @expect ${wrong}: it must be a condition such as hold(10000).answered >= 10000.`);
}

/** Collects the values of the header by key and insists on their order. */
function headerValues(
  path: string,
  source: string,
  order: KeyOrder,
): { values: Map<string, string>; cannot: Record<string, string> } {
  const values = new Map<string, string>();
  const cannot: Record<string, string> = {};
  let last = 0;
  for (const [key, value] of headerEntries(path, source)) {
    const at = KEYS.indexOf(key);
    if (at < 0) {
      throw new HeaderError(`${path}: @${key} is unknown, the keys are ${KEYS.map((k) => `@${k}`).join(" ")}.`);
    }
    if (order === "in order" && at < last) {
      throw new HeaderError(`${path}: @${key} stands after @${KEYS[last]}, it belongs before it.`);
    }
    if (value === "") throw new HeaderError(`${path}: @${key} is empty.`);
    if (values.has(key)) throw new HeaderError(`${path}: @${key} stands twice.`);
    last = at;
    if (key !== REPEATED) values.set(key, value);
    else {
      const [, id, sentence] = /^(\S+) (.+)$/.exec(value) ?? [];
      if (id === undefined || !NAME.test(id)) {
        throw new HeaderError(`${path}: @cannot ${value}: it must be an id and a sentence.`);
      }
      if (Object.hasOwn(cannot, id)) throw new HeaderError(`${path}: @cannot ${id} stands twice.`);
      cannot[id] = sentence!;
    }
  }
  const missing = KEYS.find((key) => !OPTIONAL.includes(key) && !values.has(key));
  if (missing !== undefined) throw new HeaderError(`${path}: @${missing} is missing.`);
  return { values, cannot };
}

function parseRequires(path: string, text: string): Requirement[] {
  return text.split(",", 1)[0]!.split("|").map((alternative) => { // what follows a comma is said to people
    const [, os, kernel] = REQUIREMENT.exec(alternative.trim()) ?? [];
    if (os === undefined || (kernel !== undefined && os !== "linux")) {
      throw new HeaderError(
        `${path}: @requires ${text}: it must be any, linux [kernel minimum], darwin, freebsd or windows, joined by |.`,
      );
    }
    return { os: os as Requirement["os"], kernel: kernel ?? null };
  });
}

function parseNeeds(path: string, text: string): Need[] {
  return text.split(",").map((item) => {
    const [, thing, name] = /^([\w.+-]+) \(([a-z0-9.+-]+)\)$/.exec(item.trim()) ?? [];
    if (thing === undefined) {
      throw new HeaderError(
        `${path}: @needs ${text}: it must be things with their packages, thing (package), joined by commas.`,
      );
    }
    return { thing, package: name === "-" ? null : name! };
  });
}

/**
 * Reads the header of one experiment.
 *
 * @param name The name of the experiment: its file name without `.ts`.
 * @param path Its path. A file in a folder `peers` is a peer.
 * @param source The text of the file.
 * @throws {HeaderError} If a key is missing, empty, unknown, repeated, out of order or malformed: names the file and the key.
 */
export function parseHeader(name: string, path: string, source: string, order: KeyOrder = "in order"): Experiment {
  const { values, cannot } = headerValues(path, source, order);
  const value = (key: string) => values.get(key)!;
  const compare = value("compare").split(",").map((other) => other.trim());
  const wrong = compare.find((other) => !NAME.test(other));
  if (wrong !== undefined) {
    throw new HeaderError(`${path}: @compare ${wrong}: it must be names of experiments, joined by commas.`);
  }
  const run = value("run").split(" ");
  const file = run.indexOf(`${name}.ts`);
  if (run[0] !== "deno" || run[1] !== "run" || file < 0 || !run.slice(2, file).every((flag) => flag.startsWith("-"))) {
    throw new HeaderError(`${path}: @run ${value("run")}: it must be deno run, its flags, ${name}.ts and options.`);
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
    expect: values.has("expect") ? parseExpect(path, value("expect")) : [],
    compare,
    requires: parseRequires(path, value("requires")),
    needs: values.has("needs") ? parseNeeds(path, value("needs")) : [],
    version: values.get("version") ?? null,
    fairness: values.get("fairness") ?? null,
    workers: values.get("workers") ?? null,
    run: value("run"),
    try: value("try"),
    simplified: value("simplified"),
    sources: value("sources"),
    cannot,
  };
}
