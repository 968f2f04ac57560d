/**
 * What the engines of the load generator count.
 *
 * @module
 */
import { Counts } from "../timing/histogram.ts";
import type { ErrorCounts, Totals } from "./types.ts";

/** So many different numbers of answers are counted; with more, they show no limit of the server anyway. */
const MAX_CLOSES = 64;

const COUNTERS = ["lost", "dropped", "closed", "reconnects", "redials"] as const;
type Counters = Record<typeof COUNTERS[number], number>;

/** What was counted since the last time. */
export interface Taken extends Counters {
  errors: ErrorCounts;
  /** How many connections the server closed after so many answers. */
  closes: Record<string, number>;
}

/** Counts over the whole life of a generator, and of what happened since the last `take`. */
export class Tally implements Counters {
  connections = 0;
  answered = 0;
  lost = 0;
  dropped = 0;
  closed = 0;
  reconnects = 0;
  redials = 0;
  #errors: ErrorCounts = {};
  #recent: ErrorCounts = {};
  #errorCount = 0;
  #before: Counters = { lost: 0, dropped: 0, closed: 0, reconnects: 0, redials: 0 };
  #closes = new Map<number, number>();
  #endedBefore = { lost: 0, dropped: 0 };

  /** Counts an error under its key, `times` over. */
  error(key: string, times = 1): void {
    this.#errorCount += times;
    this.#errors[key] = (this.#errors[key] ?? 0) + times;
    this.#recent[key] = (this.#recent[key] ?? 0) + times;
  }

  /** The server has closed a connection in an orderly way after so many answers. */
  close(answers: number): void {
    this.closed++;
    const known = this.#closes.get(answers);
    if (known !== undefined || this.#closes.size < MAX_CLOSES) this.#closes.set(answers, (known ?? 0) + 1);
  }

  /** What happened since this was called last. */
  take(): Taken {
    const taken: Taken = {
      lost: this.lost - this.#before.lost,
      dropped: this.dropped - this.#before.dropped,
      closed: this.closed - this.#before.closed,
      reconnects: this.reconnects - this.#before.reconnects,
      redials: this.redials - this.#before.redials,
      errors: this.#recent,
      closes: Object.fromEntries(this.#closes),
    };
    this.#recent = {};
    this.#closes.clear();
    for (const key of COUNTERS) this.#before[key] = this[key];
    return taken;
  }

  /** Connections that were lost or dropped since this was called last, whatever has been taken meanwhile. */
  takeEnded(): { lost: number; dropped: number } {
    const { lost, dropped } = this;
    const taken = { lost: lost - this.#endedBefore.lost, dropped: dropped - this.#endedBefore.dropped };
    this.#endedBefore = { lost, dropped };
    return taken;
  }

  /** Rises with all that happens to connections but the sending: as long as it does, waiting is worth while. */
  get progress(): number {
    return this.connections + this.answered + this.lost + this.closed + this.#errorCount;
  }

  totals(): Totals {
    const { connections, answered, lost, dropped, closed, reconnects, redials } = this;
    return { connections, answered, lost, dropped, closed, reconnects, redials, errors: { ...this.#errors } };
  }
}

/** What a loop counts for the window that is open. */
export class Scores {
  requests = 0;
  drained = 0;
  unanswered = 0;
  lateSends = 0;
  readonly latency = new Counts();
  readonly censored = new Counts();
  readonly raw: Counts | null;
  readonly lateness: Counts | null;

  /** @param open Of an open loop: latencies are counted from the actual send, too. */
  constructor(open: boolean) {
    this.raw = open ? new Counts() : null;
    this.lateness = open ? new Counts() : null;
  }

  /** A request has no answer, and has waited for so long. Latencies of heavy ones are left out. */
  giveUp(waitedUs: number, heavy = false): void {
    this.unanswered++;
    if (!heavy) this.censored.record(Math.max(waitedUs, 0));
  }

  /** Hands out what was counted, and starts again. */
  take() {
    const taken = {
      requests: this.requests,
      drained: this.drained,
      unanswered: this.unanswered,
      late_sends: this.lateSends,
      histogram: this.latency.take(),
      censored: this.censored.take(),
      raw: this.raw?.take() ?? null,
      lateness: this.lateness?.take() ?? null,
    };
    this.requests =
      this.drained =
      this.unanswered =
      this.lateSends =
        0;
    return taken;
  }
}
