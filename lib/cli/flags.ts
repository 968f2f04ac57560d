import { stripVTControlCharacters } from "node:util";
import { parseArgs } from "@std/cli";
import { CannotStore, Interrupted, KnownFailure, Unavailable, UsageError } from "./errors.ts";
import { wrap } from "../text/table.ts";
import { EXIT, EXIT_USAGE } from "./exit.ts";
import { folded } from "./progress.ts";

/** What a command line gave: flags by name, and the words that belong to no flag. */
export type Flags<B extends string, S extends string, C extends string = never> =
  & { [K in B]: boolean }
  & { [K in S]?: string }
  & { [K in C]: string[] }
  & { _: string[] };

/**
 * Parses the flags of a command; every flag is declared, so that a misspelt one is reported and not ignored.
 *
 * @throws {UsageError} If there is an unknown flag, or one that needs a value has none.
 */
export function parseFlags<
  const B extends string = never,
  const S extends string = never,
  const C extends string = never,
>(
  args: readonly string[],
  known: {
    boolean?: readonly B[];
    string?: readonly S[];
    /** Flags with a value that may be repeated. */
    collect?: readonly C[];
    negatable?: readonly B[];
    defaults?: { [K in B]?: boolean };
  },
): Flags<B, S, C> {
  const { boolean = [], string = [], collect = [], negatable = [], defaults = {} } = known;
  const words = args[0] === "--" ? args.slice(1) : [...args]; // deno task passes a separator on
  const parsed = parseArgs(joinNegative(words, [...string, ...collect]), {
    boolean: boolean as readonly string[],
    string: [...string, ...collect] as readonly string[],
    collect: collect as readonly string[],
    negatable: negatable as readonly string[],
    default: defaults as Record<string, unknown>,
    unknown: (arg) => {
      if (arg.startsWith("-")) throw new UsageError(`Unknown flag ${arg}.`);
      return true;
    },
  });
  const flags = parsed as unknown as Record<string, unknown>;
  for (const name of [...string, ...collect]) {
    if ([flags[name]].flat().includes("")) throw new UsageError(`--${name} needs a value.`);
  }
  return { ...flags, _: parsed._.map(String) } as Flags<B, S, C>;
}

/** Joins a flag and a negative number behind it, which would pass for a flag: `--seconds -1` becomes `--seconds=-1`. */
function joinNegative(words: readonly string[], withValue: readonly string[]): string[] {
  const joined: string[] = [];
  const end = words.includes("--") ? words.indexOf("--") : words.length;
  for (const [i, word] of words.entries()) {
    const before = joined.at(-1) ?? "";
    const isValue = i < end && /^-\.?\d/.test(word) && before.startsWith("--") && withValue.includes(before.slice(2));
    if (isValue) joined[joined.length - 1] = `${before}=${word}`;
    else joined.push(word);
  }
  return joined;
}

/** What a number must be. */
export interface NumberRule {
  min: number;
  max: number;
  integer?: boolean;
  /** The unit that the digits stand for, such as `µs`. */
  unit?: string;
}

/** How to write what is no number to JavaScript but one to its reader, such as 10,000 or 50ms. */
function formOf(text: string, { min, max, unit }: NumberRule): string {
  if (!Number.isNaN(Number(text)) || !/\d/.test(text)) return "";
  const plain = text.replace(/[,_\s]|%$/g, "");
  if (Number(plain) >= min && Number(plain) <= max) return `: write it as ${plain}`;
  return `: write it ${unit === undefined ? "" : `in ${unit}, `}in digits alone`;
}

/**
 * Reads the number that a flag was given.
 *
 * @throws {UsageError} If it is none, or out of its range.
 */
export function numberFlag(name: string, text: string, rule: NumberRule): number {
  const { min, max, integer = false } = rule;
  const value = Number(text);
  if (text.trim() === "" || !(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
    const what = integer ? "a whole number" : "a number";
    throw new UsageError(`--${name} ${text} is not ${what} from ${min} to ${max}${formOf(text, rule)}.`);
  }
  return value;
}

/**
 * Reads numbers separated by commas, such as `10,100`.
 *
 * @throws {UsageError} If one is none, or out of its range.
 */
export function numberList(name: string, text: string, rule: NumberRule): number[] {
  return text.split(",").map((part) => numberFlag(name, part, rule));
}

/** Columns of a usage: it must read well on every terminal. */
const USAGE_COLUMNS = 80;
/** What continues a line that starts at the left: the width of `Usage: `. */
const USAGE_INDENT = 7;

/** Where the text of a line begins, or of what continues it. */
const indentOf = (line: string): number => /^ */.exec(line)![0].length || USAGE_INDENT;

/** The lines of a usage. One that is too long takes on those that continue its sentence, so that its rest is no line alone. */
function flowing(usage: string): string[] {
  const lines: string[] = [];
  for (const line of usage.split("\n")) {
    const last = lines.at(-1) ?? "";
    const continues = /^ *[a-z(]/.test(line) && !/^ *deno task /.test(line) && indentOf(line) === indentOf(last);
    if (last.length > USAGE_COLUMNS && continues) lines[lines.length - 1] = `${last} ${line.trimStart()}`;
    else lines.push(line);
  }
  return lines;
}

/** Wraps the lines of a usage that are too long; the rest of each stands below its beginning. */
export function wrapUsage(usage: string): string {
  return flowing(usage).flatMap((line) => {
    if (line.length <= USAGE_COLUMNS) return [line];
    const indent = " ".repeat(indentOf(line));
    const [first, ...rest] = wrap(line.trimStart(), USAGE_COLUMNS - indent.length);
    return [(line.startsWith(" ") ? indent : "") + first, ...rest.map((text) => indent + text.trimStart())];
  }).join("\n");
}

/** What stands before the separator, where a command has one: behind it are the words of another program. */
const ownWords = (args: readonly string[]): readonly string[] => {
  const words = args[0] === "--" ? args.slice(1) : args; // deno task passes a separator on
  return words.includes("--") ? words.slice(0, words.indexOf("--")) : words;
};

/** Whether these arguments ask a command for its usage. */
export const asksForHelp = (args: readonly string[]): boolean =>
  ownWords(args).some((word) => word === "--help" || word === "-h");

/**
 * Runs the body of a command and ends the process with the exit code it returns. Errors end with the codes of
 * {@linkcode EXIT}: those with a known cause in one sentence, others with their stack trace. `--help` prints the usage; an
 * error of usage ends with the command that does.
 *
 * @param args Where `--help` is looked for: all arguments, or fewer where a command passes the others on.
 */
export async function runScript(
  usage: string,
  body: () => Promise<number>,
  args: readonly string[] = Deno.args,
): Promise<never> {
  if (asksForHelp(args)) {
    console.log(`${wrapUsage(usage)}\n${EXIT_USAGE}`);
    Deno.exit(EXIT.ok);
  }
  try {
    Deno.exit(await body());
  } catch (error) {
    Deno.exit(report(error, usage));
  }
}

/** What the system refuses where it is at its limit of processes or threads: fork(2) and clone(2) say EAGAIN. */
const NO_PROCESS =
  "No more processes or threads can be started here: raise the limit (ulimit -u, pids.max of the container).";

/** What the system refuses where this process is at its limit of descriptors: EMFILE. */
const NO_DESCRIPTOR = "This process cannot open more files or pipes: raise the limit of descriptors (ulimit -n).";

/** The sentence for an error whose cause is known; null if it is not. */
function sentenceOf(error: unknown): string | null {
  if (error instanceof KnownFailure || error instanceof Interrupted) return error.message;
  if (error instanceof Deno.errors.WouldBlock) return `${NO_PROCESS} ${error.message}`;
  if (error instanceof Error && "code" in error && error.code === "EMFILE") return `${NO_DESCRIPTOR} ${error.message}`;
  const isRefusal = error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
  return isRefusal ? error.message : null;
}

/** The exit code for an error that a body threw. */
function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage;
  if (error instanceof Interrupted) return EXIT.interrupted;
  return error instanceof Unavailable ? EXIT.unavailable : EXIT.harness;
}

/** What stands below a usage error: the usage itself would push it out of sight. */
const hintOf = (usage: string): string => {
  const command = /^Usage: (deno task [\w:-]+)/.exec(usage)?.[1];
  return command === undefined ? wrapUsage(usage) : `Help: ${command} --help`;
};

/** Reports an error that a body threw, without colours: stderr may be a file. Returns the exit code for it. */
function report(error: unknown, usage: string): number {
  const stack = error instanceof Error ? error.stack ?? error.message : String(error);
  const sentence = error instanceof UsageError ? `${error.message}\n${hintOf(usage)}` : sentenceOf(error);
  const text = stripVTControlCharacters(sentence ?? stack);
  // A command in other errors stays on one line: it is there to be pasted.
  console.error(error instanceof UsageError || error instanceof CannotStore ? folded(text) : text);
  return exitCodeOf(error);
}
