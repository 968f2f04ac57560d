/**
 * Judges the predictions of experiments by what is stored of one machine.
 *
 * A prediction is one or more conditions in the key `@expect` of a header, one on a line:
 *
 *     hold(10000).answered >= 10000
 *     throughput(100).cpu_us_per_request < 0.85 * event-loop
 *     probe(system-calls).system_calls_per_request < 0.1 * epoll
 *
 * In front stands a scenario with its number of connections, or a probe; behind it one of the figures that it stores. A
 * number is compared with the newest full run. Another server is compared with by an interleaved comparison of the two, or
 * of both with a third; the whole interval must be on one side. Of probes the variant with the name of the server is taken.
 *
 * @module
 */
import { CONDITION, type Experiment } from "../catalogue/header.ts";
import { KnownFailure } from "../cli/errors.ts";
import { userMemoryOf, widest } from "../results/choose.ts";
import { boundOf, DISTURBED, idsOf, isDisturbed, isDisturbedProbe, isSpoilt } from "../results/findings.ts";
import { acceptsPerS, type Result, type ScenarioName } from "../results/results.ts";
import { CROWD, crowdVariant, isUsualMessage } from "../results/conventions.ts";
import type { ComparisonRow, ProbeRow } from "../results/rows.ts";
import { SCENARIOS } from "../results/schema.ts";
import { fullRuns, quickRuns, type Stored } from "../results/stored.ts";
import { isVoid } from "../tables/comparison.ts";
import { bytes, count, microseconds } from "../text/format.ts";
import type { Interval } from "../timing/stats.ts";
import { quotient } from "./figure.ts";
import { fitting } from "./ratio.ts";

/** What is compared with: a number, or a factor of another server's figure. */
type Right = { number: number } | { factor: number; server: string };

/** One condition of a prediction. */
export interface Condition {
  /** As it stands in the header. */
  text: string;
  /** A scenario, or `probe`. */
  kind: ScenarioName | "probe";
  /** The number of connections of a scenario, or the name of a probe. */
  at: string;
  metric: string;
  sign: ">=" | ">" | "<=" | "<";
  right: Right;
}

/** `held`, `failed`, or `open`: what is stored does not decide it. */
export type Outcome = "held" | "failed" | "open";

/** A condition with its outcome. */
export interface Judged {
  condition: Condition;
  outcome: Outcome;
  /** What was measured against what was expected, or what is missing; without a full stop. */
  because: string;
}

/** A prediction with its outcome: failed if a condition failed, open if one is open. */
export interface Prediction {
  outcome: Outcome;
  conditions: Judged[];
  /** One sentence for the end of a run. */
  sentence: string;
}

/**
 * Parses one condition.
 *
 * @throws {KnownFailure} If it cannot be understood; the message says what stands there.
 */
export function parseCondition(text: string): Condition {
  const [, kind, at, metric, sign, number, factorOf, server] = CONDITION.exec(text.trim()) ?? [];
  if (kind === undefined || (kind !== "probe" && !(SCENARIOS as readonly string[]).includes(kind))) {
    throw new KnownFailure(`@expect ${text} is not a condition such as hold(10000).answered >= 10000.`);
  }
  if (kind !== "probe" && !/^\d+$/.test(at!)) {
    throw new KnownFailure(`@expect ${text}: ${at} is not a number of connections.`);
  }
  const value = number === undefined ? 1 : Number(number.replaceAll("_", ""));
  const other = factorOf ?? server;
  return {
    text: text.trim(),
    kind: kind as Condition["kind"],
    at: at!,
    metric: metric!,
    sign: sign as Condition["sign"],
    right: other === undefined ? { number: value } : { factor: value, server: other },
  };
}

const WORDS = { ">=": "at least", ">": "over", "<=": "at most", "<": "under" } as const;

/** A figure in the unit of its metric. */
function written(metric: string, value: number): string {
  if (metric.includes("bytes")) return bytes(value);
  if (/_us$/.test(metric)) return microseconds(value);
  return count(value, Number.isInteger(value) ? 0 : 2);
}

const percent = (share: number) => `${count(share * 100, share < 0.1 ? 1 : 0)} %`;

/** Whether a value fulfils a sign. */
function fulfils(value: number, sign: Condition["sign"], limit: number): boolean {
  return sign === ">=" ? value >= limit : sign === ">" ? value > limit : sign === "<=" ? value <= limit : value < limit;
}

const isLower = (sign: Condition["sign"]) => sign === "<" || sign === "<=";

/** What an interval says of a condition: it decides only as a whole. */
function decide(low: number, high: number, sign: Condition["sign"], limit: number): Outcome {
  if (fulfils(low, sign, limit) && fulfils(high, sign, limit)) return "held";
  return fulfils(low, sign, limit) || fulfils(high, sign, limit) ? "open" : "failed";
}

/** A bound decides in its own direction only. */
function decideBound(value: number, bound: "at least" | "at most" | null, { sign }: Condition, limit: number): Outcome {
  const holds = fulfils(value, sign, limit);
  if (bound === null) return holds ? "held" : "failed";
  if (bound === "at most") return isLower(sign) ? holds ? "held" : "open" : holds ? "open" : "failed";
  return isLower(sign) ? holds ? "open" : "failed" : holds ? "held" : "open";
}

const SIGN_OF = { "at least": "≥ ", "at most": "≤ " } as const;

/**
 * The run that a condition is about: of those with enough connections those with the fewest, of these the newest in which others
 * took no CPU time, else the newest.
 */
function runOf(stored: Stored, name: string, kind: ScenarioName, connections: number): Result | undefined {
  for (const runs of [fullRuns(stored, name, kind), quickRuns(stored, name, kind)]) {
    const enough = runs.filter(({ parameters }) =>
      parameters.connections >= connections && (kind !== "broadcast" || isUsualMessage(parameters))
    );
    const fewest = Math.min(...enough.map(({ parameters }) => parameters.connections));
    const fitting = enough.filter(({ parameters }) => parameters.connections === fewest);
    const found = fitting.findLast(({ findings }) => !isSpoilt(findings)) ?? fitting.at(-1);
    if (found !== undefined && (kind === "hold" || fewest === connections)) return found;
  }
  return undefined;
}

function judgeNumber(condition: Condition, name: string, limit: number, stored: Stored): Omit<Judged, "condition"> {
  const { kind, at, metric, sign } = condition;
  const scenario = kind as ScenarioName;
  const run = runOf(stored, name, scenario, Number(at));
  if (run === undefined) {
    const skipped = stored.results.findLast(({ experiment, ended }) => experiment === name && ended === "skipped");
    const command = `deno task exp ${name} --scenario ${kind} --connections ${at}`;
    return { outcome: "open", because: skipped?.reason?.replace(/\.$/, "") ?? `not measured yet (${command})` };
  }
  const where = `${kind}(${run.parameters.connections})`;
  const { value, bound } = metric === "user_bytes_per_conn" ? userMemoryOf(run.metrics) : {
    value: kind === "hold" && metric === "accepts_per_s"
      ? acceptsPerS(run.metrics)
      : (run.metrics as Record<string, number | null | undefined>)[metric] ?? null,
    bound: boundOf(metric, idsOf(run.findings, name)),
  };
  if (value === null) return { outcome: "open", because: `${metric} is not available in ${where}` };
  if (bound === null && isDisturbed(metric, run.findings)) {
    return { outcome: "open", because: `${metric} in ${where} is inconclusive: ${DISTURBED}` };
  }
  const sign_ = bound === null ? "" : SIGN_OF[bound];
  const because = `${metric} in ${where} was ${sign_}${written(metric, value)}, ${WORDS[sign]} ` +
    `${written(metric, limit)} was expected`;
  return { outcome: decideBound(value, bound, condition, limit), because };
}

/** The interval of own / other in the newest comparison of the two, or of both with a third; full ones come first. */
function ratioTo({ kind, at, metric }: Condition, name: string, other: string, stored: Stored): Interval | null {
  const of = metric === "core_us_per_request" ? "wire" : "comparison"; // that figure is one of a wire
  const studies = stored.studies[of].toReversed().toSorted((a, b) => Number(a.quick) - Number(b.quick));
  const asked = { scenario: kind as ScenarioName, connections: Number(at), metric };
  for (const { rows } of studies) {
    const fit = fitting(rows, asked);
    const found = ratioIn(fit, other, name);
    if (found !== null) return found;
    const inverse = ratioIn(fit, name, other);
    if (inverse !== null) return quotient({ estimate: 1, low: 1, high: 1 }, inverse);
  }
  for (const third of new Set(studies.flatMap(({ rows }) => fitting(rows, asked).map(({ reference }) => reference)))) {
    const rows = widest(studies, asked.scenario, third).flatMap(({ rows }) => fitting(rows, asked));
    const [own, their] = [ratioIn(rows, third, name), ratioIn(rows, third, other)];
    if (own !== null && their !== null) return quotient(own, their); // each may lie anywhere in its interval
  }
  return null;
}

/** The first ratio with an interval of two servers; null: there is none that says anything. */
function ratioIn(rows: readonly ComparisonRow[], reference: string, candidate: string): Interval | null {
  const row = rows.find((row) =>
    row.reference === reference && row.candidate === candidate && row.ratio !== null && row.ratio_low !== null &&
    row.ratio_high !== null && !isVoid(row)
  );
  return row === undefined ? null : { estimate: row.ratio!, low: row.ratio_low, high: row.ratio_high };
}

/** Whether a probe has the figure, and nobody else used the machine meanwhile. */
const isFigure = (row: ProbeRow) => row.value !== null && !isDisturbedProbe(row);

/** The same of two variants of a probe; each may lie anywhere in its interval. */
function probeRatio({ at, metric }: Condition, name: string, other: string, stored: Stored): Interval | null {
  for (const { rows } of stored.studies.probe.toReversed()) {
    const find = (variant: string) =>
      rows.find((row) => row.probe === at && row.metric === metric && row.variant === variant && isFigure(row));
    const [own, their] = [find(name), find(other)];
    if (own === undefined || their === undefined) continue;
    const figure = ({ value, low, high }: ProbeRow) => ({ estimate: value!, low: low ?? value, high: high ?? value });
    return quotient(figure(own), figure(their));
  }
  return null;
}

function judgeRatio(
  condition: Condition,
  name: string,
  { factor, server }: { factor: number; server: string },
  stored: Stored,
): Omit<Judged, "condition"> {
  const { kind, at, metric, sign } = condition;
  const found = kind === "probe"
    ? probeRatio(condition, name, server, stored)
    : ratioTo(condition, name, server, stored);
  if (found === null) {
    const command = kind === "probe"
      ? `deno task probe ${at}`
      : `deno task compare ${server} ${name} --scenario ${kind} --connections ${at}`;
    return { outcome: "open", because: `not measured yet (${command})` };
  }
  const { estimate: ratio } = found;
  const [low, high] = [found.low!, found.high!]; // one without an interval is not found
  const because =
    `${metric} in ${kind}(${at}) was ${percent(ratio)} of ${server}'s [${percent(low)}, ${percent(high)}], ` +
    `${WORDS[sign]} ${percent(factor)} was expected`;
  return { outcome: decide(low, high, sign, factor), because };
}

/** Judges one condition of an experiment. */
export function judgeCondition(condition: Condition, name: string, stored: Stored): Judged {
  const { right, kind, at, metric, sign } = condition;
  if ("server" in right) return { condition, ...judgeRatio(condition, name, right, stored) };
  if (kind !== "probe") return { condition, ...judgeNumber(condition, name, right.number, stored) };
  const isCrowd = at === CROWD.probe && name === CROWD.server;
  const variant = isCrowd ? crowdVariant() : name;
  const row = stored.studies.probe.toReversed().flatMap(({ rows }) => rows)
    .find((row) => row.probe === at && row.metric === metric && row.variant === variant && isFigure(row));
  if (row === undefined) {
    const command = isCrowd ? CROWD.command : `deno task probe ${at}`;
    return { condition, outcome: "open", because: `not measured yet (${command})` };
  }
  const outcome = decide(row.low ?? row.value!, row.high ?? row.value!, sign, right.number);
  const because = `${metric} in probe(${at}) was ${written(metric, row.value!)}, ${WORDS[sign]} ` +
    `${written(metric, right.number)} was expected`;
  return { condition, outcome, because };
}

const TITLES: Record<Outcome, string> = {
  held: "Prediction held",
  failed: "Prediction failed",
  open: "Prediction open",
};

/**
 * Judges the prediction of an experiment; null: its header has no `@expect`.
 *
 * @throws {KnownFailure} If a condition cannot be understood.
 */
export function judgePrediction(
  { name, expect }: Pick<Experiment, "name" | "expect">,
  stored: Stored,
): Prediction | null {
  if (expect.length === 0) return null;
  const conditions = expect.map((text) => judgeCondition(parseCondition(text), name, stored));
  const outcome: Outcome = conditions.some(({ outcome }) => outcome === "failed")
    ? "failed"
    : conditions.some(({ outcome }) => outcome === "open")
    ? "open"
    : "held";
  const telling = conditions.filter((judged) => judged.outcome === outcome).map(({ because }) => because);
  return { outcome, conditions, sentence: `${TITLES[outcome]}: ${[...new Set(telling)].join("; ")}.` };
}
