/**
 * What is done to a server: one function for each fault. All that a fault opens is closed when it returns.
 *
 * @module
 */
import net from "node:net";
import { delay } from "@std/async";
import { processTree } from "../../lib/sampling/process.ts";

/** The server under a fault. */
export interface Target {
  port: number;
  /** The root of its processes; null where it is not known. */
  pid: number | null;
  /** Of all that is random. */
  seed: number;
  /** Sends a signal to the leader of the server; null where it is not this process's child. */
  terminate: (() => Promise<number>) | null;
}

/** What the clients of a fault saw: answers that they were owed, and those that came. */
export interface Seen {
  owed: number;
  came: number;
  /** The exit code, where the fault ends the server. */
  exitCode?: number;
}

/** A fault cannot be done to this server by this user: its cell is skipped with the reason. */
export class CannotDo extends Error {
  override readonly name = "CannotDo";
}

/** One fault. */
export interface Fault {
  id: string;
  says: string;
  run(target: Target): Promise<Seen>;
  /** It needs the process of the server. */
  needsPid?: true;
  /** What `@cannot` may name as the reason. */
  abilities: readonly string[];
  /** The server cannot answer meanwhile: the latency during the fault is not judged. */
  stalls?: true;
  /** It ends the server. */
  ends?: true;
}

const REQUEST = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
const ANSWER = "Hello World";
const FAULT_MS = 1000; // how long a fault that only holds something holds it
const PATIENCE_MS = 5000;
const CROWD = 50;

/** Connects; null if that fails, which is a finding of the cell and no error of it. */
const connect = (port: number, options: { halfOpen?: boolean } = {}): Promise<net.Socket | null> =>
  new Promise((resolve) => {
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: options.halfOpen ?? false });
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

async function crowd(port: number, size = CROWD): Promise<net.Socket[]> {
  const sockets = await Promise.all(Array.from({ length: size }, () => connect(port)));
  return sockets.filter((socket) => socket !== null);
}

/** Counts the answers on a connection until `owed` have come, it ends, or the time is over. */
function answersOf(socket: net.Socket, owed: number): Promise<number> {
  return new Promise((resolve) => {
    let came = 0;
    let rest = "";
    const end = () => {
      clearTimeout(timer);
      resolve(came);
    };
    const timer = setTimeout(end, PATIENCE_MS);
    socket.on("data", (data) => {
      const parts = (rest + data.toString("latin1")).split(ANSWER);
      came += parts.length - 1;
      rest = parts.at(-1)!.slice(-ANSWER.length);
      if (came >= owed) end();
    });
    socket.once("close", end);
    if (socket.destroyed) end();
  });
}

const closeAll = (sockets: readonly net.Socket[]) => sockets.forEach((socket) => socket.destroy());
const NONE: Seen = { owed: 0, came: 0 };
const NO_DESCRIPTOR = 1n; // open ones stay open, and no new one is given
const RLIMIT_NOFILE = 7; // <asm-generic/resource.h>

let prlimit: ReturnType<typeof openPrlimit> | undefined; // opened at the first use

function openPrlimit() {
  const { symbols } = Deno.dlopen("libc.so.6", {
    prlimit64: { parameters: ["i32", "i32", "buffer", "buffer"], result: "i32" },
  });
  return symbols.prlimit64;
}

/** Sets the soft limit of descriptors of a process, and returns the one before. prlimit(2) works on any process of the user. */
function limitDescriptors(pid: number, soft: bigint): bigint {
  prlimit ??= openPrlimit();
  const before = new BigUint64Array(2); // struct rlimit64: soft, hard
  if (prlimit(pid, RLIMIT_NOFILE, null, before) !== 0) throw new CannotDo(`the limits of process ${pid} are not ours`);
  const wanted = new BigUint64Array([soft, before[1]!]);
  if (prlimit(pid, RLIMIT_NOFILE, wanted, null) !== 0) throw new CannotDo(`process ${pid} cannot be limited`);
  return before[0]!;
}

async function descriptorsExhausted({ port, pid }: Target): Promise<Seen> {
  const limits: [pid: number, soft: bigint][] = [];
  const sockets: net.Socket[] = [];
  try {
    for (const one of processTree(pid!) ?? []) {
      limits.push([one, limitDescriptors(one, NO_DESCRIPTOR)]);
    }
    sockets.push(...await crowd(port, 100));
    for (const socket of sockets) socket.write(REQUEST);
    await delay(FAULT_MS);
  } finally {
    closeAll(sockets);
    const living = new Set(processTree(pid!) ?? []);
    for (const [one, soft] of limits) if (living.has(one)) limitDescriptors(one, soft);
  }
  return NONE;
}

async function slowHeads({ port }: Target): Promise<Seen> {
  const sockets = await crowd(port);
  for (let i = 0; i < 10; i++) {
    for (const socket of sockets) socket.write(REQUEST[i]!);
    await delay(FAULT_MS / 10);
  }
  closeAll(sockets);
  return NONE;
}

async function nonReaders({ port }: Target): Promise<Seen> {
  const sockets = await crowd(port, 10);
  for (const socket of sockets) {
    socket.pause();
    socket.write(REQUEST.repeat(20_000));
  }
  await delay(FAULT_MS);
  closeAll(sockets);
  return NONE;
}

async function halfClose({ port }: Target): Promise<Seen> {
  const owed = 100;
  const ask = async () => {
    const socket = await connect(port, { halfOpen: true });
    if (socket === null) return 0;
    socket.end(REQUEST);
    const came = await answersOf(socket, 1);
    socket.destroy();
    return came;
  };
  const came = await Promise.all(Array.from({ length: owed }, ask));
  return { owed, came: came.reduce((sum, one) => sum + one, 0) };
}

async function rstStorm({ port }: Target): Promise<Seen> {
  for (const until = performance.now() + FAULT_MS; performance.now() < until;) {
    const sockets = await crowd(port, 20);
    for (const [i, socket] of sockets.entries()) {
      if (i % 2 === 0) socket.write(REQUEST);
      socket.resetAndDestroy();
    }
  }
  return NONE;
}

async function fragments({ port }: Target): Promise<Seen> {
  const sockets = await crowd(port, 20);
  const came = sockets.map((socket) => answersOf(socket, 1));
  for (const byte of REQUEST) {
    for (const socket of sockets) socket.write(byte);
    await delay(1);
  }
  const answers = await Promise.all(came);
  closeAll(sockets);
  return { owed: 20, came: answers.reduce((sum, one) => sum + one, 0) };
}

/** Numbers from 0 to 2^32 - 1 by a linear congruential generator: equal seeds make equal heads. */
function* random(seed: number): Generator<number, never> {
  for (let state = seed >>> 0;;) yield state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
}

/** Heads with some of their bytes replaced. */
export function malformedHeads(seed: number, howMany: number): Uint8Array[] {
  const numbers = random(seed);
  const next = (below: number) => (numbers.next().value >>> 8) % below;
  return Array.from({ length: howMany }, () => {
    const head = new TextEncoder().encode(`GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n`);
    for (let i = 0; i < 4; i++) head[next(head.length)] = next(256);
    return head;
  });
}

async function malformed({ port, seed }: Target): Promise<Seen> {
  const heads = malformedHeads(seed, 200);
  for (let at = 0; at < heads.length; at += 20) {
    const sockets = await crowd(port, 20);
    for (const [i, socket] of sockets.entries()) socket.write(heads[at + i]!);
    await delay(50);
    closeAll(sockets);
  }
  return NONE;
}

async function pipelines({ port }: Target): Promise<Seen> {
  const owed = 100_000;
  const socket = await connect(port);
  if (socket === null) return { owed, came: 0 };
  const came = answersOf(socket, owed);
  socket.pause(); // so long that answers fill all buffers on their way: the server has to keep what was not taken
  socket.write(REQUEST.repeat(owed));
  await delay(FAULT_MS);
  socket.resume();
  const seen = { owed, came: await came };
  socket.destroy();
  return seen;
}

async function sigstop({ pid }: Target): Promise<Seen> {
  const pids = processTree(pid!) ?? [];
  try {
    for (const one of pids) Deno.kill(one, "SIGSTOP");
    await delay(2000);
  } finally {
    const living = new Set(processTree(pid!) ?? []);
    for (const one of pids) if (living.has(one)) Deno.kill(one, "SIGCONT");
  }
  return NONE;
}

async function sigterm({ port, terminate }: Target): Promise<Seen> {
  const sockets = await crowd(port);
  const came = sockets.map((socket) => answersOf(socket, 1));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.write(REQUEST, resolve))));
  const exitCode = await terminate!();
  const answers = await Promise.all(came);
  closeAll(sockets);
  return { owed: CROWD, came: answers.reduce((sum, one) => sum + one, 0), exitCode };
}

async function herd({ port }: Target): Promise<Seen> {
  const owed = 2000;
  const sockets = await crowd(port, owed);
  const came = sockets.map((socket) => answersOf(socket, 1));
  for (const socket of sockets) socket.write(REQUEST);
  const answers = await Promise.all(came);
  closeAll(sockets);
  return { owed, came: answers.reduce((sum, one) => sum + one, 0) };
}

/** All faults, in the order of the matrix. */
export const FAULTS: readonly Fault[] = [
  {
    id: "descriptors-exhausted",
    says: "100 clients at a soft limit of descriptors that leaves none",
    run: descriptorsExhausted,
    needsPid: true,
    abilities: ["recover-emfile", "wait-at-emfile"],
  },
  { id: "slow-heads", says: "50 clients that send 10 bytes a second", run: slowHeads, abilities: [] },
  {
    id: "non-readers-pipelined",
    says: "10 clients that send 20 000 requests and read nothing",
    run: nonReaders,
    abilities: ["serve-others", "drain", "late-reader"],
  },
  {
    id: "half-close",
    says: "100 clients that close their half behind the request",
    run: halfClose,
    abilities: ["half-close"],
  },
  {
    id: "rst-storm",
    says: "connections that end by a reset",
    run: rstStorm,
    abilities: ["survive-resets"],
  },
  { id: "fragments", says: "20 clients that send one byte at a time", run: fragments, abilities: [] },
  {
    id: "malformed-heads",
    says: "200 heads with random bytes",
    run: malformed,
    abilities: ["malformed-400"],
  },
  {
    id: "pipelines",
    says: "100 000 requests in one write, and no answer is read for 1 s",
    run: pipelines,
    abilities: ["drain", "late-reader"],
  },
  {
    id: "sigstop-sigcont",
    says: "the server stands still for 2 s",
    run: sigstop,
    needsPid: true,
    abilities: [],
    stalls: true,
  },
  {
    id: "sigterm-under-load",
    says: "SIGTERM while 50 requests are under way",
    run: sigterm,
    needsPid: true,
    abilities: ["stop-in-flight", "stop-backlog"],
    stalls: true,
    ends: true,
  },
  { id: "thundering-herd", says: "2 000 connects at once", run: herd, abilities: [], stalls: true },
];
