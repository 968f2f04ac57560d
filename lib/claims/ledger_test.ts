import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { findProbe } from "../probes/mod.ts";
import type { Found } from "../results/findings.ts";
import type { Metrics } from "../results/results.ts";
import { type Verdict, VERDICTS } from "./claim.ts";
import { Evidence, NotMeasured } from "./evidence.ts";
import { judgeClaim, LEDGER } from "./ledger.ts";
import {
  by,
  call,
  compared,
  counted,
  exists,
  found,
  held,
  heldQuickly,
  loaded,
  on,
  overWire,
  type Piece,
  probed,
  run,
  scaled,
  storedOf,
} from "../testing/fixtures.ts";

const IDS = `T-stack T-switch T-sched T-select T-poll T-epoll T-kqueue T-latency T-c10k T-reactor-pool T-multi-reactor
  T-guide T-realtime T-uring T-xdp C-80gb C-process C-thread-2000 C-idle-cpu C-bandwidth C-prefork-100 C-pool-100 C-100x C-asyncio
  C-nginx C-node C-goroutine C-tokio C-uring-2x C-uring-fanout C-c10m C-c1m C-websocket C-tuning C-nodelay C-pooling C-metrics C-nio C-netty C-iocp
  C-dont C-proxy-40k C-beam C-pool-deadlock C-listing-select C-listing-length C-listing-sleep
  C-dont-default`.split(/\s+/);

/** Characters of what a sceptic says of a rule: one sentence or two. */
const MAX_SCEPTIC = 260;

const claimOf = (id: string) => LEDGER.find((claim) => claim.id === id)!;
const verdict = (id: string, ...pieces: Piece[]) => judgeClaim(claimOf(id), storedOf(...pieces)).row.verdict;

const threads = (reserved: number, touched: number, worker = touched): Piece[] => [
  ...["c-threads", "c-threads 8 MiB", "python-threads", "java-threads"].flatMap((name) => [
    probed("thread-memory", name, "virtual_bytes_per_thread", reserved),
    probed("thread-memory", name, "pss_bytes_per_thread", touched),
  ]),
  probed("thread-memory", "thread-per-conn", "pss_bytes_per_thread", worker),
];
/** What the kernel holds for each thread or process, half of it as its stack. */
const inKernel = (kind: "thread" | "process", names: readonly string[], size: number): Piece[] =>
  names.flatMap((name) =>
    ["kernel_stack", "page_table"].map((what) => probed(`${kind}-memory`, name, `${what}_bytes_per_${kind}`, size / 2))
  );
const switches = (one: number, two: number): Piece[] => [
  probed("context-switch", "pipe one-core", "switch_us", one),
  probed("context-switch", "pipe two-cores", "switch_us", two),
];
/** What a request costs over 10 connections and over 1 000, with threads and in a loop; null: the loop is missing. */
const sizes = (few: number, many: number, loop: [number, number] | null = [10, 10]): Piece[] =>
  [["c-threads", few, many] as const, ...(loop === null ? [] : [["epoll", ...loop] as const])]
    .flatMap(([server, from, to]) => [
      probed("thread-count", `${server} 1000`, "cpu_us_per_request", to),
      probed("thread-count", `${server} 10`, "cpu_us_per_request", from),
    ]);
/** The server select, which held so many and has no bit for the others. */
const bitless = (answered: number): Piece =>
  stopped("select", answered, "1 001 of 2 000 connections got no answer; the server counted 1 001 FD_SETSIZE");
const growing = (name: "select" | "poll" | "epoll_wait", from: number, to: number): Piece[] => [
  ...[[10, from], [1000, from], [10_000, to], [100, from]].map(([descriptors, us]) => call(name, descriptors!, us!)),
];
/** The last run ended for this reason. */
const endedBy = (reason: string): Piece => ({ results }) => void Object.assign(results.at(-1)!, { reason });
const LITTLE_MEMORY = "stopped at 4 000 of 10 000: memory, 6 MiB per connection";
/** Each run ended for this reason. */
const ended = (pieces: Piece[], reason: string): Piece[] => pieces.flatMap((piece) => [piece, endedBy(reason)]);
const kinds = (worker: number, c: number, memory: Partial<Metrics> = {}): Piece[] => [
  held("thread-per-conn", worker, memory),
  ...["c-threads", "python-threads", "java-threads"].map((name) => held(name, c, memory)),
];
const mixed = (metric: string, of: string, ratio: number, to = "epoll"): Piece =>
  compared(["mixed", 100, metric], [of, to], [ratio, ratio * 0.9, ratio * 1.1]);
/** The median latency at the rate at which all are compared. */
const median = (ratio: number, findings: Found[] = []): Piece =>
  compared(["rate", 100, "p50_us"], ["c-threads", "c-epoll"], [ratio, ratio * 0.98, ratio * 1.02], { findings });
/** Threads against a loop at 100 and at 1 000 connections, and beside heavy requests against a loop with a pool. */
const threadsCost = (few: number, many: number, wait: number): Piece[] => [
  cpu("c-threads", "c-epoll", few),
  cpu("c-threads", "c-epoll", many, 1000),
  mixed("p99_us", "thread-per-conn", wait, "reactor-pool"),
];
const cpu = (of: string, to: string, ratio: number, connections = 100): Piece =>
  compared(["throughput", connections, "cpu_us_per_request"], [of, to], [ratio, ratio * 0.98, ratio * 1.02]);
const cores = (of: string, to: string, at100: number, at1000 = at100): Piece[] =>
  ["core_us_per_request", "cpu_us_per_request"].flatMap((metric) =>
    ([[100, at100], [1000, at1000]] as const).map(([connections, ratio]) =>
      overWire(compared(["throughput", connections, metric], [of, to], [ratio, ratio * 0.98, ratio * 1.02]))
    )
  );
const skipped = (name: string, reason: string): Piece => (into) => {
  held(name, 0)(into);
  Object.assign(into.results.at(-1)!, { ended: "skipped", reason: `${reason}.` });
};
const crowd = (asked: number, held: number, lost: number, answered = 2 * asked): Piece[] =>
  Object.entries({ held, answered, lost, server_bytes_per_connection: 20 }).map(([metric, value]) =>
    probed("c10m", `${asked} connections`, metric, value)
  );
const tail = (of: string, low: number, high: number, findings: Found[] = []): Piece =>
  compared(["rate", 100, "p99_us"], [of, "c-epoll"], [(low + high) / 2, low, high], { findings });
/** A comparison in which the load generator was at its limit beside one of the two. */
const limited = (piece: Piece, server: string): Piece => (into) => {
  piece(into);
  into.rows.comparison.at(-1)!.findings = [found(server, "client_bound")];
};
const calls = (ring: number, loop: number): Piece[] =>
  [["io-uring", ring], ["c-io-uring", ring], ["epoll", loop], ["c-epoll", loop]].flatMap(([name, value]) =>
    ["", " at 40 000/s"].map((load) =>
      probed("system-calls", `${name}${load}`, "system_calls_per_request", Number(value))
    )
  );
/** A speed-up on four cores, and the shares of the loops there. */
const OF_FOUR: [[number, number, number], number[]] = [[3.4, 3.2, 3.6], [0.26, 0.25, 0.25, 0.24]];
const spread = (share: number, at100 = share): Piece[] =>
  [["10", 0.8], ["100", at100], ["1000", share]].flatMap(([variant, value]) => [
    probed("loops", String(variant), "largest_share_of_connections", Number(value)),
    probed("loops", String(variant), "largest_share_of_requests", Number(value)),
  ]);
const processes = (size: number, pageTables = 0): Piece[] =>
  ["process-per-conn", "prefork", "apache-prefork", "python-prefork"].flatMap((name) => [
    probed("process-memory", name, "pss_bytes_per_process", size),
    ...(pageTables > 0 ? [probed("process-memory", name, "page_table_bytes_per_process", pageTables)] : []),
  ]);
const waiting = (rest: number, busy: number): Piece[] =>
  ["prefork", "thread-per-conn"].flatMap((name) => [
    probed("idle-cpu", name, "cpu_percent", rest),
    probed("idle-cpu", name, "cpu_percent_at_rate", rest + 3),
    loaded(name, { requests_per_s: 10_000, cpu_us_per_request: busy }),
  ]);
const moved = (bytes: number): Piece[] => [
  probed("bandwidth", "epoll 10000", "bytes_per_s", bytes),
  probed("bandwidth", "epoll 10000", "bytes_per_s_per_conn", bytes / 1e4),
];
const preforked = (waits: number, memory: number): Piece[] => [
  probed("queue", "prefork 100", "answered", 100),
  probed("queue", "prefork 101", "waiting", waits),
  probed("queue", "prefork 100", "pss_bytes", memory),
];
const pooled = (answered: number): Piece[] => [
  probed("queue", "worker-pool 10000", "answered", answered),
  probed("queue", "worker-pool 10000", "waiting", 10_000 - answered),
];
const inPairs = (metric: string, of: string, to: string, ratio: number): Piece =>
  compared(["hold", 10_000, metric], [of, to], [ratio, ratio * 0.95, ratio * 1.05]);
const each = (user: number): Partial<Metrics> => ({ user_bytes_per_conn: user, kernel_bytes_per_conn: 4000 });
const epollEach = held("epoll", 10_000, each(100));
const queues = (short: number, long: number): Piece[] => [
  probed("backlog", "128", "completed", short),
  probed("backlog", "4096", "completed", long),
];
const optioned = (without: number, large: number): Piece[] => [
  probed("socket-options", "no-nodelay", "p50_us_ratio", without),
  probed("socket-options", "large-buffers", "p50_us_ratio", large),
];
const fresh = (work: number, wait: number): Piece[] => [
  probed("pooling", "fresh / pooled", "cpu_us_per_request_ratio", work),
  probed("pooling", "fresh / pooled", "p50_us_ratio", wait),
];
const listed = (variant: string, figures: Record<string, number>): Piece[] =>
  Object.entries(figures).map(([metric, value]) => probed("listings", variant, metric, value));
const filled = (released: number, acquired = released + 1): Piece[] => [
  ...listed("pool, lock held", { released, acquired, waited_s: 1 }),
  ...listed("pool, condition", { released: 10, acquired: 11 }),
];
const late = (small: number, large: number): Piece[] =>
  [["1 MiB", small], ["16 MiB", large]].flatMap(([size, lost]) => [
    ...listed(`late reader ${size}, sendall`, { lost_bytes: Number(lost) }),
    ...listed(`late reader ${size}, rest kept`, { lost_bytes: 0 }),
  ]);
const lengthless = (loop: number, process: number): Piece[] =>
  [["epoll", loop], ["prefork", process]].flatMap(([name, answered]) =>
    listed(`${name}, no length`, { requests: 3, answered: Number(answered), connects: 3, longest_s: 0.5 })
  );
const proxied = (answered: number | null): Piece => probed("proxy", "1000", "answered", answered);
/** A run of `hold` that ended for a reason, with so much memory for each connection. */
const stopped =
  (name: string, answered: number, reason: string | null, each: number | null = 1000): Piece => (into) => {
    held(name, answered, { pss_bytes: each === null ? null : each * answered })(into);
    Object.assign(into.results.at(-1)!, { reason });
  };
/** How many of 1 100 clients a server answers with the limit of descriptors that most systems start a process with. */
const usual = (answered: number | null = 1001): Piece => probed("descriptors", "1024", "answered", answered);
const architectures = (worker: number, reason: string | null = null, each = 1000): Piece[] => [
  ...["epoll", "io-uring", "c-threads"].map((name) => held(name, 10_000)),
  stopped("thread-per-conn", worker, reason, each),
];
const slept = (seconds: number): Piece[] => [
  ...listed("clients, sleep", { took_s: seconds }),
  ...listed("clients, no sleep", { took_s: 0.03 }),
];
const memory = (name: string, bytes: number, more: Partial<Metrics> = {}): Piece =>
  held(name, 10_000, { pss_bytes: bytes, ...more });

const delivery = (metric: string, of: string, ratio: number, listeners: number, findings: Found[] = []): Piece =>
  compared(["broadcast", listeners, metric], [of, "ws-epoll"], [ratio, ratio * 0.97, ratio * 1.03], { findings });
const fannedOut = (few: number, many = few): Piece[] =>
  [100, 1000, 10_000].map((size) => delivery("cpu_us_per_delivery", "ws-io-uring", size === 100 ? few : many, size));
const told = (name: string, share: number, metrics: Partial<Metrics> = {}, slow?: number): Piece =>
  run(name, "broadcast", { connections: 10_000, ...(slow !== undefined && { slow }) }, {
    connections: 10_000,
    delivered_share: share,
    ...metrics,
  });
const threaded = (cpu: number, last: number, share: number): Piece[] => [
  delivery("cpu_us_per_delivery", "ws-threads", cpu, 1000),
  delivery("last_p50_us", "ws-threads", last, 1000),
  told("ws-epoll", share),
];

/** Figures that bring each verdict about: of each claim all that its rule can reach, but that nothing is measured. */
const CASES: Record<string, [Verdict, Piece[]][]> = {
  "T-stack": [
    ["holds", threads(1.05e6, 0.9e6)],
    ["does not hold", threads(0.1e6, 0.02e6)],
    ["does not hold", threads(8e6, 0.02e6, 6e6)],
    ["does not hold", threads(8e6, 0.3e6)],
    ["does not hold", threads(8e6, 0.5e6)], // the memory may be either
    ["open", threads(2e6, 0.5e6)],
    ["does not hold", threads(8e6, 3e6)],
    ["holds in part", threads(1.05e6, 0.02e6)],
    ["holds in part", threads(8e6, 0.9e6)],
    ["holds", [
      ...threads(1.05e6, 0.3e6),
      ...inKernel("thread", ["c-threads", "python-threads", "java-threads"], 0.4e6),
    ]],
    ["open", [
      ...["c-threads", "python-threads", "java-threads"].map((name) =>
        probed("thread-memory", name, "virtual_bytes_per_thread", null)
      ),
    ]],
  ],
  "T-switch": [
    ["holds", switches(6, 30)],
    ["does not hold", switches(1.5, 8)],
    ["does not hold", [on({ cores: 1 }), probed("context-switch", "pipe one-core", "switch_us", 1.5)]],
    ["open", switches(5, 5)],
  ],
  "T-sched": [
    ["holds", sizes(10, 25)],
    ["open", sizes(10, 11)],
    ["open", sizes(10, 15)],
    ["open", sizes(10, 25, [10, 20])],
    ["holds", sizes(10, 50, [10, 20])],
    ["open", sizes(10, 25, null)],
    ["not measured yet", sizes(10, 25).slice(1)],
  ],
  "T-select": [
    ["holds", [bitless(999), ...growing("select", 100, 1000)]],
    ["does not hold", [held("select", 10_000), ...growing("select", 100, 120)]],
    ["does not hold", [held("select", 1024), ...growing("select", 100, 120)]],
    ["holds in part", [bitless(999), ...growing("select", 100, 120)]],
    ["holds in part", [held("select", 10_000), ...growing("select", 100, 1000)]],
    ["open", [stopped("select", 900, "descriptors, the limit is 1 000 a process."), ...growing("select", 100, 300)]],
    ["open", [held("select", 900), ...growing("select", 100, 300)]], // it broke, and not at the end of fd_set
    ["not measured yet", [bitless(999)]],
  ],
  "T-poll": [
    ["holds", [held("poll", 10_000), ...growing("poll", 100, 1000)]],
    ["does not hold", [held("poll", 1000), ...growing("poll", 100, 120)]],
    ["holds in part", [held("poll", 10_000), ...growing("poll", 100, 300)]],
    ["open", [stopped("poll", 900, "descriptors, the limit is 1 000 a process."), ...growing("poll", 100, 300)]],
    ["open", [
      stopped("poll", 900, "stopped at 900 of 10 000: memory, 4 KiB per connection"),
      ...growing("poll", 100, 300),
    ]],
  ],
  "T-epoll": [
    ["holds", [held("epoll", 10_000), held("epoll-edge", 10_000), ...growing("epoll_wait", 0.6, 0.7)]],
    ["does not hold", [held("epoll", 9), held("epoll-edge", 9), ...growing("epoll_wait", 0.6, 600)]],
    ["holds in part", [held("epoll", 10_000), held("epoll-edge", 9), ...growing("epoll_wait", 0.6, 0.7)]],
    ["open", [
      stopped("epoll", 936, "descriptors, limit 1 000 per process"),
      stopped("epoll-edge", 900, "stopped at 900 of 10 000: time, 30.0 connections/s for 30 s"),
      ...growing("epoll_wait", 0.6, 1.2),
    ]],
  ],
  "T-kqueue": [
    ["open", []],
    ["open", [on({ os: "darwin" }), held("kqueue", 10_000)]],
    ["does not hold", [on({ os: "freebsd" }), held("kqueue", 1000)]],
    ["open", [on({ os: "darwin" }), stopped("kqueue", 192, "descriptors, limit 256 per process")]],
  ],
  "T-latency": [
    [
      "holds in part",
      [mixed("p99_us", "thread-per-conn", 0.03), median(1.4)],
    ],
    [
      "does not hold",
      [mixed("p99_us", "thread-per-conn", 1.5), median(1)],
    ],
    [
      "holds in part",
      [mixed("p99_us", "thread-per-conn", 0.03), median(1)],
    ],
    ["open", [mixed("p99_us", "thread-per-conn", 0.6), median(1)]], // as long as in a loop
    ["does not hold", [mixed("p99_us", "thread-per-conn", 0.6), median(0.8)]],
    ["open", [mixed("p99_us", "thread-per-conn", 0.6), median(1.4, [found("c-epoll", "client_bound")])]],
    ["not measured yet", [
      mixed("p99_us", "thread-per-conn", 0.03),
      compared(["rate", 100, "p50_us"], ["c-threads", "c-epoll"], [1.4, 1.3, 1.5], { rate_per_s: 40_000 }),
    ]],
  ],
  "T-c10k": [
    ["holds in part", ended(kinds(1600, 4000), LITTLE_MEMORY)],
    ["holds in part", ended(kinds(1600, 4000), "processes and threads, 1 per connection, limit 4 100 (pids.max)")],
    ["open", kinds(1600, 4000)], // they broke, and nothing is known to have run out
    ["open", [
      ...ended(kinds(1600, 4000).slice(0, 1), "memory mappings, limit 65 530 per process (vm.max_map_count)"),
      ...["c-threads", "python-threads", "java-threads"].map((name) => skipped(name, "its compiler is missing")),
    ]],
    ["does not hold", kinds(10_000, 10_000)],
    ["does not hold", kinds(1600, 10_000)],
    ["holds in part", [
      ...ended(
        kinds(1600, 4000).slice(0, -1),
        "6 000 of 10 000 connections got no answer; the server counted 9 EAGAIN",
      ),
      stopped("java-threads", 4000, "stopped at 4 000 of 10 000: descriptors, limit 4 064 per process"),
    ]],
    ...[
      "stopped at 5 000 of 10 000: time, 40.0 connections/s for 120 s",
      "200 of 5 200 connections found no free port at this end: widen net.ipv4.ip_local_port_range",
    ].map((reason): [Verdict, Piece[]] => [
      "open",
      [...ended(kinds(1600, 4000).slice(0, -1), LITTLE_MEMORY), stopped("java-threads", 5000, reason)],
    ]),
  ],
  "T-reactor-pool": [
    [
      "holds in part",
      [mixed("p99_us", "reactor-pool", 0.02), cpu("reactor-pool", "epoll", 1)],
    ],
    [
      "does not hold",
      [mixed("p99_us", "reactor-pool", 1.4), cpu("reactor-pool", "epoll", 2)],
    ],
    [
      "holds in part",
      [mixed("p99_us", "reactor-pool", 0.02), cpu("reactor-pool", "epoll", 1.4)],
    ],
  ],
  "T-multi-reactor": [
    ["holds in part", spread(0.52)],
    ["does not hold", spread(0.8)],
    ["holds in part", spread(0.52, 0.8)],
    ["holds", [...spread(0.52), scaled("multi-reactor", [1.8, 1.7, 1.9], [0.52, 0.48])]],
    ["holds", [...spread(0.52), scaled("multi-reactor", ...OF_FOUR, false)]],
    ["holds", [...spread(0.52), scaled("multi-reactor", [1.02, 0.99, 1.05], [0.52, 0.48], false)]], // a gain decides nothing
    ["holds in part", [...spread(0.52), scaled("multi-reactor", [1.8, 1.7, 1.9], [0.57, 0.43])]], // open: within the margin
    ["holds in part", [...spread(0.52), scaled("multi-reactor", [1.8, 1.7, 1.9], [0.7, 0.3])]],
    ["does not hold", [...spread(0.8), scaled("multi-reactor", [1.02, 0.99, 1.05], [0.9, 0.1])]],
    ["holds in part", [...spread(0.8), scaled("multi-reactor", ...OF_FOUR, false)]],
    ["does not hold", [...spread(0.8), scaled("multi-reactor", ...OF_FOUR, false, { connections: 100 })]], // too few
  ],
  "T-guide": [
    [
      "open",
      [cpu("c-threads", "c-epoll", 1), cpu("c-threads", "c-epoll", 2, 1000)]
        .concat(mixed("p99_us", "thread-per-conn", 0.03)),
    ],
    [
      "does not hold",
      [cpu("c-threads", "c-epoll", 2), cpu("c-threads", "c-epoll", 0.9, 1000)]
        .concat(mixed("p99_us", "thread-per-conn", 1.5)),
    ],
    [
      "open",
      [cpu("c-threads", "c-epoll", 2), cpu("c-threads", "c-epoll", 0.9, 1000)]
        .concat(mixed("p99_us", "thread-per-conn", 0.03)),
    ],
  ],
  "T-realtime": [
    ["holds", threaded(1.5, 2, 1)],
    ["does not hold", threaded(0.8, 1, 0.9)],
    ["holds in part", threaded(1, 1, 1)], // as much is open
    ["holds in part", threaded(1.5, 1, 1)],
    ["holds in part", threaded(0.8, 2, 0.99)],
    ["holds in part", [...threaded(1.5, 2, 1).slice(0, 2), told("ws-epoll", 1, { connections: 4000 })]], // too few
    ["not measured yet", threaded(1.5, 2, 1).slice(0, 2)],
    ["not measured yet", [...threaded(1.5, 2, 1).slice(0, 2), told("ws-epoll", 1, {}, 100)]],
  ],
  "T-uring": [["holds", calls(0.1, 2)], ["does not hold", calls(4, 2)], ["open", calls(1.5, 2)]],
  "T-xdp": [
    ["open", []],
    ["open", [skipped("xdp", "network namespaces need root")]],
    ["not measured yet", [exists("xdp"), cpu("xdp", "c-epoll", 0.5)]],
    ["not measured yet", [exists("xdp"), ...cores("xdp", "epoll", 0.5)]],
    ["holds", [exists("xdp"), ...cores("xdp", "c-epoll", 0.73)]],
    ["open", [exists("xdp"), ...cores("xdp", "c-epoll", 1.2)]],
    ["open", [exists("xdp"), ...cores("xdp", "c-epoll", 0.9)]],
    ["holds in part", [exists("xdp"), ...cores("xdp", "c-epoll", 0.7, 1.2)]],
  ],
  "C-80gb": [
    ["holds", [...threads(8.4e6, 1), memory("c-threads", 80e9)]],
    ["does not hold", [...threads(0.1e6, 1), memory("c-threads", 2e8)]],
    ["does not hold", [...threads(8.4e6, 1), memory("c-threads", 2e8)]],
    ["does not hold", [...threads(8.4e6, 1), memory("c-threads", 1e10)]],
    ["does not hold", [
      memory("c-threads", 2e8),
      ...[["c-threads", 1e6], ["c-threads 8 MiB", 8.4e6], ["c-threads 1 MiB", 1e6]].map(([name, bytes]) =>
        probed("thread-memory", String(name), "virtual_bytes_per_thread", Number(bytes))
      ),
    ]],
    ["open", [...threads(8.4e6, 1), held("c-threads", 5000, { pss_bytes: 80e9 })]],
    ["does not hold", [...threads(8.4e6, 1), memory("c-threads", 300e9)]],
    ["holds", [...threads(8.4e6, 1), memory("c-threads", 2e8), ...inKernel("thread", ["c-threads"], 8e6)]],
  ],
  "C-process": [
    ["holds", [...processes(8e6), held("process-per-conn", 450)]],
    ["holds in part", [...processes(30e6), held("process-per-conn", 450)]],
    ["does not hold", [
      ...processes(0.3e6),
      held("process-per-conn", 1000, {}, 1000),
      held("process-per-conn", 8000),
    ]],
    ["not measured yet", [...processes(0.3e6), held("process-per-conn", 1000, {}, 1000)]],
    ["does not hold", [...processes(0.3e6), held("process-per-conn", 10_000)]],
    ["holds in part", [...processes(8e6), held("process-per-conn", 8000)]],
    ["holds in part", [...processes(8e6), stopped("process-per-conn", 450, "descriptors, limit 514 per process")]], // open
    ["holds in part", [...processes(3e6), held("process-per-conn", 450)]],
    // Page tables count as well: 1 MB of PSS alone would be far too little.
    ["holds", [...processes(1e6, 7e6), held("process-per-conn", 450)]],
  ],
  "C-thread-2000": [
    ["holds", kinds(2000, 2500, { pss_bytes: 16e9 })],
    ["does not hold", kinds(10_000, 10_000, { pss_bytes: 16e9 })], // a fifth of it for 2 000
    ["holds in part", kinds(10_000, 10_000, { pss_bytes: 80e9 })],
    ["holds in part", kinds(2000, 2000, { pss_bytes: 2e8 })],
    ["does not hold", kinds(1600, 10_000, { pss_bytes: 10.3e9 })],
    ["does not hold", kinds(2000, 500, { pss_bytes: 2e8 })],
    [
      "open",
      ["c-threads", "python-threads", "java-threads"].flatMap((name) => [
        held(name, 2000),
        endedBy("memory mappings, 2 per connection, limit 4 000 per process (vm.max_map_count)"),
      ]).concat(held("thread-per-conn", 1600)),
    ],
  ],
  "C-idle-cpu": [["open", waiting(0.1, 6)], ["does not hold", waiting(90, 95)], [
    "open",
    waiting(0.1, 95),
  ]],
  "C-bandwidth": [["open", moved(1e7)], ["open", moved(5e8)], ["not measured yet", []]],
  "C-prefork-100": [
    ["holds", preforked(1, 800e6)],
    ["holds in part", preforked(1, 60e6)],
    ["holds in part", preforked(1, 8e9)],
    ["holds", [...preforked(1, 60e6), ...inKernel("process", ["prefork"], 5e6)]],
    ["holds in part", preforked(0, 800e6)],
    ["does not hold", [
      probed("queue", "prefork 100", "answered", 50),
      probed("queue", "prefork 101", "waiting", 51),
      probed("queue", "prefork 100", "pss_bytes", 60e6),
    ]],
  ],
  "C-pool-100": [["holds", pooled(100)], ["does not hold", pooled(10_000)]],
  "C-100x": [
    ["holds", [...growing("select", 1000, 10_000), ...growing("epoll_wait", 90, 95)]],
    ["does not hold", [...growing("select", 10, 15), ...growing("epoll_wait", 0.6, 0.6)]],
    ["does not hold", [...growing("select", 100, 1160), ...growing("epoll_wait", 0.6, 0.6)]],
    ["holds in part", [...growing("select", 10, 60), ...growing("epoll_wait", 0.6, 0.6)]],
  ],
  "C-asyncio": [
    ["holds in part", [memory("python-asyncio", 4e7, { connect_seconds: 0.6 })]],
    ["holds", [memory("python-asyncio", 2e8, { connect_seconds: 2.3 })]],
    ["does not hold", [held("python-asyncio", 900, { pss_bytes: 9e8, connect_seconds: 60 })]],
    ["does not hold", [held("python-asyncio", 900, { pss_bytes: 9e8, connect_seconds: 0.6 })]],
    ["holds in part", [memory("python-asyncio", 4e7, { connect_seconds: 20 })]],
    ["open", [stopped("python-asyncio", 900, "stopped at 900 of 10 000: memory, 4 KiB per connection"), (into) => {
      Object.assign(into.results.at(-1)!.metrics, { connect_seconds: 0.6 });
    }]],
    ["holds in part", [memory("python-asyncio", 4e7, { connect_seconds: 2.3 })]],
  ],
  "C-nginx": [
    ["holds", [memory("nginx", 1.4e8), ...processes(1.3e6), held("apache-prefork", 10_000)]],
    ["does not hold", [memory("nginx", 4e8), ...processes(4e5), held("apache-prefork", 10_000)]],
    ["does not hold", [memory("nginx", 2e7), ...processes(0.3e6), held("apache-prefork", 256)]],
    ["holds in part", [memory("nginx", 1.4e8), ...processes(0.3e6), held("apache-prefork", 256)]],
    ["does not hold", [memory("nginx", 2e7), ...processes(0.1e6), held("apache-prefork", 10_000)]],
    ["holds in part", [memory("nginx", 2e7), ...processes(0.3e6), held("apache-prefork", 10_000)]],
    ["does not hold", [held("nginx", 9000, { pss_bytes: 1.4e8 }), ...processes(0.3e6), held("apache-prefork", 256)]],
    ["holds in part", [
      held("nginx", 936, { pss_bytes: 1.4e8 }),
      endedBy("descriptors, limit 1 000 per process"),
      ...processes(1.3e6),
      held("apache-prefork", 256),
    ]],
  ],
  "C-node": [
    ["holds in part", [memory("node-http", 1.4e8, { threads: 11 })]],
    ["does not hold", [held("node-http", 900, { pss_bytes: 4e8, threads: 900 })]],
    ["holds in part", [memory("node-http", 4e8, { threads: 11 })]],
  ],
  "C-goroutine": [
    ["holds in part", [memory("go-net", 3e7, each(2500))]],
    ["open", [memory("go-net", 8e8, each(80_000))]],
    ["does not hold", [memory("go-net", 8e6, each(500))]],
    ["open", [memory("go-net", 4e7, each(4000))]],
  ],
  "C-tokio": [
    ["holds in part", [
      cpu("rust-tokio", "c-epoll", 1.03),
      tail("rust-tokio", 0.7, 1.4),
      held("rust-tokio", 10_000, each(5000)),
    ]],
    [
      "does not hold",
      [cpu("rust-tokio", "c-epoll", 2), tail("rust-tokio", 4, 8)]
        .concat(held("rust-tokio", 10_000, each(90_000))),
    ],
    [
      "holds in part",
      [cpu("rust-tokio", "c-epoll", 1.03), tail("rust-tokio", 0.7, 1.4, [found("c-epoll", "client_bound")])]
        .concat(held("rust-tokio", 10_000, each(5000))),
    ],
  ],
  "C-uring-2x": [
    [
      "holds",
      [cpu("c-io-uring", "c-epoll", 0.4), cpu("io-uring", "epoll", 0.4), tail("c-io-uring", 0.4, 0.6)]
        .concat(calls(0.02, 2)),
    ],
    [
      "does not hold",
      [cpu("c-io-uring", "c-epoll", 0.1), cpu("io-uring", "epoll", 0.1), tail("c-io-uring", 0.05, 0.1)]
        .concat(calls(1, 2)),
    ],
    [
      "does not hold",
      [cpu("c-io-uring", "c-epoll", 0.96), cpu("io-uring", "epoll", 0.96)]
        .concat(tail("c-io-uring", 0.5, 1.8), calls(1, 2)),
    ],
    [
      "holds in part",
      [cpu("c-io-uring", "c-epoll", 0.96), cpu("io-uring", "epoll", 0.96)]
        .concat(tail("c-io-uring", 0.5, 1.8, [found("c-epoll", "client_bound")]), calls(0.02, 2)),
    ],
    [
      "open",
      [limited(cpu("c-io-uring", "c-epoll", 0.96), "c-epoll"), limited(cpu("io-uring", "epoll", 0.96), "io-uring")]
        .concat(tail("c-io-uring", 0.5, 1.8), calls(1, 2)),
    ],
  ],
  "C-uring-fanout": [
    ["holds", fannedOut(0.4)],
    ["does not hold", fannedOut(0.8)],
    ["does not hold", fannedOut(0.1)],
    ["open", fannedOut(0.7)],
    ["holds in part", fannedOut(0.9, 0.45)],
    ["not measured yet", fannedOut(0.4).slice(1)],
  ],
  "C-c10m": [
    ["open", [epollEach]],
    ["open", [epollEach, skipped("xdp", "network namespaces need root")]],
    ["not measured yet", [exists("xdp")]],
    ["not measured yet", [exists("xdp"), ...crowd(1_000_000, 1_000_000, 0)]],
    ["holds", [exists("xdp"), ...crowd(10_000_000, 10_000_000, 0)]],
    ["open", [exists("xdp"), ...crowd(10_000_000, 9_999_999, 0)]],
    ["open", [exists("xdp"), ...crowd(10_000_000, 10_000_000, 1)]],
    ["open", [exists("xdp"), ...crowd(10_000_000, 10_000_000, 0, 19_999_999)]],
  ],
  "C-c1m": [
    ["open", [probed("million", "io_uring 1000000", "answered", null)]],
    ["holds in part", [probed("million", "io_uring 1000000", "answered", 1_008_000)]],
    ["holds in part", [
      probed("million", "io_uring 1000000", "answered", null),
      held("io-uring", 1_000_000, {}, 1_000_000),
    ]],
    ["holds", [held("io-uring", 2_000_000, {}, 2_000_000)]],
    ["open", [
      probed("million", "io_uring 1000000", "answered", 999_999),
      held("epoll", 500_000, {}, 1_000_000),
    ]],
  ],
  "C-websocket": [
    ["open", [told("ws-erlang", 1), told("ws-netty", 1)]],
    ["open", [told("ws-erlang", 1, each(2000)), told("ws-netty", 1, { ...each(500), kernel_bytes_per_conn: 900 })]],
    ["open", [told("ws-erlang", 0.9, each(30_000)), told("ws-netty", 0.99, each(30_000))]],
    ["not measured yet", [told("ws-erlang", 1, each(2000))]],
  ],
  "C-tuning": [
    ["holds in part", [usual(), ...queues(129, 4097), epollEach]],
    ["holds in part", [usual(), ...queues(129, 4097), held("epoll", 900)]],
    ["holds", [usual(), ...queues(129, 4097), stopped("epoll", 900, "descriptors, the limit is 1 024 a process.")]],
    ["does not hold", [usual(1100), ...queues(129, 4097), epollEach]],
    ["does not hold", [usual(1100), ...queues(129, 4097), held("epoll", 10_000)]],
    [
      "holds in part",
      [on({ limits: { nofile_soft: null, nofile_hard: null, nproc: null } })]
        .concat(usual(), queues(129, 4097), epollEach),
    ],
    ["open", [usual(null), ...queues(129, 4097), epollEach]],
    ["not measured yet", [...queues(129, 4097), epollEach]],
  ],
  "C-nodelay": [
    ["holds", optioned(1.5, 0.8)],
    ["open", optioned(1.002, 0.998)],
    ["holds in part", optioned(1.5, 1)],
    ["open", optioned(1.1, 0.91)],
    ["open", [probed("socket-options", "no-nodelay", "p50_us_ratio", null)]],
  ],
  "C-pooling": [
    ["holds", [...fresh(5, 3), cpu("nginx-proxy", "nginx-proxy-keepalive", 1.8)]],
    ["does not hold", [...fresh(0.9, 1), cpu("nginx-proxy", "nginx-proxy-keepalive", 0.9)]],
    ["holds in part", [...fresh(5, 1), cpu("nginx-proxy", "nginx-proxy-keepalive", 1.8)]],
    ["not measured yet", fresh(5, 3)],
  ],
  "C-metrics": [
    ["open", [counted("lab", 100, 100), counted("wrk", 100, 140)]],
    ["open", [counted("lab", 100, 99), counted("wrk", 100, 90)]],
    ["open", [counted("lab", 100, 101), counted("wrk", 100, 140)]],
    ["not measured yet", []],
  ],
  "C-nio": [
    [
      "holds in part",
      [memory("python-asyncio", 4e7), memory("java-nio", 2e8), cpu("python-asyncio", "java-nio", 1.8)]
        .concat(inPairs("pss_bytes", "java-nio", "python-asyncio", 5)),
    ],
    [
      "does not hold",
      [memory("python-asyncio", 4e8), memory("java-nio", 4e8), cpu("python-asyncio", "java-nio", 0.9)]
        .concat(inPairs("pss_bytes", "java-nio", "python-asyncio", 1)),
    ],
    [
      "holds in part",
      [memory("python-asyncio", 3.6e7), memory("java-nio", 4.6e7), cpu("python-asyncio", "c-epoll", 1.9)]
        .concat(cpu("java-nio", "c-epoll", 1.07))
        .concat(inPairs("pss_bytes", "java-nio", "c-epoll", 54), inPairs("pss_bytes", "python-asyncio", "c-epoll", 33)),
    ],
  ],
  "C-netty": [
    ["open", [
      cpu("java-netty", "java-nio", 0.8),
      held("java-netty", 10_000, each(3000)),
      inPairs("user_bytes_per_conn", "java-netty", "java-nio", 2.2),
    ]],
    [
      "open",
      [cpu("java-netty", "java-nio", 1.7), held("java-netty", 10_000, each(800))]
        .concat(inPairs("user_bytes_per_conn", "java-netty", "java-nio", 0.6)),
    ],
    ["not measured yet", [held("java-netty", 10_000, each(800))]],
  ],
  "C-iocp": [
    ["open", []],
    ["holds in part", [on({ os: "windows" }), held("iocp", 10_000)]],
    ["does not hold", [on({ os: "windows" }), held("iocp", 1000)]],
  ],
  "C-dont": [
    ["does not hold", [usual(1100), ...threadsCost(1.44, 1.5, 1), epollEach]], // what 1 000 threads cost decides nothing
    ["holds in part", [usual(), ...threadsCost(1, 1.5, 0.5), epollEach]],
    ["holds in part", [usual(), ...threadsCost(1.44, 1, 1), epollEach]],
    ["does not hold", [usual(1100), ...threadsCost(1.44, 1, 0.5), epollEach]],
    ["holds in part", [
      usual(1100),
      ...threadsCost(1, 1, 2),
      stopped("epoll", 900, "descriptors, the limit is 1 024 a process."),
    ]],
    ["open", [usual(null), ...threadsCost(1.44, 1.5, 1), epollEach]],
    ["not measured yet", [...threadsCost(1.44, 1.5, 1), epollEach]],
  ],
  "C-proxy-40k": [
    ["does not hold", [proxied(490)]],
    ["holds", [proxied(990)]],
    ["open", [proxied(800)]],
    ["open", [proxied(null)]],
    ["not measured yet", [held("nginx-proxy", 10_000)]],
  ],
  "C-beam": [
    ["open", [held("erlang-tcp", 10_000, each(2500))]],
    ["open", [held("erlang-tcp", 900, each(80_000))]],
    ["not measured yet", []],
  ],
  "C-pool-deadlock": [
    ["holds", filled(10)],
    ["does not hold", filled(0, 10)],
    ["does not hold", filled(10, 10)],
  ],
  "C-listing-select": [["holds", late(0, 0)], ["does not hold", late(0, 9e6)]],
  "C-listing-length": [
    ["holds", lengthless(3, 3)],
    ["does not hold", lengthless(0, 0)],
    ["holds in part", lengthless(0, 3)],
  ],
  "C-listing-sleep": [["open", slept(2)], ["does not hold", slept(10.04)]], // 10 000 may take longer than 100
  "C-dont-default": [
    ["holds in part", [usual(), ...architectures(10_000)]],
    ["does not hold", [usual(1100), ...architectures(10_000)]],
    ["holds in part", [usual(1100), ...architectures(1600, "mapped areas of memory (vm.max_map_count).")]],
    ["does not hold", [usual(1100), ...architectures(1600, "mapped areas of memory (vm.max_map_count).", 6e6)]],
    ["does not hold", [usual(1100), ...architectures(1600, "the guard stopped it.")]],
    ["open", [usual(null), ...architectures(10_000)]],
    ["not measured yet", architectures(10_000)],
  ],
};

Deno.test("every claim of the two texts has its entry, each once, in their order", () => {
  assertEquals(LEDGER.map(({ id }) => id), IDS);
  assertEquals(LEDGER.length, 48);
});

Deno.test("an entry says all in words: the claim in two languages, where it stands, how it is tried, the rule", () => {
  for (const { id, claim, section, tried, rule } of LEDGER) {
    assertMatch(claim.en, /^[A-Za-z0-9].{15,}\.$/s, id);
    assertMatch(claim.ko, /[가-힣].{8,}\.$/s, id);
    assertMatch(section, new RegExp(`^${id[0]} §`), id);
    for (const words of [tried, rule]) assert(words.length > 20, id);
    assertMatch(rule, /\.$/, id);
  }
});

Deno.test("of each rule a sceptic says something of its own, in few words", () => {
  for (const { id, sceptic } of LEDGER) {
    assertMatch(sceptic, /^[A-Z].{40,}\.$/s, id);
    assert(sceptic.length <= MAX_SCEPTIC, `${id}: ${sceptic.length} characters`);
  }
  assertEquals(new Set(LEDGER.map(({ sceptic }) => sceptic)).size, LEDGER.length);
});

for (const claim of LEDGER) {
  const cases = CASES[claim.id]!;
  Deno.test(`${claim.id} comes out as its figures are: ${[...new Set(cases.map(([wanted]) => wanted))].join(", ")}`, () => {
    for (const [i, [wanted, pieces]] of cases.entries()) {
      const { row } = judgeClaim(claim, storedOf(...pieces));
      assertEquals(row.verdict, wanted, `${claim.id}, case ${i + 1}: ${row.because}`);
      assertMatch(row.because, /[a-z].*\.$/s);
    }
    assert(new Set(cases.map(([wanted]) => wanted)).size > 1, "a verdict that cannot change is none");
  });
}

Deno.test("where nothing is stored every claim waits for a command of this project, or says why it cannot be tried", () => {
  const tasks = Object.keys(JSON.parse(Deno.readTextFileSync(new URL("../../deno.json", import.meta.url))).tasks);
  for (const claim of LEDGER) {
    const { row, missing } = judgeClaim(claim, storedOf());
    if (missing === null) assertEquals(row.verdict, "open", claim.id);
    else {
      assertEquals([row.verdict, row.figure, row.commands], ["not measured yet", null, [missing.command]], claim.id);
      assertMatch(missing.command, /^deno task [a-z]+/);
      const [task, name] = missing.command.split(" ").slice(2);
      assert(tasks.includes(task!), `${claim.id} needs the task ${task}`);
      if (task === "probe") assertEquals(findProbe(name!).name, name);
      if (task === "exp") assertEquals(find(name!).name, name);
      assert(missing.quick !== missing.command, claim.id);
    }
  }
});

Deno.test("an experiment that was skipped makes its claim untestable, and its reason is in the sentence", () => {
  const { row } = judgeClaim(claimOf("C-asyncio"), storedOf(skipped("python-asyncio", "python-asyncio needs python3")));
  assertEquals([row.verdict, row.because], ["open", "python-asyncio needs python3."]);
});

Deno.test("who was out of a comparison has no ratio: its claim says why", () => {
  const out = { ratio: null, ratio_low: null, ratio_high: null, reason: "java-netty: no connection" };
  const pieces = [
    compared(["throughput", 100, "cpu_us_per_request"], ["java-netty", "java-nio"], [1, 1, 1], out),
    held("java-netty", 10_000, each(800)),
    inPairs("user_bytes_per_conn", "java-netty", "java-nio", 0.6),
  ];
  const { row } = judgeClaim(claimOf("C-netty"), storedOf(...pieces));
  assertEquals(row.verdict, "open");
  assertStringIncludes(row.because, "no connection");
});

Deno.test("of two that are set against each other both must be counted", () => {
  const alone = probed("system-calls", "io-uring", "system_calls_per_request", 0.02);
  assertEquals(verdict("T-uring", alone), "not measured yet");
  const quick = [alone, probed("system-calls", "epoll", "system_calls_per_request", 2)];
  assertEquals(verdict("T-uring", ...quick), "holds");
});

Deno.test("what others disturbed is no evidence: neither a comparison, a run nor a probe", () => {
  const calls = (share: number): Piece => (into) => {
    probed("system-calls", "io-uring", "system_calls_per_request", 0.02)(into);
    probed("system-calls", "epoll", "system_calls_per_request", 2)(into);
    for (const row of into.rows.probe) row.foreign_share = share;
  };
  assertEquals([verdict("T-uring", calls(0.05)), verdict("T-uring", calls(0.3))], ["holds", "not measured yet"]);
  const cost = (findings: Found[]) =>
    new Evidence(storedOf(
      compared(["throughput", 100, "cpu_us_per_request"], ["epoll", "c-epoll"], [1.2, 1.1, 1.3], { findings }),
    )).ratio({ scenario: "throughput", connections: 100, metric: "cpu_us_per_request", of: "epoll", to: "c-epoll" });
  assertEquals(cost([found("nginx", "foreign_load")]).estimate, 1.2);
  assertThrows(() => cost([found("c-epoll", "foreign_load")]), NotMeasured);
  const stored = storedOf(loaded("epoll", { cpu_us_per_request: 7 }), loaded("epoll", { cpu_us_per_request: 9 }));
  stored.results[1]!.findings.push({ ...found("epoll", "steal"), sentence: "." });
  assertEquals(new Evidence(stored).throughput("epoll").cpu_us_per_request, 7);
});

Deno.test("who was compared directly comes before a newer comparison of both with a third, and what says nothing comes last", () => {
  const bound = { findings: [found("rust-tokio", "client_bound")] };
  const asked = ["rate", 100, "p99_us"] as ["rate", number, string];
  const direct = compared(asked, ["rust-tokio", "c-epoll"], [1.2, 1.1, 1.3]);
  const third = [
    compared(asked, ["rust-tokio", "io-uring"], [2, 1.9, 2.1]),
    compared(asked, ["c-epoll", "io-uring"], [1, 0.9, 1.1]),
  ];
  const rest = [cpu("rust-tokio", "c-epoll", 1.03), held("rust-tokio", 10_000, each(5000))];
  const because = (...pieces: Piece[]) => judgeClaim(claimOf("C-tokio"), storedOf(...pieces, ...rest)).row.because;
  assertStringIncludes(because(direct, ...third), "its p99 is × 1.20");
  const void_ = compared(asked, ["rust-tokio", "c-epoll"], [1.2, 1.1, 1.3], bound);
  assertStringIncludes(because(void_, ...third), "its p99 is × 2.00");
  assertStringIncludes(because(void_), "the latency at the same rate is that of the load generator");
});

Deno.test("what two cores take for a switch is in the sentence, and decides nothing", () => {
  const { row } = judgeClaim(claimOf("T-switch"), storedOf(...switches(2, 48)));
  assertStringIncludes(
    row.because,
    "No, less: its direct cost on one core is 2.00 µs [1.98 µs, 2.02 µs]; between two cores, with their wake-up, 48 µs",
  );
});

Deno.test("the verdict on a switch says that it is on the direct cost, as cold caches are not measured", () => {
  const { row } = judgeClaim(claimOf("T-switch"), storedOf(...switches(2, 48)));
  assertMatch(row.because, /direct cost.*cold caches.*not measured\.$/);
});

Deno.test("the limit of select is that of a type: the text says so, and what the kernel takes stands beside it", () => {
  const { row } = judgeClaim(claimOf("T-select"), storedOf(bitless(999), ...growing("select", 100, 1000)));
  assertMatch(
    row.because,
    /^Yes: .*1 024 bits of fd_set held 999 .*beside it, .* the kernel took 10 000 descriptors in one call\. Yes: /,
  );
});

Deno.test("what ended a run is in the sentence, and decides nothing where it was not the server", () => {
  const because = (reason: string) =>
    judgeClaim(claimOf("T-poll"), storedOf(stopped("poll", 900, reason), ...growing("poll", 100, 1000))).row.because;
  for (
    const reason of [
      "stopped at 900 of 10 000: descriptors, limit 964 per process",
      "stopped at 900 of 10 000: time, 30.0 connections/s for 30 s",
      "stopped at 900 of 10 000: memory, 7.4 MiB per connection; 10 000 would need 72.3 GiB",
      "50 of 950 connections found no free port at this end: widen net.ipv4.ip_local_port_range",
    ]
  ) assertMatch(because(reason), new RegExp(`^Open: poll held 900 connections \\(${reason.replaceAll(".", "\\.")}\\)`));
  assertMatch(
    because("100 of 1 000 connections got no answer."),
    /^No: poll held 900 connections \(100 .* answer\)\. /,
  );
});

Deno.test("what a server takes at most is a lower bound where no more were asked for, or a setting stopped it", () => {
  const because = (...pieces: Piece[]) =>
    judgeClaim(claimOf("C-process"), storedOf(...processes(8e6), ...pieces)).row.because;
  assertStringIncludes(
    because(held("process-per-conn", 10_000)),
    "No, more: process-per-conn held 10 000 connections.",
  );
  assertStringIncludes(
    because(stopped("process-per-conn", 600, "descriptors, limit 664 per process")),
    "Open: process-per-conn held 600 connections (descriptors, limit 664 per process).",
  );
  assertStringIncludes(
    because(held("process-per-conn", 600)),
    "Yes: process-per-conn held 600 connections (it broke).",
  );
});

Deno.test("the growth of threads is shown against that of a loop over as many connections", () => {
  const because = (loop: [number, number] | null) =>
    judgeClaim(claimOf("T-sched"), storedOf(...sizes(10, 25, loop))).row.because;
  assertMatch(
    because([10, 20]),
    /^Open: .* with 10 threads, .* with 1 000: × 2\.50 .* × 2\.00 .* in one loop, so threads add × 1\.25 /,
  );
  assertMatch(because(null), /missing is what as many connections do to one loop\.$/);
});

Deno.test("where the load generator was the limit the cost of a request says that it is not that of full load", () => {
  const bound = { findings: [found("c-threads", "client_bound")] };
  const cost = (connections: number) =>
    compared(["throughput", connections, "cpu_us_per_request"], ["c-threads", "c-epoll"], [2, 1.9, 2.1], bound);
  const pieces = [usual(), cost(100), cost(1000), mixed("p99_us", "thread-per-conn", 1, "reactor-pool"), epollEach];
  const told = "× 2.00 [× 1.90, × 2.10] the CPU of a loop; the load generator was the limit: not full load";
  for (const id of ["C-dont", "T-guide"]) {
    const { because } = judgeClaim(claimOf(id), storedOf(...pieces, mixed("p99_us", "thread-per-conn", 0.03))).row;
    assertStringIncludes(because, told, id);
  }
});

Deno.test("the kinds of threads are listed with what ended them, their number and their memory apart", () => {
  const reason = "stopped at 1 900 of 10 000: memory mappings, limit 4 000 per process (vm.max_map_count)";
  const pieces = [
    held("c-threads", 10_000, { pss_bytes: 2e8 }),
    held("python-threads", 1900),
    endedBy(reason),
    held("java-threads", 10_000, { pss_bytes: 80e9 }),
    held("thread-per-conn", 1600),
  ];
  const { row } = judgeClaim(claimOf("C-thread-2000"), storedOf(...pieces));
  for (
    const part of [
      "No, more: c-threads held 10 000.",
      "No, less: 2 000 threads of c-threads take 38.1 MiB, without what the kernel keeps for it.",
      `Open: python-threads held 1 900 (${reason}).`,
      "Open: the memory of python-threads is not known.",
      "Yes: 2 000 threads of java-threads take 14.9 GiB",
    ]
  ) assertStringIncludes(row.because, part);
});

Deno.test("a size or a factor that fails says on which side", () => {
  const pieces = [...growing("select", 100, 1160), ...growing("epoll_wait", 0.6, 0.6)];
  const { row } = judgeClaim(claimOf("C-100x"), storedOf(...pieces));
  assertMatch(row.because, /^No, less: select .* No, less: epoll .* No, more: that is × /);
});

Deno.test("the memory of threads and processes has their stacks in the kernel and their page tables, and says so", () => {
  const threadsOf = [...threads(8.4e6, 16e3), memory("c-threads", 160e6)];
  const with_ = judgeClaim(claimOf("C-80gb"), storedOf(...threadsOf, ...inKernel("thread", ["c-threads"], 20e3))).row;
  assertEquals(with_.figure, 160e6 + 10_000 * 20e3);
  assertStringIncludes(
    with_.because,
    "343 MiB of memory, with kernel stack and page tables; their process has 153 MiB",
  );
  const without = judgeClaim(claimOf("C-80gb"), storedOf(...threadsOf)).row;
  assertEquals(without.figure, 160e6);
  assertStringIncludes(without.because, "153 MiB of memory, without what the kernel keeps for it");
});

Deno.test("the figure and the first file are those of the server that decides", () => {
  const leads = (id: string, ...pieces: Piece[]) => {
    const { row } = judgeClaim(claimOf(id), storedOf(...pieces));
    return [row.figure, row.results[0]!.split("/")[2]];
  };
  for (const id of ["T-c10k", "C-thread-2000"]) {
    assertEquals(leads(id, ...kinds(1628, 10_000)), [10_000, "c-threads"], id);
    const java = [held("thread-per-conn", 1628), held("c-threads", 900), held("java-threads", 10_000)];
    assertEquals(leads(id, ...java, held("python-threads", 800)), [10_000, "java-threads"], id);
  }
  assertEquals(leads("C-dont-default", usual(), ...architectures(1628, "vm.max_map_count")), [1628, "thread-per-conn"]);
  const nio = [memory("python-asyncio", 4e7), memory("java-nio", 2e8), cpu("python-asyncio", "java-nio", 1.8)]
    .concat(inPairs("pss_bytes", "java-nio", "python-asyncio", 5));
  assertEquals(leads("C-nio", ...nio), [1.8, "studies"]);
});

Deno.test("claims on default settings agree: the usual limit of descriptors is judged alike by all", () => {
  const rest = [...architectures(10_000), ...queues(129, 4097), ...threadsCost(1.44, 1.5, 1)];
  for (const id of ["C-tuning", "C-dont", "C-dont-default"]) {
    const because = (answered: number) => judgeClaim(claimOf(id), storedOf(usual(answered), ...rest)).row.because;
    const says = "with 1 024 descriptors, and no right to more, epoll held and answered";
    assertStringIncludes(because(1001), `Yes: ${says} 1 001 of 1 100 clients.`, id);
    assertStringIncludes(because(1100), `No: ${says} 1 100 of 1 100 clients.`, id);
  }
});

Deno.test("threads do not refute the advice against them where a loop with a pool spares light requests as much", () => {
  const waits = [mixed("p99_us", "thread-per-conn", 0.03), mixed("p99_us", "reactor-pool", 0.02)]; // by way of a third
  const pieces = [usual(), ...threadsCost(1.44, 1, 1).slice(0, 2), ...waits, epollEach];
  assertStringIncludes(judgeClaim(claimOf("C-dont"), storedOf(...pieces)).row.because, "Open: beside heavy requests");
});

Deno.test("a setting that stopped a run counts where it stopped the server, and memory would do for 10 000", () => {
  const because = (reason: string, each: number | null) => {
    const run = stopped("epoll", 2000, reason, each);
    return judgeClaim(claimOf("C-tuning"), storedOf(usual(), ...queues(129, 4097), run)).row.because;
  };
  const tasks = "processes and threads, 1 per connection, limit 600 (pids.max or ulimit -u)";
  assertStringIncludes(because(tasks, 1e6), "Yes: epoll held 2 000, and was not asked for more because of pids.max or");
  assertStringIncludes(
    because("memory mappings (vm.max_map_count). Memory: 6 MiB per connection", 6e6),
    "Open: epoll held 2 000, and was not asked for more because of vm.max_map_count; raising it alone brings no 10 000",
  );
  assertStringIncludes(because("descriptors, limit 2 064 per process", null), "whether memory would do is not known");
  const ports = "9 of 10 connections found no free port at this end: widen net.ipv4.ip_local_port_range";
  assertStringIncludes(because(ports, 1e6), "Open: epoll held 2 000, and no setting is known to have stopped it");
});

Deno.test("10 000 that are held below the settings of the text refute that they are needed, by the host of the run", () => {
  const held10k = held("epoll", 10_000);
  const because = (limit: number) => {
    const limits = { nofile_soft: limit, nofile_hard: limit, nproc: null };
    return judgeClaim(claimOf("C-tuning"), storedOf(on({ limits }), usual(), ...queues(129, 4097), held10k)).row
      .because;
  };
  assertStringIncludes(
    because(20_000),
    "No: epoll held 10 000 with settings below those that the text asks for (descri",
  );
  assertStringIncludes(because(2e6), "Open: epoll held 10 000; missing is a host with settings below");
});

Deno.test("a delivery that is missing beside a load generator at its limit is open, and too few listeners are no", () => {
  const because = (piece: Piece) =>
    judgeClaim(claimOf("T-realtime"), storedOf(...threaded(1.5, 2, 1).slice(0, 2), piece)).row.because;
  const bound: Piece = (into) => {
    told("ws-epoll", 0.9)(into);
    into.results.at(-1)!.findings.push({ ...found("ws-epoll", "client_bound"), sentence: "." });
  };
  assertStringIncludes(
    because(bound),
    "Open: ws-epoll delivered 90.00 % of its messages to 10 000 listeners; the load",
  );
  const few = told("ws-epoll", 1, { connections: 4000 });
  assertStringIncludes(because(few), "No: ws-epoll delivered 100 % of its messages to 4 000 listeners.");
});

Deno.test("a cost that was measured at the limit of the load generator says so, and refutes no speed", () => {
  const pieces = [limited(cpu("c-io-uring", "c-epoll", 0.96), "c-epoll"), cpu("io-uring", "epoll", 0.96)]
    .concat(tail("c-io-uring", 0.5, 1.8), calls(1, 2));
  const { because } = judgeClaim(claimOf("C-uring-2x"), storedOf(...pieces)).row;
  assertMatch(
    because,
    /^Open: c-io-uring does [^.]*\.\d\d [^:]*; the load generator was the limit: not full load\. No, less: /,
  );
  assertStringIncludes(
    because,
    "needs 1.000 calls per request [0.990 calls per request, 1.010 calls per request] without",
  );
});

Deno.test("a time that is shorter than the text's, and memory that is more, say what they hold besides", () => {
  const of = (id: string, piece: Piece) => judgeClaim(claimOf(id), storedOf(piece)).row.because;
  const fast = of("C-asyncio", memory("python-asyncio", 2e8, { connect_seconds: 0.6 }));
  assertStringIncludes(fast, "Open: they were connected and answered in 0.60 s, 16 667 a second, which is less");
  const small = of("C-asyncio", memory("python-asyncio", 4e7, { connect_seconds: 2.3 }));
  assertStringIncludes(small, "Open: it took 38.1 MiB, which is less; missing is a server with a coroutine");
  const more = of("C-goroutine", memory("go-net", 8e8, each(80_000)));
  assertMatch(more, /Open: 10 000 take [^.]*, with a buffer for each connection and the runtime\./);
});

Deno.test("a verdict names the files and the commands of its figures", () => {
  const { row } = judgeClaim(claimOf("C-tuning"), storedOf(usual(), ...queues(129, 4097), epollEach));
  assertEquals(row.results.length, 2);
  assertMatch(row.results[0]!, /^results\/a-cpu-2c-24g-linux\/studies\/probe\/\d{8}T\d{6}Z-0badcafe\.json$/);
  assertMatch(row.results[1]!, /^results\/a-cpu-2c-24g-linux\/epoll\/\d{8}T\d{6}Z-[0-9a-f]{8}\.json$/);
  assertEquals(row.commands, ["deno task made-up", "deno task exp epoll --scenario hold"]);
});

Deno.test("quick figures stand in only where they are allowed and there is no full one", () => {
  const claim = claimOf("C-node");
  const much = { pss_bytes: 4e8, threads: 11 };
  const little = { pss_bytes: 1e8, threads: 11 };
  const quick = storedOf(heldQuickly("node-http", 10_000, much));
  assertEquals(judgeClaim(claim, quick).row.verdict, "not measured yet");
  const brief = judgeClaim(claim, quick, true).row;
  assertEquals([brief.figure, brief.quick], [4e8, true]);
  const both = storedOf(held("node-http", 10_000, little), heldQuickly("node-http", 10_000, much));
  for (const allowed of [true, false]) {
    const { row } = judgeClaim(claim, both, allowed);
    assertEquals([row.figure, row.quick], [1e8, false]);
  }
  const probes = storedOf(by("deno task probe queue --quick"), ...pooled(100));
  assertEquals(judgeClaim(claimOf("C-pool-100"), probes).row.verdict, "not measured yet");
  assertEquals(judgeClaim(claimOf("C-pool-100"), probes, true).row.verdict, "holds");
});

Deno.test("of several runs the newest decides, of those that were asked for the fewest connections that are enough", () => {
  const of = (answered: number, connections: number) => held("poll", answered, {}, connections);
  const law = growing("poll", 100, 1000);
  assertEquals(verdict("T-poll", of(500, 1000), of(20, 10_000), of(10_000, 10_000), of(300, 20_000), ...law), "holds");
  assertEquals(verdict("T-poll", of(500, 1000), ...law), "not measured yet");
});

Deno.test("what more cores bring stands beside the shares of the loops, which decide unless connections are too few", () => {
  const because = (changes: Parameters<typeof scaled>[4]) => {
    const row = scaled("multi-reactor", [1.4, 1.3, 1.45], [0.52, 0.48], false, changes);
    return judgeClaim(claimOf("T-multi-reactor"), storedOf(...spread(0.52), row)).row.because;
  };
  const busiest = "the busiest of 2 loops has 52 % of the requests";
  const gain = "× 1.40 [× 1.30, × 1.45] the requests/s of one.";
  assertStringIncludes(because({}), `Yes: ${busiest}; beside it, on 2 cores it answers ${gain}`);
  assertStringIncludes(because({ findings: [found("multi-reactor", "client_bound")] }), `it answers ≥ ${gain}`);
  const few = because({ connections: 50 });
  assertStringIncludes(few, `Open: ${busiest}; 50 connections are too few for 2 loops: chance decides; beside it, `);
  assertStringIncludes(because({ shares: [] }), "Open: the shares of 2 loops are not known; beside it, ");
});

Deno.test("every verdict is reached by some case", () => {
  const reached = new Set([...Object.values(CASES).flat().map(([wanted]) => wanted), verdict("T-switch")]);
  assertEquals(VERDICTS.filter((wanted) => !reached.has(wanted)), []);
});
