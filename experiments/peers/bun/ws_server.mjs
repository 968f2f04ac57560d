// Bun.serve with WebSockets as one would write it: all subscribe to a topic, and a message is published there.
import { writeSync } from "node:fs";
import os from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";

const MAX_MESSAGE = 65_535; // bytes of a message
const MAX_UNSENT = 256 * 1024; // bytes of one listener that its socket has not taken; beyond, it is closed
const IDLE_S = 120; // without a frame from a client; a ping is sent before
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const TOPIC = "all";

const { values: { experiment, host, port } } = parseArgs({
  options: { experiment: { type: "string" }, host: { type: "string" }, port: { type: "string" } },
});
const counts = { accepted: 0, served: 0, delivered: 0, errors: {} };
const clients = new Set();
let stopping = false;

const countError = (name) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

function refuse(status, headers = {}) {
  countError(status);
  return new Response(null, { status, headers: { Connection: "close", ...headers } });
}

/** The path of a URL, without its query. */
const pathOf = (url) => new URL(url).pathname;

function handle(request, server) {
  counts.accepted++;
  if (request.method !== "GET") return refuse(405, { Allow: "GET" });
  if (pathOf(request.url) !== "/") return refuse(404);
  if (stopping) return refuse(503);
  if (server.upgrade(request)) return undefined;
  return refuse(426, { Upgrade: "websocket", "Sec-WebSocket-Version": "13" });
}

const websocket = {
  maxPayloadLength: MAX_MESSAGE,
  backpressureLimit: MAX_UNSENT,
  closeOnBackpressureLimit: true,
  idleTimeout: IDLE_S,
  perMessageDeflate: false,
  open(client) {
    clients.add(client);
    client.subscribe(TOPIC);
  },
  message(client, data) {
    if (typeof data !== "string") {
      countError(1003);
      client.close(1003);
      return;
    }
    counts.served++;
    counts.delivered += clients.size;
    server.publish(TOPIC, data);
  },
  close(client) {
    clients.delete(client);
    if (stopping && clients.size === 0) finish();
  },
};

function listen() {
  try {
    return Bun.serve({
      hostname: host,
      port: Number(port),
      reusePort: false,
      development: false,
      fetch: handle,
      websocket,
    });
  } catch (error) {
    const { code } = error, number = os.constants.errno[code] ?? 0;
    console.error(`Cannot bind ${host}:${port}: ${code} (${number}), choose another --port (0: any) or --host`);
    return process.exit(1);
  }
}
const server = listen();

/** Prints a line of counts. Where none can be written, as on a full disk, the server goes on, and counts that. */
function show(line) {
  try {
    writeSync(1, `${JSON.stringify(line)}\n`);
  } catch (error) {
    if (error.code === undefined) throw error;
    countError(error.code);
  }
}

function finish() {
  show({ event: "stopped", ...counts });
  process.exit(0);
}

function stop() {
  if (stopping) process.exit(1); // the second signal does not wait
  stopping = true;
  setTimeout(finish, STOP_MS);
  server.stop();
  for (const client of clients) client.close(1001);
  if (clients.size === 0) finish();
}

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
process.on("SIGUSR1", () => show({ event: "stats", open: clients.size, ...counts }));
console.log(JSON.stringify({ event: "ready", experiment, port: server.port, pid: process.pid }));
console.error(`Listening. Try: new WebSocket("ws://${host}:${server.port}/")`);
