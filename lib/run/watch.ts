/**
 * A server under a load that can be changed while it runs, looked at once a second: what the live page and the live charts of
 * the notebooks show.
 *
 * @module
 */
import { type Bench, findingsOf, look, type OpenBench, openBench, percentiles } from "./bench.ts";
import type { Finding } from "../results/findings.ts";
import { count, counted } from "../text/format.ts";
import { percentileOf } from "../timing/censored.ts";
import { Histogram } from "../timing/histogram.ts";
import { StartError } from "../server/server.ts";
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

/** A step of a distribution: one in so many requests was slower than `us`. */
export interface LatencyStep {
  one_in: number;
  us: number;
  /** It is a lower bound, since requests without an answer may have waited longer. */
  at_least: boolean;
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
  /** Connections that the server itself counts, asked every five seconds; null where it does not tell. */
  open: number | null;
  /** How latency is distributed, in the last seconds under this load. */
  latencies: LatencyStep[];
  /** What weakens the figures. */
  findings: Finding[];
  /** Why there are fewer connections than wanted, or fewer answers than asked for; null if there are not. */
  reason: string | null;
}

const CLIMB_MS = 2000; // so long connections are made before there is a frame again, and the wish is read again
const STEP_S = 0.5;
const FIRST_STEP = 10; // what is connected at once, by the pace of the step before
const STATS_EVERY_MS = 5000;
const RECENT_WINDOWS = 10; // whose latencies are shown together
const ONE_IN = [2, 4, 10, 20, 100, 200, 1000, 2000, 10_000]; // the percentiles 50, 75, 90, 95, 99, …
const SLOWER = 10; // requests that a percentile has above it; with fewer it is chance
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
  for await (const frames of watchTogether([subject], wanted, signal, seconds)) yield frames[0]!;
}

/**
 * The same of several servers under the same load, a frame of each after each round. Each has a load generator of its own, and
 * they take turns: while one is loaded, the others hold their connections and are not asked. So each has its core to itself in
 * its turn. Every other round goes in the opposite order, so that none of them always comes first.
 *
 * @param seconds How long a round lasts; each server gets an equal part of it.
 * @throws {StartError} If one of them cannot start.
 * @throws {Error} If one ends by itself, whether or not it is its turn.
 */
export async function* watchTogether(
  subjects: readonly Subject[],
  wanted: () => Wanted,
  signal: AbortSignal,
  seconds = 1,
): AsyncGenerator<Frame[]> {
  await using stack = new AsyncDisposableStack();
  const all: Watched[] = [];
  const stop = () => all.forEach((watched) => watched.stop()); // what they do fails then, and the loop ends
  signal.addEventListener("abort", stop, { once: true });
  try {
    for (const subject of subjects) all.push(stack.use(await Watched.start(subject, signal, subjects.length > 1)));
    const start = performance.now();
    let askedAt = -Infinity;
    for (let round = 0; !signal.aborted; round++) {
      const wish = wanted();
      const asks = performance.now() - askedAt >= STATS_EVERY_MS;
      if (asks) askedAt = performance.now();
      const seen = new Map<Watched, Seen>();
      for (const watched of round % 2 === 0 ? all : all.toReversed()) {
        seen.set(watched, await watched.look(wish, seconds / all.length, asks));
      }
      for (const watched of all) await watched.seeAlive();
      const elapsed_s = (performance.now() - start) / 1000;
      yield all.map((watched) => ({ elapsed_s, ...seen.get(watched)! }));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** A frame before it is known when all of its round have been seen. */
type Seen = Omit<Frame, "elapsed_s">;

/** A server with its load. */
class Watched implements AsyncDisposable {
  readonly #opened: OpenBench;
  #load: Load;
  #recent: Recent = { of: "", windows: [] };
  #open: number | null = null;
  #wanted = 0;

  private constructor(readonly name: string, opened: OpenBench, signal: AbortSignal) {
    this.#opened = opened;
    this.#load = newLoad(name, { ...opened, signal }, 0);
  }

  /** @param isOneOfSeveral Then a failure to start names the server, too. */
  static async start(subject: Subject, signal: AbortSignal, isOneOfSeveral: boolean): Promise<Watched> {
    try {
      return new Watched(subject.name, await openBench(subject, { signal }), signal);
    } catch (error) {
      if (!(error instanceof StartError) || !isOneOfSeveral) throw error;
      const { ended, reason } = error.failure;
      const named = reason.startsWith(subject.name) ? reason : `${subject.name}: ${reason}`;
      throw new StartError({ ended, reason: named });
    }
  }

  /** Loads it for a while, and says what was seen. */
  async look(wish: Wanted, seconds: number, asksForStats: boolean): Promise<Seen> {
    try {
      return await this.#look(wish, seconds, asksForStats);
    } catch (error) {
      const over = await endOf(this.#opened.server, DEATH_MS);
      throw over === null ? error : new Error(this.#ended(over), { cause: error });
    }
  }

  async #look(wish: Wanted, seconds: number, asksForStats: boolean): Promise<Seen> {
    const { generator } = this.#opened;
    await this.#hold(wish);
    const load = this.#load;
    if (asksForStats || wish.connections !== this.#wanted) await this.#countOpen();
    this.#wanted = wish.connections;
    const window = wish.rate_per_s === null
      ? await generator.closed({ seconds, warmupSeconds: 0 })
      : await generator.open({ rate: wish.rate_per_s, seconds, warmupSeconds: 0 });
    await this.seeAlive(window.stopped_early === null ? 0 : DEATH_MS);
    load.climb.held -= window.lost + window.dropped;
    this.#recent = keepRecent(this.#recent, wish, window);
    return { ...frameOf(load, wish, window), open: this.#open, latencies: latenciesOf(this.#recent.windows) };
  }

  /** Before a window, since a line of counts takes CPU time; and not in a network of its own, where it opens a debugger. */
  async #countOpen(): Promise<void> {
    const { server, isWired } = this.#opened;
    this.#open = isWired ? null : (await server.stats?.())?.open ?? null;
  }

  /** Makes or drops connections until there are as many as wanted, or a while is over. */
  async #hold(wish: Wanted): Promise<void> {
    if (wish.connections < this.#load.climb.held) {
      await this.#opened.generator.drop();
      this.#load = newLoad(this.name, this.#load.bench, wish.connections);
    }
    const load = this.#load;
    load.bench.parameters.connections = wish.connections;
    if (load.climb.held < wish.connections) load.short = await riseAWhile(load, wish.connections);
    if (load.climb.held === 0) throw new Error(`${this.name}: ${load.short ?? "no connection is held"}`);
  }

  /** @throws {Error} If it has ended, or does so within `ms`. */
  async seeAlive(ms = 0): Promise<void> {
    const over = await endOf(this.#opened.server, ms);
    if (over !== null) throw new Error(this.#ended(over));
  }

  #ended(over: Deno.CommandStatus): string {
    return `${this.name}: ${crash(over, this.#opened.server)}`;
  }

  stop(): void {
    void this.#opened.generator.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened[Symbol.asyncDispose]();
  }
}

/** The last windows under one load: those under another would tell of that one. */
interface Recent {
  of: string;
  windows: readonly Latencies[];
}

type Latencies = Pick<Window, "histogram" | "censored">;

function keepRecent({ of, windows }: Recent, wish: Wanted, { histogram, censored }: Window): Recent {
  const now = JSON.stringify(wish);
  return { of: now, windows: [...now === of ? windows : [], { histogram, censored }].slice(-RECENT_WINDOWS) };
}

/** The latency that all but one in so many requests did not exceed, at steps at which ten requests at least are slower. */
export function latenciesOf(windows: readonly Latencies[]): LatencyStep[] {
  const histogram = new Histogram();
  const censored = new Histogram();
  for (const window of windows) {
    histogram.merge(window.histogram);
    censored.merge(window.censored);
  }
  const count = histogram.count + censored.count;
  return ONE_IN.filter((oneIn) => count / oneIn >= SLOWER).map((one_in) => {
    const { us, atLeast } = percentileOf(histogram, censored, 100 * (1 - 1 / one_in));
    return { one_in, us, at_least: atLeast };
  });
}

/** What is held. */
interface Load {
  /** The name of the server. */
  name: string;
  bench: Bench;
  climb: Climb;
  /** What was wrong when it was connected: a client without an answer then is still waiting. Null: nothing. */
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

function frameOf(
  { name, bench, short }: Load,
  wanted: Wanted,
  window: Window,
): Omit<Seen, "open" | "latencies"> {
  const now = look(bench.server);
  const { requests, drained, seconds, server_cpu_us, connections, lost, unanswered } = window;
  const metrics = { connections, requests_per_s: seconds > 0 ? answersPerS(window) : 0 };
  const { p50_us = null, p99_us = null } = percentiles(window.histogram, window.censored);
  const loop = {
    closedLoop: wanted.rate_per_s === null,
    unit: "request" as const,
    askedPerS: null,
    otherListener: bench.server.otherListener ?? null,
  }; // `reason` says that it falls behind
  const measured = { window, lost, errors: window.errors, throttled: null };
  const findings = findingsOf(name, { ...measured, metrics: { ...metrics, p99_us, answered: requests } }, loop)
    .filter(({ id }) => id !== "short_run");
  return {
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
