/**
 * Against the baseline: measures experiments beside the reference, decides, and keeps what was found. Every round of an
 * experiment is stored as it ends, so that a killed run is resumed. Of a server of one's own nothing is resumed.
 *
 * @module
 */
import { join } from "node:path";
import * as baselines from "./baseline.ts";
import { BASELINE, type BaselineEntry, DamagedBaseline, type Digests, type HostKind } from "./baseline.ts";
import { type Decision, whyNoBaseline } from "./decision.ts";
import { EXIT } from "../cli/exit.ts";
import { foundOften } from "../results/findings.ts";
import type { Experiment } from "../catalogue/header.ts";
import { bootId, type HostFacts } from "../sampling/host.ts";
import { appendLine, repairLines } from "../results/jsonl.ts";
import { HISTORY, HISTORY_SCHEMA, readHistory, type RegressionRecord, type RegressionRow } from "./record.ts";
import {
  type Candidate,
  lostRounds,
  measureRounds,
  type Outcome,
  outcomeOf,
  type PlacedRound,
  type RoundsPlan,
  validLogs,
} from "./rounds.ts";
import { Journal } from "./journal.ts";
import { digestOf, loadDigest } from "../results/lab.ts";
import { readSources } from "../catalogue/sources.ts";
import { versionOf } from "../server/manifest.ts";
import { isCustom, type Subject } from "../server/subject.ts";
import { type Interval, medianOf, ratioInterval } from "../timing/stats.ts";
import { counted } from "../text/format.ts";
import { CannotStore } from "../results/durable_file.ts";

/** What is to be measured, and where what is found is kept. */
export interface RegressPlan {
  reference: Experiment;
  candidates: readonly { subject: Subject; connections: number }[];
  rounds: number;
  /** What else decides what a round measures, such as the length of a slice: rounds of another load are not resumed. */
  load: Record<string, number>;
  measure: RoundsPlan["measure"];
  host: HostFacts;
  /** The rounds join the baseline; there is no confirmation then. */
  updateBaseline: boolean;
  /** They join no night before: the baseline starts again with them. */
  replaceBaseline: boolean;
  /** A first look: it asks for no confirmation, so it fails nothing, and is not written into the history. */
  quick: boolean;
  signal: AbortSignal;
  /** The folder of this machine in results/. */
  dir: string;
  /** The command line that repeats it. */
  command: string;
  /** Takes sentences about what is resumed, repaired, or not stored. */
  say: (sentence: string) => void;
  onRound?: (candidate: Candidate) => void;
}

/** A candidate with what it is compared with, and the key of its rounds. */
interface Entrant extends Candidate {
  key: string;
  /** Why it cannot be compared; null: it can. */
  missing: string | null;
  /** What its baseline does not know; null: it has nights enough, or there is none. */
  short: string | null;
}

const ROUNDS = "regress-run.jsonl";

/** What a server is made of. Of a command nobody knows what it runs: nothing else is ever the same, and nothing is resumed. */
const sourceOf = (subject: Subject): unknown =>
  isCustom(subject) ? crypto.randomUUID() : readSources(subject.path).map(([, text]) => text);

/**
 * What of a round may change while one works on a server: rounds are put together only where all of it is the same. Also of
 * one boot, because a machine of the same kind may be another one; and those of a baseline are never judged by it.
 */
async function keyOf(plan: RegressPlan, kind: HostKind, candidate: Candidate): Promise<string> {
  const { reference, rounds, load, host, updateBaseline } = plan;
  const { subject, connections } = candidate;
  const sources = [sourceOf(reference), sourceOf(subject)];
  return await digestOf([
    kind,
    host.deno,
    host.v8,
    reference.name,
    subject.name,
    connections,
    rounds,
    load,
    sources,
    updateBaseline,
    bootId(),
  ]);
}

/** What a ratio depends on besides the candidate. */
async function digestsOf({ reference, load, rounds }: RegressPlan): Promise<Digests> {
  return {
    reference: await digestOf([
      reference.name,
      readSources(reference.path).map(([, text]) => text),
      await versionOf(reference),
    ]),
    generator: await loadDigest(),
    load: await digestOf([load, rounds]),
  };
}

async function entrants(plan: RegressPlan, kind: HostKind, baseline: readonly BaselineEntry[]): Promise<Entrant[]> {
  const digests = await digestsOf(plan);
  return await Promise.all(plan.candidates.map(async ({ subject, connections }) => {
    const wanted = { experiment: subject.name, reference: plan.reference.name, connections, kind, digests };
    const entry = baselines.findEntry(baseline, wanted);
    const missing = "missing" in entry ? entry.missing : null;
    const candidate: Candidate = {
      subject,
      connections,
      ratePerS: null,
      baseline: "missing" in entry ? [] : entry.nights.map(({ log_ratios }) => log_ratios), // of none it cannot be judged
      rounds: [],
    };
    const why = missing !== null && plan.updateBaseline ? "this is its first baseline here" : missing;
    const short = "missing" in entry || plan.updateBaseline ? null : baselines.shortOf(entry.nights);
    return { ...candidate, missing: why, short, key: await keyOf(plan, kind, candidate) };
  }));
}

const bounds = <K extends string>(name: K, interval: Interval | null) =>
  ({
    [name]: interval?.estimate ?? null,
    [`${name}_low`]: interval?.low ?? null,
    [`${name}_high`]: interval?.high ?? null,
  }) as Record<K | `${K}_low` | `${K}_high`, number | null>;

const isSkipped = ({ failure }: PlacedRound) => failure?.ended === "skipped";

/** The verdict of an outcome, and why. */
function verdictOf(outcome: Outcome, missing: string | null): Pick<RegressionRow, "verdict" | "reason"> {
  if (outcome.ended !== "decided") return { verdict: outcome.ended, reason: outcome.reason };
  const { verdict, reason } = outcome.decision;
  return { verdict, reason: missing ?? reason };
}

function rowOf(entrant: Entrant, plan: RegressPlan): RegressionRow {
  const outcome = outcomeOf(entrant, plan);
  const { rounds } = entrant;
  const decision: Decision | null = outcome.ended === "decided" ? outcome.decision : null;
  const first = rounds.filter(({ phase }) => phase === "first");
  const logs = validLogs(entrant, "first");
  const { verdict, reason } = verdictOf(outcome, entrant.missing);
  const lost = decision === null ? null : lostRounds(entrant);
  return {
    experiment: entrant.subject.name,
    connections: entrant.connections,
    verdict,
    reason: [reason, lost, decision === null ? null : entrant.short].filter((why) => why !== null).join("; ") || null,
    rounds: first.length,
    valid_rounds: logs.length,
    reference_cpu_us_per_request: medianOf(first.map((round) => round.reference_cpu_us_per_request)),
    candidate_cpu_us_per_request: medianOf(first.map((round) => round.candidate_cpu_us_per_request)),
    ...bounds("ratio", logs.length === 0 ? null : ratioInterval(logs)),
    ...bounds("change", decision?.all.change ?? null),
    ...bounds("confirmed", decision?.fresh?.change ?? null),
    findings: foundOften(first),
    log_ratios: logs,
  };
}

/** Failed: something got slower, or broke; unavailable: nothing runs here; inconclusive: something could not be judged. */
export function exitOf(rows: readonly Pick<RegressionRow, "verdict">[]): number {
  const has = (...verdicts: RegressionRow["verdict"][]) => rows.some(({ verdict }) => verdicts.includes(verdict));
  if (has("slower", "broken")) return EXIT.failed;
  if (rows.length > 0 && rows.every(({ verdict }) => verdict === "skipped")) return EXIT.unavailable;
  return has("inconclusive", "skipped") || rows.length === 0 ? EXIT.inconclusive : EXIT.ok;
}

/** Adds the run to the history, unless it stands there: it was killed after that then, and before its rounds were taken out. */
async function remember(record: RegressionRecord, { dir, say }: RegressPlan): Promise<void> {
  const path = join(dir, HISTORY);
  const repaired = await repairLines(path);
  const { values, warnings } = await readHistory(dir);
  for (const sentence of repaired === null ? warnings : [repaired, ...warnings]) say(sentence);
  if (!values.some(({ id }) => id === record.id)) await appendLine(path, record);
}

/** A night of the baseline for each of these experiments whose rounds are good enough. */
async function entriesOf(
  plan: RegressPlan,
  { experiments, reference, kind, time, deno, v8 }: RegressionRecord,
  names: readonly string[],
): Promise<BaselineEntry[]> {
  const digests = await digestsOf(plan);
  const rows = experiments.filter(({ experiment }) => names.includes(experiment));
  const why = ({ verdict, log_ratios }: RegressionRow) =>
    verdict === "broken" ? "it broke" : whyNoBaseline(log_ratios, plan.rounds);
  for (const row of rows.filter((row) => why(row) !== null)) {
    plan.say(`${row.experiment} gets no new baseline: ${why(row)}.`);
  }
  return rows.filter((row) => why(row) === null).map(({ experiment, connections, log_ratios }): BaselineEntry => ({
    experiment,
    reference,
    connections,
    kind,
    digests,
    nights: [{ time, deno, v8, log_ratios }],
  }));
}

/** The entries of a new baseline, and the exit code: inconclusive if some rounds are not good enough. */
async function newBaseline(plan: RegressPlan, record: RegressionRecord) {
  const rows = record.experiments.filter(({ verdict }) => verdict !== "skipped");
  const entries = await entriesOf(plan, record, rows.map(({ experiment }) => experiment));
  if (rows.length === 0) return { entries, exit: EXIT.unavailable };
  if (rows.some(({ verdict }) => verdict === "broken")) return { entries, exit: EXIT.failed };
  return { entries, exit: entries.length < rows.length ? EXIT.inconclusive : EXIT.ok };
}

/** Adds entries to the baseline of the machine, and says so. */
async function storeEntries(
  { dir, say, replaceBaseline }: RegressPlan,
  entries: readonly BaselineEntry[],
): Promise<void> {
  if (entries.length === 0) return;
  const path = join(dir, BASELINE);
  await baselines.updateBaseline(path, entries, replaceBaseline);
  say(`${path} has new rounds of ${entries.map(({ experiment }) => experiment).join(", ")}.`);
}

/**
 * Takes the first rounds of a judged run as a night of the baseline, for these experiments alone: nothing is measured again.
 *
 * @returns The experiments whose rounds were taken: those of others were too few or too unlike.
 * @throws {AlreadyRunning} If another process measures into the same folder.
 * @throws {DamagedBaseline} If the baseline cannot be read; it stays as it is.
 * @throws {CannotStore} If it cannot be stored; the file is as it was.
 */
export async function addToBaseline(
  plan: RegressPlan,
  record: RegressionRecord,
  experiments: readonly string[],
): Promise<string[]> {
  using _lock = await new Journal(join(plan.dir, ROUNDS)).lock();
  const entries = await entriesOf(plan, record, experiments);
  await storeEntries(plan, entries);
  return entries.map(({ experiment }) => experiment);
}

/** When the nights of a baseline were measured, by experiment; of one without a baseline there is none. */
export async function baselineTimes(plan: RegressPlan): Promise<Map<string, string[]>> {
  const stored = await baselines.readBaseline(join(plan.dir, BASELINE));
  const kind = baselines.hostKind(plan.host);
  const digests = await digestsOf(plan);
  return new Map(plan.candidates.map(({ subject, connections }) => {
    const wanted = { experiment: subject.name, reference: plan.reference.name, connections, kind, digests };
    const entry = baselines.findEntry(stored, wanted);
    return [subject.name, "missing" in entry ? [] : entry.nights.map(({ time }) => time)];
  }));
}

/** What is left of rounds whose result cannot be stored. */
const leftBehind = ({ candidates, dir }: RegressPlan): string =>
  candidates.every(({ subject }) => isCustom(subject))
    ? "The rounds are not kept: the same command measures anew."
    : `The rounds stay in ${join(dir, ROUNDS)}: the same command stores what is missing.`;

/** Stores a run that is over, and sets its exit code. What cannot be stored stays in the journal. */
async function keepRecord(
  record: RegressionRecord,
  plan: RegressPlan,
  closeJournal: () => Promise<void>,
): Promise<void> {
  const made = plan.updateBaseline ? await newBaseline(plan, record) : { entries: [], exit: record.exit };
  record.exit = made.exit;
  try {
    // In this order, in case it is killed in between: what the history has is not added again.
    if (!plan.quick) await remember(record, plan);
    await storeEntries(plan, made.entries);
    await closeJournal();
  } catch (error) {
    if (!(error instanceof CannotStore || error instanceof DamagedBaseline)) throw error;
    plan.say(`${error.message} ${leftBehind(plan)}`);
    record.exit ||= EXIT.harness;
  }
}

/**
 * Measures what is missing, decides, and stores it.
 *
 * @throws {AlreadyRunning} If another process measures into the same folder.
 * @throws {DamagedBaseline} If the baseline cannot be read; nothing was measured then.
 * @throws {CannotStore} If a round cannot be stored; those before it were, and the next run goes on from there.
 * @throws The reason of the signal, if it aborts; as above.
 */
export async function regress(plan: RegressPlan): Promise<RegressionRecord> {
  const kind = baselines.hostKind(plan.host);
  const baseline = join(plan.dir, BASELINE);
  const file = new Journal(join(plan.dir, ROUNDS));
  using _lock = await file.lock();
  const all = await entrants(plan, kind, await baselines.readBaseline(baseline));
  const keys = all.map(({ key }) => key);
  const { rounds: stored, warnings } = await file.open(keys);
  // What could not run then may run now, and costs nothing to try.
  for (const { key, rounds } of all) rounds.push(...stored.get(key)!.filter((round) => !isSkipped(round)));
  const found = all.reduce((sum, { rounds }) => sum + rounds.length, 0);
  if (found > 0) warnings.push(`Resuming with ${counted(found, "round")} of an interrupted run.`);
  for (const sentence of warnings) plan.say(sentence);
  await measureRounds(all, {
    rounds: plan.rounds,
    confirm: !plan.updateBaseline && !plan.quick,
    signal: plan.signal,
    measure: plan.measure,
    keep: async (candidate, round) => {
      // What nobody can resume would only fill the file.
      if (!isCustom(candidate.subject)) await file.keep((candidate as Entrant).key, round);
      plan.onRound?.(candidate);
    },
  });
  const rows = all.map((entrant) => rowOf(entrant, plan));
  const { deno, v8 } = plan.host;
  const record: RegressionRecord = {
    schema: HISTORY_SCHEMA,
    id: await digestOf(all.map(({ key, rounds }) => [key, rounds])),
    time: new Date().toISOString(),
    command: plan.command,
    reference: plan.reference.name,
    new_baseline: plan.updateBaseline,
    kind,
    deno,
    v8,
    exit: exitOf(rows),
    experiments: rows,
  };
  await keepRecord(record, plan, () => file.close(keys));
  return record;
}
