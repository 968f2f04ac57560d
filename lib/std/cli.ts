/**
 * `@std/cli` over minimist, which the original was made from; for places where JSR cannot be reached.
 *
 * @module
 */
// @ts-types="@types/minimist"
import minimist from "minimist";

/** What `parseArgs` knows of the command line; every option of a kind is named once. */
export interface ParseOptions<B extends string, S extends string, C extends string, D> {
  /** Flags without a value; false unless they are given. */
  boolean?: readonly B[];
  /** Flags with a value, which stays text even if it looks like a number. */
  string?: readonly S[];
  /** Those of `string` that may be repeated: their value is an array. Of the others the last one counts. */
  collect?: readonly C[];
  /** Those of `boolean` that `--no-name` sets to false. */
  negatable?: readonly string[];
  /** Values of flags that are not given. */
  default?: D;
  /** Further names: `{ help: "h" }`. */
  alias?: Readonly<Record<string, string>>;
  /** Called for every flag that is not named here and every positional argument; if it returns false, that is left out. */
  unknown?: (arg: string) => unknown;
}

/** What the command line said. */
export type Args<B extends string, S extends string, C extends string, D> =
  & { [K in B]: boolean }
  & { [K in Extract<S, keyof D>]: string | D[K & keyof D] }
  & { [K in Exclude<S, C | keyof D>]?: string }
  & { [K in C]: string[] }
  & { _: (string | number)[] };

/**
 * Parses a command line.
 *
 * ```ts
 * const args = parseArgs(["--port", "80", "-v", "x"], { string: ["port"], boolean: ["verbose"], alias: { verbose: "v" } });
 * // { port: "80", verbose: true, v: true, _: ["x"] }
 * ```
 */
export function parseArgs<
  const B extends string = never,
  const S extends string = never,
  const C extends string = never,
  const D extends Record<string, unknown> = Record<never, never>,
>(args: readonly string[], options: ParseOptions<B, S, C, D> = {}): Args<B, S, C, D> {
  const { boolean = [], string = [], collect = [], negatable = [], alias = {}, unknown } = options;
  const repeatable = new Set<string>(collect);
  // minimist negates whatever starts with --no-; as `--no-name=true` it is an option like any other.
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const negates = (arg: string) => arg.startsWith("--no-") && !arg.includes("=");
  const plain = args.map((arg, i) =>
    i < end && negates(arg) && !negatable.includes(arg.slice(5)) ? `${arg}=true` : arg
  );
  const parsed = minimist(plain, {
    boolean: [...boolean],
    string: [...string],
    alias: { ...alias },
    default: options.default ?? {},
    ...(unknown && { unknown: (arg: string) => unknown(args[plain.indexOf(arg)] ?? arg) !== false }),
  });
  for (const name of string) {
    const value = parsed[name];
    const values = value === undefined ? [] : [value].flat();
    const result = repeatable.has(name) ? values : values.at(-1);
    if (result !== undefined) { for (const key of [name, alias[name]]) if (key !== undefined) parsed[key] = result; }
  }
  return parsed as unknown as Args<B, S, C, D>;
}
