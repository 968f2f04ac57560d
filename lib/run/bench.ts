import type { Guard } from "./guard.ts";
import { evidenceOf } from "./evidence.ts";
import { type Evidence, type Finding, judge } from "../results/findings.ts";
import { Histogram } from "../timing/histogram.ts";
import {
  coreSharesOf,
  type ErrorCounts,
  LoadGenerator,
  type LoadOptions,
  type Progress,
  type Target,
  type Window,
} from "../load/generator.ts";
import { percentileOf } from "../timing/censored.ts";
import type { Metrics, Parameters } from "../results/results.ts";
import { coresOf, workersOn } from "./setup.ts";
import type { Setup } from "../results/schema.ts";
import type { LoadTrial } from "../results/load_trial.ts";
import { type Sample, sample } from "../sampling/sampler.ts";
import { versionOf } from "../server/manifest.ts";
import {
  addressKernel,
  type Network,
  NetworkError,
  networkObstacle,
  openNetwork,
  receiveAtServer,
  type ReceivingCores,
} from "../network/namespaces.ts";
import { StartError } from "../server/server.ts";
import {
  bypassesKernel,
  isCustom,
  pathOf,
  type Place,
  type Running,
  type RunningOf,
  startSubject,
  type Subject,
  type SubjectOptions,
} from "../server/subject.ts";

/** Load that other hosts lend. */
export interface LentLoad {
  /** Starts a generator there. It lives as long as the run that it is for. */
  start(
    target: Target,
    options: Pick<LoadOptions, "serverPid" | "kernelThreads" | "head" | "onProgress">,
  ): Promise<LoadGenerator>;
  /** Why there will be no more load, in a sentence; null as long as there is. */
  readonly lost: string | null;
  /** How many connections they lend. */
  readonly connections: number;
}

/** How server and generator are started. */
export interface OpenOptions extends Omit<SubjectOptions, "cpu" | "cpus" | "onWait" | "place"> {
  /** Whether each gets cores of its own, where there are two; true by default. */
  pinned?: boolean;
  /** Whether server and load stand in a network namespace each, joined by a veth pair. Always so around the kernel. */
  isWired?: boolean;
  /** Cores and head, where the user named some. */
  setup?: Setup;
  /** Load from other hosts; default: from this one. */
  lent?: LentLoad;
  /** For how many µs before a request is due the load generator does not sleep; default: its own. */
  spinUs?: number;
  onProgress?: (progress: Progress) => void;
}

/** A server and its load generator. Stop them, or bind them with `await using`. */
export interface OpenBench<S extends Subject = Subject> extends AsyncDisposable {
  readonly server: RunningOf<S>;
  readonly generator: LoadGenerator;
  readonly isWired: boolean;
  readonly isInKernel: boolean;
  readonly loadCores: number | null;
}

const withoutWire = ({ name }: Subject, reason: string) =>
  new StartError({ ended: "skipped", reason: `${name} needs a network of its own: ${reason}.` });

/**
 * A network of its own for a run. The server's kernel has an address there, unless the server goes around it. What arrives
 * at an end is work of that end's cores, so that each is busy with its own half of TCP.
 *
 * @throws {StartError} If there can be none here.
 */
async function openWire(subject: Subject, cores?: ReceivingCores): Promise<Network> {
  const obstacle = isCustom(subject) ? "only experiments can be started in one" : await networkObstacle();
  if (obstacle !== null) throw withoutWire(subject, obstacle);
  try {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await openNetwork(undefined, cores));
    if (!bypassesKernel(subject)) await addressKernel(network);
    stack.move();
    return network;
  } catch (error) {
    if (error instanceof NetworkError) throw withoutWire(subject, error.message);
    throw error;
  }
}

/**
 * The same for a server around the kernel, once it is ready. Its figures could not be compared without it.
 *
 * @returns The threads of the kernel that do it.
 * @throws {StartError} If it cannot be had here.
 */
async function bindReceiver(subject: Subject, network: Network, cores: readonly number[]): Promise<number[]> {
  try {
    return await receiveAtServer(network, cores);
  } catch (error) {
    if (error instanceof NetworkError) throw withoutWire(subject, error.message);
    throw error;
  }
}

/** The place of the server in a network. */
const placeIn = ({ server, interface: name, address }: Network): Place => ({
  command: (command) => server.command(command),
  interface: name,
  address,
});

/**
 * Starts a server and a load generator for it, each on cores of its own, where this process may use two: they would
 * measure each other otherwise. A server around the kernel, or one that is compared with such a server, gets a network for
 * the time of the run: two namespaces and a veth pair.
 *
 * @throws {StartError} If the server cannot run here, or does not get ready. Nothing is left running then.
 *
 * @example
 * ```ts
 * await using bench = await openBench(find("epoll"), { signal });
 * await bench.generator.connect(100);
 * ```
 */
export async function openBench<S extends Subject>(subject: S, options: OpenOptions = {}): Promise<OpenBench<S>> {
  const { pinned = true, isWired = false, setup = {}, lent, spinUs, onProgress, ...rest } = options;
  await using stack = new AsyncDisposableStack();
  await versionOf(subject); // it starts a process, for which there may be no room under the load
  const cores = pinned ? coresOf(setup) : null;
  const onWait = (seconds: number) =>
    onProgress?.({ phase: "waiting for the server", connections: 0, answered: 0, seconds });
  const network = isWired || bypassesKernel(subject) ? stack.use(await openWire(subject, cores ?? undefined)) : null;
  const started = {
    ...rest,
    args: rest.args ?? workersOn(subject, cores?.server.length ?? navigator.hardwareConcurrency),
    ...(cores && { cpus: cores.server }),
    ...(network && { place: placeIn(network) }),
    onWait,
  };
  const server = stack.use(await startSubject(subject, started));
  const isBound = network !== null && cores !== null && bypassesKernel(subject);
  const kernelThreads = isBound ? await bindReceiver(subject, network, cores.server) : [];
  const target = network === null ? { host: hostOf(server) } : { host: network.address, within: network.client };
  const start = lent?.start.bind(lent) ?? LoadGenerator.start;
  const generator = stack.use(
    await start({ ...target, port: server.port }, {
      ...(cores && lent === undefined && { cpus: cores.load }),
      ...(server.pid !== null && { serverPid: server.pid }),
      kernelThreads: [...kernelThreads, ...server.beside?.() ?? []], // neither are strangers
      ...(setup.head && { head: setup.head }),
      path: pathOf(subject),
      ...(spinUs !== undefined && { spinUs }),
      ...(onProgress && { onProgress }),
    }),
  );
  const owned = stack.move();
  return {
    server,
    generator,
    isWired: network !== null,
    isInKernel: !bypassesKernel(subject) && lent === undefined,
    loadCores: cores === null || lent !== undefined ? null : cores.load.length,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What a scenario works with: one server, one load generator, and what the user asked for. */
export interface Bench {
  server: Running;
  generator: LoadGenerator;
  /** Server and load stand at the ends of a wire. */
  isWired: boolean;
  /** Whether both ends of a connection are in the memory of this kernel: not if the server goes around it. */
  isInKernel: boolean;
  /** How many cores of this host the load has, each with a process of the generator; null: it is not pinned, or lent. */
  loadCores: number | null;
  parameters: Parameters;
  /** Says how many connections may be made next; it remembers the smaller steps before. */
  guard: Guard;
  /** Called before a window is measured: what asks the server for anything else stops. */
  beforeWindow?: () => Promise<void>;
  /** Ends what only waits; whatever the generator does ends with the generator. */
  signal: AbortSignal;
}

/** What a scenario found. `reason` says why it did less than it was asked for; null if it did all. */
export interface Measured {
  metrics: Partial<Metrics>;
  histogram: Histogram;
  /** How long the requests had waited that got no answer. */
  censored: Histogram;
  /** What went wrong, by kind, from the first connection on. */
  errors: ErrorCounts;
  /** The share of the time in which the control group was kept from running; null where that is not known. */
  throttled: number | null;
  /** The measured stretch of time; null where the scenario has none. */
  window: Window | null;
  /** What the server did with fewer processes of load; missing: not tried. */
  trials?: readonly LoadTrial[];
  /** Connections that the server closed or reset before they had their answer. */
  lost: number;
  /** Attempts to connect that were repeated outside of the window. */
  redials?: number;
  reason: string | null;
}

/** What a scenario without a window has of it. */
export const NOTHING = { censored: new Histogram(), errors: {}, throttled: null, window: null } as const;

/** After so long without any answer the rest counts as unanswered. */
export const SILENCE_MS = 2000;

/** What the server and its connections take now; null where its process is not known, or the system does not tell. */
export const look = ({ pid }: Running): Sample | null => pid === null ? null : sample(pid);

/** What a sample at a plateau tells. */
export const plateau = (of: Sample | null): Partial<Metrics> => ({
  rss_bytes: of?.rss_bytes ?? null,
  pss_bytes: of?.pss_bytes ?? null,
  processes: of?.processes ?? null,
  threads: of?.threads ?? null,
});

/** The percentiles that are lower bounds, because unanswered requests reach them. */
export function atLeast(of: Histogram, censored: Histogram): (keyof Metrics)[] {
  if (of.count + censored.count === 0) return [];
  const all = [["p50_us", 50], ["p99_us", 99], ["p99_9_us", 99.9]] as const;
  return all.filter(([, percent]) => percentileOf(of, censored, percent).atLeast).map(([metric]) => metric);
}

/** The latencies of the table, of unanswered requests as long as they are known to be; none, and no zeros, where nothing was recorded. */
export function percentiles(of: Histogram, censored = new Histogram()): Partial<Metrics> {
  if (of.count + censored.count === 0) return {};
  const at = (percent: number) => percentileOf(of, censored, percent).us;
  return { p50_us: at(50), p99_us: at(99), p99_9_us: at(99.9) };
}

/** The address at which a server answers. */
const hostOf = ({ host = "127.0.0.1" }: Running): string => host;

/** Busy time of the server's cores in a window, in µs; null where they are not its own, or the system does not tell. */
export function serverCoreUs(window: Window): number | null {
  const own = window.cores.filter(({ server }) => server);
  const shares = own.some(({ client }) => client) ? null : coreSharesOf([window], "server");
  return shares === null ? null : shares.busy * own.length * window.seconds * 1e6;
}

/** What weakens the figures of a load. `askedPerS`: the rate of an open loop. */
export function findingsOf(
  server: string,
  { window, trials = [], lost, redials = 0, metrics, errors, throttled }: Omit<
    Measured,
    "histogram" | "censored" | "reason"
  >,
  { closedLoop, askedPerS, unit, otherListener = null }: Pick<Evidence, "closedLoop" | "askedPerS" | "unit"> & {
    otherListener?: string | null;
  },
): Finding[] {
  return judge(server, {
    ...evidenceOf(window === null ? [] : [window]),
    trials,
    p99Us: metrics.p99_us ?? null,
    connections: metrics.connections ?? 0,
    ratePerS: metrics.requests_per_s ?? metrics.deliveries_per_s ?? null,
    askedPerS,
    meanLatencyUs: window === null || window.histogram.count === 0 ? null : window.histogram.mean,
    answered: metrics.answered ?? 0,
    errors,
    unanswered: window?.unanswered ?? 0,
    lost,
    redials: redials + (window?.redials ?? 0),
    throttledShare: throttled,
    seconds: window?.seconds ?? Infinity,
    closedLoop,
    unit,
    otherListener,
  });
}

/** Adds counts by kind. */
export function addErrors(...all: readonly ErrorCounts[]): ErrorCounts {
  const sum: ErrorCounts = {};
  for (const counts of all) {
    for (const [kind, times] of Object.entries(counts)) sum[kind] = (sum[kind] ?? 0) + times;
  }
  return sum;
}
