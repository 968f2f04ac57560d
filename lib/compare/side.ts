/**
 * One side of a paired measurement: a server with its connections and the load generator that drives it in slices.
 *
 * @module
 */
import { type Bench, openBench } from "../run/bench.ts";
import { Histogram } from "../timing/histogram.ts";
import { evidenceOf, throttleMeter } from "../run/evidence.ts";
import { type Found, judge } from "../results/findings.ts";
import { createGuard } from "../run/guard.ts";
import { gather } from "../run/broadcast.ts";
import { climbAll, spent } from "../run/hold.ts";
import { crash, DEATH_MS, endOf } from "../run/step.ts";
import { count, counted } from "../text/format.ts";
import type { LoadGenerator, Window } from "../load/generator.ts";
import { cpuReading } from "../sampling/process.ts";
import { manifestOf } from "../server/manifest.ts";
import type { Ended, Metrics, Parameters } from "../results/results.ts";
import { StartError } from "../server/server.ts";
import { hasWork, type Running, type Subject } from "../server/subject.ts";
import { heavyPath, MESSAGE_BYTES } from "../results/conventions.ts";
import type { Manifest, Setup } from "../results/schema.ts";

/** What the two of a pair have in common. */
export interface Load {
  connections: number;
  /** Length of one slice, in seconds. */
  seconds: number;
  /** Of an open loop, requests/s; null: closed loop, as fast as they answer. */
  ratePerS: number | null;
  /** Of a closed loop: the path of its requests; default: that of the subject. */
  path?: string;
  /** Of an open loop: the share of heavy requests, 0 to 1, and the CPU-µs that each burns. */
  heavy: { share: number; us: number } | null;
  /** After so many seconds of warm-up the measuring begins, settled or not. */
  settleSeconds: number;
  /** No connection is held: each request has its own, so many at a time. */
  isChurn?: boolean;
  /** Connections are listeners, and the rate is that of messages to all of them. */
  isBroadcast?: boolean;
  /** Of a broadcast: so many listeners more, which do not read. */
  slow?: number;
  /** Of a broadcast: bytes of a message. */
  bytes?: number;
  /** Over a veth pair, as a server around the kernel needs it. */
  isWired?: boolean;
  /** Cores and head, where the user named some. */
  setup?: Setup;
  signal: AbortSignal;
}

/** Why a server cannot take part: it does not start, does not hold the connections, or does not answer on all of them. */
export class CannotCompare extends Error {
  override readonly name = "CannotCompare";
  constructor(readonly subject: Subject, message: string, readonly ended: Exclude<Ended, "ok">) {
    super(message);
  }
}

/**
 * The load before the first slice: code is compiled, heap and buffers get their size. It ends where so many stretches in a
 * row cost the same within so much; a JVM takes seconds to get there, most others two.
 */
const WARMUP = { seconds: 0.5, inARow: 3, alike: 0.1 };

/** Errors of connecting that are no fault of a server: no port, descriptor or memory is left at this end. */
const OF_THIS_END = ["EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"];

/** Holds all connections, and tells what they take; or why not, and whether the server itself has failed. */
async function holdAll(bench: Bench) {
  const { climb, low, reason } = await climbAll(bench);
  const isServers = climb.failed > 0 && !Object.keys(climb.errors).some((kind) => OF_THIS_END.includes(kind));
  const ended = isServers ? "crashed" as const : "limited" as const;
  return { memory: reason === null ? spent(bench, climb, low) : {}, reason, ended };
}

/**
 * Whether a warm-up is over.
 *
 * @param costs What a request cost in each stretch so far, in any one unit.
 * @param settleSeconds After so many seconds it is over, settled or not.
 */
export function isWarm(costs: readonly number[], settleSeconds: number): boolean {
  const last = costs.slice(-WARMUP.inARow);
  const hasSettled = last.length === WARMUP.inARow && Math.max(...last) <= Math.min(...last) * (1 + WARMUP.alike);
  return hasSettled || costs.length * WARMUP.seconds >= settleSeconds;
}

/** What of a window tells that it went wrong. */
type Wrong = Pick<
  Window,
  "seconds" | "requests" | "lost" | "dropped" | "unanswered" | "errors" | "scheduled" | "stopped_early"
>;

/**
 * What went wrong in a window; null: nothing. Where nothing was lost either, answers came after the end of the window, or
 * nothing was due in it: then it is not known to be the server's fault, because others may have had its core.
 */
export function wrongIn(window: Wrong): { what: string; ended: "crashed" | "limited" } | null {
  const { seconds, requests, lost, dropped, unanswered, stopped_early } = window;
  const counts = [
    ...(requests > 0 ? [counted(requests, "answer")] : []),
    ...(lost > 0 ? [`${counted(lost, "connection")} lost`] : []),
    ...(dropped > 0 ? [`${counted(dropped, "connection")} with an answer that cannot be followed`] : []),
    ...(unanswered > 0 ? [`${counted(unanswered, "request")} unanswered`] : []),
    ...Object.entries(window.errors).map(([key, times]) => `${count(times)} ${key}`),
    ...(stopped_early === null ? [] : [stopped_early]),
  ];
  if (requests > 0 && counts.length === (stopped_early === null ? 1 : 2)) return null;
  const stretch = `in a slice of ${Number(seconds.toPrecision(3))} s`;
  if (requests > 0) return { what: `${stretch} ${counts.join(", ")}`, ended: "crashed" };
  if (counts.length > 0) return { what: `no request was answered ${stretch}: ${counts.join(", ")}`, ended: "crashed" };
  if (window.scheduled === 0) return { what: `no request was due ${stretch}: the rate is too low`, ended: "limited" };
  const why = "no connection was lost: an answer takes longer, or others use the cores";
  return { what: `no request was answered ${stretch}, and ${why}`, ended: "limited" };
}

/** Stop it, or bind it with `await using`. */
export class Side implements AsyncDisposable {
  readonly #windows: Window[] = [];
  readonly #throttled = throttleMeter();

  private constructor(
    readonly experiment: Subject,
    readonly memory: Partial<Metrics>,
    readonly manifest: Manifest,
    readonly server: Running,
    readonly generator: LoadGenerator,
    readonly load: Load,
    readonly owned: AsyncDisposableStack,
  ) {}

  /**
   * Starts server and generator, each on cores of its own, which the other contender shares; and makes the connections.
   *
   * @throws {CannotCompare} If it cannot start, or does not hold all connections.
   */
  static async start(experiment: Subject, load: Load): Promise<Side> {
    await using stack = new AsyncDisposableStack();
    if (load.heavy !== null && !hasWork(experiment)) {
      throw new CannotCompare(
        experiment,
        `${experiment.name} does not support requests that burn CPU (/work)`,
        "skipped",
      );
    }
    const options = { signal: load.signal, isWired: load.isWired === true, setup: load.setup ?? {} };
    const opening = openBench(experiment, options).catch((error) => {
      if (!(error instanceof StartError)) throw error;
      const { name } = experiment;
      const { ended, reason } = error.failure;
      throw new CannotCompare(experiment, reason.startsWith(name) ? reason : `${name}: ${reason}`, ended);
    });
    const opened = stack.use(await opening);
    const { server, generator } = opened;
    const { connections, seconds, slow = 0 } = load;
    const parameters: Parameters = { connections, seconds, warmup_seconds: 0, slow };
    const bench: Bench = { ...opened, parameters, guard: createGuard(), signal: load.signal };
    const { memory, reason, ended } = load.isChurn === true
      ? { memory: {}, reason: null, ended: "limited" as const }
      : load.isBroadcast === true
      ? { ...await gather(bench), ended: "limited" as const }
      : await holdAll(bench);
    if (reason !== null) throw new CannotCompare(experiment, `${experiment.name}: ${reason}`, ended);
    const manifest = await manifestOf(experiment, server);
    return new Side(experiment, memory, manifest, server, generator, load, stack.move());
  }

  /** As fast as it answers, until what an answer costs has settled. Returns how many requests/s that are. */
  async warmUp(): Promise<number> {
    const costs: number[] = [];
    for (;;) {
      const { requests, seconds, server_cpu_us } = await this.#run(() =>
        this.load.isBroadcast === true ? this.#broadcast(WARMUP.seconds) : this.#closed(WARMUP.seconds)
      );
      costs.push((server_cpu_us ?? seconds) / requests); // of a server whose process is not known the time must do
      if (isWarm(costs, this.load.settleSeconds)) return requests / seconds;
      this.load.signal.throwIfAborted();
    }
  }

  /**
   * One slice of the load.
   *
   * @param beside The other one of the pair, which waits: what it uses meanwhile is no load of strangers.
   * @throws {CannotCompare} If a connection got no answer: a ratio would compare unlike things.
   */
  async slice(ratePerS: number | null, beside: Side): Promise<Window> {
    this.load.signal.throwIfAborted();
    const before = beside.#cpuUs();
    const { seconds, heavy } = this.load;
    const share = heavy === null ? {} : { heavyShare: heavy.share, heavyPath: heavyPath(heavy.us) };
    const window = await this.#run(() =>
      this.load.isBroadcast === true
        ? this.#broadcast(seconds)
        : ratePerS === null
        ? this.#closed(seconds)
        : this.generator.open({ rate: ratePerS, seconds, warmupSeconds: 0, ...share })
    );
    const after = beside.#cpuUs();
    const idleUs = before === null || after === null ? 0 : after - before;
    const { beside_us: kernelUs = 0 } = window.own_cpu;
    // Of a part of the window it is not known what the other server used meanwhile.
    this.#windows.push({ ...window, slices: [], own_cpu: { ...window.own_cpu, beside_us: kernelUs + idleUs } });
    return window;
  }

  /** CPU time of the server so far, in µs; null where its process is not known. */
  #cpuUs(): number | null {
    const { pid } = this.server;
    return pid === null ? null : cpuReading(pid)?.us ?? null;
  }

  #broadcast(seconds: number): Promise<Window> {
    const { ratePerS, bytes = MESSAGE_BYTES } = this.load;
    return this.generator.broadcast({ rate: ratePerS!, seconds, warmupSeconds: 0, bytes });
  }

  #closed(seconds: number): Promise<Window> {
    const { isChurn, connections: concurrency, path } = this.load;
    return isChurn === true
      ? this.generator.churn({ concurrency, seconds, warmupSeconds: 0 })
      : this.generator.closed({ seconds, warmupSeconds: 0, ...(path !== undefined && { path }) });
  }

  /** Runs a load in which nothing may go wrong. */
  async #run(load: () => Promise<Window>): Promise<Window> {
    const broken = (what: string, ended: "crashed" | "limited" = "crashed") =>
      new CannotCompare(this.experiment, `${this.experiment.name}: ${what}`, ended);
    const window = await load().catch(async (error) => {
      if (this.load.signal.aborted) throw error;
      const over = await endOf(this.server, DEATH_MS);
      throw over === null ? error : broken(crash(over, this.server));
    });
    const wrong = wrongIn(window);
    if (wrong === null) return window;
    const over = window.lost > 0 || window.stopped_early !== null ? await endOf(this.server, DEATH_MS) : null;
    throw over === null ? broken(wrong.what, wrong.ended) : broken(crash(over, this.server));
  }

  /** The findings of all slices together. */
  findings(): Found[] {
    const sum = (of: (window: Window) => number) => this.#windows.reduce((total, window) => total + of(window), 0);
    const seconds = sum((window) => window.seconds);
    const latencies = this.#windows.reduce((all, { histogram }) => all.merge(histogram), new Histogram());
    // Of a broadcast the rate is that of messages, and not of what windows count.
    const scheduled = this.load.isBroadcast === true ? 0 : sum((window) => window.scheduled ?? 0);
    return judge(this.experiment.name, {
      ...evidenceOf(this.#windows),
      trials: [],
      p99Us: latencies.count > 0 ? latencies.percentile(99) : null,
      connections: this.load.connections,
      ratePerS: seconds > 0 ? sum((window) => window.requests - window.drained) / seconds : null,
      askedPerS: scheduled > 0 ? scheduled / seconds : null,
      meanLatencyUs: null,
      answered: sum((window) => window.requests),
      errors: {},
      unanswered: 0,
      lost: 0,
      redials: sum(({ redials }) => redials),
      throttledShare: this.#throttled(),
      seconds,
      closedLoop: false,
      unit: this.load.isBroadcast === true ? "delivery" : "request",
      otherListener: this.server.otherListener ?? null,
    }).map(({ server, id }) => ({ server, id }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.owned.disposeAsync();
  }
}
