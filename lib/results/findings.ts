/**
 * What weakens a measurement: a closed set of findings, stored with the result and printed below it as caveats. None of
 * them makes a figure wrong; each says what it may no longer be taken for.
 *
 * @module
 */
import * as v from "valibot";
import { field, text } from "./check.ts";

/** All findings, in the order in which they are printed, with what each means. */
export const FINDING_SAYS = {
  client_bound:
    "the load generator used most of its core: throughput is a lower bound, CPU time per request stays comparable",
  late_sends: "requests left late although a connection was free: the upper percentiles may be the generator's own",
  little: "rate times mean latency is not the number of connections (Little's law): some were idle, or were not timed",
  lost_connections:
    "connections were lost: the latencies are those of answered requests, and the worst are not among them",
  foreign_load: "other processes or other guests of the machine took CPU time: compare only interleaved runs",
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
  /** CPU time of the load generator by the time that one core had. */
  generatorCoreShare: number | null;
  /** Requests that left late although a connection was idle, by all that were due; of an open loop. */
  lateShare: number | null;
  connections: number;
  ratePerS: number | null;
  meanLatencyUs: number | null;
  /** Connections that were closed or reset before their time. */
  lost: number;
  /** CPU time that the hypervisor gave to other guests, by all of it. */
  stealShare: number | null;
  /** CPU time of processes that have no part in the run, by all of it. */
  foreignShare: number | null;
  seconds: number;
  /** Whether each connection sent its next request at once when it had the answer, all of the time. */
  closedLoop: boolean;
}

/**
 * Above this the generator has no slack left: a queue in front of it grows to five times its work (M/M/1: 1 / (1 − ρ)).
 */
const GENERATOR_CORE_SHARE = 0.8;
/** One in a hundred is what p99 is made of: with more of them, p99 may tell of the generator and not of the server. */
const LATE_SHARE = 0.01;
/** How far Little's law (L = λW, Little 1961) may be off: more than rounding and the ends of the window explain. */
const LITTLE_ERROR = 0.05;
/** The differences between architectures that are of interest begin at about this. */
const FOREIGN_SHARE = 0.1;
/** Below it one tick of /proc/stat, 10 ms, is more than 1 % of the run. */
const SHORT_SECONDS = 1;

const percent = (share: number) => `${Math.round(share * 100)} %`;

function clientBound({ generatorCoreShare: share }: Evidence): string | null {
  if (share === null || share <= GENERATOR_CORE_SHARE) return null;
  return `the load generator used ${percent(share)} of its core: the server may be able to do more, so take the ` +
    "throughput as a lower bound and the latency as an upper one; CPU per request holds";
}

function lateSends({ lateShare: share }: Evidence): string | null {
  if (share === null || share <= LATE_SHARE) return null;
  return `${
    (share * 100).toFixed(1)
  } % of the requests were sent late by the load generator: from p99 on the latency may ` +
    "be its own, so lower the rate or give it a core to itself";
}

function little({ closedLoop, connections, ratePerS, meanLatencyUs }: Evidence): string | null {
  if (!closedLoop || ratePerS === null || meanLatencyUs === null) return null;
  const inFlight = ratePerS * meanLatencyUs / 1e6;
  const shown = Number(inFlight.toPrecision(3));
  if (!(inFlight > 0) || Math.abs(connections / inFlight - 1) <= LITTLE_ERROR) return null;
  return `rate times mean latency is ${shown} requests in flight, but ${connections} connections had one each: some ` +
    "stood idle or were not timed, so trust neither of the two figures before this is explained";
}

function lostConnections({ lost }: Evidence): string | null {
  if (lost === 0) return null;
  const were = lost === 1 ? "connection was" : "connections were";
  return `${lost} ${were} closed or reset by the server: the latencies are those of requests that were answered, the ` +
    "worst are not among them";
}

function foreignLoad({ stealShare, foreignShare }: Evidence): string | null {
  const steal = stealShare ?? 0;
  const foreign = foreignShare ?? 0;
  if (steal <= FOREIGN_SHARE && foreign <= FOREIGN_SHARE) return null;
  const took = [];
  if (steal > FOREIGN_SHARE) took.push(`the hypervisor gave ${percent(steal)} of the CPU time to other guests`);
  if (foreign > FOREIGN_SHARE) took.push(`processes outside of the run used ${percent(foreign)} of the CPU time`);
  return `${took.join(", ")}: throughput and latency tell of them too, so compare only what ran interleaved`;
}

function shortRun({ seconds }: Evidence): string | null {
  if (seconds >= SHORT_SECONDS) return null;
  const shown = Number(seconds.toPrecision(2));
  return `it ran for ${shown} s: a single pause decides the figures, so take them for a first look`;
}

const JUDGES: Record<FindingId, (of: Evidence) => string | null> = {
  client_bound: clientBound,
  late_sends: lateSends,
  little,
  lost_connections: lostConnections,
  foreign_load: foreignLoad,
  short_run: shortRun,
};

/**
 * Judges a run of a server by its figures. Returns what weakens it, nothing for a run without a caveat.
 *
 * @example
 * ```ts
 * const findings = judge("epoll", { ...evidence, generatorCoreShare: 0.93 });
 * // [{ server: "epoll", id: "client_bound", sentence: "the load generator used 93 % of its core: …" }]
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

/** The ids of the findings on one server. */
export const idsOf = (findings: readonly Found[], server: string): FindingId[] =>
  findings.filter((found) => found.server === server).map(({ id }) => id);

const OF_LATENCY: readonly FindingId[] = ["client_bound", "late_sends", "foreign_load"];

/**
 * What a figure is where findings weaken it: throughput that the load generator limited is a lower bound, a latency that is
 * also the generator's own or another process's is an upper one. Null: it is a figure, as CPU time per request always is.
 */
export function boundOf(metric: string, findings: readonly string[]): "at least" | "at most" | null {
  if (metric === "requests_per_s") return findings.includes("client_bound") ? "at least" : null;
  const isLatency = /^(raw_)?p\d+(_\d+)?_us$/.test(metric);
  return isLatency && OF_LATENCY.some((id) => findings.includes(id)) ? "at most" : null;
}
