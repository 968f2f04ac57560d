/**
 * The side of the client of the probe `million`: connections are made, and stay. Each is asked when all are to be, and has
 * one operation in flight at most.
 *
 * @module
 */
import { errorName } from "./libc.ts";
import { CLOSE, CONNECT, type Handler, RECEIVE, type Ring, SEND, SOCKET, WINDOW } from "./ring.ts";
import { ANSWER, countError, ENOBUFS, isNext, REQUEST } from "./talk.ts";
import type { ClientState } from "./protocol.ts";

/** The connections of one ring. */
export class ClientRing implements Handler {
  /** Connections that are to be made, that were begun, and that are on their way. */
  #wanted = 0;
  #begun = 0;
  #connecting = 0;
  /** The next slot to ask, and how many are being asked. */
  #cursor: number;
  #asking = 0;
  /** By slot: whether it is connected, and how much of an answer has come. */
  readonly #held: Uint8Array;
  readonly #got: Uint8Array;

  constructor(readonly ring: Ring, readonly slots: number, readonly state: ClientState) {
    this.#cursor = slots;
    this.#held = new Uint8Array(slots);
    this.#got = new Uint8Array(slots);
  }

  get isBusy(): boolean {
    return this.#connecting + this.#asking > 0;
  }

  /** Begins to make up to so many more connections. Returns how many, as the slots allow. */
  connect(count: number): number {
    const more = Math.min(count, this.slots - this.#wanted);
    this.#wanted += more;
    while (this.#connecting < WINDOW && this.#begun < this.#wanted) this.#dial();
    this.drain();
    return more;
  }

  /** Begins to ask each connection once. */
  ask(): void {
    this.#cursor = 0;
    while (this.#asking < WINDOW && this.#cursor < this.slots) this.#askNext();
    this.drain();
  }

  drain(): void {
    this.ring.drain(this);
  }

  #dial(): void {
    if (this.#begun === this.#wanted) return;
    this.#begun++;
    this.#connecting++;
    this.ring.socket();
  }

  #askNext(): void {
    while (this.#cursor < this.slots && this.#held[this.#cursor] === 0) this.#cursor++;
    if (this.#cursor >= this.slots) return;
    this.#asking++;
    this.ring.send(this.#cursor++);
  }

  onCompleted(kind: number, slot: number, result: number, at: number): void {
    if (kind === SEND) this.#onSent(slot, result);
    else if (kind === RECEIVE) this.#onReceived(slot, result, at);
    else if (kind === SOCKET) this.#onSocket(result);
    else if (kind === CONNECT) this.#onConnected(slot, result);
    else if (kind === CLOSE && result < 0) countError(this.state, `close: ${errorName(result)}`);
  }

  #onSocket(result: number): void {
    if (result >= 0) return this.ring.connect(result);
    this.#fail(result);
  }

  #onConnected(slot: number, result: number): void {
    if (result < 0) {
      this.ring.close(slot);
      return this.#fail(result);
    }
    this.#connecting--;
    this.#held[slot] = 1;
    this.state.connected++;
    this.#dial();
  }

  #fail(result: number): void {
    this.#connecting--;
    this.state.failed++;
    countError(this.state, errorName(result));
    this.#dial();
  }

  #onSent(slot: number, result: number): void {
    if (result === REQUEST.length) return this.ring.receive(slot);
    this.#lose(slot, result < 0 ? errorName(result) : "sent in part");
  }

  #onReceived(slot: number, result: number, at: number): void {
    if (result === -ENOBUFS) return this.ring.receive(slot);
    const got = this.#got[slot]!;
    if (result <= 0) return this.#lose(slot, result < 0 ? errorName(result) : "closed by the server");
    if (!isNext(this.ring.memory, at, result, ANSWER, got)) return this.#lose(slot, "another answer");
    this.#got[slot] = got + result;
    if (got + result < ANSWER.length) return this.ring.receive(slot);
    this.#got[slot] = 0;
    this.state.answered++;
    this.#asking--;
    this.#askNext();
  }

  #lose(slot: number, why: string): void {
    countError(this.state, why);
    this.#held[slot] = this.#got[slot] = 0;
    this.state.connected--;
    this.ring.close(slot);
    this.#asking--;
    this.#askNext();
  }
}
