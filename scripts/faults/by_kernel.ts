/**
 * Faults that the system makes: limits, signals, ends, and what is full or forbidden.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { delay } from "@std/async";
import { processTree, unlessGone } from "../../lib/sampling/process.ts";
import { linkProc, listProc, readProc } from "../../lib/sampling/procfs.ts";
import { abortedConnects, type Cable, FAR_ADDRESS, halfOpen, holdHeads, malformed, peersGone } from "./by_clients.ts";
import { answerOf, answersOf, askAfresh, askEach, closeAll, connect, crowd, sum } from "./clients.ts";
import { ControlGroup } from "./control_group.ts";
import {
  CannotDo,
  type Counted,
  CROWD,
  FAULT_MS,
  FRESH,
  type Injection,
  NONE,
  PATIENCE_MS,
  type Preload,
  REQUEST,
  type Seen,
  type Target,
} from "./fault.ts";
import { LOG } from "./ground.ts";
import { type ServerEnd, serverEnds } from "./held.ts";
import { limitDescriptors, limitProcesses } from "./kernel.ts";

const NO_PROCESS = 1n; // this user has one already

/** The processes that make up a server. */
type Processes = Pick<Target, "pid" | "leader">;

/**
 * The processes of a server: the tree of its root. Below a launcher there may be others beside it, as the backend of a proxy:
 * they are a part of the server, and the launcher is none.
 */
export function serverTree({ pid, leader = pid }: Processes): number[] {
  if (pid === null) return [];
  const tree = processTree(leader ?? pid) ?? [];
  return leader === pid ? tree : tree.filter((one) => one !== leader);
}

/** Runs `meanwhile` under a limit of each process of a server. */
async function underLimit(
  server: Processes,
  set: (pid: number, soft: bigint) => bigint,
  soft: (pid: number) => bigint,
  meanwhile: () => Promise<void>,
): Promise<void> {
  const before: [pid: number, soft: bigint][] = [];
  try {
    for (const one of serverTree(server)) before.push([one, set(one, soft(one))]);
    await meanwhile();
  } finally {
    const living = new Set(serverTree(server));
    for (const [one, soft] of before) if (living.has(one)) set(one, soft);
  }
}

/** New clients that ask, and have a second for it. */
async function newClients(port: number, size: number): Promise<void> {
  const sockets = await crowd(port, size);
  for (const socket of sockets) socket.write(REQUEST);
  await delay(FAULT_MS);
  closeAll(sockets);
}

/** The lowest descriptor that is free: with it as the limit none is given. A limit below would be one of poll(2) too. */
function lowestFree(pid: number): bigint {
  const open = new Set((unlessGone(() => listProc(`/proc/${pid}/fd`)) ?? []).map(Number));
  let free = 0;
  while (open.has(free)) free++;
  return BigInt(free);
}

export async function descriptorsExhausted(target: Target): Promise<Seen> {
  const { port } = target;
  await underLimit(target, limitDescriptors, lowestFree, () => newClients(port, 100));
  return await askAfresh(port);
}

/** Neither a process nor a thread more. The limit of a user does not hold for root: there it is one of a control group. */
export async function processesExhausted(target: Target): Promise<Seen> {
  const { port } = target;
  if (Deno.uid() === 0) {
    await using group = ControlGroup.make(serverTree(target), "pids");
    group.limit(group.tasks());
    await newClients(port, CROWD);
  } else {
    await underLimit(target, limitProcesses, () => NO_PROCESS, () => newClients(port, CROWD));
  }
  return await askAfresh(port);
}

const MORE_BYTES = 128 * 2 ** 20; // the 64 MiB that a server may keep by the contract, and as much for what holds it

export async function memoryLimited(target: Target): Promise<Seen> {
  {
    await using group = ControlGroup.make(serverTree(target), "memory");
    group.limit(MORE_BYTES);
    await holdHeads(target);
  }
  return await askAfresh(target.port);
}

/**
 * Sends a signal to each process; one that has ended meanwhile needs none.
 *
 * @throws {Error} If one may not be sent it: the others were.
 */
function signalAll(pids: Iterable<number>, signal: Deno.Signal): void {
  const errors: unknown[] = [];
  for (const pid of pids) {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Whether a process stands still with all of its threads, or has ended. */
function standsStill(pid: number): boolean {
  const threads = unlessGone(() => listProc(`/proc/${pid}/task`)) ?? [];
  const lines = threads.map((thread) => unlessGone(() => readProc(`/proc/${pid}/task/${thread}/stat`)) ?? "");
  return lines.every((line) => line === "" || /\) [TtZX] /.test(line)); // the state stands behind the name
}

const STILL_MS = 2000; // a thread in a system call stops at its end
const STILL_LOOK_MS = 1;

/** Has something done while a server stands still: each of its threads, and what it has started a moment ago. */
export async function atStandstill(server: Processes, during: () => Promise<void> | void): Promise<void> {
  const stopped = new Set<number>();
  const untilMs = performance.now() + STILL_MS;
  try {
    for (;;) {
      const tree = serverTree(server);
      const others = tree.filter((pid) => !stopped.has(pid));
      for (const pid of others) stopped.add(pid);
      signalAll(others, "SIGSTOP");
      if (others.length === 0 && tree.every(standsStill)) break;
      if (performance.now() > untilMs) throw new CannotDo(`the server does not stand still within ${STILL_MS} ms`);
      await delay(STILL_LOOK_MS);
    }
    await during();
  } finally {
    signalAll(stopped, "SIGCONT");
  }
}

export async function sigstop(target: Target): Promise<Seen> {
  await atStandstill(target, () => delay(2000));
  return NONE;
}

/** Sums up what was counted of the server's processes, also of those that have ended. */
function counted(preload: Preload, of: Counted, { pid, leader }: Processes): number {
  const launcher = leader === pid ? null : leader;
  return sum([...preload.counts(of)].flatMap(([process, count]) => process === launcher ? [] : count));
}

/** Has calls of a server fail, and throws if none of them did: a server cannot survive what has not reached it. */
async function injecting(target: Target, what: Pick<Injection, "kind" | "share">, meanwhile: () => Promise<Seen>) {
  const preload = target.preload!;
  const { port, seed } = target;
  const before = counted(preload, what.kind, target);
  let seen: Seen;
  {
    using _ = preload.inject({ ...what, port, seed });
    seen = await meanwhile();
  }
  const hasEnded = serverTree(target).length === 0; // a stop may have been enough
  if (hasEnded || counted(preload, what.kind, target) > before) return seen;
  const calls = what.kind === "refused" ? "accept" : "a call that waits or has a socket of its port";
  throw new CannotDo(`the server makes no system call through libc that can be made to fail: ${calls}`);
}

const STOPS_PER_S = 250;
const INTERRUPTED_SHARE = 1 / 4; // of its calls
const STORM_CLIENTS = 100;

/** New clients that ask one after the other, spread over the time of a fault. */
async function askMeanwhile(port: number, owed: number): Promise<Seen> {
  const asked: Promise<Seen>[] = [];
  for (let i = 0; i < owed; i++) {
    asked.push(askAfresh(port, 1));
    await delay(FAULT_MS / owed);
  }
  return { owed, came: sum((await Promise.all(asked)).map(({ came }) => came)) };
}

/**
 * Calls end with EINTR in two ways. A stop and its end interrupt some calls that wait, handler or not: epoll_wait(2), or
 * recv(2) with a time limit. poll(2) and others go on behind it, see signal(7). There the call fails before libc is asked.
 */
export function interrupted(target: Target): Promise<Seen> {
  const pids = serverTree(target);
  return injecting(target, { kind: "interrupted", share: INTERRUPTED_SHARE }, async () => {
    const asked = askMeanwhile(target.port, STORM_CLIENTS);
    for (const until = performance.now() + FAULT_MS; performance.now() < until;) {
      try {
        signalAll(pids, "SIGSTOP");
      } finally {
        signalAll(pids, "SIGCONT");
      }
      await delay(FAULT_MS / STOPS_PER_S);
    }
    return await asked;
  });
}

export const aborted = (target: Target): Promise<Seen> =>
  abortedConnects(target, (during) => atStandstill(target, during));

const REFUSED_SHARE = 3 / 4; // of all calls of accept
const REFUSED_CLIENTS = 40;
const SLOWER = 5; // what calls that fail at once may cost
const AT_LEAST_MS = 2500; // for all of these clients; a server that pauses 40 ms at each error needs five seconds

/** Clients that come at once and ask once each. */
async function askTogether(port: number, patienceMs: number): Promise<Seen & { tookMs: number }> {
  const sockets = await crowd(port, REFUSED_CLIENTS);
  const beganMs = performance.now();
  const came = sockets.map(async (socket) => {
    const one = await answersOf(socket, 1, patienceMs);
    socket.destroy(); // where one is served at a time, others wait for that
    return one;
  });
  for (const socket of sockets) socket.write(REQUEST);
  const all = sum(await Promise.all(came));
  return { owed: REFUSED_CLIENTS, came: all, tookMs: performance.now() - beganMs };
}

/**
 * accept(2) may fail with an error of the connection that it was to return: ECONNABORTED, EPROTO, ENETDOWN and others. That
 * says nothing of the listening socket, so the next call has to follow at once. Here the connection stays in the queue.
 */
export async function acceptFails(target: Target): Promise<Seen> {
  const { port } = target;
  const usual = await askTogether(port, PATIENCE_MS);
  const patienceMs = Math.min(PATIENCE_MS, Math.max(AT_LEAST_MS, SLOWER * usual.tookMs));
  const meanwhile = await injecting(
    target,
    { kind: "refused", share: REFUSED_SHARE },
    () => askTogether(port, patienceMs),
  );
  const after = await askAfresh(port);
  return { owed: usual.owed + meanwhile.owed + after.owed, came: usual.came + meanwhile.came + after.came };
}

const HALVES = 10;
const HALF_MS = 100; // well within the second that what is in flight has by the contract

/** SIGTERM while clients have asked, and others have sent half of a head: these send the rest a moment later. */
export async function sigterm({ port, terminate, room = Infinity }: Target): Promise<Seen> {
  const halves = await crowd(port, Math.max(1, Math.min(HALVES, room)));
  const half = REQUEST.length >> 1;
  for (const socket of halves) socket.write(REQUEST.slice(0, half));
  await delay(HALF_MS);
  const sockets = await crowd(port, CROWD - halves.length);
  const came = [...halves, ...sockets].map(answerOf);
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.write(REQUEST, resolve))));
  const ended = terminate!();
  await delay(HALF_MS);
  for (const socket of halves) if (!socket.destroyed) socket.write(REQUEST.slice(half));
  const exitCode = await ended;
  return { owed: CROWD, came: sum(await Promise.all(came)), exitCode };
}

const LOOKS = 50;
const LOOK_MS = 20;

/** The connections of a server with its clients. */
const connectionsAt = (pid: number, port: number): ServerEnd[] =>
  serverEnds(pid, port).filter(({ isEstablished }) => isEstablished);

/** The inode of the server's end of a connection; null while no process has it. */
const inodeOf = (pid: number, port: number, clientPort: number): string | null =>
  connectionsAt(pid, port).find((one) => one.clientPort === clientPort)?.inode ?? null;

/** What a symbolic link of /proc leads to; null if it is gone, or belongs to somebody else. */
function linkOf(path: string): string | null {
  try {
    return linkProc(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return null;
    throw error;
  }
}

/** What the descriptors of a process point to. */
const descriptorsOf = (pid: number): (string | null)[] =>
  (unlessGone(() => listProc(`/proc/${pid}/fd`)) ?? []).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));

/** The processes of a tree that hold a socket. */
const holders = (pids: readonly number[], inode: string): number[] =>
  pids.filter((pid) => descriptorsOf(pid).includes(`socket:[${inode}]`));

/** How many connections with clients of a server one of its processes holds. */
export function connectionsOf(pid: number, port: number): number {
  const held = new Set(descriptorsOf(pid));
  return connectionsAt(pid, port).filter(({ inode }) => held.has(`socket:[${inode}]`)).length;
}

/** The worker that holds a connection: a process whose parent, of the same program, belongs to the server too. */
async function workerOf(target: Target, clientPort: number): Promise<number> {
  for (let look = 0; look < LOOKS; look++) {
    const inode = inodeOf(target.pid!, target.port, clientPort);
    const tree = serverTree(target);
    const holder = inode === null ? undefined : holders(tree, inode).at(-1);
    if (holder !== undefined) {
      const program = (of: number) => linkOf(`/proc/${of}/exe`);
      const parent = Number(/^PPid:\s*(\d+)/m.exec(readProc(`/proc/${holder}/status`))?.[1]);
      if (tree.includes(parent) && program(parent) === program(holder)) return holder;
      throw new CannotDo("one process holds all connections: there is no worker to kill");
    }
    await delay(LOOK_MS);
  }
  throw new CannotDo("no process of the server is seen to hold the connection");
}

/** Waits until a process has ended: the kernel has closed its sockets by then. */
async function untilGone(pid: number): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    if (processTree(pid) === null) return;
    await delay(LOOK_MS);
  }
  throw new Error(`Process ${pid} does not end by SIGKILL.`);
}

/** SIGKILL to the worker that has half of a request. Its other connections may lose one request each. */
export async function workerKilled(target: Target): Promise<Seen> {
  const { port } = target;
  const socket = await connect(port);
  if (socket === null) throw new CannotDo("the server accepts no connection");
  let mayLose = 0;
  try {
    socket.write(REQUEST.slice(0, REQUEST.length / 2));
    const worker = await workerOf(target, socket.localPort!);
    mayLose = connectionsOf(worker, port) - 1; // but for this one
    signalAll([worker], "SIGKILL");
    await untilGone(worker);
  } finally {
    socket.destroy();
  }
  return { ...await askMeanwhile(port, FRESH), mayLose };
}

/** Runs a program of this thread's namespaces to its end, and returns whether it succeeds. */
function run(command: string, args: readonly string[]): boolean {
  return new Deno.Command(command, { args: [...args], stdin: "null", stdout: "null", stderr: "null" })
    .outputSync().success;
}

/** Changes the rules of this thread's network, which is the cell's own. */
function rule(...words: string[]): void {
  if (!run("ip", ["rule", ...words])) throw new CannotDo(`ip rule ${words.join(" ")} fails: packets cannot be dropped`);
}

const FAR_NETWORK = `${FAR_ADDRESS}/32`;
const BACK = ["to", FAR_NETWORK, "blackhole"];
const FORTH = ["from", FAR_NETWORK, "blackhole"];

function layCable(): Cable {
  rule("add", "pref", "10", "table", "local"); // by default nothing stands before this table
  rule("del", "pref", "0");
  return {
    cutAnswers: () => rule("add", "pref", "1", ...BACK),
    cutAll: () => rule("add", "pref", "2", ...FORTH),
    mend() {
      rule("del", "pref", "1");
      rule("del", "pref", "2");
    },
  };
}

export const cablePulled = (target: Target): Promise<Seen> => halfOpen(target, layCable());
export const cableCut = (target: Target): Promise<Seen> => peersGone(target, layCable());

const BLOCK_BYTES = 64 * 1024; // the largest page of a kernel: a file of a tmpfs grows by whole pages

/** Blocks of a disk that are in use, by files that nobody can name any more too. */
function usedBlocks(disk: string): number {
  const { success, stdout } = new Deno.Command("stat", { args: ["-f", "-c", "%b %f", disk], stdin: "null" })
    .outputSync();
  if (!success) throw new Error(`Cannot read how full ${disk} is.`);
  const [all, free] = new TextDecoder().decode(stdout).split(" ").map(Number);
  return all! - free!;
}

/** Has the server move its stdout and stderr to the log on the small disk, as far as it can be reached. */
async function moveOutput(target: Target, log: string): Promise<void> {
  target.preload!.moveOutput();
  const isMoved = (pid: number) => linkOf(`/proc/${pid}/fd/1`) === log;
  const untilMs = performance.now() + PATIENCE_MS;
  for (let look = 0; look < LOOKS && performance.now() < untilMs; look++) { // one that is not reached never moves
    if (serverTree(target).every(isMoved)) return;
    await askAfresh(target.port, 1); // a call of libc, where it makes any
    await delay(LOOK_MS);
  }
}

/** What makes servers write: heads that are none, the question for its counts, and new clients. */
async function provoke(target: Target): Promise<Seen> {
  await malformed(target);
  await target.showStats?.();
  return await askAfresh(target.port);
}

/** Nothing more can be written below TMPDIR, where stdout and stderr of the server go too. */
export async function diskFull(target: Target): Promise<Seen> {
  const disk = target.disk!;
  const [log, filler] = [`${disk}/${LOG}`, `${disk}/fill`];
  await moveOutput(target, log);
  const before = usedBlocks(disk);
  await provoke(target);
  if (usedBlocks(disk) === before) throw new CannotDo("the server writes nothing: neither below TMPDIR nor a log");
  const padding = `size=$(stat -c %s "$1") && head -c $((${BLOCK_BYTES} - size % ${BLOCK_BYTES})) /dev/zero >>"$1"`;
  if (existsSync(log) && !run("sh", ["-c", padding, "sh", log])) {
    throw new Error(`Cannot fill the last page of ${log}.`);
  }
  const isFull = !run("sh", ["-c", 'exec cat /dev/zero >"$1"', "sh", filler]);
  if (!isFull) throw new CannotDo("the disk does not get full");
  const meanwhile = await provoke(target);
  if (!run("rm", [filler])) throw new Error(`Cannot remove ${filler}.`);
  const after = await askAfresh(target.port);
  return { owed: meanwhile.owed + after.owed, came: meanwhile.came + after.came };
}

const DAY_S = 86_400;
const STEPS = [DAY_S, -DAY_S, DAY_S, 0];

/** Whether one of a server's processes, those that live, has asked a clock of libc since a moment ago. */
function asksClock(target: Target, before: ReadonlyMap<number, number>): boolean {
  const now = target.preload!.counts("clockCalls");
  return serverTree(target).some((pid) => (now.get(pid) ?? 0) > (before.get(pid) ?? 0));
}

/** The wall clock leaps a day forth and two back, while clients have sent half of a head: none of them may be ended. */
export async function clockStepped(target: Target): Promise<Seen> {
  const { port, preload, room = Infinity } = target;
  const asked = preload!.counts("clockCalls");
  const sockets = await crowd(port, Math.max(1, Math.min(CROWD, room - 1))); // one more asks besides
  const half = REQUEST.length >> 1;
  for (const socket of sockets) socket.write(REQUEST.slice(0, half));
  await delay(FAULT_MS / STEPS.length);
  const before = await askAfresh(port, 1); // by then it has taken the halves too
  if (!asksClock(target, asked)) {
    closeAll(sockets);
    throw new CannotDo("the server reads no clock through libc: its clock cannot be stepped");
  }
  for (const seconds of STEPS) {
    preload!.step(seconds);
    await delay(FAULT_MS / STEPS.length);
  }
  const came = sockets.map(answerOf);
  for (const socket of sockets) socket.write(REQUEST.slice(half));
  return { owed: before.owed + sockets.length, came: before.came + sum(await Promise.all(came)) };
}

/** The filter stands since before the server's start: it has to serve without io_uring, or to say that it cannot. */
export async function withoutIoUring({ port }: Target): Promise<Seen> {
  const sockets = await crowd(port, FRESH);
  return { owed: FRESH, came: await askEach(sockets) };
}
