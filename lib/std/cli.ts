/**
 * `@std/cli` over minimist, which the original was made from; for places where JSR cannot be reached.
 *
 * @module
 */
// @ts-types="@types/minimist"
import minimist from "minimist";

/** What `parseArgs` knows of the command line. */
export interface ParseOptions {
  /** Flags without a value; false unless they are given. */
  boolean?: readonly string[];
  /** Flags with a value, which stays text even if it looks like a number. Of a repeated one the last counts. */
  string?: readonly string[];
  /** Those of `string` that may be repeated: their value is a list, which is empty where there is none. */
  collect?: readonly string[];
  /** Those of `boolean` that `--no-name` sets to false. */
  negatable?: readonly string[];
  /** Values of flags that are not given. */
  default?: Record<string, unknown>;
  /** Called for every other flag and every argument that is none; what it returns false for is left out. */
  unknown?: (arg: string) => unknown;
}

/** What the command line said: a property for each flag, and `_` for what belongs to no flag. */
export interface Args {
  [name: string]: unknown;
  _: (string | number)[];
}

/**
 * Parses a command line.
 *
 * ```ts
 * const args = parseArgs(["--port", "80", "--quick", "x"], { string: ["port"], boolean: ["quick"] });
 * // { port: "80", quick: true, _: ["x"] }
 * ```
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const { boolean = [], string = [], collect = [], negatable = [], unknown } = options;
  // minimist negates whatever starts with --no-; as `--no-name=true` it is a flag like any other.
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const negates = (arg: string) => arg.startsWith("--no-") && !arg.includes("=");
  const plain = args.map((arg, i) =>
    i < end && negates(arg) && !negatable.includes(arg.slice(5)) ? `${arg}=true` : arg
  );
  const parsed = minimist(plain, {
    boolean: [...boolean],
    string: [...string],
    default: options.default ?? {},
    ...(unknown && { unknown: (arg: string) => unknown(args[plain.indexOf(arg)] ?? arg) !== false }),
  });
  // minimist collects the values of a repeated flag.
  for (const name of string) {
    const values = [parsed[name] ?? []].flat();
    if (collect.includes(name)) parsed[name] = values;
    else if (values.length > 1) parsed[name] = values.at(-1);
  }
  return parsed;
}
