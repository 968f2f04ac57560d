/**
 * The rules by which a cell is judged, as data.
 *
 * @module
 */
import type { FaultRow } from "../../lib/results/rows.ts";
import type { Fault } from "./fault.ts";

/** The figures of a cell, before it is judged. */
export type Figures = Omit<FaultRow, "server" | "fault" | "seed" | "verdict" | "reason">;
/** The parts of a fault that rules depend on. */
type Kind = Pick<Fault, "stalls" | "ends" | "isQuiet" | "mayKeepBytes">;

/** A rule: what breaks it, and the verdict if it is broken. */
interface Rule {
  verdict: "failed" | "degraded";
  says: string;
  /** It is about clients beside others: an architecture that serves one after the other cannot keep it. */
  isOfOthers?: true;
  isBroken(figures: Figures, fault: Kind): boolean;
}

export const MIN_ANSWERED_SHARE = 0.99;
export const MAX_P99_MS = 200;
export const MAX_MORE_DESCRIPTORS = 3;
export const MAX_MORE_THREADS = 4;
/** As much as V8 lets its young generation grow, 3 × 16 MiB, where it has had more to do than before: that is no leak. */
export const MAX_MORE_BYTES = 48 * 2 ** 20;
/** Of one core, where a fault leaves nothing to do. */
export const MAX_IDLE_CPU_SHARE = 0.5;
/** What may be kept for clients that are there: 64 MiB by the contract, and half as much for what holds it. */
export const MAX_HELD_BYTES = 96 * 2 ** 20;

/** How long a normal request may take: on a machine that is busy with others, three times as long as before the fault. */
export const allowedMs = (p99BeforeMs: number | null): number => Math.max(MAX_P99_MS, 3 * (p99BeforeMs ?? 0));

/** All rules, the gravest first. */
export const RULES: readonly Rule[] = [
  { verdict: "failed", says: "the server ended", isBroken: (of) => of.ended_early },
  { verdict: "failed", says: "it does not end with exit code 0", isBroken: (of) => (of.exit_code ?? 0) !== 0 },
  {
    verdict: "failed",
    says: "answers that were owed are lost",
    isOfOthers: true,
    isBroken: (of) => of.lost > 0,
  },
  {
    verdict: "failed",
    says: "normal clients are not answered in time again",
    isOfOthers: true,
    isBroken: (of, { ends }) => !ends && of.recovery_s === null,
  },
  {
    verdict: "degraded",
    says: "it spins: more than half a core, where there is nothing to do",
    isBroken: (of, { isQuiet }) => isQuiet === true && (of.cpu_share_during ?? 0) > MAX_IDLE_CPU_SHARE,
  },
  {
    verdict: "degraded",
    says: `more than ${MAX_HELD_BYTES / 2 ** 20} MiB are kept of answers that nobody reads`,
    isBroken: (of) => (of.memory_held_bytes ?? 0) > MAX_HELD_BYTES,
  },
  {
    verdict: "degraded",
    says: `less than ${MIN_ANSWERED_SHARE * 100} % of the normal requests are answered meanwhile`,
    isOfOthers: true,
    isBroken: (of, { ends }) => !ends && of.answered_share_during < MIN_ANSWERED_SHARE,
  },
  {
    verdict: "degraded",
    says: `the p99 of normal clients is above ${MAX_P99_MS} ms, and above three times what it was before`,
    isOfOthers: true,
    isBroken: (of, { stalls }) => !stalls && (of.p99_ms_during ?? 0) > allowedMs(of.p99_ms_before),
  },
  {
    verdict: "degraded",
    says: `more than ${MAX_MORE_DESCRIPTORS} descriptors are left behind`,
    isBroken: (of) => (of.descriptors_left ?? 0) > MAX_MORE_DESCRIPTORS,
  },
  {
    verdict: "degraded",
    says: `more than ${MAX_MORE_THREADS} threads are left behind`,
    isBroken: (of) => (of.threads_left ?? 0) > MAX_MORE_THREADS,
  },
  {
    verdict: "degraded",
    says: `more than ${MAX_MORE_BYTES / 2 ** 20} MiB are left behind, or what the fault lets it keep`,
    isBroken: (of, { mayKeepBytes = 0 }) => (of.memory_left_bytes ?? 0) > MAX_MORE_BYTES + mayKeepBytes,
  },
];

/**
 * Judges a cell by the first rule that it breaks.
 *
 * @param cannot What the server's header says that its architecture cannot, by ability.
 */
export function judge(
  figures: Figures,
  fault: Fault,
  cannot: Readonly<Record<string, string>>,
): Pick<FaultRow, "verdict" | "reason"> {
  const broken = RULES.find((rule) => rule.isBroken(figures, fault));
  if (broken === undefined) return { verdict: "survived", reason: null };
  const abilities = broken.isOfOthers ? [...fault.abilities, "serve-others"] : fault.abilities;
  const ability = abilities.find((id) => Object.hasOwn(cannot, id));
  if (ability !== undefined) return { verdict: "cannot", reason: `${ability}: ${cannot[ability]}` };
  return { verdict: broken.verdict, reason: broken.says };
}
