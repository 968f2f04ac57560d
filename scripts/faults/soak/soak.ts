/**
 * Keeps one server under mixed load for long, with faults at random, and looks whether anything of it rises.
 *
 * @module
 */
import { delay } from "@std/async";
import type { SoakRow } from "../../../lib/results/rows.ts";
import { type Sample, sample } from "../../../lib/sampling/sampler.ts";
import { howEnded, withLastWords } from "../../../lib/server/launch.ts";
import { Server } from "../../../lib/server/server.ts";
import {
  bypassesKernel,
  hasWork,
  isCustom,
  type Running,
  startSubject,
  type Subject,
} from "../../../lib/server/subject.ts";
import { counted } from "../../../lib/text/format.ts";
import { CannotDo, type Fault, FAULTS, takesBack } from "../faults.ts";
import { CLIENTS, type Crowd, crowdOf, normalClients, PER_SECOND } from "../crowd.ts";
import type { Asked } from "../normal_clients.ts";
import { openWire } from "../wire.ts";
import { judgeSeries, type Quantity } from "./judge.ts";
import { faultsFor, type Turn, turnsOf } from "./plan.ts";
import { type VisitCounts, visiting, VISITS_PER_S } from "./visits.ts";

/** How long, and with which numbers. */
export interface SoakPlan {
  minutes: number;
  seed: number;
  signal: AbortSignal;
  /** Called before each turn, with the seconds since the start. */
  onTurn?: (turn: Turn, seconds: number) => void;
  /** Called once for each fault that cannot be done to this server, with the reason. */
  onLeftOut?: (fault: Fault, reason: string) => void;
  /** Of which faults are chosen; default: all. */
  faults?: readonly Fault[];
  /** Of the measured stretch of a turn; default: a sixtieth of the whole, within bounds. */
  quietSeconds?: number;
}

/** One look: the figures of a quiet stretch, and what the server takes at its end. */
interface Point {
  atS: number;
  p99Ms: number;
  taken: Sample | null;
}

/** The share of all requests that ask for work, where a server has it. */
const WORK_SHARE = 0.01;
const TURNS = 60;
const MIN_QUIET_S = 0.5;
const MAX_QUIET_S = 15;
/** After a fault the server has so long to work off what is left of it, but no longer than the stretch that is measured. */
const REST_MS = 3000;
/** After a quiet stretch its last requests have so long to be answered. */
const TAIL_MS = 500;
/** Requests in quiet stretches may go without an answer up to this share. */
export const MAX_UNANSWERED_SHARE = 0.01;
/** What stands for the latency of a request without an answer, in ms: so long a client waits. */
const PATIENCE_MS = 3000;
/** V8 finds the size of its young generation after 100 000 connections only: small, it does so at once. */
const ENV = { DENO_V8_FLAGS: "--max-semi-space-size=1" };
const nowMs = () => performance.timeOrigin + performance.now();

/** The crowd of a server in a soak: beside it come visits, where there is room for one at a time. */
interface SoakCrowd extends Crowd {
  /** Whether clients that ask once and leave come too. */
  hasVisits: boolean;
}

function soakCrowdOf(subject: Subject): SoakCrowd {
  const crowd = crowdOf(subject);
  const hasVisits = crowd.room > 0;
  return { ...crowd, room: hasVisits ? crowd.room - 1 : 0, hasVisits };
}

/** Each so many of the visits ask for work, so that of all requests the wanted share does. */
function workEachOf(subject: Subject, clients: number): number {
  if (!hasWork(subject)) return Infinity;
  const perSecond = VISITS_PER_S + PER_SECOND * clients / CLIENTS;
  return Math.round(VISITS_PER_S / (WORK_SHARE * perSecond));
}

/** The 99th percentile of latencies, where a request without an answer counts with what its client waited. */
function p99Ms(asked: readonly Asked[]): number {
  const took = asked.map(([, ms]) => ms ?? PATIENCE_MS).sort((a, b) => a - b);
  return took[Math.ceil(took.length * 0.99) - 1] ?? PATIENCE_MS;
}

/** What a soak has seen. */
interface Seen extends VisitCounts {
  points: Point[];
  faults: string[];
  /** Ids of faults that cannot be done to this server. */
  leftOut: Set<string>;
  requests: number;
  unanswered: number;
  /** Answers that the clients of faults had to get, and those of them that did not come. */
  owed: number;
  lost: number;
  /** How the server ended before its time; null if it did not. */
  ended: string | null;
}

/** The server, and the time of its soak. */
interface Soaked {
  running: Running;
  subject: Subject;
  crowd: SoakCrowd;
  quietMs: number;
  startMs: number;
  isOver: () => boolean;
}

/** The process that was started, where that is a launcher: others than those of the root may stand below it. */
const leaderOf = (running: Running): number | null => running instanceof Server ? running.leaderPid : running.pid;

/** Waits for a promise, but no longer than until the signal aborts. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * Does a fault, and adds up what its clients were owed. An interrupt ends it; but one that has set limits, or stopped
 * processes, first takes that back. One that cannot be done to this server is passed over, and said so once.
 */
async function doFault(fault: Fault, seed: number, soaked: Soaked, seen: Seen, plan: SoakPlan): Promise<void> {
  const { signal } = plan;
  signal.throwIfAborted();
  const { running, subject, crowd: { room } } = soaked;
  const { pid, port } = running;
  const contract = isCustom(subject)
    ? { keepsContract: false, cannot: {} }
    : { keepsContract: true, cannot: subject.cannot };
  const target = { port, pid, leader: leaderOf(running), seed, terminate: null, room, ...contract };
  try {
    const done = fault.run(target);
    const { owed, came } = await (takesBack(fault) ? done : orAborted(done, signal));
    seen.faults.push(fault.id);
    if (room === 0) return; // it serves the client that stays, and owes others nothing meanwhile
    seen.owed += owed;
    seen.lost += owed - came;
  } catch (error) {
    if (soaked.isOver()) return; // what there was to find is that it ended
    if (!(error instanceof CannotDo)) throw error;
    if (!seen.leftOut.has(fault.id)) plan.onLeftOut?.(fault, error.message);
    seen.leftOut.add(fault.id);
  }
}

/** One turn: the fault beside the load, a rest, and the stretch that is measured. */
async function takeTurn(turn: Turn, soaked: Soaked, seen: Seen, plan: SoakPlan): Promise<void> {
  const { running, subject, crowd: { clients, hasVisits }, quietMs, startMs, isOver } = soaked;
  const { signal } = plan;
  const { port } = running;
  using staying = await normalClients(port, clients);
  await using stack = new AsyncDisposableStack();
  if (hasVisits) stack.use(visiting(port, workEachOf(subject, clients), seen));
  if (turn.fault !== null) {
    await doFault(turn.fault, turn.seed, soaked, seen, plan);
    await delay(Math.min(REST_MS, quietMs), { signal });
  }
  const from = nowMs();
  await delay(quietMs, { signal });
  if (isOver()) return; // a point of nothing would spoil the series
  const root = leaderOf(running);
  const taken = root === null ? null : sample(root);
  const until = nowMs();
  await delay(TAIL_MS, { signal }); // so that what was due has been asked and answered
  const asked = (await staying.end()).filter(([due]) => due >= from && due < until);
  seen.requests += asked.length;
  seen.unanswered += asked.filter(([, ms]) => ms === null).length;
  seen.points.push({ atS: (until - startMs) / 1000, p99Ms: p99Ms(asked), taken });
}

/** Takes turns until the time is over, or the server is. */
async function takeTurns(soaked: Soaked, plan: SoakPlan): Promise<Seen> {
  const counts = { requests: 0, unanswered: 0, visits: 0, visitsFailed: 0, owed: 0, lost: 0 };
  const seen: Seen = { points: [], faults: [], leftOut: new Set(), ...counts, ended: null };
  const { subject, running, startMs, isOver } = soaked;
  void running.exited.then((status) => {
    seen.ended = withLastWords(`the server ended ${howEnded(status)}`, running.stderrTail());
  });
  const turns = turnsOf(faultsFor(subject, plan.faults ?? FAULTS, running.pid !== null), plan.seed);
  while ((nowMs() - startMs) / 60_000 < plan.minutes && !isOver()) {
    const turn = turns.next().value;
    plan.onTurn?.(turn, (nowMs() - startMs) / 1000);
    await takeTurn(turn, soaked, seen, plan);
  }
  return seen;
}

/** The series of each quantity; one that is not known has no values. */
function seriesOf(points: readonly Point[]): Record<Quantity, number[]> {
  const taken = points.flatMap((point) => point.taken ?? []);
  const whole = taken.length === points.length ? taken : [];
  return {
    memory: whole.map((one) => one.pss_anon_bytes ?? one.pss_bytes),
    descriptors: whole.map((one) => one.descriptors),
    threads: whole.map((one) => one.threads),
    latency: points.map((point) => point.p99Ms),
  };
}

/** What went wrong with a server, the gravest first; null: nothing. */
function brokenOf({ ended, owed, lost, requests, unanswered }: Seen): string | null {
  if (ended !== null) return ended;
  if (lost > 0) return `${lost} of ${counted(owed, "answer")} under faults did not come`;
  const isShort = unanswered > MAX_UNANSWERED_SHARE * requests;
  return isShort ? `${unanswered} of ${counted(requests, "request")} in quiet stretches got no answer` : null;
}

function rowsOf(name: string, seen: Seen, { minutes, seed }: SoakPlan): SoakRow[] {
  const { points, faults, requests, unanswered, visits, visitsFailed, owed, lost } = seen;
  const at_s = points.map((point) => point.atS);
  const broken = brokenOf(seen);
  return Object.entries(seriesOf(points)).map(([quantity, values]) => ({
    server: name,
    seed,
    minutes,
    quantity: quantity as Quantity,
    ...judgeSeries(quantity as Quantity, at_s, values),
    at_s: values.length === 0 ? [] : at_s,
    values,
    faults,
    requests,
    unanswered,
    visits,
    visits_failed: visitsFailed,
    owed,
    lost,
    broken,
  }));
}

/**
 * Soaks a server. One that ends is a finding too: `broken` says how.
 *
 * @throws {StartError} If it does not start.
 * @throws The reason of `signal`, if it aborts before a point was taken.
 *
 * @example
 * ```ts
 * const rows = await soak(find("epoll"), { minutes: 15, seed: 1, signal });
 * ```
 */
export async function soak(subject: Subject, plan: SoakPlan): Promise<SoakRow[]> {
  const crowd = soakCrowdOf(subject);
  await using wire = bypassesKernel(subject) ? await openWire(subject.name) : null;
  const place = wire === null ? {} : { place: wire.place };
  await using running: Running = await startSubject(subject, {
    args: crowd.args,
    env: ENV,
    signal: plan.signal,
    ...place,
  });
  let hasEnded = false;
  void running.exited.then(() => hasEnded = true);
  const usual = Math.min(MAX_QUIET_S, Math.max(MIN_QUIET_S, plan.minutes * 60 / TURNS));
  const soaked: Soaked = {
    ...{ running, subject, crowd },
    quietMs: (plan.quietSeconds ?? usual) * 1000,
    startMs: nowMs(),
    isOver: () => hasEnded,
  };
  return rowsOf(subject.name, await takeTurns(soaked, plan), plan);
}
