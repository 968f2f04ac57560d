/**
 * What weakens a measurement: a closed set of findings, stored with the result and printed below it as caveats. None of
 * them makes a figure wrong; each says what it may no longer be taken for.
 *
 * @module
 */
import * as v from "valibot";
import { count, counted, microseconds } from "../text/format.ts";
import { field, text } from "./check.ts";
import { limitShown, type LoadTrial } from "./load_trial.ts";

/** All findings, in the order in which they are printed, with what each means. */
export const FINDING_SAYS = {
  client_bound:
    "the load generator was at its limit and the server was not: throughput is a lower bound, latency an upper one",
  both_bound: "load generator and server were both at their limits: throughput stands, latency is an upper bound",
  server_bound: "an open loop asked for more than the server answers: latency is that of the queue before it",
  late_sends: "requests left late although a connection was free: the upper percentiles may be the generator's own",
  little: "rate times mean latency is not the number of connections (Little's law): some were idle, or were not timed",
  errors: "some requests failed or got another status than 200: they are counted by kind, and no figure contains them",
  unanswered: "requests stayed without an answer: percentiles at or above their waits are lower bounds",
  lost_connections: "the server closed or reset connections before they had their answer",
  reconnects:
    "the server closed connections after a number of answers: the figures contain the cost of new connections",
  redials:
    "attempts to connect were repeated, because the accept queue of the server was full: some clients waited for that",
  other_listener:
    "a process that is not the server's listens on its port: CPU time and memory are unknown, or figures are of both",
  shared_core: "server and load generator shared a core: throughput is a lower bound, latency an upper one",
  foreign_load:
    "other processes used the cores of server or load generator: throughput is a lower bound, latency an upper one, and a " +
    "ratio inconclusive, also of CPU time",
  steal: "the hypervisor gave CPU time of these cores to other guests: the same applies",
  throttled: "the CPU quota of the container stopped its processes for some of the time: the same applies",
  irq_apart: "the kernel counts interrupts apart from processes: CPU time per request lacks part of the network stack",
  short_run: "the run was short: one pause dominates the figures",
} as const;
/** One of {@linkcode FINDING_IDS}. */
export type FindingId = keyof typeof FINDING_SAYS;
/** The names of all findings. */
export const FINDING_IDS = Object.keys(FINDING_SAYS) as FindingId[];

const id = field(v.picklist(FINDING_IDS), "which finding: see [Findings](#findings)");
const server = field(text, "the server whose figures it weakens");

/** A finding on one of several servers. */
export const FOUND = v.strictObject({ server, id });
export type Found = v.InferOutput<typeof FOUND>;

/** A finding with the numbers of its run. The sentence begins in lower case, to stand behind the id. */
export const FINDING = v.strictObject({
  server,
  id,
  sentence: field(text, "what was seen, with the numbers of this run, and what follows for the figures"),
});
export type Finding = v.InferOutput<typeof FINDING>;

/** The figures of one run that tell about its validity. Shares are in 0..1. Null: not measured, or not applicable. */
export interface Evidence {
  /**
   * CPU time of the busiest process of the load generator by the time of its core, without what it spun until a due time, and with
   * the interrupts of the core where they have an account of their own.
   */
  generatorCoreShare: number | null;
  /** Cores of the load that had no process of it. */
  loadCoresLeft: number | null;
  /** What the server did with fewer processes of load; empty: not tried. */
  trials: readonly LoadTrial[];
  /** CPU time of the server by the time that its cores had. */
  serverCoreShare: number | null;
  /** Lateness of requests although a connection was idle, 99th percentile; of an open loop. */
  lateP99Us: number | null;
  /** Latency, 99th percentile. */
  p99Us: number | null;
  connections: number;
  ratePerS: number | null;
  /** The rate that an open loop asked for. */
  askedPerS: number | null;
  meanLatencyUs: number | null;
  /** Requests that got an answer with status 200. */
  answered: number;
  /** What went wrong, by kind. */
  errors: Readonly<Record<string, number>>;
  /** Requests without an answer when waiting ended. */
  unanswered: number;
  /** Connections that were closed or reset before their time. */
  lost: number;
  /** Attempts to connect that were given up and repeated, because the accept queue was full. */
  redials: number;
  /** Connections opened again for clients whose connection the server had closed. */
  reconnects: number;
  /** After how many answers it closed them, where that was one number. */
  closesAfter: number | null;
  /** Which process other than the server listens on its port, and what follows, in a sentence; null: none that is known. */
  otherListener: string | null;
  /** What server and generator have in common: a core, or the two hardware threads of one. */
  sharedCore: "core" | "siblings" | null;
  /** CPU time of the pinned cores, else of all, that the hypervisor gave to other guests. */
  stealShare: number | null;
  /** CPU time of these cores that processes used which have no part in the run. */
  foreignShare: number | null;
  /** The same of the worst half second, or window, where it is half of it or more: a burst decides the upper percentiles. */
  stealBurst: number | null;
  foreignBurst: number | null;
  /** Time in which the control group was kept from running. */
  throttledShare: number | null;
  /** Interrupts are missing in the CPU time of processes. */
  irqApart: boolean;
  seconds: number;
  /** Whether each connection sent its next request at once when it had the answer, all of the time. */
  closedLoop: boolean;
  /** What is counted: requests that get an answer, or deliveries of a broadcast. */
  unit: "request" | "delivery";
}

const UNITS = {
  request: {
    all: "requests",
    came: "answered",
    noun: "answer",
    answers: "answers",
    kind: " with status 200",
    none: "got no answer",
  },
  delivery: {
    all: "deliveries",
    came: "made",
    noun: "delivery",
    answers: "deliveries",
    kind: "",
    none: "did not come",
  },
} as const;

/** A core has no slack left above it: a queue in front of it grows to ten times its work (M/M/1: 1 / (1 − ρ)). */
const FULL_SHARE = 0.9;
/** An open loop that gets less than this of what it asks for is behind. */
const REACHED_SHARE = 0.98;
/** More than half of what is missing. */
const MOST = 0.5;
/** With more of p99 than this from the generator, p99 says little about the server. */
const LATE_SHARE = 0.1;
/** How far Little's law (L = λW, Little 1961) may be off: more than rounding and the ends of the window explain. */
const LITTLE_ERROR = 0.05;
/** The differences between architectures that are of interest begin at about this. */
const FOREIGN_SHARE = 0.1;
/** One per cent of throttling is a p99 of its own. */
const THROTTLED_SHARE = 0.01;
/** Below it one tick of /proc/stat, 10 ms, is more than 1 % of the run. */
const SHORT_SECONDS = 1;

const percent = (share: number) => `${Math.round(share * 100)} %`;
const isFull = (share: number | null): share is number => share !== null && share >= FULL_SHARE;

const CLIENT_BOUNDS = "take the throughput as a lower bound and the latency as an upper one";

function clientBound(of: Evidence): string | null {
  const { generatorCoreShare: client, serverCoreShare: server, loadCoresLeft: left } = of;
  if (isFull(server)) return null;
  const shown = limitShown(of.trials);
  if (shown !== null) return `${shown}: the server can do more, so ${CLIENT_BOUNDS}`;
  if (!isFull(client)) return null;
  const slack = server === null ? "" : ` and the server ${percent(server)} of its own`;
  const none = left === 0 ? ", and no core is left for another process" : "";
  return `the busiest process of the load generator used ${
    percent(client)
  } of its core${slack}${none}: the server may ` +
    `be able to do more, so ${CLIENT_BOUNDS}`;
}

function bothBound({ generatorCoreShare: client, serverCoreShare: server }: Evidence): string | null {
  if (!isFull(client) || !isFull(server)) return null;
  return `the busiest process of the load generator used ${percent(client)} of its core and the server ${
    percent(server)
  } of its own: the throughput is ` +
    "what the server can do, the latency an upper bound";
}

function serverBound({ askedPerS: asked, ratePerS: reached, ...of }: Evidence): string | null {
  if (asked === null || reached === null || reached >= REACHED_SHARE * asked) return null;
  const failed = of.unanswered + Object.values(of.errors).reduce((sum, times) => sum + times, 0);
  if (failed >= MOST * (asked - reached) * of.seconds) return null; // they are missing because they failed, in no queue
  if (clientBound({ ...of, askedPerS: asked, ratePerS: reached }) !== null) return null;
  const { all, came } = UNITS[of.unit];
  return `${count(asked)} ${all}/s were due and ${count(reached)} were ${came} in time: the latency is ` +
    "that of a growing queue, so lower the rate to see the server's own";
}

function lateSends({ lateP99Us: late, p99Us }: Evidence): string | null {
  if (late === null || p99Us === null || late <= LATE_SHARE * p99Us) return null;
  return `the load generator sent 99 % of the requests up to ${microseconds(late)} late, and p99 is ` +
    `${microseconds(p99Us)}: part of it may be the generator's own; give it a core to itself`;
}

function little({ closedLoop, connections, ratePerS, meanLatencyUs, errors }: Evidence): string | null {
  if (!closedLoop || ratePerS === null || meanLatencyUs === null || Object.keys(errors).length > 0) return null;
  const inFlight = ratePerS * meanLatencyUs / 1e6;
  if (!(inFlight > 0) || Math.abs(connections / inFlight - 1) <= LITTLE_ERROR) return null;
  const rounded = Number(inFlight.toPrecision(3));
  const shown = `${rounded < 1000 ? rounded : count(rounded)} requests in flight`;
  return `rate times mean latency is ${shown}, but ${counted(connections, "connection")} had one each: some ` +
    "stood idle or were not timed, so trust neither of the two figures before this is explained";
}

/** Writes errors by kind, the most frequent first: `12 http_503, 3 ECONNRESET`. */
export const errorsByKind = (errors: Readonly<Record<string, number>>): string =>
  Object.entries(errors).toSorted(([, a], [, b]) => b - a).map(([kind, times]) => `${count(times)} ${kind}`).join(", ");

function errorsFound({ errors, answered, unit }: Evidence): string | null {
  if (Object.keys(errors).length === 0) return null;
  const { all, noun, answers, kind } = UNITS[unit];
  return `${errorsByKind(errors)} next to ${
    counted(answered, noun, answers)
  }${kind}: no figure contains the ${all} that failed`;
}

function unansweredFound({ unanswered, answered, unit }: Evidence): string | null {
  if (unanswered === 0) return null;
  return `${count(unanswered)} of ${counted(unanswered + answered, unit, UNITS[unit].all)} ${
    UNITS[unit].none
  }: they waited at least until the end, so ` +
    "percentiles that they reach are lower bounds";
}

function lostConnections({ lost, unit }: Evidence): string | null {
  if (lost === 0) return null;
  const { all, came } = UNITS[unit];
  const were = lost === 1 ? "connection was" : "connections were";
  return `${
    count(lost)
  } ${were} closed or reset by the server: the latencies are those of ${all} that were ${came}, the ` +
    "worst are not among them";
}

function reconnectsFound({ reconnects, closesAfter }: Evidence): string | null {
  if (reconnects === 0) return null;
  const after = closesAfter === null ? "" : ` after ${counted(closesAfter, "answer")} each`;
  return `the server closed connections${after} and ${count(reconnects)} were reopened: the figures contain that cost`;
}

function redialsFound({ redials }: Evidence): string | null {
  if (redials === 0) return null;
  return `${
    counted(redials, "attempt")
  } to connect found the accept queue full, and were repeated: a larger backlog of ` +
    "listen(2), or accepting faster, saves clients that wait";
}

const BOUNDS = "take throughput as a lower bound and latency as an upper one, and compare only what ran interleaved";

const SHARED: Record<NonNullable<Evidence["sharedCore"]>, string> = {
  core: "server and load generator shared a core",
  siblings: "server and load generator ran on hardware threads of one core",
};

function sharedCoreFound({ sharedCore: shared }: Evidence): string | null {
  return shared === null ? null : `${SHARED[shared]}, so that each slowed the other: ${BOUNDS}`;
}

/** A share and its burst in words; null where neither is enough for a finding. */
function taken(share: number | null, burst: number | null): string | null {
  if (share === null || (share <= FOREIGN_SHARE && burst === null)) return null;
  return `${percent(share)} of the CPU time${burst === null ? "" : `, ${percent(burst)} in the worst stretch of it`}`;
}

function foreignLoad({ foreignShare, foreignBurst }: Evidence): string | null {
  const of = taken(foreignShare, foreignBurst);
  return of === null ? null : `processes outside of the run used ${of}: ${BOUNDS}`;
}

function steal({ stealShare, stealBurst }: Evidence): string | null {
  const of = taken(stealShare, stealBurst);
  return of === null ? null : `steal time was ${of}: ${BOUNDS}`;
}

function throttled({ throttledShare: share }: Evidence): string | null {
  if (share === null || share <= THROTTLED_SHARE) return null;
  return `the CPU quota of the container stopped its processes for ${percent(share)} of the time: ${BOUNDS}`;
}

function irqApart({ irqApart: apart }: Evidence): string | null {
  if (!apart) return null;
  return "the kernel counts interrupts apart from processes: CPU time per request lacks the network stack that runs there";
}

function shortRun({ seconds }: Evidence): string | null {
  if (seconds >= SHORT_SECONDS) return null;
  const shown = Number(seconds.toPrecision(2));
  return `it ran for ${shown} s: one pause dominates, so treat the figures as preliminary`;
}

const JUDGES: Record<FindingId, (of: Evidence) => string | null> = {
  client_bound: clientBound,
  both_bound: bothBound,
  server_bound: serverBound,
  late_sends: lateSends,
  little,
  errors: errorsFound,
  unanswered: unansweredFound,
  lost_connections: lostConnections,
  reconnects: reconnectsFound,
  redials: redialsFound,
  other_listener: ({ otherListener }) => otherListener,
  shared_core: sharedCoreFound,
  foreign_load: foreignLoad,
  steal,
  throttled,
  irq_apart: irqApart,
  short_run: shortRun,
};

/**
 * Judges a run of a server by its figures. Returns what weakens it, nothing for a run without a caveat.
 *
 * @example
 * ```ts
 * const findings = judge("epoll", { ...evidence, generatorCoreShare: 0.93 });
 * // [{ server: "epoll", id: "client_bound", sentence: "the busiest process of the load generator used 93 % of its core: …" }]
 * ```
 */
export function judge(server: string, of: Evidence): Finding[] {
  return FINDING_IDS.flatMap((id) => {
    const sentence = JUDGES[id](of);
    return sentence === null ? [] : [{ server, id, sentence }];
  });
}

/** The findings of more than half of the rounds. */
export function foundOften(rounds: readonly { findings: readonly Found[] }[]): Found[] {
  const all = Map.groupBy(rounds.flatMap(({ findings }) => findings), ({ server, id }) => `${server} ${id}`);
  return [...all.values()].filter((same) => same.length * 2 > rounds.length).map(([first]) => ({
    server: first!.server,
    id: first!.id,
  }));
}

/**
 * The findings of rounds that count: those of more than half of them, and of each round what took CPU time from it. Such
 * rounds count only where too few others are left, so that the figures of all are doubtful.
 */
export function foundInCounted(rounds: readonly { findings: readonly Found[] }[]): Found[] {
  const taken = rounds.flatMap(({ findings }) => findings.filter((found) => isSpoilt([found])));
  const all = [...foundOften(rounds), ...taken];
  return [...new Map(all.map(({ server, id }) => [`${server} ${id}`, { server, id }])).values()];
}

/** The ids of the findings on one server. */
export const idsOf = (findings: readonly Found[], server: string): FindingId[] =>
  findings.filter((found) => found.server === server).map(({ id }) => id);

/** What took CPU time from a run: its throughput is a lower bound. */
const TAKEN: readonly FindingId[] = ["foreign_load", "steal", "throttled"];
const OF_THROUGHPUT: readonly string[] = ["client_bound", "shared_core", ...TAKEN];
const OF_LATENCY: readonly string[] = ["client_bound", "both_bound", "late_sends", "shared_core", ...TAKEN];

/** Whether others took CPU time from a run, so that it is to be measured again. */
export const isSpoilt = (findings: readonly Found[]): boolean => findings.some(({ id }) => TAKEN.includes(id));

/** Figures of time: others that use the machine change them. Memory and numbers of threads stay what they are. */
const OF_TIME = /_us(_per_[a-z]+)?$|_per_s$/;

/**
 * Whether a figure is doubtful because others used the machine. CPU time per request is, too: they evict the caches, and on
 * the other thread of a core they take its units.
 */
export const isDisturbed = (metric: string, findings: readonly Found[]): boolean =>
  OF_TIME.test(metric) && isSpoilt(findings);

/** Figures of time of a probe, and of what a server does at one wake-up, which depends on how much waits for it then. */
const OF_TIME_IN_PROBES = /(^|_)us(_|$)|_ratio$|percent|_per_s(_|$)|_per_request$|_cores$|_seconds$/;

/** The same of a figure of a probe. */
export const isDisturbedProbe = (
  { metric, foreign_share: share = 0 }: { metric: string; foreign_share?: number },
): boolean => share > FOREIGN_SHARE && OF_TIME_IN_PROBES.test(metric);

/** The same of what a wait call costs: all its figures are of time. */
export const isDisturbedCall = ({ foreign_share: share = 0 }: { foreign_share?: number }): boolean =>
  share > FOREIGN_SHARE;

/** What to say of a figure that {@linkcode isDisturbed}. */
export const DISTURBED = "others used the machine";

/**
 * What a figure is where findings weaken it: throughput that the load generator or others limited is a lower bound, a
 * latency that is also the generator's own or another process's is an upper one. Null: it is a figure.
 */
export function boundOf(metric: string, findings: readonly string[]): "at least" | "at most" | null {
  if (metric === "requests_per_s") return findings.some((id) => OF_THROUGHPUT.includes(id)) ? "at least" : null;
  const isLatency = /^(raw_|last_)?p\d+(_\d+)?_us$/.test(metric);
  return isLatency && findings.some((id) => OF_LATENCY.includes(id)) ? "at most" : null;
}

/** The same of a run, whose percentiles are lower bounds where unanswered requests reach them. */
export const boundOfRun = (
  metric: string,
  { findings, at_least }: { findings: readonly Found[]; at_least: readonly string[] },
): "at least" | "at most" | null =>
  at_least.includes(metric) ? "at least" : boundOf(metric, findings.map(({ id }) => id));
