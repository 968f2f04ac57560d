/**
 * Clients that connect at the same time, ask once, and stay for a while: the times of the answers show
 * how many clients a server can serve at once.
 *
 * @module
 */
import { delay } from "@std/async";
import { type Experiment, runsHere } from "../catalogue/catalogue.ts";
import { experimentCommand, StartError, startServer } from "../server/server.ts";

/** How one client fared. Seconds count from before the first one connected. */
export interface Visit {
  connected_s: number;
  /** Null: no answer came while it had patience. */
  answered_s: number | null;
}

/** What the clients do. */
export interface VisitPlan {
  /** How many they are, 1 to MAX_CLIENTS. */
  clients: number;
  /** How long each stays after its answer. */
  staySeconds: number;
  /** Further options of the experiment, such as `["--workers", "2"]`. */
  args?: string[];
}

/** With more the backlog of a server could be the limit, and the picture would be one of that. */
export const MAX_CLIENTS = 100;
const PATIENCE_S = 5; // above the time that all need who come one after the other
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: lab\r\n\r\n");

const { BrokenPipe, ConnectionReset, Interrupted } = Deno.errors;

/** Asks, and says whether an answer came. A server that ends the connection instead gives none. */
async function ask(conn: Deno.Conn): Promise<boolean> {
  try {
    await conn.write(REQUEST);
    return await conn.read(new Uint8Array(1024)) !== null;
  } catch (error) {
    if ([BrokenPipe, ConnectionReset, Interrupted].some((kind) => error instanceof kind)) return false;
    throw error;
  }
}

/** Closes a connection that may be closed already. */
function leave(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/**
 * Lets clients visit a server. All have connected before the first one asks, and they ask in that order.
 *
 * @returns One visit for each client, in the order in which they connected.
 * @throws {RangeError} If there are too few or too many clients.
 * @throws {StartError} If the experiment cannot run here.
 */
export async function visit(experiment: Experiment, { clients, staySeconds, args = [] }: VisitPlan): Promise<Visit[]> {
  if (!(clients >= 1 && clients <= MAX_CLIENTS)) throw new RangeError(`${clients} clients: take 1 to ${MAX_CLIENTS}`);
  const here = runsHere(experiment);
  if (!here.runs) throw new StartError({ ended: "skipped", reason: here.reason });
  await using server = await startServer(experimentCommand(experiment, args));
  const start = performance.now();
  const now = () => (performance.now() - start) / 1000;
  const conns: Deno.TcpConn[] = [];
  const connected: number[] = [];
  try {
    while (conns.length < clients) {
      conns.push(await Deno.connect({ hostname: "127.0.0.1", port: server.port }));
      connected.push(now());
    }
    return await Promise.all(conns.map(async (conn, i): Promise<Visit> => {
      const patience = setTimeout(() => conn.close(), (clients * staySeconds + PATIENCE_S) * 1000);
      const answered_s = await ask(conn) ? now() : null;
      clearTimeout(patience);
      if (answered_s === null) return { connected_s: connected[i]!, answered_s };
      await delay(staySeconds * 1000);
      conn.close();
      return { connected_s: connected[i]!, answered_s };
    }));
  } finally {
    conns.forEach(leave);
  }
}

/** How many times a client was answered only after others had left, and the first answer: 1 if all were served at once. */
export function steps(visits: readonly Visit[], staySeconds: number): number {
  const answers = visits.map(({ answered_s }) => answered_s).filter((at) => at !== null).toSorted((a, b) => a - b);
  return answers.filter((at, i) => i === 0 || at - answers[i - 1]! > staySeconds / 2).length;
}
