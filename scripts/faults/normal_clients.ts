/**
 * The normal clients of a cell, in a thread of their own: what a fault costs its maker delays none of them.
 *
 * @module
 */

import { AnswerCounter } from "./answers.ts";

/** One request: when it was due, in ms since 1970, and how long its answer took; null: there was none. */
export type Asked = [dueMs: number, tookMs: number | null];
/** What the thread is asked to do. */
export type Order = { port: number; clients: number; perSecond: number } | "look" | "stop";

const PATIENCE_MS = 3000; // of a client, from connect(2) on: the kernel alone would try for two minutes
const OPEN_MS = 200; // as long as an answer in time may take
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: lab\r\nConnection: keep-alive\r\n\r\n");
const thread = globalThis as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage(value: unknown): void;
};
const decoder = new TextDecoder("latin1");
const nowMs = () => performance.timeOrigin + performance.now();
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

let stoppedMs: number | null = null;
const asked: Asked[] = [];

/** How a request went: the connection that it used, if there was one, and what is known of its answer. */
interface Answered {
  connection: Deno.TcpConn | null;
  answer: { stays: boolean } | null;
}

/** Reads one answer. Null: the connection ends before, or the answer is none of success; else whether the connection stays. */
async function answered(connection: Deno.TcpConn): Promise<{ stays: boolean } | null> {
  const buffer = new Uint8Array(4096);
  const counter = new AnswerCounter();
  while (counter.whole === 0) {
    const got = await connection.read(buffer);
    if (got === null) {
      counter.end();
      break;
    }
    counter.push(decoder.decode(buffer.subarray(0, got)));
  }
  return counter.good > 0 ? { stays: !counter.closes } : null;
}

/** Connects. A connection that is made too late is closed at once: no request waits for it any more. */
async function connect(port: number, late: Promise<null>): Promise<Deno.TcpConn | null> {
  const connecting = Deno.connect({ hostname: "127.0.0.1", port });
  const connection = await Promise.race([connecting, late]);
  if (connection === null) connecting.then((one) => one.close(), () => {}); // nothing is left that could use its failure
  return connection;
}

/** Asks once, on a new connection where there is none, and waits for both as long as the patience lasts. */
async function ask(port: number, kept: Deno.TcpConn | null): Promise<Answered> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), PATIENCE_MS);
  let connection = kept;
  try {
    connection ??= await connect(port, late);
    if (connection === null) return { connection, answer: null };
    await connection.write(REQUEST);
    return { connection, answer: await Promise.race([answered(connection), late]) };
  } catch {
    return { connection, answer: null }; // a reset or a refusal: it counts as a request without an answer
  } finally {
    clearTimeout(timer);
  }
}

/** One client: a request each `everyMs`, on one connection as long as that lives. */
async function client(port: number, everyMs: number, onFirst: () => void): Promise<void> {
  let connection: Deno.TcpConn | null = null;
  let dueMs = nowMs() + Math.random() * everyMs;
  let hasAsked = false;
  for (; stoppedMs === null; dueMs += everyMs) { // a late client does not move what is due: its latency shows the stall
    await pause(Math.max(0, dueMs - nowMs()));
    const { connection: used, answer } = await ask(port, connection);
    connection = used;
    asked.push([dueMs, answer === null ? null : nowMs() - dueMs]);
    if (!hasAsked) onFirst();
    hasAsked = true;
    if (answer?.stays) continue;
    connection?.close();
    connection = null;
  }
  // What it had no time to ask. One due a moment ago may have been answered in time yet: nothing is said of it.
  for (; dueMs < stoppedMs! - OPEN_MS; dueMs += everyMs) asked.push([dueMs, null]);
  connection?.close();
}

let clients: Promise<void[]>;
let first = 0; // clients whose first request is over
/** A client is there when its first request is over, answered or not. */
function firstIsOver(of: number): void {
  first++;
  if (first === of) thread.postMessage("asked");
}

thread.onmessage = ({ data }) => {
  if (data === "look") return thread.postMessage(asked);
  if (data === "stop") {
    stoppedMs = nowMs();
    void clients.then(() => thread.postMessage(asked));
    return;
  }
  const { port, perSecond } = data;
  const everyMs = 1000 * data.clients / perSecond;
  clients = Promise.all(
    Array.from({ length: data.clients }, () => client(port, everyMs, () => firstIsOver(data.clients))),
  );
};
thread.postMessage("ready");
