/**
 * A server under a load that can be changed while it runs, looked at once a second: what the live page and the live charts of
 * the notebooks show.
 *
 * @module
 */
import { type Bench, findingsOf, look, percentiles } from "./bench.ts";
import type { Finding } from "./findings.ts";
import { createGuard } from "./guard.ts";
import { rise, startClimb } from "./hold.ts";
import { LoadGenerator, type Window } from "./load.ts";
import { startSubject, type Subject } from "./subject.ts";

/** What is wanted of the load now. */
export interface Wanted {
  connections: number;
  /** Requests/s of an open loop; null: as fast as it answers. */
  ratePerS: number | null;
}

/** What one second showed. Null: not measured, or not told by this system. */
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

const SERVER_CPU = 0, CLIENT_CPU = 1; // a core each, where there are two

/**
 * Runs a server and a load on it, and yields a frame after each second. It ends with `signal`, or where the server does;
 * then nothing is left running.
 *
 * @param wanted Asked before each second: the load follows.
 * @throws {StartError} If the server cannot start.
 * @throws {Error} If it ends by itself.
 *
 * @example
 * ```ts
 * for await (const frame of watch(find("epoll"), () => ({ connections: 100, ratePerS: null }), signal)) {
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
  const pin = (cpu: number) => navigator.hardwareConcurrency > 1 ? { cpu } : {};
  await using server = await startSubject(subject, { ...pin(SERVER_CPU), signal });
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: server.port }, {
    ...pin(CLIENT_CPU),
    ...(server.pid !== null && { serverPid: server.pid }),
  });
  const stop = () => void generator.stop(); // what it does fails then, and the loop ends
  signal.addEventListener("abort", stop, { once: true });
  const start = performance.now();
  let load = newLoad({ server, generator, signal }, 0);
  try {
    while (!signal.aborted) {
      const wish = wanted();
      if (wish.connections < load.climb.held) {
        await generator.drop();
        load = newLoad(load.bench, wish.connections);
      }
      load.bench.parameters.connections = wish.connections;
      const short = await rise(load.bench, load.climb, wish.connections);
      if (load.climb.held === 0) throw new Error(`${subject.name}: ${short ?? "no connection is held"}`);
      const [window] = wish.ratePerS === null
        ? await generator.closed({ seconds, warmupSeconds: 0 })
        : [await generator.open({ rate: wish.ratePerS, seconds, warmupSeconds: 0 })];
      if (window === undefined) throw new Error(`${subject.name}: no connection was left`);
      load.climb.held -= window.lost;
      yield frameOf(load.bench, wish, window, short, (performance.now() - start) / 1000);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Connections from none on. */
function newLoad(of: Pick<Bench, "server" | "generator" | "signal">, connections: number) {
  const parameters = { connections, seconds: 1, warmup_seconds: 0 };
  const bench: Bench = { ...of, parameters, guard: createGuard() };
  return { bench, climb: startClimb(bench) };
}

function frameOf(bench: Bench, wanted: Wanted, window: Window, short: string | null, elapsed_s: number): Frame {
  const now = look(bench.server), { requests, seconds, server_cpu_us, connections, lost, unanswered } = window;
  const metrics = { connections, requests_per_s: requests / seconds };
  const { p50_us = null, p99_us = null } = percentiles(window.histogram);
  const scenario = wanted.ratePerS === null ? "throughput" : "rate";
  return {
    ...{ elapsed_s, wanted, ...metrics },
    ...{ p50_us, p99_us },
    cpu_percent: server_cpu_us === null ? null : server_cpu_us / seconds / 1e4,
    cpu_us_per_request: server_cpu_us === null || requests === 0 ? null : server_cpu_us / requests,
    pss_bytes: now?.pss_bytes ?? null,
    threads: now?.threads ?? null,
    processes: now?.processes ?? null,
    findings: findingsOf(scenario, { window, lost, metrics }).filter(({ id }) => id !== "short_run"),
    reason: short ?? window.stopped_early ?? (unanswered > 0 ? `${unanswered} requests got no answer` : null),
  };
}
