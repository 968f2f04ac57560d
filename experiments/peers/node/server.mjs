// node:http as one would write it, for Node and for Deno: a handler, and nothing of the connection but its errors.
import http from "node:http";
import process from "node:process";
import { parseArgs } from "node:util";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const MAX_WORK_US = 100_000;
const LINGER_MS = 1000; // how long a connection that was refused may go on sending
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

// ---- The handler -------------------------------------------------------------------------------------------------

const counts = { accepted: 0, served: 0, errors: {} };
const refused = new WeakSet(); // sockets
let stopping = false;

const countError = (name) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

/** Returns the CPU that the path asks to burn, in microseconds; NaN if there is no such path. */
function workUs(path) {
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
  if (stopping) response.setHeader("Connection", "close");
  else response.removeHeader("Connection");
  response.writeHead(status, { ...fields, "Content-Length": body.length }).end(body);
}

function handle(request, response) {
  if (request.httpVersionMajor === 0) return refuse(400, request.socket); // a line without a version, of 1991
  if (request.method !== "GET") {
    countError(405);
    return answer(response, 405, { Allow: "GET" }, "");
  }
  const us = workUs(request.url);
  if (Number.isNaN(us)) {
    countError(404);
    return answer(response, 404, {}, "");
  }
  if (us > 0) burn(us);
  counts.served++;
  answer(response, 200, {}, "Hello World");
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
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

// ---- The server, its signals and its command line ----------------------------------------------------------------

const { values: { experiment, host, port } } = parseArgs({
  options: { experiment: { type: "string" }, host: { type: "string" }, port: { type: "string" } },
});

// No time limit, as the others have none: neither for an idle connection (keepAliveTimeout) nor for a slow head.
const server = http.createServer({
  keepAliveTimeout: 0,
  headersTimeout: 0,
  requestTimeout: 0,
  requireHostHeader: false,
  noDelay: true,
}, handle);
server.on("connection", () => counts.accepted++).on("clientError", onClientError);

function finish() {
  console.log(JSON.stringify({ event: "stopped", ...counts }));
  process.exit(0);
}

function stop() {
  if (stopping) process.exit(1); // the second signal does not wait
  stopping = true;
  setTimeout(finish, STOP_MS);
  server.close(finish);
  server.closeIdleConnections();
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
  const { port } = server.address();
  console.log(JSON.stringify({ event: "ready", experiment, port, pid: process.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${port}/`);
});
