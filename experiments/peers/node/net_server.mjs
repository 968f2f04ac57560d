// node:net with a parser of its own: what the streams of Node cost, without the objects of node:http.
import { writeSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { answerTo, INCOMPLETE, MAX_HEAD, parseHead, request } from "./protocol.mjs";

// ---- Limits ------------------------------------------------------------------------------------------------------

const BACKLOG = 4096; // connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
const READ = 65536; // bytes of one read: libuv's own number
const MAX_KEPT_BYTES = 64 * 2 ** 20; // of all connections together, partial heads and unsent answers; beyond, one is dropped
const WORK_MS = 10; // how long requests for work are served in a row; between two of them the loop turns
const HEAD_MS = 10_000; // from the first byte of a head to its last
const KEEPALIVE_IDLE_MS = 60_000; // a silent peer is probed then
const PROGRESS_MS = 30_000; // how long a peer may take nothing: Node knows no TCP_USER_TIMEOUT
const LINGER_MS = 1000; // how long a peer may go on sending after the socket took the last answer
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM
const QUIET_MS = 10; // after SIGTERM: two such stretches without a byte, and nothing is in flight

// ---- Connection: a socket of Node, and what is left over ---------------------------------------------------------

const inbox = new Uint8Array(READ + MAX_HEAD + 1); // shared by all: an idle connection owns no buffer of this program
const connections = new Set();
const carried = new Set(); // those whose next request asks for work, in the order in which they are served
const counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} };
let keptBytes = 0, willWork = false, stopping = false;

const countError = (name) => counts.errors[name] = (counts.errors[name] ?? 0) + 1;

class Connection {
  partial = null; // the start of a head whose end has not come, or requests that wait for their turn
  due = null; // the timer of that head, or of the linger
  isLast = false; // it was answered for the last time
  isUnsent = false; // the socket has not taken all answers yet
  kept = 0; // its bytes of `keptBytes`

  constructor(socket) {
    this.socket = socket;
    socket.on("data", (chunk) => this.onData(chunk));
    socket.on("end", () => this.onEnd());
    socket.on("finish", () => this.linger());
    socket.on("timeout", () => this.drop("ETIMEDOUT"));
    socket.on("error", ({ code }) => countError(code)); // ends this connection, and no other
    socket.on("close", () => this.onClose());
  }

  onData(chunk) {
    if (this.isLast) return; // thrown away, the last answer is out
    const before = this.partial?.length ?? 0;
    if (before > 0) inbox.set(this.partial);
    inbox.set(chunk, before);
    this.answer(before + chunk.length, before, false);
  }

  /**
   * Answers the whole requests of the inbox, up to the second one that asks for work: then its turn is over. Without
   * `mayWork` it stops before the first of them. All answers leave by one write, and a single one from where it stands.
   */
  answer(length, scanned, mayWork) {
    let at = 0, isLast = false, waits = false;
    const answers = [];
    while (at < length && !isLast && !waits) {
      const head = parseHead(inbox, at, length, at === 0 ? scanned : 0);
      if (head === INCOMPLETE) break;
      if (request.workUs > 0) {
        waits = !mayWork;
        if (waits) break;
        burn(request.workUs);
        mayWork = false;
      }
      at += head;
      isLast = !request.keepAlive || (stopping && at === length);
      if (request.status === 200) counts.served++;
      else countError(request.status);
      answers.push(answerTo(request.status, isLast));
    }
    this.isLast = isLast;
    if (this.partial !== null || at < length) this.keepRest(at, isLast ? at : length, waits);
    if (waits) this.wait();
    if (answers.length > 0) this.send(answers.length === 1 ? answers[0] : Buffer.concat(answers), isLast);
  }

  /** Keeps what is left of the inbox. The time of a head starts with its first byte, and goes on as it grows. */
  keepRest(from, to, waits) {
    const isNew = this.partial === null || from > 0 || waits;
    this.partial = to > from ? inbox.slice(from, to) : null;
    if (isNew || this.partial === null) {
      clearTimeout(this.due);
      this.due = this.partial === null || waits ? null : setTimeout(() => this.refuseLate(), HEAD_MS);
    }
    this.keep();
  }

  keep() {
    const kept = (this.partial?.length ?? 0) + (this.isUnsent ? this.socket.writableLength : 0);
    keptBytes += kept - this.kept;
    const grows = kept > this.kept;
    this.kept = kept;
    if (grows && keptBytes > MAX_KEPT_BYTES) this.drop("MAX_KEPT_BYTES");
  }

  /** Sends answers. What the socket does not take waits in its stream, and until then the connection is not read. */
  send(answers, isLast) {
    if (isLast) this.socket.end(answers);
    else this.socket.write(answers, this.onTaken);
    if (this.socket.writableLength === 0 || this.socket.destroyed) return; // the stream has tried at once
    this.isUnsent = true;
    this.socket.pause();
    this.socket.setTimeout(PROGRESS_MS); // it starts anew with each byte that the socket takes
    this.keep();
  }

  /** Called for each write; only those that had to wait leave something to do. */
  onTaken = () => {
    if (!this.isUnsent || this.socket.writableLength > 0) return;
    this.isUnsent = false;
    this.socket.setTimeout(0);
    this.keep();
    if (!carried.has(this)) this.socket.resume();
  };

  refuseLate() {
    this.partial = null;
    this.keep();
    countError(408);
    this.isLast = true;
    this.send(answerTo(408, true), true);
  }

  /** The peer has closed its half: what it had asked for is answered, and the socket closes behind that. */
  onEnd() {
    if (!carried.has(this)) this.socket.end();
  }

  /**
   * The socket has taken the last byte. With input unread close(2) would send RST, and the peer might lose that answer: so
   * what still comes is thrown away until the peer closes its half.
   */
  linger() {
    this.onTaken();
    clearTimeout(this.due);
    this.due = setTimeout(() => this.socket.destroy(), LINGER_MS);
    this.socket.resume();
  }

  wait() {
    this.socket.pause();
    carried.add(this);
    if (willWork) return;
    willWork = true;
    setImmediate(work);
  }

  /** Serves a request for work, and what stands behind it up to the next one. */
  work() {
    const { length } = this.partial;
    inbox.set(this.partial);
    this.answer(length, 0, true);
    if (carried.has(this) || this.isUnsent) return;
    if (this.socket.readableEnded) this.socket.end();
    else this.socket.resume();
  }

  drop(error) {
    countError(error);
    this.socket.destroy();
  }

  onClose() {
    clearTimeout(this.due);
    keptBytes -= this.kept;
    connections.delete(this);
    carried.delete(this);
    counts.bytes_in += this.socket.bytesRead;
    counts.bytes_out += this.bytesOut();
  }

  /** Bytes that the socket has taken. */
  bytesOut() {
    return this.socket.bytesWritten - this.socket.writableLength;
  }

  isBusy() {
    return this.partial !== null || this.isUnsent || this.isLast;
  }
}

/** Serves those that wait for work, in turn, for WORK_MS. */
function work() {
  const until = performance.now() + WORK_MS;
  for (const connection of carried) {
    if (performance.now() >= until) break;
    if (connection.isUnsent) continue; // its client does not read
    carried.delete(connection);
    connection.work();
  }
  willWork = carried.size > 0;
  if (willWork) setImmediate(work);
}

/** Burns CPU time of the process: that of the runtime's other threads is counted too, but they sleep. */
function burn(us) {
  const start = process.cpuUsage();
  for (let used = start; used === start || used.user + used.system < us;) used = process.cpuUsage(start);
}

// ---- The architecture: libuv's loop calls, and nothing here ever waits ---------------------------------------------

const { values: { experiment, host, port } } = parseArgs({
  options: { experiment: { type: "string" }, host: { type: "string" }, port: { type: "string" } },
});

const options = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_IDLE_MS };
const server = net.createServer(options, (socket) => {
  counts.accepted++;
  connections.add(new Connection(socket));
});

/** The counts, with what open connections have read and written. */
function countAll() {
  const all = { ...counts };
  for (const connection of connections) {
    all.bytes_in += connection.socket.bytesRead;
    all.bytes_out += connection.bytesOut();
  }
  return all;
}

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
  show({ event: "stopped", ...countAll() });
  process.exit(0); // with it end the connections that wait for nothing
}

/** Closes the listener once a turn has accepted nobody: libuv accepts one in a turn, and close(2) would reset the others. */
function closeListener(acceptedBefore) {
  const { accepted } = counts;
  if (accepted === acceptedBefore) server.close();
  else setImmediate(() => setImmediate(closeListener, accepted)); // the first one may belong to this turn
}

function stop() {
  if (stopping) process.exit(1); // the second signal does not wait
  stopping = true;
  closeListener(-1);
  setTimeout(finish, STOP_MS);
  let before = -1, quiet = 0;
  setInterval(() => {
    const { bytes_in } = countAll();
    const isQuiet = bytes_in === before && ![...connections].some((connection) => connection.isBusy());
    quiet = isQuiet ? quiet + 1 : 0;
    before = bytes_in;
    if (quiet === 2) finish();
  }, QUIET_MS);
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
  process.on("SIGUSR1", () => show({ event: "stats", open: connections.size, ...countAll() }));
  const { port } = server.address();
  console.log(JSON.stringify({ event: "ready", experiment, port, pid: process.pid }));
  console.error(`Listening. Try: curl -i http://${host}:${port}/`);
});
