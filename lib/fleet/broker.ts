/**
 * The connection to the broker.
 *
 * @module
 */
import {
  AuthorizationError,
  ClosedConnectionError,
  connect,
  ConnectionError,
  type ConnectionOptions,
  credsAuthenticator,
  type Msg,
  type NatsConnection,
  nkeyAuthenticator,
  PermissionViolationError,
  RequestError,
  type Subscription,
} from "@nats-io/transport-node";
import { isIP } from "node:net";
import { KnownFailure, Unavailable } from "../cli/errors.ts";
import type { Broker } from "./address.ts";

export type { Msg, NatsConnection } from "@nats-io/transport-node";

/** How long the first connection may take. */
const CONNECT_MS = 5000;
/** A broker that does not answer two pings in a row is gone. */
const PING_MS = 2000;
const PINGS = 2;
/** How long an agent waits between two attempts to find its broker again. */
const RECONNECT_MS = 500;

const encoder = new TextEncoder();

function optionsOf(broker: Broker): ConnectionOptions {
  const { user, pass, creds, nkey, tlsCa, tlsCert, tlsKey, servers } = broker;
  const hosts = servers.map((server) => server.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1"));
  const addressOnly = hosts.length === 1 && isIP(hosts[0]!) > 0 ? hosts[0]! : null;
  return {
    servers,
    timeout: CONNECT_MS,
    pingInterval: PING_MS,
    maxPingOut: PINGS,
    ignoreClusterUpdates: true, // this process may reach those it was given and no others
    ...(user !== null && (pass === null ? { token: user } : { user, pass })),
    ...(creds !== null && { authenticator: credsAuthenticator(encoder.encode(creds)) }),
    ...(nkey !== null && { authenticator: nkeyAuthenticator(encoder.encode(nkey)) }),
    ...(broker.isTls && {
      tls: {
        // Where the server is named by an address, the client hands no name to node:tls, which then expects `localhost`.
        ...(addressOnly !== null && { host: addressOnly }),
        ...(tlsCa !== null && { caFile: tlsCa }),
        ...(tlsCert !== null && { certFile: tlsCert }),
        ...(tlsKey !== null && { keyFile: tlsKey }),
      },
    }),
  };
}

/** Why there is no connection, in a sentence. */
export function brokerFailure(broker: Broker, error: Error): KnownFailure {
  if (error instanceof AuthorizationError || /authorization|authentication/i.test(error.message)) {
    return new Unavailable(`The broker at ${broker.display} refuses these credentials (${error.message}).`);
  }
  return new Unavailable(`No broker can be reached at ${broker.display}: ${error.message}.`);
}

/** Rejects with the reason of a signal. */
const abortOf = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

/**
 * Where a broker refuses a client and resets the connection, the client may take its listeners from the socket while the reset
 * is on its way to them. Without listeners the error ends the process. `connect` throws why it was refused.
 */
function hearResets(): AsyncDisposable {
  const hear = (event: ErrorEvent) => {
    const error: Partial<NodeJS.ErrnoException> | null = event.error;
    if (error?.code === "ECONNRESET" && error.syscall === "read") event.preventDefault();
  };
  globalThis.addEventListener("error", hear);
  return {
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => setTimeout(resolve)); // it comes a turn after the refusal
      globalThis.removeEventListener("error", hear);
    },
  };
}

/**
 * Connects to a broker.
 *
 * @param name What the broker shows as the name of the client.
 * @param isPatient Whether a broker that is lost later is waited for. Else the connection closes then.
 * @param signal Ends the wait for one that does not answer; this process is to end then.
 * @throws {Unavailable} If there is none, or it refuses.
 */
export async function connectBroker(
  broker: Broker,
  name: string,
  isPatient: boolean,
  signal?: AbortSignal,
): Promise<NatsConnection> {
  await using _ = hearResets();
  const connecting = connect({
    ...optionsOf(broker),
    name,
    reconnect: isPatient,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    reconnectJitter: RECONNECT_MS,
  });
  try {
    return await (signal === undefined ? connecting : Promise.race([connecting, abortOf(signal)]));
  } catch (error) {
    signal?.throwIfAborted();
    throw brokerFailure(broker, error as Error);
  }
}

/** Whether something failed because the broker is gone: not because the other side has not answered. */
export function isBrokerLost(error: Error): boolean {
  if (error.cause instanceof Error) return isBrokerLost(error.cause);
  // A request that was under way ends by a bare RequestError.
  return [ClosedConnectionError, ConnectionError, RequestError].some((kind) => error instanceof kind);
}

/** Hears what is said on a subject. A denial is reported by {@linkcode follow}. */
export const hear = (connection: NatsConnection, subject: string, onMessage: (message: Msg) => void): Subscription =>
  connection.subscribe(subject, {
    callback: (error, message) => {
      if (error === null) onMessage(message);
    },
  });

/** What becomes of a connection. */
export interface BrokerEvents {
  /** The broker does not let this side say or hear something. */
  onDenied(sentence: string): void;
  onDisconnect?(): void;
  onReconnect?(): void;
}

/** Follows a connection to its end. */
export async function follow(connection: NatsConnection, events: BrokerEvents): Promise<void> {
  for await (const status of connection.status()) {
    if (status.type === "disconnect") events.onDisconnect?.();
    if (status.type === "reconnect") events.onReconnect?.();
    if (status.type !== "error" || !(status.error instanceof PermissionViolationError)) continue;
    const { operation, subject } = status.error;
    const act = operation === "publish" ? "publish to" : "subscribe to";
    events.onDenied(`the broker does not allow it to ${act} ${subject}`);
  }
}
