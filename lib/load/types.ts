/**
 * What the load generator can be asked for and what it answers: shared by the class that callers use, by the process behind it and by
 * its engines. Units stand last in the names.
 *
 * @module
 */
import type { Namespace } from "../network/namespaces.ts";
import type { Histogram } from "../timing/histogram.ts";

/** The server under load. */
export interface Target {
  /** An address or a name. `localhost` is 127.0.0.1, and ::1 where nothing listens there. */
  host: string;
  port: number;
  /** The one host that may be asked although it is not this machine, written as in `host`. */
  allow?: string;
  /** Its addresses, where they are known already: the host is not resolved then. */
  addresses?: readonly string[];
  /** The network namespace of the lab in which the generator's processes run; default: that of this process. */
  within?: Namespace;
}

/** What drives the connections: epoll(7) through FFI, on Linux, or `Deno.connect`, everywhere. */
export type EngineName = "epoll" | "portable";

/** The fields that a request has: what HTTP/1.1 demands, what a client library sends, what a browser sends. */
export type HeadName = "minimal" | "client" | "browser";

/** How the generator runs. */
export interface LoadOptions {
  /** The cores of its processes, one process on each. Without them: one process, on any core, so the server's too. */
  cpus?: readonly number[];
  /** The same for one process. */
  cpu?: number;
  /** How many processes there are, where no cores are given: 1 by default. */
  processes?: number;
  /** The root of the process tree whose CPU time windows report. */
  serverPid?: number;
  /** Threads of the kernel that work for the server alone: they are no load of strangers. */
  kernelThreads?: readonly number[];
  /** `epoll` on Linux and `portable` elsewhere by default. */
  engine?: EngineName;
  /** `client` by default. */
  head?: HeadName;
  /** `GET` by default. */
  method?: "GET" | "HEAD";
  /** What is asked for, `/` by default; of listeners where they open their WebSockets. */
  path?: string;
  /**
   * For so long before a request of an open loop is due, the process asks for events without sleeping: a sleeping thread
   * wakes tens of µs late. By default 150 where its core is its own, and 0 where it is not.
   */
  spinUs?: number;
  /** Called four times per second while a phase runs. */
  onProgress?: (progress: Progress) => void;
}

/** Where a phase stands: answers and seconds since it began. */
export interface Progress {
  phase: string;
  connections: number;
  answered: number;
  seconds: number;
}

/**
 * What went wrong, by kind:
 * - `http_<status>`: an answer with another status than 200;
 * - an errno name, such as `ECONNREFUSED`, `ECONNRESET` or `EMFILE`: a connection could not be made, or broke;
 * - `timeout`: a connection was not made in time;
 * - `closed`: the server closed a connection without an answer to its request; `cut_short`: in the middle of an answer;
 * - `no_http`, `bad_status_line`, `bad_field`, `bad_length`, `bad_chunk`, `coding`, `no_length`, `head_too_long`,
 *   `body_too_long`: an answer that cannot be followed, by its cause;
 * - `unfinished`: an answer that had begun, and did not end as long as it was waited for; such a request is unanswered as well;
 * - `surplus_bytes`: bytes behind an answer; `unasked_bytes`: bytes on a connection that had asked for nothing.
 */
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
  /** Attempts that were given up and made anew, because the server's accept queue was full. */
  redials: number;
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
  /** How many are asked per second at the most; without it `window` alone bounds them. */
  ratePerS?: number;
}

/**
 * asked = answered + lost + dropped + unanswered + answers with another status than 200, which are in `errors` as
 * `http_<status>` + those of `closed` that had not answered.
 */
export interface AskOutcome {
  /** Connections that were to be asked, those that ended since the last command included. */
  asked: number;
  /** Answers with status 200. */
  answered: number;
  /** Connections that the server closed or reset without an answer. */
  lost: number;
  /** Connections that the generator dropped because what came on them cannot be followed: `errors` has the cause. */
  dropped: number;
  /** Clients whose connection the server has closed in an orderly way, with an answer or after one. */
  closed: number;
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
  /** The path of its requests; null: the one that the generator was started with. */
  path: string | null;
}

/** An open loop: requests are due at fixed times, whether or not answers come. */
export interface OpenOptions {
  /** Requests per second. */
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
  /** Connections that the generator dropped because what came on them cannot be followed. */
  dropped: number;
  errors: ErrorCounts;
  /** Anonymous memory of the server's process tree: the least in each quarter of the time; null without `serverPid`. */
  pss_anon_bytes: (number | null)[];
  /** Why it ended before its time, in a sentence; null if it did not. */
  stopped_early: string | null;
}

/** Messages of one client that a server sends to all. */
export interface BroadcastOptions {
  /** Messages per second. */
  rate: number;
  seconds: number;
  warmupSeconds: number;
  /** Of a message. */
  bytes: number;
}

/** What came of it. `requests` are deliveries, of which there are as many as messages times listeners. */
export interface Broadcast extends Window {
  /** Messages that were due in the window. */
  messages: number;
  /** Of each message that came to anybody: how long after it was due the last listener had it. */
  last: Histogram;
}

/** CPU time in µs, counted by the kernel in ticks of 10 ms. Sums over several windows are better than sums of shares. */
export interface CpuTimes {
  /** Running a process or the kernel, interrupts included. */
  busy_us: number;
  /** Of `busy_us`: interrupts, and the network stack of loopback where it runs outside of processes. */
  irq_us: number;
  softirq_us: number;
  /** Ready to run, but the hypervisor ran another guest. */
  steal_us: number;
  /** All of it, idle time included. */
  total_us: number;
}

/** One of the cores that server or generator are pinned to. */
export interface CoreTimes extends CpuTimes {
  cpu: number;
  /** The server may run on it. */
  server: boolean;
  /** A process of the generator runs on it. */
  client: boolean;
}

/** What one process adds to it. */
export type StressPart = Omit<StressOutcome, "pss_anon_bytes">;

/** Whose the CPU time of a stretch was. */
export type Slice = Pick<Window, "host_cpu" | "cores" | "own_cpu">;

/** What was measured in a stretch of time. */
export interface Window {
  /** How long it lasted. An open loop lasts as long as requests become due: that the last ones are awaited is not in it. */
  seconds: number;
  /** Clients at the end, connected or about to reconnect; for `churn` how many lived at a time. */
  connections: number;
  /** Answers with status 200 to requests of this window. */
  requests: number;
  /** Of `requests`: those that were answered after the end of the window. Only an open loop has them. */
  drained: number;
  errors: ErrorCounts;
  /** Connections that the server closed or reset before they had their answer. */
  lost: number;
  /** Connections that the generator dropped because what came on them cannot be followed: `errors` has the cause. */
  dropped: number;
  /** Connections that the server closed in an orderly way: with an answer or after one. */
  closed: number;
  /** Connections that were made anew for clients whose connection the server had closed. */
  reconnects: number;
  /** Attempts to connect that were given up and made anew, because the server's accept queue was full. */
  redials: number;
  /** After how many answers on a connection it closed it, where nine in ten were closed after the same number. */
  closes_after: number | null;
  /** Requests without any answer when waiting ended, by whatever cause, those that could not even be sent included. */
  unanswered: number;
  /**
   * Latencies in µs of the answers with status 200: from the send in a closed loop, from the time at which a request was
   * due in an open loop, from before connect(2) in `churn`. With a heavy share: the light requests only. A request for
   * which a client had to reconnect counts from before connect(2) in each of them.
   */
  histogram: Histogram;
  /** How long the unanswered requests had waited when waiting ended: their latencies are at least that. Without heavy ones, as above. */
  censored: Histogram;
  /** Open loop: the same latencies as in `histogram` counted from the actual send. */
  raw: Histogram | null;
  /** Open loop: how long after it could leave a request left, because it was due and a connection was idle: the generator's own fault. */
  lateness: Histogram | null;
  /** CPU time of the server's process tree; null without `serverPid`, or where the system does not tell all of it. */
  server_cpu_us: number | null;
  /** CPU time of all processes of the load generator. */
  client_cpu_us: number;
  /** Of `client_cpu_us`: spent on asking for events before a request was due. The core had that time left. */
  client_spin_us: number;
  /** How many processes of the load generator took part: so many cores it could use. */
  client_processes: number;
  /** Of each of them: its CPU time without what it spun. One that is full limits the load, however idle the others are. */
  client_busy_us: number[];
  /** All CPUs of the host, and the time between the two readings, in which it is counted; null where the system does not tell. */
  host_cpu: CpuTimes | null;
  /** The cores that server and generator are pinned to. Empty where they are not, or the system does not tell. */
  cores: CoreTimes[];
  /** CPU time of server and generator between the readings of `host_cpu` and `cores`; null as `server_cpu_us`. */
  own_cpu: {
    server_us: number | null;
    client_us: number;
    /** What else of the lab used the same cores: threads of the kernel, and of a pair the other server, which waits for its turn. */
    beside_us?: number;
  };
  /** The same of each half second of it; none where it is short, or where the server's processes are too many or changed. */
  slices: Slice[];
  /** Requests of an open loop that left over 1 ms after they were due although a connection was idle: see `lateness`. */
  late_sends: number;
  /** Requests that were due in an open loop. */
  scheduled: number | null;
  /** Why the window ended before its time, or in how many of the processes; null if it did not. */
  stopped_early: string | null;
}

/** Counts over the whole life of a generator, warm-ups and drained requests included. */
export interface Totals {
  /** Connections that were made, of all kinds. */
  connections: number;
  /** Answers with status 200. */
  answered: number;
  lost: number;
  dropped: number;
  closed: number;
  reconnects: number;
  redials: number;
  errors: ErrorCounts;
}

// ---- Between the class that callers use and its processes ---------------------------------------------------------------

/** Times are in µs on the clock of the process, and absolute: all processes of a generator begin and end at once. */
export interface Timing {
  startUs: number;
  /** When the window begins and ends. Load before it is warm-up. */
  fromUs: number;
  toUs: number;
  /** Load goes on until then, so that the clocks of the server can be read under load. */
  endUs: number;
}

/** The part of one process in a closed loop or in a churn. */
export interface ClosedPart extends Timing {
  path: string | null;
}
export interface ChurnPart extends Timing {
  concurrency: number;
}

/** Of an open loop: of all requests, number `first`, `first + step` and so on. Number j is due at `startUs + j × 10⁶ / rate`. */
export interface OpenPart {
  startUs: number;
  rate: number;
  /** How many requests are due, those of the other processes included. */
  total: number;
  first: number;
  step: number;
  /** When the schedule ends. */
  endUs: number;
  heavyShare: number;
  heavyPath: string;
}

/** What one process adds to a window. */
export type WindowPart =
  & Omit<
    Window,
    | "server_cpu_us"
    | "host_cpu"
    | "cores"
    | "own_cpu"
    | "slices"
    | "client_processes"
    | "client_busy_us"
    | "closes_after"
  >
  & {
    /** How many connections the server closed after so many answers. */
    closes: Record<string, number>;
    /** Where it really began and ended on the clock of the process, and its CPU time there. */
    from_us: number;
    to_us: number;
  };

/** Listeners of one process, and such that do not read. */
export interface ListenPart {
  count: number;
  slow: number;
  timeoutMs: number;
}

/** The messages of a broadcast: number j of `total` is due at `startUs + j × 10⁶ / rate`. */
export interface Schedule extends Timing {
  rate: number;
  total: number;
  /** The number of the first one of the window. */
  first: number;
  /** What is added to a number in the text of a message, so that those of two broadcasts differ. */
  base: number;
  bytes: number;
  /** Whether this process publishes. */
  publishes: boolean;
}

/** What one process adds to it: `last_us` by message, −1 where no listener of the process had it. */
export type BroadcastPart = WindowPart & { last_us: number[] };

/** What a process can do, and what it answers. One command runs at a time. */
export interface Commands {
  connect: { options: ConnectOptions; outcome: ConnectOutcome };
  ask: { options: AskOptions; outcome: AskOutcome };
  closed: { options: ClosedPart; outcome: WindowPart };
  open: { options: OpenPart; outcome: WindowPart };
  churn: { options: ChurnPart; outcome: WindowPart };
  /** Connects slow clients, which are served by each `open` from then on; `slowEnd` closes them. */
  slow: { options: { count: number; timeoutMs: number }; outcome: ConnectOutcome };
  slowEnd: { options: null; outcome: null };
  drop: { options: null; outcome: null };
  totals: { options: null; outcome: Totals };
}

/** A process of a load generator: a child of this one, or one on another host. */
export interface LoadUnit {
  /** Its process here; null: it runs on another host. */
  readonly pid: number | null;
  /** How many clients it held after the last command. */
  readonly clients: number;
  /** Its clock less that of this process. */
  readonly clockOffsetUs: number;
  /** Runs a command after those that were given before, and returns its outcome with histograms as text. */
  run(command: Command | StressCommand | AudienceCommand): Promise<unknown>;
  /** Ends it, a command that runs included. */
  stop(): Promise<void>;
}

/** What the process behind a generator is started with, as JSON in its only argument. */
export interface EngineConfig {
  engine: EngineName;
  /** As resolved. If nothing listens at the first, the next is tried. */
  addresses: string[];
  /** As the user wrote it, for the Host field. */
  host: string;
  port: number;
  head: HeadName;
  method: "GET" | "HEAD";
  /** What a request asks for that names no other path. */
  path: string;
  cpu: number | null;
  spinUs: number;
  /** Which of how many processes it is: they share the ports of 127.0.0.1. */
  index: number;
  processes: number;
  /** How many ports a client can use: net.ipv4.ip_local_port_range. Null where the system does not tell. */
  ports: number | null;
}

/** One line to the process. */
export type Command = {
  [Name in keyof Commands]: { name: Name; options: Commands[Name]["options"] };
}[keyof Commands];

/** One line to the process, too. It is done by an engine of its own: see stress.ts. */
export interface StressCommand {
  name: "stress";
  options: StressOptions;
}

/** The same of audience.ts. */
export type AudienceCommand = { name: "listen"; options: ListenPart } | { name: "broadcast"; options: Schedule };

/** One line from the process. `ready` comes once, at the start. */
export type Reply =
  | { ready: true; clockUs: number }
  | { progress: Progress }
  | { done: unknown; clients: number }
  | { refused: string };
