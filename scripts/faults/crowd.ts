/**
 * The normal clients as the thread that watches them sees them, and how many of them a server has.
 *
 * @module
 */
import { isCustom, type Subject } from "../../lib/server/subject.ts";
import type { Asked, Order } from "./normal_clients.ts";

/** How many there are where a server can serve so many, and what they ask for together. */
export const CLIENTS = 20;
export const PER_SECOND = 500;
/** How long their thread may take for its start, and for each answer. It waits for its clients, who are patient for 3 s. */
const THREAD_MS = 10_000;

const WORKERS = 4;
/** A client that stays keeps a worker to itself, so half of the workers are left to others. */
const CLIENTS_OF_WORKERS = WORKERS / 2;

/** How many normal clients a server has, how it is started, and how many connections more it can serve at once. */
export interface Crowd {
  clients: number;
  args: string[];
  room: number;
}

/**
 * The crowd that suits a server. It is small only where each worker of a fixed number blocks on one connection. A loop serves
 * any number of connections, however many loops there are.
 */
export function crowdOf(subject: Subject): Crowd {
  const many = { clients: CLIENTS, args: [], room: Infinity };
  if (isCustom(subject)) return many;
  if (Object.hasOwn(subject.cannot, "serve-others")) return { clients: 1, args: [], room: 0 };
  if (!Deno.readTextFileSync(subject.path).includes("[--workers N]")) return many;
  const args = ["--workers", String(WORKERS)];
  if (subject.family !== "blocking") return { ...many, args };
  return { clients: CLIENTS_OF_WORKERS, args, room: WORKERS - CLIENTS_OF_WORKERS };
}

/** What a thread posts next. */
function nextMessage(worker: Worker, limitMs: number): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const timer = setTimeout(() => {
    reject(new Error(`The thread of the normal clients was silent for ${limitMs / 1000} s.`));
  }, limitMs);
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => reject(new Error(`The normal clients failed: ${event.message}`));
  return promise.finally(() => clearTimeout(timer));
}

/**
 * The normal clients. `end` stops them and returns what they saw.
 *
 * @param limitMs How long their thread may be silent. It is given so that a test need not wait for it.
 */
export async function normalClients(port: number, clients: number, limitMs = THREAD_MS) {
  const worker = new Worker(new URL("./normal_clients.ts", import.meta.url), { type: "module" });
  const ask = (order: Order): Promise<unknown> => {
    const answer = nextMessage(worker, limitMs);
    worker.postMessage(order);
    return answer;
  };
  try {
    await nextMessage(worker, limitMs);
    await ask({ port, clients, perSecond: PER_SECOND * clients / CLIENTS });
  } catch (error) {
    worker.terminate();
    throw error;
  }
  return {
    /** What they have seen so far. */
    look: () => ask("look") as Promise<Asked[]>,
    end: () => ask("stop") as Promise<Asked[]>,
    [Symbol.dispose]: () => worker.terminate(),
  };
}
