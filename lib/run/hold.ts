import { delay } from "@std/async";
import { addErrors, type Bench, look, type Measured, NOTHING, percentiles, plateau, SILENCE_MS } from "./bench.ts";
import { count, counted } from "../text/format.ts";
import { Histogram } from "../timing/histogram.ts";
import type { ErrorCounts } from "../load/generator.ts";
import type { Metrics } from "../results/results.ts";
import { kernelSocketBytes, type Sample, tcpSockets } from "../sampling/sampler.ts";
import { NOISE_BYTES } from "../results/conventions.ts";

/** With more failing connections than this a step ends: from there on the figures would describe the survivors. */
export const FAILED_SHARE = 0.01;
/** Requests on each connection before memory is read, so that one-time costs (compiled code, grown heaps) are paid. */
const WARM_ROUNDS = 5;
/** …unless it is spread over so many connections that it is next to nothing for each of them. */
const MANY_CONNECTIONS = 900;
/** Kernel objects are counted, not estimated; but TIME_WAIT ends and other processes' sockets come and go by hundreds. */
const KERNEL_CONNECTIONS = 900;

/** Where a climb stands. */
export interface Climb {
  held: number;
  answered: number;
  connected: number;
  /** Answered, and not closed by then. */
  kept: number;
  failed: number;
  /** Dropped by the generator, because what came on them cannot be followed. */
  dropped: number;
  /** Closed by the server with their first answer, or right after it. */
  closed: number;
  /** Attempts that were repeated, because the server's accept queue was full. */
  redials: number;
  connectSeconds: number;
  askSeconds: number;
  /** Connections made and answered per second in the last step; null before the first. */
  pacePerS: number | null;
  deadline: number;
  start: Sample | null;
  /** Of the first request on each connection. */
  histogram: Histogram;
  /** What went wrong, by kind. */
  errors: ErrorCounts;
}

/** A climb that has not begun. */
export function startClimb({ server, parameters: { climb_seconds = Infinity } }: Bench): Climb {
  return {
    held: 0,
    answered: 0,
    connected: 0,
    kept: 0,
    failed: 0,
    dropped: 0,
    closed: 0,
    redials: 0,
    connectSeconds: 0,
    askSeconds: 0,
    pacePerS: null,
    deadline: performance.now() + climb_seconds * 1000,
    start: look(server),
    histogram: new Histogram(),
    errors: {},
  };
}

/** How many to connect next on the way to `wanted`, or why no more: what the guard and the time left allow. */
export function nextStep(
  { guard, parameters }: Bench,
  climb: Climb,
  wanted: number,
): { connect: number } | { stop: string } {
  const { connections, climb_seconds: limit } = parameters;
  const { held, pacePerS, deadline } = climb;
  const step = guard.next(held, connections);
  if ("stop" in step) return step;
  const leftS = (deadline - performance.now()) / 1000;
  const inTime = pacePerS === null || leftS === Infinity ? Infinity : Math.floor(pacePerS * leftS);
  // No more at once than it has shown it can answer before the rest would count as unanswered.
  const bearable = pacePerS === null ? Infinity : Math.max(1, Math.floor(pacePerS * SILENCE_MS / 1000));
  if (inTime >= 1) return { connect: Math.min(step.connect, wanted - held, inTime, bearable) };
  const pace = count(pacePerS, 1);
  return { stop: `stopped at ${count(held)} of ${count(connections)}: time, ${pace} connections/s for ${limit} s` };
}

/** What came on a connection that cannot be followed, or what became of it, in words. */
const CAUSE_SAYS: Record<string, string> = {
  closed: "were closed without an answer",
  cut_short: "were closed in the middle of their answer",
  timeout: "were not made in time",
  no_http: "were answered by something that is not HTTP/1.x",
  bad_status_line: "were answered by a status line that cannot be read",
  bad_field: "were answered by a head with a line that is no field",
  bad_length: "were answered by a Content-Length that is no number, or by two that differ",
  bad_chunk: "were answered by chunks that cannot be read",
  coding: "were answered in a transfer coding that was not asked for",
  no_length: "were answered without a length, and stayed open: such an answer has no end",
  head_too_long: "were answered by a head over 16 KiB",
  body_too_long: "were answered by a body over 1 GiB",
  unfinished: "got an answer that did not end: fewer bytes than it promised, or too slowly",
  surplus_bytes: "got bytes behind their answer that nobody asked for",
  unasked_bytes: "got bytes before they asked for anything",
  EADDRNOTAVAIL: "found no free port at this end: widen net.ipv4.ip_local_port_range",
};

/** What became of most of the connections that failed. */
export function mainCause(errors: ErrorCounts, closed: number): string {
  const [key, times] = Object.entries(errors).toSorted(([, a], [, b]) => b - a)[0] ?? ["", 0];
  if (closed > times) return "were closed after their answer: nothing is kept alive";
  if (key === "") return "got no answer";
  if (key.startsWith("http_")) return `were answered by status ${key.slice("http_".length)}`;
  return CAUSE_SAYS[key] ?? `failed: ${key}`;
}

/**
 * Makes connections up to `wanted`, as fast as guard and time allow, and one request on each. Returns why it stopped.
 *
 * @param mayClose The server may close connections with their answer: the load will connect again.
 */
export async function rise(bench: Bench, climb: Climb, wanted: number, mayClose = false): Promise<string | null> {
  const { generator, guard, server } = bench;
  while (climb.held < wanted) {
    const step = nextStep(bench, climb, wanted);
    if ("stop" in step) return step.stop;
    const connect = await generator.connect(step.connect);
    const ask = await generator.ask({ onlyNew: true, timeoutMs: SILENCE_MS });
    climb.connectSeconds += connect.seconds;
    climb.askSeconds += ask.seconds;
    climb.connected += connect.connected;
    const made = connect.connected - ask.lost - ask.dropped;
    climb.held += made;
    climb.dropped += ask.dropped;
    climb.closed += ask.closed;
    climb.redials += connect.redials;
    climb.answered += ask.answered;
    climb.histogram.merge(ask.histogram);
    climb.errors = addErrors(climb.errors, connect.errors, ask.errors);
    const kept = Math.min(ask.answered, mayClose ? made : made - ask.closed); // answered, and open still
    climb.kept += kept;
    climb.failed += step.connect - kept;
    climb.pacePerS = step.connect / (connect.seconds + ask.seconds);
    const now = look(server);
    if (now !== null) guard.observe(climb.held, usedBytes(climb.start, now), now.mappings, now.threads);
    const tried = climb.kept + climb.failed;
    if (climb.failed > FAILED_SHARE * tried) {
      const how = mainCause(climb.errors, mayClose ? 0 : ask.closed);
      return `${count(climb.failed)} of ${count(tried)} connections ${how}`;
    }
  }
  return null;
}

/** Memory that the run has taken: of the server's processes, or of the whole host where that is more. */
export function usedBytes(start: Sample | null, now: Sample): number {
  return start === null ? now.pss_bytes : Math.max(now.pss_bytes, start.mem_available_bytes - now.mem_available_bytes);
}

/** Memory of the server itself at a plateau. Pages of the program's own text are not in it where the system tells. */
const ownBytes = (of: Sample | null) => of === null ? null : of.pss_anon_bytes ?? of.pss_bytes;

/** User bytes for each of the connections that lie between two plateaus; null where that would be noise. */
function userSlope(from: number | null, to: number | null, connections: number): number | null {
  if (from === null || to === null || connections === 0) return null;
  return connections < MANY_CONNECTIONS && to - from < NOISE_BYTES ? null : (to - from) / connections;
}

/** Kernel bytes for each connection: both of its ends are on this host, one of them is the server's. */
export function kernelSlope(from: number | null, to: number | null, connections: number): number | null {
  return from === null || to === null || connections < KERNEL_CONNECTIONS ? null : (to - from) / connections / 2;
}

/** How holding ended. */
interface HoldEnd extends Pick<Measured, "histogram" | "errors" | "lost" | "reason"> {
  answered: number;
  /** Of `lost`: those that the server closed or reset before they had their answer. */
  lostUnanswered: number;
}

/** Holds what the climb has made for `seconds`, then asks each connection once more; unless some have not answered yet. */
async function holdOn(
  { generator, signal, beforeWindow, parameters: { seconds } }: Bench,
  climb: Climb,
): Promise<HoldEnd> {
  const { held, connected, dropped, answered, histogram } = climb;
  if (answered < held) {
    const reason = `${count(held - answered)} of ${count(held)} connections ${
      mainCause(climb.errors, 0)
    } at their first request`;
    const lost = connected - held - dropped;
    return { answered, histogram, errors: {}, lost, lostUnanswered: lost, reason };
  }
  await delay(seconds * 1000, { signal });
  await beforeWindow?.();
  const again = await generator.ask({ timeoutMs: SILENCE_MS });
  const lostUnanswered = connected - dropped - again.asked + again.lost;
  const lost = lostUnanswered + again.closed;
  const missing = again.asked - again.answered;
  const unanswered = missing > 0 ? `${count(missing)} of ${count(held)} got no answer after ${seconds} s` : null;
  const closed = again.closed > 0
    ? `the server closed ${counted(again.closed, "connection")} within ${seconds} s`
    : null;
  const reason = closed ?? unanswered ?? (lost > 0 ? `${counted(lost, "connection")} lost` : null);
  return { answered: again.answered, histogram: again.histogram, errors: again.errors, lost, lostUnanswered, reason };
}

/** What server and kernel have spent at a number of connections. */
export interface Plateau {
  held: number;
  sample: Sample | null;
  kernel: number | null;
  /** Of the whole host. */
  sockets: number | null;
}

/** Looks at server and kernel now. */
export const plateauAt = (held: number, { server, isInKernel }: Bench): Plateau => ({
  held,
  sample: look(server),
  kernel: isInKernel ? kernelSocketBytes() : null,
  sockets: tcpSockets(),
});

/** Others may open or close so many sockets, as a share of those that are measured. */
const OTHER_SOCKETS = 0.05;

/**
 * Whether about as many sockets were made between two plateaus as two for each connection, or more where the server has opened
 * some of its own: the memory of the kernel is that of the whole host.
 */
export function areOwnSockets(low: Plateau, high: Plateau, connections: number): boolean {
  if (low.sockets === null || high.sockets === null) return true;
  const made = high.sockets - low.sockets;
  const opened = (high.sample?.descriptors ?? 0) - (low.sample?.descriptors ?? 0);
  const most = connections + Math.max(connections, opened);
  return made >= 2 * connections * (1 - OTHER_SOCKETS) && made <= most * (1 + OTHER_SOCKETS);
}

/**
 * Makes all connections, with a plateau at a tenth of them: memory of a connection is the slope between two plateaus, so
 * that what the server needs anyway drops out.
 */
export async function climbAll(bench: Bench) {
  const { generator, parameters: { connections: wanted } } = bench;
  const climb = startClimb(bench);
  let reason = await rise(bench, climb, Math.ceil(wanted / 10));
  for (let round = 0; reason === null && round < WARM_ROUNDS; round++) {
    const again = await generator.ask({ timeoutMs: SILENCE_MS });
    // The end of a connection may come some time after the answer: the next request on it is what finds it.
    if (round > 0 || again.closed < climb.held) continue;
    climb.closed = climb.answered;
    reason = `${count(again.closed)} of ${count(climb.held)} connections ${mainCause({}, again.closed)}`;
  }
  const low = plateauAt(climb.held, bench);
  reason ??= await rise(bench, climb, wanted);
  return { climb, low, reason };
}

/** What was spent between the low plateau and now. */
export function spent(bench: Bench, climb: Climb, low: Plateau): Partial<Metrics> {
  const high = plateauAt(climb.held, bench);
  // Connections that were never answered may wait in the kernel's queue: the server has spent nothing on them.
  const more = climb.answered < climb.held ? 0 : climb.held - low.held;
  return {
    user_bytes_per_conn: userSlope(ownBytes(low.sample), ownBytes(high.sample), more),
    kernel_bytes_per_conn: areOwnSockets(low, high, more) ? kernelSlope(low.kernel, high.kernel, more) : null,
    ...plateau(high.sample),
  };
}

/** The C10K test: connect N, hold them for `seconds`, then one request on each; all must answer. */
export async function hold(bench: Bench): Promise<Measured> {
  const { climb, low, reason } = await climbAll(bench);
  const closesAll = climb.answered > 0 && climb.closed >= climb.answered;
  const end = await holdOn(bench, climb);
  const connectSeconds = climb.connectSeconds + climb.askSeconds;
  return {
    metrics: {
      connections: climb.held,
      answered: end.answered,
      lost: end.lost,
      ...(closesAll && { closes_after: 1 }),
      connect_seconds: connectSeconds,
      connects_per_s: climb.connectSeconds > 0 ? climb.connected / climb.connectSeconds : null,
      accepts_per_s: connectSeconds > 0 ? climb.answered / connectSeconds : null,
      ...percentiles(end.histogram),
      ...spent(bench, climb, low),
    },
    ...NOTHING,
    histogram: end.histogram,
    errors: addErrors(climb.errors, end.errors),
    lost: end.lostUnanswered,
    redials: climb.redials,
    reason: reason ?? end.reason,
  };
}
