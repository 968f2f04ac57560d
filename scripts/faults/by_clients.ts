/**
 * Faults that clients make. All that a fault opens is closed when it returns.
 *
 * @module
 */
import { delay } from "@std/async";
import { join } from "node:path";
import { readProc } from "../../lib/sampling/procfs.ts";
import { sample } from "../../lib/sampling/sampler.ts";
import { answerOf, answersOf, askAfresh, closeAll, connect, crowd, sum } from "./clients.ts";
import { CannotDo, CROWD, FAULT_MS, NONE, PATIENCE_MS, REQUEST, type Seen, type Target } from "./fault.ts";
import { coresBetween, lookAtCpu } from "./cpu.ts";
import { heldFrom } from "./held.ts";
import type { SlowClient } from "./small_sockets.ts";

const HEAD_MS = 10_000; // the deadline of the contract, from the first byte of a head
const CLOSED_MS = HEAD_MS + 2500; // with 1 s for the peer to close its half, and a turn of the clock
const SLOW_BYTE_MS = 400;
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** So many clients as a server can hold beside the normal ones, of `wanted`. */
const held = (wanted: number, { room = Infinity }: Target) => Math.max(1, Math.min(wanted, room));

const FIRST_MS = 5000;

/**
 * Takes the first answers, as long as more of them come: whoever has one was accepted, and lives. Returns those that have.
 */
async function firstAnswers(clients: readonly SlowClient[]): Promise<SlowClient[]> {
  const answered = () => clients.filter((one) => one.came > 0);
  let known = 0;
  for (let lastMs = performance.now(); performance.now() - lastMs < FIRST_MS;) {
    for (const client of clients) if (client.came === 0) client.turn(Infinity);
    const { length } = answered();
    if (length > known) lastMs = performance.now();
    known = length;
    if (clients.every((one) => one.isOver || one.came > 0)) break;
    await delay(1);
  }
  return answered();
}

const STUCK_MS = 1000;

/** Sends until no socket takes anything for a second, or the time is over. */
async function sendAll(clients: readonly SlowClient[], untilMs: number): Promise<void> {
  let left = Infinity;
  for (let lastMs = performance.now(); performance.now() - lastMs < STUCK_MS;) {
    for (const client of clients) client.turn(0);
    const unsent = sum(clients.map((one) => one.unsent));
    if (unsent < left) lastMs = performance.now();
    left = unsent;
    if (performance.now() > untilMs) return;
    await delay(SLOW_TURN_MS);
  }
}

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

const NON_READERS = 100;
const UNREAD_REQUESTS = 40_000; // of all clients 196 MB of the shortest answers: thrice of what a server may keep
const UNREAD_MS = 15_000; // a server that keeps all of it needs time to make it; others are stuck after a moment

/** What the memory of a server is that belongs to no file; null: it is not known. */
const memoryOf = (pid: number | null): number | null => pid === null ? null : sample(pid)?.pss_anon_bytes ?? null;
const CPU_MS = 500;
/** A server that works off what it has read takes a core, beside what the normal clients cost; one that has finished takes less. */
const WORKING_CORES = 0.25;

/**
 * Sends until the sockets take no more, and the server has no work left: the kernel holds megabytes of requests for it, which
 * it reads later. A thread that waits for a core counts as one at work. Returns what the server keeps in the end.
 */
async function fill(clients: readonly SlowClient[], more: Uint8Array<ArrayBuffer>, pid: number | null) {
  const coresNow = async () => {
    const from = pid === null ? null : lookAtCpu(pid);
    await delay(CPU_MS);
    return coresBetween(from, pid === null ? null : lookAtCpu(pid)) ?? 0;
  };
  const before = memoryOf(pid);
  const usual = await coresNow();
  for (const client of clients) client.ask(more);
  const untilMs = performance.now() + UNREAD_MS;
  do {
    await sendAll(clients, untilMs);
  } while (await coresNow() - usual > WORKING_CORES && performance.now() < untilMs);
  const now = memoryOf(pid);
  return before === null || now === null ? null : now - before;
}

/**
 * Clients with small windows that send requests as long as the server takes them, and read the first answer only. What a
 * server has for a connection, a thread for example, it has by then: beyond it comes what it keeps of unsent answers.
 */
export async function nonReaders(target: Target): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const [first, more] = [bytesOf(REQUEST), bytesOf(REQUEST.repeat(UNREAD_REQUESTS))];
  const clients = Array.from(
    { length: held(NON_READERS, target) },
    () => new SlowClient(target.port, first, { isSmall: true }),
  );
  try {
    await firstAnswers(clients);
    return { ...NONE, heldBytes: await fill(clients, more, target.pid) };
  } finally {
    for (const client of clients) client[Symbol.dispose]();
  }
}

const HALF_CLOSERS = 100;
const HALF_REQUESTS = 20; // so that the end is there before the server has come to all of them

export async function halfClose({ port }: Target): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const requests = bytesOf(REQUEST.repeat(HALF_REQUESTS));
  const clients = Array.from({ length: HALF_CLOSERS }, () => new SlowClient(port, requests));
  const sendUntilMs = performance.now() + PATIENCE_MS;
  for (let left = clients; left.length > 0 && performance.now() < sendUntilMs;) {
    for (const client of left) {
      client.turn(0); // over loopback it is connected, and all of it is sent; over a wire that takes a while
      if (client.unsent === 0) client.closeHalf();
    }
    left = left.filter(({ unsent, isOver }) => unsent > 0 && !isOver);
    if (left.length > 0) await delay(1);
  }
  const isOwed = (one: typeof clients[number]) => !one.isOver && one.came < HALF_REQUESTS;
  const readUntilMs = performance.now() + PATIENCE_MS; // however long it took to send
  while (clients.some(isOwed) && performance.now() < readUntilMs) {
    for (const client of clients) client.turn(Infinity);
    await delay(1);
  }
  const came = clients.map((one) => one.isClosedWell ? HALF_REQUESTS : Math.min(one.came, HALF_REQUESTS));
  for (const client of clients) client[Symbol.dispose]();
  return { owed: HALF_CLOSERS * HALF_REQUESTS, came: sum(came) };
}

const STORM = 20;
const STORM_TURN_MS = 5; // by then most are accepted, and what they have sent is read

/**
 * Connections that end by a reset, half of them with half of a head. Whoever comes next gets a number of theirs, and must be
 * answered as if they had never been. It comes before the next ones, so a server is given no more than it works off.
 */
export async function rstStorm({ port }: Target): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const half = bytesOf(REQUEST.slice(0, REQUEST.length >> 1));
  let [owed, came] = [0, 0];
  for (const until = performance.now() + FAULT_MS; performance.now() < until;) {
    const clients = Array.from({ length: STORM }, () => new SlowClient(port, half));
    for (const [i, client] of clients.entries()) if (i % 2 === 0) client.turn(0);
    await delay(STORM_TURN_MS);
    for (const client of clients) client.reset();
    const next = await askAfresh(port, 1);
    owed += next.owed;
    came += next.came;
  }
  return { owed, came };
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
export function malformedHeads(seed: number, howMany: number): Uint8Array<ArrayBuffer>[] {
  const numbers = random(seed);
  const next = (below: number) => (numbers.next().value >>> 8) % below;
  return Array.from({ length: howMany }, () => {
    const head = bytesOf(`GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n`);
    for (let i = 0; i < 4; i++) head[next(head.length)] = next(256);
    return head;
  });
}

/** What is sent on a connection of its own. */
interface Refusable {
  bytes: Uint8Array<ArrayBuffer>;
  /** The status of the answer, which is the only one; null: of one answer or more, whatever they are. */
  status: number | null;
}

const CORPUS = join(import.meta.dirname!, "corpus");

/** The heads of the folder corpus/. The name of a file begins with the status that the contract owes it. */
export function corpus(): Refusable[] {
  const names = [...Deno.readDirSync(CORPUS)].map(({ name }) => name).sort();
  return names.map((name) => ({ bytes: Deno.readFileSync(join(CORPUS, name)), status: Number(name.slice(0, 3)) }));
}

const REFUSED_AT_ONCE = 20;
const REFUSED_MS = 3000; // beyond the second that a server may linger

/** How it ends for one of these clients, in words. */
const outcomeOf = (client: SlowClient): string =>
  `${client.whole === 0 ? "no answer" : client.first || "no status"}, ` +
  (client.isBroken ? "reset" : client.isOver ? "closed" : "left open");

/** Whether a client got a whole answer, the right one, and then the end, and no reset that may cost others their answer. */
const isRefusedWell = (client: SlowClient, status: number | null): boolean =>
  client.isOver && !client.isBroken && client.first > 0 &&
  (status === null || (client.first === status && client.whole === 1));

/** Sends each on a connection of its own, some at the same time. Calls `onEnd` for each in the end. */
async function refuse(port: number, all: readonly Refusable[], onEnd: (client: SlowClient, of: Refusable) => void) {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  for (let at = 0; at < all.length; at += REFUSED_AT_ONCE) {
    const clients = all.slice(at, at + REFUSED_AT_ONCE).map((of) => ({ of, client: new SlowClient(port, of.bytes) }));
    const open = new Set(clients);
    for (const untilMs = performance.now() + REFUSED_MS; open.size > 0 && performance.now() < untilMs;) {
      for (const one of open) {
        one.client.turn(Infinity);
        if (!one.client.isOver) continue;
        open.delete(one);
        onEnd(one.client, one.of);
        one.client[Symbol.dispose](); // a server that lingers waits for it
      }
      await delay(1);
    }
    for (const { client, of } of open) {
      onEnd(client, of);
      client[Symbol.dispose]();
    }
  }
}

/** How often there was what, the most frequent first. */
function tally(words: readonly string[]): string {
  const times = [...Map.groupBy(words, (word) => word)].map(([word, { length }]) => ({ word, length }));
  return times.sort((a, b) => b.length - a.length).map(({ word, length }) => `${word}: ${length}`).join("; ");
}

/** What a header that has no say in what is refused, and how, writes behind `@cannot`. */
export const OWN_PARSER = ["exact-parser", "malformed-400", "bound-head", "refuse-version", "linger"];
const isStrict = ({ keepsContract = true, cannot = {} }: Target): boolean =>
  keepsContract && !OWN_PARSER.some((ability) => Object.hasOwn(cannot, ability));

const MUTATED = 200;
const BEHIND_BYTES = 64 * 1024;
const X = "x".charCodeAt(0);

/** Bytes with 64 KiB behind them. */
function followed(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes.length + BEHIND_BYTES).fill(X);
  whole.set(bytes);
  return whole;
}

/**
 * Malformed heads, each with 64 KiB behind it. A server that keeps the contract answers, lingers and ends the connection in
 * order: a reset, which close(2) sends while input is unread, may overtake the answer. Others parse as they like.
 */
export async function malformed(target: Target): Promise<Seen> {
  const mutated = malformedHeads(target.seed, MUTATED).map((bytes): Refusable => ({ bytes, status: null }));
  const all = [...corpus(), ...mutated];
  const sent = all.map(({ bytes, status }) => ({ bytes: followed(bytes), status }));
  const outcomes: string[] = [];
  let came = 0;
  await refuse(target.port, sent, (client, { status }) => {
    outcomes.push(outcomeOf(client));
    if (isRefusedWell(client, status)) came++;
  });
  const seen = isStrict(target) ? { owed: all.length, came } : NONE;
  return { ...seen, outcomes: tally(outcomes) };
}

const MAX_HEAD = 8192; // bytes, by the contract
const LARGEST_HEAD = 256 * 1024;
const LARGE_HEADS = 20;
const TOO_LARGE = 431;

/** Lengths of heads, from just above the bound on. */
export function oversizedLengths(seed: number, howMany: number): number[] {
  const numbers = random(seed);
  return Array.from({ length: howMany }, () => {
    const share = numbers.next().value / 2 ** 32;
    return Math.ceil((MAX_HEAD + 1) * (LARGEST_HEAD / MAX_HEAD) ** share);
  });
}

/**
 * Heads above 8 KiB that have no end: each has to be refused before more is kept of it. A server with a parser of its own may
 * do so by another status above 399, or by the end of the connection alone.
 */
export async function oversized(target: Target): Promise<Seen> {
  const heads = oversizedLengths(target.seed, LARGE_HEADS).map((length): Refusable => ({
    bytes: bytesOf(`GET / HTTP/1.1\r\nHost: lab\r\nX: ${"x".repeat(length)}`),
    status: TOO_LARGE,
  }));
  const outcomes: string[] = [];
  let came = 0;
  await refuse(target.port, heads, (client, { status }) => {
    outcomes.push(outcomeOf(client));
    const isRefused = client.whole > 0 ? client.first >= 400 : client.isOver;
    if (isStrict(target) ? isRefusedWell(client, status) : isRefused) came++;
  });
  const seen = target.keepsContract === false ? NONE : { owed: LARGE_HEADS, came };
  return { ...seen, outcomes: tally(outcomes) };
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

/**
 * Makes sure that this process can have so many connections.
 *
 * @throws {CannotDo} If it cannot: with fewer it would be another fault.
 */
export function demandDescriptors(connections: number, own = ownDescriptors()): void {
  const wanted = connections + SPARE_DESCRIPTORS;
  if (own < wanted) {
    throw new CannotDo(`it needs ${wanted} descriptors, and this process may have ${own}: raise \`ulimit -n\``);
  }
}

/** All connect at once, and each asks once. */
export async function herd({ port }: Target): Promise<Seen> {
  demandDescriptors(HERD);
  const { Rush } = await import("./small_sockets.ts"); // of Linux only
  using rush = new Rush(port, bytesOf(REQUEST));
  await rush.dial(HERD);
  await rush.until(() => rush.open === 0, HERD_MS);
  return { owed: HERD, came: rush.answered };
}

const HEADS = 1000;
const HEAD_BYTES = 256 * 1024; // 256 MB of all heads together
const HEADS_AT_ONCE = 40;
const HEADS_PAUSE_MS = 60; // in which a core reads their 10 MB: all heads at once would be a herd, and delay others by that
const HEADS_MS = 5000;
const HELD_MS = 3000; // sockets take the heads at once: it is the server that needs time to read them

/** Sends heads without an end on many connections, and holds them: a server must not keep all that is sent to it. */
export async function holdHeads({ port }: Target): Promise<void> {
  demandDescriptors(HEADS);
  const { Rush } = await import("./small_sockets.ts"); // of Linux only
  using rush = new Rush(port, bytesOf(`GET / HTTP/1.1\r\nHost: lab\r\nX: ${"x".repeat(HEAD_BYTES)}`));
  for (let dialled = 0; dialled < HEADS; dialled += HEADS_AT_ONCE) {
    await rush.dial(HEADS_AT_ONCE);
    await rush.until(() => false, HEADS_PAUSE_MS);
  }
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

/** What cuts peers of one address off. */
export interface Cable {
  /** Drops all packets to them. */
  cutAnswers(): void;
  /** And all packets from them. */
  cutAll(): void;
  mend(): void;
}

const LAST = REQUEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");

/**
 * Peers that vanish with an answer on its way: nothing says that they are gone until their network is back without them. The
 * answers to half of them are the last, so the server closes towards nobody.
 */
export async function halfOpen(target: Target, cable: Cable): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const request = bytesOf(REQUEST);
  const peers = Array.from({ length: held(CROWD, target) }, () => new SlowClient(target.port, request, { from: FAR }));
  const came = (await firstAnswers(peers)).length;
  cable.cutAnswers();
  for (const [i, peer] of peers.entries()) {
    peer.ask(i % 2 === 0 ? request : bytesOf(LAST)); // the answer goes nowhere
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

const DEAF = "127.9.0.2"; // where those come from that are there, and take nothing
const GONE = 25; // of each kind
const GIVEN_UP_MS = 35_000; // 30 s by the contract, and what the timers of the kernel and of the server are late
const GONE_LOOK_MS = 250;

/**
 * Peers that are gone for good, with an answer on its way, and others that hold their windows shut. A server has to give them
 * up by itself, so it is looked at before the network is back: then a reset would tell it.
 */
export async function peersGone(target: Target, cable: Cable): Promise<Seen> {
  const { SlowClient } = await import("./small_sockets.ts"); // of Linux only
  const [request, many] = [bytesOf(REQUEST), bytesOf(REQUEST.repeat(UNREAD_REQUESTS))];
  const size = Math.max(1, Math.min(GONE, Math.floor((target.room ?? Infinity) / 2)));
  const dial = (options: { from: string; isSmall?: boolean }) =>
    Array.from({ length: size }, () => new SlowClient(target.port, request, options));
  const [far, deaf] = [dial({ from: FAR }), dial({ from: DEAF, isSmall: true })];
  const owed = target.keepsContract === false ? 0 : 2 * size;
  try {
    const living = (await firstAnswers([...far, ...deaf])).length;
    if (living === 0) return { owed, came: 0 };
    for (const peer of deaf) peer.ask(many);
    await sendAll(deaf, performance.now() + UNREAD_MS);
    cable.cutAnswers();
    for (const peer of far) {
      peer.ask(request);
      peer.turn(0);
    }
    await delay(FAULT_MS / 10);
    cable.cutAll();
    for (const peer of far) peer[Symbol.dispose]();
    let left = living;
    for (const untilMs = performance.now() + GIVEN_UP_MS; left > 0 && performance.now() < untilMs;) {
      await delay(GONE_LOOK_MS);
      left = heldFrom(target.port, [FAR, DEAF]);
    }
    cable.mend();
    const givenUp = Math.max(0, living - left);
    return { owed, came: Math.min(owed, givenUp), outcomes: `given up: ${givenUp}; held: ${living - givenUp}` };
  } finally {
    for (const peer of [...far, ...deaf]) peer[Symbol.dispose]();
  }
}
