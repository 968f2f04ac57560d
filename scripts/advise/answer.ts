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
  heavyOf,
  type Load,
  type Out,
  outOf,
  weigh,
} from "../../lib/advice/model.ts";
import type { Facts, Setting, Unknown } from "../../lib/advice/facts.ts";
import type { Held } from "./evidence.ts";
import { MARGIN } from "../../lib/claims/figure.ts";
import { MIXED } from "../../lib/results/conventions.ts";
import { atMost, EXP_TIME } from "../../lib/results/duration.ts";
import { busyShare, type Check, checkOf, isHardlySeen } from "./commands.ts";
import { bytes, count, counted, microseconds } from "../../lib/text/format.ts";
import { clearestPair, crossingSentence, crossingTable, type Pair } from "../../lib/advice/pairs.ts";
import { type Column, table, wrap } from "../../lib/text/table.ts";
import { DESCRIPTOR_RESERVE } from "../../lib/run/guard.ts";
import type { Row } from "../../lib/run/limits.ts";

/** What of this machine an answer needs. */
export interface Here {
  memoryBytes: number;
  /** The settings that limit servers: their values, for how many connections they are enough, and the lines that raise them. */
  limits: readonly Pick<Row, "what" | "value" | "connections" | "raise">[];
}

/** What must be set on a host before some of the choices can hold so many connections. */
export interface Condition {
  names: string[];
  setting: Setting;
  /** The fewest that one of them held with the setting as it was; for more the figures are extrapolated. */
  held: number;
  /** Processes that could share the connections without it. */
  processes: number;
  /** Its value here, and whether that is enough; null: it is not known. */
  here: string | null;
  isEnough: boolean;
  /** The line that raises it. */
  raise: string | null;
}

/** All that the advisor says of one load. */
export interface Advice {
  load: Load;
  /** The best first; none: nothing that was measured here can do it. */
  choices: Choice[];
  /** What some of them need. */
  conditions: Condition[];
  /** What held as many, where none of the choices did. */
  evidence: Held[];
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

/** Where nothing is known of this machine. */
const NOWHERE: Here = { memoryBytes: Infinity, limits: [] };

/** By setting, what the choices need that were stopped by it. */
function conditionsOf(choices: readonly Choice[], { connections }: Load, { limits }: Here): Condition[] {
  const stopped = choices.filter(({ setting }) => setting !== null);
  return [...Map.groupBy(stopped, ({ setting }) => setting!)].map(([setting, all]) => {
    const row = limits.find(({ what }) => what === setting);
    const held = Math.min(...all.map((of) => of.held));
    return {
      names: all.map(({ name }) => name),
      setting,
      held,
      processes: Math.ceil(connections / held),
      here: row?.value ?? null,
      isEnough: (row?.connections ?? 0) >= connections,
      raise: row?.raise ?? null,
    };
  });
}

/** Pairs of which both can do it, and were measured with as many connections: other crossings are no part of the answer. */
function pairsOf(known: readonly Facts[], choices: readonly Choice[], load: Load): Pair[] {
  if (load.connections === 1) return []; // nobody waits for another
  const able = known.filter(({ name, held }) =>
    held >= load.connections && choices.some((choice) => choice.name === name)
  );
  return AXIS_NAMES.flatMap((axis) => clearestPair(able, load, axis) ?? []);
}

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
  here: Here = NOWHERE,
): Advice {
  const choices = weigh(known, load);
  const best = choices[0];
  return {
    load,
    choices,
    conditions: conditionsOf(choices, load, here),
    evidence: [],
    alike: known.map(({ name }) => choices.find((choice) => choice.name === name))
      .filter((choice) => choice !== undefined && choice !== best && !areApart(choice, best!))
      .map((choice) => choice!.name),
    crossings: {
      connections: crossings(known, load, "connections"),
      cpuUs: crossings(known, load, "cpuUs"),
      idlePercent: crossings(known, load, "idlePercent"),
    },
    pairs: pairsOf(known, choices, load),
    out: [
      ...outOf(known, load, here.memoryBytes),
      ...unknown.map(({ name, ...how }) => ({ names: [name], why: "it is not measured", ...how })),
      ...(untried.length === 0 ? [] : [{
        names: [...untried],
        why: "no run is stored; deno task exp <name> measures one",
        command: null,
        time: EXP_TIME,
      }]),
    ],
    check: checkOf(choices, load, here.memoryBytes),
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
];

const MEMORY_COLUMNS: Column<Choice>[] = [
  { heading: "architecture", cell: (of) => of.name, left: true },
  { heading: "process", cell: ({ memory }) => bytes(memory?.process) },
  { heading: "+ connections", cell: ({ memory }) => bytes(memory?.connections) },
  { heading: "+ kernel", cell: ({ memory }) => bytes(memory?.kernel) },
  { heading: "= about", cell: ({ memory }) => bytes(memory?.total) },
  { heading: "most held", cell: ({ held }) => count(held) },
];

/** The memory of one, in its parts. */
function memoryText({ name, memory, held }: Choice, { connections }: Load): string[] {
  if (memory === null) return [];
  const parts = [["process", memory.process], ["connections", memory.connections], ["kernel", memory.kernel]] as const;
  const known = parts.filter(([, value]) => value !== null).map(([part, value]) => `${part} ${bytes(value)}`);
  const missing = parts.filter(([, value]) => value === null).map(([part]) => part);
  const without = missing.length === 0 ? "" : `, without ${missing.join(" and ")}, not measured`;
  const extrapolated = held < connections ? `, extrapolated beyond the ${count(held)} that it held` : "";
  return [
    `Memory of ${name} with ${counted(connections, "connection")}: ${known.join(" + ")} = about ${
      bytes(memory.total)
    }${without}${extrapolated}.`,
  ];
}

/** How the numbers of an axis are written. */
const AXES: Record<keyof Load, (at: number) => string> = {
  connections: (at) => counted(at, "connection"),
  cpuUs: (at) => `${count(at)} µs of CPU`,
  idlePercent: (at) => `${count(at)} % idle`,
};

/** The measured figures by which the best is the best. */
function reason({ name, cpuUs, idleUs, waitUs }: Choice, load: Load): string {
  const heavy = heavyOf(load);
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
  "one µs of CPU. Each has a column of its own, if you weigh them otherwise. Memory is that of server and kernel, without data of " +
  "your own and the clients' ends: what the process takes anyway, and the measured slopes per connection. Waits are " +
  `p99 of light requests at ${MIXED.ratePerS} requests/s, above those beside requests that burn nothing. Bounds are those of ` +
  "98 % of a ratio to another server; of that other one the lowest and the highest of its pairs, none where there is one pair; " +
  `of a single run ${100 * MARGIN.other} % on either side. The model stands in lib/advice/model.ts.`;

/** Several names, of which one is the answer. */
const anyOf = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;

/** The best; or all that the figures do not tell apart. */
function headline({ choices, alike }: Advice): string {
  const best = choices[0];
  if (best === undefined) return " nothing that was measured can do it.";
  const condition = best.setting === null ? "" : ", on a condition";
  return ` ${anyOf([best.name, ...alike])}${alike.length === 0 ? "" : ": not told apart"}${condition}`;
}

/** What must be set first, and how. The line that sets it stands on a line of its own: it is copied. */
function conditionLines(
  { names, setting, held, processes, here, isEnough, raise }: Condition,
  load: Load,
  width: number,
): string[] {
  const { connections } = load;
  const isDescriptors = setting === "descriptors per process";
  const needed = isDescriptors ? `${count(connections + DESCRIPTOR_RESERVE)} are needed, ` : "";
  const now = here === null ? "" : `; ${needed}here it is ${here}${isEnough ? ", which is enough" : ""}`;
  const text = [
    `  ${names.join(", ")}: ${setting}${isDescriptors ? " (RLIMIT_NOFILE)" : ""} stopped the run at ${
      count(held)
    } connections.`,
    `That is a setting of the host and no limit of the architecture${now}.`,
    `Or ${count(processes)} processes share the ${count(connections)} connections, with the setting as it was.`,
    `Beyond ${count(held)} connections memory is extrapolated from its slope, and CPU time was not measured.`,
    ...(raise === null || isEnough ? [] : ["This line raises the setting; deno task doctor says who may type it:"]),
  ];
  return [...hanging(text.join(" "), width), ...(raise === null || isEnough ? [] : [`    ${raise}`])];
}

/** What held so many. Its files are in the JSON: their names are wider than a terminal. */
const evidenceLines = (evidence: readonly Held[]): string[] =>
  evidence.map(({ server, connections, command, machine }) =>
    `  ${server} held ${count(connections)} on ${machine} (${command})`
  );

/** What the waits cannot show of heavy requests of this size; none: they show it. */
function unseen({ load, check }: Advice): string[] {
  const cpuUs = heavyOf(load);
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
function checkLines({ check, conditions }: Advice, width: number): string[] {
  if (check === null) return [];
  const { command, seconds, ratePerS } = check;
  const rate = ratePerS === null ? "" : ` Put your own rate in place of ${ratePerS}.`;
  const first = conditions.some(({ isEnough }) => !isEnough) ? " Raise the setting first." : "";
  return [[...wrap(`This takes ${atMost(seconds)}.${rate}${first}`, width), `Check it here: ${command}`].join("\n")];
}

const PEERS =
  "Peers in other languages (Go, Rust, Java, Node, nginx) are not considered. README.md and deno task list name them, and " +
  "deno task compare epoll go-net compares one with an architecture.";

/** The best, the runner-up, and those that the figures do not tell from the best. */
function answerLines({ load, choices, alike }: Advice): string[] {
  const [best, second] = choices;
  if (best === undefined) return [];
  return [
    reason(best, load),
    ...memoryText(best, load),
    second === undefined ? "Nothing else that was measured can do it." : `Runner-up: ${reason(second, load)}`,
    ...(alike.length === 0 ? [] : [`Not distinguishable from: ${alike.join(", ")} (from easy to hard).`]),
  ];
}

/** What holds for the answer as a whole. */
function notesOf(advice: Advice): string[] {
  const { load, choices } = advice;
  const alone = load.cpuUs > heavyOf(load)
    ? ["on one connection no request waits for another: what heavy ones burn does not change the answer"]
    : [];
  return [...new Set([...alone, ...unseen(advice), ...choices.slice(0, 2).flatMap((of) => of.notes)])];
}

/** For a terminal. */
export function describeAdvice(advice: Advice, width = 80): string {
  const { load, choices, crossings, pairs, out, conditions, evidence } = advice;
  const asked =
    `${counted(load.connections, "connection")}, ${count(load.idlePercent)} % of them idle, one request of a ` +
    `hundred burns ${count(load.cpuUs)} µs of CPU:${headline(advice)}`;
  const fit = (lines: string[]) => lines.flatMap((line) => hanging(line, width));
  const list = (heading: string, lines: string[]) => lines.length > 0 ? [[heading, ...lines].join("\n")] : [];
  const paragraph = (lines: string[]) => lines.length > 0 ? [fit(lines).join("\n")] : [];
  const sized = choices.filter(({ memory }) => memory !== null);
  return [
    wrap(asked, width).join("\n"),
    ...paragraph(answerLines(advice)),
    ...list("On a condition", conditions.flatMap((of) => conditionLines(of, load, width))),
    ...list("Measured with as many connections", fit(evidenceLines(evidence))),
    ...(choices.length > 0 ? [table(choices, COLUMNS, width)] : []),
    ...(sized.length > 0 ? [table(sized, MEMORY_COLUMNS, width)] : []),
    ...list("Caveats", fit(notesOf(advice).map((note) => `  ${note}`))),
    ...list("Where the answer changes, the other numbers left as they are", fit(crossingLines(crossings))),
    ...pairs.map((pair) =>
      `${wrap(crossingSentence(pair), width).join("\n")}\n\n${crossingTable(pair, width)}\n* the lower one`
    ),
    ...list("Not weighed", out.flatMap((of) => outLines(of, width))),
    wrap(PEERS, width).join("\n"),
    wrap(HOW_WEIGHED, width).join("\n"),
    ...checkLines(advice, width),
  ].join("\n\n");
}
