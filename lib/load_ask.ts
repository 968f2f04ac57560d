/**
 * The commands of the load generator that go over many connections once: connect and ask.
 *
 * @module
 */
import { Counts } from "./histogram.ts";
import { CONNECTING, type Connections, IDLE, type Loop, type Steps } from "./load_connections.ts";
import { NEVER, Patience } from "./load_loops.ts";
import type { AskOptions, AskOutcome, ConnectOptions, ConnectOutcome } from "./load_types.ts";

/** Connections under way at a time: half of 128, the shortest queue for accept(2) that is usual. */
const MAX_CONNECTING = 64;
/** What the other end, or the way to it, can do to one connection. Any other errno: this end is out of something. */
const PEER_ERRORS = ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"];

class ConnectLoop implements Loop {
  made = 0;
  pending = 0;
  constructor(readonly keep: (id: number) => void) {}

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

/** Opens connections, and gives each to `keep` as soon as it is made. */
export function* connect(
  connections: Connections,
  options: ConnectOptions,
  keep: (id: number) => void = (id) => connections.hold(id),
): Steps<ConnectOutcome> {
  const { count, timeoutMs } = options, { tally } = connections;
  const loop = connections.loop = new ConnectLoop(keep);
  const patience = new Patience(connections, timeoutMs * 1e3), startUs = connections.clockUs();
  for (let opened = 0; opened < count || loop.pending > 0;) {
    while (opened < count && loop.pending < MAX_CONNECTING) {
      const failed = connections.open() < 0, error = connections.openError;
      const hopeless = failed && !PEER_ERRORS.includes(error);
      const attempts = hopeless ? count - opened : 1; // where a descriptor or a port is missing, all others would fail too
      if (failed) tally.error(error, attempts);
      else loop.pending++;
      opened += attempts;
    }
    if (loop.pending > 0) yield NEVER;
    if (!patience.over()) continue;
    tally.error("timeout", count - opened + loop.pending);
    connections.closeAll(CONNECTING);
    break;
  }
  connections.leave();
  const seconds = (connections.clockUs() - startUs) / 1e6, { errors } = tally.take();
  return { requested: count, connected: loop.made, failed: count - loop.made, seconds, errors };
}

const TARGET = 1, PASSED_OVER = 2; // the latter still owed an answer to an earlier loop when its turn came

class AskLoop implements Loop {
  answeredCount = 0;
  lostCount = 0;
  otherStatus = 0;
  readonly latency = new Counts();
  readonly #queue: number[];
  readonly #roles: Uint8Array;
  readonly #targets: number;
  #at = 0;

  constructor(readonly connections: Connections, targets: Int32Array, readonly window: number) {
    this.#targets = targets.length;
    this.#queue = Array.from(targets);
    this.#roles = new Uint8Array(connections.states.length);
    for (const id of targets) this.#roles[id] = TARGET;
  }

  /** Asks the next ones until the window is full. */
  fill(): void {
    const { connections } = this;
    while (connections.busy < this.window && this.#at < this.#queue.length) {
      const id = this.#queue[this.#at++]!;
      if (connections.states[id] === IDLE) connections.send(id, connections.clockUs(), 0);
      else this.#roles[id] = PASSED_OVER;
    }
  }

  answered(id: number, now: number, status: number): void {
    if (status === 200) {
      this.answeredCount++;
      this.latency.record(now - this.connections.sentAt[id]!);
    } else this.otherStatus++;
  }

  freed(id: number): void {
    if (this.#roles[id] === PASSED_OVER) this.#queue.push(id);
  }

  lost(id: number): void {
    if (this.#roles[id] !== 0) this.lostCount++;
  }

  /** How many targets have no outcome yet. */
  get left(): number {
    return this.#targets - this.answeredCount - this.lostCount - this.otherStatus;
  }
}

/** Sends one request on each held connection, and waits for the answers. */
export function* ask(connections: Connections, options: AskOptions): Steps<AskOutcome> {
  const { onlyNew, window, timeoutMs } = options;
  const held = connections.heldIds.slice(0, connections.held);
  const targets = onlyNew ? held.filter((id) => connections.fresh[id] === 1) : held;
  for (const id of targets) connections.fresh[id] = 0;
  const loop = connections.loop = new AskLoop(connections, targets, window);
  const patience = new Patience(connections, timeoutMs * 1e3), startUs = connections.clockUs();
  for (loop.fill(); loop.left > 0 && !patience.over(); loop.fill()) yield NEVER;
  connections.leave();
  return {
    asked: targets.length,
    answered: loop.answeredCount,
    lost: loop.lostCount,
    unanswered: loop.left,
    seconds: (connections.clockUs() - startUs) / 1e6,
    histogram: loop.latency.take(),
    errors: connections.tally.take().errors,
  };
}
