/**
 * Keeps one server under mixed load for long, with faults at random, and looks whether anything of it rises.
 *
 * @module
 */
import { delay } from "@std/async";
import type { SoakRow } from "../../../lib/results/rows.ts";
import { type Sample, sample } from "../../../lib/sampling/sampler.ts";
import { howEnded } from "../../../lib/server/launch.ts";
import { isCustom, type Running, startSubject, type Subject } from "../../../lib/server/subject.ts";
import { CannotDo, type Fault, FAULTS } from "../faults.ts";
import { CLIENTS, normalClients } from "../crowd.ts";
import type { Asked } from "../normal_clients.ts";
import { judgeSeries, type Quantity } from "./judge.ts";
import { faultsFor, type Turn, turnsOf } from "./plan.ts";

/** How long, and with which numbers. */
export interface SoakPlan {
  minutes: number;
  seed: number;
  signal: AbortSignal;
  /** Called before each turn, with the seconds since the start. */
  onTurn?: (turn: Turn, seconds: number) => void;
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

const CHURNED_PER_S = 20;
const WORKERS = 4;
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
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
const nowMs = () => performance.timeOrigin + performance.now();

/** How many normal clients a server has, and how it is started. A client that stays keeps a worker to itself. */
function crowdOf(subject: Subject): { clients: number; churns: boolean; args: string[] } {
  if (isCustom(subject)) return { clients: CLIENTS, churns: true, args: [] };
  if (Object.hasOwn(subject.cannot, "serve-others")) return { clients: 1, churns: false, args: [] };
  const hasWorkers = Deno.readTextFileSync(subject.path).includes("[--workers N]");
  if (!hasWorkers) return { clients: CLIENTS, churns: true, args: [] };
  return { clients: WORKERS / 2, churns: true, args: ["--workers", String(WORKERS)] };
}

/** Connects, asks once and reads to the end, again and again: other clients than those that stay. */
function churning(port: number): AsyncDisposable {
  const stopped = new AbortController();
  const visit = async () => {
    try {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(REQUEST);
      const buffer = new Uint8Array(4096);
      while (!stopped.signal.aborted && await connection.read(buffer) !== null);
    } catch (error) {
      // Under a fault a server may refuse and reset: the clients that stay are those that count.
      if (!(error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.ConnectionReset)) {
        throw error;
      }
    }
  };
  const loop = (async () => {
    while (!stopped.signal.aborted) {
      await visit();
      await delay(1000 / CHURNED_PER_S);
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      stopped.abort();
      await loop;
    },
  };
}

/** The 99th percentile of latencies, where a request without an answer counts with what its client waited. */
function p99Ms(asked: readonly Asked[]): number {
  const took = asked.map(([, ms]) => ms ?? PATIENCE_MS).sort((a, b) => a - b);
  return took[Math.ceil(took.length * 0.99) - 1] ?? PATIENCE_MS;
}

/** What a soak has seen. */
interface Seen {
  points: Point[];
  faults: string[];
  requests: number;
  unanswered: number;
  /** Why it ended before its time; null if it did not. */
  broken: string | null;
}

/** The server, and the time of its soak. */
interface Soaked {
  running: Running;
  subject: Subject;
  clients: number;
  churns: boolean;
  quietMs: number;
  startMs: number;
  isOver: () => boolean;
}

/** One turn: the fault beside the load, a rest, and the stretch that is measured. */
async function takeTurn(turn: Turn, soaked: Soaked, seen: Seen, signal: AbortSignal): Promise<void> {
  const { running: { pid, port }, clients, churns, quietMs, startMs, isOver } = soaked;
  using staying = await normalClients(port, clients);
  await using stack = new AsyncDisposableStack();
  if (churns) stack.use(churning(port));
  if (turn.fault !== null) {
    try {
      await turn.fault.run({ port, pid, seed: turn.seed, terminate: null });
      seen.faults.push(turn.fault.id);
    } catch (error) {
      if (!(error instanceof CannotDo) && !isOver()) throw error;
    }
    await delay(Math.min(REST_MS, quietMs), { signal });
  }
  const from = nowMs();
  await delay(quietMs, { signal });
  if (isOver()) return; // a point of nothing would spoil the series
  const taken = pid === null ? null : sample(pid);
  const until = nowMs();
  await delay(TAIL_MS, { signal }); // so that what was due has been asked and answered
  const asked = (await staying.end()).filter(([due]) => due >= from && due < until);
  seen.requests += asked.length;
  seen.unanswered += asked.filter(([, ms]) => ms === null).length;
  seen.points.push({ atS: (until - startMs) / 1000, p99Ms: p99Ms(asked), taken });
}

/** Takes turns until the time is over, or the server is. */
async function takeTurns(soaked: Soaked, plan: SoakPlan): Promise<Seen> {
  const seen: Seen = { points: [], faults: [], requests: 0, unanswered: 0, broken: null };
  const { subject, running, startMs, isOver } = soaked;
  void running.exited.then((status) => seen.broken = `the server ended ${howEnded(status)}`);
  const turns = turnsOf(faultsFor(subject, plan.faults ?? FAULTS, running.pid !== null), plan.seed);
  while ((nowMs() - startMs) / 60_000 < plan.minutes && !isOver()) {
    const turn = turns.next().value;
    plan.onTurn?.(turn, (nowMs() - startMs) / 1000);
    await takeTurn(turn, soaked, seen, plan.signal);
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

function rowsOf(name: string, seen: Seen, { minutes, seed }: SoakPlan): SoakRow[] {
  const { points, faults, requests, unanswered } = seen;
  const at_s = points.map((point) => point.atS);
  const isShort = unanswered > MAX_UNANSWERED_SHARE * requests;
  const broken = seen.broken ??
    (isShort ? `${unanswered} of ${requests} requests in quiet stretches got no answer` : null);
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
  const { clients, churns, args } = crowdOf(subject);
  await using running: Running = await startSubject(subject, { args, env: ENV, signal: plan.signal });
  let hasEnded = false;
  void running.exited.then(() => hasEnded = true);
  const usual = Math.min(MAX_QUIET_S, Math.max(MIN_QUIET_S, plan.minutes * 60 / TURNS));
  const soaked: Soaked = {
    ...{ running, subject, clients, churns },
    quietMs: (plan.quietSeconds ?? usual) * 1000,
    startMs: nowMs(),
    isOver: () => hasEnded,
  };
  return rowsOf(subject.name, await takeTurns(soaked, plan), plan);
}
