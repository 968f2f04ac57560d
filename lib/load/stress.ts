/**
 * The stress of the load generator: clients that come and go and clients that stay, all at once, and some of either kind that
 * end by a reset or close their half of the connection early. Linux only: it stands on the epoll engine.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { grown, type Loop, type Steps } from "./connections.ts";
import { passes } from "./shares.ts";
import { StressConnections } from "./stress_epoll.ts";
import type { EngineConfig, Progress, StressOptions, StressPart } from "./types.ts";
import { DRAIN_US, NEVER, Patience, QUIET_US } from "./patience.ts";

const PROGRESS_US = 250_000;
/** A whole request is reset within this time, at random: before it was read, while it is answered, or right after. */
const RESET_WITHIN_US = 1000;
/** Failures in a row after which the server is held to be gone. */
const MAX_FAILURES = 1000;

const CHURNING = 1;
const STAYING = 2; // what a client does; 0 is no client
const NONE = 0;
const PLAIN = 1;
const RESET = 2;
const HALF_CLOSE = 3; // how the request ends that is under way; NONE is under way

class StressLoop implements Loop {
  requests = 0;
  resets = 0;
  halfCloses = 0;
  unanswered = 0;
  unended = 0;
  failuresInRow = 0;
  #asking = true;
  #resetsPlanned = 0;
  #living = [0, 0, 0]; // by kind
  #kinds = new Uint8Array(64);
  #fates = new Uint8Array(64);
  readonly #resetAt = new Map<number, number>(); // at most one entry for each client

  constructor(readonly connections: StressConnections, readonly options: StressOptions) {}

  get living(): number {
    return this.#living[CHURNING]! + this.#living[STAYING]!;
  }

  /** Opens connections until all clients have one. Done between turns, so that no descriptor comes back within one. */
  #fill(): void {
    const { connections, options } = this;
    for (const [kind, wanted] of [[CHURNING, options.churning], [STAYING, options.staying]] as const) {
      while (this.#living[kind]! < wanted) {
        const id = connections.open();
        if (id < 0) {
          connections.tally.error(connections.openError);
          this.failuresInRow++;
          return;
        }
        if (id >= this.#kinds.length) {
          this.#kinds = grown(this.#kinds, id);
          this.#fates = grown(this.#fates, id);
        }
        this.#kinds[id] = kind;
        this.#living[kind]!++;
      }
    }
  }

  #fateOf(number: number): number {
    const { resetShare, halfCloseShare } = this.options;
    if (passes(number, resetShare)) return RESET;
    return passes(number, halfCloseShare, 0.5) ? HALF_CLOSE : PLAIN; // in the middle between two resets
  }

  #ask(id: number, now: number): void {
    const { connections } = this;
    const fate = this.#fates[id] = this.#fateOf(this.requests++);
    if (fate === RESET && this.#resetsPlanned++ % 2 === 0) {
      if (connections.sendHalf(id)) this.#reset(id);
      return;
    }
    if (!connections.send(id, now, 0)) return;
    if (fate === RESET) this.#resetAt.set(id, now + Math.random() * RESET_WITHIN_US);
    if (fate !== HALF_CLOSE) return;
    connections.closeHalf(id);
    this.halfCloses++;
  }

  #reset(id: number): void {
    this.resets++;
    this.connections.reset(id);
    this.#end(id);
  }

  #leave(id: number): void {
    this.connections.close(id);
    this.#end(id);
  }

  #end(id: number): void {
    this.#living[this.#kinds[id]!]!--;
    this.#kinds[id] = 0;
    this.#fates[id] = NONE;
    this.#resetAt.delete(id);
  }

  connected(id: number, now: number): void {
    if (this.#asking) this.#ask(id, now);
    else this.#leave(id);
  }

  answered(id: number, now: number, _status: number, open: boolean): void {
    const fate = this.#fates[id];
    this.failuresInRow = 0;
    this.#fates[id] = NONE;
    if (!open) this.#closed(id, fate!);
    else if (fate === RESET) this.#reset(id); // it was answered before its time had come
    else if (fate === HALF_CLOSE) this.connections.ending.add(id);
    else if (this.#asking && this.#kinds[id] === STAYING) this.#ask(id, now);
    else this.#leave(id);
  }

  /** The server has closed the connection with its answer: that is the end behind a half-close, and too early for a client that stays. */
  #closed(id: number, fate: number): void {
    if (fate === RESET) this.resets++;
    else if (fate !== HALF_CLOSE && this.#kinds[id] === STAYING) this.connections.tally.lost++;
    this.#end(id);
  }

  ended(id: number): void {
    this.#end(id);
  }

  failed(id: number): void {
    this.failuresInRow++;
    this.#end(id);
  }

  lost(id: number): void {
    if (this.#fates[id] !== NONE) this.unanswered++;
    this.failed(id);
  }

  dropped(id: number): void {
    this.lost(id);
  }

  idleClosed(id: number): void {
    this.connections.tally.lost++;
    this.lost(id);
  }

  freed(): void {}

  #nextReset(): number {
    return Math.min(NEVER, ...this.#resetAt.values());
  }

  #resetDue(): void {
    for (const [id, at] of this.#resetAt) if (at <= this.connections.now) this.#reset(id);
  }

  *run(untilUs: number): Steps<void> {
    const { connections } = this;
    connections.now = connections.clockUs();
    while (connections.now < untilUs && this.failuresInRow < MAX_FAILURES) {
      this.#fill();
      yield this.living > 0 ? Math.min(untilUs, this.#nextReset()) : 0;
      this.#resetDue();
    }
  }

  /** Lets all clients leave: each gets its answer or its end first, which is waited for as long as anything happens. */
  *finish(): Steps<void> {
    const { connections } = this;
    const { ending, tally } = connections;
    this.#asking = false;
    const patience = new Patience(connections, QUIET_US, connections.clockUs() + DRAIN_US);
    while (this.living > 0 && !patience.over()) {
      yield this.#nextReset();
      this.#resetDue();
    }
    this.unended = ending.size;
    for (let id = 0; id < this.#kinds.length; id++) {
      if (this.#kinds[id] === 0) continue;
      if (this.#fates[id] !== NONE) this.unanswered++;
      else if (!ending.delete(id)) tally.error("timeout"); // it was never connected
      this.#leave(id);
    }
    connections.leave();
  }
}

/** Does the command, any number of times; its connections have nothing to do with those that are held. */
export class Stress {
  readonly #connections: StressConnections;

  constructor(
    readonly config: EngineConfig,
    light: Uint8Array<ArrayBuffer>,
    readonly onProgress: (progress: Progress) => void,
  ) {
    this.#connections = new StressConnections(config, light);
  }

  run(options: StressOptions): StressPart {
    return this.#connections.drive(this.#steps(options));
  }

  *#steps(options: StressOptions): Steps<StressPart> {
    const connections = this.#connections;
    const { tally } = connections;
    const loop = connections.loop = new StressLoop(connections, options);
    connections.onEnd = (id) => loop.ended(id);
    const before = tally.answered;
    const startUs = connections.clockUs();
    this.#tellProgress(loop, before, startUs);
    yield* loop.run(startUs + options.seconds * 1e6);
    yield* loop.finish();
    const { requests, resets, halfCloses: half_closes, unanswered, unended } = loop;
    const gaveUp = loop.failuresInRow >= MAX_FAILURES;
    const { lost, dropped, errors } = tally.take();
    return {
      requests,
      answered: tally.answered - before,
      resets,
      half_closes,
      unanswered,
      unended,
      lost,
      dropped,
      errors,
      stopped_early: gaveUp ? `${count(MAX_FAILURES)} connections in a row failed.` : null,
    };
  }

  #tellProgress(loop: StressLoop, answeredBefore: number, startUs: number): void {
    const connections = this.#connections;
    let tellAtUs = startUs + PROGRESS_US;
    connections.housekeeping = () => {
      if (connections.now < tellAtUs) return;
      tellAtUs = connections.now + PROGRESS_US;
      const answered = connections.tally.answered - answeredBefore;
      const seconds = (connections.now - startUs) / 1e6;
      this.onProgress({ phase: "stress", connections: loop.living, answered, seconds });
    };
  }
}
