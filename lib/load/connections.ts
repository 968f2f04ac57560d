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
import { Answers, errorKey, NO_LENGTH, UNFINISHED } from "./response.ts";
import { Tally } from "./tally.ts";

/** What becomes of a connection is passed to the loop that runs; `now` is the time in µs. */
export interface Loop {
  /** A connection that was opened is made. */
  connected?(id: number, now: number): void;
  /** A connection that was opened could not be made, and is no more. */
  failed?(id: number, now: number): void;
  /**
   * The answer has come to a request that was sent while this loop ran. Not `open`: the server closes the connection with
   * it, so it is no more, and a client that holds one has to reconnect.
   */
  answered(id: number, now: number, status: number, open: boolean): void;
  /** A connection that still owed an answer to an earlier loop has given it, and may be asked now if it is `open`. */
  freed(id: number, now: number, open: boolean): void;
  /** The server has closed or reset a connection before its time; `inFlight`: it was asked in this loop and had not answered. */
  lost(id: number, now: number, inFlight: boolean): void;
  /** A connection was dropped here, because what came on it cannot be followed. */
  dropped?(id: number, now: number): void;
  /** The server has closed a connection that had answered, and on which nothing was asked: its client has to reconnect. */
  idleClosed?(id: number, now: number): void;
  /**
   * The server has closed a connection at the moment at which it was asked again, as one does that limits the requests per
   * connection or its idle time: its client has to reconnect, and may ask again. Without this method it is lost.
   */
  retry?(id: number, now: number): void;
}

/**
 * What a loop does, as steps: it yields the time in µs until which it wants to wait for events, and goes on when there were
 * some, or the time has come, or earlier. So one and the same loop can be driven by a thread that blocks in epoll_wait(2),
 * and by the event loop of the runtime. `return` is the outcome.
 */
export type Steps<T> = Generator<number, T, void>;

/** The longest wait of a loop, in µs: so soon it tells its progress, and notices that it waits in vain. */
export const HOUSEKEEPING_US = 50_000;
/** An answer that can end by a close only is given up after so many turns of housekeeping without a byte: one second. */
const ENDLESS_LOOKS = 1e6 / HOUSEKEEPING_US;

/** Nothing is heard while no loop runs. */
export const DEAF: Loop = { answered() {}, freed() {}, lost() {} };

export const FREE = 0;
export const CONNECTING = 1;
export const IDLE = 2;
export const SLOW = 3;
export const OWING = 4;
export const BUSY = 5; // OWING: BUSY since an earlier loop

const SWITCHING_PROTOCOLS = 101;
const UNFINISHED_ANSWER = "unfinished";

/** A copy of `array` that is long enough for `index`: twice as long each time, so that growing stays cheap. */
export function grown<T extends Uint8Array | Int32Array | Uint32Array | Float64Array>(array: T, index: number): T {
  const longer = new (array.constructor as new (length: number) => T)(2 ** Math.ceil(Math.log2(index + 1)));
  longer.set(array);
  return longer;
}

/**
 * All connections to one target. A client is held together with its connection; where the server closes that in an orderly way, the
 * client stays, is `dormant`, and connects anew when its next request is due.
 */
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
  /** Clients whose connection the server has closed. */
  dormant = 0;
  /** Clients that are about to connect anew. */
  reconnecting = 0;
  /** Requests of the running loop that are without an answer. */
  busy = 0;
  states = new Uint8Array(64);
  /** When the outstanding request was sent, when it was due, and which one it is: 0 light, 1 heavy. */
  sentAt = new Float64Array(64);
  dueAt = new Float64Array(64);
  which = new Uint8Array(64);
  /** When a connection became idle. */
  idleSince = new Float64Array(64);
  /** 1: held, and never asked yet. */
  fresh = new Uint8Array(64);
  /** The time as far as it is known: after the last wait, or when a loop has set it. */
  now = 0;
  /** A loop wants to go on at the very µs for which it asks. */
  precise = false;
  /** Time in µs that was spent on asking for events over and over, instead of sleeping. */
  spunUs = 0;
  /** Connections that are not made soon may be closed and opened again, without the server having seen them. */
  redials = false;
  /** What is received now was sent by the server before it can have seen a request. */
  protected isEarly = false;
  /** Why the last `open` has failed: an errno name. */
  openError = "";
  protected readonly answers: Answers;
  #places = new Int32Array(64).fill(-1); // connection → its place in heldIds
  #answered = new Uint32Array(64); // answers on this connection
  #reopens = new Uint8Array(64); // 1: it is made for a dormant client

  constructor(light: Uint8Array<ArrayBuffer>, bodiless = false) {
    this.requests = [light, light];
    this.answers = new Answers(bodiless);
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

  /** Clients that are held, connected or not. */
  get clients(): number {
    return this.held + this.dormant + this.reconnecting;
  }

  /** A new connection is under way. */
  protected opened(id: number): void {
    if (id >= this.states.length) this.#grow(id);
    this.states[id] = CONNECTING;
    this.#answered[id] = 0;
    this.#reopens[id] = 0;
  }

  #grow(id: number): void {
    this.heldIds = grown(this.heldIds, id);
    this.states = grown(this.states, id);
    this.sentAt = grown(this.sentAt, id);
    this.dueAt = grown(this.dueAt, id);
    this.which = grown(this.which, id);
    this.idleSince = grown(this.idleSince, id);
    this.fresh = grown(this.fresh, id);
    this.#answered = grown(this.#answered, id);
    this.#reopens = grown(this.#reopens, id);
    const before = this.#places.length;
    this.#places = grown(this.#places, id).fill(-1, before);
  }

  /**
   * Opens a connection for a dormant client. Done between turns only, so that no number comes back within one. Returns its
   * number; −1 if that failed at once, which is counted, and the client is dormant still.
   */
  reopen(): number {
    const id = this.open();
    if (id < 0) {
      this.tally.error(this.openError);
      return -1;
    }
    this.dormant--;
    this.reconnecting++;
    this.#reopens[id] = 1;
    return id;
  }

  /** A connection is made, or could not be made because of `error`. */
  protected settled(id: number, error: string): void {
    const now = this.clockUs();
    if (error !== "") {
      this.tally.error(error);
      this.close(id);
      return this.loop.failed?.(id, now);
    }
    this.states[id] = IDLE;
    this.tally.connections++;
    if (this.#reopens[id] === 1) {
      this.#reopens[id] = 0;
      this.reconnecting--;
      this.tally.reconnects++;
      this.hold(id);
      this.fresh[id] = 0;
    }
    this.loop.connected?.(id, now);
  }

  /** Counts a connection among those that stay when the loop has ended. */
  hold(id: number): void {
    this.#places[id] = this.held;
    this.heldIds[this.held++] = id;
    this.fresh[id] = 1;
  }

  /** Asks, and returns whether the request could be sent; if not, the connection is no more. `which`: 0 light, 1 heavy. */
  send(id: number, now: number, which: number): boolean {
    const failed = this.transmit(id, this.requests[which]!);
    if (failed !== "") {
      // The server has closed it some time ago, and answered the byte that came then by a reset.
      if (failed === "EPIPE" && this.#answered[id]! > 0) this.#closedIdle(id, now);
      else this.lose(id, failed);
      return false;
    }
    this.states[id] = BUSY;
    this.sentAt[id] = now;
    this.which[id] = which;
    this.busy++;
    return true;
  }

  /** Sends a byte of a head that will never end. Whether it arrives does not matter: the server may have hung up. */
  trickle(id: number, byte: Uint8Array<ArrayBuffer>): void {
    if (this.states[id] === SLOW) this.transmit(id, byte);
  }

  /**
   * Takes the first `got` bytes of the inbox of `answers` as received on a connection.
   *
   * @param last The end of the connection has come behind them.
   */
  protected received(id: number, got: number, last: boolean): void {
    const state = this.states[id]!;
    if (state === SLOW) return; // whatever the server says to a client that never finishes
    if (state < OWING) return this.#drop(id, "unasked_bytes");
    const status = this.answers.take(id, got);
    if (status === UNFINISHED) return;
    if (status < 0 || status === SWITCHING_PROTOCOLS) return this.#drop(id, errorKey(status));
    if (this.isEarly && status === 200) return this.#drop(id, "unasked_bytes"); // no answer to a request
    if (this.answers.extra > 0) return this.#drop(id, "surplus_bytes");
    this.#finish(id, status, !(last || this.answers.closes));
  }

  #finish(id: number, status: number, open: boolean): void {
    const state = this.states[id]!;
    const { loop, tally } = this;
    if (status === 200) tally.answered++;
    else tally.error(errorKey(status));
    this.#answered[id]!++;
    const now = this.clockUs();
    if (state === BUSY) this.busy--;
    this.states[id] = IDLE;
    this.idleSince[id] = now;
    if (!open) this.#retire(id);
    if (state === OWING) loop.freed(id, now, open);
    else loop.answered(id, now, status, open);
  }

  /** The end of a connection has come, without an error. */
  protected ended(id: number): void {
    const state = this.states[id]!;
    if (state === SLOW) return this.close(id); // such a client is meant to be thrown out
    const now = this.clockUs();
    if (state < OWING) {
      // One that closes without ever having answered does not limit its requests: it has refused the connection.
      return this.#answered[id]! > 0 ? this.#closedIdle(id, now) : this.lose(id, "closed");
    }
    const status = this.answers.end(id);
    if (status > 0) return this.#finish(id, status, false);
    const begun = status !== UNFINISHED;
    const { loop } = this;
    if (begun || this.#answered[id] === 0 || state === OWING || loop.retry === undefined) {
      return this.lose(id, begun ? errorKey(status) : "closed");
    }
    this.busy--;
    this.#retire(id);
    loop.retry(id, now);
  }

  #closedIdle(id: number, now: number): void {
    const { loop } = this;
    this.#retire(id);
    loop.idleClosed?.(id, now);
  }

  /** The server has closed a connection in an orderly way: a client that held it is dormant. */
  #retire(id: number): void {
    if (this.#places[id]! >= 0) {
      this.tally.close(this.#answered[id]!);
      this.dormant++;
    }
    this.close(id);
  }

  /** A connection has ended before its time, because of `error`. */
  protected lose(id: number, error: string): void {
    const state = this.states[id]!;
    this.close(id);
    if (state === SLOW) return; // such a client is meant to be thrown out
    this.tally.lost++;
    this.tally.error(error);
    if (state === BUSY) this.busy--;
    this.loop.lost(id, this.clockUs(), state === BUSY);
  }

  /** Ends a connection because of what came on it. The server has not ended it. */
  #drop(id: number, cause: string): void {
    const state = this.states[id]!;
    this.close(id);
    this.tally.dropped++;
    this.tally.error(cause);
    if (state === BUSY) this.busy--;
    this.loop.dropped?.(id, this.clockUs());
  }

  /** Drops connections whose answer has no length, and which stay open: it would never end. */
  protected dropEndless(): void {
    for (const id of this.answers.endless(ENDLESS_LOOKS)) this.#drop(id, errorKey(NO_LENGTH));
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
    if (this.#reopens[id] === 1) {
      this.#reopens[id] = 0;
      this.reconnecting--;
      this.dormant++;
    }
    this.states[id] = FREE;
    this.answers.forget(id);
    this.hangUp(id);
  }

  /** Closes all connections that are in this state. */
  closeAll(state: number): void {
    for (let id = 0; id < this.states.length; id++) if (this.states[id] === state) this.close(id);
  }

  /** Closes all held connections, and forgets the clients that have none. */
  dropAll(): void {
    while (this.held > 0) this.close(this.heldIds[this.held - 1]!);
    this.dormant = 0;
  }

  /** Counts requests that are given up although some of their answer has come. */
  countUnfinished(): void {
    for (let id = 0; id < this.states.length; id++) if (this.states[id] === BUSY) this.countIfUnfinished(id);
  }

  /** The same of one request. */
  countIfUnfinished(id: number): void {
    if (this.answers.hasBegun(id)) this.tally.error(UNFINISHED_ANSWER);
  }

  /** Ends a loop: requests without an answer are still owed, and may be answered in a later loop. Returns how many. */
  leave(): number {
    if (this.reconnecting > 0) this.closeAll(CONNECTING);
    for (let i = 0; i < this.held; i++) {
      const id = this.heldIds[i]!;
      if (this.states[id] === BUSY) this.states[id] = OWING;
    }
    const unanswered = this.busy;
    this.busy = 0;
    this.precise = false;
    this.loop = DEAF;
    return unanswered;
  }
}
