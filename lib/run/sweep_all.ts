/**
 * Sweeps servers for a command: says on stderr where it stands, and keeps what was measured at an interrupt.
 *
 * @module
 */
import { numberFlag } from "../cli/flags.ts";
import { MIN_ROUNDS } from "../results/conventions.ts";
import type { SweepRow } from "../results/rows.ts";
import { hostFacts } from "../sampling/host.ts";
import type { Subject } from "../server/subject.ts";
import { count, microseconds } from "../text/format.ts";
import { createGuard } from "./guard.ts";
import { Pace } from "./pace.ts";
import { runStep } from "./step.ts";
import { type CannotSweep, sweep, type SweepPlan } from "./sweep.ts";

/** How long a rate is asked for, and how many bisections there are. */
export const SWEEP_QUICK = { seconds: 1, warmupSeconds: 0.5, rounds: 3 };
export const SWEEP_FULL = { seconds: 3, warmupSeconds: 1, rounds: MIN_ROUNDS };

/** A seed is a whole number below this one. */
const SEEDS = 2 ** 32;

/** The seed of a sweep: one that the user repeats, or a new one. @throws {UsageError} If it is none. */
export const readSeed = (text: string | undefined): number =>
  text === undefined
    ? Math.floor(Math.random() * SEEDS)
    : numberFlag("seed", text, { min: 0, max: SEEDS - 1, integer: true });

/** The points of a sweep, and the servers that could not go on. */
export interface Swept {
  rows: SweepRow[];
  failed: CannotSweep[];
}

function tell({ server, round, rate_per_s, p99_us }: SweepRow, left: string): void {
  const part = round === 0 ? "ladder" : `round ${round}`;
  console.error(`${server}, ${part}: ${count(rate_per_s)}/s, p99 ${microseconds(p99_us)}; ${left} left`);
}

/** Sweeps all of them. */
export async function sweepAll(
  subjects: readonly Subject[],
  plan: Omit<SweepPlan, "run" | "onRow" | "onTurn">,
  signal: AbortSignal,
): Promise<Swept> {
  const host = hostFacts();
  const rows: SweepRow[] = [];
  const byName = new Map(subjects.map((subject) => [subject.name, subject]));
  const bisections = plan.slo === null ? 0 : byName.size * plan.rounds;
  const pace = new Pace({ ladders: byName.size, bisections, together: 0 }, plan);
  if (plan.slo !== null) console.error(`Seed ${plan.seed}.`);
  console.error(`This takes ${pace.left}.`);
  const run: SweepPlan["run"] = (server, step) =>
    runStep({ experiment: byName.get(server)!, host, step, guard: createGuard(), signal, onProgress() {} });
  const onRow = (row: SweepRow) => {
    rows.push(row);
    pace.add();
    tell(row, pace.left);
  };
  try {
    const failed = await sweep([...byName.keys()], { ...plan, run, onRow, onTurn: (left) => pace.begin(left) });
    for (const { server, message } of failed) console.error(`${server}: ${message}`);
    return { rows, failed };
  } catch (error) {
    if (!signal.aborted) throw error;
    return { rows, failed: [] };
  }
}
