/**
 * The normal clients from the side of who watches them.
 *
 * @module
 */
import type { Asked, Order } from "./normal_clients.ts";

/** How many there are where a server can serve so many, and what they ask for together. */
export const CLIENTS = 20;
export const PER_SECOND = 500;
const STARTED_MS = 10_000;

/** The normal clients. `end` stops them and returns what they saw. */
export async function normalClients(port: number, clients: number) {
  const worker = new Worker(new URL("./normal_clients.ts", import.meta.url), { type: "module" });
  const message = () =>
    new Promise<unknown>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(`The normal clients failed: ${event.message}`));
    });
  const timer = setTimeout(() => worker.terminate(), STARTED_MS);
  await message();
  clearTimeout(timer);
  const send = (order: Order) => worker.postMessage(order);
  const isThere = message();
  send({ port, clients, perSecond: PER_SECOND * clients / CLIENTS });
  await isThere;
  const ask = async (order: Order): Promise<Asked[]> => {
    const saw = message();
    send(order);
    return await saw as Asked[];
  };
  return {
    /** What they have seen so far. */
    look: () => ask("look"),
    end: () => ask("stop"),
    [Symbol.dispose]: () => worker.terminate(),
  };
}
