/**
 * The load generator, the instrument of this lab: clients in processes of their own, each pinned to a core of its own, so that
 * they and the server do not disturb each other more than two machines would.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { UsageError } from "../cli/errors.ts";
import { LoadChild } from "./child.ts";
import {
  isOver,
  lastOf,
  mergeAsks,
  mergeConnects,
  type Merged,
  mergeStress,
  mergeTotals,
  mergeWindows,
  revive,
} from "./merge.ts";
import { MESSAGE_BYTES } from "../results/conventions.ts";
import { Meter, type Readings, sleepUntil, spanOf } from "./meter.ts";
import { HEADS } from "./request.ts";
import { Namespace } from "../network/namespaces.ts";
import { monotonicUs } from "../sampling/process.ts";
import { readProc } from "../sampling/procfs.ts";
import { sample } from "../sampling/sampler.ts";
import { addBefore } from "./window.ts";
import type * as Types from "./types.ts";
import type {
  AskOutcome,
  Broadcast,
  BroadcastPart,
  Command,
  ConnectOutcome,
  EngineConfig,
  LoadOptions,
  LoadUnit,
  Progress,
  Slice,
  Target,
  Timing,
  Totals,
  Window,
  WindowPart,
} from "./types.ts";

export type { AskOutcome, Broadcast, ConnectOutcome, LoadOptions, Slice, Target, Totals, Window };
export type {
  AudienceCommand,
  Command,
  CoreTimes,
  CpuTimes,
  EngineName,
  ErrorCounts,
  HeadName,
  LoadUnit,
  Progress,
  StressCommand,
  StressOptions,
  StressOutcome,
} from "./types.ts";
export { type CoreShares, coreSharesOf, interruptSharesOf, sharesOf } from "./meter.ts";
export { LoadChild, LoadLost } from "./child.ts";
export { DRAIN_US } from "./patience.ts";
export { HEADS } from "./request.ts";

const QUIET_MS = 5000; // so long, without any progress, connections and answers are waited for by default
const ASK_WINDOW = 100;
const WARMUP_S = 1;
const MAX_SECONDS = 1800; // of one window, so that no latency is too long for the histogram
const MAX_COUNT = 2_000_000; // connections, requests per second: beyond what one host can do
const MAX_PATH = 4096;
const MAX_PROCESSES = 64;
/** A command reaches a process within this time, and the first reading of the clocks is over. */
const LEAD_US = 5000;
/** Load goes on behind the last window for so long, so that the last reading of the clocks is made under load. */
const TAIL_US = 5000;
/** A thread that sleeps wakes 50 to 150 µs late. */
const SPIN_US = 150;
/** The server's memory during a stress: the least of so many looks in each quarter, since garbage is in it now and not a moment later. */
const QUARTERS = 4;
const LOOKS = 4;
const MAX_MESSAGES = 100_000; // of one broadcast: of each it is noted when the last listener had it

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

/** The name of each option and what it may be. */
const RANGES = {
  port: [1, 65535, "integer"],
  cpu: [0, 1023, "integer"],
  processes: [1, MAX_PROCESSES, "integer"],
  serverPid: [1, 2 ** 22, "integer"],
  spinUs: [0, 10_000, "number"],
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
  bytes: [16, 65_535, "integer"],
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

export const isLoopback = (address: string) => address.startsWith("127.") || address === "::1";

/**
 * The addresses of a host, in the order in which they are tried.
 *
 * @throws {UsageError} If it has none.
 */
export async function resolve(host: string): Promise<string[]> {
  if (host === "localhost") return ["127.0.0.1", "::1"]; // nobody is to be asked for this name (RFC 6761, section 6.3)
  if (IPV4.test(host) || host.includes(":")) return [host];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch (error) {
    const { message } = error as Error;
    throw new UsageError(`Cannot resolve ${host} (${message}): give its address.`, { cause: error });
  }
}

/**
 * Resolves a target, and refuses it if it is neither this machine nor allowed by name. From a namespace of the lab every
 * address is allowed: only its own wire leads out, to a namespace of the lab, and this process cannot make another kind.
 */
async function addressesOf({ host, allow, within, addresses: known }: Target): Promise<string[]> {
  const addresses = known === undefined ? await resolve(host) : [...known];
  if (within instanceof Namespace || addresses.every(isLoopback) || allow === host) return addresses;
  const which = addresses.includes(host) ? host : `${host} (${addresses.join(", ")})`;
  throw new UsageError(`${which} is not this machine. Load only what is yours, and name it as allowed: "${host}".`);
}

/** How many ports a client can use. A namespace has a range of its own. */
function clientPorts({ within }: Target): number | null {
  if (Deno.build.os !== "linux" || within !== undefined) return null;
  const [low, high] = readProc("/proc/sys/net/ipv4/ip_local_port_range").trim().split(/\s+/).map(Number);
  return high! - low! + 1;
}

/** What all processes of a generator are started with, and the core of each. */
async function configsOf(target: Target, options: LoadOptions): Promise<EngineConfig[]> {
  const { host, port } = inRange(target);
  const { cpu, cpus = cpu === undefined ? [] : [cpu], head = "client", method = "GET", path = "/" } = inRange(options);
  checkPath("path", path);
  for (const core of cpus) inRange({ cpu: core });
  const cores = [...cpus].sort((a, b) => a - b); // as windows list them: process i is on the i-th
  if (!HEADS.includes(head)) throw new UsageError(`There is no head ${head}: choose ${HEADS.join(", ")}.`);
  const processes = cpus.length || (options.processes ?? 1);
  const common = {
    engine: options.engine ?? (Deno.build.os === "linux" ? "epoll" as const : "portable" as const),
    addresses: await addressesOf({ ...target, host: host.replace(/^\[(.*)\]$/, "$1") }),
    host: host.replace(/^\[(.*)\]$/, "$1"),
    port,
    head,
    method,
    path,
    spinUs: options.spinUs ?? (cpus.length > 0 ? SPIN_US : 0),
    processes,
    ports: clientPorts(target),
  };
  return Array.from({ length: processes }, (_, index) => ({ ...common, index, cpu: cores[index] ?? null }));
}

/** Starts all of them, or none. */
async function startAll(
  configs: readonly EngineConfig[],
  { within }: Target,
  onProgress: (index: number, progress: Progress) => void,
): Promise<LoadChild[]> {
  const starting = configs.map((config) =>
    LoadChild.start(config, within ?? null, monotonicUs, (progress) => onProgress(config.index, progress))
  );
  const started = await Promise.allSettled(starting);
  const failed = started.find(({ status }) => status === "rejected");
  const children = started.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
  if (failed?.status !== "rejected") return children;
  await Promise.all(children.map((child) => child.stop()));
  throw failed.reason;
}

/**
 * Starts the processes of a generator for a driver that is elsewhere: {@linkcode LoadGenerator.over} of another host.
 *
 * @throws As `LoadGenerator.start`.
 */
export async function startProcesses(
  target: Target,
  options: LoadOptions,
  onProgress: (index: number, progress: Progress) => void,
): Promise<LoadChild[]> {
  return await startAll(await configsOf(target, options), target, onProgress);
}

/** @throws {UsageError} If it is no path. */
function checkPath(name: string, path: string): void {
  if (/^\/[!-~]*$/.test(path) && path.length <= MAX_PATH) return;
  throw new UsageError(`${name} ${JSON.stringify(path)} is no path, such as /work/1000.`);
}

/** Cuts a number into parts that differ by one at the most. */
const shares = (whole: number, parts: number): number[] =>
  Array.from({ length: parts }, (_, i) => Math.floor((whole + parts - 1 - i) / parts));

/** How processes are driven that run already. */
export interface Driving extends Pick<LoadOptions, "serverPid" | "kernelThreads" | "onProgress"> {
  /**
   * Called before a load that all begin at one time. It sees that all of them are there and brings their clock offsets up to
   * date. Returns how many µs ahead the beginning must be, so that the command reaches each of them before. Default: the
   * processes are on this host, where 5 ms are enough.
   */
  barrier?: () => Promise<number>;
}

/**
 * Clients of one HTTP/1.1 server. Each has one connection, and one request under way on it at the most, `GET /`. Commands run one
 * after the other, in the order in which they were given. All of them throw an Error if a process of the generator ends.
 *
 * Where the server closes a connection in an orderly way, with an answer or while nothing is asked, its client reconnects
 * when its next request is due, and the time that takes is a part of the latency of that request. A connection is lost when the server
 * closes or resets it without an answer, and dropped when what comes on it cannot be followed: such a client is not held any
 * longer, and loops go on with the rest. Only answers with status 200 count as answered.
 *
 * @example
 * ```ts
 * await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: 8080 }, { cpus: [1] });
 * await generator.connect(100);
 * const { requests, seconds, histogram } = await generator.closed({ seconds: 5 });
 * console.log(requests / seconds, histogram.percentile(99));
 * ```
 */
export class LoadGenerator implements AsyncDisposable {
  readonly #children: readonly LoadUnit[];
  readonly #meter: Meter;
  readonly #options: Driving;
  /** How many of the processes take new connections. */
  #taking: number;
  readonly #onProgress: (progress: Progress) => void;
  #last: Promise<unknown> = Promise.resolve();
  /** Listeners of each process, and messages that were sent to them. */
  #listening: number[] = [];
  #messages = 0;
  /** The last progress of each process that takes part in the command that runs; the first of them speaks for all. */
  #progress = new Map<number, Progress | null>();

  private constructor(children: readonly LoadUnit[], cpus: readonly number[], options: Driving) {
    this.#children = children;
    this.#taking = children.length;
    this.#options = options;
    this.#onProgress = options.onProgress ?? (() => {});
    this.#meter = new Meter(options.serverPid ?? null, this.pids, cpus, options.kernelThreads);
  }

  /**
   * Starts the processes of the generator. They end with this one, however that ends.
   *
   * @throws {UsageError} If the target is neither on loopback, nor in a namespace of the lab, nor allowed, cannot be resolved, or a number is out of range.
   * @throws {Error} If a process cannot run, for instance because there is no such core.
   */
  static async start(target: Target, options: LoadOptions = {}): Promise<LoadGenerator> {
    const configs = await configsOf(target, options);
    const listener: { onProgress: (index: number, progress: Progress) => void } = { onProgress() {} };
    const children = await startAll(configs, target, (index, progress) => listener.onProgress(index, progress));
    const cpus = configs.map(({ cpu }) => cpu).filter((cpu) => cpu !== null);
    const generator = new LoadGenerator(children, cpus, options);
    listener.onProgress = (index, progress) => generator.tell(index, progress);
    return generator;
  }

  /** A generator over processes that run already, on whichever hosts; one at least. `stop` ends them. */
  static over(units: readonly LoadUnit[], options: Driving): LoadGenerator {
    return new LoadGenerator(units, [], options);
  }

  /** The first process of the generator on this host. */
  get pid(): number {
    return this.pids[0]!;
  }

  /** All of them on this host. */
  get pids(): number[] {
    return this.#children.map(({ pid }) => pid).filter((pid) => pid !== null);
  }

  /**
   * Closes all held connections. From then on only the first `processes` take new ones, and so take part in loops on held
   * connections.
   *
   * @throws {UsageError} If there are not so many.
   */
  async limitTo(processes: number): Promise<void> {
    inRange({ processes });
    if (processes > this.#children.length) {
      throw new UsageError(`The load generator has ${this.#children.length} processes, and not ${processes}.`);
    }
    await this.drop();
    this.#taking = processes;
  }

  /** Notes the progress of one of the processes. Those on this host tell it by themselves. */
  tell(index: number, progress: Progress): void {
    if (!this.#progress.has(index)) return;
    this.#progress.set(index, progress);
    const [speaker] = this.#progress.keys();
    if (index !== speaker) return;
    const known = [...this.#progress.values()].filter((each) => each !== null);
    const sum = (key: "connections" | "answered") => known.reduce((total, each) => total + each[key], 0);
    this.#onProgress({ ...progress, connections: sum("connections"), answered: sum("answered") });
  }

  /** Does something after what was asked for before. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    const outcome = this.#last.then(work);
    this.#last = outcome.catch(() => {}); // the caller of that command gets its error; the next one is independent of it
    return outcome;
  }

  /** Processes that hold clients; the first one if none does, so that it can say so. */
  get #holding(): LoadUnit[] {
    const holding = this.#children.filter(({ clients }) => clients > 0);
    return holding.length > 0 ? holding : [this.#children[0]!];
  }

  /** Gives each process its command; where one has none it does not take part. */
  async #run<T>(
    children: readonly LoadUnit[],
    commandOf: (child: LoadUnit, i: number) => Command | Types.StressCommand | Types.AudienceCommand | null,
  ) {
    const taking = children.flatMap((child, i) => {
      const command = commandOf(child, i);
      return command === null ? [] : [{ child, command }];
    });
    this.#progress = new Map(taking.map(({ child }) => [this.#children.indexOf(child), null]));
    const outcomes = await Promise.all(taking.map(({ child, command }) => child.run(command)));
    return outcomes as T[];
  }

  /**
   * Adds `count` connections to those held. It is over when all are made or have failed, or when none was made for
   * `timeoutMs` (5 000).
   *
   * @throws {UsageError} If a number is out of range.
   */
  async connect(count: number, options: { timeoutMs?: number } = {}): Promise<ConnectOutcome> {
    const { timeoutMs } = inRange({ timeoutMs: QUIET_MS, ...options, count });
    return await this.#queue(async () => mergeConnects(await this.#connect("connect", count, timeoutMs)));
  }

  #connect(name: "connect" | "slow", count: number, timeoutMs: number): Promise<ConnectOutcome[]> {
    const children = this.#children.slice(0, this.#taking).toSorted((a, b) => a.clients - b.clients);
    const held = children.reduce((sum, { clients }) => sum + clients, 0);
    // Each is to have as many as the others, as far as these connections make up for it.
    const wanted = shares(held + count, children.length).map((share, i) => Math.max(0, share - children[i]!.clients));
    let over = wanted.reduce((sum, more) => sum + more, 0) - count;
    for (let i = wanted.length - 1; over > 0; i--) {
      const less = Math.min(wanted[i]!, over);
      wanted[i]! -= less;
      over -= less;
    }
    return this.#run(children, (_, i) => wanted[i] === 0 ? null : { name, options: { count: wanted[i]!, timeoutMs } });
  }

  /**
   * Sends one request on each held connection, or with `onlyNew` on those not asked before, `window` (100) at a time. It
   * is over when all have answered, or when there was no progress for `timeoutMs` (5 000). Connections without an
   * answer stay held; they are asked again once their answer has come. Clients whose connection the server has closed are
   * counted as closed, and not asked.
   *
   * @throws {UsageError} If a number is out of range.
   */
  async ask(options: { onlyNew?: boolean; window?: number; timeoutMs?: number } = {}): Promise<AskOutcome> {
    const whole: Types.AskOptions = inRange({ onlyNew: false, window: ASK_WINDOW, timeoutMs: QUIET_MS, ...options });
    return await this.#queue(async () => {
      const holding = this.#holding;
      const windows = shares(whole.window, holding.length);
      const parts = await this.#run<unknown>(holding, (_, i) => ({
        name: "ask",
        options: { ...whole, window: Math.max(1, windows[i]!) },
      }));
      return mergeAsks(parts.map((part) => revive<AskOutcome>(part)));
    });
  }

  /** When a load on all processes at once begins: all of them have its command by then. */
  async #start(): Promise<number> {
    const leadUs = await this.#options.barrier?.() ?? LEAD_US;
    return monotonicUs() + leadUs;
  }

  /** The same, and its window. */
  async #timing(warmupSeconds: number, seconds: number): Promise<Timing> {
    const startUs = await this.#start();
    const fromUs = startUs + warmupSeconds * 1e6;
    const toUs = fromUs + seconds * 1e6;
    return { startUs, fromUs, toUs, endUs: toUs + TAIL_US };
  }

  /** The same times on the clock of a process. */
  #onClockOf({ clockOffsetUs: by }: LoadUnit, { startUs, fromUs, toUs, endUs }: Timing): Timing {
    return { startUs: startUs + by, fromUs: fromUs + by, toUs: toUs + by, endUs: endUs + by };
  }

  /** Reads the clocks of a window while `running` does its work, and at its end for an edge that it did not reach. */
  #readAt(fromUs: number, toUs: number, running: Promise<unknown>): Promise<Readings> {
    return this.#meter.readAt(fromUs, toUs, running.catch(() => {})); // its error is the caller's
  }

  /** Adds what only this process knows to the merged parts of a window that began at `fromUs`. */
  #complete(
    parts: readonly WindowPart[],
    readings: Readings,
    load: Pick<Timing, "startUs" | "endUs">,
    fromUs: number,
  ): Window {
    const merged: Merged = mergeWindows(parts);
    const toUs = fromUs + merged.seconds * 1e6;
    const endUs = isOver(parts) ? toUs : load.endUs;
    return { ...merged, ...this.#meter.times(readings, spanOf({ ...load, endUs }, fromUs, toUs)) };
  }

  /**
   * Closed loop: each client asks again as soon as it has its answer, for `seconds` after `warmupSeconds` (1), or until no
   * client is left. It asks for `path`; default: for that of the generator. What is under way at the end is awaited, for 60 s
   * at the most and 5 s without progress: it counts in the totals, and not in the window.
   *
   * @throws {UsageError} If a number is out of range.
   */
  async closed(options: { seconds: number; warmupSeconds?: number; path?: string }): Promise<Window> {
    const whole: Types.ClosedOptions = inRange({ warmupSeconds: WARMUP_S, path: null, ...options });
    const { seconds, warmupSeconds, path } = whole;
    if (path !== null) checkPath("path", path);
    return await this.#queue(async () => {
      const timing = await this.#timing(warmupSeconds, seconds);
      const running = this.#run<unknown>(this.#holding, (child) => ({
        name: "closed",
        options: { ...this.#onClockOf(child, timing), path },
      }));
      const readings = await this.#readAt(timing.fromUs, timing.toUs, running);
      const parts = (await running).map((part) => revive<WindowPart>(part));
      return this.#complete(parts, readings, timing, timing.fromUs);
    });
  }

  /**
   * Open loop: `rate` requests per second are due at equal distances, whatever the answers do. Each goes to the client
   * that has been idle longest, or waits for one; its latency counts from the time at which it was due. `heavyShare` of the
   * requests (0) ask for `heavyPath` instead of the usual path. The warm-up of `warmupSeconds` (1) is a run of its own. At the
   * end all that was due is sent and awaited, for 60 s at the most and 5 s without progress; that is not in `seconds`.
   *
   * @throws {UsageError} If a number is out of range, or the heavy path is missing or none.
   */
  async open(
    options: { rate: number; seconds: number; warmupSeconds?: number; heavyShare?: number; heavyPath?: string },
  ): Promise<Window> {
    const whole: Types.OpenOptions = inRange({ warmupSeconds: WARMUP_S, heavyShare: 0, heavyPath: "/", ...options });
    if (whole.heavyShare > 0 && options.heavyPath === undefined) throw new UsageError("heavyShare needs a heavyPath.");
    checkPath("heavyPath", whole.heavyPath);
    const { warmupSeconds } = whole;
    return await this.#queue(async () => {
      const warmup = warmupSeconds > 0 ? await this.#open({ ...whole, seconds: warmupSeconds }) : null;
      const window = await this.#open(whole);
      if (warmup === null) return window;
      addBefore(window, warmup);
      if (warmup.unanswered > 0) {
        addBefore(window, { lost: 0, dropped: 0, errors: { warmup_unanswered: warmup.unanswered } });
      }
      // Processes that lost all their connections before take no part in the window, so only the warm-up knows of them.
      return { ...window, stopped_early: window.stopped_early ?? warmup.stopped_early };
    });
  }

  async #open({ rate, seconds, heavyShare, heavyPath }: Types.OpenOptions): Promise<Window> {
    const holding = this.#holding;
    const startUs = await this.#start();
    const endUs = startUs + seconds * 1e6;
    const running = this.#run<unknown>(holding, (child, first) => ({
      name: "open",
      options: {
        startUs: startUs + child.clockOffsetUs,
        endUs: endUs + child.clockOffsetUs,
        rate,
        total: Math.round(rate * seconds),
        first,
        step: holding.length,
        heavyShare,
        heavyPath,
      },
    }));
    const readings = await this.#readAt(startUs - LEAD_US, endUs, running); // before: there is no warm-up to read in
    const parts = (await running).map((part) => revive<WindowPart>(part));
    return this.#complete(parts, readings, { startUs, endUs }, startUs);
  }

  /**
   * Short lives: connect, one request, its answer, close; `concurrency` of them at a time, for `seconds` after
   * `warmupSeconds` (1). Latency counts from before connect(2). Held connections are left alone.
   *
   * @throws {UsageError} If a number is out of range.
   */
  async churn(options: { concurrency: number; seconds: number; warmupSeconds?: number }): Promise<Window> {
    const { concurrency, seconds, warmupSeconds } = inRange({ warmupSeconds: WARMUP_S, ...options });
    return await this.#queue(async () => {
      const timing = await this.#timing(warmupSeconds, seconds);
      const each = shares(concurrency, this.#children.length);
      const running = this.#run<unknown>(
        this.#children,
        (child, i) =>
          each[i] === 0
            ? null
            : { name: "churn", options: { ...this.#onClockOf(child, timing), concurrency: each[i]! } },
      );
      const readings = await this.#readAt(timing.fromUs, timing.toUs, running);
      const parts = (await running).map((part) => revive<WindowPart>(part));
      return this.#complete(parts, readings, timing, timing.fromUs);
    });
  }

  /**
   * The held connections are asked at `rate`, as by `open`, while `slow` other clients send one byte of a head each second
   * and never finish. These are closed afterwards; that a server throws them out is no loss.
   *
   * @throws {UsageError} If a number is out of range.
   */
  async slow(options: { slow: number; rate: number; seconds: number }): Promise<Window> {
    const { slow, rate, seconds } = inRange({ ...options });
    return await this.#queue(async () => {
      const connected = slow === 0 ? [] : await this.#connect("slow", slow, QUIET_MS);
      const window = await this.#open({ rate, seconds, warmupSeconds: 0, heavyShare: 0, heavyPath: "/" });
      await this.#run(this.#children, () => ({ name: "slowEnd", options: null }));
      const { errors, redials } = mergeConnects(connected);
      for (const [key, times] of Object.entries(errors)) window.errors[key] = (window.errors[key] ?? 0) + times;
      window.redials += redials;
      return window;
    });
  }

  /**
   * Clients that churn beside clients that stay; a share of the requests ends in a reset by the client, another in a half-close.
   * Afterwards all of them leave. Held connections are left alone, and nothing of it is in `totals`.
   *
   * @throws {UsageError} If a number is out of range, or the engine is not `epoll`.
   */
  async stress(options: Types.StressOptions): Promise<Types.StressOutcome> {
    const { churning, staying, ...rest } = inRange(options);
    return await this.#queue(async () => {
      const [churns, stays] = [churning, staying].map((all) => shares(all, this.#children.length));
      const running = this.#run<Types.StressPart>(this.#children, (_, i) => {
        const part = { churning: churns![i]!, staying: stays![this.#children.length - 1 - i]! };
        const idle = i > 0 && part.churning + part.staying === 0;
        return idle ? null : { name: "stress", options: { ...rest, ...part } };
      });
      const pss_anon_bytes = await this.#watchMemory(options.seconds, running);
      return { ...mergeStress(await running), pss_anon_bytes };
    });
  }

  /**
   * Opens `count` WebSockets more, which listen, and `slow` (0) that never read. It is over when all are open or have failed,
   * or when none was opened for `timeoutMs` (5 000).
   *
   * @throws {UsageError} If a number is out of range, or the engine is not `epoll`.
   */
  async listen(count: number, options: { slow?: number; timeoutMs?: number } = {}): Promise<ConnectOutcome> {
    const { slow, timeoutMs } = inRange({ slow: 0, timeoutMs: QUIET_MS, ...options });
    inRange({ slow: count }); // none is a number of them, too
    return await this.#queue(async () => {
      const parts = shares(count, this.#children.length), slows = shares(slow, this.#children.length);
      const outcomes = await this.#run<ConnectOutcome>(this.#children, (_, i) => {
        this.#listening[i] = (this.#listening[i] ?? 0) + parts[i]!;
        return { name: "listen", options: { count: parts[i]!, slow: slows[i]!, timeoutMs } };
      });
      return mergeConnects(outcomes);
    });
  }

  /**
   * One of the listeners publishes: messages of `bytes` (128) are due at equal distances, `rate` per second, for `seconds`
   * after `warmupSeconds` (1). Each listener is to have each of them, in order. Latency counts from the time at which a message
   * was due until a listener has read it. At the end deliveries are awaited, for 60 s at the most and 5 s without any.
   *
   * @throws {UsageError} If a number is out of range, or there are too many messages.
   */
  async broadcast(
    options: { rate: number; seconds: number; warmupSeconds?: number; bytes?: number },
  ): Promise<Broadcast> {
    const { rate, seconds, warmupSeconds, bytes } = inRange({
      warmupSeconds: WARMUP_S,
      bytes: MESSAGE_BYTES,
      ...options,
    });
    const first = Math.round(rate * warmupSeconds), total = first + Math.round(rate * seconds);
    if (total > MAX_MESSAGES) throw new UsageError(`${total} messages are too many: choose up to ${MAX_MESSAGES}.`);
    if (total === first) {
      throw new UsageError("No message is due in so short a time: choose more seconds, or a higher rate.");
    }
    return await this.#queue(async () => {
      const timing = await this.#timing(warmupSeconds, seconds);
      const base = this.#messages;
      this.#messages += total;
      const schedule = { ...timing, rate, total, first, base, bytes };
      const publisher = this.#listening.findIndex((count) => count > 0);
      const running = this.#run<unknown>(
        this.#children,
        (_, i) =>
          (this.#listening[i] ?? 0) === 0
            ? null
            : { name: "broadcast", options: { ...schedule, publishes: i === publisher } },
      );
      const readings = await this.#readAt(timing.fromUs, timing.toUs, running);
      const parts = (await running).map((part) => revive<BroadcastPart>(part));
      const window = this.#complete(parts, readings, timing, timing.fromUs);
      return { ...window, messages: total - first, last: lastOf(parts) };
    });
  }

  /** The least anonymous memory of the server in each quarter of the time; null where the system does not tell. */
  async #watchMemory(seconds: number, running: Promise<unknown>): Promise<(number | null)[]> {
    const { serverPid } = this.#options;
    const startUs = monotonicUs();
    const ended = running.catch(() => {}); // its error is the caller's
    const least: (number | null)[] = [];
    for (let look = 0; look < QUARTERS * LOOKS; look++) {
      await sleepUntil(startUs + seconds * 1e6 * (look + 1) / (QUARTERS * LOOKS), ended);
      const bytes = serverPid === undefined ? null : sample(serverPid)?.pss_anon_bytes ?? null;
      const quarter = Math.floor(look / LOOKS);
      const before = least[quarter] ?? bytes;
      least[quarter] = bytes === null || before === null ? bytes : Math.min(bytes, before);
    }
    return least;
  }

  /** Closes all held connections. */
  async drop(): Promise<void> {
    await this.#queue(() => this.#run(this.#children, () => ({ name: "drop", options: null })));
  }

  /**
   * Counts over the whole life, warm-ups included. Unless requests were given up, `answered` is exactly what the server
   * has served, and `connections` what it has accepted.
   */
  async totals(): Promise<Totals> {
    return await this.#queue(async () =>
      mergeTotals(await this.#run<Totals>(this.#children, () => ({ name: "totals", options: null })))
    );
  }

  /** Ends the processes at once, with all their connections; a command that runs fails. */
  async stop(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.stop()));
  }

  /** As `stop`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Answers per second within a window: those that came after its end are not among them. */
export const answersPerS = ({ requests, drained, seconds }: Pick<Window, "requests" | "drained" | "seconds">): number =>
  (requests - drained) / seconds;
