// node:http as one would write it, for Node and for Deno: a handler, and nothing of the connection but its errors.
import { writeSync } from "node:fs";
import http from "node:http";
import process from "node:process";
import { getSystemErrorName, parseArgs } from "node:util";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_WORK_US = 100_000;
const KEEPALIVE_IDLE_MS = 60_000; // a silent peer is probed then
const LINGER_MS = 1000; // how long a connection that was refused may go on sending
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

// ---- The handler -------------------------------------------------------------------------------------------------

const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} };
const sockets = new Set();
const refused = new WeakSet(); // sockets
let stopping = false;

const countError = (name) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

/** Returns the CPU that the path asks to burn, in microseconds; NaN if there is no such path. */
function workUs(target) {
  const path = /^(?:http:\/\/[^/?]+)?([^?]*)/i.exec(target)[1] || "/"; // of a target in absolute-form too
  const us = path === "/" ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(path)?.[1] ?? NaN);
  return us <= MAX_WORK_US ? us : NaN;
}

/** Burns CPU time of the process: that of the runtime's other threads is counted too, but they sleep. */
function burn(us) {
  const start = process.cpuUsage();
  for (let used = start; used === start || used.user + used.system < us;) used = process.cpuUsage(start);
}

/** Answers with nothing but what HTTP/1.1 demands: no Date, and no `Connection: keep-alive`, which is meant anyway. */
function answer(response, status, fields, body) {
  response.sendDate = false;
  if (stopping || !response.shouldKeepAlive || response.req.httpVersion === "1.0") {
    response.setHeader("Connection", "close");
  } else response.removeHeader("Connection");
  response.writeHead(status, { ...fields, "Content-Length": body.length }).end(body);
}

function handle(request, response) {
  if (request.httpVersionMajor === 0) return refuse(400, request.socket); // a line without a version, of 1991
  if (request.httpVersionMajor > 1) return refuse(505, request.socket);
  if (request.method !== "GET") {
    countError(405);
    return answer(response, 405, { Allow: "GET" }, "");
  }
  const us = workUs(request.url);
  if (Number.isNaN(us)) {
    countError(404);
    return answer(response, 404, {}, "");
  }
  if (us > 0) wait(us, response);
  else greet(response);
}

function greet(response) {
  counts.served++;
  answer(response, 200, {}, "Hello World");
}

const waiting = []; // work that is asked for: one piece in a turn of the loop, which hears signals and serves others between

function wait(us, response) {
  waiting.push({ us, response });
  if (waiting.length === 1) setImmediate(work);
}

function work() {
  const { us, response } = waiting[0];
  burn(us);
  greet(response);
  waiting.shift();
  if (waiting.length > 0) setImmediate(work);
  // Where the client has closed its half meanwhile, this one is closed behind the last answer, all of which go first.
  const { socket } = response.req;
  const isLast = socket.readableEnded && !waiting.some((other) => other.response.req.socket === socket);
  if (isLast) setImmediate(() => socket.end());
}

/** What is no request, or breaks: told by the parser, which has given up, so the answer is written by hand. */
function onClientError(error, socket) {
  if (refused.has(socket)) return; // told again, of another piece or of the end
  if (error.code === "HPE_CLOSED_CONNECTION") return; // it stands behind the last request, whose answer is on its way
  if (error.code?.startsWith("HPE_")) return refuse(error.code === "HPE_HEADER_OVERFLOW" ? 431 : 400, socket);
  countError(error.code); // ECONNRESET, EPIPE: the peer has gone
  socket.destroy();
}

function refuse(status, socket) {
  refused.add(socket);
  countError(status);
  const bytes = `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
  // The answers to what came before are handed to the socket one by one, each in a tick of its own: so let them go first.
  setImmediate(() => socket.end(bytes));
  // With input unread a close would send RST, and the peer might lose the answer: so read on until it closes its half.
  // The time starts when the socket has taken the last byte.
  socket.once("finish", () => setTimeout(() => socket.destroy(), LINGER_MS).unref());
}

// ---- The server, its signals and its command line ----------------------------------------------------------------

const { values: { experiment, host, port } } = parseArgs({
  options: { experiment: { type: "string" }, host: { type: "string" }, port: { type: "string" } },
});

// No time limit: that of a head starts with the connection and not with its first byte, so it would end idle ones.
const server = http.createServer({
  keepAliveTimeout: 0,
  headersTimeout: 0,
  requestTimeout: 0,
  requireHostHeader: false,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEPALIVE_IDLE_MS,
}, handle);
// Without this, which no manual names, it would end with the client's half, and answers that wait for their turn with it.
server.httpAllowHalfOpen = true;
server.on("clientError", onClientError).on("connection", (socket) => {
  counts.accepted++;
  sockets.add(socket);
  socket.once("close", () => {
    sockets.delete(socket);
    counts.bytes_in += socket.bytesRead;
    counts.bytes_out += socket.bytesWritten;
  });
});

/** Prints a line of counts. Where none can be written, as on a full disk, the server goes on, and counts that. */
function show(line) {
  try {
    writeSync(1, `${JSON.stringify(line)}\n`);
  } catch (error) {
    countError(error.code ?? getSystemErrorName(-Number(/os error (\d+)/.exec(error.message)[1]))); // Deno's has no code
  }
}

/** Prints the counts, with the bytes of open connections. */
function say(event, more) {
  const all = { event, ...more, ...counts };
  for (const { bytesRead, bytesWritten } of sockets) {
    all.bytes_in += bytesRead;
    all.bytes_out += bytesWritten;
  }
  show(all);
}

function finish() {
  say("stopped");
  process.exit(0);
}

/** Closes the listener once a turn has accepted nobody: libuv accepts one in a turn, and close(2) would reset the others. */
function closeListener(acceptedBefore) {
  const { accepted } = counts;
  if (accepted !== acceptedBefore) {
    setImmediate(() => setImmediate(closeListener, accepted)); // the first one may belong to this turn
    return;
  }
  server.close(finish);
  server.closeIdleConnections();
}

function stop() {
  if (stopping) process.exit(1); // the second signal does not wait
  stopping = true;
  setTimeout(finish, STOP_MS);
  closeListener(-1);
}

server.once("error", (error) => {
  console.error(
    `Cannot bind ${host}:${port}: ${error.code} (${-error.errno}), choose another --port (0: any) or --host`,
  );
  process.exit(1);
});
server.listen({ host, port: Number(port), backlog: BACKLOG }, () => {
  server.removeAllListeners("error").on("error", (error) => countError(error.code)); // of accept(2)
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
  process.on("SIGUSR1", () => say("stats", { open: sockets.size }));
  const { port } = server.address();
  console.log(JSON.stringify({ event: "ready", experiment, port, pid: process.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${port}/`);
});
