/**
 * The figures of a cell, from what its clients saw.
 *
 * @module
 */
import type { Sample } from "../../lib/sampling/sampler.ts";
import { coresBetween, type CpuLook } from "./cpu.ts";
import { withoutExcused } from "./excused.ts";
import type { Seen } from "./fault.ts";
import { allowedMs, type Figures } from "./judge.ts";
import type { Asked } from "./normal_clients.ts";

/** What is looked at before a fault. */
export const BEFORE_MS = 500;
/** Requests are counted for so long from the start of a fault, however short that is: a few of them would say nothing. */
export const MIN_DURING_MS = 1000;

/** The 99th percentile of all requests; null where that one had no answer. */
function p99(asked: readonly Asked[]): number | null {
  const took = asked.map(([, ms]) => ms ?? Infinity).sort((a, b) => a - b);
  const ms = took[Math.ceil(took.length * 0.99) - 1] ?? Infinity;
  return ms === Infinity ? null : ms;
}

/** Seconds from the end of a fault until 99 % of all requests are answered in time, to the last one seen; null: never. */
function recovery(later: readonly Asked[], until: number, allowedMs: number): number | null {
  const last = later.at(-1)?.[0] ?? until;
  let slow = later.filter(([, ms]) => ms === null || ms > allowedMs).length;
  for (const [i, [due, ms]] of later.entries()) {
    if (last - due < BEFORE_MS / 2) return null; // too few are left to say so
    if (slow <= 0.01 * (later.length - i)) return (due - until) / 1000;
    if (ms === null || ms > allowedMs) slow--;
  }
  return null;
}

/** Whether the requests of the last moments were answered in time. */
export function isCalm(asked: readonly Asked[], nowMs: number, allowedMs: number): boolean {
  const recent = asked.filter(([due]) => due >= nowMs - BEFORE_MS);
  return recent.length > 0 && (p99(recent) ?? Infinity) <= allowedMs;
}

const more = (after: Sample | null, before: Sample | null, of: (one: Sample) => number | null): number | null => {
  const [now, then] = [after && of(after), before && of(before)];
  return now === null || then === null ? null : now - then;
};

/** What a fault has left behind, so far as it is known. */
export type Leftovers = Pick<Figures, "descriptors_left" | "threads_left" | "memory_left_bytes">;

/** What is there beyond what was there before a fault. */
export const leftovers = (now: Sample | null, had: Sample | null): Leftovers => ({
  descriptors_left: more(now, had, (one) => one.descriptors),
  threads_left: more(now, had, (one) => one.threads),
  memory_left_bytes: more(now, had, (one) => one.pss_anon_bytes),
});

/** Everything that was seen of a cell. */
export interface Trial {
  /** How many normal clients there were, and what they asked. */
  clients: number;
  asked: readonly Asked[];
  /** When the fault began and was over, in ms since 1970. */
  from: number;
  until: number;
  /** The fault ends the server. */
  ends: boolean;
  seen: Seen;
  /** What new clients saw that came once it was over. */
  after: Seen;
  /** What the server had before, and what is left; null: it is not known, or the server is gone. */
  had: Sample | null;
  left: Sample | null;
  /** The CPU of the server at the beginning of the last look before the fault, and at its beginning and end. */
  cpu: Record<"calm" | "from" | "until", CpuLook | null>;
  endedEarly: boolean;
}

/** The figures of a cell. */
export function figuresOf(of: Trial): Figures {
  const { asked, from, until, ends, seen, after, had, left, cpu } = of;
  const windowEnd = ends ? until : Math.max(until, from + MIN_DURING_MS);
  const during = withoutExcused(asked.filter(([due]) => due >= from && due < windowEnd), seen.mayLose ?? 0);
  const later = asked.filter(([due]) => due >= until).sort(([a], [b]) => a - b);
  // What was under way when the fault came has met it, whether it was answered or not.
  const before = p99(asked.filter(([due, took]) => due >= from - BEFORE_MS && took !== null && due + took < from));
  const answered = during.filter(([, took]) => took !== null).length;
  const [idle, busy] = [coresBetween(cpu.calm, cpu.from), coresBetween(cpu.from, cpu.until)];
  const lostAfter = after.owed - after.came;
  return {
    clients: of.clients,
    requests_during: during.length,
    answered_share_during: during.length === 0 ? null : answered / during.length,
    p99_ms_before: before,
    p99_ms_during: p99(during),
    p99_ms_after: p99(later),
    recovery_s: recovery(later, until, allowedMs(before)),
    cpu_share_during: idle === null || busy === null ? null : busy - idle,
    ...leftovers(left, had),
    memory_held_bytes: seen.heldBytes ?? null,
    owed: seen.owed + after.owed,
    lost: seen.owed - seen.came + lostAfter,
    lost_after: lostAfter,
    outcomes: seen.outcomes ?? null,
    ended_early: of.endedEarly,
    exit_code: seen.exitCode ?? null,
  };
}
