/**
 * Measures rounds whose truth is known: epoll against itself, and against copies of it that are slower by a known amount.
 * What lib/regress/decision.ts makes of them says how far its verdicts can be trusted on this machine (lib/regress/selftest/judge.ts).
 *
 * @module
 */
import { join } from "node:path";
import { hostKind } from "../../lib/regress/baseline.ts";
import { find } from "../../lib/catalogue/catalogue.ts";
import type { Experiment } from "../../lib/catalogue/header.ts";
import type { HostFacts } from "../../lib/sampling/host.ts";
import { CONNECTIONS } from "../../lib/regress/command.ts";
import { PatchedCopies } from "../../lib/catalogue/patched_copies.ts";
import { type Candidate, measurePairs, measureRounds, type PlacedRound } from "../../lib/regress/rounds.ts";
import { Journal } from "../../lib/regress/journal.ts";
import { digestOf } from "../../lib/results/lab.ts";
import { burntUs, guessTurns, REFERENCE, slowed } from "../../lib/regress/selftest/slowed_epoll.ts";
import { median, medianOf } from "../../lib/timing/stats.ts";
import { counted } from "../../lib/text/format.ts";
import { SELFTEST, type SelftestRow } from "../../lib/results/rows.ts";

/** What the copies are to burn, in % of the CPU time that a request of epoll takes. */
export const EXTRA_PERCENT = [1, 4, 5, 10];
/** Rounds of epoll against itself that tell what a request costs, before a copy can be slowed by a share of it. */
const CALIBRATION_ROUNDS = 5;
/** Rounds of a copy that tell what a turn of its loop costs under this load, before its turns are chosen. */
const PILOT_ROUNDS = 3;

/** What is to be measured. */
export interface SelftestPlan {
  /** Of each copy. */
  rounds: number;
  load: { slices: number; seconds: number; settleSeconds: number };
  host: HostFacts;
  signal: AbortSignal;
  /** The folder where rounds are kept until the run is over; null: nowhere. */
  dir: string | null;
  say: (sentence: string) => void;
  onRound?: (candidate: Candidate) => void;
}

/** A copy, and its rounds. */
interface Copy extends Candidate {
  file: Experiment;
  extraPercent: number;
  turns: number;
}

/** Where rounds are kept as they end. */
interface Kept extends Disposable {
  rows: SelftestRow[];
  keep: (row: SelftestRow) => Promise<void>;
  /** The run is over, and its result stands elsewhere. */
  close: () => Promise<void>;
}

async function openKept({ dir, load, host, say }: SelftestPlan): Promise<Kept> {
  if (dir === null) {
    return { rows: [], keep: () => Promise.resolve(), close: () => Promise.resolve(), [Symbol.dispose]: () => {} };
  }
  const source = await Deno.readTextFile(find(REFERENCE).path);
  const key = await digestOf([hostKind(host), host.deno, host.v8, load, source, EXTRA_PERCENT]);
  const file = new Journal<SelftestRow>(join(dir, "selftest-run.jsonl"), SELFTEST);
  const lock = await file.lock();
  const { rounds, warnings } = await file.open([key]);
  const rows = rounds.get(key)!;
  if (rows.length > 0) warnings.push(`Resuming with ${counted(rows.length, "round")} of an interrupted run.`);
  for (const sentence of warnings) say(sentence);
  return {
    rows,
    keep: (row: SelftestRow) => file.keep(key, row),
    close: () => file.close([key]),
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
}

/** A copy with the rounds that there are of it; a copy that has some burns what it burnt in them. */
function copyOf(changed: PatchedCopies, extraPercent: number, rows: readonly SelftestRow[], wanted: number): Copy {
  const own = rows.filter((row) => row.extra_percent === extraPercent);
  const turns = own[0]?.turns ?? wanted;
  const name = extraPercent === 0 ? `${REFERENCE}-again` : `${REFERENCE}-plus-${extraPercent}`;
  const place = { experiment: name, phase: "first" as const };
  const file = slowed(changed, name, turns);
  return {
    subject: file,
    file,
    connections: CONNECTIONS,
    ratePerS: null,
    baseline: null,
    rounds: own.map((row): PlacedRound => ({ ...place, ...row })),
    extraPercent,
    turns,
  };
}

/** What a turn of the loop costs in a server under this load, in CPU-µs: the median of some rounds. */
async function turnUs(
  changed: PatchedCopies,
  cpuUs: number,
  { rounds, load, signal }: SelftestPlan,
): Promise<number> {
  const turns = guessTurns(cpuUs * Math.max(...EXTRA_PERCENT) / 100);
  const pilot = slowed(changed, `${REFERENCE}-pilot`, turns);
  const measure = measurePairs(find(REFERENCE), { ...load, signal });
  const costs: number[] = [];
  for (let i = 0; i < Math.min(PILOT_ROUNDS, rounds); i++) {
    await measure(pilot, CONNECTIONS, null);
    costs.push(await burntUs(pilot));
  }
  return median(costs) / turns;
}

/** Measures what is missing of the rounds of all copies, in turns; each row is added as its round ends. */
async function measureCopies(copies: readonly Copy[], rounds: number, plan: SelftestPlan, kept: Kept): Promise<void> {
  const { load, signal } = plan;
  const measure = measurePairs(find(REFERENCE), { ...load, signal });
  let begun = performance.now();
  let extra = 0;
  await measureRounds(copies, {
    rounds,
    confirm: false,
    signal,
    measure: async (subject, connections, ratePerS) => {
      const { turns, file } = copies.find((copy) => copy.subject === subject)!;
      begun = performance.now();
      extra = 0; // of a round that fails nobody knows
      const found = await measure(subject, connections, ratePerS);
      if (turns > 0) extra = await burntUs(file);
      return found;
    },
    keep: async (candidate, { experiment: _, phase: __, ...found }) => {
      const { extraPercent, turns, rounds } = candidate as Copy;
      const place = { extra_percent: extraPercent, round: rounds.length, turns };
      const row = { ...place, extra_cpu_us: extra, seconds: (performance.now() - begun) / 1000, ...found };
      kept.rows.push(row);
      await kept.keep(row);
      plan.onRound?.(candidate);
    },
  });
}

/**
 * Measures the rounds, and hands them to `store` when all are there. Permissions: those of a measurement, `--allow-write` for
 * the folder of temporary files, and for `dir`.
 *
 * @throws {AlreadyRunning} If another self-test measures into the same folder.
 * @throws {CannotStore} If a round cannot be stored; those before it were.
 * @throws The reason of the signal, if it aborts; what was measured until then is kept in `dir`.
 */
export async function selftest(
  plan: SelftestPlan,
  store: (rows: SelftestRow[]) => Promise<void>,
): Promise<SelftestRow[]> {
  using changed = new PatchedCopies();
  using kept = await openKept(plan);
  const { rows } = kept;
  const same = copyOf(changed, 0, rows, 0);
  await measureCopies([same], Math.min(CALIBRATION_ROUNDS, plan.rounds), plan, kept);
  const cpuUs = medianOf(rows.map((row) => row.reference_cpu_us_per_request));
  if (cpuUs !== null) {
    const isKnown = EXTRA_PERCENT.every((percent) => rows.some((row) => row.extra_percent === percent));
    const percentTurns = isKnown ? 0 : cpuUs / 100 / await turnUs(changed, cpuUs, plan);
    const slower = EXTRA_PERCENT.map((percent) => copyOf(changed, percent, rows, Math.round(percent * percentTurns)));
    await measureCopies([same, ...slower], plan.rounds, plan, kept);
  }
  await store(rows);
  await kept.close();
  return rows;
}
