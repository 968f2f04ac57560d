/**
 * Faults that the system makes: limits, signals, ends, and what is full or forbidden.
 *
 * @module
 */
import { delay } from "@std/async";
import { processTree, unlessGone } from "../../lib/sampling/process.ts";
import { listProc, readProc } from "../../lib/sampling/procfs.ts";
import { abortedConnects, type Cable, FAR_ADDRESS, halfOpen, holdHeads, malformed, peersGone } from "./by_clients.ts";
import { answerOf, askAfresh, askEach, closeAll, connect, crowd, sum } from "./clients.ts";
import { ControlGroup } from "./control_group.ts";
import { CannotDo, CROWD, FAULT_MS, FRESH, NONE, REQUEST, type Seen, type Target } from "./fault.ts";
import { limitDescriptors, limitProcesses, readKernelLink } from "./kernel.ts";

const NO_PROCESS = 1n; // this user has one already

const treeOf = (pid: number | null): number[] => pid === null ? [] : processTree(pid) ?? [];

/** Runs `meanwhile` under a limit of each process of a server. */
async function underLimit(
  pid: number | null,
  set: (pid: number, soft: bigint) => bigint,
  soft: (pid: number) => bigint,
  meanwhile: () => Promise<void>,
): Promise<void> {
  const before: [pid: number, soft: bigint][] = [];
  try {
    for (const one of treeOf(pid)) before.push([one, set(one, soft(one))]);
    await meanwhile();
  } finally {
    const living = new Set(treeOf(pid));
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

export async function descriptorsExhausted({ port, pid }: Target): Promise<Seen> {
  await underLimit(pid, limitDescriptors, lowestFree, () => newClients(port, 100));
  return await askAfresh(port);
}

/** Neither a process nor a thread more. The limit of a user does not hold for root: there it is one of a control group. */
export async function processesExhausted({ port, pid }: Target): Promise<Seen> {
  if (Deno.uid() === 0) {
    await using group = ControlGroup.make(pid!, "pids");
    group.limit(group.tasks());
    await newClients(port, CROWD);
  } else {
    await underLimit(pid, limitProcesses, () => NO_PROCESS, () => newClients(port, CROWD));
  }
  return await askAfresh(port);
}

const MORE_BYTES = 128 * 2 ** 20; // the 64 MiB that a server may keep by the contract, and as much for what holds it

export async function memoryLimited(target: Target): Promise<Seen> {
  {
    await using group = ControlGroup.make(target.pid!, "memory");
    group.limit(MORE_BYTES);
    await holdHeads(target);
  }
  return await askAfresh(target.port);
}

/** Sends a signal to each process; one that has ended meanwhile needs none. */
function signalAll(pids: readonly number[], signal: Deno.Signal): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

export async function sigstop({ pid }: Target): Promise<Seen> {
  const pids = treeOf(pid);
  try {
    signalAll(pids, "SIGSTOP");
    await delay(2000);
  } finally {
    signalAll(pids, "SIGCONT");
  }
  return NONE;
}

const STOPS_PER_S = 250;

/** A stop and its end interrupt a call that waits, handler or not: epoll_wait(2) and others end with EINTR, signal(7). */
export async function interrupted({ port, pid }: Target): Promise<Seen> {
  const pids = treeOf(pid);
  const asked = askAfresh(port);
  for (const until = performance.now() + FAULT_MS; performance.now() < until;) {
    signalAll(pids, "SIGSTOP");
    signalAll(pids, "SIGCONT");
    await delay(FAULT_MS / STOPS_PER_S);
  }
  return await asked;
}

export const aborted = (target: Target): Promise<Seen> =>
  abortedConnects(target, (during) => {
    const pids = treeOf(target.pid);
    signalAll(pids, "SIGSTOP");
    try {
      during();
    } finally {
      signalAll(pids, "SIGCONT");
    }
  });

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

const LOCAL = 1; // words of a line of /proc/net/tcp
const REMOTE = 2;
const INODE = 9;
const LOOKS = 50;
const LOOK_MS = 20;
const portOf = (word: string | undefined) => parseInt(word?.split(":")[1] ?? "", 16);

/** The inode of the server's end of a connection; null while no process has it. */
function inodeOf(pid: number, port: number, clientPort: number): string | null {
  for (const table of ["tcp", "tcp6"]) {
    for (const line of (unlessGone(() => readProc(`/proc/${pid}/net/${table}`)) ?? "").split("\n").slice(1)) {
      const words = line.trim().split(/\s+/);
      if (portOf(words[LOCAL]) !== port || portOf(words[REMOTE]) !== clientPort) continue;
      return words[INODE] === "0" ? null : words[INODE]!;
    }
  }
  return null;
}

/** The processes of a tree that hold a socket. */
function holders(pids: readonly number[], inode: string): number[] {
  const isHeld = (pid: number) =>
    (unlessGone(() => listProc(`/proc/${pid}/fd`)) ?? [])
      .some((fd) => readKernelLink(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`);
  return pids.filter(isHeld);
}

/** The worker that holds a connection: a process whose parent, of the same program, belongs to the server too. */
async function workerOf(pid: number, port: number, clientPort: number): Promise<number> {
  for (let look = 0; look < LOOKS; look++) {
    const inode = inodeOf(pid, port, clientPort);
    const tree = treeOf(pid);
    const holder = inode === null ? undefined : holders(tree, inode).at(-1);
    if (holder !== undefined) {
      const program = (of: number) => readKernelLink(`/proc/${of}/exe`);
      const parent = Number(/^PPid:\s*(\d+)/m.exec(readProc(`/proc/${holder}/status`))?.[1]);
      if (tree.includes(parent) && program(parent) === program(holder)) return holder;
      throw new CannotDo("one process holds all connections: none of several can be killed");
    }
    await delay(LOOK_MS);
  }
  throw new CannotDo("no process of the server is seen to hold the connection");
}

/** SIGKILL to the worker that has half of a request. */
export async function workerKilled({ port, pid }: Target): Promise<Seen> {
  const socket = await connect(port);
  if (socket === null) throw new CannotDo("the server takes no connection");
  try {
    socket.write(REQUEST.slice(0, REQUEST.length / 2));
    signalAll([await workerOf(pid!, port, socket.localPort!)], "SIGKILL");
  } finally {
    socket.destroy();
  }
  return await askAfresh(port);
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

/** Nothing more can be written below TMPDIR. What makes servers write errors is sent meanwhile. */
export async function diskFull(target: Target): Promise<Seen> {
  const path = `${target.disk!}/fill`;
  const isFull = !run("sh", ["-c", 'exec cat /dev/zero >"$1"', "sh", path]);
  if (!isFull) throw new CannotDo("the disk does not get full");
  await malformed(target);
  const meanwhile = await askAfresh(target.port);
  if (!run("rm", [path])) throw new Error(`Cannot remove ${path}.`);
  const after = await askAfresh(target.port);
  return { owed: meanwhile.owed + after.owed, came: meanwhile.came + after.came };
}

const DAY_S = 86_400;
const STEPS = [DAY_S, -DAY_S, DAY_S, 0];

/** The wall clock leaps a day forth and two back, while clients have sent half of a head: none of them may be ended. */
export async function clockStepped({ port, pid, clock, room = Infinity }: Target): Promise<Seen> {
  if (!clock!.governs(pid!)) {
    throw new CannotDo("the server does not ask libc for the time: no clock of its own can be made");
  }
  const sockets = await crowd(port, Math.max(1, Math.min(CROWD, room - 1))); // one more asks besides
  const half = REQUEST.length >> 1;
  for (const socket of sockets) socket.write(REQUEST.slice(0, half));
  await delay(FAULT_MS / STEPS.length);
  const before = await askAfresh(port, 1); // by then it has taken the halves too
  for (const seconds of STEPS) {
    clock!.step(seconds);
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
