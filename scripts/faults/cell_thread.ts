/**
 * The thread of a cell: a fresh server, normal clients beside the fault, and what is left behind.
 *
 * @module
 */
import { delay } from "@std/async";
import type { FaultRow } from "../../lib/results/rows.ts";
import { type Sample, sample } from "../../lib/sampling/sampler.ts";
import { withLastWords } from "../../lib/server/launch.ts";
import { settles } from "../../lib/server/process_group.ts";
import { Server, StartError } from "../../lib/server/server.ts";
import { hasWork, isCustom, type Running, startSubject, type Subject } from "../../lib/server/subject.ts";
import type { CellAnswer, CellOrder } from "./cell.ts";
import { coresBetween, type CpuLook, lookAtCpu } from "./cpu.ts";
import { CannotDo, type Fault, type Seen, type Target } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { prepare } from "./ground.ts";
import { allowedMs, type Figures, judge, MAX_P99_MS } from "./judge.ts";
import { CLIENTS, normalClients, PER_SECOND } from "./crowd.ts";
import type { Asked } from "./normal_clients.ts";

const LOCAL = "127.0.0.1";
const WORKERS = 4;
/** A client that stays keeps a worker to itself, so half of the workers are left to others. */
const CLIENTS_OF_WORKERS = WORKERS / 2;
/** What is looked at before a fault, and again until it is calm: a machine that is busy with others disturbs all cells. */
const BEFORE_MS = 500;
const MAX_BEFORE_MS = 5000;
/** What is looked at after a fault, and longer until requests are answered in time again. */
const AFTER_MS = 1000;
const MAX_AFTER_MS = 10_000;
const LOOK_MS = 250;
const ENDED_MS = 5000; // as long as an experiment has for its end

const thread = globalThis as unknown as {
  onmessage: (event: MessageEvent<CellOrder>) => void;
  postMessage(value: CellAnswer): void;
};
const nowMs = () => performance.timeOrigin + performance.now();

/** How many normal clients a server has, how it is started, and how many connections more it can serve at once. */
interface Crowd {
  clients: number;
  args: string[];
  room: number;
}

function crowdOf(subject: Subject): Crowd {
  const many = { clients: CLIENTS, args: [], room: Infinity };
  if (isCustom(subject)) return many;
  if (Object.hasOwn(subject.cannot, "serve-others")) return { clients: 1, args: [], room: 0 };
  if (!Deno.readTextFileSync(subject.path).includes("[--workers N]")) return many;
  return {
    clients: CLIENTS_OF_WORKERS,
    args: ["--workers", String(WORKERS)],
    room: WORKERS - CLIENTS_OF_WORKERS,
  };
}

/** The 99th percentile of all requests; null where that one had no answer. */
function p99(asked: readonly Asked[]): number | null {
  const took = asked.map(([, ms]) => ms ?? Infinity).sort((a, b) => a - b);
  const ms = took[Math.ceil(took.length * 0.99) - 1] ?? Infinity;
  return ms === Infinity ? null : ms;
}

/** Seconds from the end of a fault until 99 % of all requests are answered in time, to the last one seen; null: never. */
function recovery(later: readonly Asked[], until: number, allowedMs: number): number | null {
  const last = later.at(-1)?.[0] ?? until;
  let slow = later.filter(([, ms]) => ms === null || ms > allowedMs).length;
  for (const [i, [due, ms]] of later.entries()) {
    if (last - due < BEFORE_MS / 2) return null; // too few are left to say so
    if (slow <= 0.01 * (later.length - i)) return (due - until) / 1000;
    if (ms === null || ms > allowedMs) slow--;
  }
  return null;
}

/** Whether the requests of the last moments were answered in time. */
function isCalm(asked: readonly Asked[], allowedMs: number): boolean {
  const recent = asked.filter(([due]) => due >= nowMs() - BEFORE_MS);
  return recent.length > 0 && (p99(recent) ?? Infinity) <= allowedMs;
}

const more = (after: Sample | null, before: Sample | null, of: (one: Sample) => number | null): number | null => {
  const [now, then] = [after && of(after), before && of(before)];
  return now === null || then === null ? null : now - then;
};

/** Everything that was seen of a cell. */
interface Trial {
  asked: Asked[];
  /** The last look before the fault began then, and the fault `from`, `until`: in ms since 1970. */
  calm: number;
  from: number;
  until: number;
  seen: Seen;
  had: Sample | null;
  left: Sample | null;
  /** The CPU of the server at the three moments. */
  cpu: Record<"calm" | "from" | "until", CpuLook | null>;
  endedEarly: boolean;
}

function figuresOf({ asked, calm, from, until, seen, had, left, cpu, endedEarly }: Trial): Figures {
  const during = asked.filter(([due]) => due >= from && due < until);
  const later = asked.filter(([due]) => due >= until).sort(([a], [b]) => a - b);
  const before = p99(asked.filter(([due]) => due >= calm && due < from));
  const [idle, busy] = [coresBetween(cpu.calm, cpu.from), coresBetween(cpu.from, cpu.until)];
  const answered = during.filter(([, took]) => took !== null).length;
  return {
    answered_share_during: during.length === 0 ? 1 : answered / during.length,
    p99_ms_before: before,
    p99_ms_during: p99(during),
    p99_ms_after: p99(later),
    recovery_s: recovery(later, until, allowedMs(before)),
    cpu_share_during: idle === null || busy === null ? null : busy - idle,
    descriptors_left: more(left, had, (one) => one.descriptors),
    threads_left: more(left, had, (one) => one.threads),
    memory_left_bytes: more(left, had, (one) => one.pss_anon_bytes),
    memory_held_bytes: seen.heldBytes ?? null,
    owed: seen.owed,
    lost: seen.owed - seen.came,
    outcomes: seen.outcomes ?? null,
    ended_early: endedEarly,
    exit_code: seen.exitCode ?? null,
  };
}

const EMPTY: Figures = {
  answered_share_during: 0,
  p99_ms_before: null,
  p99_ms_during: null,
  p99_ms_after: null,
  recovery_s: null,
  cpu_share_during: null,
  descriptors_left: null,
  threads_left: null,
  memory_left_bytes: null,
  memory_held_bytes: null,
  owed: 0,
  lost: 0,
  outcomes: null,
  ended_early: false,
  exit_code: null,
};

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
  if (!isCustom(subject) || subject.words !== null) return null;
  if (fault.ground !== undefined) return "it has to be there from the start: give the command of the server behind --";
  if (fault.ends) return "it would end a server that this command has not started: give its command behind --";
  if (fault.needsPid && subject.pid === null) return "the process of the server is not known: name it by --pid";
  return null;
}

/** The verdict on a server that did not start. */
function unstarted({ failure }: StartError, fault: Fault, subject: Subject): Pick<FaultRow, "verdict" | "reason"> {
  const { ended, reason } = failure;
  if (ended === "skipped" && fault.ground === "no-io-uring" && /io_uring/.test(reason)) {
    return { verdict: "cannot", reason: `it is made of io_uring, and says so: ${reason}` };
  }
  if (fault.ground === "clock" && /LD_PRELOAD/.test(reason)) {
    return {
      verdict: "skipped",
      reason: "what starts the server may not pass LD_PRELOAD on: no clock of its own can be made",
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
  fault.needsPid ? fault.run(target) : Promise.race([fault.run(target), aborted(signal)]);

/** Does a fault to a server that runs, and looks at what normal clients see and what is left. */
async function trial(
  fault: Fault,
  server: Running,
  target: Target,
  clients: number,
  signal: AbortSignal,
): Promise<Trial> {
  let isOver = false;
  void server.exited.then(() => isOver = true);
  using normal = await normalClients(target.port, clients);
  const cpu = () => target.pid === null || isOver ? null : lookAtCpu(target.pid);
  const startedMs = nowMs();
  let cpuCalm: CpuLook | null = null;
  let calm = false;
  let answers = false;
  do {
    cpuCalm = cpu();
    await delay(BEFORE_MS, { signal });
    const seen = await normal.look();
    calm = isCalm(seen, MAX_P99_MS / 2);
    answers = seen.some(([, ms]) => ms !== null);
  } while (!calm && nowMs() - startedMs < MAX_BEFORE_MS && !isOver);
  if (!calm && answers && target.keepsContract === false) { // one that never answers fails under whatever fault
    throw new CannotDo(`it does not answer ${PER_SECOND} requests a second in time, even without a fault`);
  }
  const look = () => target.pid === null || isOver ? null : sample(target.pid);
  const had = look();
  const cpuFrom = cpu();
  const from = nowMs();
  const seen = await done(fault, target, signal);
  signal.throwIfAborted();
  const until = nowMs();
  const used = { calm: cpuCalm, from: cpuFrom, until: cpu() };
  if (!fault.ends) {
    await delay(AFTER_MS, { signal });
    while (!isOver && nowMs() - until < MAX_AFTER_MS && !isCalm(await normal.look(), MAX_P99_MS)) {
      await delay(LOOK_MS, { signal });
    }
  }
  const endedEarly = isOver && !fault.ends;
  const course = { calm: from - BEFORE_MS, from, until, seen, had, left: look(), cpu: used, endedEarly };
  return { ...course, asked: await normal.end() };
}

/** Measures a cell. */
async function run({ subject, fault, seed }: Exclude<CellOrder, "stop">, signal: AbortSignal): Promise<FaultRow> {
  const chosen = FAULTS.find(({ id }) => id === fault)!;
  const key = { server: subject.name, fault, seed };
  const skipped = (reason: string): FaultRow => ({ ...key, ...EMPTY, verdict: "skipped", reason });
  const wrong = obstacle(chosen, subject);
  if (wrong !== null) return skipped(wrong);
  const { clients, args, room } = crowdOf(subject);
  try {
    using ground = prepare(chosen.ground);
    await using server = await startSubject(withEnv(subject, ground.env), { args, env: ground.env, signal });
    const { host = LOCAL }: Running = server;
    if (host !== LOCAL) {
      throw new CannotDo(`it listens on ${host} only, and the clients of a fault connect to ${LOCAL}`);
    }
    const target: Target = {
      port: server.port,
      pid: server.pid,
      seed,
      terminate: terminator(server, subject),
      room,
      keepsContract: !isCustom(subject),
      cannot: isCustom(subject) ? {} : subject.cannot,
      hasWork: hasWork(subject),
      ...(ground.disk !== undefined && { disk: ground.disk }),
      ...(ground.clock !== undefined && { clock: ground.clock }),
    };
    const figures = figuresOf(await trial(chosen, server, target, clients, signal));
    const judged = judge(figures, chosen, isCustom(subject) ? {} : subject.cannot);
    if (!figures.ended_early || judged.verdict === "cannot") return { ...key, ...figures, ...judged };
    return { ...key, ...figures, ...judged, reason: withLastWords(judged.reason!, server.stderrTail()) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StartError) return { ...key, ...EMPTY, ...unstarted(error, chosen, subject) };
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
