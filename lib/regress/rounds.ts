/**
 * Measures candidates against a reference until they can be judged: the rounds of each, and as many fresh ones after an
 * alarm. Each round is handed on as it ends, so that whoever is killed can go on from there.
 *
 * @module
 */
import { shuffle } from "es-toolkit";
import { CannotCompare } from "../compare/side.ts";
import { decide, type Decision, LEAST_VALID_SHARE, type Logs, TOO_FEW } from "./decision.ts";
import { DISTURBED, FINDING_SAYS, type FindingId, isSpoilt as isTaken } from "../results/findings.ts";
import { type PairPlan, pairRound } from "../compare/pair.ts";
import type { Subject } from "../server/subject.ts";
import type { RoundFound } from "../results/rows.ts";

/** First rounds, or fresh ones after them. */
export type Phase = "first" | "confirmation";

/** A round with its place. */
export interface PlacedRound extends RoundFound {
  experiment: string;
  phase: Phase;
}

/** One candidate, and what is known of it. */
export interface Candidate {
  subject: Subject;
  connections: number;
  /**
   * Requests/s, or half of what the slower of the pair reaches in its first round; null: as fast as each answers. A server that
   * is never idle shows all that a request costs. One that is idle now and then hides part of a slowdown:
   * it sleeps less often, and a wake-up is expensive.
   */
  ratePerS: number | "half" | null;
  /** The rounds of each night of the baseline; null: it is judged against the reference itself. */
  baseline: readonly Logs[] | null;
  rounds: PlacedRound[];
}

/**
 * How a candidate ended: by a decision, or without one. `broken`: it failed itself, twice; `inconclusive`: it could not be
 * measured, and it is not known to be its fault.
 */
export type Outcome =
  | { ended: "decided"; decision: Decision }
  | { ended: "skipped" | "broken" | "inconclusive"; reason: string };

/** What is the same for all candidates. */
export interface RoundsPlan {
  rounds: number;
  /** Whether fresh rounds follow where the first ones do not decide. */
  confirm: boolean;
  signal: AbortSignal;
  /** Measures one round. */
  measure: (candidate: Subject, connections: number, ratePerS: Candidate["ratePerS"]) => Promise<RoundFound>;
  /** Takes each round as it ends; what it throws ends the run. */
  keep: (candidate: Candidate, round: PlacedRound) => Promise<void>;
}

/** What makes the ratio of a round doubtful. Others say something of throughput or latency, which nobody judges here. */
const SPOILING: readonly FindingId[] = ["foreign_load", "steal", "throttled", "short_run"];
/** One failure may be the machine's; after one more there is no sense in going on. */
const MAX_FAILURES = 2;

/** The ids of the findings that make a round not count. */
export const spoiltBy = ({ findings }: Pick<RoundFound, "findings">): FindingId[] =>
  SPOILING.filter((id) => findings.some((finding) => finding.id === id));
const isSpoilt = (round: RoundFound) => spoiltBy(round).length > 0;

/** The log-ratios of the valid rounds of a phase. */
export const validLogs = ({ rounds }: Candidate, phase: Phase): number[] =>
  rounds.filter((round) => round.phase === phase && !isSpoilt(round)).map(({ log_ratio }) => log_ratio)
    .filter((log) => log !== null);

/** A finding, and what was seen. */
const inWords = (id: FindingId) => `${id} (${FINDING_SAYS[id].split(":")[0]})`;

/** What of the rounds does not count, and why: `6 of 30 rounds do not count: foreign_load (other processes …)`. Null: all do. */
export function lostRounds({ rounds }: Candidate): string | null {
  const lost = rounds.filter((round) => round.failure !== null || isSpoilt(round));
  if (lost.length === 0) return null;
  const why = lost.flatMap((round) => round.failure?.reason ?? spoiltBy(round).map(inWords));
  return `${lost.length} of ${rounds.length} rounds do not count: ${[...new Set(why)].join("; ")}`;
}

const failuresOf = ({ rounds }: Candidate) => rounds.flatMap(({ failure }) => failure ?? []);

/** It never ran, and said so. What ran before and says that it cannot has failed. */
const cannotRun = (of: Candidate) =>
  of.rounds.every(({ log_ratio }) => log_ratio === null) && failuresOf(of).at(-1)?.ended === "skipped";
const isGivenUp = (of: Candidate) => cannotRun(of) || failuresOf(of).length >= MAX_FAILURES;

/** Failures of the server itself: not of the reference, and not of a limit that the machine has. */
const ownFailures = (of: Candidate) =>
  failuresOf(of).filter(({ subject, ended }) =>
    subject === of.subject.name && (ended === "crashed" || ended === "not_ready")
  );

/** What there is to say of a candidate by the rounds that it has. */
export function outcomeOf(candidate: Candidate, plan: Pick<RoundsPlan, "rounds">): Outcome {
  const failures = failuresOf(candidate);
  const last = failures.at(-1);
  if (cannotRun(candidate)) return { ended: "skipped", reason: last!.reason };
  if (failures.length >= MAX_FAILURES) {
    const ended = ownFailures(candidate).length >= MAX_FAILURES ? "broken" : "inconclusive";
    return { ended, reason: last!.reason };
  }
  const fresh = candidate.rounds.some(({ phase }) => phase === "confirmation");
  const decision = decide({
    first: validLogs(candidate, "first"),
    fresh: fresh ? validLogs(candidate, "confirmation") : null,
    baseline: candidate.baseline,
    rounds: plan.rounds,
  });
  const taken = candidate.rounds.filter(({ findings }) => isTaken(findings)).length;
  const withTaken = validLogs(candidate, "first").length + validLogs(candidate, "confirmation").length + taken;
  const wanted = (fresh ? 2 : 1) * plan.rounds * LEAST_VALID_SHARE;
  const isOthers = decision.reason === TOO_FEW && taken > 0 && withTaken >= wanted; // without others there were enough
  return { ended: "decided", decision: isOthers ? { ...decision, reason: DISTURBED } : decision };
}

/** The candidates that have the fewest rounds of a phase, and want more. */
function due(candidates: readonly Candidate[], phase: Phase, { rounds }: RoundsPlan): Candidate[] {
  const count = (of: Candidate) => of.rounds.filter((round) => round.phase === phase).length;
  const open = candidates.filter((of) => count(of) < rounds && !isGivenUp(of));
  const least = Math.min(...open.map(count));
  return open.filter((of) => count(of) === least);
}

/** The rate of a candidate's earlier rounds, so that all of them do the same. */
const rateOf = ({ rounds, ratePerS }: Candidate) => rounds.find((round) => round.rate_per_s)?.rate_per_s ?? ratePerS;

async function oneRound(candidate: Candidate, phase: Phase, plan: RoundsPlan): Promise<void> {
  const place = { experiment: candidate.subject.name, phase };
  const round: PlacedRound = await plan.measure(candidate.subject, candidate.connections, rateOf(candidate)).then(
    (found) => ({ ...place, ...found }),
    (error) => {
      if (plan.signal.aborted || !(error instanceof CannotCompare)) throw error;
      const failure = { subject: error.subject.name, ended: error.ended, reason: error.message };
      return { ...place, ...NOTHING_FOUND, failure };
    },
  );
  candidate.rounds.push(round);
  await plan.keep(candidate, round);
}

const NOTHING_FOUND: RoundFound = {
  log_ratio: null,
  rate_per_s: null,
  reference_cpu_us_per_request: null,
  candidate_cpu_us_per_request: null,
  findings: [],
  failure: null,
};

async function onePhase(candidates: readonly Candidate[], phase: Phase, plan: RoundsPlan): Promise<void> {
  for (let next = due(candidates, phase, plan); next.length > 0; next = due(candidates, phase, plan)) {
    for (const candidate of shuffle(next)) {
      plan.signal.throwIfAborted();
      await oneRound(candidate, phase, plan);
    }
  }
}

/**
 * Measures what is missing of the rounds of all candidates, in turns, so that a drift of the machine falls on all alike; then
 * fresh rounds of those that the first ones do not show to be not slower.
 *
 * @throws The reason of the signal, if it aborts; the round under way is lost, those before it were kept.
 */
export async function measureRounds(candidates: readonly Candidate[], plan: RoundsPlan): Promise<void> {
  await onePhase(candidates, "first", plan);
  if (!plan.confirm) return;
  const open = candidates.filter((candidate) => {
    if (candidate.rounds.some(({ phase }) => phase === "confirmation")) return true; // it was interrupted in between
    const outcome = outcomeOf(candidate, plan);
    return outcome.ended === "decided" && outcome.decision.wantsFresh;
  });
  await onePhase(open, "confirmation", plan);
}

/** Measures rounds by real servers. */
export function measurePairs(
  reference: Subject,
  load: Omit<PairPlan, "connections" | "ratePerS" | "heavy">,
): RoundsPlan["measure"] {
  return async (candidate, connections, ratePerS) => {
    const plan = { ...load, connections, ratePerS, heavy: null };
    const round = await pairRound(reference, candidate, plan, new Map());
    const { cpu_us_per_request: log } = round.logs;
    const silent = (["reference", "candidate"] as const).find((side) => round.latencies?.[side].all.count === 0);
    if (silent !== undefined) {
      const subject = silent === "reference" ? reference : candidate;
      throw new CannotCompare(subject, `${subject.name} answered nothing in a round.`, "limited");
    }
    if (log === null || log === undefined || !Number.isFinite(log)) {
      throw new CannotCompare(candidate, "This system does not report the CPU time of a server.", "skipped");
    }
    return {
      log_ratio: log,
      rate_per_s: round.ratePerS,
      reference_cpu_us_per_request: round.reference.cpu_us_per_request ?? null,
      candidate_cpu_us_per_request: round.candidate.cpu_us_per_request ?? null,
      findings: round.findings,
      failure: null,
    };
  };
}
