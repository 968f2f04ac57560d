// The package ws on node:http, as one would write it: a text message of one client goes to all.
import { writeSync } from "node:fs";
import http from "node:http";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_HEAD = 8192; // bytes of a handshake
const MAX_MESSAGE = 65_535; // bytes of a message
const MAX_UNSENT = 256 * 1024; // bytes of one listener that its socket has not taken; beyond, it is reset
const PATIENCE_MS = 10_000; // for a handshake
const KEEPALIVE_IDLE_MS = 60_000; // a silent peer is probed then
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

// ---- The server --------------------------------------------------------------------------------------------------

const { values: { experiment, host, port, ws } } = parseArgs({
  options: {
    experiment: { type: "string" },
    host: { type: "string" },
    port: { type: "string" },
    ws: { type: "string" }, // where the package is
  },
});
const { WebSocketServer, WebSocket } = await import(pathToFileURL(`${ws}/wrapper.mjs`));

const counts = { accepted: 0, served: 0, delivered: 0, bytes_in: 0, bytes_out: 0, errors: {} };
const sockets = new Set();
const texts = { binary: false };
let stopping = false;

const countError = (name) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

/** Whatever is no handshake. */
function refuse(request, response) {
  const path = /^(?:http:\/\/[^/?]+)?([^?]*)/i.exec(request.url)[1] || "/";
  const status = request.method !== "GET" ? 405 : path !== "/" ? 404 : 426;
  countError(status);
  const fields = status === 405 ? { Allow: "GET" } : {};
  if (status === 426) Object.assign(fields, { Upgrade: "websocket", "Sec-WebSocket-Version": "13" });
  response.writeHead(status, { ...fields, Connection: "close", "Content-Length": 0 }).end();
}

const server = http.createServer({
  maxHeaderSize: MAX_HEAD,
  headersTimeout: PATIENCE_MS,
  requestTimeout: PATIENCE_MS,
  connectionsCheckingInterval: 1000,
  requireHostHeader: false,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEPALIVE_IDLE_MS,
}, refuse);
const all = new WebSocketServer({ server, path: "/", maxPayload: MAX_MESSAGE, perMessageDeflate: false });

server.on("connection", (socket) => {
  counts.accepted++;
  sockets.add(socket);
  socket.once("close", () => {
    sockets.delete(socket);
    counts.bytes_in += socket.bytesRead;
    counts.bytes_out += socket.bytesWritten;
    if (stopping && sockets.size === 0) finish();
  });
});

function onSent(error) {
  if (error === undefined || error === null) counts.delivered++;
}

/** Sends a message to all. The package frames it anew for each. */
function publish(data) {
  counts.served++;
  for (const client of all.clients) {
    if (client.readyState !== WebSocket.OPEN) continue;
    if (client.bufferedAmount > MAX_UNSENT) {
      countError("MAX_UNSENT");
      client._socket.resetAndDestroy(); // terminate() would leave what the kernel holds
    } else client.send(data, texts, onSent);
  }
}

all.on("connection", (client) => {
  client.on("message", (data, isBinary) => {
    if (!isBinary) return publish(data);
    countError(1003);
    client.close(1003);
  });
  client.on("error", (error) => countError(error.code ?? error.message)); // the package closes it
  if (stopping) client.close(1001);
});
all.on("wsClientError", (_, socket) => {
  countError(400);
  socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
});

// ---- Signals and the end -----------------------------------------------------------------------------------------

/** Prints a line of counts. Where none can be written, as on a full disk, the server goes on, and counts that. */
function show(line) {
  try {
    writeSync(1, `${JSON.stringify(line)}\n`);
  } catch (error) {
    if (error.code === undefined) throw error;
    countError(error.code);
  }
}

/** Prints the counts, with the bytes of open connections. */
function say(event, more) {
  const sums = { event, ...more, ...counts };
  for (const { bytesRead, bytesWritten } of sockets) {
    sums.bytes_in += bytesRead;
    sums.bytes_out += bytesWritten;
  }
  show(sums);
}

function finish() {
  say("stopped");
  process.exit(0);
}

function stop() {
  if (stopping) process.exit(1); // the second signal does not wait
  stopping = true;
  setTimeout(finish, STOP_MS);
  server.close();
  server.closeIdleConnections();
  for (const client of all.clients) client.close(1001);
  if (sockets.size === 0) finish();
}

server.once("error", (error) => {
  console.error(
    `Cannot bind ${host}:${port}: ${error.code} (${-error.errno}), choose another --port (0: any) or --host`,
  );
  process.exit(1);
});
all.on("error", () => {}); // that of the server, which is told above
server.listen({ host, port: Number(port), backlog: BACKLOG }, () => {
  server.removeAllListeners("error").on("error", (error) => countError(error.code)); // of accept(2)
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
  process.on("SIGUSR1", () => say("stats", { open: sockets.size }));
  const { port } = server.address();
  console.log(JSON.stringify({ event: "ready", experiment, port, pid: process.pid }));
  console.error(`Listening. Try: new WebSocket("ws://${host}:${port}/")`);
});
