/**
 * The side of the server of the probe `million`: a connection is received from, answered, and received from again. It has
 * one operation in flight at most, and while it is idle this is all that it has.
 *
 * @module
 */
import { errorName } from "./libc.ts";
import { ACCEPT, CLOSE, type Handler, RECEIVE, type Ring, SEND, WINDOW } from "./ring.ts";
import { ANSWER, countError, ENOBUFS, isNext, REQUEST } from "./talk.ts";
import type { ServerState } from "./protocol.ts";

const ECONNABORTED = 103; // <asm-generic/errno.h>

/** The connections of one ring, and its listening socket. */
export class ServerRing implements Handler {
  /** Slots that are taken, and accepts that are under way: together never more than there are slots. */
  #live = 0;
  #accepting = 0;
  /** By slot: how much of a request has come. */
  readonly #got: Uint8Array;

  constructor(
    readonly ring: Ring,
    readonly listener: number,
    readonly slots: number,
    readonly state: ServerState,
  ) {
    this.#got = new Uint8Array(slots);
  }

  /** Begins to accept. */
  start(): void {
    while (this.#accepting < WINDOW && this.#live + this.#accepting < this.slots) this.#accept();
    this.drain();
  }

  drain(): void {
    this.ring.drain(this);
  }

  #accept(): void {
    if (this.#accepting >= WINDOW || this.#live + this.#accepting >= this.slots) return;
    this.#accepting++;
    this.ring.accept(this.listener);
  }

  onCompleted(kind: number, slot: number, result: number, at: number): void {
    if (kind === RECEIVE) this.#onReceived(slot, result, at);
    else if (kind === SEND) this.#onSent(slot, result);
    else if (kind === ACCEPT) this.#onAccepted(result);
    else if (kind === CLOSE) this.#onClosed(result);
  }

  #onAccepted(result: number): void {
    this.#accepting--;
    if (result >= 0) {
      this.#live++;
      this.state.live++;
      this.state.accepted++;
      this.ring.receive(result);
    } else countError(this.state, errorName(result));
    // After ENFILE and the like it is not asked again: at once it would spin.
    if (result >= 0 || result === -ECONNABORTED) this.#accept();
  }

  #onReceived(slot: number, result: number, at: number): void {
    if (result === -ENOBUFS) return this.ring.receive(slot);
    const got = this.#got[slot]!;
    if (result > 0 && isNext(this.ring.memory, at, result, REQUEST, got)) {
      this.#got[slot] = got + result;
      if (got + result === REQUEST.length) this.ring.send(slot);
      else this.ring.receive(slot);
      return;
    }
    if (result !== 0) countError(this.state, result < 0 ? errorName(result) : "not a request");
    this.#close(slot);
  }

  #onSent(slot: number, result: number): void {
    if (result === ANSWER.length) {
      this.state.answered++;
      this.#got[slot] = 0;
      return this.ring.receive(slot);
    }
    countError(this.state, result < 0 ? errorName(result) : "sent in part");
    this.#close(slot);
  }

  #close(slot: number): void {
    this.#got[slot] = 0;
    this.ring.close(slot);
  }

  #onClosed(result: number): void {
    if (result < 0) return countError(this.state, `close: ${errorName(result)}`); // the slot is never used again
    this.#live--;
    this.state.live--;
    this.#accept();
  }
}
