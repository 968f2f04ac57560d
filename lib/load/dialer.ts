/**
 * Opening and closing sockets for the epoll engine of the load generator: from which address, and without TIME_WAIT.
 *
 * @module
 */
import { grown } from "./connections.ts";
import * as sys from "./libc.ts";
import { errno, libc } from "./libc.ts";

// Edge-triggered: the kernel says once that something has come, and does not look at the socket again after it was read.
const INTEREST = sys.EPOLLIN | sys.EPOLLOUT | sys.EPOLLRDHUP | sys.EPOLLET;
const ONE = new Int32Array([1]);
const LINGER_0 = new Int32Array([1, 0]); // struct linger { int l_onoff; int l_linger; }

/** The eight groups of an IPv6 address, which may have `::` once and may end in an IPv4 address. */
function groupsOf(address: string): number[] {
  const quad = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  if (quad !== null) {
    const [a, b, c, d] = quad.slice(2).map(Number);
    return groupsOf(`${quad[1]}${(a! << 8 | b!).toString(16)}:${(c! << 8 | d!).toString(16)}`);
  }
  const [left = [], right] = address.split("::").map((half) => half === "" ? [] : half.split(":"));
  const zeros = right === undefined ? 0 : 8 - left.length - right.length;
  return [...left, ...Array(zeros).fill("0"), ...right ?? []].map((group) => parseInt(group, 16));
}

/** struct sockaddr_in or sockaddr_in6: family in native order, port and address in network order. */
export function socketAddress(host: string, port: number): Uint8Array<ArrayBuffer> {
  const [high, low] = [port >> 8, port & 255];
  if (!host.includes(":")) {
    const address = new Uint8Array(16);
    address.set([sys.AF_INET, 0, high, low, ...host.split(".").map(Number)]);
    return address;
  }
  const address = new Uint8Array(28); // family, port, flow information, 16 bytes of address, scope
  address.set([sys.AF_INET6, 0, high, low]);
  address.set(groupsOf(host).flatMap((group) => [group >> 8, group & 255]), 8);
  return address;
}

/** Connections from one source address: beyond, connect(2) searches ever longer for a port that is free. */
export const CONNECTIONS_PER_SOURCE = 9000;
/** Of the ports of one address so many may be used: some are taken by others. */
const SHARE_OF_PORTS = 0.9;

const SOURCES = 255; // 127.0.0.1, and 254 of a block of one's own

/**
 * Source addresses in 127/8, filled one after the other; a connection that ends makes room. 127.0.0.1 comes first, because
 * there are servers that trust it alone; the others are used when its ports are nearly used up.
 */
export class Sources {
  readonly #room: Int32Array;
  readonly #address = socketAddress("127.0.0.0", 0);
  #current = 0;

  /**
   * @param process Its number chooses the block, so that generators do not share what they leave behind.
   * @param ports How many ports a client can use; null: not known.
   * @param sharers How many processes share 127.0.0.1.
   */
  constructor(readonly process: number, ports: number | null, sharers: number) {
    const each = Math.min(CONNECTIONS_PER_SOURCE, Math.floor((ports ?? Infinity) * SHARE_OF_PORTS));
    this.#room = new Int32Array(SOURCES).fill(each);
    this.#room[0] = Math.floor(each / sharers);
  }

  /** The number of a source with room; −1 if all are full, with 2 295 000 connections. */
  take(): number {
    if (this.#room[this.#current]! <= 0) {
      const free = this.#room.findIndex((room) => room > 0);
      if (free < 0) return -1;
      this.#current = free;
    }
    this.#room[this.#current]!--;
    return this.#current;
  }

  /** Its address, to be used before the next call. */
  address(source: number): Uint8Array<ArrayBuffer> {
    const own = source > 0;
    this.#address.set(own ? [1 + (this.process >> 8) % 254, this.process & 255, source] : [0, 0, 1], 5);
    return this.#address;
  }

  /** The system has no port left there: until one of its connections ends it is not used. */
  exhausted(source: number): void {
    this.#room[source] = 0;
  }

  /** A connection from there has ended. */
  giveBack(source: number): void {
    this.#room[source]!++;
  }
}

/** Opens and closes connections to one target. */
export class Dialer {
  #sourceOf = new Uint8Array(64);
  readonly #event = new Int32Array(sys.EVENT_WORDS);
  /** A sockaddr_in or sockaddr_in6. */
  target: Uint8Array<ArrayBuffer>;

  /**
   * @param target Where to connect to.
   * @param epoll The interest set that connections join.
   * @param sources Where connections come from. Null: the system chooses the address that leads to the target.
   */
  constructor(target: Uint8Array<ArrayBuffer>, readonly epoll: number, readonly sources: Sources | null) {
    this.target = target;
  }

  /** Opens a connection without waiting for it. Returns its descriptor, or the negative errno. */
  dial(): number {
    // Each turn of this loop but the last takes a source out of use.
    for (;;) {
      const source = this.#sources?.take() ?? 0;
      if (source < 0) return -sys.EADDRNOTAVAIL;
      const fd = this.#dialFrom(source);
      if (fd >= 0 || this.#sources === null) return fd;
      if (fd !== -sys.EADDRNOTAVAIL) {
        this.#sources.giveBack(source);
        return fd;
      }
      this.#sources.exhausted(source);
    }
  }

  /** The sources of this target: addresses of 127/8 reach no other one. */
  get #sources(): Sources | null {
    return this.target[0] === sys.AF_INET ? this.sources : null;
  }

  #dialFrom(source: number): number {
    const fd = libc.socket(this.target[0]!, sys.SOCK_STREAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno[0]!;
    if (this.#connect(fd, source)) {
      if (fd >= this.#sourceOf.length) this.#sourceOf = grown(this.#sourceOf, fd);
      this.#sourceOf[fd] = source;
      return fd;
    }
    const failed = errno[0]!;
    libc.close(fd); // it was connected to nobody: nothing can be lost
    return -failed;
  }

  #connect(fd: number, source: number): boolean {
    if (libc.setsockopt(fd, sys.IPPROTO_TCP, sys.TCP_NODELAY, ONE, 4) < 0) return false;
    if (this.#sources !== null) {
      // Without this option bind(2) would choose a port, one that is free towards every target, and soon there are none.
      if (libc.setsockopt(fd, sys.IPPROTO_IP, sys.IP_BIND_ADDRESS_NO_PORT, ONE, 4) < 0) return false;
      if (libc.bind(fd, this.#sources.address(source), 16) < 0) return false;
    }
    if (libc.connect(fd, this.target, this.target.length) < 0 && errno[0] !== sys.EINPROGRESS) return false;
    this.#event[0] = INTEREST;
    this.#event[sys.DATA_WORD] = fd;
    return libc.epoll_ctl(this.epoll, sys.EPOLL_CTL_ADD, fd, this.#event) === 0;
  }

  /**
   * Closes a connection in such a way that neither end keeps it in TIME_WAIT: FIN, then RST at once. TIME_WAIT would keep its
   * port out of use for 60 s, so that `churn` ran out of ports, and take kernel memory that is measured as the server's.
   * With an RST alone servers would see an error. Behind a FIN, recv(2) returns 0 all the same: the kernel asks SOCK_DONE,
   * which the FIN has set, before it looks at the error that the RST has left (tcp_recvmsg_locked, net/ipv4/tcp.c).
   * A server that has not accepted the connection yet gets one that has ended: ENOTCONN, should it ask for the peer's name.
   */
  hangUp(fd: number): void {
    libc.shutdown(fd, sys.SHUT_WR); // ENOTCONN: the other end has reset it, or it never was made
    libc.setsockopt(fd, sys.SOL_SOCKET, sys.SO_LINGER, LINGER_0, 8); // close(2) sends RST; it cannot fail on a socket
    libc.close(fd); // it leaves the interest set by itself
    this.#sources?.giveBack(this.#sourceOf[fd]!);
  }
}
