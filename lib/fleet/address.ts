/**
 * Where the broker of a fleet is and how one identifies oneself to it, as read from a command line. It imports no client of NATS.
 *
 * @module
 */
import { KnownFailure, UsageError } from "../cli/errors.ts";

/** The flags that identify a side to the broker. */
export const BROKER_FLAGS = ["creds", "nkey", "tls-ca", "tls-cert", "tls-key"] as const;
/** How they stand in a usage. */
export const BROKER_USAGE = "[--creds FILE | --nkey FILE] [--tls-ca FILE]\n       [--tls-cert FILE --tls-key FILE]";
export type BrokerFlags = Partial<Record<typeof BROKER_FLAGS[number], string | undefined>>;

const DEFAULT_PORT = "4222";

/** A broker, or several of one cluster. */
export interface Broker {
  /** `host:port` of each. */
  servers: string[];
  /** As it may be shown and stored: without user and password. */
  display: string;
  /** From the URL; `user` without `pass` is a token. */
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

function parseServer(flag: string, text: string): URL {
  const url = URL.parse(text.includes("://") ? text : `nats://${text}`);
  const isKnown = url !== null && ["nats:", "tls:"].includes(url.protocol) && url.hostname !== "";
  if (!isKnown || !["", "/"].includes(url.pathname)) {
    throw new UsageError(`--${flag} ${text} is no address of a NATS server such as nats://10.0.0.1:4222.`);
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

/**
 * Reads the address of a broker.
 *
 * @param flag The flag that named it.
 * @throws {UsageError} If it is none.
 */
export function readBroker(flag: string, text: string, flags: BrokerFlags): Broker {
  const urls = text.split(",").map((part) => parseServer(flag, part));
  const [first] = urls;
  const part = (value: string) => value === "" ? null : decodeURIComponent(value);
  if (flags.creds !== undefined && flags.nkey !== undefined) {
    throw new UsageError("Give --creds or --nkey, one of the two.");
  }
  if ((flags["tls-cert"] === undefined) !== (flags["tls-key"] === undefined)) {
    throw new UsageError("--tls-cert and --tls-key belong together.");
  }
  const servers = urls.map(({ hostname, port }) => `${hostname}:${port || DEFAULT_PORT}`);
  const scheme = first!.protocol === "tls:" ? "tls" : "nats";
  return {
    servers,
    display: servers.map((server) => `${scheme}://${server}`).join(),
    user: part(first!.username),
    pass: part(first!.password),
    isTls: scheme === "tls" || flags["tls-ca"] !== undefined || flags["tls-cert"] !== undefined,
    creds: flags.creds === undefined ? null : contentOf("creds", flags.creds),
    nkey: flags.nkey === undefined ? null : contentOf("nkey", flags.nkey).trim(),
    tlsCa: flags["tls-ca"] ?? null,
    tlsCert: flags["tls-cert"] ?? null,
    tlsKey: flags["tls-key"] ?? null,
  };
}
