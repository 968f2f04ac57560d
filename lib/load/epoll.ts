/**
 * Connections on Linux: one thread, epoll(7), and libc through FFI.
 *
 * @module
 */
import { CONNECTING, Connections, FREE, HOUSEKEEPING_US, type Steps } from "./connections.ts";
import { Dialer, socketAddress } from "./dialer.ts";
import { INBOX_BYTES } from "./response.ts";
import * as sys from "./libc.ts";
import { clockUs, errno, libc } from "./libc.ts";
import type { EngineConfig } from "./types.ts";

export { ownCpuUs } from "./libc.ts";

const GONE = sys.EPOLLRDHUP | sys.EPOLLHUP | sys.EPOLLERR;

/** Runs each loop to its end without giving the thread back. */
export class EpollConnections extends Connections {
  readonly #waiter = new sys.Waiter();
  readonly #dialer: Dialer;
  readonly #error = new Int32Array(1);
  readonly #errorBytes = new Int32Array([4]);
  #housekeepingAt = 0;

  constructor(config: EngineConfig, light: Uint8Array<ArrayBuffer>) {
    super(light);
    if (config.cpu !== null) sys.pinTo(config.cpu); // taskset(1), where there is one, has done it already for all threads
    this.redials = config.loopback;
    this.#dialer = new Dialer(socketAddress(config.address, config.port), this.#waiter.epoll, config.loopback);
  }

  override clockUs(): number {
    return clockUs();
  }

  override open(): number {
    const fd = this.#dialer.dial();
    if (fd >= 0) this.opened(fd);
    else this.openError = sys.errnoName(-fd);
    return fd;
  }

  override drive<T>(steps: Steps<T>): T {
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      this.#turn(step.value);
    }
  }

  /** Waits for events until `untilUs`, but not beyond the next housekeeping, and passes on what they mean. */
  #turn(untilUs: number): void {
    const ready = this.#waiter.wait(Math.max(Math.min(untilUs - this.now, HOUSEKEEPING_US), 0));
    const events = this.#waiter.events;
    for (let i = 0; i < ready; i++) {
      const fd = events[i * sys.EVENT_WORDS + sys.DATA_WORD]!;
      const mask = events[i * sys.EVENT_WORDS]!;
      const state = this.states[fd]!;
      if (state === CONNECTING) this.#settle(fd, mask);
      else if (state !== FREE && (mask & (sys.EPOLLIN | GONE)) !== 0) this.#receive(fd, (mask & GONE) !== 0);
    }
    this.now = clockUs();
    if (this.now < this.#housekeepingAt) return;
    this.#housekeepingAt = this.now + HOUSEKEEPING_US;
    if (sys.parentGone()) Deno.exit(0); // nobody is left who would read the outcome
    this.housekeeping();
  }

  #settle(fd: number, mask: number): void {
    this.#error[0] = 0;
    if ((mask & sys.EPOLLERR) !== 0) {
      sys.must(libc.getsockopt(fd, sys.SOL_SOCKET, sys.SO_ERROR, this.#error, this.#errorBytes), "read SO_ERROR");
    }
    this.settled(fd, this.#error[0] === 0 ? "" : sys.errnoName(this.#error[0]!));
    if ((mask & GONE) !== 0 && this.states[fd] !== FREE) this.#receive(fd, true);
  }

  #receive(fd: number, gone: boolean): void {
    for (;;) {
      const got = libc.recv(fd, this.answers.inbox, INBOX_BYTES, 0);
      if (got > 0) this.received(fd, got);
      else if (got === 0) return this.lose(fd, "");
      else if (errno[0] === sys.EAGAIN) return;
      else if (errno[0] !== sys.EINTR) return this.lose(fd, sys.errnoName(errno[0]!));
      // A short read has emptied the socket, and what comes later is a new edge. But if the peer's end came along with
      // these bytes, there is no other edge: read on to it.
      if ((got < INBOX_BYTES && !gone) || this.states[fd] === FREE) return;
    }
  }

  protected override transmit(fd: number, bytes: Uint8Array<ArrayBuffer>): string {
    const sent = libc.send(fd, bytes, bytes.length, sys.MSG_NOSIGNAL);
    if (sent === bytes.length) return "";
    // A request always fits into an empty send buffer, and it is empty, since only one request is under way.
    return sent < 0 ? sys.errnoName(errno[0]!) : "short_send";
  }

  protected override hangUp(fd: number): void {
    this.#dialer.hangUp(fd);
  }
}
