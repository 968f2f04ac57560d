/**
 * Connections on Linux: one thread, epoll(7), and libc through FFI.
 *
 * @module
 */
import { CONNECTING, Connections, FREE, HOUSEKEEPING_US, type Steps } from "./connections.ts";
import { Dialer, socketAddress, Sources } from "./dialer.ts";
import { INBOX_BYTES } from "./response.ts";
import * as sys from "./libc.ts";
import { clockUs, errno, libc } from "./libc.ts";
import type { EngineConfig } from "./types.ts";

export { ownCpuUs } from "./libc.ts";

const GONE = sys.EPOLLRDHUP | sys.EPOLLHUP | sys.EPOLLERR;

/** How long the first connection to a name with several addresses may take. */
const CONNECT_MS = 1000;

const isLoopback = (address: string) => address.startsWith("127.") || address === "::1";

/** Runs each loop to its end without giving the thread back. */
export class EpollConnections extends Connections {
  readonly #waiter = new sys.Waiter();
  readonly #dialer: Dialer;
  /** Addresses that were not tried yet. */
  readonly #others: Uint8Array<ArrayBuffer>[];
  readonly #spinUs: number;
  readonly #error = new Int32Array(1);
  readonly #errorBytes = new Int32Array([4]);
  #housekeepingAt = 0;

  constructor(config: EngineConfig, light: Uint8Array<ArrayBuffer>) {
    super(light, config.method === "HEAD");
    if (config.cpu !== null) sys.pinTo(config.cpu); // taskset(1), where there is one, has done it already for all threads
    const loopback = config.addresses.every(isLoopback);
    this.redials = loopback;
    this.#spinUs = config.spinUs;
    const [first, ...others] = config.addresses.map((address) => socketAddress(address, config.port));
    this.#others = others;
    const sources = loopback ? new Sources(Deno.pid, config.ports, config.processes) : null;
    this.#dialer = new Dialer(first!, this.#waiter.epoll, sources);
  }

  override clockUs(): number {
    return clockUs();
  }

  override open(): number {
    const fd = this.#others.length > 0 ? this.#openFirst() : this.#dialer.dial();
    if (fd >= 0) this.opened(fd);
    else this.openError = sys.errnoName(-fd);
    return fd;
  }

  /**
   * Opens the first connection to a name with several addresses: the first of them where something listens is the target from now
   * on. To know it this attempt is waited for; on loopback that takes no time.
   */
  #openFirst(): number {
    for (;;) {
      const fd = this.#dialer.dial();
      const failed = fd < 0 ? -fd : this.#awaitConnect(fd);
      if (failed === 0) {
        this.#others.length = 0;
        return fd;
      }
      if (fd >= 0) this.#dialer.hangUp(fd);
      if (failed !== sys.ECONNREFUSED || this.#others.length === 0) return -failed;
      this.#dialer.target = this.#others.shift()!;
    }
  }

  /** Waits until a connection is made. Returns the errno if it cannot be. */
  #awaitConnect(fd: number): number {
    const pollfd = new Int32Array([fd, sys.POLLOUT]);
    if (sys.must(libc.poll(pollfd, 1, CONNECT_MS), "wait for a connection") === 0) return sys.ETIMEDOUT;
    return this.#errorOf(fd);
  }

  #errorOf(fd: number): number {
    sys.must(libc.getsockopt(fd, sys.SOL_SOCKET, sys.SO_ERROR, this.#error, this.#errorBytes), "read SO_ERROR");
    return this.#error[0]!;
  }

  override drive<T>(steps: Steps<T>): T {
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      this.#turn(step.value);
    }
  }

  /** Waits for events until `untilUs`, but not beyond the next housekeeping. Returns how many there are. */
  #wait(untilUs: number): number {
    const leftUs = untilUs - this.now;
    if (!this.precise || this.#spinUs === 0 || leftUs > HOUSEKEEPING_US) {
      return this.#waiter.wait(Math.max(Math.min(leftUs, HOUSEKEEPING_US), 0));
    }
    if (leftUs > this.#spinUs) {
      const ready = this.#waiter.wait(leftUs - this.#spinUs);
      if (ready > 0) return ready;
    }
    const startUs = clockUs();
    for (;;) {
      const ready = this.#waiter.look();
      const now = clockUs();
      if (ready === 0 && now < untilUs) continue;
      this.spunUs += now - startUs;
      return ready;
    }
  }

  /** Waits for events, and passes on what they mean. */
  #turn(untilUs: number): void {
    const ready = this.#wait(untilUs);
    const events = this.#waiter.events;
    for (let i = 0; i < ready; i++) {
      const fd = events[i * sys.EVENT_WORDS + sys.DATA_WORD]!;
      const mask = events[i * sys.EVENT_WORDS]!;
      const state = this.states[fd]!;
      if (state === CONNECTING) this.#settle(fd, mask);
      else if (state !== FREE && (mask & (sys.EPOLLIN | GONE)) !== 0) this.#receive(fd, mask);
    }
    this.now = clockUs();
    if (this.now < this.#housekeepingAt) return;
    this.#housekeepingAt = this.now + HOUSEKEEPING_US;
    if (sys.parentGone()) Deno.exit(0); // nobody is left who would read the outcome
    this.dropEndless();
    this.housekeeping();
  }

  #settle(fd: number, mask: number): void {
    const failed = (mask & sys.EPOLLERR) !== 0 ? this.#errorOf(fd) : 0;
    this.settled(fd, failed === 0 ? "" : sys.errnoName(failed));
    if ((mask & (sys.EPOLLIN | GONE)) === 0 || this.states[fd] === FREE) return;
    this.isEarly = true; // these bytes came with the connection, before any request; there is no other edge for them
    this.#receive(fd, mask);
    this.isEarly = false;
  }

  #receive(fd: number, mask: number): void {
    const gone = (mask & GONE) !== 0;
    const fin = gone && (mask & sys.EPOLLERR) === 0;
    for (;;) {
      const got = libc.recv(fd, this.answers.inbox, INBOX_BYTES, 0);
      // A short read has emptied the socket: if the peer's end has come, it stands behind these bytes.
      if (got > 0) this.received(fd, got, fin && got < INBOX_BYTES);
      else if (got === 0) return this.ended(fd);
      else if (errno[0] === sys.EAGAIN) return;
      else if (errno[0] !== sys.EINTR) return this.lose(fd, sys.errnoName(errno[0]!));
      // What comes later is a new edge. But if the peer's end came along with these bytes, there is no other edge: read on to it.
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
