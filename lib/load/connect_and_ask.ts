/**
 * The commands of the load generator that go over many connections once: connect and ask.
 *
 * @module
 */
import { Counts } from "../timing/histogram.ts";
import { CONNECTING, type Connections, IDLE, type Loop, type Steps } from "./connections.ts";
import type { AskOptions, AskOutcome, ConnectOptions, ConnectOutcome } from "./types.ts";
import { NEVER, Patience } from "./patience.ts";

/** Connections under way at a time, of all processes: half of 128, the shortest queue for accept(2) that is usual. */
const MAX_CONNECTING = 64;
/**
 * Where a server's queue for accept(2) is full, the kernel drops the SYN, and repeats it after a second: the generator
 * would report its own waiting for that as the speed of the server. So connections that are not made after 5 ms are dialled
 * anew, then after 10, and so on. On loopback a SYN that was not dropped has its answer before connect(2) returns.
 */
const REDIAL_US = 5000;
const MAX_REDIAL_US = 200_000;

class ConnectLoop implements Loop {
  made = 0;
  opened = 0;
  pending = 0;
  #madeBefore = 0;
  #redialUs = REDIAL_US;
  #redialAtUs: number;

  constructor(
    readonly connections: Connections,
    readonly count: number,
    readonly keep: (id: number) => void,
    readonly most: number,
  ) {
    this.#redialAtUs = connections.redials ? connections.clockUs() + REDIAL_US : NEVER;
  }

  /** Opens connections until enough are under way. Returns when these are to be dialled anew. */
  fill(): number {
    const { connections, count } = this;
    while (this.opened < count && this.pending < this.most) {
      if (connections.open() >= 0) this.pending++;
      else connections.tally.error(connections.openError);
      this.opened++;
    }
    return this.#redialAtUs;
  }

  /** Gives those under way up for the moment, if none was made for too long: they will be opened again. */
  redial(): void {
    const { now } = this.connections;
    if (this.made > this.#madeBefore) this.#redialUs = REDIAL_US;
    else if (now < this.#redialAtUs) return;
    else {
      this.connections.closeAll(CONNECTING);
      this.connections.tally.redials += this.pending;
      this.opened -= this.pending;
      this.pending = 0;
      this.#redialUs = Math.min(2 * this.#redialUs, MAX_REDIAL_US);
    }
    this.#madeBefore = this.made;
    if (this.connections.redials) this.#redialAtUs = now + this.#redialUs;
  }

  connected(id: number): void {
    this.pending--;
    this.made++;
    this.keep(id);
  }

  failed(): void {
    this.pending--;
  }

  answered(): void {}
  freed(): void {}
  lost(): void {}
}

/** Opens connections, and gives each to `keep` as soon as it is made. `processes` of the generator may do so at the same time. */
export function* connect(
  connections: Connections,
  options: ConnectOptions,
  processes: number,
  keep: (id: number) => void = (id) => connections.hold(id),
): Steps<ConnectOutcome> {
  const { count, timeoutMs } = options;
  const { tally } = connections;
  tally.take();
  const loop = connections.loop = new ConnectLoop(
    connections,
    count,
    keep,
    Math.max(1, Math.floor(MAX_CONNECTING / processes)),
  );
  const patience = new Patience(connections, timeoutMs * 1e3);
  const startUs = connections.clockUs();
  for (let untilUs = loop.fill(); loop.pending > 0; untilUs = loop.fill()) {
    yield untilUs;
    loop.redial();
    if (!patience.over()) continue;
    tally.error("timeout", count - loop.opened + loop.pending);
    connections.closeAll(CONNECTING);
    break;
  }
  connections.leave();
  const seconds = (connections.clockUs() - startUs) / 1e6;
  const { errors, redials } = tally.take();
  return { requested: count, connected: loop.made, failed: count - loop.made, redials, seconds, errors };
}

const TARGET = 1;
const PASSED_OVER = 2; // it still owed an answer to an earlier loop when its turn came
const DONE = 3;

class AskLoop implements Loop {
  answeredCount = 0;
  lostCount = 0;
  droppedCount = 0;
  closedCount = 0;
  otherStatus = 0;
  /** How many targets have no outcome yet. */
  left: number;
  readonly latency = new Counts();
  readonly #queue: number[];
  readonly #roles: Uint8Array;
  #at = 0;
  /** When the next one may be asked. */
  #nextUs = 0;

  /** @param intervalUs From one request to the next, at the least. */
  constructor(
    readonly connections: Connections,
    targets: Int32Array,
    readonly window: number,
    readonly intervalUs: number,
  ) {
    this.left = targets.length;
    this.#queue = Array.from(targets);
    this.#roles = new Uint8Array(connections.states.length);
    for (const id of targets) this.#roles[id] = TARGET;
  }

  /** Asks the next ones until the window is full. Returns when the next one may be asked, if that is a matter of time. */
  fill(): number {
    const { connections } = this;
    for (; connections.busy < this.window && this.#at < this.#queue.length; this.#at++) {
      const id = this.#queue[this.#at]!;
      if (this.#roles[id] === DONE) continue; // it was closed before its turn came
      if (connections.states[id] !== IDLE) {
        this.#roles[id] = PASSED_OVER;
        continue;
      }
      const now = connections.clockUs();
      if (now < this.#nextUs) return this.#nextUs;
      this.#nextUs = now + this.intervalUs; // one that was late is not made up for: that would break the rate
      connections.send(id, now, 0);
    }
    return NEVER;
  }

  /** Whether a connection is one of the targets, and has an outcome only now. */
  #settle(id: number): boolean {
    const settles = this.#roles[id] === TARGET || this.#roles[id] === PASSED_OVER;
    if (settles) this.left--;
    if (settles) this.#roles[id] = DONE;
    return settles;
  }

  answered(id: number, now: number, status: number, open: boolean): void {
    this.#settle(id);
    if (status === 200) {
      this.answeredCount++;
      this.latency.record(now - this.connections.sentAt[id]!);
    } else this.otherStatus++;
    if (!open) this.closedCount++;
  }

  freed(id: number, _now: number, open: boolean): void {
    if (!open) this.idleClosed(id);
    else if (this.#roles[id] === PASSED_OVER) this.#queue.push(id);
  }

  lost(id: number): void {
    if (this.#settle(id)) this.lostCount++;
  }

  dropped(id: number): void {
    if (this.#settle(id)) this.droppedCount++;
  }

  idleClosed(id: number): void {
    if (this.#roles[id] === 0) return;
    this.#settle(id);
    this.closedCount++;
  }

  retry(id: number): void {
    this.idleClosed(id);
  }
}

/** Sends one request on each held connection, and waits for the answers. */
export function* ask(connections: Connections, options: AskOptions): Steps<AskOutcome> {
  const { onlyNew, window, timeoutMs, ratePerS = Infinity } = options;
  const intervalUs = 1e6 / ratePerS;
  const held = connections.heldIds.slice(0, connections.held);
  const targets = onlyNew ? held.filter((id) => connections.fresh[id] === 1) : held;
  const without = onlyNew ? 0 : connections.dormant;
  for (const id of targets) connections.fresh[id] = 0;
  const loop = connections.loop = new AskLoop(connections, targets, window, intervalUs);
  const patience = new Patience(connections, timeoutMs * 1e3 + intervalUs); // between two requests nobody is silent
  const startUs = connections.clockUs();
  for (let untilUs = loop.fill(); loop.left > 0 && !patience.over(); untilUs = loop.fill()) yield untilUs;
  connections.countUnfinished();
  connections.leave();
  // Those too that had ended before they could be asked.
  const { lost, dropped } = connections.tally.takeEnded();
  return {
    asked: targets.length + without + (lost - loop.lostCount) + (dropped - loop.droppedCount),
    answered: loop.answeredCount,
    lost,
    dropped,
    closed: loop.closedCount + without,
    unanswered: loop.left,
    seconds: (connections.clockUs() - startUs) / 1e6,
    histogram: loop.latency.take(),
    errors: connections.tally.take().errors,
  };
}
