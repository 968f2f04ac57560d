/**
 * libc for the epoll engine of the load generator: the binding, the clocks and waiting. Linux only: a module
 * that may run elsewhere has to import this one when it is needed, and not before.
 *
 * Lengths are bound as i32 and not as size_t, because a 64-bit parameter takes V8's slow path, which costs a hundred times as much. And
 * each function is called by its own name: one wrapper around several costs more than the call.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ---------------------------------------------------

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000; // <bits/socket_type.h>
export const SOL_SOCKET = 1;
export const SO_ERROR = 4;
export const SO_RCVBUF = 8;
export const SO_LINGER = 13; // <asm-generic/socket.h>
export const IPPROTO_IP = 0;
export const IP_BIND_ADDRESS_NO_PORT = 24;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1; // <linux/in.h>, <linux/tcp.h>
export const MSG_NOSIGNAL = 0x4000;
export const SHUT_WR = 1; // <bits/socket.h>, <sys/socket.h>
export const EINTR = 4;
export const EAGAIN = 11;
export const EADDRNOTAVAIL = 99;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
export const EINPROGRESS = 115; // <asm-generic/errno.h>
export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000; // <sys/epoll.h>
export const EPOLLET = 1 << 31;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
const EPOLL_CLOEXEC = 0o2000000;
const SYS_epoll_pwait2 = 441; // <asm-generic/unistd.h>; new calls have one number everywhere
const POLLIN = 0x1;
export const POLLOUT = 0x4;
const POLLHUP = 0x10; // <poll.h>
const CLOCK_MONOTONIC = 1;
const CLOCK_PROCESS_CPUTIME_ID = 2; // <time.h>
const PR_SET_TIMERSLACK = 29; // <linux/prctl.h>
// struct epoll_event { u32 events; u64 data; } is packed to 12 bytes on x86-64 only; elsewhere data is aligned to 8.
export const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
export const DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;

/** Events taken from the kernel in one call: enough to make the cost of the call vanish. */
const EVENTS = 1024;
const CPU_SET_BYTES = 128; // cpu_set_t of glibc: 1024 CPUs

export const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  syscall: { parameters: ["i32", "i32", "buffer", "i32", "buffer", "pointer"], result: "i32" }, // epoll_pwait2 only
  poll: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
  sched_setaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
}).symbols;

/** errno of this thread, read in place: glibc hands out its address. */
export const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));

/** The name of an errno, such as `ECONNREFUSED`. */
export const errnoName = (number: number): string => getSystemErrorName(-number);

/**
 * Passes the result of a system call on that can only fail if this program is wrong or the system is out of everything.
 *
 * @throws {Error} If it failed, with what was tried and the errno by name.
 */
export function must(result: number, action: string): number {
  if (result < 0) throw new Error(`Cannot ${action}: ${errnoName(errno[0]!)} (${errno[0]})`);
  return result;
}

// ---- Clocks ------------------------------------------------------------------------------------------------------------

// struct timespec in words: i64 seconds, i64 nanoseconds. The low words are enough; Deno runs on little-endian machines only.
const time = new Int32Array(4);

/** Microseconds of CLOCK_MONOTONIC, with a fraction: the same in all processes of a host. The vDSO answers, no system call is made. */
export function clockUs(): number {
  libc.clock_gettime(CLOCK_MONOTONIC, time); // cannot fail: the clock exists everywhere, the buffer is ours
  return time[0]! * 1e6 + time[2]! / 1e3;
}

/** CPU time of this process in µs, all threads together. */
export function ownCpuUs(): number {
  must(libc.clock_gettime(CLOCK_PROCESS_CPUTIME_ID, time), "read the CPU clock");
  return time[0]! * 1e6 + time[2]! / 1e3;
}

// ---- Waiting -----------------------------------------------------------------------------------------------------------

/** Waits for events of one interest set, to the microsecond. */
export class Waiter {
  readonly epoll = must(libc.epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
  /** What `wait` has found: EVENT_WORDS words each, the descriptor in the word DATA_WORD. */
  readonly events = new Int32Array(EVENTS * EVENT_WORDS);
  readonly #timeout = new Int32Array(4); // struct timespec
  #precise: boolean;

  /** @param precise Use epoll_pwait2(2) where there is one: Linux 5.11. */
  constructor(precise = true) {
    // A timer may fire 50 µs late so that several share one wake-up: right for a laptop, wrong for an instrument.
    must(libc.prctl(PR_SET_TIMERSLACK, 1n, 0n, 0n, 0n), "set the timer slack to 1 ns");
    this.#precise = precise && this.#pwait2(0) >= 0;
  }

  #pwait2(us: number): number {
    this.#timeout[2] = us * 1e3;
    return libc.syscall(SYS_epoll_pwait2, this.epoll, this.events, EVENTS, this.#timeout, null);
  }

  /**
   * Returns how many events there are, at once if there are any, else after `us` microseconds at the latest. Below 1 ms it
   * spins where epoll_wait(2), which counts milliseconds, is all there is: that costs a core, but requests leave in time.
   */
  wait(us: number): number {
    const ms = Math.floor(us / 1e3);
    const ready = ms > 0 || !this.#precise ? libc.epoll_wait(this.epoll, this.events, EVENTS, ms) : this.#pwait2(us);
    if (ready >= 0) return ready;
    if (errno[0] !== EINTR) must(ready, "wait for events");
    return 0;
  }

  /** Returns how many events there are at this moment, and does not wait. */
  look(): number {
    const ready = libc.epoll_wait(this.epoll, this.events, EVENTS, 0);
    if (ready >= 0) return ready;
    if (errno[0] !== EINTR) must(ready, "look for events");
    return 0;
  }
}

const stdin = new Int32Array([0, POLLIN]); // struct pollfd { int fd; short events; short revents; }

/** True once nobody holds the other end of stdin any more: then the parent is gone, whatever happened to it. */
export function parentGone(): boolean {
  must(libc.poll(stdin, 1, 0), "poll stdin");
  return (stdin[1]! >>> 16 & POLLHUP) !== 0;
}

/**
 * Pins the calling thread, and those it starts from now on, to one core.
 *
 * @throws {Error} If there is no such core, or it is not allowed to this process.
 */
export function pinTo(cpu: number): void {
  const mask = new Uint8Array(CPU_SET_BYTES);
  mask[cpu >> 3] = 1 << (cpu & 7);
  must(libc.sched_setaffinity(0, BigInt(CPU_SET_BYTES), mask), `pin the load generator to core ${cpu}`);
}
