/**
 * Reads from a command line which custom server is to be measured.
 *
 * @module
 */
import { UsageError } from "../cli/errors.ts";
import { numberFlag } from "../cli/flags.ts";
import { STUDIES } from "../results/durable_file.ts";
import type { CustomServer } from "./subject.ts";

const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const ANY_PORT = { min: 1, max: 65535, integer: true };
const PATH = /^\/[!-~]*$/;

/** Parts a command line at the separator: flags before it, the words of a command behind it; null: there is none. */
export function commandBehind(args: readonly string[]): { own: string[]; words: string[] | null } {
  const words = args[0] === "--" ? args.slice(1) : [...args]; // deno task passes a separator on
  const at = words.indexOf("--");
  if (at < 0) return { own: words, words: null };
  if (at === words.length - 1) throw new UsageError("No command stands behind --.");
  return { own: words.slice(0, at), words: words.slice(at + 1) };
}

/** Hosts of this machine, as a URL has them. */
const HOSTS = ["localhost", "127.0.0.1", "[::1]"];

/** @param isLent Agents make the load: the user names the server here, and its network there. */
function targetOf(url: string, isLent: boolean): Pick<CustomServer, "host" | "port" | "path"> {
  const parsed = URL.parse(url);
  if (parsed?.protocol === "https:") {
    throw new UsageError(`--url ${url}: TLS is not supported here. Give an http:// address.`);
  }
  if (parsed === null || parsed.protocol !== "http:") throw new UsageError(`--url ${url} is no http:// address.`);
  const { hostname } = parsed;
  if (!isLent && !HOSTS.includes(hostname)) {
    throw new UsageError(
      `--url ${url}: load goes to this machine only, by ${HOSTS.join(", ")}; agents load others (--fleet).`,
    );
  }
  const address = { host: hostname.replace(/^\[|\]$/g, ""), port: parsed.port === "" ? 80 : Number(parsed.port) };
  const path = parsed.pathname + parsed.search;
  return path === "/" ? address : { ...address, path };
}

/**
 * What is asked for; nothing where that is `/`.
 *
 * @throws {UsageError} If it is no path.
 */
export function readPath(path: string | undefined): Pick<CustomServer, "path"> {
  if (path === undefined || path === "/") return {};
  if (!PATH.test(path)) throw new UsageError(`--path ${path} is no path such as /healthz.`);
  return { path };
}

/**
 * Makes the subject of a measurement.
 *
 * @param taken Names that experiments have.
 * @param fleet The broker of the agents that load it, as it may be shown; null: this machine loads it.
 * @throws {UsageError} If the flags do not name one server.
 */
export function readCustom(
  { name, url, pid, port, path }: { name?: string; url?: string; pid?: string; port?: string; path?: string },
  words: string[] | null,
  taken: readonly string[],
  fleet: string | null = null,
): CustomServer {
  if (name === undefined) throw new UsageError("Name the server: --name mine.");
  if (!NAME.test(name)) throw new UsageError(`--name ${name}: small letters, digits and hyphens.`);
  if (name === STUDIES) throw new UsageError(`--name ${name} is a folder of results/: choose another.`);
  if (taken.includes(name)) throw new UsageError(`--name ${name} is the name of an experiment: choose another.`);
  const common = { name, family: "custom" } as const;
  if ((url === undefined) === (words === null)) {
    throw new UsageError("Give a command behind --, or --url, one of the two.");
  }
  if (words !== null) {
    if (fleet !== null) throw new UsageError("--fleet loads a server that runs already: name it by --url.");
    if (pid !== undefined) throw new UsageError("--pid belongs to --url: the process of a command is known.");
    const where = port === undefined ? null : numberFlag("port", port, ANY_PORT);
    return { ...common, words, host: null, port: where, pid: null, ...readPath(path) };
  }
  if (port !== undefined) throw new UsageError("--port belongs to a command: --url names its port itself.");
  if (path !== undefined) throw new UsageError("--path belongs to a command: --url has its path at its end.");
  const process = pid === undefined ? null : numberFlag("pid", pid, { min: 1, max: 2 ** 22, integer: true });
  const attached = { ...common, words, ...targetOf(url!, fleet !== null), pid: process };
  return fleet === null ? attached : { ...attached, fleet };
}

/** Flags that only a server of the user's own has, beside `--url` and a command. */
export const OF_OWN = ["name", "pid", "port", "path"] as const;

/**
 * Sees that nothing is named that the command would ignore.
 *
 * @param isOwn Whether a `--url` or a command stands there.
 * @throws {UsageError} If experiments are named beside a server of the user's own, or its flags without one.
 */
export function checkOwn(
  flags: { _: readonly string[] } & Partial<Record<typeof OF_OWN[number], string>>,
  isOwn: boolean,
): void {
  if (isOwn && flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: name experiments or a server.`);
  const alone = isOwn ? undefined : OF_OWN.find((name) => flags[name] !== undefined);
  if (alone === undefined) return;
  throw new UsageError(`--${alone} belongs to a server of your own: one at a --url, or a command behind --.`);
}

/**
 * As {@linkcode readCustom}, for what speaks to a server by clients of its own, which ask for `/`.
 *
 * @throws {UsageError} As {@linkcode readCustom}, or if a path is named.
 */
export function readAtRoot(flags: Parameters<typeof readCustom>[0], words: string[] | null, taken: readonly string[]) {
  const subject = readCustom(flags, words, taken);
  if (subject.path !== undefined) throw new UsageError(`--url ${flags.url}: only GET / is asked for here.`);
  return subject;
}
