/**
 * What the load generator is told and what it answers: shared by the class that callers use, by the process behind it and by
 * its engines. Units stand last in the names.
 *
 * @module
 */
import type { Histogram } from "../timing/histogram.ts";

/** Whom to ask. */
export interface Target {
  /** An IPv4 address or a name that resolves to one. */
  host: string;
  port: number;
  /** The one host that may be asked although it is not this machine, written as in `host`. */
  allow?: string;
}

/** What drives the connections: epoll(7) through FFI, on Linux, or `Deno.connect`, everywhere. */
export type EngineName = "epoll" | "portable";

/** How the generator runs. */
export interface LoadOptions {
  /** The core it is pinned to, counted from 0. Without it: any, so the server's too. */
  cpu?: number;
  /** The root of the process tree whose CPU time windows report. */
  serverPid?: number;
  /** `epoll` on Linux and `portable` elsewhere, unless said. */
  engine?: EngineName;
  /** Called four times a second while a phase runs. */
  onProgress?: (progress: Progress) => void;
}

/** Where a phase stands: answers and seconds since it began. */
export interface Progress {
  phase: string;
  connections: number;
  answered: number;
  seconds: number;
}

/** Errors by key: an errno name, `timeout`, `http_<status>`, `malformed`, `transfer_coding`, `no_length`, `too_large`, `unexpected`. */
export type ErrorCounts = Record<string, number>;

/** `count` connections more. A wait of `timeoutMs` without one that is made ends it. */
export interface ConnectOptions {
  count: number;
  timeoutMs: number;
}

/** How connecting went: requested = connected + failed. */
export interface ConnectOutcome {
  requested: number;
  connected: number;
  failed: number;
  seconds: number;
  errors: ErrorCounts;
}

/** One request on each held connection, or on those only that were not asked before. */
export interface AskOptions {
  onlyNew: boolean;
  /** How many may be without an answer at a time. */
  window: number;
  /** So long, without any progress, answers are waited for. */
  timeoutMs: number;
}

/** asked = answered + lost + unanswered + answers with another status than 200, which are in `errors` as `http_<status>`. */
export interface AskOutcome {
  /** Connections that were to be asked. */
  asked: number;
  /** Answers with status 200. */
  answered: number;
  /** Connections that were closed or reset, or dropped because what came on them was no HTTP that can be followed. */
  lost: number;
  /** Connections without an answer, also where no request could be sent because the window was full of such. */
  unanswered: number;
  seconds: number;
  /** Latencies in µs, from the send of a request to the end of its answer. */
  histogram: Histogram;
  errors: ErrorCounts;
}

/** A closed loop: each connection is asked again as soon as it has answered. */
export interface ClosedOptions {
  seconds: number;
  warmupSeconds: number;
}

/** An open loop: requests are due at fixed times, whether or not answers come. */
export interface OpenOptions {
  /** Requests a second. */
  rate: number;
  seconds: number;
  warmupSeconds: number;
  /** The share of requests, 0..1, that ask `heavyPath`. */
  heavyShare: number;
  heavyPath: string;
}

/** Short lives: connect, one request, its answer, close; `concurrency` of them at a time. */
export interface ChurnOptions {
  concurrency: number;
  seconds: number;
  warmupSeconds: number;
}

/** An open loop on the held connections, besides `slow` clients that send one byte of a head each second. */
export interface SlowOptions {
  slow: number;
  rate: number;
  seconds: number;
}

/** Clients that churn beside clients that stay, of which some end by a reset or close their half early. */
export interface StressOptions {
  /** Clients that connect, ask once and close. */
  churning: number;
  /** Clients that ask again as soon as they have their answer. */
  staying: number;
  seconds: number;
  /** The share of requests, 0..1, whose client resets the connection: half of them in the middle of the request. */
  resetShare: number;
  /** The share of requests, 0..1, behind which the client closes its half. The answer is due, and then the end. */
  halfCloseShare: number;
}

/** What came of it: requests = answered + unanswered + answers with another status + those that were reset in time. */
export interface StressOutcome {
  /** Requests that were sent, or the half of them. */
  requests: number;
  /** Answers with status 200. */
  answered: number;
  /** Connections that the clients have reset, some of them right after the answer. */
  resets: number;
  half_closes: number;
  /** Requests without an answer that were not reset: the server closed, or was silent to the end of a bounded wait. */
  unanswered: number;
  /** Half-closed connections that were answered, but not closed by the server. */
  unended: number;
  /** Connections that the server closed or reset before their time. */
  lost: number;
  errors: ErrorCounts;
  /** Anonymous memory of the server's process tree: the least in each quarter of the time; null without `serverPid`. */
  pss_anon_bytes: (number | null)[];
  /** Why it ended before its time, in a sentence; null if it did not. */
  stopped_early: string | null;
}

/** What was measured in a stretch of time. */
export interface Window {
  /** How long it lasted. An open loop ends when all that was due is answered. */
  seconds: number;
  /** Held connections at the end; for `churn` how many lived at a time. */
  connections: number;
  /** Answers with status 200. */
  requests: number;
  errors: ErrorCounts;
  /** Connections that were closed or reset, or dropped because what came on them was no HTTP that can be followed. */
  lost: number;
  /** Requests without an answer after the bounded wait at the end, those that could not even be sent included. */
  unanswered: number;
  /**
   * Latencies in µs of the answers with status 200: from the send in a closed loop, from the time at which a request was
   * due in an open loop, from before connect(2) in `churn`. With a heavy share: the light requests only.
   */
  histogram: Histogram;
  /** Open loop: the same latencies counted from the actual send. */
  raw: Histogram | null;
  /** CPU time of the server's process tree; null without `serverPid` or where the system does not tell. */
  server_cpu_us: number | null;
  /** CPU time of the load generator itself. */
  client_cpu_us: number;
  /** Share of the host's CPU time, 0..1, that the hypervisor gave to others; null where the system does not tell. */
  server_steal_share: number | null;
  /** Share of the host's CPU time, 0..1, used by others than server and generator; null without `serverPid`. */
  foreign_cpu_share: number | null;
  /** Requests of an open loop that left over 1 ms after they were due although a connection was idle: the generator's fault. */
  late_sends: number;
  /** Requests that were due in an open loop. */
  scheduled: number | null;
  /** Why the window ended before its time, in a sentence; null if it did not. */
  stopped_early: string | null;
}

/** Counts over the whole life of a generator, warm-ups and drained requests included. */
export interface Totals {
  /** Connections that were made, of all kinds. */
  connections: number;
  /** Answers with status 200. */
  answered: number;
  lost: number;
  errors: ErrorCounts;
}

/** What the process behind a generator can be told, and what it answers. One command runs at a time. */
export interface Commands {
  connect: { options: ConnectOptions; outcome: ConnectOutcome };
  ask: { options: AskOptions; outcome: AskOutcome };
  closed: { options: ClosedOptions; outcome: Window };
  open: { options: OpenOptions; outcome: Window };
  churn: { options: ChurnOptions; outcome: Window };
  slow: { options: SlowOptions; outcome: Window };
  drop: { options: null; outcome: null };
  totals: { options: null; outcome: Totals };
}

/** What the process behind a generator is started with, as JSON in its only argument. */
export interface EngineConfig {
  engine: EngineName;
  /** Four numbers, as resolved. */
  address: string;
  /** As the user wrote it, for the Host field. */
  host: string;
  port: number;
  /** Spread the source addresses over 127/8. */
  loopback: boolean;
  cpu: number | null;
  serverPid: number | null;
}

/** One line to the process. */
export type Command = {
  [Name in keyof Commands]: { name: Name; options: Commands[Name]["options"] };
}[keyof Commands];

/** One line to the process, too. It is done by an engine of its own: see load_stress.ts. */
export interface StressCommand {
  name: "stress";
  options: StressOptions;
}

/** One line from the process. `ready` comes once, at the start. */
export type Reply =
  | { ready: true }
  | { progress: Progress }
  | { done: unknown }
  | { refused: string };
