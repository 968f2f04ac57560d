/**
 * Finds the ratio of two servers in a comparison.
 *
 * @module
 */
import { HEAVY_US } from "../ladder.ts";
import { isVoid } from "../pivot.ts";
import type { ComparisonRow } from "../study.ts";
import { type Figure, quotient } from "./figure.ts";

/** A figure that cannot be had on this machine: the message says why. */
export class NotTestable extends Error {
  override readonly name = "NotTestable";
}

/** Which ratio is asked for. */
export interface Asked {
  scenario: "throughput" | "rate" | "mixed";
  connections: number;
  metric: "cpu_us_per_request" | "p99_us";
  of: string;
  to: string;
}

/** A ratio, and whether the load generator was at its limit, so that it says nothing. */
export type Ratio = Figure & { isVoid: boolean };

/** A ratio as one study tells it; undefined: it does not. */
export function ratioIn(rows: readonly ComparisonRow[], asked: Asked): Ratio | undefined {
  const { scenario, connections, metric, of, to } = asked;
  const fits = (row: ComparisonRow) =>
    row.scenario === scenario && row.connections === connections && row.metric === metric &&
    (row.heavy_us ?? HEAVY_US) === HEAVY_US;
  const direct = rows.find((row) => fits(row) && row.reference === to && row.candidate === of);
  if (direct !== undefined) return ratioOf(direct);
  const [a, b] = [of, to].map((name) => rows.find((row) => fits(row) && row.candidate === name));
  if (a === undefined || b === undefined || a.reference !== b.reference) return undefined;
  const [left, right] = [ratioOf(a), ratioOf(b)];
  return left && right && { ...quotient(left, right), isVoid: left.isVoid || right.isVoid };
}

function ratioOf(row: ComparisonRow): Ratio | undefined {
  if (row.reason !== null) throw new NotTestable(`${row.candidate}: ${row.reason}`);
  if (row.ratio === null) return undefined;
  return { estimate: row.ratio, low: row.ratio_low, high: row.ratio_high, isVoid: isVoid(row) };
}
