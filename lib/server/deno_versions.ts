/**
 * Other versions of Deno, from npm: kept in the cache folder of this project, so that each is fetched once.
 *
 * @module
 */
import { KnownFailure, UsageError } from "../cli/errors.ts";
import type { Runtime } from "./server.ts";
import { installLine, TOOLS } from "../catalogue/tools.ts";

/** A version such as 2.9.6, or the newest of several, such as 2.8.x. */
const VERSION = /^\d+\.(\d+|x)(\.(\d+|x))?$/;
// Deno itself tells where it is: how npm lays its packages out is its own affair.
const TELL = "console.log(JSON.stringify({ path: Deno.execPath(), version: Deno.version.deno }))";

/** No such version could be had: npm is missing, or the registry cannot be reached. */
export class CannotFetch extends KnownFailure {
  override readonly name = "CannotFetch";
}

/**
 * Fetches a version of Deno by npm, unless it is in the cache. Needs `--allow-run` for npx.
 *
 * @param version `2.9.6`, or `2.8.x` for the newest of them.
 * @param cache The folder in which npm keeps it.
 * @throws {UsageError} If there is no such version.
 * @throws {CannotFetch} If npm is not installed, or fails for another reason.
 */
export async function fetchDeno(version: string, cache: string, npx = "npx"): Promise<Runtime> {
  if (!VERSION.test(version)) throw new UsageError(`--deno ${version} is no version, such as 2.9.6 or 2.8.x.`);
  const command = new Deno.Command(npx, {
    args: ["--yes", `deno@${version}`, "eval", "--no-config", "--no-lock", TELL],
    env: { npm_config_cache: cache, NO_COLOR: "1" },
    stdin: "null",
  });
  let output: Deno.CommandOutput;
  try {
    output = await command.output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const tools = TOOLS.filter((tool) => tool.command === "npx");
    throw new CannotFetch(`Deno ${version} is fetched by npx, which is not installed: ${installLine(tools)}`);
  }
  const [said, told] = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes).trim());
  if (output.success) return { ...JSON.parse(said!.split("\n").at(-1)!), v8Flags: [] } as Runtime;
  if (/No matching version/.test(told!)) {
    throw new UsageError(`There is no Deno ${version}: npm view deno versions lists the versions.`);
  }
  throw new CannotFetch(`npx cannot fetch Deno ${version}: ${told!.split("\n").slice(-3).join(" ")}`);
}

/** Where npm keeps what it has fetched: in the cache folder of this project, which experiments/peers use too. */
export function cacheFolder(): string {
  const home = Deno.env.get("HOME");
  const caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) throw new UsageError("Versions of Deno are kept in a cache folder: set HOME or XDG_CACHE_HOME.");
  return `${caches}/c10k-lab/npm`;
}
