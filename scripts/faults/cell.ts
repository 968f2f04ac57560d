/**
 * One cell of the matrix: a fresh server, normal clients beside the fault, and what is left behind.
 *
 * @module
 */
import { delay } from "@std/async";
import { type FaultRow } from "../../lib/results/rows.ts";
import { type Sample, sample } from "../../lib/sampling/sampler.ts";
import { Server, StartError } from "../../lib/server/server.ts";
import { isCustom, type Running, startSubject, type Subject } from "../../lib/server/subject.ts";
import { CannotDo, type Fault, type Seen, type Target } from "./faults.ts";
import { type Figures, judge, MAX_P99_MS } from "./judge.ts";
import type { Asked, Order } from "./normal_clients.ts";

const CLIENTS = 20;
const PER_SECOND = 500;
const WORKERS = 4;
/** A client that stays keeps a worker to itself, so half of the workers are left to others. */
const CLIENTS_OF_WORKERS = WORKERS / 2;
const BEFORE_MS = 700;
const AFTER_MS = 1000;
const STARTED_MS = 10_000;

const nowMs = () => performance.timeOrigin + performance.now();

/** How many normal clients a server has, and how it is started. */
function crowdOf(subject: Subject): { clients: number; args: string[] } {
  if (isCustom(subject)) return { clients: CLIENTS, args: [] };
  if (Object.hasOwn(subject.cannot, "serve-others")) return { clients: 1, args: [] };
  if (!Deno.readTextFileSync(subject.path).includes("[--workers N]")) return { clients: CLIENTS, args: [] };
  return { clients: CLIENTS_OF_WORKERS, args: ["--workers", String(WORKERS)] };
}

/** The normal clients. `end` stops them and returns what they saw. */
async function normalClients(port: number, clients: number) {
  const worker = new Worker(new URL("./normal_clients.ts", import.meta.url), { type: "module" });
  const message = () =>
    new Promise<unknown>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(`The normal clients failed: ${event.message}`));
    });
  const timer = setTimeout(() => worker.terminate(), STARTED_MS);
  await message();
  clearTimeout(timer);
  const send = (order: Order) => worker.postMessage(order);
  send({ port, clients, perSecond: PER_SECOND * clients / CLIENTS });
  return {
    async end(): Promise<Asked[]> {
      const saw = message();
      send("stop");
      return await saw as Asked[];
    },
    [Symbol.dispose]: () => worker.terminate(),
  };
}

/** The 99th percentile of all requests; null where that one had no answer. */
function p99(asked: readonly Asked[]): number | null {
  const took = asked.map(([, ms]) => ms ?? Infinity).sort((a, b) => a - b);
  const ms = took[Math.ceil(took.length * 0.99) - 1] ?? Infinity;
  return ms === Infinity ? null : ms;
}

/** Seconds from the end of a fault until requests are answered in time again, to the last one seen; null: never. */
function recovery(later: readonly Asked[], until: number): number | null {
  const isSlow = ([, ms]: Asked) => ms === null || ms > MAX_P99_MS;
  const first = later[later.findLastIndex(isSlow) + 1];
  return first === undefined ? null : (first[0] - until) / 1000;
}

const more = (after: Sample | null, before: Sample | null, of: (one: Sample) => number | null): number | null => {
  const [now, then] = [after && of(after), before && of(before)];
  return now === null || then === null ? null : now - then;
};

/** Everything that was seen of a cell. */
interface Trial {
  asked: Asked[];
  from: number;
  until: number;
  seen: Seen;
  before: Sample | null;
  after: Sample | null;
  endedEarly: boolean;
}

function figuresOf({ asked, from, until, seen, before, after, endedEarly }: Trial): Figures {
  const during = asked.filter(([due]) => due >= from && due < until);
  const later = asked.filter(([due]) => due >= until).sort(([a], [b]) => a - b);
  const answered = during.filter(([, took]) => took !== null).length;
  return {
    answered_share_during: during.length === 0 ? 1 : answered / during.length,
    p99_ms_before: p99(asked.filter(([due]) => due < from)),
    p99_ms_during: p99(during),
    p99_ms_after: p99(later),
    recovery_s: recovery(later, until),
    descriptors_left: more(after, before, (one) => one.descriptors),
    threads_left: more(after, before, (one) => one.threads),
    memory_left_bytes: more(after, before, (one) => one.pss_anon_bytes),
    owed: seen.owed,
    lost: seen.owed - seen.came,
    ended_early: endedEarly,
    exit_code: seen.exitCode ?? null,
  };
}

const LOCAL = "127.0.0.1";
const EMPTY: Figures = {
  answered_share_during: 0,
  p99_ms_before: null,
  p99_ms_during: null,
  p99_ms_after: null,
  recovery_s: null,
  descriptors_left: null,
  threads_left: null,
  memory_left_bytes: null,
  owed: 0,
  lost: 0,
  ended_early: false,
  exit_code: null,
};

/** Measures one cell. A server that does not start, or a fault that needs what is not there, is skipped with the reason. */
export async function measureCell(
  subject: Subject,
  fault: Fault,
  seed: number,
  signal: AbortSignal,
): Promise<FaultRow> {
  const key = { server: subject.name, fault: fault.id, seed };
  const skipped = (reason: string): FaultRow => ({ ...key, ...EMPTY, verdict: "skipped", reason });
  const { clients, args } = crowdOf(subject);
  try {
    await using server = await startSubject(subject, { args, signal });
    const { pid, port } = server;
    const { host = LOCAL }: Running = server;
    if (host !== LOCAL) return skipped(`it listens on ${host} only, and the clients of a fault connect to ${LOCAL}`);
    if (fault.needsPid && pid === null) return skipped("the process of the server is not known: name it by --pid");
    if (fault.ends && !(server instanceof Server)) return skipped("the server speaks no contract about its end");
    let isOver = false;
    void server.exited.then(() => isOver = true);
    const target: Target = {
      port,
      pid,
      seed,
      terminate: server instanceof Server ? async () => (await server.stop()).code : null,
    };
    using normal = await normalClients(port, clients);
    await delay(BEFORE_MS, { signal });
    const look = () => pid === null || isOver ? null : sample(pid);
    const before = look();
    const from = nowMs();
    const seen = await fault.run(target);
    const until = nowMs();
    if (!fault.ends) await delay(AFTER_MS, { signal });
    const course = { from, until, seen, before, after: look(), endedEarly: isOver && !fault.ends };
    const figures = figuresOf({ ...course, asked: await normal.end() });
    return { ...key, ...figures, ...judge(figures, fault, isCustom(subject) ? {} : subject.cannot) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StartError) return skipped(error.failure.reason);
    if (error instanceof CannotDo) return skipped(error.message);
    throw error;
  }
}
