/**
 * The bookkeeping of the load generator's connections, the same for all engines: which are held, what state each is in, what
 * becomes of the bytes that come. How bytes get in and out is the business of a subclass; which connection is asked when is that
 * of a `Loop`.
 *
 * All state stands in typed arrays indexed by a small number, on Linux the descriptor, and nothing is allocated for a
 * request: a garbage collection in the client would be measured as latency of the server.
 *
 * @module
 */
import { Answers, errorKey, UNFINISHED } from "./response.ts";
import { Tally } from "./tally.ts";

/** What becomes of a connection is told to the loop that runs; `now` is the time in µs. */
export interface Loop {
  /** A connection that was opened is made. */
  connected?(id: number, now: number): void;
  /** A connection that was opened could not be made, and is no more. */
  failed?(id: number): void;
  /** The answer has come to a request that was sent while this loop ran. */
  answered(id: number, now: number, status: number): void;
  /** A connection that still owed an answer to an earlier loop has given it, and may be asked now. */
  freed(id: number, now: number): void;
  /** A connection has ended and is no more. */
  lost(id: number): void;
}

/**
 * What a loop does, as steps: it yields the time in µs until which it wants to wait for events, and goes on when there were
 * some, or the time has come, or earlier. So one and the same loop can be driven by a thread that blocks in epoll_wait(2),
 * and by the event loop of the runtime. `return` is the outcome.
 */
export type Steps<T> = Generator<number, T, void>;

/** The longest wait of a loop, in µs: so soon it tells its progress, and notices that it waits in vain. */
export const HOUSEKEEPING_US = 50_000;

/** Nothing is heard while no loop runs. */
export const DEAF: Loop = { answered() {}, freed() {}, lost() {} };

export const FREE = 0;
export const CONNECTING = 1;
export const IDLE = 2;
export const SLOW = 3;
export const OWING = 4;
export const BUSY = 5; // OWING: BUSY since an earlier loop

/** A copy of `array` that is long enough for `index`: twice as long each time, so that growing stays cheap. */
export function grown<T extends Uint8Array | Int32Array | Float64Array>(array: T, index: number): T {
  const longer = new (array.constructor as new (length: number) => T)(2 ** Math.ceil(Math.log2(index + 1)));
  longer.set(array);
  return longer;
}

/** All connections to one target. */
export abstract class Connections {
  readonly tally = new Tally();
  loop = DEAF;
  /** To be called every 50 ms while a loop runs. */
  housekeeping: () => void = () => {};
  /** The request that is asked unless the other one is meant, and the other one. */
  requests: [light: Uint8Array<ArrayBuffer>, heavy: Uint8Array<ArrayBuffer>];
  /** The held connections: the first `held` entries, in no order. */
  heldIds = new Int32Array(64);
  held = 0;
  /** Requests of the running loop that are without an answer. */
  busy = 0;
  states = new Uint8Array(64);
  /** When the outstanding request was sent. */
  sentAt = new Float64Array(64);
  /** 1: held, and never asked yet. */
  fresh = new Uint8Array(64);
  /** The time as far as it is known: after the last wait, or when a loop has set it. */
  now = 0;
  /** Connections that are not made soon may be closed and opened again, without the server having seen them. */
  redials = false;
  /** Why the last `open` has failed: an errno name. */
  openError = "";
  protected readonly answers = new Answers();
  #places = new Int32Array(64).fill(-1); // connection → its place in heldIds

  constructor(light: Uint8Array<ArrayBuffer>) {
    this.requests = [light, light];
  }

  /** The time in µs, with any start. */
  abstract clockUs(): number;
  /** Opens a connection without waiting for it. Returns its number; −1 if that failed at once, with the reason in `openError`. */
  abstract open(): number;
  /** Takes the steps of a loop to its end. */
  abstract drive<T>(steps: Steps<T>): T | Promise<T>;
  /** Sends all these bytes; returns why that failed, or the empty string. */
  protected abstract transmit(id: number, bytes: Uint8Array<ArrayBuffer>): string;
  /** Closes the socket. */
  protected abstract hangUp(id: number): void;

  /** A new connection is under way. */
  protected opened(id: number): void {
    if (id >= this.states.length) {
      this.heldIds = grown(this.heldIds, id);
      this.states = grown(this.states, id);
      this.sentAt = grown(this.sentAt, id);
      this.fresh = grown(this.fresh, id);
      const before = this.#places.length;
      this.#places = grown(this.#places, id).fill(-1, before);
    }
    this.states[id] = CONNECTING;
  }

  /** A connection is made, or could not be made because of `error`. */
  protected settled(id: number, error: string): void {
    if (error !== "") {
      this.tally.error(error);
      this.close(id);
      return this.loop.failed?.(id);
    }
    this.states[id] = IDLE;
    this.tally.connections++;
    this.loop.connected?.(id, this.clockUs());
  }

  /** Counts a connection among those that stay when the loop has ended. */
  hold(id: number): void {
    this.#places[id] = this.held;
    this.heldIds[this.held++] = id;
    this.fresh[id] = 1;
  }

  /** Asks, and returns whether the request could be sent; if not, the connection is lost. `which`: 0 light, 1 heavy. */
  send(id: number, now: number, which: number): boolean {
    const failed = this.transmit(id, this.requests[which]!);
    if (failed !== "") {
      this.lose(id, failed);
      return false;
    }
    this.states[id] = BUSY;
    this.sentAt[id] = now;
    this.busy++;
    return true;
  }

  /** Sends a byte of a head that will never end. Whether it arrives does not matter: the server may have hung up. */
  trickle(id: number, byte: Uint8Array<ArrayBuffer>): void {
    if (this.states[id] === SLOW) this.transmit(id, byte);
  }

  /** Takes the first `got` bytes of the inbox of `answers` as received on a connection. */
  protected received(id: number, got: number): void {
    const state = this.states[id]!;
    if (state === SLOW) return; // whatever the server says to a client that never finishes
    if (state < OWING) return this.lose(id, "unexpected");
    const status = this.answers.take(id, got);
    if (status === UNFINISHED) return;
    if (status === 200) this.tally.answered++;
    else this.tally.error(errorKey(status));
    if (this.answers.extra > 0) return this.lose(id, "unexpected");
    if (status < 0) return this.lose(id, "");
    this.states[id] = IDLE;
    const now = this.clockUs();
    if (state === OWING) return this.loop.freed(id, now);
    this.busy--;
    this.loop.answered(id, now, status);
  }

  /** A connection has ended without being asked to, because of `error` if that is not the empty string. */
  protected lose(id: number, error: string): void {
    const state = this.states[id]!;
    this.close(id);
    if (state === SLOW) return; // such a client is meant to be thrown out
    this.tally.lost++;
    if (error !== "") this.tally.error(error);
    if (state === BUSY) this.busy--;
    this.loop.lost(id);
  }

  /** Closes a connection, held or not. */
  close(id: number): void {
    const place = this.#places[id]!;
    if (place >= 0) {
      const last = this.heldIds[--this.held]!;
      this.heldIds[place] = last;
      this.#places[last] = place;
      this.#places[id] = -1;
      this.fresh[id] = 0;
    }
    this.states[id] = FREE;
    this.answers.forget(id);
    this.hangUp(id);
  }

  /** Closes all connections that are in this state. */
  closeAll(state: number): void {
    for (let id = 0; id < this.states.length; id++) if (this.states[id] === state) this.close(id);
  }

  /** Ends a loop: requests without an answer are still owed, and may be answered in a later loop. Returns how many. */
  leave(): number {
    for (let i = 0; i < this.held; i++) {
      const id = this.heldIds[i]!;
      if (this.states[id] === BUSY) this.states[id] = OWING;
    }
    const unanswered = this.busy;
    this.busy = 0;
    this.loop = DEAF;
    return unanswered;
  }
}
