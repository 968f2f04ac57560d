/**
 * Faults that clients make. All that a fault opens is closed when it returns.
 *
 * @module
 */
import { delay } from "@std/async";
import { readProc } from "../../lib/sampling/procfs.ts";
import { answerOf, answersOf, askAfresh, closeAll, connect, crowd, sum } from "./clients.ts";
import { CROWD, FAULT_MS, NONE, PATIENCE_MS, REQUEST, type Seen, type Target } from "./fault.ts";

const HEAD_MS = 10_000; // the deadline of the contract, from the first byte of a head
const CLOSED_MS = HEAD_MS + 2500; // with 1 s for the peer to close its half, and a turn of the clock
const SLOW_BYTE_MS = 400;
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** So many clients as a server can hold beside the normal ones, of `wanted`. */
const held = (wanted: number, { room = Infinity }: Target) => Math.max(1, Math.min(wanted, room));

/** Heads that never end: each connection has to be closed 10 s after its first byte. */
export async function slowHeads(target: Target): Promise<Seen> {
  const sockets = await crowd(target.port, held(CROWD, target));
  let closed = 0;
  for (const socket of sockets) {
    socket.resume(); // so that the end is seen
    socket.once("close", () => closed++);
  }
  const untilMs = performance.now() + CLOSED_MS;
  const head = REQUEST.slice(0, -4) + "\r\nX: ";
  for (let i = 0; closed < sockets.length && performance.now() < untilMs; i++) {
    for (const socket of sockets) if (!socket.destroyed) socket.write(head[i] ?? "x");
    await delay(SLOW_BYTE_MS);
  }
  const came = closed;
  closeAll(sockets);
  return target.keepsContract === false ? NONE : { owed: sockets.length, came };
}

const SLOW_READERS = 20;
const SLOW_REQUESTS = 1500; // answers of 100 KB: more than small windows and small segments let into the sockets
const SLOW_BYTES = 512;
const SLOW_TURN_MS = 10;

/** Clients that take 512 bytes each 10 ms: what they do not take stays with the server. In the end they take the rest. */
export async function slowReaders(target: Target): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const requests = bytesOf(REQUEST.repeat(SLOW_REQUESTS));
  const readers = Array.from(
    { length: held(SLOW_READERS, target) },
    () => new SlowClient(target.port, requests, { isSmall: true }),
  );
  try {
    const startMs = performance.now();
    const isOwed = (one: typeof readers[number]) => !one.isOver && one.came < SLOW_REQUESTS;
    while (readers.some(isOwed) && performance.now() - startMs < FAULT_MS + PATIENCE_MS) {
      const isSlow = performance.now() - startMs < FAULT_MS;
      let taken = 0;
      for (const reader of readers) taken += reader.turn(isSlow ? SLOW_BYTES : Infinity);
      await delay(isSlow ? SLOW_TURN_MS : taken > 0 ? 0 : 1);
    }
    const came = readers.map((one) => one.isClosedWell ? SLOW_REQUESTS : Math.min(one.came, SLOW_REQUESTS));
    return { owed: readers.length * SLOW_REQUESTS, came: sum(came) };
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
}

const NON_READERS = 10;
const UNREAD_REQUESTS = 20_000;

/** Clients with small windows that send requests as long as the server takes them, and read no answer. */
export async function nonReaders({ port }: Target): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const requests = bytesOf(REQUEST.repeat(UNREAD_REQUESTS));
  const clients = Array.from({ length: NON_READERS }, () => new SlowClient(port, requests, { isSmall: true }));
  for (const until = performance.now() + FAULT_MS; performance.now() < until;) {
    for (const client of clients) client.turn(0);
    await delay(SLOW_TURN_MS);
  }
  for (const client of clients) client[Symbol.dispose]();
  return NONE;
}

const HALF_CLOSERS = 100;
const HALF_REQUESTS = 20; // so that the end is there before the server has come to all of them

export async function halfClose({ port }: Target): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const requests = bytesOf(REQUEST.repeat(HALF_REQUESTS));
  const clients = Array.from({ length: HALF_CLOSERS }, () => new SlowClient(port, requests));
  const untilMs = performance.now() + PATIENCE_MS;
  for (let left = clients; left.length > 0 && performance.now() < untilMs;) {
    for (const client of left) {
      client.turn(0); // over loopback it is connected, and all of it is sent; over a wire that takes a while
      if (client.unsent === 0) client.closeHalf();
    }
    left = left.filter(({ unsent, isOver }) => unsent > 0 && !isOver);
    if (left.length > 0) await delay(1);
  }
  const isOwed = (one: typeof clients[number]) => !one.isOver && one.came < HALF_REQUESTS;
  while (clients.some(isOwed) && performance.now() < untilMs) {
    for (const client of clients) client.turn(Infinity);
    await delay(1);
  }
  const came = clients.map((one) => one.isClosedWell ? HALF_REQUESTS : Math.min(one.came, HALF_REQUESTS));
  for (const client of clients) client[Symbol.dispose]();
  return { owed: HALF_CLOSERS * HALF_REQUESTS, came: sum(came) };
}

export async function rstStorm({ port }: Target): Promise<Seen> {
  for (const until = performance.now() + FAULT_MS; performance.now() < until;) {
    const sockets = await crowd(port, 20);
    for (const [i, socket] of sockets.entries()) {
      if (i % 2 === 0) socket.write(REQUEST);
      socket.resetAndDestroy();
    }
  }
  return NONE;
}

export async function fragments({ port }: Target): Promise<Seen> {
  const sockets = await crowd(port, 20);
  const came = sockets.map(answerOf);
  for (const byte of REQUEST) {
    for (const socket of sockets) if (!socket.destroyed) socket.write(byte);
    await delay(1);
  }
  return { owed: 20, came: sum(await Promise.all(came)) };
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
    const head = bytesOf(`GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n`);
    for (let i = 0; i < 4; i++) head[next(head.length)] = next(256);
    return head;
  });
}

export async function malformed({ port, seed }: Target): Promise<Seen> {
  const heads = malformedHeads(seed, 200);
  for (let at = 0; at < heads.length; at += 20) {
    const sockets = await crowd(port, 20);
    for (const [i, socket] of sockets.entries()) socket.write(heads[at + i]!);
    await delay(50);
    closeAll(sockets);
  }
  return NONE;
}

const MAX_HEAD = 8192; // bytes, by the contract
const LARGEST_HEAD = 256 * 1024;
const LARGE_HEADS = 20;

/** Lengths of heads, from just above the bound on. */
export function oversizedLengths(seed: number, howMany: number): number[] {
  const numbers = random(seed);
  return Array.from({ length: howMany }, () => {
    const share = numbers.next().value / 2 ** 32;
    return Math.ceil((MAX_HEAD + 1) * (LARGEST_HEAD / MAX_HEAD) ** share);
  });
}

/** Whether a client that has sent too much is refused: by an answer above 399, or by the end of the connection. */
function refusal(port: number, length: number): Promise<number> {
  return new Promise((resolve) => {
    void connect(port).then((socket) => {
      if (socket === null) return resolve(0);
      const end = (came: number) => {
        clearTimeout(timer);
        socket.destroy();
        resolve(came);
      };
      const timer = setTimeout(end, PATIENCE_MS, 0);
      socket.on("data", (data) => end(/^HTTP\/1\.\d [45]/.test(data.toString("latin1")) ? 1 : 0));
      socket.once("close", () => end(1));
      socket.write(`GET / HTTP/1.1\r\nHost: lab\r\nX: ${"x".repeat(length)}`);
    });
  });
}

/** Heads above 8 KiB that have no end: each has to be refused before more is kept of it. */
export async function oversized({ port, seed, keepsContract = true }: Target): Promise<Seen> {
  const refused = await Promise.all(oversizedLengths(seed, LARGE_HEADS).map((length) => refusal(port, length)));
  return keepsContract ? { owed: LARGE_HEADS, came: sum(refused) } : NONE;
}

const PIPELINE_MS = 30_000; // a proxy with a connection to its backend for each request needs 10 s

export async function pipelines({ port }: Target): Promise<Seen> {
  const owed = 100_000;
  const socket = await connect(port);
  if (socket === null) return { owed, came: 0 };
  const came = answersOf(socket, owed, PIPELINE_MS);
  socket.pause(); // so long that answers fill all buffers on their way: the server has to keep what was not taken
  socket.write(REQUEST.repeat(owed));
  await delay(FAULT_MS);
  socket.resume();
  const seen = { owed, came: await came };
  socket.destroy();
  return seen;
}

const HERD = 10_000;
const HERD_MS = 30_000; // a SYN that finds the queue full is sent again after 1, 3, 7 and 15 s
const SPARE_DESCRIPTORS = 1000;

/** The soft limit of descriptors of this process. */
function ownDescriptors(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readProc("/proc/self/limits"))?.[1];
  return soft === undefined ? Infinity : Number(soft);
}
const affordable = (wanted: number) => Math.min(wanted, Math.max(100, ownDescriptors() - SPARE_DESCRIPTORS));

/** All connect at once, and each asks once. */
export async function herd({ port }: Target): Promise<Seen> {
  const { Rush } = await import("./small_sockets.ts"); // of Linux only
  using rush = new Rush(port, bytesOf(REQUEST));
  const owed = affordable(HERD);
  await rush.dial(owed);
  await rush.until(() => rush.open === 0, HERD_MS);
  return { owed, came: rush.answered };
}

const HEADS = 1000;
const HEAD_BYTES = 256 * 1024; // 256 MB of all heads together
const HEADS_MS = 5000;
const HELD_MS = 3000; // sockets take the heads at once: it is the server that needs time to read them

/** Sends heads without an end on many connections, and holds them: a server must not keep all that is sent to it. */
export async function holdHeads({ port }: Target): Promise<void> {
  const { Rush } = await import("./small_sockets.ts"); // of Linux only
  using rush = new Rush(port, bytesOf(`GET / HTTP/1.1\r\nHost: lab\r\nX: ${"x".repeat(HEAD_BYTES)}`));
  await rush.dial(affordable(HEADS));
  await rush.until(() => rush.sent === rush.open, HEADS_MS);
  await rush.until(() => rush.open === 0, HELD_MS);
}

const ABORT_ROUNDS = 10;
const ABORTED = 100;

/** Resets before accept(2): the server stands still meanwhile, where its process is known. */
export async function abortedConnects(
  { port }: Target,
  standStill: (during: () => void) => Promise<void>,
): Promise<Seen> {
  const { abortConnects } = await import("./small_sockets.ts"); // of Linux only
  for (let round = 0; round < ABORT_ROUNDS; round++) {
    await standStill(() => abortConnects(port, ABORTED));
    await delay(FAULT_MS / ABORT_ROUNDS);
  }
  return await askAfresh(port);
}

const FAR = "127.9.0.1"; // a source address of clients that can be cut off alone
export { FAR as FAR_ADDRESS };
const SILENT_MS = 2000;
const REMEMBERED_MS = 2500; // until the kernel of the server sends what is unacknowledged again, and meets a reset

/** Peers that vanish with an answer on its way: nothing says that they are gone until their network is back without them. */
export async function halfOpen(
  target: Target,
  cable: { cutAnswers(): void; cutAll(): void; mend(): void },
): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const request = bytesOf(REQUEST);
  const peers = Array.from({ length: held(CROWD, target) }, () => new SlowClient(target.port, request, { from: FAR }));
  const isWaiting = (one: typeof peers[number]) => !one.isOver && one.came === 0;
  const untilMs = performance.now() + PATIENCE_MS;
  while (peers.some(isWaiting) && performance.now() < untilMs) {
    for (const peer of peers) peer.turn(Infinity); // so each is accepted, and lives
    await delay(1);
  }
  const came = peers.filter((one) => one.came > 0).length;
  cable.cutAnswers();
  for (const peer of peers) {
    peer.ask(request); // the answer goes nowhere
    peer.turn(0);
  }
  await delay(FAULT_MS / 10);
  cable.cutAll();
  for (const peer of peers) peer[Symbol.dispose](); // the server cannot hear of it
  await delay(SILENT_MS);
  cable.mend();
  await delay(REMEMBERED_MS);
  return { owed: peers.length, came };
}
