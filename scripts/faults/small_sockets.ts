/**
 * Clients by system calls, for what the runtime's sockets cannot do: ten thousand connects at once, windows so small that a
 * server has to keep its answers, and an end by a reset before the server has accepted.
 *
 * @module
 */
import { delay } from "@std/async";
import * as sys from "../../lib/load/libc.ts";
import { errno, libc, must, Waiter } from "../../lib/load/libc.ts";
import { AnswerCounter } from "./answers.ts";

const TCP_MAXSEG = 2; // <linux/tcp.h>
const SMALL_SEGMENT = 536; // bytes: the send buffer of the other end grows with the segment, and would take all
const SMALL_WINDOW = 2048; // bytes
/** Connections from one source address: beyond, connect(2) searches ever longer for a port that is free. */
const PER_SOURCE = 9000;
const TURN_MS = 5; // the longest stretch without a look at what else waits in this thread
const INBOX = new Uint8Array(64 * 1024);
const decoder = new TextDecoder("latin1");

const LINGER_0 = new Int32Array([1, 0]); // struct linger: close(2) sends RST

// Edge-triggered: the kernel says once that something has come.
const INTEREST = sys.EPOLLIN | sys.EPOLLOUT | sys.EPOLLRDHUP | sys.EPOLLET;

/** struct sockaddr_in: family in native order, port and address in network order. */
function socketAddress(host: string, port: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(16);
  address.set([sys.AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  return address;
}

/** How a client connects. */
interface DialOptions {
  /** With a small window and small segments: what it does not read stays with the server. */
  isSmall?: boolean;
  /** The address that it comes from; default: the system chooses. */
  from?: string;
}

/** A socket that has asked to connect to a port; null if it cannot. */
function dial(port: number, { isSmall = false, from }: DialOptions = {}): number | null {
  const fd = libc.socket(sys.AF_INET, sys.SOCK_STREAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
  if (fd < 0) return null; // EMFILE: this process has no more descriptors
  if (isSmall) {
    must(libc.setsockopt(fd, sys.IPPROTO_TCP, TCP_MAXSEG, new Int32Array([SMALL_SEGMENT]), 4), "set TCP_MAXSEG");
    must(libc.setsockopt(fd, sys.SOL_SOCKET, sys.SO_RCVBUF, new Int32Array([SMALL_WINDOW]), 4), "set SO_RCVBUF");
  }
  if (from !== undefined) {
    // Without this option bind(2) would choose a port that is free towards every target, and soon there are none.
    must(
      libc.setsockopt(fd, sys.IPPROTO_IP, sys.IP_BIND_ADDRESS_NO_PORT, new Int32Array([1]), 4),
      "bind without a port",
    );
    must(libc.bind(fd, socketAddress(from, 0), 16), `come from ${from}`);
  }
  const address = socketAddress("127.0.0.1", port);
  if (libc.connect(fd, address, address.length) === 0 || errno[0] === sys.EINPROGRESS) return fd;
  libc.close(fd);
  return null;
}

/** Closes a connection by FIN and RST at once, so that neither end keeps it in TIME_WAIT. */
function hangUp(fd: number): void {
  libc.shutdown(fd, sys.SHUT_WR); // ENOTCONN: the other end has reset it, or it never was made
  libc.setsockopt(fd, sys.SOL_SOCKET, sys.SO_LINGER, LINGER_0, 8);
  libc.close(fd); // it leaves the interest set by itself
}

/** A connection of {@linkcode Rush}. */
interface Client {
  /** Bytes that the socket has taken. */
  sent: number;
  counter: AnswerCounter;
}

/** Many connections at once, of which each asks once. */
export class Rush implements Disposable {
  readonly #waiter = new Waiter();
  readonly #event = new Int32Array(sys.EVENT_WORDS);
  #dialled = 0;
  readonly #clients = new Map<number, Client>();
  /** Clients that have their answer, and have left. */
  answered = 0;
  /** Clients that were refused, reset, or left without an answer. */
  failed = 0;

  constructor(readonly port: number, readonly request: Uint8Array<ArrayBuffer>) {}

  /** Connections that are open or on their way. */
  get open(): number {
    return this.#clients.size;
  }

  /** Starts so many connects at once. */
  async dial(howMany: number): Promise<void> {
    let turnMs = performance.now();
    for (let i = 0; i < howMany; i++) {
      const fd = this.#dial();
      if (fd === null) this.failed++;
      else this.#clients.set(fd, { sent: 0, counter: new AnswerCounter() });
      if (performance.now() - turnMs < TURN_MS) continue;
      await delay(0);
      turnMs = performance.now();
    }
  }

  /** Connects, from another address of 127/8 when the ports of the last one are nearly used up. */
  #dial(): number | null {
    const source = Math.floor(this.#dialled++ / PER_SOURCE);
    const fd = dial(this.port, source === 0 ? {} : { from: `127.79.0.${source}` });
    if (fd === null) return null;
    this.#event[0] = INTEREST;
    this.#event[sys.DATA_WORD] = fd;
    must(libc.epoll_ctl(this.#waiter.epoll, sys.EPOLL_CTL_ADD, fd, this.#event), "watch a client");
    return fd;
  }

  /** Sends what is to be sent and takes what comes, until `isOver` or the time is. */
  async until(isOver: () => boolean, patienceMs: number): Promise<void> {
    const untilMs = performance.now() + patienceMs;
    while (!isOver() && performance.now() < untilMs) {
      const ready = this.#waiter.look();
      for (let i = 0; i < ready; i++) {
        const at = i * sys.EVENT_WORDS;
        this.#serve(this.#waiter.events[at + sys.DATA_WORD]!, this.#waiter.events[at]!);
      }
      await delay(ready > 0 ? 0 : 1);
    }
  }

  /** How many clients have sent all that they had to send. */
  get sent(): number {
    let sent = 0;
    for (const client of this.#clients.values()) sent += client.sent === this.request.length ? 1 : 0;
    return sent;
  }

  #serve(fd: number, events: number): void {
    const client = this.#clients.get(fd);
    if (client === undefined) return;
    if ((events & sys.EPOLLOUT) !== 0) this.#send(fd, client);
    if ((events & (sys.EPOLLIN | sys.EPOLLHUP | sys.EPOLLERR | sys.EPOLLRDHUP)) === 0) return;
    for (;;) {
      const got = libc.recv(fd, INBOX, INBOX.length, 0);
      if (got < 0 && errno[0] === sys.EAGAIN) break;
      if (got <= 0) {
        client.counter.end();
        return this.#leave(fd, client);
      }
      client.counter.push(decoder.decode(INBOX.subarray(0, got)));
    }
    if (client.counter.whole > 0) this.#leave(fd, client);
  }

  /** Sends until the socket is full: the event tells once that there is room. */
  #send(fd: number, client: Client): void {
    while (client.sent < this.request.length) {
      const sent = libc.send(
        fd,
        this.request.subarray(client.sent),
        this.request.length - client.sent,
        sys.MSG_NOSIGNAL,
      );
      if (sent <= 0) return; // full, or the end, which recv(2) tells
      client.sent += sent;
    }
  }

  #leave(fd: number, client: Client): void {
    if (client.counter.good > 0) this.answered++;
    else this.failed++;
    this.#clients.delete(fd);
    hangUp(fd);
  }

  /** Ends all connections by a reset. */
  hangUp(): void {
    for (const fd of this.#clients.keys()) hangUp(fd);
    this.#clients.clear();
  }

  [Symbol.dispose](): void {
    this.hangUp();
    libc.close(this.#waiter.epoll);
  }
}

/** Connects so many times, and ends each connection by a reset at once: most of them before they are accepted. */
export function abortConnects(port: number, howMany: number): void {
  for (let i = 0; i < howMany; i++) {
    const fd = dial(port); // over loopback the handshake is done when connect(2) returns
    if (fd === null) continue;
    libc.setsockopt(fd, sys.SOL_SOCKET, sys.SO_LINGER, LINGER_0, 8);
    libc.close(fd);
  }
}

/** A client that sends and reads as much as it is asked to, and no more. */
export class SlowClient implements Disposable {
  #fd: number | null;
  readonly #counter = new AnswerCounter();
  #unsent: Uint8Array<ArrayBuffer>;
  #isOver = false;
  #isBroken = false;

  constructor(port: number, requests: Uint8Array<ArrayBuffer>, options: DialOptions = {}) {
    this.#fd = dial(port, options);
    this.#unsent = requests;
    this.#isOver = this.#isBroken = this.#fd === null;
  }

  /** Good answers that have come. */
  get came(): number {
    return this.#counter.good;
  }

  /** Whole answers of any status. */
  get whole(): number {
    return this.#counter.whole;
  }

  /** The status of the first of them; 0: none has come, or it has none. */
  get first(): number {
    return this.#counter.first;
  }

  /** Bytes that the socket has not taken. */
  get unsent(): number {
    return this.#unsent.length;
  }

  /** The connection has ended by an error, which mostly is a reset: what the server has sent may be lost. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** The server closes behind an answer, and says so: it owes no more. */
  get isClosedWell(): boolean {
    return this.#counter.closes && this.#counter.bad === 0;
  }

  /** The connection has ended. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Has more to send. */
  ask(requests: Uint8Array<ArrayBuffer>): void {
    this.#unsent = requests;
  }

  /** Sends what the socket takes, and reads so many bytes at most. Returns how many there were. */
  turn(bytes: number): number {
    if (this.#fd === null || this.#isOver) return 0;
    if (this.#unsent.length > 0) {
      const sent = libc.send(this.#fd, this.#unsent, this.#unsent.length, sys.MSG_NOSIGNAL);
      if (sent > 0) this.#unsent = this.#unsent.subarray(sent);
    }
    if (bytes === 0) return 0;
    const got = libc.recv(this.#fd, INBOX, Math.min(bytes, INBOX.length), 0);
    if (got > 0) this.#counter.push(decoder.decode(INBOX.subarray(0, got)));
    else if (got === 0 || errno[0] !== sys.EAGAIN) {
      this.#isOver = true;
      this.#isBroken = got < 0;
      this.#counter.end();
    }
    return Math.max(got, 0);
  }

  /** Closes the half that it sends on. */
  closeHalf(): void {
    if (this.#fd !== null) libc.shutdown(this.#fd, sys.SHUT_WR); // ENOTCONN: the server has reset it, and recv(2) tells
  }

  /** Ends the connection by a reset. */
  reset(): void {
    if (this.#fd !== null) libc.setsockopt(this.#fd, sys.SOL_SOCKET, sys.SO_LINGER, LINGER_0, 8);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#fd !== null) libc.close(this.#fd);
    this.#fd = null; // the next one to open something gets this number
    this.#isOver = true;
  }
}
