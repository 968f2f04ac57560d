/**
 * Comparisons in the notebooks: small ones that run in a cell, with a chart that grows by each round, and what the rows of
 * any comparison say in words.
 *
 * @module
 */
import { find } from "../catalogue/catalogue.ts";
import { checkPositive, checkWhole, findAll } from "./inputs.ts";
import type { RankSpec } from "../charts/config.ts";
import { bytes, count, counted, MISSING } from "../text/format.ts";
import { compare, type ComparePlan, type Comparison } from "../compare/compare.ts";
import { isQuick, Picture, showTable, showText } from "./show.ts";
import { figure, isInconclusive, isVoid, ratio as ratioOf, whyNoRatio } from "../tables/comparison.ts";
import { DISTURBED, FINDING_SAYS } from "../results/findings.ts";
import { type Column, inLine } from "../text/table.ts";
import type { ComparisonRow } from "../results/rows.ts";
import type { Manifest } from "../results/schema.ts";

/** Of all figures the one that a busy machine disturbs least. */
const METRIC = { throughput: "cpu_us_per_request", broadcast: "cpu_us_per_delivery" } as const;

const SLICE_S = { throughput: 0.2, broadcast: 0.5 };

/** What is compared in a cell. */
export interface SmallPlan {
  connections: number;
  /** Each takes some 4 s a candidate; a quick run makes one. */
  rounds: number;
  title: string;
  /** Of servers that push: messages/s, of one listener to all. Without it requests are made in a closed loop. */
  messagesPerS?: number;
}

/** One round of one candidate: candidate / reference. */
export interface RoundRatio {
  candidate: string;
  round: number;
  ratio: number | null;
}

const nameOf = (metric: string) => inLine(figure.heading(metric));

/**
 * The ratio of each round as a dot: how far rounds lie apart is what an interval is made of. A server
 * that took part in no round is listed with the reason.
 */
export function roundsChart(
  rounds: readonly RoundRatio[],
  out: readonly { candidate: string; reason: string }[],
  { title, axis, family }: { title: string; axis: string; family: (name: string) => string },
): RankSpec {
  return {
    kind: "dots",
    title,
    axis: { label: axis, unit: "ratio", scale: "log" },
    reference: 1,
    items: [
      ...rounds.map(({ candidate, round, ratio }) => ({
        name: `${candidate}, round ${round}`,
        family: family(candidate),
        value: ratio,
      })),
      ...out.map(({ candidate, reason }) => ({
        name: candidate,
        family: family(candidate),
        value: null,
        note: reason,
      })),
    ],
  };
}

/** Which candidates take less than the reference, which more, and of which the intervals do not tell: a line each. */
export function sides(rows: readonly ComparisonRow[]): string {
  const sideOf = (row: ComparisonRow) => {
    const { ratio, ratio_low: low, ratio_high: high } = row;
    if (ratio === null) return "not compared";
    if (isInconclusive(row)) return `inconclusive, for ${DISTURBED}`;
    if (low === null || high === null) return "too few rounds to tell";
    return high < 1 ? "less" : low > 1 ? "more" : "no difference shown";
  };
  const cheapestFirst = rows.toSorted((a, b) => (a.ratio ?? Infinity) - (b.ratio ?? Infinity));
  return [...Map.groupBy(cheapestFirst, sideOf)]
    .map(([side, of]) => `- ${side}: ${of.map(({ candidate }) => candidate).join(", ")}`).join("\n");
}

/** What a row says in one sentence: the ratio, and whether its interval leaves 1 out. */
export function verdict(row: ComparisonRow): string {
  const { reference, candidate, metric, ratio, ratio_low, ratio_high, rounds, reason } = row;
  const name = nameOf(metric);
  const said = ratioOf.withInterval(metric)([row]);
  if (ratio === null) {
    return `**${candidate}** was not compared with ${reference}: ${reason ?? "no figure in every round"}`;
  }
  if (isInconclusive(row)) {
    const median = `${ratio.toFixed(2)} × the ${name} of ${reference}`;
    return `**${candidate}**: ${median} in the median of ${counted(rounds, "round")}, but ${DISTURBED}: inconclusive`;
  }
  if (said === MISSING) return `**${candidate}**, ${name}: no ratio, for ${whyNoRatio(row)}`;
  const found = `**${candidate}**: ${said.replace("~ ", "")} × the ${name} of ${reference}`;
  if (ratio_low === null || ratio_high === null) {
    return `${found} in the median of ${rounds} ${rounds === 1 ? "round" : "rounds"}: too few for an interval, a hint`;
  }
  return `${found}: ${
    ratio_high < 1 ? "less" : ratio_low > 1 ? "more" : "no difference is shown: the interval contains 1"
  }`;
}

/** Which candidate has the lowest ratio of a metric, and which the highest, in a sentence. */
export function extremes(rows: readonly ComparisonRow[], metric: string): string {
  const known = rows.filter((row) => row.metric === metric && row.ratio !== null && !isVoid(row))
    .toSorted((a, b) => a.ratio! - b.ratio!);
  const [low, high] = [known[0], known.at(-1)];
  if (low === undefined || high === undefined) return `There is no figure of ${nameOf(metric)}.`;
  const say = ({ candidate, ratio }: ComparisonRow) => `**${candidate}** at ${ratio!.toFixed(2)} ×`;
  return `${nameOf(metric)}, against ${low.reference}: lowest ${say(low)}, highest ${say(high)}.`;
}

const FIELDS: Column<[name: string, manifest: Manifest]>[] = [
  { heading: "server", cell: ([name]) => name, left: true },
  { heading: "version", cell: ([, { version }]) => version, left: true },
  { heading: "on CPU", cell: ([, { cpus }]) => cpus ?? MISSING },
  { heading: "processes", cell: ([, { processes }]) => count(processes) },
  { heading: "threads", cell: ([, { threads }]) => count(threads) },
  { heading: "backlog", cell: ([, { backlog }]) => count(backlog) },
  { heading: "TCP_NODELAY", cell: ([, { nodelay }]) => nodelay === null ? MISSING : nodelay ? "yes" : "no" },
  { heading: "send buffer", cell: ([, { send_buffer_bytes }]) => bytes(send_buffer_bytes) },
  { heading: "receive buffer", cell: ([, { receive_buffer_bytes }]) => bytes(receive_buffer_bytes) },
  { heading: "cannot", cell: ([, { cannot }]) => cannot.join(", ") || "nothing", left: true },
];

/** The headings under which not all servers have the same; a ratio between them tells of all of it together. */
export const unequalIn = (manifests: readonly [string, Manifest][]): string[] =>
  FIELDS.slice(1).filter(({ cell }) => new Set(manifests.map(cell)).size > 1).map(({ heading }) => heading);

/** Shows what was found in the running servers, and in what of it they are not equal. */
export async function showManifests(manifests: Iterable<[string, Manifest]>): Promise<void> {
  const all = [...manifests];
  const unequal = unequalIn(all);
  await showTable(all, FIELDS);
  await showText(unequal.length > 0 ? `Not equal: ${unequal.join(", ")}.` : "Equal in all of these.");
}

/** What weakens the figures, and whose: a line each. That slices are short is no news in a notebook. */
export function weakened(rows: readonly ComparisonRow[]): string[] {
  const all = rows.flatMap(({ findings }) => findings).filter(({ id }) => id !== "short_run");
  return [...Map.groupBy(all, ({ id }) => id)].map(([id, found]) => {
    const servers = [...new Set(found.map(({ server }) => server))];
    return `what weakens the figures of ${servers.join(" and ")}: ${FINDING_SAYS[id]}`;
  });
}

/** Compares in the cell, in a closed loop or by broadcasts, and shows each round as it ends. Nothing is stored. */
export async function compareLive(
  reference: string,
  candidates: readonly string[],
  plan: SmallPlan,
): Promise<Comparison> {
  const { connections, title, messagesPerS = null } = plan;
  const subjects = findAll([reference, ...candidates]);
  checkWhole("connections", connections);
  checkWhole("rounds", plan.rounds);
  if (messagesPerS !== null) checkPositive("messagesPerS", messagesPerS);
  const scenario = messagesPerS === null ? "throughput" : "broadcast", metric = METRIC[scenario];
  const picture = new Picture();
  const seen: RoundRatio[] = [];
  const family = (name: string) => find(name).family;
  const axis = `ratio of ${nameOf(metric)} to ${reference}`;
  const draw = async (out: { candidate: string; reason: string }[]) =>
    await picture.draw(roundsChart(seen, out, { title, axis, family }));
  let drawn = Promise.resolve();
  const onRound: ComparePlan["onRound"] = (round, candidate, values) => {
    seen.push({ candidate, round, ratio: values[metric] ?? null });
    drawn = drawn.then(() => draw([]));
  };
  const found = await compare(subjects[0]!, subjects.slice(1), {
    scenario,
    connections,
    onRound,
    heavy: null,
    ratePerS: messagesPerS,
    signal: new AbortController().signal,
    ...(isQuick
      ? { rounds: 1, slices: 2, seconds: 0.1 }
      : { rounds: plan.rounds, slices: 4, seconds: SLICE_S[scenario] }),
    settleSeconds: 1,
  });
  await drawn;
  const rows = found.rows.filter((row) => row.metric === metric);
  await draw(rows.flatMap(({ candidate, reason }) => reason === null ? [] : [{ candidate, reason }]));
  await showText([...rows.map(verdict), ...weakened(rows)].map((line) => `- ${line}`).join("\n"));
  return found;
}
