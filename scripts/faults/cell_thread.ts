/**
 * The thread of a cell: a fresh server, normal clients beside the fault, and what is left behind.
 *
 * @module
 */
import { delay } from "@std/async";
import type { FaultRow } from "../../lib/results/rows.ts";
import { sample } from "../../lib/sampling/sampler.ts";
import { withLastWords } from "../../lib/server/launch.ts";
import { settles } from "../../lib/server/process_group.ts";
import { DEBUGGER, Server, StartError } from "../../lib/server/server.ts";
import { bypassesKernel, isCustom, type Running, startSubject, type Subject } from "../../lib/server/subject.ts";
import type { CellAnswer, CellOrder } from "./cell.ts";
import { askAfresh } from "./clients.ts";
import { crowdOf, normalClients, PER_SECOND } from "./crowd.ts";
import { type CpuLook, lookAtCpu } from "./cpu.ts";
import { CannotDo, type Fault, NONE, type Seen, takesBack, type Target } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { BEFORE_MS, figuresOf, isCalm, leftovers, type Trial } from "./figures.ts";
import { prepare } from "./ground.ts";
import { judge, leavesTooMuch, MAX_P99_MS, unmeasured } from "./judge.ts";
import { lastLook, LOOK_MS } from "./leaving.ts";
import { OF_SOCKETS, openWire, type Wire } from "./wire.ts";

const LOCAL = "127.0.0.1";
/** It is looked at again before a fault until it is calm: a machine that is busy with others disturbs all cells. */
const MAX_BEFORE_MS = 5000;
/** What is looked at after a fault, and longer until requests are answered in time again. */
const AFTER_MS = 1000;
const MAX_AFTER_MS = 10_000;
const ENDED_MS = 5000; // as long as an experiment has for its end

const thread = globalThis as unknown as {
  onmessage: (event: MessageEvent<CellOrder>) => void;
  postMessage(value: CellAnswer): void;
};
const nowMs = () => performance.timeOrigin + performance.now();
type Normal = Awaited<ReturnType<typeof normalClients>>;

/** How a server is ended by SIGTERM; null where that is not this command's to do. */
function terminator(server: Running, subject: Subject): Target["terminate"] {
  if (server instanceof Server) return async () => (await server.stop()).code;
  if (!isCustom(subject) || subject.words === null || server.pid === null) return null;
  return async () => {
    Deno.kill(server.pid!, "SIGTERM");
    const isOver = await settles(server.exited, ENDED_MS);
    return isOver ? 0 : 1; // its exit code is its own affair
  };
}

/** A command of somebody's own, with an environment. */
function withEnv(subject: Subject, env: Record<string, string>): Subject {
  const added = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  if (!isCustom(subject) || subject.words === null || added.length === 0) return subject;
  return { ...subject, words: ["env", ...added, ...subject.words] };
}

/** Why a fault cannot be done to a server that could not be reached so far; null if it can. */
function obstacle(fault: Fault, subject: Subject): string | null {
  if (bypassesKernel(subject) && OF_SOCKETS.includes(fault.id)) return "its connections are not sockets of the kernel";
  if (!isCustom(subject) || subject.words !== null) return null;
  if (fault.ground !== undefined) {
    return "it must exist before the server starts: give the command of the server after --";
  }
  if (fault.ends) return "it would end a server that this command has not started: give its command after --";
  if (fault.needsPid && subject.pid === null) return "the process of the server is not known: name it by --pid";
  return null;
}

/** The verdict on a server that did not start. */
function unstarted(
  { failure }: StartError,
  fault: Fault,
  subject: Subject,
): { verdict: FaultRow["verdict"]; reason: string } {
  const { ended, reason } = failure;
  if (ended === "skipped" && fault.ground === "no-io-uring" && /io_uring/.test(reason)) {
    return { verdict: "cannot", reason: `it needs io_uring, and says so: ${reason}` };
  }
  if (/LD_PRELOAD/.test(reason) && (fault.ground === "preload" || fault.ground === "disk")) {
    return {
      verdict: "skipped",
      reason: "the program that starts the server may not pass LD_PRELOAD on: nothing can be loaded before its libc",
    };
  }
  if (ended === "skipped" || isCustom(subject)) return { verdict: "skipped", reason };
  return { verdict: "failed", reason: `it does not start: ${reason}` };
}

/** Rejects when the signal aborts. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}

/** Does a fault. An interrupt ends it; but one that has set limits, or stopped processes, first takes that back. */
const done = (fault: Fault, target: Target, signal: AbortSignal): Promise<Seen> =>
  takesBack(fault) ? fault.run(target) : Promise.race([fault.run(target), aborted(signal)]);

/**
 * Looks at the normal clients until they are answered in time, as long as there is patience for that.
 *
 * @returns The CPU time of the server when the last look began; null: it is not known.
 * @throws {CannotDo} If a server of somebody's own is too slow for them without any fault.
 */
async function awaitCalm(
  normal: Normal,
  { keepsContract, pid }: Target,
  isOver: () => boolean,
  signal: AbortSignal,
): Promise<CpuLook | null> {
  const startedMs = nowMs();
  let cpu: CpuLook | null;
  let calm = false;
  let answers = false;
  do {
    cpu = pid === null || isOver() ? null : lookAtCpu(pid);
    await delay(BEFORE_MS, { signal });
    const seen = await normal.look();
    calm = isCalm(seen, nowMs(), MAX_P99_MS / 2);
    answers = seen.some(([, ms]) => ms !== null);
  } while (!calm && nowMs() - startedMs < MAX_BEFORE_MS && !isOver());
  if (!calm && answers && keepsContract === false) { // one that never answers fails under whatever fault
    throw new CannotDo(`it does not answer ${PER_SECOND} requests per second in time, even without a fault`);
  }
  return cpu;
}

/** Does a fault to a server that runs, and looks at what normal clients see and what is left. */
async function trial(
  fault: Fault,
  server: Running,
  target: Target,
  clients: number,
  signal: AbortSignal,
): Promise<Trial> {
  let hasEnded = false;
  void server.exited.then(() => hasEnded = true);
  const isOver = () => hasEnded;
  using normal = await normalClients(target.port, clients);
  const cpu = () => target.pid === null || isOver() ? null : lookAtCpu(target.pid);
  const cpuCalm = await awaitCalm(normal, target, isOver, signal);
  const root = target.pid === null ? null : target.leader ?? target.pid; // with what runs beside, as a backend
  const look = () => root === null || isOver() ? null : sample(root);
  const had = look();
  const cpuFrom = cpu();
  const from = nowMs();
  const seen = await done(fault, target, signal);
  signal.throwIfAborted();
  const until = nowMs();
  const used = { calm: cpuCalm, from: cpuFrom, until: cpu() };
  if (!fault.ends) {
    await delay(AFTER_MS, { signal });
    while (!isOver() && nowMs() - until < MAX_AFTER_MS && !isCalm(await normal.look(), nowMs(), MAX_P99_MS)) {
      await delay(LOOK_MS, { signal });
    }
  }
  const left = await lastLook(look, (now) => leavesTooMuch(leftovers(now, had), fault, target.cannot ?? {}), signal);
  const asked = await normal.end();
  // The normal clients have kept their connections all the time: whether more are accepted only new ones can tell. They come
  // behind the others, whose place they take where a server serves one client after the other.
  const after = fault.ends ? NONE : await Promise.race([askAfresh(target.port), aborted(signal)]);
  const ends = fault.ends ?? false;
  return { clients, asked, from, until, ends, seen, after, had, left, cpu: used, endedEarly: isOver() && !ends };
}

/** Asks for counts. The port that the server opens no debugger on is one of the server's network. */
async function statsOf(server: Running, wire: Wire | null): Promise<unknown> {
  using _port = wire?.hold(DEBUGGER.port);
  return await server.stats!();
}

/** Measures a cell. */
async function run({ subject, fault, seed }: Exclude<CellOrder, "stop">, signal: AbortSignal): Promise<FaultRow> {
  const chosen = FAULTS.find(({ id }) => id === fault)!;
  const key = { server: subject.name, fault, seed };
  const skipped = (reason: string): FaultRow => unmeasured(key, "skipped", reason);
  const wrong = obstacle(chosen, subject);
  if (wrong !== null) return skipped(wrong);
  const { clients, args, room } = crowdOf(subject);
  try {
    await using wire = bypassesKernel(subject) ? await openWire(subject.name) : null;
    const place = wire === null ? {} : { place: wire.place };
    const hasNetwork = wire !== null && chosen.ground === "network"; // its clients have one of their own already
    using ground = prepare(hasNetwork ? undefined : chosen.ground);
    await using server = await startSubject(withEnv(subject, ground.env), { args, env: ground.env, signal, ...place });
    const { host = LOCAL }: Running = server;
    if (host !== LOCAL) {
      throw new CannotDo(`it listens on ${host} only, and the clients of a fault connect to ${LOCAL}`);
    }
    const showsStats = !isCustom(subject) && !Object.hasOwn(subject.cannot, "show-stats");
    const target: Target = {
      port: server.port,
      pid: server.pid,
      seed,
      terminate: terminator(server, subject),
      room,
      keepsContract: !isCustom(subject),
      cannot: isCustom(subject) ? {} : subject.cannot,
      ...(ground.disk !== undefined && { disk: ground.disk }),
      ...(ground.preload !== undefined && { preload: ground.preload }),
      ...(server instanceof Server && { leader: server.leaderPid }),
      ...(showsStats && { showStats: () => statsOf(server, wire) }),
    };
    const figures = figuresOf(await trial(chosen, server, target, clients, signal));
    const { verdict, reason } = judge(figures, chosen, isCustom(subject) ? {} : subject.cannot);
    const row = { ...key, verdict, reason, runs: [verdict], ...figures };
    if (!figures.ended_early || verdict === "cannot") return row;
    return { ...row, reason: withLastWords(reason!, server.stderrTail()) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StartError) {
      const { verdict, reason } = unstarted(error, chosen, subject);
      return unmeasured(key, verdict, reason);
    }
    if (error instanceof CannotDo) return skipped(error.message);
    throw error;
  }
}

const stop = new AbortController();
thread.onmessage = ({ data }) => {
  if (data === "stop") return stop.abort(new DOMException("The cell is interrupted.", "AbortError"));
  run(data, stop.signal).then(
    (row) => thread.postMessage({ row }),
    ({ message, stack }: Error) => thread.postMessage({ error: message, stack: stack ?? message }),
  );
};
thread.postMessage("ready");
