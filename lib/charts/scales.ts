/**
 * The axes of charts.
 *
 * @module
 */
import type { ScaleOptionsByType } from "chart.js";
import { atTick, GROUND, type Theme, type Unit, UNIT_NAME, WHOLE_UNITS, WRITTEN_UNITS } from "./theme.ts";

/** One axis. A logarithmic one shows plain decades (of bytes: powers of 16). */
export interface Axis {
  label: string;
  unit: Unit;
  scale: "linear" | "log";
}

const NARROW = 2; // below this ratio of its ends a logarithmic axis is nearly a linear one

/**
 * Steps of a logarithmic axis: plain decades; of bytes powers of 16, so that each is a round number of KiB or MiB. Where
 * there are few of these, steps between them; on a narrow axis equal steps.
 */
function logTicks(min: number, max: number, unit: Unit): { value: number }[] {
  const base = unit === "bytes" ? 16 : 10;
  if (max / min < NARROW) return unit === "bytes" ? byteTicks(min, max) : equalTicks(min, max);
  const first = Math.ceil(Math.log(min) / Math.log(base) - 1e-9);
  const last = Math.floor(Math.log(max) / Math.log(base) + 1e-9);
  const decades = Array.from({ length: last - first + 1 }, (_, i) => ({ value: base ** (first + i) }));
  if (decades.length > 2) return decades;
  const between = unit === "bytes" ? [1, 2, 4, 8] : max / min < base ? [1, 1.5, 2, 3, 4, 5, 7] : [1, 2, 5];
  const from = Array.from({ length: last - first + 3 }, (_, i) => base ** (first - 1 + i));
  return from.flatMap((decade) => between.map((step) => ({ value: step * decade })))
    .filter(({ value }) => value >= min && value <= max);
}

/** Between three and eight steps, each a tenth, a fifth or a half of a decade. */
function equalTicks(min: number, max: number): { value: number }[] {
  const decade = 10 ** Math.floor(Math.log10(max - min));
  const step = [0.1, 0.2, 0.5].map((share) => share * decade).find((of) => (max - min) / of <= 8) ?? decade;
  const first = Math.ceil(min / step);
  const last = Math.floor(max / step);
  return Array.from({ length: last - first + 1 }, (_, i) => ({ value: Number(((first + i) * step).toPrecision(12)) }));
}

const BYTE_STEPS = 6; // at most, on a linear axis

/** Steps of a linear axis of bytes: a power of two apart, so that each is a round number of KiB or MiB. */
function byteTicks(min: number, max: number): { value: number }[] {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2((max - min) / BYTE_STEPS))); // nothing is half a byte
  const first = Math.ceil(min / step);
  return Array.from({ length: Math.floor(max / step) - first + 1 }, (_, i) => ({ value: (first + i) * step }));
}

/** The ticks up to the first one that is no less than a value: behind it there is only room for text. */
function upTo(ticks: { value: number }[], last: number): { value: number }[] {
  const end = ticks.findIndex(({ value }) => value >= last);
  return end < 0 ? ticks : ticks.slice(0, end + 1);
}

/**
 * How Chart.js draws an axis.
 *
 * @param values What is drawn along it.
 */
export function scaleOf(
  { label, unit, scale }: Axis,
  theme: Theme,
  values: readonly (number | null | undefined)[] = [],
): Record<string, unknown> {
  const { text, faint, grid } = GROUND[theme];
  const isNamed = label.includes(UNIT_NAME[unit]) || WRITTEN_UNITS.includes(unit);
  const named = isNamed ? label : `${label} (${UNIT_NAME[unit]})`;
  const last = known(values).length === 0 ? Infinity : Math.max(...known(values));
  return {
    type: scale === "log" ? "logarithmic" : "linear",
    ...(scale === "linear" && { beginAtZero: true }),
    grace: scale === "linear" ? "12%" : 0,
    title: {
      display: true,
      text: `${named}${scale === "log" ? ", logarithmic" : ""}`,
      color: text,
      font: { size: 13 },
    },
    grid: { color: grid },
    border: { color: faint },
    ticks: {
      color: faint,
      maxRotation: 0,
      font: { size: 12 },
      callback: (value: number) => atTick(value, unit),
      ...(WHOLE_UNITS.includes(unit) && { precision: 0 }),
    },
    ...((scale === "log" || unit === "bytes") && {
      afterBuildTicks: (axis: { min: number; max: number; ticks: unknown[] }) => {
        axis.ticks = scale === "log" ? upTo(logTicks(axis.min, axis.max, unit), last) : byteTicks(axis.min, axis.max);
      },
    }),
  };
}

/** The values that a logarithmic axis can show. */
export const known = (values: readonly (number | null | undefined)[]): number[] =>
  finite(values).filter((of) => of > 0);
const finite = (values: readonly (number | null | undefined)[]) =>
  values.filter((value): value is number => typeof value === "number" && Number.isFinite(value));

/** What an axis has to have room for: of a logarithmic one also for the text that is written beside the values. */
export function range(
  { scale }: Axis,
  all: readonly (number | null | undefined)[],
  room: number,
): Partial<ScaleOptionsByType<"linear" | "logarithmic">> {
  const values = scale === "log" ? known(all) : finite(all);
  if (values.length === 0) return {};
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const span = Math.max(max / min, 1.5);
  if (scale === "linear") return { suggestedMin: min, suggestedMax: max }; // Chart.js looks at no interval's ends
  return { min: min / span ** 0.06, max: max * span ** room };
}
