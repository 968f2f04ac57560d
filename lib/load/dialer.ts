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

/** struct sockaddr_in: family in native order, port and address in network order. */
export function socketAddress(host: string, port: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(16);
  address.set([sys.AF_INET, 0, port >> 8, port & 255, ...host.split(".").map(Number)]);
  return address;
}

/** Connections from one source address: beyond, connect(2) searches ever longer for a port that is free. */
export const CONNECTIONS_PER_SOURCE = 9000;

const SOURCES = 254;

/** Source addresses in 127/8, filled one after the other; a connection that ends makes room. */
export class Sources {
  readonly #used = new Uint16Array(SOURCES);
  readonly #address = socketAddress("127.0.0.0", 0);
  #current = 0;

  /** @param process Its number chooses the addresses, so that generators do not share what they leave behind. */
  constructor(process: number) {
    this.#address.set([1 + (process >> 8) % 254, process & 255], 5);
  }

  /** The number of a source with room; −1 if all are full, with 2 286 000 connections. */
  take(): number {
    if (this.#used[this.#current]! >= CONNECTIONS_PER_SOURCE) {
      const free = this.#used.findIndex((used) => used < CONNECTIONS_PER_SOURCE);
      if (free < 0) return -1;
      this.#current = free;
    }
    this.#used[this.#current]!++;
    return this.#current;
  }

  /** Its address, to be used before the next call. */
  address(source: number): Uint8Array<ArrayBuffer> {
    this.#address[7] = 1 + source;
    return this.#address;
  }

  /** A connection from there has ended. */
  giveBack(source: number): void {
    this.#used[source]!--;
  }
}

/** Opens and closes connections to one target. */
export class Dialer {
  readonly #sources: Sources | null;
  #sourceOf = new Uint8Array(64);
  readonly #event = new Int32Array(sys.EVENT_WORDS);

  /**
   * @param target A sockaddr_in.
   * @param epoll The interest set that connections join.
   * @param loopback Spread the source addresses over 127/8. Elsewhere the system chooses the one that leads to the target.
   */
  constructor(readonly target: Uint8Array<ArrayBuffer>, readonly epoll: number, loopback: boolean) {
    this.#sources = loopback ? new Sources(Deno.pid) : null;
  }

  /** Opens a connection without waiting for it. Returns its descriptor, or the negative errno. */
  dial(): number {
    const fd = libc.socket(sys.AF_INET, sys.SOCK_STREAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno[0]!;
    const source = this.#sources?.take() ?? 0;
    if (source >= 0 && this.#connect(fd, source)) {
      if (fd >= this.#sourceOf.length) this.#sourceOf = grown(this.#sourceOf, fd);
      this.#sourceOf[fd] = source;
      return fd;
    }
    const failed = source < 0 ? sys.EADDRNOTAVAIL : errno[0]!;
    if (source >= 0) this.#sources?.giveBack(source);
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
    if (libc.connect(fd, this.target, 16) < 0 && errno[0] !== sys.EINPROGRESS) return false;
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
