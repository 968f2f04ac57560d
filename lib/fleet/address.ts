/**
 * Where the broker of a fleet is and how one identifies oneself to it, as read from a command line. It imports no client of NATS.
 *
 * @module
 */
import { KnownFailure, UsageError } from "../cli/errors.ts";

/** The flags that identify a side to the broker. */
export const BROKER_FLAGS = ["login", "creds", "nkey", "tls-ca", "tls-cert", "tls-key"] as const;
/** How they stand in a usage. */
export const BROKER_USAGE = `[--login FILE (a token, or a user and below it the password)]
       [--creds FILE | --nkey FILE] [--tls-ca FILE]
       [--tls-cert FILE --tls-key FILE]
       NATS_TOKEN, or NATS_USER and NATS_PASSWORD, say the same as --login:
       other users of this host see what stands in a URL.`;
export type BrokerFlags = Partial<Record<typeof BROKER_FLAGS[number], string | undefined>>;

/** The variables that identify a side where no flag and no URL does. The command `nats` has the same names. */
const VARIABLES = ["NATS_TOKEN", "NATS_USER", "NATS_PASSWORD"] as const;
export type BrokerVariables = Partial<Record<typeof VARIABLES[number], string | undefined>>;

/** What the environment says. Needs `--allow-env` for these variables. */
export function brokerVariables(): BrokerVariables {
  return Object.fromEntries(VARIABLES.map((name) => [name, Deno.env.get(name)]));
}

const DEFAULT_PORT = "4222";

/** A broker, or several of one cluster. */
export interface Broker {
  /** `host:port` of each. */
  servers: string[];
  /** As it may be shown and stored: without user and password. */
  display: string;
  /** `user` without `pass` is a token. */
  user: string | null;
  pass: string | null;
  isTls: boolean;
  /** The content of a file. */
  creds: string | null;
  nkey: string | null;
  /** Paths. */
  tlsCa: string | null;
  tlsCert: string | null;
  tlsKey: string | null;
}

/** Reads the address of one server. @param shown What of the text may be shown: nothing where a password may be in it. */
function parseServer(flag: string, text: string, shown: string): URL {
  const url = URL.parse(text.includes("://") ? text : `nats://${text}`);
  const isKnown = url !== null && ["nats:", "tls:"].includes(url.protocol) && url.hostname !== "";
  if (!isKnown || !["", "/"].includes(url.pathname)) {
    throw new UsageError(`--${flag}${shown} is no address of a NATS server such as nats://10.0.0.1:4222.`);
  }
  return url;
}

/** @throws {KnownFailure} If it cannot be read. */
function contentOf(flag: string, path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new KnownFailure(`Cannot read --${flag} ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** By what a side identifies itself to a broker, besides a certificate. */
type Login = Pick<Broker, "user" | "pass">;

/** The user and the password of a URL; null: it has none. */
function loginOfUrl(flag: string, { username, password }: URL): Login | null {
  if (username === "" && password === "") return null;
  const part = (value: string) => value === "" ? null : decodeURIComponent(value);
  try {
    return { user: part(username), pass: part(password) };
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw new UsageError(`--${flag}: a % in a user or a password is written %25.`);
  }
}

/** A file with a token, or with a user and a password on two lines. */
function loginOfFile(path: string): Login {
  const lines = contentOf("login", path).trimEnd().split(/\r?\n/);
  const [user = "", pass] = lines;
  if (user === "" || pass === "" || lines.length > 2) {
    throw new KnownFailure(`--login ${path} has no token on one line, and no user and password on two.`);
  }
  return { user, pass: pass ?? null };
}

/** @throws {UsageError} If the variables contradict each other. An empty one is none. */
function loginOfVariables({ NATS_TOKEN, NATS_USER, NATS_PASSWORD }: BrokerVariables): Login | null {
  const given = (value: string | undefined) => value === undefined || value === "" ? null : value;
  const [token, user, pass] = [given(NATS_TOKEN), given(NATS_USER), given(NATS_PASSWORD)] as const;
  if ((user === null) !== (pass === null)) throw new UsageError("NATS_USER and NATS_PASSWORD belong together.");
  if (token !== null && user !== null) throw new UsageError("Set NATS_TOKEN or NATS_USER, one of the two.");
  if (token !== null) return { user: token, pass: null };
  return user === null ? null : { user, pass };
}

/** How the address of a broker is read: see {@linkcode readBroker}. */
export type BrokerReader = (flag: string, text: string, flags: BrokerFlags) => Broker;

/**
 * Reads the address of a broker.
 *
 * @param flag The flag that named it.
 * @param variables They count where neither a flag nor the URL identifies this side.
 * @throws {UsageError} If it is none.
 */
export function readBroker(flag: string, text: string, flags: BrokerFlags, variables: BrokerVariables = {}): Broker {
  const shown = (part: string) => text.includes("@") ? "" : ` ${part}`;
  const urls = text.split(",").map((part) => parseServer(flag, part, shown(part)));
  const [first] = urls;
  const ofUrl = loginOfUrl(flag, first!);
  const named = [flags.login, flags.creds, flags.nkey].filter((path) => path !== undefined).length;
  if (named > 1) throw new UsageError("Give --login, --creds or --nkey, one of them.");
  if (named === 1 && ofUrl !== null) throw new UsageError(`Give --login, --creds, --nkey or a user in --${flag}.`);
  if ((flags["tls-cert"] === undefined) !== (flags["tls-key"] === undefined)) {
    throw new UsageError("--tls-cert and --tls-key belong together.");
  }
  const servers = urls.map(({ hostname, port }) => `${hostname}:${port || DEFAULT_PORT}`);
  const scheme = first!.protocol === "tls:" ? "tls" : "nats";
  const ofFile = flags.login === undefined ? null : loginOfFile(flags.login);
  const ofVariables = named === 0 && ofUrl === null ? loginOfVariables(variables) : null;
  const { user, pass } = ofUrl ?? ofFile ?? ofVariables ?? { user: null, pass: null };
  return {
    servers,
    display: servers.map((server) => `${scheme}://${server}`).join(),
    user,
    pass,
    isTls: scheme === "tls" || flags["tls-ca"] !== undefined || flags["tls-cert"] !== undefined,
    creds: flags.creds === undefined ? null : contentOf("creds", flags.creds),
    nkey: flags.nkey === undefined ? null : contentOf("nkey", flags.nkey).trim(),
    tlsCa: flags["tls-ca"] ?? null,
    tlsCert: flags["tls-cert"] ?? null,
    tlsKey: flags["tls-key"] ?? null,
  };
}
