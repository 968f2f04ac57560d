/**
 * The load generator, the instrument of this lab: clients in a process of their own, pinned to a core of their own, so that
 * they and the server do not disturb each other more than two machines would.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { UsageError } from "../cli/errors.ts";
import { Histogram } from "../timing/histogram.ts";
import { LoadChild } from "./child.ts";
import type * as Types from "./types.ts";
import type { AskOutcome, ConnectOutcome, EngineConfig, LoadOptions, Target, Totals, Window } from "./types.ts";

export type { AskOutcome, ConnectOutcome, LoadOptions, Target, Totals, Window };
export type { EngineName, ErrorCounts, Progress, StressOptions, StressOutcome } from "./types.ts";

const QUIET_MS = 5000; // so long, without any progress, connections and answers are waited for unless the caller says
const ASK_WINDOW = 100;
const WARMUP_S = 1;
const MAX_SECONDS = 1800; // of one window, so that no latency is too long for the histogram
const MAX_COUNT = 2_000_000; // connections, requests a second: beyond what one thread can do
const MAX_PATH = 4096;

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

/** The name of each option and what it may be. */
const RANGES = {
  port: [1, 65535, "integer"],
  cpu: [0, 1023, "integer"],
  serverPid: [1, 2 ** 22, "integer"],
  count: [1, MAX_COUNT, "integer"],
  window: [1, MAX_COUNT, "integer"],
  concurrency: [1, MAX_COUNT, "integer"],
  slow: [0, MAX_COUNT, "integer"],
  churning: [0, MAX_COUNT, "integer"],
  staying: [0, MAX_COUNT, "integer"],
  timeoutMs: [1, MAX_SECONDS * 1000, "number"],
  rate: [0.01, MAX_COUNT, "number"],
  seconds: [0.01, MAX_SECONDS, "number"],
  warmupSeconds: [0, MAX_SECONDS, "number"],
  heavyShare: [0, 1, "number"],
  resetShare: [0, 1, "number"],
  halfCloseShare: [0, 1, "number"],
} as const;

/** @throws {UsageError} If a number is out of its range. */
function inRange<T extends object>(options: T): T {
  for (const [name, value] of Object.entries(options)) {
    if (typeof value !== "number") continue;
    const [low, high, kind] = RANGES[name as keyof typeof RANGES];
    const fits = value >= low && value <= high && (kind === "number" || Number.isInteger(value));
    if (!fits) throw new UsageError(`${name} ${value} is out of range: choose a ${kind} from ${low} to ${high}.`);
  }
  return options;
}

/** Resolves a target, and refuses it if it is neither this machine nor allowed by name. */
async function addressOf({ host, allow }: Target): Promise<{ address: string; loopback: boolean }> {
  let address = host === "localhost" ? "127.0.0.1" : host; // nobody is to be asked for this name (RFC 6761, section 6.3)
  if (!IPV4.test(address)) {
    try {
      address = (await lookup(host, { family: 4 })).address;
    } catch (error) {
      const { message } = error as Error;
      throw new UsageError(`Cannot resolve ${host} (${message}): give its IPv4 address.`, { cause: error });
    }
  }
  const loopback = address.startsWith("127.");
  if (loopback || allow === host) return { address, loopback };
  const which = address === host ? host : `${host} (${address})`;
  throw new UsageError(`${which} is not this machine. Load only what is yours, and name it as allowed: "${host}".`);
}

type Serialised = { histogram: string; raw?: string | null };

/** Turns the histograms of an outcome, which came as text, into histograms again. */
function revive<T>(outcome: unknown): T {
  const { histogram, raw } = outcome as Serialised;
  const parse = (text: string | null) => text === null ? null : Histogram.parse(text);
  return {
    ...(outcome as object),
    histogram: Histogram.parse(histogram),
    ...(raw !== undefined && { raw: parse(raw) }),
  } as T;
}

/**
 * Clients of one HTTP/1.1 server. Each connection has one request under way at the most, `GET /`. Commands run one after the
 * other, in the order in which they were given. All of them throw an Error if the generator's process ends.
 *
 * A connection is lost when the server closes or resets it, or when what comes on it cannot be followed: it is not held any
 * longer, and loops go on with the rest. Only answers with status 200 count as answered.
 *
 * @example
 * ```ts
 * await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: 8080 }, { cpu: 1 });
 * await generator.connect(100);
 * const { requests, seconds, histogram } = await generator.closed({ seconds: 5 });
 * console.log(requests / seconds, histogram.percentile(99));
 * ```
 */
export class LoadGenerator implements AsyncDisposable {
  readonly #child: LoadChild;

  private constructor(child: LoadChild) {
    this.#child = child;
  }

  /**
   * Starts the process of the generator. It ends with this one, however that ends.
   *
   * @throws {UsageError} If the target is not on loopback and not allowed, cannot be resolved, or a number is out of range.
   * @throws {Error} If the process cannot run, for instance because there is no such core.
   */
  static async start(target: Target, options: LoadOptions = {}): Promise<LoadGenerator> {
    const { host, port } = inRange(target);
    const { cpu, serverPid, onProgress } = inRange(options);
    const engine = options.engine ?? (Deno.build.os === "linux" ? "epoll" : "portable");
    const config: EngineConfig = {
      ...await addressOf(target),
      host,
      port,
      engine,
      cpu: cpu ?? null,
      serverPid: serverPid ?? null,
    };
    return new LoadGenerator(await LoadChild.start(config, onProgress ?? (() => {})));
  }

  /** The process of the generator. */
  get pid(): number {
    return this.#child.pid;
  }

  /**
   * Adds `count` connections to those held. It is over when all are made or have failed, or when none was made for
   * `timeoutMs` (5 000).
   *
   * @throws {UsageError} If a number is out of range.
   */
  async connect(count: number, options: { timeoutMs?: number } = {}): Promise<ConnectOutcome> {
    const whole: Types.ConnectOptions = inRange({ timeoutMs: QUIET_MS, ...options, count });
    return await this.#child.run({ name: "connect", options: whole }) as ConnectOutcome;
  }

  /**
   * Sends one request on each held connection, or with `onlyNew` on those not asked before, `window` (100) at a time. It
   * is over when all have answered, or when there was no progress for `timeoutMs` (5 000). Connections without an
   * answer stay held; they are asked again once their answer has come.
   *
   * @throws {UsageError} If a number is out of range.
   */
  async ask(options: { onlyNew?: boolean; window?: number; timeoutMs?: number } = {}): Promise<AskOutcome> {
    const whole: Types.AskOptions = inRange({ onlyNew: false, window: ASK_WINDOW, timeoutMs: QUIET_MS, ...options });
    return revive<AskOutcome>(await this.#child.run({ name: "ask", options: whole }));
  }

  /**
   * Closed loop: each held connection is asked again as soon as it has answered, for `seconds` after `warmupSeconds` (1), or
   * until no connection is left. What is under way at the end is awaited, for 60 s at the most and 5 s without progress: it
   * counts in the totals, and not in the window.
   *
   * @throws {UsageError} If no connection is held, or a number is out of range.
   */
  async closed(options: { seconds: number; warmupSeconds?: number }): Promise<Window> {
    const whole: Types.ClosedOptions = inRange({ warmupSeconds: WARMUP_S, ...options });
    return revive<Window>(await this.#child.run({ name: "closed", options: whole }));
  }

  /**
   * Open loop: `rate` requests a second are due at equal distances, whatever the answers do. Each goes to the connection
   * that has been idle longest, or waits for one; its latency counts from the time at which it was due. `heavyShare` of the
   * requests (0) ask `heavyPath` instead of `/`. The warm-up of `warmupSeconds` (1) is a run of its own. At the end all that was due is
   * sent and awaited, for 60 s at the most and 5 s without progress.
   *
   * @throws {UsageError} If no connection is held, a number is out of range, or the heavy path is missing or none.
   */
  async open(
    options: { rate: number; seconds: number; warmupSeconds?: number; heavyShare?: number; heavyPath?: string },
  ): Promise<Window> {
    const whole: Types.OpenOptions = inRange({ warmupSeconds: WARMUP_S, heavyShare: 0, heavyPath: "/", ...options });
    if (whole.heavyShare > 0 && options.heavyPath === undefined) throw new UsageError("heavyShare needs a heavyPath.");
    if (!/^\/[!-~]*$/.test(whole.heavyPath) || whole.heavyPath.length > MAX_PATH) {
      throw new UsageError(`heavyPath ${JSON.stringify(whole.heavyPath)} is no path, such as /work/1000.`);
    }
    return revive<Window>(await this.#child.run({ name: "open", options: whole }));
  }

  /**
   * Short lives: connect, one request, its answer, close; `concurrency` of them at a time, for `seconds` after
   * `warmupSeconds` (1). Latency counts from before connect(2). Held connections are left alone.
   *
   * @throws {UsageError} If a number is out of range.
   */
  async churn(options: { concurrency: number; seconds: number; warmupSeconds?: number }): Promise<Window> {
    const whole: Types.ChurnOptions = inRange({ warmupSeconds: WARMUP_S, ...options });
    return revive<Window>(await this.#child.run({ name: "churn", options: whole }));
  }

  /**
   * The held connections are asked at `rate`, as by `open`, while `slow` other clients send one byte of a head each second
   * and never finish. These are closed afterwards; that a server throws them out is no loss.
   *
   * @throws {UsageError} If no connection is held, or a number is out of range.
   */
  async slow(options: { slow: number; rate: number; seconds: number }): Promise<Window> {
    const whole: Types.SlowOptions = inRange({ ...options });
    return revive<Window>(await this.#child.run({ name: "slow", options: whole }));
  }

  /**
   * Clients that churn beside clients that stay; a share of the requests ends in a reset by the client, another in a half-close.
   * Afterwards all of them leave. Held connections are left alone, and nothing of it is in `totals`.
   *
   * @throws {UsageError} If a number is out of range, or the engine is not `epoll`.
   */
  async stress(options: Types.StressOptions): Promise<Types.StressOutcome> {
    return await this.#child.run({ name: "stress", options: inRange(options) }) as Types.StressOutcome;
  }

  /** Closes all held connections. */
  async drop(): Promise<void> {
    await this.#child.run({ name: "drop", options: null });
  }

  /**
   * Counts over the whole life, warm-ups included. Unless requests were given up, `answered` is exactly what the server
   * has served, and `connections` what it has accepted.
   */
  async totals(): Promise<Totals> {
    return await this.#child.run({ name: "totals", options: null }) as Totals;
  }

  /** Ends the process at once, with all its connections; a command that runs fails. */
  async stop(): Promise<void> {
    await this.#child.stop();
  }

  /** As `stop`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
