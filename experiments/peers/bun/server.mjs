// Bun.serve as one would write it: a handler, and nothing of the connection.
import { writeSync } from "node:fs";
import os from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";

const MAX_WORK_US = 100_000;
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM

const TURNS = 8; // of the loop, from SIGTERM to the end of listening: one accepts, another reads

const { values: { experiment, host, port } } = parseArgs({
  options: { experiment: { type: "string" }, host: { type: "string" }, port: { type: "string" } },
});
const counts = { accepted: 0, served: 0, errors: {} };
let stopping = false;

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

/** The path of a URL, without its query: `new URL` would cost more than all of the rest. */
function pathOf(url) {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  const query = url.indexOf("?", start);
  return query < 0 ? url.slice(start) : url.slice(start, query);
}

function refuse(status, headers = {}) {
  counts.errors[status] = (counts.errors[status] ?? 0) + 1;
  return new Response(null, { status, headers });
}

function handle(request) {
  if (request.method !== "GET") return refuse(405, { Allow: "GET" });
  const us = workUs(pathOf(request.url));
  if (Number.isNaN(us)) return refuse(404);
  if (us > 0) burn(us); // a promise in its place would end the connection of a client that pipelines
  counts.served++;
  return stopping ? new Response("Hello World", { headers: { Connection: "close" } }) : new Response("Hello World");
}

function listen() {
  try {
    // No time limit, as the others have none for an idle connection.
    return Bun.serve({
      hostname: host,
      port: Number(port),
      idleTimeout: 0,
      reusePort: false,
      development: false,
      fetch: handle,
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
    counts.errors[error.code] = (counts.errors[error.code] ?? 0) + 1;
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
  closeListener(TURNS);
}

/** Lets the loop turn a few times, so that it accepts what has completed its handshake, and reads what has come. */
function closeListener(turns) {
  if (turns > 0) setImmediate(closeListener, turns - 1);
  else server.stop().then(finish); // when all connections are closed
}

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, stop);
process.on("SIGUSR1", () => show({ event: "stats", ...counts }));
console.log(JSON.stringify({ event: "ready", experiment, port: server.port, pid: process.pid }));
console.error(`Listening. Try: curl -i http://${host}:${server.port}/`);
