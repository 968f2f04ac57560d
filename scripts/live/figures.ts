/**
 * The figures of the live page: what each is called, how it is written and what stands below it.
 *
 * @module
 */
import type { Axis } from "../../lib/charts/config.ts";
import { boundOf } from "../../lib/results/findings.ts";
import { bytes, count, microseconds, MISSING } from "../../lib/text/format.ts";
import type { Frame } from "../../lib/run/watch.ts";
import type { Round } from "./wire.ts";

/** One figure of a frame. */
export interface Figure {
  label: string;
  value: (frame: Frame) => number | null;
  /** A value with its unit, such as `12.5 ms`. */
  written: (value: number) => string;
  /** What it is, or what was wanted, in a few words. */
  detail: (frame: Frame) => string;
  axis: Axis;
  /** The metric whose findings make this figure a bound too; none: it is always a figure. */
  boundedAs?: "requests_per_s" | "p50_us" | "p99_us";
}

const linear = (label: string, unit: Axis["unit"]): Axis => ({ label, unit, scale: "linear" });
const log = (label: string, unit: Axis["unit"]): Axis => ({ label, unit, scale: "log" });

export const FIGURES: readonly Figure[] = [
  {
    label: "Connections",
    value: (frame) => frame.connections,
    written: (value) => count(value),
    detail: ({ wanted, connections, open }) => {
      const share = wanted.connections === connections ? "all connected" : `of ${count(wanted.connections)} wanted`;
      return open === null ? share : `${share}; server counts ${count(open)}`;
    },
    axis: linear("connections", "connections"),
  },
  {
    label: "Requests/s",
    value: (frame) => frame.requests_per_s,
    written: (value) => `${count(value)} /s`,
    detail: ({ wanted: { rate_per_s } }) =>
      rate_per_s === null ? "as fast as it answers" : `of ${count(rate_per_s)} /s that are due`,
    axis: linear("requests/s", "per_s"),
    boundedAs: "requests_per_s",
  },
  {
    label: "p50 latency",
    value: (frame) => frame.p50_us,
    written: microseconds,
    detail: () => "half are faster",
    axis: log("latency", "us"),
    boundedAs: "p50_us",
  },
  {
    label: "p99 latency",
    value: (frame) => frame.p99_us,
    written: microseconds,
    detail: () => "1 in 100 is slower",
    axis: log("latency", "us"),
    boundedAs: "p99_us",
  },
  {
    label: "Server CPU",
    value: (frame) => frame.cpu_percent,
    written: (value) => `${count(value)} %`,
    detail: () => "of one core",
    axis: linear("% of one core", "percent"),
    boundedAs: "requests_per_s", // with more requests it would be more
  },
  {
    label: "CPU per request",
    value: (frame) => frame.cpu_us_per_request,
    written: (value) => `${count(value, value < 100 ? 1 : 0)} µs`,
    detail: () => "of CPU time",
    axis: linear("CPU-µs", "us"),
  },
  {
    label: "Memory",
    value: (frame) => frame.pss_bytes,
    written: bytes,
    detail: () => "PSS of all its processes",
    axis: linear("bytes", "bytes"),
  },
  {
    label: "Threads",
    value: (frame) => frame.threads,
    written: (value) => count(value),
    detail: ({ processes }) =>
      processes === null ? "" : processes === 1 ? "in 1 process" : `in ${count(processes)} processes`,
    axis: linear("threads", "threads"),
  },
];

/** What a figure is by the findings of its frame; null: a figure, as it stands. */
export const boundIn = ({ boundedAs }: Figure, { findings }: Frame): "at least" | "at most" | null =>
  boundedAs === undefined ? null : boundOf(boundedAs, findings.map(({ id }) => id));

/** A figure as it is shown: sign, number and unit apart, since they differ in size. */
export function shown(figure: Figure, frame: Frame): { sign: string; number: string; unit: string } {
  const value = figure.value(frame);
  if (value === null) return { sign: "", number: MISSING, unit: "" };
  const [, number, unit] = /^(.*\d)(?: (\D+))?$/.exec(figure.written(value))!;
  const bound = boundIn(figure, frame);
  const sign = bound === null ? "" : bound === "at least" ? "≥" : "≤";
  return { sign, number: number!, unit: unit ?? "" };
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.?$/, ".")}`;

/** What it says of several servers at once: their names stand before what is of one of them. */
export function remarksOf(names: readonly string[], round: Round): { id: string; text: string }[] {
  return round.flatMap((frame, i) =>
    remarks(frame).map(({ id, text }) =>
      round.length === 1 ? { id, text } : { id: `${names[i]} ${id}`, text: `${names[i]}: ${text}` }
    )
  );
}

/** What to say about a frame: why the server falls short first, then what weakens the figures. */
export function remarks({ reason, findings }: Frame): { id: string; text: string }[] {
  return [
    ...(reason === null ? [] : [{ id: "reason", text: sentence(reason) }]),
    ...findings.map(({ id, sentence: text }) => ({ id, text: sentence(text) })),
  ];
}

/** The same of several servers, each by its name. */
export function spokenOf(figure: Figure, names: readonly string[], rounds: readonly Round[]): string {
  const texts = names.map((_, i) => spoken(figure, rounds.map((round) => round[i]!)));
  return texts.length === 1 ? texts[0]! : texts.map((text, i) => `${names[i]}: ${text}`).join(". ");
}

/** What a figure's chart shows, for those who do not see it. */
export function spoken(figure: Figure, frames: readonly Frame[]): string {
  const values = frames.flatMap((frame) => figure.value(frame) ?? []);
  if (values.length === 0) return `${figure.label}: not measured`;
  const [low, high] = [Math.min(...values), Math.max(...values)].map(figure.written);
  const seconds = Math.ceil(frames.at(-1)!.elapsed_s - frames[0]!.elapsed_s) + 1;
  return `${figure.label} of the last ${count(seconds)} s: from ${low} to ${high}`;
}

/** What one second adds to the chart of latency against load. */
export interface LoadPoint {
  /** Requests/s that were answered. */
  x: number;
  /** Their p99. */
  y: number;
  isBound: boolean;
}

const P99 = FIGURES.find(({ boundedAs }) => boundedAs === "p99_us")!;

/** Latency against load of one server, in the order of time. Seconds with another number of connections are of another curve. */
export function loadPoints(frames: readonly Frame[]): LoadPoint[] {
  const connections = frames.at(-1)?.connections;
  return frames.filter((frame) => frame.connections === connections).flatMap((frame) => {
    const { requests_per_s, p99_us } = frame;
    const isKnown = requests_per_s > 0 && p99_us !== null;
    return isKnown ? [{ x: requests_per_s, y: p99_us, isBound: boundIn(P99, frame) !== null }] : [];
  });
}

/** The same in words: its ends. */
export function spokenLoad(name: string, points: readonly LoadPoint[]): string {
  const sorted = points.toSorted((a, b) => a.x - b.x);
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (first === undefined || last === undefined) return `${name}: no latency yet`;
  const at = ({ x, y }: LoadPoint) => `p99 ${microseconds(y)} at ${count(x)} requests/s`;
  return `${name}: ${first === last ? at(first) : `${at(first)}, ${at(last)}`}`;
}
