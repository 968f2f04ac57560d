import type { Guard } from "./guard.ts";
import { count } from "./format.ts";
import type { Histogram } from "./histogram.ts";
import type { LoadGenerator, Window } from "./load.ts";
import type { Metrics, Parameters, ScenarioName } from "./results.ts";
import { kernelSocketBytes, type Sample, sample } from "./sampler.ts";
import type { Server } from "./server.ts";

/** What a scenario works with: one server, one load generator, and what the user asked for. */
export interface Bench {
  server: Server;
  generator: LoadGenerator;
  parameters: Parameters;
  /** Says how many connections may be made next; it remembers the smaller steps before. */
  guard: Guard;
}

/** What a scenario found. `reason` says why it did less than it was asked for; null if it did all. */
export interface Measured {
  metrics: Partial<Metrics>;
  histogram: Histogram;
  /** The measured stretch of time; null where the scenario has none. */
  window: Window | null;
  lost: number;
  reason: string | null;
}

/** With more failing connections than this a step ends: from there on the figures would describe the survivors. */
const FAILED_SHARE = 0.01;
/** After so long without any answer the rest counts as unanswered. */
const SILENCE_MS = 2000;
/** Requests on each connection before memory is read, so that one-time costs (compiled code, grown heaps) are paid. */
const WARM_ROUNDS = 5;
/** A heap differs by this between two looks without a connection more: a smaller difference tells nothing… */
const NOISE_BYTES = 2 * 1024 * 1024;
/** …unless it is spread over so many connections that it is next to nothing for each of them. */
const MANY_CONNECTIONS = 900;
/** Kernel objects are counted, not estimated; but TIME_WAIT ends and other processes' sockets come and go by hundreds. */
const KERNEL_CONNECTIONS = 900;

/** Where a climb stands. */
interface Climb {
  held: number;
  answered: number;
  connected: number;
  failed: number;
  connectSeconds: number;
  /** Connections made and answered per second in the last step; null before the first. */
  pacePerS: number | null;
  deadline: number;
  start: Sample | null;
}

/** How many to connect next on the way to `wanted`, or why no more: what the guard and the time left allow. */
function nextStep({ guard, parameters }: Bench, climb: Climb, wanted: number): { connect: number } | { stop: string } {
  const { connections, climb_seconds: limit } = parameters, { held, pacePerS, deadline } = climb;
  const step = guard.next(held, connections);
  if ("stop" in step) return step;
  const leftS = (deadline - performance.now()) / 1000;
  const inTime = pacePerS === null || leftS === Infinity ? Infinity : Math.floor(pacePerS * leftS);
  if (inTime >= 1) return { connect: Math.min(step.connect, wanted - held, inTime) };
  const pace = count(pacePerS, 1);
  return { stop: `stopped at ${count(held)} of ${count(connections)}: time, ${pace} connections/s for ${limit} s` };
}

/** Makes connections up to `wanted`, as fast as guard and time allow, and one request on each. Returns why it stopped. */
async function rise(bench: Bench, climb: Climb, wanted: number): Promise<string | null> {
  const { generator, guard, server } = bench;
  while (climb.held < wanted) {
    const step = nextStep(bench, climb, wanted);
    if ("stop" in step) return step.stop;
    const connect = await generator.connect(step.connect);
    const ask = await generator.ask({ onlyNew: true, timeoutMs: SILENCE_MS });
    climb.connectSeconds += connect.seconds;
    climb.connected += connect.connected;
    climb.held += connect.connected - ask.lost;
    climb.answered += ask.answered;
    climb.failed += step.connect - ask.answered;
    climb.pacePerS = step.connect / (connect.seconds + ask.seconds);
    const now = sample(server.pid);
    if (now !== null) guard.observe(climb.held, usedBytes(climb.start, now), now.mappings);
    const tried = climb.answered + climb.failed;
    if (climb.failed > FAILED_SHARE * tried) {
      return `${count(climb.failed)} of ${count(tried)} connections got no answer`;
    }
  }
  return null;
}

/** Memory that the run has taken: of the server's processes, or of the whole host where that is more. */
function usedBytes(start: Sample | null, now: Sample): number {
  return start === null ? now.pss_bytes : Math.max(now.pss_bytes, start.mem_available_bytes - now.mem_available_bytes);
}

/** Memory of the server itself at a plateau. Pages of the program's own text are not in it where the system tells. */
const ownBytes = (of: Sample | null) => of === null ? null : of.pss_anon_bytes ?? of.pss_bytes;

/** User bytes for each of the connections that lie between two plateaus; null where that would be noise. */
function userSlope(from: number | null, to: number | null, connections: number): number | null {
  if (from === null || to === null) return null;
  return connections < MANY_CONNECTIONS && to - from < NOISE_BYTES ? null : (to - from) / connections;
}

/** Kernel bytes for each connection: both of its ends are on this host, one of them is the server's. */
function kernelSlope(from: number | null, to: number | null, connections: number): number | null {
  return from === null || to === null || connections < KERNEL_CONNECTIONS ? null : (to - from) / connections / 2;
}

/**
 * The C10K test: connect N, hold them for `seconds`, then one request on each; all must answer.
 *
 * Memory per connection is the slope between two plateaus, at N/10 and at N: what the server needs anyway drops out.
 */
async function hold(bench: Bench): Promise<Measured> {
  const { generator, server, parameters: { connections: wanted, seconds, climb_seconds = Infinity } } = bench;
  const climb: Climb = {
    ...{ held: 0, answered: 0, connected: 0, failed: 0, connectSeconds: 0, pacePerS: null },
    deadline: performance.now() + climb_seconds * 1000,
    start: sample(server.pid),
  };
  const first = Math.ceil(wanted / 10);
  let reason = await rise(bench, climb, first);
  for (let round = 0; reason === null && round < WARM_ROUNDS; round++) await generator.ask({ timeoutMs: SILENCE_MS });
  const low = { held: climb.held, own: ownBytes(sample(server.pid)), kernel: kernelSocketBytes() };
  reason ??= await rise(bench, climb, wanted);
  await new Promise<void>((resolve) => setTimeout(resolve, seconds * 1000));
  const asked = await generator.ask({ timeoutMs: SILENCE_MS });
  const high = sample(server.pid), more = climb.held - low.held;
  const lost = climb.connected - asked.asked + asked.lost, missing = asked.asked - asked.answered;
  if (missing > 0) reason ??= `${count(missing)} of ${count(asked.asked)} got no answer after ${seconds} s`;
  if (lost > 0) reason ??= `${count(lost)} connections were lost`;
  return {
    metrics: {
      connections: climb.held,
      answered: asked.answered,
      lost,
      connects_per_s: climb.connectSeconds > 0 ? climb.connected / climb.connectSeconds : null,
      ...percentiles(asked.histogram),
      user_bytes_per_conn: userSlope(low.own, ownBytes(high), more),
      kernel_bytes_per_conn: kernelSlope(low.kernel, kernelSocketBytes(), more),
      ...plateau(high),
    },
    histogram: asked.histogram,
    window: null,
    lost,
    reason,
  };
}

const plateau = (of: Sample | null): Partial<Metrics> => ({
  rss_bytes: of?.rss_bytes ?? null,
  pss_bytes: of?.pss_bytes ?? null,
  threads: of?.threads ?? null,
});

function percentiles(of: Histogram): Partial<Metrics> {
  if (of.count === 0) return {};
  return { p50_us: of.percentile(50), p99_us: of.percentile(99), p99_9_us: of.percentile(99.9) };
}

/**
 * Makes the connections of a scenario under load. One request on each shows that the server has really taken it: until
 * then it may wait in the kernel's queue, or for its thread, and would stand idle in a window that counts it.
 */
async function prepare({ generator, parameters: { connections } }: Bench): Promise<string | null> {
  const { connected } = await generator.connect(connections);
  const { answered } = await generator.ask({ timeoutMs: SILENCE_MS });
  if (answered === connections) return null;
  return `${count(connected)} of ${count(connections)} connected, ${count(answered)} answered before the load began`;
}

/** Runs a load and turns its window into metrics. Context switches count from before the warm-up, as do the requests. */
async function load(bench: Bench, drive: () => Promise<Window>): Promise<Measured> {
  const { generator, server } = bench;
  const before = sample(server.pid), answeredBefore = (await generator.totals()).answered;
  const window = await drive();
  const after = sample(server.pid), answers = (await generator.totals()).answered - answeredBefore;
  const { requests, seconds, histogram, raw, unanswered, lost } = window;
  const switches = before && after ? after.context_switches - before.context_switches : null;
  return {
    metrics: {
      connections: window.connections,
      answered: requests,
      lost,
      requests_per_s: requests / seconds,
      ...percentiles(histogram),
      ...(raw !== null && raw.count > 0 && {
        raw_p50_us: raw.percentile(50),
        raw_p99_us: raw.percentile(99),
        raw_p99_9_us: raw.percentile(99.9),
      }),
      cpu_us_per_request: window.server_cpu_us === null || requests === 0 ? null : window.server_cpu_us / requests,
      context_switches_per_request: switches === null || switches < 0 || answers === 0 ? null : switches / answers,
      ...plateau(after),
    },
    histogram,
    window,
    lost,
    reason: window.stopped_early ?? (unanswered > 0 ? `${count(unanswered)} requests got no answer` : null),
  };
}

/** Prepares the connections, then runs a load on them. */
async function loaded(bench: Bench, drive: () => Promise<Window>): Promise<Measured> {
  const short = await prepare(bench);
  const measured = await load(bench, drive);
  return { ...measured, reason: short ?? measured.reason };
}

const rateOf = ({ rate_per_s }: Parameters): number => {
  if (rate_per_s === undefined) throw new TypeError("An open loop needs parameters.rate_per_s");
  return rate_per_s;
};

/** The six scenarios. Each takes a fresh server and a fresh generator. */
export const SCENARIO: Record<ScenarioName, (bench: Bench) => Promise<Measured>> = {
  hold,
  throughput: (bench) =>
    loaded(bench, async () => {
      const { seconds, warmup_seconds: warmupSeconds } = bench.parameters;
      const [window] = await bench.generator.closed({ seconds, warmupSeconds });
      if (window === undefined) throw new Error("No connection was left to measure on");
      return window;
    }),
  rate: (bench) =>
    loaded(bench, () => {
      const { seconds, warmup_seconds: warmupSeconds } = bench.parameters;
      return bench.generator.open({ rate: rateOf(bench.parameters), seconds, warmupSeconds });
    }),
  mixed: (bench) =>
    loaded(bench, () => {
      const { seconds, warmup_seconds: warmupSeconds, heavy_share = 0, heavy_path = "/" } = bench.parameters;
      const heavy = { heavyShare: heavy_share, heavyPath: heavy_path };
      return bench.generator.open({ rate: rateOf(bench.parameters), seconds, warmupSeconds, ...heavy });
    }),
  churn: (bench) =>
    load(bench, () => {
      const { connections: concurrency, seconds, warmup_seconds: warmupSeconds } = bench.parameters;
      return bench.generator.churn({ concurrency, seconds, warmupSeconds });
    }),
  slow: (bench) =>
    loaded(bench, () => {
      const { seconds, slow = 0 } = bench.parameters;
      return bench.generator.slow({ slow, rate: rateOf(bench.parameters), seconds });
    }),
};
