/**
 * Numbers that code that measures and code that reads results must agree on.
 *
 * @module
 */

/** The number of connections that the problem is named after. */
export const C10K = 10_000;
/** Bytes of a message in `broadcast`, where nobody names others: a line of a chat. */
export const MESSAGE_BYTES = 128;
/** Whether nobody was slow in a broadcast, and messages were of the usual size: else its figures stand beside no others. */
export const isUsualMessage = (
  { slow, message_bytes: bytes = MESSAGE_BYTES }: { slow?: number; message_bytes?: number },
): boolean => slow === undefined && bytes === MESSAGE_BYTES;

/** Share of heavy requests in `mixed`. */
export const HEAVY_SHARE = 0.01;
/** What a heavy request of `mixed` burns, in CPU-µs. */
export const HEAVY_US = 50_000;
/**
 * What light requests wait beside heavy ones is measured at this rate, by these sizes of heavy ones, in CPU-µs, and against
 * this server: one loop, which hands no work over.
 */
export const MIXED = { reference: "epoll", ratePerS: 200, sizesUs: [0, 500, 5000, 50_000] } as const;
/** The same as flags of `compare`. */
export const MIXED_FLAGS = `--scenario mixed --rate ${MIXED.ratePerS} --work ${MIXED.sizesUs.join(",")}`;

/** Requests/s in the scenario `rate` at which all are compared: at half of what each reaches no two are asked alike. */
export const EQUAL_RATE = 10_000;

/** The target of a heavy request. */
export const heavyPath = (us: number = HEAVY_US): string => `/work/${us}`;

/** Seconds of load before a window that is measured, in a full run. */
export const WARMUP_SECONDS = 1;
/** The same in a quick run. */
export const WARMUP_SECONDS_QUICK = 0.5;

/** The heap of an idle server varies by this much between two samples, so a smaller difference shows nothing. */
export const NOISE_BYTES = 2 * 1024 * 1024;

/** Share of the memory available at the start that a run may take. The rest is for the other work of the host. */
export const MEMORY_SHARE = 0.7;

/** The exact 98 % interval of a median needs 7 values, so no figure is shown from fewer rounds. */
export const MIN_ROUNDS = 7;

/** A cell of the faults that is in doubt is measured alone so many times at most. */
export const MAX_ALONE = 3;

/** The probe of a server with the limit of descriptors that most systems start a process with, and how many clients it gets. */
export const DESCRIPTORS = { probe: "descriptors", usual: 1024, clients: 1100 } as const;
/** The probe of a proxy: the size of its worker's table of connections, and how many clients ask at a time. */
export const PROXY = { probe: "proxy", connections: 1000 } as const;
/** The size of the pool in the probe of listings. */
export const POOL_SIZE = 10;

/** The measurement of ten million connections: a command of its own stores its rows, as those of a probe about one server. */
export const CROWD = { probe: "c10m", server: "xdp", connections: 10_000_000, command: "deno task c10m" } as const;
/** The variant of its rows at so many connections. */
export const crowdVariant = (connections: number = CROWD.connections): string => `${connections} connections`;

/** The measurement of servers on more and more cores that is published. */
export const SCALING = {
  servers: ["multi-reactor", "reactor-pool", "prefork", "go-net", "nginx"],
  path: "/work/100",
  command: "deno task scaling",
} as const;

/**
 * So many connections let a server of several loops be judged. SO_REUSEPORT deals connections by a hash: of n loops with m each
 * the busiest has about m × √(2 ln n / m) more than m. With m = 50 log₂ n that is a sixth of m by chance, whatever n is.
 */
export const connectionsFor = (loops: number): number => Math.ceil(50 * loops * Math.log2(loops));

/** The sweep whose capacities and latencies are published. */
export const SWEEP = {
  servers: ["epoll", "event-loop", "go-net", "node-http"],
  slo: "p99=5ms",
  command: "deno task sweep epoll event-loop go-net node-http --slo p99=5ms",
} as const;
