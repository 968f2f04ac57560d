/**
 * A sweep as text: a table, and sentences of which the last one is the answer.
 *
 * @module
 */
import {
  bracket,
  type Capacity,
  capacity,
  type CapacityRatio,
  capacityRatio,
  isLowerBound,
  keepsUp,
  knee,
  meets,
  type Slo,
  sloOf,
} from "../results/capacity.ts";
import type { SweepRow } from "../results/rows.ts";
import type { Study } from "../results/studies.ts";
import { count, counted, microseconds, MISSING } from "../text/format.ts";
import { type Column, markdown, table } from "../text/table.ts";
import type { Interval } from "../timing/stats.ts";

const share = (value: number | null) => value === null ? MISSING : `${count(100 * value)} %`;

/** The columns of the rates that were asked for. */
export const pointColumns = (slo: Slo | null): Column<SweepRow>[] => [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "round", cell: (of) => of.round === 0 ? "ladder" : String(of.round), left: true },
  { heading: "asked\n/s", cell: (of) => count(of.rate_per_s), isKey: true },
  { heading: "answered\n/s", cell: (of) => count(of.answered_per_s) },
  { heading: "p50", cell: (of) => microseconds(of.p50_us) },
  { heading: "p99", cell: (of) => microseconds(of.p99_us) },
  { heading: "p99.9", cell: (of) => microseconds(of.p99_9_us) },
  { heading: "server\ncore", cell: (of) => share(of.server_core_share) },
  slo === null
    ? { heading: "keeps up", cell: (of) => keepsUp(of) ? "yes" : "no", left: true }
    : { heading: slo.text, cell: (of) => meets(of, slo) ? "yes" : "no", left: true },
];

/** What a sweep found of one server. */
export interface Swept {
  server: string;
  knee: number | null;
  /** The first rate of the ladder that it does not keep up with. */
  saturated: number | null;
  /** Between which rates of the ladder the objective lies. Null: beyond that end, or there was no objective. */
  met: number | null;
  failed: number | null;
  /** From the bisections; its interval is null where none ended. Null: there was no objective. */
  capacity: Capacity | null;
  /** Whether the rates that fail may do so by the load generator or by other processes: the capacity is a lower bound. */
  isBound: boolean;
  findings: string[];
}

/** Whether the rates say nothing: the lowest one has failed, and perhaps by the load generator or by other processes. */
export const isUnknown = ({ met, failed, isBound }: Swept): boolean => met === null && failed !== null && isBound;

/** Reads the rows of a sweep, in the order of its servers. */
export function sweptOf(rows: readonly SweepRow[], slo: Slo | null): Swept[] {
  return [...Map.groupBy(rows, ({ server }) => server)].map(([server, own]) => {
    const ladder = own.filter(({ round }) => round === 0);
    const findings = [...new Set(own.flatMap(({ findings }) => findings.map(({ id }) => id)))];
    return {
      server,
      knee: knee(ladder),
      saturated: bracket(ladder, keepsUp).failed,
      ...(slo === null ? { met: null, failed: null } : bracket(ladder, (of) => meets(of, slo))),
      capacity: slo === null ? null : capacity(own, slo),
      isBound: isLowerBound(own, slo),
      findings,
    };
  });
}

/** An interval as text; without bounds there were too few rounds, and a round that found a bound alone leaves one side open. */
function between({ low, high }: Interval): string {
  if (low === null || high === null) return "no interval";
  if (high === Infinity) return low === 0 ? "no bounds" : `≥ ${count(low)}`;
  return low === 0 ? `< ${count(high)}` : `${count(low)} to ${count(high)}`;
}

/** What a capacity is a bound by: by the load generator, or by rounds in which nothing failed, or nothing met the objective. */
function signOf({ capacity, isBound }: Swept): string {
  const isLow = isBound || (capacity?.atLeast.length ?? 0) > 0;
  const isHigh = (capacity?.below.length ?? 0) > 0;
  if (isLow === isHigh) return "";
  return isLow ? "≥ " : "≤ ";
}

/** The capacity of one server, as a bound where the ladder lies on one side of the objective. */
function figureOf(of: Swept): string {
  const { capacity, met, failed } = of;
  if (capacity !== null && capacity.interval !== null) return `${signOf(of)}${count(capacity.interval.estimate)}`;
  if (met === null) return failed === null || isUnknown(of) ? MISSING : `< ${count(failed)}`;
  return failed === null ? `≥ ${count(met)}` : `${count(met)} to ${count(failed)}`;
}

/** The columns of the capacities of servers. */
export const capacityColumns = (slo: Slo): Column<Swept>[] => [
  { heading: "server", cell: (of) => of.server, left: true, isKey: true },
  { heading: `capacity\nat ${slo.text}, /s`, cell: figureOf },
  { heading: "98 % interval", cell: ({ capacity }) => capacity?.interval ? between(capacity.interval) : MISSING },
  { heading: "rounds", cell: ({ capacity }) => count(capacity?.rounds) },
  { heading: "knee\n/s", cell: (of) => count(of.knee) },
  { heading: "saturated\nat /s", cell: (of) => count(of.saturated) },
];

const DISTURBED_ALL = "as even the lowest rate may have failed by the load generator or other processes";

function ofKnee({ server, knee, saturated, isBound }: Swept, ladder: readonly SweepRow[]): string {
  const rates = ladder.map(({ rate_per_s }) => rate_per_s);
  if (knee === null && isBound) return `${server}: no knee is known, ${DISTURBED_ALL}.`;
  if (knee === null) return `${server} saturates below ${count(Math.min(...rates))} requests/s, the lowest rate.`;
  if (knee === Math.max(...rates)) return `${server}: no knee up to ${count(knee)} requests/s, where the ladder ends.`;
  const end = saturated === null ? "no rate of the ladder saturates it" : `it saturates at ${count(saturated)}/s`;
  return `${server}: the knee is at ${count(knee)} requests/s; ${end}.`;
}

/** The sentence for the capacity of a server. */
function ofCapacity(of: Swept, slo: Slo): string {
  const { server, met, failed, capacity } = of;
  if (isUnknown(of)) return `${server}: inconclusive, ${DISTURBED_ALL}; measure again on a quiet machine.`;
  if (met === null) return `${server}: not even ${count(failed)} requests/s meet ${slo.text}.`;
  if (failed === null) return `${server}: at least ${count(met)} requests/s meet ${slo.text}; the ladder ends there.`;
  if (capacity === null || capacity.interval === null) {
    return `${server}: ${count(met)} requests/s meet ${slo.text}, ${count(failed)} do not.`;
  }
  const { interval, rounds } = capacity;
  const bounds = interval.low === null
    ? `no interval from ${counted(rounds, "round")}`
    : `98 % interval ${between(interval)}, ${counted(rounds, "round")}`;
  return `${server}: the capacity at ${slo.text} is ${figureOf(of)} requests/s (${bounds}).`;
}

/** The capacity of a server, for the order of an answer: below or above the ladder stand last and first. */
const borne = ({ capacity, met }: Swept): number => capacity?.interval?.estimate ?? met ?? 0;

/** The answer for several servers, in one sentence. */
function ofAll(all: readonly Swept[], { text }: Slo): string {
  const parts = all.toSorted((a, b) => borne(b) - borne(a)).map((of) => {
    const interval = of.capacity?.interval ?? null;
    return `${of.server} ${figureOf(of)}${interval === null || interval.low === null ? "" : ` [${between(interval)}]`}`;
  });
  return `Capacity at ${text}, requests/s with 98 % interval: ${parts.join("; ")}.`;
}

const roundsText = (rounds: readonly number[]): string => `round${rounds.length === 1 ? "" : "s"} ${rounds.join(", ")}`;

/** Which rounds of a server say less than between which rates its capacity lies. */
function notesOfRounds({ server, capacity }: Swept): string[] {
  if (capacity === null) return [];
  const { unfinished, atLeast, below } = capacity;
  return [
    ...(unfinished.length > 0 ? [`${server}: left out, as unfinished: ${roundsText(unfinished)}.`] : []),
    ...(atLeast.length > 0 ? [`${server}: no rate failed in ${roundsText(atLeast)}: a lower bound.`] : []),
    ...(below.length > 0 ? [`${server}: no rate met the objective in ${roundsText(below)}: an upper bound.`] : []),
  ];
}

/** What weakens the figures of which servers. */
function notesOf(all: readonly Swept[]): string[] {
  const ids = [...new Set(all.flatMap(({ findings }) => findings))];
  const bound = all.filter(({ isBound }) => isBound).map(({ server }) => server).join(", ");
  return [
    ...ids.map((id) => `${id} at some rates: ${all.filter((of) => of.findings.includes(id)).map(nameOf).join(", ")}.`),
    ...(bound === ""
      ? []
      : [`${bound}: what fails may fail by the load generator or other processes, so capacities are lower bounds.`]),
    ...all.flatMap(notesOfRounds),
  ];
}

const nameOf = ({ server }: Swept) => server;

/** The table, and the answers. The last one is the answer of the run. */
export function describeSweep(rows: readonly SweepRow[], slo: Slo | null, width: number) {
  if (rows.length === 0) return { table: "No rate was measured.", sentences: [] };
  const all = sweptOf(rows, slo);
  const notes = notesOf(all);
  const ladder = rows.filter(({ round }) => round === 0);
  const knees = all.map((of) => ofKnee(of, ladder.filter(({ server }) => server === of.server)));
  if (slo !== null && all.length > 1) {
    return { table: table(all, capacityColumns(slo), width), sentences: [...notes, ofAll(all, slo)] };
  }
  const answers = slo === null ? [] : all.map((of) => ofCapacity(of, slo));
  return { table: table(ladder, pointColumns(slo), width), sentences: [...notes, ...knees, ...answers] };
}

/** A stored sweep in Markdown: the capacities, where there was an objective, and the rates of the ladders. */
export function sweepTable({ rows, command, quick }: Pick<Study<"sweep">, "rows" | "command" | "quick">): string {
  const slo = sloOf(rows);
  const ladder = rows.filter(({ round }) => round === 0);
  const notes = notesOf(sweptOf(rows, slo)).map((note) => `- ${note}`).join("\n");
  const parts = [
    ...(slo === null ? [] : [markdown(sweptOf(rows, slo), capacityColumns(slo))]),
    markdown(ladder, pointColumns(slo)),
    notes,
    `${quick ? "A quick look. " : ""}Reproduce: \`${command}\`.`,
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

const times = (value: number | null) => value === null ? MISSING : count(value, value < 10 ? 3 : 1);

/** A ratio with its interval. */
function ratioText({ ratio }: CapacityRatio): string {
  if (ratio === null) return MISSING;
  return ratio.low === null
    ? times(ratio.estimate)
    : `${times(ratio.estimate)} [${times(ratio.low)}, ${ratio.high === Infinity ? "∞" : times(ratio.high)}]`;
}

/** Capacities of candidates against that of a reference: a table, and a sentence for each with its verdict. */
export function describeCapacities(rows: readonly SweepRow[], reference: string, slo: Slo, width: number) {
  const all = sweptOf(rows, slo);
  const ratioOf = (server: string) => server === reference ? null : capacityRatio(rows, reference, server, slo);
  const columns: Column<Swept>[] = [
    ...capacityColumns(slo).slice(0, 4),
    {
      heading: `ratio to ${reference}\n[98 %]`,
      cell: ({ server }) => server === reference ? "1" : ratioText(ratioOf(server)!),
    },
    { heading: "verdict", cell: ({ server }) => ratioOf(server)?.verdict ?? "", left: true },
  ];
  const sentences = all.filter(({ server }) => server !== reference).map(({ server }) => {
    const of = ratioOf(server)!;
    if (of.ratio === null) return `${server} against ${reference}: ${of.verdict}, ${of.reason}.`;
    return `${server} answers × ${ratioText(of)} of the requests/s of ${reference} at ${slo.text}, ` +
      `${counted(of.rounds, "round")}: ${of.verdict}${of.reason === null ? "" : `, ${of.reason}`}.`;
  });
  return { table: table(all, columns, width), sentences: [...notesOf(all), ...sentences] };
}
