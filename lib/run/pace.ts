/**
 * How long a sweep still takes.
 *
 * @module
 */
import { usualSteps } from "../results/capacity.ts";
import { SHARES, type SweepPlan, type TurnsLeft } from "./sweep.ts";

/** Between the load of two points: the server starts, connections are made, what is in flight ends. */
const BETWEEN_SECONDS = 1.5;
/** Points of a ladder that is made from the throughput of a closed loop, which is a run as well. */
const USUAL_LADDER = SHARES.length + 1;

/** What of a plan says how long it takes. */
type PacedPlan = Pick<SweepPlan, "rates" | "seconds" | "warmupSeconds" | "closeness">;

/** Counts the points of a sweep, and says how long the rest takes by how long they took. */
export class Pace {
  readonly #plan: PacedPlan;
  readonly #nowMs: () => number;
  readonly #startMs: number;
  #left: TurnsLeft;
  #done = 0;
  #inTurn = 0;
  #bisected = 0;
  #bisections = 0;

  constructor(left: TurnsLeft, plan: PacedPlan, nowMs: () => number = () => performance.now()) {
    this.#left = left;
    this.#plan = plan;
    this.#nowMs = nowMs;
    this.#startMs = nowMs();
  }

  /** A ladder or a round of bisections begins. @param left It and those behind it. */
  begin(left: TurnsLeft): void {
    this.#left = left;
    this.#inTurn = 0;
    this.#bisections += left.together;
  }

  /** A point was measured. */
  add(): void {
    this.#done++;
    this.#inTurn++;
    if (this.#left.ladders === 0) this.#bisected++;
  }

  /** How long is left, in words. */
  get left(): string {
    const { rates, seconds, warmupSeconds, closeness } = this.#plan;
    const { ladders, bisections } = this.#left;
    const each = this.#done === 0
      ? seconds + warmupSeconds + BETWEEN_SECONDS
      : (this.#nowMs() - this.#startMs) / 1000 / this.#done;
    const isKnown = this.#bisections > this.#left.together; // a whole round is over
    const steps = isKnown
      ? (this.#bisected - this.#inTurn) / (this.#bisections - this.#left.together)
      : usualSteps(closeness);
    const points = ladders * (rates?.length ?? USUAL_LADDER) + bisections * steps - this.#inTurn;
    const minutes = each * points / 60;
    return minutes < 1 ? "under a minute" : `about ${Math.ceil(minutes)} min`;
  }
}
