/**
 * Makes one outcome of what the processes of a load generator have found. Counts add up, and histograms merge without loss.
 *
 * @module
 */
import { Histogram } from "../timing/histogram.ts";
import type {
  AskOutcome,
  BroadcastPart,
  ConnectOutcome,
  ErrorCounts,
  StressPart,
  Totals,
  Window,
  WindowPart,
} from "./types.ts";

/** A limit of the server shows where so large a share of its closes came after the same number of answers. */
const SAME_CLOSES = 0.9;

const HISTOGRAMS = ["histogram", "censored", "raw", "lateness"] as const;

/** Turns the histograms of an outcome, which came as text, into histograms again. */
export function revive<T>(outcome: unknown): T {
  const revived = { ...(outcome as Record<string, unknown>) };
  for (const key of HISTOGRAMS) {
    const text = revived[key];
    if (typeof text === "string") revived[key] = Histogram.parse(text);
  }
  return revived as T;
}

const sum = <T>(parts: readonly T[], of: (part: T) => number): number =>
  parts.reduce((total, part) => total + of(part), 0);

/** The sum of counts by key. */
export function addCounts(parts: readonly Record<string, number>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const part of parts) for (const [key, times] of Object.entries(part)) all[key] = (all[key] ?? 0) + times;
  return all;
}

const errorsOf = (parts: readonly { errors: ErrorCounts }[]) => addCounts(parts.map(({ errors }) => errors));

function mergeHistograms(histograms: readonly (Histogram | null)[]): Histogram | null {
  const known = histograms.filter((histogram) => histogram !== null);
  return known.length === 0 ? null : known.reduce((all, histogram) => all.merge(histogram), new Histogram());
}

export const mergeConnects = (parts: readonly ConnectOutcome[]): ConnectOutcome => ({
  requested: sum(parts, (part) => part.requested),
  connected: sum(parts, (part) => part.connected),
  failed: sum(parts, (part) => part.failed),
  redials: sum(parts, (part) => part.redials),
  seconds: Math.max(0, ...parts.map(({ seconds }) => seconds)),
  errors: errorsOf(parts),
});

export const mergeAsks = (parts: readonly AskOutcome[]): AskOutcome => ({
  asked: sum(parts, (part) => part.asked),
  answered: sum(parts, (part) => part.answered),
  lost: sum(parts, (part) => part.lost),
  dropped: sum(parts, (part) => part.dropped),
  closed: sum(parts, (part) => part.closed),
  unanswered: sum(parts, (part) => part.unanswered),
  seconds: Math.max(0, ...parts.map(({ seconds }) => seconds)),
  histogram: mergeHistograms(parts.map(({ histogram }) => histogram)) ?? new Histogram(),
  errors: errorsOf(parts),
});

export const mergeTotals = (parts: readonly Totals[]): Totals => ({
  connections: sum(parts, (part) => part.connections),
  answered: sum(parts, (part) => part.answered),
  lost: sum(parts, (part) => part.lost),
  dropped: sum(parts, (part) => part.dropped),
  closed: sum(parts, (part) => part.closed),
  reconnects: sum(parts, (part) => part.reconnects),
  redials: sum(parts, (part) => part.redials),
  errors: errorsOf(parts),
});

export const mergeStress = (parts: readonly StressPart[]): StressPart => ({
  requests: sum(parts, (part) => part.requests),
  answered: sum(parts, (part) => part.answered),
  resets: sum(parts, (part) => part.resets),
  half_closes: sum(parts, (part) => part.half_closes),
  unanswered: sum(parts, (part) => part.unanswered),
  unended: sum(parts, (part) => part.unended),
  lost: sum(parts, (part) => part.lost),
  dropped: sum(parts, (part) => part.dropped),
  errors: errorsOf(parts),
  stopped_early: parts.find(({ stopped_early }) => stopped_early !== null)?.stopped_early ?? null,
});

/** When the last listener of all processes had a message, over all messages that came to anybody. */
export function lastOf(parts: readonly BroadcastPart[]): Histogram {
  const last = new Histogram();
  for (let i = 0; i < (parts[0]?.last_us.length ?? 0); i++) {
    const us = Math.max(...parts.map(({ last_us }) => last_us[i]!));
    if (us >= 0) last.record(us);
  }
  return last;
}

/** The number of answers after which nine in ten were closed; null if there is none. */
export function closesAfter(closes: Record<string, number>): number | null {
  const all = Object.entries(closes);
  const total = sum(all, ([, times]) => times);
  const [answers] = all.find(([, times]) => times >= SAME_CLOSES * total) ?? [];
  return answers === undefined ? null : Number(answers);
}

/** A window without the times that only the process knows which reads them. */
export type Merged = Omit<Window, "server_cpu_us" | "host_cpu" | "cores" | "own_cpu" | "slices">;

/** Whether the load ended before its time: one process that goes on is load. */
export const isOver = (parts: readonly Pick<WindowPart, "stopped_early">[]): boolean =>
  parts.every(({ stopped_early }) => stopped_early !== null);

/** Why the window ended before its time: in all of its processes, or in some of them while the others went on. */
function stoppedEarly(parts: readonly Pick<WindowPart, "stopped_early">[]): string | null {
  const causes = parts.map(({ stopped_early }) => stopped_early).filter((cause) => cause !== null);
  const [first] = causes;
  if (first === undefined || causes.length === parts.length) return first ?? null;
  const cause = first[0]!.toLowerCase() + first.slice(1).replace(/\.$/, "");
  return `${causes.length} of ${parts.length} load processes stopped early (${cause}).`;
}

/** Merges the parts of one window; one at least. */
export function mergeWindows(parts: readonly WindowPart[]): Merged {
  const scheduled = parts.map((part) => part.scheduled).filter((due) => due !== null);
  const merged = (key: typeof HISTOGRAMS[number]) => mergeHistograms(parts.map((part) => part[key]));
  return {
    seconds: Math.max(...parts.map(({ seconds }) => seconds)), // all begin at once; one that ended early adds no time
    connections: sum(parts, (part) => part.connections),
    requests: sum(parts, (part) => part.requests),
    drained: sum(parts, (part) => part.drained),
    errors: errorsOf(parts),
    lost: sum(parts, (part) => part.lost),
    dropped: sum(parts, (part) => part.dropped),
    closed: sum(parts, (part) => part.closed),
    reconnects: sum(parts, (part) => part.reconnects),
    redials: sum(parts, (part) => part.redials),
    closes_after: closesAfter(addCounts(parts.map(({ closes }) => closes))),
    unanswered: sum(parts, (part) => part.unanswered),
    histogram: merged("histogram")!,
    censored: merged("censored")!,
    raw: merged("raw"),
    lateness: merged("lateness"),
    client_cpu_us: sum(parts, (part) => part.client_cpu_us),
    client_spin_us: sum(parts, (part) => part.client_spin_us),
    client_processes: parts.length,
    client_busy_us: parts.map(({ client_cpu_us, client_spin_us }) => client_cpu_us - client_spin_us),
    late_sends: sum(parts, (part) => part.late_sends),
    scheduled: scheduled.length === 0 ? null : sum(scheduled, (due) => due),
    stopped_early: stoppedEarly(parts),
  };
}
