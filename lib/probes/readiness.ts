/**
 * What one call costs that waits for events, while N descriptors are watched and one of them has something to say.
 * Linux only: a module that may run elsewhere imports this one when it is needed, and not before.
 *
 * The descriptors are TCP connections whose other ends another process holds. The result is the CPU time of the calling
 * thread, so that time in which it did not run is not in it.
 *
 * @module
 */
import { delay } from "@std/async";
import { shuffle } from "es-toolkit";
import { MIN_ROUNDS } from "../results/conventions.ts";
import { LoadGenerator } from "../load/generator.ts";
import * as sys from "../load/libc.ts";
import { foreignShare, readClocks } from "../sampling/foreign.ts";
import { medianInterval } from "../timing/stats.ts";
import type { ReadinessRow } from "../results/rows.ts";

const SOMAXCONN = 4096;
const POLLIN = 0x1; // <sys/socket.h>, <poll.h>
const CLOCK_THREAD_CPUTIME_ID = 3; // <time.h>
const EVENTS = 64; // room in the array that epoll_wait(2) fills
const BATCH_US = 4000; // CPU time of one batch of calls: long against the clock's own cost
const WARMUP_BATCHES = 5; // until the code is compiled and the batch has its length

const own = Deno.dlopen("libc.so.6", {
  listen: { parameters: ["i32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
  select: { parameters: ["i32", "buffer", "pointer", "pointer", "buffer"], result: "i32" },
}).symbols;

/** One way to wait. `wait` makes the call alone, `turn` what a loop needs: prepare, call, find who is ready. */
interface Way {
  call: ReadinessRow["call"];
  /** Returns how many descriptors are ready. */
  wait(): number;
  /** Returns the first of them. */
  turn(): number;
}

/** select(2): the kernel overwrites the sets, so they are filled again before each call; and then every bit is looked at. */
function bySelect(descriptors: Int32Array): Way {
  const highest = Math.max(...descriptors);
  const interest = new Int32Array((highest >> 5) + 2);
  const ready = interest.slice();
  for (const fd of descriptors) interest[fd >> 5]! |= 1 << (fd & 31);
  const now = new Int32Array(4); // struct timeval: do not wait
  const wait = () => {
    ready.set(interest);
    return own.select(highest + 1, ready, null, null, now);
  };
  return {
    call: "select",
    wait,
    turn: () => {
      wait();
      for (let word = 0; word < ready.length; word++) {
        const bits = ready[word]!;
        if (bits !== 0) return word * 32 + 31 - Math.clz32(bits & -bits);
      }
      return -1;
    },
  };
}

/** poll(2): an array of struct pollfd { int fd; short events; short revents; }, looked through by kernel and program. */
function byPoll(descriptors: Int32Array): Way {
  const array = new Int32Array(2 * descriptors.length);
  descriptors.forEach((fd, i) => array.set([fd, POLLIN], 2 * i));
  const wait = () => sys.libc.poll(array, descriptors.length, 0);
  return {
    call: "poll",
    wait,
    turn: () => {
      wait();
      for (let i = 0; i < array.length; i += 2) if (array[i + 1]! >>> 16 !== 0) return array[i]!;
      return -1;
    },
  };
}

/** epoll(7): the kernel has the set already, and tells who is ready. */
function byEpoll(descriptors: Int32Array, epoll: number): Way {
  const event = new Int32Array(sys.EVENT_WORDS);
  const events = new Int32Array(EVENTS * sys.EVENT_WORDS);
  for (const fd of descriptors) {
    event[0] = sys.EPOLLIN;
    event[sys.DATA_WORD] = fd;
    sys.must(sys.libc.epoll_ctl(epoll, sys.EPOLL_CTL_ADD, fd, event), "watch a connection");
  }
  const wait = () => sys.libc.epoll_wait(epoll, events, EVENTS, 0);
  return { call: "epoll_wait", wait, turn: () => (wait(), events[sys.DATA_WORD]!) };
}

const clock = new Int32Array(4); // struct timespec; the low words of its two numbers are enough

/** CPU time of this thread in µs. */
function cpuUs(): number {
  sys.libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, clock); // cannot fail: the clock exists everywhere, the buffer is ours
  return clock[0]! * 1e6 + clock[2]! / 1e3;
}

/** Calls in batches of BATCH_US, and takes the cost of one call of each batch. */
class Timer {
  readonly values: number[] = [];
  #calls = 16;
  readonly #call: () => number;

  constructor(call: () => number) {
    this.#call = call;
    for (let i = 0; i < WARMUP_BATCHES; i++) this.#calls = Math.max(1, Math.round(BATCH_US / this.#batch()));
  }

  #batch(): number {
    const start = cpuUs();
    for (let i = 0; i < this.#calls; i++) this.#call();
    return Math.max((cpuUs() - start) / this.#calls, 1e-3);
  }

  measure(): void {
    this.values.push(this.#batch());
  }
}

/** A listener of this process, and the connections that it has accepted. */
class Connections implements Disposable {
  readonly #address = new Uint8Array([sys.AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]); // struct sockaddr_in
  readonly #listener = sys.must(
    sys.libc.socket(sys.AF_INET, sys.SOCK_STREAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0),
    "create a socket",
  );
  readonly #clients: number[] = [];
  readonly accepted: number[] = [];
  #ready: number | null = null;

  constructor() {
    sys.must(sys.libc.bind(this.#listener, this.#address, 16), "bind to a free port");
    sys.must(own.listen(this.#listener, SOMAXCONN), "listen");
    sys.must(own.getsockname(this.#listener, this.#address, new Int32Array([16])), "read the bound port");
  }

  get port(): number {
    return this.#address[2]! << 8 | this.#address[3]!;
  }

  /** Accepts all that wait. */
  accept(): void {
    for (;;) {
      const fd = own.accept4(this.#listener, null, null, sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC);
      if (fd >= 0) this.accepted.push(fd);
      else if (sys.errno[0] === sys.EAGAIN) return;
      else if (sys.errno[0] !== sys.EINTR) sys.must(fd, "accept a connection");
    }
  }

  /** Makes one more, on which a byte has arrived: it is ready until the next one is made. */
  addReady(): number {
    const client = sys.must(sys.libc.socket(sys.AF_INET, sys.SOCK_STREAM | sys.SOCK_CLOEXEC, 0), "create a socket");
    this.#clients.push(client);
    sys.must(sys.libc.connect(client, this.#address, 16), "connect to this process");
    sys.must(sys.libc.send(client, new Uint8Array(1), 1, sys.MSG_NOSIGNAL), "send a byte");
    if (this.#ready !== null) sys.must(sys.libc.recv(this.#ready, new Uint8Array(1), 1, 0), "take the byte before");
    this.accept();
    return this.#ready = this.accepted.at(-1)!;
  }

  [Symbol.dispose](): void {
    for (const fd of [...this.accepted, ...this.#clients, this.#listener]) sys.libc.close(fd);
  }
}

/** How the cost is measured. */
export interface ReadinessPlan {
  /** How many descriptors are watched, one size after the other, ascending. */
  sizes: readonly number[];
  /** Batches of each way at each size, MIN_ROUNDS at least; their number decides the width of the intervals. */
  batches: number;
  onSize?: (size: number) => void;
  /** Ends the run: the rows are those of the sizes until then. */
  signal?: AbortSignal;
}

/**
 * Measures select(2), poll(2) and epoll_wait(2) at each size, in random order. The one descriptor that is ready is the
 * last of those accepted. The interval is that of the median over batches of this one run, 98 %: of how the call varies, and
 * not of how machines do.
 *
 * @throws {RangeError} If there are too few batches.
 * @throws {Error} If the connections cannot be made, or a call does not find the one that is ready.
 */
export async function measureReadiness(plan: ReadinessPlan): Promise<ReadinessRow[]> {
  const { sizes, batches, onSize, signal } = plan;
  if (batches < MIN_ROUNDS) throw new RangeError(`${batches} batches give no interval: take ${MIN_ROUNDS} at least`);
  using connections = new Connections();
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: connections.port });
  const rows: ReadinessRow[] = [];
  for (const size of sizes) {
    onSize?.(size);
    while (connections.accepted.length < size - 1 && !signal?.aborted) {
      const more = Math.min(SOMAXCONN, size - 1 - connections.accepted.length);
      const { connected } = await generator.connect(more); // they wait in the backlog
      if (connected < more) throw new Error(`Cannot watch ${size} connections: ${connected} of ${more} could be made`);
      connections.accept();
    }
    const ready = connections.addReady();
    const before = readClocks();
    const found = await measureAt(Int32Array.from(connections.accepted.slice(-size)), ready, plan);
    if (found === null) break;
    const foreign = foreignShare(before, readClocks());
    rows.push(...found.map((row) => ({ ...row, ...(foreign !== null && { foreign_share: foreign }) })));
  }
  return rows;
}

/** The rows of one size; null if it was interrupted. */
async function measureAt(descriptors: Int32Array, ready: number, plan: ReadinessPlan): Promise<ReadinessRow[] | null> {
  const epoll = sys.must(sys.libc.epoll_create1(0), "create an epoll instance");
  try {
    const ways = [bySelect(descriptors), byPoll(descriptors), byEpoll(descriptors, epoll)];
    const rows = await measureWays(ways, ready, plan);
    return rows?.map((row) => ({ ...row, descriptors: descriptors.length })) ?? null;
  } finally {
    sys.libc.close(epoll);
  }
}

async function measureWays(
  ways: Way[],
  ready: number,
  { batches, signal }: ReadinessPlan,
): Promise<Omit<ReadinessRow, "descriptors">[] | null> {
  const timers = ways.map(({ call, wait, turn }) => {
    if (wait() !== 1 || turn() !== ready) throw new Error(`${call} does not find the one descriptor that is ready`);
    return { wait: new Timer(wait), turn: new Timer(turn) };
  });
  for (let i = 0; i < batches; i++) {
    await delay(0); // signals are heard between two batches: CPU time of this thread does not count what comes between
    if (signal?.aborted) return null;
    for (const timer of shuffle(timers.flatMap(({ wait, turn }) => [wait, turn]))) timer.measure();
  }
  return ways.map(({ call }, i) => {
    const wait = medianInterval(timers[i]!.wait.values);
    const turn = medianInterval(timers[i]!.turn.values);
    return {
      call,
      wait_us: wait.estimate,
      wait_us_low: wait.low!,
      wait_us_high: wait.high!, // MIN_ROUNDS give bounds
      turn_us: turn.estimate,
      turn_us_low: turn.low!,
      turn_us_high: turn.high!,
    };
  });
}
