/**
 * Finds the ratio of two servers in a comparison.
 *
 * @module
 */
import { isInconclusive, isVoid } from "../tables/comparison.ts";
import { type Figure, quotient } from "./figure.ts";
import { EQUAL_RATE, HEAVY_US, isUsualMessage, MIXED } from "../results/conventions.ts";
import type { ScenarioName } from "../results/results.ts";
import type { ComparisonRow } from "../results/rows.ts";

/** A figure that cannot be had on this machine: the message says why. */
export class NotTestable extends Error {
  override readonly name = "NotTestable";
}

/** Which ratio is asked for. */
export interface Asked {
  scenario: "throughput" | "rate" | "mixed" | "hold" | "broadcast";
  connections: number;
  metric:
    | "core_us_per_request"
    | "cpu_us_per_request"
    | "cpu_us_per_delivery"
    | "p50_us"
    | "p99_us"
    | "last_p50_us"
    | "pss_bytes"
    | "user_bytes_per_conn";
  /** Whether both ran over a wire; default: over loopback. */
  isWired?: boolean;
  of: string;
  to: string;
}

/** Requests/s of the scenarios in which only those ratios stand beside each other that were measured at the same rate. */
export const RATE_PER_S: Partial<Record<ScenarioName, number>> = { mixed: MIXED.ratePerS, rate: EQUAL_RATE };

/** A ratio, and what the limits of the load generator make of it. */
export type Ratio = Figure & {
  /** Whether it says nothing, because one of the two figures is a bound. */
  isVoid: boolean;
  /** Whether the load generator was at its limit beside one of the two: CPU time was not that of full load then. */
  limited: boolean;
};

/** A ratio as a study tells it that has compared the two; undefined: it has not. */
export function directIn(rows: readonly ComparisonRow[], asked: Asked): Ratio | undefined {
  const row = fitting(rows, asked).find(({ reference, candidate }) => reference === asked.to && candidate === asked.of);
  return row && ratioOf(row);
}

/** A ratio as a study tells it that has compared both with a third; undefined: it has not. */
export function viaThirdIn(rows: readonly ComparisonRow[], asked: Asked): Ratio | undefined {
  const same = fitting(rows, asked);
  const of = (name: string) => same.filter(({ candidate }) => candidate === name);
  for (const a of of(asked.of)) {
    const b = of(asked.to).find(({ reference }) => reference === a.reference);
    const [left, right] = [ratioOf(a), b && ratioOf(b)];
    if (left && right) {
      const [isVoid, limited] = [left.isVoid || right.isVoid, left.limited || right.limited];
      return { ...quotient(left, right), isVoid, limited };
    }
  }
  return undefined;
}

/** What of a study was measured as it is asked for: with heavy requests and messages as usual, and at the rate of all. */
export const fitting = (
  rows: readonly ComparisonRow[],
  { scenario, connections, metric }: { scenario: ScenarioName; connections: number; metric: string },
): ComparisonRow[] =>
  rows.filter((row) =>
    row.scenario === scenario && row.connections === connections && row.metric === metric &&
    (row.heavy_us ?? HEAVY_US) === HEAVY_US && isUsualMessage(row) &&
    (RATE_PER_S[scenario] ?? row.rate_per_s) === row.rate_per_s
  );

function ratioOf(row: ComparisonRow): Ratio | undefined {
  if (row.reason !== null) throw new NotTestable(`${row.candidate}: ${row.reason}`);
  if (row.ratio === null || isInconclusive(row)) return undefined;
  const { ratio: estimate, ratio_low: low, ratio_high: high, candidate, reference, findings } = row;
  const limited = findings.some(({ server, id }) => id === "client_bound" && [candidate, reference].includes(server));
  return { estimate, low, high, isVoid: isVoid(row), limited };
}
