import { stripVTControlCharacters } from "node:util";
import { parseArgs } from "@std/cli";
import { Interrupted, KnownFailure, Unavailable, UsageError } from "./errors.ts";
import { EXIT } from "./exit.ts";

/** What a command line gave: flags by name, and the words that belong to no flag. */
export type Flags<B extends string, S extends string, C extends string = never> =
  & { [K in B]: boolean }
  & { [K in S]?: string }
  & { [K in C]: string[] }
  & { _: string[] };

/**
 * Parses the flags of a command; every flag is named, so that a misspelt one is told and not passed over.
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
  const parsed = parseArgs(words, {
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

/** What a number must be. */
export interface NumberRule {
  min: number;
  max: number;
  integer?: boolean;
}

/**
 * Reads the number that a flag was given.
 *
 * @throws {UsageError} If it is none, or out of its range.
 */
export function numberFlag(name: string, text: string, { min, max, integer = false }: NumberRule): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
    throw new UsageError(`--${name} ${text} is not ${integer ? "a whole number" : "a number"} from ${min} to ${max}.`);
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

/**
 * Runs the body of a command and ends the process with the exit code it returns. Errors end with the codes of
 * {@linkcode EXIT}: those with a known cause in one sentence, others with their stack trace. `--help` prints the usage.
 */
export async function runScript(usage: string, body: () => Promise<number>): Promise<never> {
  const ownArgs = Deno.args.includes("--") ? Deno.args.slice(0, Deno.args.indexOf("--")) : Deno.args;
  if (ownArgs.includes("--help") || ownArgs.includes("-h")) {
    console.log(usage);
    Deno.exit(EXIT.ok);
  }
  try {
    Deno.exit(await body());
  } catch (error) {
    Deno.exit(report(error, usage));
  }
}

/** Reports an error that a body threw, and returns the exit code for it. */
function report(error: unknown, usage: string): number {
  if (error instanceof UsageError) {
    console.error(`${error.message}\n${usage}`);
    return EXIT.usage;
  }
  if (error instanceof Interrupted) {
    console.error(error.message);
    return EXIT.interrupted;
  }
  if (error instanceof KnownFailure) {
    console.error(error.message);
    return error instanceof Unavailable ? EXIT.unavailable : EXIT.harness;
  }
  console.error(error instanceof Error ? stripVTControlCharacters(error.stack ?? error.message) : error);
  return EXIT.harness;
}
