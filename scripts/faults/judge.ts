/**
 * The rules by which a cell is judged, as data.
 *
 * @module
 */
import { MAX_ALONE } from "../../lib/results/conventions.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import { type Fault, FRESH } from "./fault.ts";

/** The figures of a cell, before it is judged. */
export type Figures = Omit<FaultRow, "server" | "fault" | "seed" | "verdict" | "reason" | "runs">;
/** What tells a cell from others. */
export type CellKey = Pick<FaultRow, "server" | "fault" | "seed">;
/** The parts of a fault that rules depend on. */
type Kind = Pick<Fault, "stalls" | "ends" | "isQuiet" | "mayKeepBytes">;

export type RuleId =
  | ("ended" | "exit" | "lost" | "after" | "recovery" | "spins" | "held")
  | ("share" | "p99" | "descriptors" | "threads" | "memory");

/** A rule: what breaks it, and the verdict if it is broken. */
interface Rule {
  id: RuleId;
  verdict: "failed" | "degraded";
  says: string;
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

/** Whether the p99 is too high. Without one the request at that place had no answer, which is worse than any figure. */
const isTooSlow = ({ requests_during, p99_ms_before, p99_ms_during }: Figures): boolean =>
  requests_during > 0 && (p99_ms_during ?? Infinity) > allowedMs(p99_ms_before);

/** All rules, the gravest first. */
export const RULES: readonly Rule[] = [
  { id: "ended", verdict: "failed", says: "the server ended", isBroken: (of) => of.ended_early },
  {
    id: "exit",
    verdict: "failed",
    says: "it does not end with exit code 0",
    isBroken: (of) => (of.exit_code ?? 0) !== 0,
  },
  {
    id: "lost",
    verdict: "failed",
    says: "answers that were owed are lost",
    isBroken: (of) => of.lost > of.lost_after,
  },
  {
    id: "after",
    verdict: "failed",
    says: "new clients after the fault are not answered",
    isBroken: (of) => of.lost_after > 0,
  },
  {
    id: "recovery",
    verdict: "failed",
    says: "normal clients are not answered in time after the fault",
    isBroken: (of, { ends }) => !ends && of.recovery_s === null,
  },
  {
    id: "spins",
    verdict: "degraded",
    says: "it spins: it takes more than half a core with nothing to do",
    isBroken: (of, { isQuiet }) => isQuiet === true && (of.cpu_share_during ?? 0) > MAX_IDLE_CPU_SHARE,
  },
  {
    id: "held",
    verdict: "degraded",
    says: `it keeps more than ${MAX_HELD_BYTES / 2 ** 20} MiB of answers that nobody reads`,
    isBroken: (of) => (of.memory_held_bytes ?? 0) > MAX_HELD_BYTES,
  },
  {
    id: "share",
    verdict: "degraded",
    says: `less than ${MIN_ANSWERED_SHARE * 100} % of the normal requests are answered during the fault`,
    isBroken: (of, { ends }) => !ends && (of.answered_share_during ?? 1) < MIN_ANSWERED_SHARE, // null: nobody asked
  },
  {
    id: "p99",
    verdict: "degraded",
    says: `the p99 of normal clients is above ${MAX_P99_MS} ms, and above three times its value before the fault`,
    isBroken: (of, { stalls }) => !stalls && isTooSlow(of),
  },
  {
    id: "descriptors",
    verdict: "degraded",
    says: `more than ${MAX_MORE_DESCRIPTORS} descriptors are left behind`,
    isBroken: (of) => (of.descriptors_left ?? 0) > MAX_MORE_DESCRIPTORS,
  },
  {
    id: "threads",
    verdict: "degraded",
    says: `more than ${MAX_MORE_THREADS} threads are left behind`,
    isBroken: (of) => (of.threads_left ?? 0) > MAX_MORE_THREADS,
  },
  {
    id: "memory",
    verdict: "degraded",
    says: `more than ${MAX_MORE_BYTES / 2 ** 20} MiB of memory are left behind, beyond what the fault lets it keep`,
    isBroken: (of, { mayKeepBytes = 0 }) => (of.memory_left_bytes ?? 0) > MAX_MORE_BYTES + mayKeepBytes,
  },
];

const LEFT: readonly RuleId[] = ["descriptors", "threads", "memory"];

/** What a header says that its architecture cannot, by ability. */
type Cannot = Readonly<Record<string, string>>;

/** Whether more is left behind than a server may keep. What its header says that it keeps does not count. */
export const leavesTooMuch = (left: Partial<Figures>, fault: Kind, cannot: Cannot): boolean =>
  RULES.some((rule) => {
    const figures = { ...NOTHING, ...left };
    return LEFT.includes(rule.id) && rule.isBroken(figures, fault) && keptBy(rule, figures, cannot) === undefined;
  });

const MEANWHILE: readonly RuleId[] = ["share", "p99"]; // of the normal clients beside the fault
const ANSWERS: readonly RuleId[] = ["lost", "recovery", ...MEANWHILE];

const HELD: readonly RuleId[] = ["lost", "descriptors", "threads"]; // of connections that are never ended

/**
 * What a header says that its server keeps for what comes next, whatever the fault: memory of a runtime, connections of a pool,
 * threads. How much that is depends on how many were served at once, so it is no verdict: a server that does all else survives.
 */
export const KEEPS: Readonly<Record<string, { rule: RuleId; isBounded(of: Figures): boolean }>> = {
  "return-memory": { rule: "memory", isBounded: (of) => (of.memory_left_bytes ?? 0) <= MAX_KEPT.bytes },
  "return-descriptors": { rule: "descriptors", isBounded: (of) => (of.descriptors_left ?? 0) <= MAX_KEPT.descriptors },
  "return-threads": { rule: "threads", isBounded: (of) => (of.threads_left ?? 0) <= MAX_KEPT.threads },
};
/** More is a leak, whatever a header says. */
export const MAX_KEPT = { bytes: 512 * 2 ** 20, descriptors: 1024, threads: 16 };

/** The ability by which a header says that just this is kept. */
const keptBy = ({ id }: Rule, figures: Figures, cannot: Cannot): string | undefined =>
  Object.keys(KEEPS).find((ability) => {
    const { rule, isBounded } = KEEPS[ability]!;
    return rule === id && Object.hasOwn(cannot, ability) && isBounded(figures);
  });

/**
 * Whether a cell shows that a server keeps more than others may. False of an ability that is about something else; and of threads
 * true, for whether a runtime needs one more is chance.
 */
export const keeps = (ability: string, row: FaultRow): boolean => {
  const kept = KEEPS[ability];
  if (kept === undefined || ability === "return-threads") return true;
  return RULES.some(({ id, isBroken }) => id === kept.rule && isBroken(row, {}));
};

/** An architecture that serves one client after the other lets any fault's clients hold up the others. */
const SERVE_OTHERS = "serve-others";

/**
 * The rules that a header's `@cannot` excuses by each ability: those that are about just that. An ability counts for the faults
 * that name it, `serve-others` for all. The end of a server is excused only by what promises that it goes on. Nothing excuses
 * an exit code.
 */
export const EXCUSES: Readonly<Record<string, readonly RuleId[]>> = {
  [SERVE_OTHERS]: ANSWERS,
  "recover-emfile": [...ANSWERS, "after"],
  "wait-at-emfile": ["lost", ...MEANWHILE],
  "serve-at-emfile": ["lost", ...MEANWHILE],
  "rest-at-emfile": ["spins"],
  "bound-memory": ["ended", ...ANSWERS, "after", "held", "memory"],
  "survive-no-process": ["ended", ...ANSWERS, "after"],
  "outlive-worker": ["ended", ...ANSWERS, "after"],
  "survive-resets": ["descriptors"],
  "recover-accept-errors": [...ANSWERS, "after"],
  "pass-accept-errors": ["lost", ...MEANWHILE],
  "serve-on-full-disk": ANSWERS,
  // What still waits in the queue when the herd has gone gets its turn, and a descriptor and a thread with it.
  "serve-herd": ["lost", "after", "recovery", "share", "descriptors", "threads"],
  "share-pipelines": MEANWHILE,
  "half-close": ["lost"],
  "late-reader": ["lost"],
  drain: ["lost", "descriptors"], // a connection that is forgotten stays open
  "head-deadline": ["lost"],
  "bound-head": ["lost"],
  keepalive: HELD,
  "give-up": HELD,
  "stop-in-flight": ["lost"],
  "stop-backlog": ["lost"],
};

/** The abilities by which a server may be excused in a cell of this fault. */
export const abilitiesOf = ({ abilities }: Pick<Fault, "abilities">): string[] => [
  ...new Set([...abilities, SERVE_OTHERS]),
];

/**
 * Judges a cell by the gravest rule that it breaks without an excuse. `cannot`: it has one for each rule that it breaks, or its
 * header says that it lacks what shows by chance only. One that survives has a reason where it keeps what its header says.
 *
 * @param cannot What the server's header says that its architecture cannot, by ability.
 */
export function judge(figures: Figures, fault: Fault, cannot: Cannot): Pick<FaultRow, "verdict" | "reason"> {
  const all = RULES.filter((rule) => rule.isBroken(figures, fault));
  const broken = all.filter((rule) => keptBy(rule, figures, cannot) === undefined);
  const because = (ability: string) => `${ability}: ${cannot[ability]}`;
  const lacking = fault.byChance?.find((ability) => Object.hasOwn(cannot, ability));
  if (broken.length === 0 && lacking !== undefined) return { verdict: "cannot", reason: because(lacking) };
  if (broken.length === 0) {
    return { verdict: "survived", reason: all.length === 0 ? null : because(keptBy(all[0]!, figures, cannot)!) };
  }
  const excuseOf = ({ id }: Rule) =>
    abilitiesOf(fault).find((ability) => Object.hasOwn(cannot, ability) && EXCUSES[ability]?.includes(id));
  const promised = broken.find((rule) => excuseOf(rule) === undefined);
  if (promised !== undefined) return { verdict: promised.verdict, reason: promised.says };
  return { verdict: "cannot", reason: because(excuseOf(broken[0]!)!) };
}

const NOTHING: Figures = {
  clients: 0,
  requests_during: 0,
  answered_share_during: null,
  p99_ms_before: null,
  p99_ms_during: null,
  p99_ms_after: null,
  recovery_s: null,
  cpu_share_during: null,
  descriptors_left: null,
  threads_left: null,
  memory_left_bytes: null,
  memory_held_bytes: null,
  owed: 0,
  lost: 0,
  lost_after: 0,
  outcomes: null,
  ended_early: false,
  exit_code: null,
};

/** The row of a cell in which nothing could be measured. */
export const unmeasured = (key: CellKey, verdict: FaultRow["verdict"], reason: string): FaultRow => ({
  ...key,
  ...NOTHING,
  verdict,
  reason,
  runs: [verdict],
});

/** From good to bad: of three runs with three verdicts the one in the middle counts. */
const GRAVITY: readonly FaultRow["verdict"][] = ["survived", "skipped", "degraded", "cannot", "failed"];

/** It survived only by what {@linkcode allowedMs} allows a busy machine. A stall is longer, and is not judged by it. */
const isByAllowance = ({ p99_ms_before, p99_ms_during, p99_ms_after }: FaultRow): boolean =>
  [p99_ms_during, p99_ms_after].some((ms) => ms !== null && ms > MAX_P99_MS && ms <= allowedMs(p99_ms_before));

/** It broke rules of time alone, as a busy machine does. */
const isLateOnly = ({ lost, ended_early, exit_code, clients }: FaultRow): boolean =>
  clients > 0 && lost === 0 && !ended_early && (exit_code ?? 0) === 0;

/** Nothing came of what the clients of the fault were owed. */
function isTotal({ owed, lost, lost_after, exit_code }: FaultRow): boolean {
  const own = exit_code === null ? owed - FRESH : owed; // behind the end of a server nobody asks
  return own > 0 && lost - lost_after >= own;
}

/**
 * Whether other cells beside it may be the cause of what a row shows. They delay answers, but not for the ten seconds that the
 * clients of a fault wait: where a header says that some are lost, and some are, that counts.
 */
function isDoubtful(row: FaultRow): boolean {
  if (row.verdict === "survived") return isByAllowance(row);
  if (row.verdict !== "cannot") return row.verdict !== "skipped";
  // Where no rule is broken its header alone decides.
  return row.clients > 0 && row.lost === row.lost_after && RULES.some(({ isBroken }) => isBroken(row, {}));
}

/** Whether one run alone is enough, after what was seen beside other cells; null: it was not measured beside them. */
function isPlain(beside: FaultRow | null, row: FaultRow): boolean {
  if (row.verdict === "cannot") return true; // the header says the same
  if (row.verdict === "degraded") return false;
  if (row.verdict === "failed") return isTotal(row) || beside?.verdict === "failed";
  return beside === null || beside.verdict === "skipped" || isLateOnly(beside);
}

/**
 * The row that counts of all runs of a cell, or null: it has to be measured again, alone. Of runs alone it is the verdict of
 * the majority, unless the first one is plain.
 *
 * @param beside The run beside other cells; null: there was none.
 * @param alone The runs alone, in their order.
 */
export function settle(beside: FaultRow | null, alone: readonly FaultRow[]): FaultRow | null {
  const last = alone.at(-1);
  if (last === undefined) return beside === null || isDoubtful(beside) ? null : beside;
  const runs = [...(beside === null ? [] : [beside]), ...alone].map(({ verdict }) => verdict);
  const isSettled = alone.length === 1
    ? isPlain(beside, last)
    : alone.slice(0, -1).some(({ verdict }) => verdict === last.verdict);
  if (isSettled) return { ...last, runs };
  if (alone.length < MAX_ALONE) return null;
  const byGravity = alone.toSorted((a, b) => GRAVITY.indexOf(a.verdict) - GRAVITY.indexOf(b.verdict));
  return { ...byGravity[1]!, runs };
}
