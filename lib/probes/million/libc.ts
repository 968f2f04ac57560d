/**
 * The system calls of the client of the probe `million`. Opens libc of Linux as it loads: only the worker imports it.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";

const AF_INET = 2; // <bits/socket.h>
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_FAILED = 2 ** 64; // <sys/mman.h>
const EFD_FLAGS = 0o4000 | 0o2000000; // EFD_NONBLOCK, EFD_CLOEXEC, <sys/eventfd.h>
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const EPOLLET = 1 << 31; // <sys/epoll.h>
const EINTR = 4;
const EBUSY = 16; // <asm-generic/errno-base.h>
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9; // <linux/prctl.h>, <asm-generic/signal.h>
const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427; // <asm-generic/unistd.h>
// struct epoll_event { u32 events; u64 data; } is packed to 12 bytes on x86-64 only; elsewhere data is aligned to 8.
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
const DATA_WORD = Deno.build.arch === "x86_64" ? 1 : 2;

const EVENTS = 64; // events taken from the kernel in one call; the rest wait for the next

// Lengths are bound as i32, not as size_t: a 64-bit parameter takes V8's slow path.
const libc = Deno.dlopen("libc.so.6", {
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  prctl: { parameters: ["i32", "usize"], result: "i32" },
  io_uring_setup: { name: "syscall", parameters: ["i32", "u32", "buffer"], result: "i32" },
  io_uring_register: { name: "syscall", parameters: ["i32", "i32", "u32", "buffer", "u32"], result: "i32" },
  // The last argument goes over the stack, where an i32 would have garbage above it: so usize.
  io_uring_enter: {
    name: "syscall",
    parameters: ["i32", "i32", "u32", "u32", "u32", "pointer", "usize"],
    result: "i32",
  },
  __errno_location: { parameters: [], result: "pointer" },
}).symbols;

/** errno of this thread, read in place: glibc hands out its address. */
const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));

/** What the kernel says by a negative result, such as `ECONNRESET`. */
export const errorName = (result: number): string => getSystemErrorName(result);

/**
 * Passes the result of a system call on.
 *
 * @throws {Error} If it failed: what was tried, and the errno by name and number.
 */
export function must(result: number, action: string): number {
  if (result >= 0) return result;
  throw new Error(`Cannot ${action}: ${errorName(-errno[0]!)} (${errno[0]})`);
}

/** Ends this process as soon as the one that started it has ended, however that came about. */
export function dieWithParent(): void {
  must(libc.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL)), "ask for SIGKILL at the end of the parent process");
}

/** Memory that stays where it is, because the kernel uses it while JavaScript runs; of a descriptor, if one is given. */
export function map(length: number, fd = -1, offset = 0n): { memory: ArrayBuffer; address: number } {
  const flags = fd < 0 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED;
  const pointer = libc.mmap(null, BigInt(length), PROT_READ_WRITE, flags, fd, offset)!;
  const address = Number(Deno.UnsafePointer.value(pointer));
  must(address === MAP_FAILED ? -1 : 0, `map ${length} bytes`);
  return { memory: Deno.UnsafePointerView.getArrayBuffer(pointer, length), address };
}

/**
 * struct sockaddr_in that a ring connects to. Each ring has an address of its own, and so its own 28 000 ports for this
 * end: the server listens on all of them.
 */
export const addressOf = (ring: number, port: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.of(AF_INET, 0, port >> 8, port & 255, 127, 77, ring, 1, 0, 0, 0, 0, 0, 0, 0, 0);

/** A descriptor that counts what the kernel has to tell. */
export const newEventfd = (): number => must(libc.eventfd(0, EFD_FLAGS), "create an eventfd");

/** io_uring_setup(2): `params` is struct io_uring_params. Returns the ring's descriptor. */
export const setUp = (entries: number, params: Int32Array<ArrayBuffer>): number =>
  must(libc.io_uring_setup(SYS_IO_URING_SETUP, entries, params), "set up an io_uring");

/** io_uring_register(2). */
export function register(
  ring: number,
  what: number,
  args: Int32Array<ArrayBuffer>,
  count: number,
  action: string,
): void {
  must(libc.io_uring_register(SYS_IO_URING_REGISTER, ring, what, args, count), action);
}

/**
 * io_uring_enter(2), which waits for nothing.
 *
 * @returns How many submissions were taken; the rest stay for the next call.
 */
export function enter(ring: number, submissions: number, flags: number): number {
  for (;;) {
    const taken = libc.io_uring_enter(SYS_IO_URING_ENTER, ring, submissions, 0, flags, null, 0n);
    if (taken >= 0) return taken;
    if (errno[0] === EBUSY) return 0; // the caller has to take completions first
    if (errno[0] !== EINTR) must(taken, "enter an io_uring");
  }
}

/** Waits for several descriptors at a time. */
export class Poller {
  readonly #epoll = must(libc.epoll_create1(EPOLL_CLOEXEC), "create an epoll instance");
  readonly #events = new Int32Array(EVENTS * EVENT_WORDS);

  /** Watches a descriptor; `mark` is what {@linkcode Poller.wait} gives for it. */
  add(fd: number, mark: number, options: { edge: boolean }): void {
    const event = new Int32Array(EVENT_WORDS);
    event[0] = options.edge ? EPOLLIN | EPOLLET : EPOLLIN;
    event[DATA_WORD] = mark;
    must(libc.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, event), `watch descriptor ${fd}`);
  }

  /** The marks of those that have something to tell; none if `ms` have passed. -1: as long as it takes. */
  wait(ms: number): number[] {
    const ready = libc.epoll_wait(this.#epoll, this.#events, EVENTS, ms);
    if (ready < 0 && errno[0] !== EINTR) must(ready, "wait for events");
    return Array.from({ length: Math.max(0, ready) }, (_, i) => this.#events[i * EVENT_WORDS + DATA_WORD]!);
  }
}
