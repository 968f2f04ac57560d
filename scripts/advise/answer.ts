/**
 * The advisor's answer in words.
 *
 * @module
 */
import {
  areApart,
  type Choice,
  type Crossing,
  crossings,
  type Load,
  type Out,
  outOf,
  weigh,
} from "../../lib/advice/model.ts";
import type { Facts, Unknown } from "../../lib/advice/facts.ts";
import { MARGIN } from "../../lib/claims/figure.ts";
import { MIXED } from "../../lib/results/conventions.ts";
import { atMost, EXP_TIME } from "../../lib/results/duration.ts";
import { busyShare, type Check, checkOf, isHardlySeen } from "./commands.ts";
import { bytes, count, microseconds } from "../../lib/text/format.ts";
import { clearestPair, crossingSentence, crossingTable, type Pair } from "../../lib/advice/pairs.ts";
import { type Column, table, wrap } from "../../lib/text/table.ts";

/** All that the advisor says of one load. */
export interface Advice {
  load: Load;
  /** The best first; none: nothing that was measured here can do it. */
  choices: Choice[];
  /** Others that the figures do not tell from the best, from easy to hard. */
  alike: string[];
  /** Where the best changes while one number grows and the others stay. */
  crossings: Record<keyof Load, Crossing[]>;
  /** Of each number that grows, the two whose costs cross most clearly. */
  pairs: Pair[];
  /** Which servers are excluded, and why. */
  out: Out[];
  /** What checks the answer on this machine; null: there is nothing to compare. */
  check: Check | null;
}

const AXIS_NAMES = ["connections", "cpuUs", "idlePercent"] as const;

/**
 * Weighs all that is known.
 *
 * @param untried Those of which nothing is stored.
 */
export function advise(
  known: readonly Facts[],
  unknown: readonly Unknown[],
  load: Load,
  untried: readonly string[] = [],
): Advice {
  const choices = weigh(known, load);
  const best = choices[0];
  return {
    load,
    choices,
    alike: known.map(({ name }) => choices.find((choice) => choice.name === name))
      .filter((choice) => choice !== undefined && choice !== best && !areApart(choice, best!))
      .map((choice) => choice!.name),
    crossings: {
      connections: crossings(known, load, "connections"),
      cpuUs: crossings(known, load, "cpuUs"),
      idlePercent: crossings(known, load, "idlePercent"),
    },
    pairs: AXIS_NAMES.flatMap((axis) => clearestPair(known, load, axis) ?? []),
    out: [
      ...outOf(known, load),
      ...unknown.map(({ name, ...how }) => ({ names: [name], why: "it is not measured", ...how })),
      ...(untried.length === 0 ? [] : [{
        names: [...untried],
        why: "nothing is stored; deno task exp <name> measures one",
        command: null,
        time: EXP_TIME,
      }]),
    ],
    check: checkOf(choices, load),
  };
}

/** What it costs, with the bounds of it, where they are known, in the same unit: a column that fits. */
function totalText({ totalUs, lowUs, highUs }: Choice): string {
  const [unit, us] = totalUs < 1e3 ? ["µs", 1] as const : totalUs < 1e6 ? ["ms", 1e3] as const : ["s", 1e6] as const;
  const digits = totalUs / us < 100 ? 1 : 0;
  const [total, low, high] = [totalUs, lowUs, highUs].map((value) => count(value / us, digits));
  return lowUs === highUs ? `${total} ${unit}` : `${total} [${low}, ${high}] ${unit}`;
}

const COLUMNS: Column<Choice>[] = [
  { heading: "architecture", cell: (of) => of.name, left: true },
  { heading: "CPU-µs\n/request", cell: (of) => count(of.cpuUs, 2) },
  { heading: "idle\nscan, µs", cell: (of) => count(of.idleUs, 2) },
  { heading: "light ones\nwait", cell: (of) => microseconds(of.waitUs) },
  { heading: "together\n[bounds]", cell: totalText },
  { heading: "memory", cell: (of) => bytes(of.bytes) },
];

/** How the numbers of an axis are written. */
const AXES: Record<keyof Load, (at: number) => string> = {
  connections: (at) => `${count(at)} connections`,
  cpuUs: (at) => `${count(at)} µs of CPU`,
  idlePercent: (at) => `${count(at)} % idle`,
};

/** The measured figures by which the best is the best. */
function reason({ name, cpuUs, idleUs, waitUs }: Choice, { cpuUs: heavy }: Load): string {
  const parts = [`a request costs ${count(cpuUs, 2)} µs of CPU`];
  if (idleUs >= 0.01) parts.push(`scan of idle connections up to ${count(idleUs, 2)} µs more`);
  if (heavy > 0) {
    parts.push(`beside requests of ${microseconds(heavy)} the light ones wait ${microseconds(waitUs)} longer (p99)`);
  }
  return `${name}: ${parts.join(", ")}.`;
}

/** From where on it is no chance, if that is not the same. */
function toldText({ at, told }: Crossing, write: (at: number) => string): string {
  if (told === at) return "";
  return told === null
    ? "; nowhere do the figures tell them apart"
    : `; the figures tell them apart from ${write(told)} on`;
}

const crossingLines = (all: Advice["crossings"]) =>
  (Object.keys(AXES) as (keyof Load)[]).flatMap((axis) =>
    all[axis].map((of) =>
      `  from ${AXES[axis](of.at)} on: ${of.to ?? "none"} instead of ${of.from ?? "none"}${toldText(of, AXES[axis])}`
    )
  );

/** A line as several that fit, each but the first indented by two more. */
function hanging(line: string, width: number): string[] {
  const text = line.trimStart();
  const indent = " ".repeat(line.length - text.length);
  return wrap(text, width - indent.length - 2).map((part, i) => `${indent}${i > 0 ? "  " : ""}${part}`);
}

/** Which servers are not weighed, and why. The command stands on a line of its own and is not broken: it is copied. */
const outLines = ({ names, why, command, time }: Out, width: number): string[] => [
  ...hanging(`  ${names.join(", ")}: ${why}${time === null ? "" : ` (${time})`}`, width),
  ...(command === null ? [] : [`    ${command}`]),
];

const HOW_WEIGHED =
  'The column "together" adds CPU time, the scan of idle connections and the wait: one µs of waiting counts as much as ' +
  "one µs of CPU. Each has a column of its own, if you weigh them otherwise. Memory is that of all connections. Waits are " +
  `p99 of light requests at ${MIXED.ratePerS} requests/s, above those beside requests that burn nothing. Bounds are those of ` +
  "98 % of a ratio to another server; of that other one the lowest and the highest of its pairs, none where there is one pair; " +
  `of a single run ${100 * MARGIN.other} % on either side. The model stands in lib/advice/model.ts.`;

/** Several names, of which one is the answer. */
const anyOf = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;

/** The best; or all that the figures do not tell apart. */
function headline({ choices, alike }: Advice): string {
  const best = choices[0];
  if (best === undefined) return "";
  return ` ${anyOf([best.name, ...alike])}${alike.length === 0 ? "" : ": not told apart"}`;
}

/** What the waits cannot show of heavy requests of this size; none: they show it. */
function unseen({ load: { cpuUs }, check }: Advice): string[] {
  if (check === null || !isHardlySeen(cpuUs)) return [];
  return [
    `At ${MIXED.ratePerS} requests/s, the rate of these waits, requests of ${
      microseconds(cpuUs)
    } keep a loop busy for ` +
    `${
      count(100 * busyShare(cpuUs), 2)
    } % of the time, so that p99 hardly sees them: the last command of this answer ` +
    "measures at the rate that you have",
  ];
}

/** The command that checks the answer. It is not broken: it is copied. */
function checkLines(check: Check | null, width: number): string[] {
  if (check === null) return [];
  const { command, seconds, ratePerS } = check;
  const rate = ratePerS === null ? "" : ` Put your own rate in place of ${ratePerS}.`;
  return [[...wrap(`This takes ${atMost(seconds)}.${rate}`, width), `Check it here: ${command}`].join("\n")];
}

/** The best, the runner-up, and those that the figures do not tell from the best. */
function answerLines({ load, choices, alike }: Advice): string[] {
  const [best, second] = choices;
  if (best === undefined) return ["Nothing that was measured here can do it."];
  return [
    reason(best, load),
    second === undefined ? "Nothing else that was measured can do it." : `Runner-up: ${reason(second, load)}`,
    ...(alike.length === 0 ? [] : [`Not distinguishable from: ${alike.join(", ")} (from easy to hard).`]),
  ];
}

/** For a terminal. */
export function describeAdvice(advice: Advice, width = 80): string {
  const { load, choices, crossings, pairs, out, check } = advice;
  const asked = `${count(load.connections)} connections, ${count(load.idlePercent)} % of them idle, one request of a ` +
    `hundred burns ${count(load.cpuUs)} µs of CPU:${headline(advice)}`;
  const notes = [...new Set([...unseen(advice), ...choices.slice(0, 2).flatMap((of) => of.notes)])];
  const fit = (lines: string[]) => lines.flatMap((line) => hanging(line, width));
  const list = (heading: string, lines: string[]) => lines.length > 0 ? [[heading, ...lines].join("\n")] : [];
  return [
    wrap(asked, width).join("\n"),
    fit(answerLines(advice)).join("\n"),
    ...(choices.length > 0 ? [table(choices, COLUMNS, width)] : []),
    ...list("Caveats", fit(notes.map((note) => `  ${note}`))),
    ...list("Where the answer changes, the other numbers left as they are", fit(crossingLines(crossings))),
    ...pairs.map((pair) =>
      `${wrap(crossingSentence(pair), width).join("\n")}\n\n${crossingTable(pair, width)}\n* the cheaper one`
    ),
    ...list("Not weighed", out.flatMap((of) => outLines(of, width))),
    wrap(HOW_WEIGHED, width).join("\n"),
    ...checkLines(check, width),
  ].join("\n\n");
}
