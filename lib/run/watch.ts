/**
 * A server under a load that can be changed while it runs, looked at once a second: what the live page and the live charts of
 * the notebooks show.
 *
 * @module
 */
import { type Bench, findingsOf, look, openBench, percentiles } from "./bench.ts";
import type { Finding } from "../results/findings.ts";
import { count, counted } from "../text/format.ts";
import { createGuard } from "./guard.ts";
import { type Climb, rise, startClimb } from "./hold.ts";
import { answersPerS, type Window } from "../load/generator.ts";
import { crash, DEATH_MS, endOf } from "./step.ts";
import type { Subject } from "../server/subject.ts";

/** What is wanted of the load now. */
export interface Wanted {
  connections: number;
  /** Requests/s of an open loop; null: as fast as it answers. */
  rate_per_s: number | null;
}

/** What one second showed. Null: not measured, or not available on this system. */
export interface Frame {
  /** Since the first one. */
  elapsed_s: number;
  wanted: Wanted;
  connections: number;
  requests_per_s: number;
  p50_us: number | null;
  p99_us: number | null;
  /** Of one core, by the whole process tree of the server. */
  cpu_percent: number | null;
  cpu_us_per_request: number | null;
  pss_bytes: number | null;
  threads: number | null;
  processes: number | null;
  /** What weakens the figures. */
  findings: Finding[];
  /** Why there are fewer connections than wanted, or fewer answers than asked for; null if there are not. */
  reason: string | null;
}

const CLIMB_MS = 2000; // so long connections are made before there is a frame again, and the wish is asked anew
const STEP_S = 0.5;
const FIRST_STEP = 10; // what is connected at once, by the pace of the step before
const BEHIND = 0.9; // answers in a second by those asked for: beyond what the last answer's own latency explains

/**
 * Runs a server and a load on it, and yields a frame after each second. It ends with `signal`, or where the server does;
 * then nothing is left running.
 *
 * @param wanted Asked before each second: the load follows.
 * @throws {StartError} If the server cannot start.
 * @throws {Error} If it ends by itself: says how, with its last words.
 *
 * @example
 * ```ts
 * for await (const frame of watch(find("epoll"), () => ({ connections: 100, rate_per_s: null }), signal)) {
 *   console.log(frame.requests_per_s);
 * }
 * ```
 */
export async function* watch(
  subject: Subject,
  wanted: () => Wanted,
  signal: AbortSignal,
  seconds = 1,
): AsyncGenerator<Frame> {
  await using opened = await openBench(subject, { signal });
  const { server, generator } = opened;
  const stop = () => void generator.stop(); // what it does fails then, and the loop ends
  signal.addEventListener("abort", stop, { once: true });
  const start = performance.now();
  let load = newLoad(subject.name, { ...opened, signal }, 0);
  try {
    while (!signal.aborted) {
      const wish = wanted();
      if (wish.connections < load.climb.held) {
        await generator.drop();
        load = newLoad(subject.name, load.bench, wish.connections);
      }
      load.bench.parameters.connections = wish.connections;
      if (load.climb.held < wish.connections) load.short = await riseAWhile(load, wish.connections);
      if (load.climb.held === 0) throw new Error(`${subject.name}: ${load.short ?? "no connection is held"}`);
      const window = wish.rate_per_s === null
        ? await generator.closed({ seconds, warmupSeconds: 0 })
        : await generator.open({ rate: wish.rate_per_s, seconds, warmupSeconds: 0 });
      const over = await endOf(server, window.stopped_early === null ? 0 : DEATH_MS);
      if (over !== null) throw new Error(`${subject.name}: ${crash(over, server)}`);
      load.climb.held -= window.lost + window.dropped;
      yield frameOf(load, wish, window, (performance.now() - start) / 1000);
    }
  } catch (error) {
    if (signal.aborted) return;
    const over = await endOf(server, DEATH_MS);
    throw over === null ? error : new Error(`${subject.name}: ${crash(over, server)}`, { cause: error });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** What is held. */
interface Load {
  /** The name of the server. */
  name: string;
  bench: Bench;
  climb: Climb;
  /** What was wrong when it was connected: who got no answer then waits still. Null: nothing. */
  short: string | null;
}

/** Connections from none on. */
function newLoad(name: string, of: Omit<Bench, "parameters" | "guard">, connections: number): Load {
  const parameters = { connections, seconds: 1, warmup_seconds: 0 };
  const bench: Bench = { ...of, parameters, guard: createGuard() };
  return { name, bench, climb: startClimb(bench), short: null };
}

/** Connects until all are held, or for a while. Returns why there are fewer; null if there are not. */
async function riseAWhile({ bench, climb }: Load, wanted: number): Promise<string | null> {
  const end = performance.now() + CLIMB_MS;
  while (climb.held < wanted && performance.now() < end) {
    const step = Math.max(FIRST_STEP, Math.floor((climb.pacePerS ?? 0) * STEP_S));
    const short = await rise(bench, climb, Math.min(wanted, climb.held + step), true);
    if (short !== null) return short;
  }
  return climb.held < wanted ? `${count(climb.held)} of ${count(wanted)} are connected, more follow` : null;
}

/** Why fewer requests were answered in a second than were due; null if it is not so, or not the server's fault. */
export function behind(
  { rate_per_s: wanted }: Pick<Wanted, "rate_per_s">,
  requestsPerS: number,
  findings: readonly Finding[],
): string | null {
  if (wanted === null || requestsPerS >= BEHIND * wanted) return null;
  if (findings.some(({ id }) => id === "client_bound" || id === "both_bound" || id === "late_sends")) return null;
  const answered = `${count(requestsPerS)} were answered: it falls behind, and what is due waits`;
  return `${count(wanted)} requests/s were due and ${answered}`;
}

function frameOf({ name, bench, short }: Load, wanted: Wanted, window: Window, elapsed_s: number): Frame {
  const now = look(bench.server);
  const { requests, drained, seconds, server_cpu_us, connections, lost, unanswered } = window;
  const metrics = { connections, requests_per_s: seconds > 0 ? answersPerS(window) : 0 };
  const { p50_us = null, p99_us = null } = percentiles(window.histogram, window.censored);
  const loop = {
    closedLoop: wanted.rate_per_s === null,
    askedPerS: null,
    otherListener: bench.server.otherListener ?? null,
  }; // `reason` says that it falls behind
  const measured = { window, lost, errors: window.errors, throttled: null };
  const findings = findingsOf(name, { ...measured, metrics: { ...metrics, p99_us, answered: requests } }, loop)
    .filter(({ id }) => id !== "short_run");
  return {
    elapsed_s,
    wanted,
    ...metrics,
    p50_us,
    p99_us,
    cpu_percent: server_cpu_us === null || seconds === 0 ? null : server_cpu_us / seconds / 1e4,
    cpu_us_per_request: server_cpu_us === null || requests === drained ? null : server_cpu_us / (requests - drained),
    pss_bytes: now?.pss_bytes ?? null,
    threads: now?.threads ?? null,
    processes: now?.processes ?? null,
    findings,
    reason: short ?? window.stopped_early ??
      (unanswered > 0 ? `${counted(unanswered, "request")} got no answer` : null) ??
      behind(wanted, metrics.requests_per_s, findings),
  };
}
