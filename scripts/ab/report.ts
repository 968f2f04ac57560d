/**
 * What `deno task ab --json` prints.
 *
 * @module
 */
import { type Candidate, type Outcome, type PlacedRound, spoiltBy } from "../../lib/regress/rounds.ts";
import { describeHost, type HostFacts } from "../../lib/sampling/host.ts";
import { thisRuntime } from "../../lib/server/server.ts";
import { isCustom, pathOf, type Subject } from "../../lib/server/subject.ts";
import { medianOf } from "../../lib/timing/stats.ts";

/** One of the two that were compared. */
export interface ReportedSide {
  /** The command as it was given; null: an experiment. */
  command: string | null;
  /** The name of the experiment, with what is special about it; null: a command. */
  experiment: string | null;
  /** The version of Deno that runs the experiment; null: it is not known of a command, and a peer needs none. */
  deno: string | null;
  /** Flags of V8 that it was given. */
  v8_flags: readonly string[];
}

/** CPU time of a request, in µs, of both; null: none was measured. */
export interface Medians {
  a: number | null;
  b: number | null;
}

/** All that a comparison says, and what a reader needs to repeat it. */
export interface Report {
  /** The names of both, as the verdict and the rounds have them: `a` and `b` where they are commands. */
  a: string;
  b: string;
  /** What stands behind these names. */
  compared: { a: ReportedSide; b: ReportedSide };
  /** What both were asked for, by GET. */
  path: string;
  /** Connections at one time. */
  connections: number;
  /** Requests/s that were asked for; `half`: half of what the slower reaches; null: as fast as they answer. */
  rate_per_s: number | "half" | null;
  /** The machine, in words. */
  host: string;
  /** Over the rounds that count. */
  median_cpu_us_per_request: Medians;
  /** The exit code of the command. */
  exit: number;
  /** Cores and head of requests where they are not the default ones. */
  setup: Readonly<Record<string, unknown>>;
  /** `decided`, with the decision; or `skipped`, `broken` or `inconclusive`, with the reason. */
  outcome: Outcome;
  /** Every round, also those that do not count. */
  rounds: readonly PlacedRound[];
}

/** The command of a server of the user's own, without the words that let the shell become it. */
export const commandOf = (subject: Subject): string | null =>
  isCustom(subject) ? subject.words!.at(-1)!.replace(/^exec env /, "") : null;

function sideOf(subject: Subject): ReportedSide {
  if (isCustom(subject)) return { command: commandOf(subject), experiment: null, deno: null, v8_flags: [] };
  const runtime = "runtime" in subject ? subject.runtime : thisRuntime();
  const isDeno = subject.version === null;
  return {
    command: null,
    experiment: subject.name,
    deno: isDeno ? runtime.version : null,
    v8_flags: isDeno ? runtime.v8Flags : [],
  };
}

/** The rounds that count. */
export const countedRounds = (rounds: readonly PlacedRound[]): PlacedRound[] =>
  rounds.filter((round) => round.failure === null && round.log_ratio !== null && spoiltBy(round).length === 0);

/** What a request costs either of them in these rounds. */
export const mediansOf = (rounds: readonly PlacedRound[]): Medians => ({
  a: medianOf(rounds.map((round) => round.reference_cpu_us_per_request)),
  b: medianOf(rounds.map((round) => round.candidate_cpu_us_per_request)),
});

/** The report as JSON: settings and outcome stand beside the rest. */
export function reportJson({ setup, outcome, rounds, ...report }: Report): string {
  return JSON.stringify({ ...report, ...setup, ...outcome, rounds }, null, 2);
}

/** Everything of a comparison that has ended. */
export function reportOf(
  [a, b]: readonly [a: Subject, b: Subject],
  { rounds, connections, ratePerS }: Pick<Candidate, "rounds" | "connections" | "ratePerS">,
  ended: Pick<Report, "exit" | "setup" | "outcome">,
  host: HostFacts,
): Report {
  return {
    a: a.name,
    b: b.name,
    compared: { a: sideOf(a), b: sideOf(b) },
    path: pathOf(b),
    connections,
    rate_per_s: ratePerS,
    host: describeHost(host),
    median_cpu_us_per_request: mediansOf(countedRounds(rounds)),
    ...ended,
    rounds,
  };
}
