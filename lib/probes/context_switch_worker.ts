/**
 * One of the two threads of the probe `context-switch`: it waits for the other, and wakes it. A Worker, started by
 * context_switch.ts, which sends one message and gets one. Linux only.
 *
 * @module
 */

/** What one of the two has to do. */
export interface Turns {
  kind: "pipe" | "futex";
  begins: boolean;
  cpu: number;
  /** Whether the turns are timed by CPU time: on one core, where one of the two always runs. Else by the wall clock. */
  byCpuTime: boolean;
  /** Round trips that are not measured, and round trips that are. */
  warmup: number;
  rounds: number;
  /** The descriptors that it reads and writes. */
  read: number;
  write: number;
  /** The address of the word on which both wait. */
  word: bigint;
}

/** What it answers. */
export interface Turned {
  /** µs of a turn: by the wall clock of the whole round trip, by CPU time of this thread's share of it. */
  turnUs: number;
  /** µs of the two system calls of a turn where nobody waits; of the thread that begins. */
  callsUs: number;
}

const CPU_SET_BYTES = 128; // cpu_set_t of glibc: 1024 CPUs
const SYS_futex = Deno.build.arch === "x86_64" ? 202 : 98; // <asm/unistd.h>
const FUTEX_WAIT_PRIVATE = 128;
const FUTEX_WAKE_PRIVATE = 129; // <linux/futex.h>
const EINTR = 4;
const EAGAIN = 11; // <asm-generic/errno-base.h>
const CLOCK_THREAD_CPUTIME_ID = 3; // <time.h>
const PATIENCE_S = 10n; // so long a thread waits for the other before it holds it to be dead

const libc = Deno.dlopen("libc.so.6", {
  read: { parameters: ["i32", "buffer", "i32"], result: "i32" }, // lengths as i32: size_t takes V8's slow path
  write: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  syscall: { parameters: ["i32", "pointer", "i32", "i32", "buffer"], result: "i32" }, // futex only
  sched_setaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
}).symbols;
const byte = new Uint8Array(1);

/** errno of this thread, read in place: glibc hands out its address. */
const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));

function fail(action: string): never {
  throw new Error(`Cannot ${action}: errno ${errno[0]}`);
}

/** Waits for a byte of the other thread. Where the pipe has ended, so has the other. */
function take(fd: number): void {
  for (;;) {
    const got = libc.read(fd, byte, 1);
    if (got === 1) return;
    if (got === 0 || errno[0] !== EINTR) fail("read from a pipe");
  }
}

function give(fd: number): void {
  if (libc.write(fd, byte, 1) !== 1) fail("write to a pipe");
}

/** What both kinds have: a turn of the one that begins, a turn of the other, and the calls of a turn without a wait. */
interface Ways {
  ping(): void;
  pong(): void;
  calls(): void;
}

/** A pipe each way: write(2) wakes, read(2) waits. `calls` uses a pipe that nobody else knows. */
function byPipe({ read, write }: Turns, own: Int32Array): Ways {
  return {
    ping: () => (give(write), take(read)),
    pong: () => (take(read), give(write)),
    calls: () => (give(own[1]!), take(own[0]!)),
  };
}

/** One word of memory: 1 is the turn of the second, 0 that of the first. */
function byFutex({ word }: Turns): Ways {
  const address = Deno.UnsafePointer.create(word);
  const patience = new BigInt64Array([PATIENCE_S, 0n]); // struct timespec
  const turn = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(address!, 4));
  const hand = (to: number) => {
    Atomics.store(turn, 0, to);
    if (libc.syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, 1, patience) < 0) fail("wake a thread");
  };
  const wait = (whileIs: number) => {
    while (Atomics.load(turn, 0) === whileIs) {
      const woken = libc.syscall(SYS_futex, address, FUTEX_WAIT_PRIVATE, whileIs, patience);
      if (woken < 0 && errno[0] !== EAGAIN && errno[0] !== EINTR) fail("wait for a thread");
    }
  };
  return {
    ping: () => (hand(1), wait(1)),
    pong: () => (wait(0), hand(0)),
    calls: () => { // nobody is there to be woken, and the value is not the one to wait for
      hand(0);
      libc.syscall(SYS_futex, address, FUTEX_WAIT_PRIVATE, 1, patience);
    },
  };
}

/** µs of one of `rounds` calls, by a clock that counts µs. */
function timed(rounds: number, clockUs: () => number, call: () => void): number {
  const start = clockUs();
  for (let i = 0; i < rounds; i++) call();
  return (clockUs() - start) / rounds;
}

const wallUs = () => performance.now() * 1000;
const time = new BigInt64Array(2); // struct timespec

/** CPU time of this thread: time in which the thread does not run is not in it. */
function cpuUs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, time); // cannot fail: the clock exists everywhere, the buffer is ours
  return Number(time[0]) * 1e6 + Number(time[1]) / 1e3;
}

function run(turns: Turns): Turned {
  const { kind, begins, cpu, byCpuTime, warmup, rounds } = turns;
  const mask = new Uint8Array(CPU_SET_BYTES);
  const own = new Int32Array(2);
  mask[cpu >> 3] = 1 << (cpu & 7);
  if (libc.sched_setaffinity(0, BigInt(CPU_SET_BYTES), mask) < 0) fail(`pin a thread to core ${cpu}`); // 0: this thread
  if (libc.pipe2(own, 0) < 0) fail("make a pipe");
  const { ping, pong, calls } = kind === "pipe" ? byPipe(turns, own) : byFutex(turns);
  const turn = begins ? ping : pong;
  const clock = byCpuTime ? cpuUs : wallUs;
  timed(warmup, clock, turn);
  const turnUs = timed(rounds, clock, turn);
  // The other one waits for nothing any more: it ends, and may take the core for that. So CPU time.
  if (begins) timed(warmup, cpuUs, calls);
  const callsUs = begins ? timed(rounds, cpuUs, calls) : 0;
  for (const fd of own) libc.close(fd);
  return { turnUs, callsUs };
}

addEventListener("message", (event) => {
  const turned = run((event as MessageEvent<Turns>).data);
  (self as unknown as Worker).postMessage(turned);
  close(); // of the Worker
});
