/**
 * What becomes of a cell in which this program fails, and not the server.
 *
 * @module
 */
import { EXIT } from "../../lib/cli/exit.ts";
import type { FaultRow } from "../../lib/results/rows.ts";
import type { measureCell } from "./cell.ts";
import { settle, unmeasured } from "./judge.ts";
import type { Cell } from "./keeping.ts";

type Measure = typeof measureCell;

/** Measures cells. An error of one ends neither the others nor the run: its cell is skipped, and the run fails in the end. */
export class HarnessErrors {
  readonly #rows = new Set<FaultRow>();

  constructor(readonly measureCell: Measure) {}

  /** Measures a cell. */
  async measure({ subject, fault }: Cell, seed: number, signal: AbortSignal): Promise<FaultRow> {
    try {
      return await this.measureCell(subject, fault, seed, signal);
    } catch (error) {
      signal.throwIfAborted();
      const { message, stack } = error as Error;
      console.error(`\n${subject.name}, ${fault.id}: ${stack ?? message}`);
      const key = { server: subject.name, fault: fault.id, seed };
      const row = unmeasured(key, "skipped", `this program failed: ${message}`);
      this.#rows.add(row);
      return row;
    }
  }

  /** As {@linkcode settle}, but what failed beside other cells is tried once more, alone. */
  settle(beside: FaultRow | null, alone: readonly FaultRow[]): FaultRow | null {
    const last = alone.at(-1) ?? beside!;
    if (!this.#rows.has(last)) return settle(beside, alone);
    return alone.length === 0 ? null : last;
  }

  /** What the run ends with. What the header of a server excuses is `cannot`: all that is degraded was promised. */
  exitOf(rows: readonly FaultRow[]): number {
    if (rows.some((row) => this.has(row))) return EXIT.harness;
    if (rows.every(({ verdict }) => verdict === "skipped")) return EXIT.unavailable;
    return rows.some(({ verdict }) => verdict === "failed" || verdict === "degraded") ? EXIT.failed : EXIT.ok;
  }

  /** Whether a row is one of these. */
  has(row: FaultRow): boolean {
    return this.#rows.has(row);
  }
}
