/**
 * What several claims ask in the same way.
 *
 * @module
 */
import { bytes, count } from "../text/format.ts";
import { type Part, written } from "./claim.ts";
import { type Evidence, type Held, NotMeasured } from "./evidence.ts";
import { atLeast, atMost, EFFECT, type Figure, MARGIN, once, sumOf, times } from "./figure.ts";
import type { Ratio } from "./ratio.ts";
import { C10K, DESCRIPTORS, MEMORY_SHARE } from "../results/conventions.ts";

/** The load had no port left for one more connection, or the time of the run was over. */
const CUT_SHORT = /\bat this end\b|: time, /;
/** Whether the load or the time ended a run of `hold`, so that it does not show where the server ends. */
const isCutShort = (reason: string | null): boolean => CUT_SHORT.test(reason ?? "");

/** What ended a run of `hold`, to stand behind its figure: nothing where all were held that were asked for. */
export const endOf = (reason: string | null): string => reason === null ? "" : ` (${reason.replace(/\.$/, "")})`;

/**
 * How many connections a server takes at most. A lower bound where no more were asked for, or where the run was cut short, or
 * where a setting of the host stopped it: another one may let the same server hold more.
 */
export function ceilingOf({ answered, reason }: Pick<Held, "answered" | "reason">): Figure {
  const isBound = reason === null || isCutShort(reason) || settingIn(reason) !== undefined;
  return isBound ? { ...answered, high: Infinity } : answered;
}

/** A run of `hold` ended before the machine had no memory left. */
const OF_MEMORY = /: memory, /;
/** What the server counted, or the kernel said, where it had no more of something. */
const NO_MORE = /\b(?:EMFILE|ENFILE|ENOMEM|EAGAIN)\b/;

/** Whether the reason of a run says that memory, or something else that the system gives, ran out. */
export const isOfResources = (reason: string | null): boolean =>
  reason !== null && !reason.includes(OF_THE_LOAD) &&
  (settingIn(reason) !== undefined || OF_MEMORY.test(reason) || NO_MORE.test(reason));

/** Whether a server held all the connections that the problem asks for. Open where the host has no memory for more. */
export function heldAll(evidence: Evidence, name: string): Part {
  const held = evidence.held(name);
  const isAll = atLeast(ceilingOf(held), C10K);
  const holds = isAll === false && OF_MEMORY.test(held.reason ?? "") ? null : isAll;
  const why = holds === true ? "" : endOf(held.reason);
  return { says: `${name} held ${count(held.answered.estimate)} connections${why}`, holds };
}

/** A setting of the kernel, or a limit of processes, in the reason of a run. */
const SETTING = /\b(?:(?:vm|fs|net|kernel)\.[a-z_0-9.]*[a-z_0-9]|pids\.max(?: or ulimit -u)?|ulimit -u|descriptors\b)/;
/** How a reason names the end of the load generator. */
const OF_THE_LOAD = "at this end";

/** The setting that the reason of a run names; none where it stopped the load generator, and not the server. */
export const settingIn = (reason: string | null): string | undefined =>
  reason === null || reason.includes(OF_THE_LOAD) ? undefined : SETTING.exec(reason)?.[0];

/**
 * Whether a run of `hold` shows that a setting has to be changed. Yes: fewer than 10 000 are held, the reason names the
 * setting, and the memory of the machine would do for 10 000. Else it is open: a run that the setting did not stop says
 * nothing of other values, and where memory is too small as well, raising the setting alone brings no 10 000.
 */
export function needsTuning(name: string, { answered, reason, descriptors, metrics, host }: Held): Part {
  const says = `${name} held ${count(answered.estimate)}`;
  if (answered.estimate >= C10K) {
    const limit = descriptors === null ? "no known limit of descriptors" : `${count(descriptors)} descriptors allowed`;
    return { says: `${says} with ${limit}, which says nothing of fewer`, holds: null };
  }
  const setting = settingIn(reason);
  if (setting === undefined) return { says: `${says}, and no setting is known to have stopped it`, holds: null };
  const stopped = `${says}, and was not asked for more because of ${setting}`;
  const { pss_bytes: memory } = metrics;
  if (memory === null) return { says: `${stopped}; whether memory would do is not known`, holds: null };
  const whole = memory / answered.estimate * C10K;
  if (whole <= MEMORY_SHARE * host.memory_bytes) return { says: stopped, holds: true };
  return {
    says: `${stopped}; raising it alone brings no ${count(C10K)}, which would take ${bytes(whole)} of memory`,
    holds: null,
  };
}

/**
 * Whether the limit of descriptors that most systems start a process with has to be raised: where a server with that limit
 * holds fewer clients than come. A run of `hold` cannot show it, for the runtime of most servers raises its own soft limit.
 */
export function usualLimit(evidence: Evidence): Part {
  const { probe, usual, clients } = DESCRIPTORS;
  const { estimate: answered } = evidence.probe(probe, String(usual), "answered");
  return {
    says: `with ${count(usual)} descriptors, and no right to more, epoll held and answered ${count(answered)} of ` +
      `${count(clients)} clients`,
    holds: answered < clients,
  };
}

/** Memory of processes or threads with what the kernel holds for each, and in words what is in it. */
export interface Whole {
  bytes: Figure;
  words: string;
}

/** What the kernel keeps for each thread or process, by the beginning of its metric. */
const IN_KERNEL: readonly [metric: string, word: string][] = [
  ["kernel_stack", "kernel stack"],
  ["page_table", "page tables"],
  ["kernel_slab", "other objects of the kernel"],
];

/**
 * Adds what the kernel keeps for each thread or process to the memory that they touch. A figure that the probe does not have is
 * left out, and the words say what is in it.
 *
 * @param own The memory of all of them.
 * @param many How many threads or processes that are.
 */
export function withKernel(
  evidence: Evidence,
  kind: "thread" | "process",
  variant: string,
  own: Figure,
  many = 1,
): Whole {
  const metrics = IN_KERNEL.map(([metric]) => `${metric}_bytes_per_${kind}`);
  const known = keptFor(evidence, kind, variant, metrics);
  const words = IN_KERNEL.filter((_, i) => known.some(({ metric }) => metric === metrics[i])).map(([, word]) => word);
  if (known.length === 0) return { bytes: own, words: "without what the kernel keeps for it" };
  const kept = known.map(({ value }) => times({ ...value, margin: MARGIN.memory }, many));
  return { bytes: sumOf([own, ...kept]), words: `with ${words.join(" and ")}` };
}

/** What a probe has of the memory of the kernel: nothing where the probe itself is missing, for that decides no claim. */
function keptFor(evidence: Evidence, kind: string, variant: string, metrics: readonly string[]) {
  try {
    return evidence.probesAsFarAsKnown(`${kind}-memory`, variant, metrics);
  } catch (error) {
    if (error instanceof NotMeasured) return [];
    throw error;
  }
}

/** What as many connections as a text names would take. It decides nothing: one of 10 000 says little of a million. */
export function wouldTake(evidence: Evidence, what: string, connections: number, each: number): Part {
  const whole = once(each * connections, MARGIN.memory);
  const total = evidence.host.memory_bytes;
  const fits = whole.estimate <= total * MEMORY_SHARE;
  return {
    says:
      `${what} would take ${written(whole, "bytes")}, extrapolated from ${bytes(each)} for each of ${count(C10K)}; ` +
      (fits ? "missing is a run with as many" : `missing is a machine with more than the ${bytes(total)} here`),
    holds: null,
  };
}

/** Memory at 10 000 connections, of one server against another. */
export const memoryRatio = (evidence: Evidence, metric: "pss_bytes" | "user_bytes_per_conn", of: string, to: string) =>
  evidence.ratio({ scenario: "hold", connections: C10K, metric, of, to });

/** CPU time of a request under full load, of one server against another. */
export const cost = (evidence: Evidence, of: string, to: string, connections = 100): Ratio =>
  evidence.ratio({ scenario: "throughput", connections, metric: "cpu_us_per_request", of, to });

/** A server that does not block: its light requests wait half as long as those of a blocked loop, or less; a tenth less is no more. */
export const isUnblocked = (p99: Ratio): boolean | null => p99.isVoid ? null : atMost(p99, UNBLOCKED, 1 / EFFECT);
const UNBLOCKED = 0.5;
/** "As cheap": within a quarter; half as much again is not. */
export const isAsCheap = (cost: Figure): boolean | null => atMost(cost, AS_CHEAP.to, AS_CHEAP.notOver);
const AS_CHEAP = { to: 1.25, notOver: 1.5 };

/** What to say beside CPU time that no full load was measured for: nothing where the servers were the limit. */
export const atFullLoad = ({ limited }: Ratio): string =>
  limited ? "; the load generator was the limit: not full load" : "";

/** The same over a wire, by busy time of the server's cores or by CPU time of its processes alone. */
export const costOverWire = (
  evidence: Evidence,
  metric: "core_us_per_request" | "cpu_us_per_request",
  of: string,
  to: string,
  connections: number,
): Ratio => evidence.ratio({ scenario: "throughput", connections, metric, isWired: true, of, to });
