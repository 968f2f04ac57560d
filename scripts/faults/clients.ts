/**
 * The clients of faults: plain sockets of the runtime.
 *
 * @module
 */
import net from "node:net";
import { AnswerCounter } from "./answers.ts";
import { CROWD, FRESH, PATIENCE_MS, REQUEST, type Seen } from "./fault.ts";

/** Connects; null if that fails, which is a finding of the cell and no error of it. */
export const connect = (port: number): Promise<net.Socket | null> =>
  new Promise((resolve) => {
    const socket = net.connect({ port, host: "127.0.0.1" });
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.setNoDelay(true);
    socket.on("error", () => {}); // `close` follows each error
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(null);
    });
  });

/** Connects so many clients at once. Those that cannot connect are missing. */
export async function crowd(port: number, size = CROWD): Promise<net.Socket[]> {
  const sockets = await Promise.all(Array.from({ length: size }, () => connect(port)));
  return sockets.filter((socket) => socket !== null);
}

/**
 * Counts the good answers on a connection until `owed` have come, it ends, or the time is over. A server that says
 * `Connection: close` before owes no more.
 */
export function answersOf(socket: net.Socket, owed: number, patienceMs = PATIENCE_MS): Promise<number> {
  return new Promise((resolve) => {
    const counter = new AnswerCounter();
    const end = () => {
      clearTimeout(timer);
      resolve(counter.closes && counter.bad === 0 ? owed : Math.min(counter.good, owed));
    };
    const timer = setTimeout(end, patienceMs);
    socket.on("data", (data) => {
      counter.push(data.toString("latin1"));
      if (counter.good >= owed) end();
    });
    socket.once("close", () => {
      counter.end();
      end();
    });
    if (socket.destroyed) end();
  });
}

/** Waits for the answer of a connection, and closes it then: where one is served at a time, others wait for that. */
export async function answerOf(socket: net.Socket): Promise<number> {
  const came = await answersOf(socket, 1);
  socket.destroy();
  return came;
}

/** Asks once on each connection, and returns how many answers came. */
export async function askEach(sockets: readonly net.Socket[]): Promise<number> {
  const came = sockets.map(answerOf);
  for (const socket of sockets) socket.write(REQUEST);
  return sum(await Promise.all(came));
}

/** New clients ask one after the other, each on a connection of its own: whoever has survived a fault answers them. */
export async function askAfresh(port: number, owed = FRESH): Promise<Seen> {
  let came = 0;
  const untilMs = performance.now() + PATIENCE_MS;
  for (let i = 0; i < owed && performance.now() < untilMs; i++) {
    const socket = await connect(port);
    if (socket === null) continue;
    came += await askEach([socket]);
  }
  return { owed, came };
}

export const closeAll = (sockets: readonly net.Socket[]) => sockets.forEach((socket) => socket.destroy());
export const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
