/**
 * How many system calls a request takes, and how often the server's threads are switched for it.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { processTree } from "../sampling/process.ts";
import { CannotProbe, orMissing, Rig } from "./rig.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { type Counter, COUNTER_REMEDY, counterHere, countSystemCalls } from "./syscall_count.ts";

const NAME = "system-calls";
const SERVERS = [
  "epoll",
  "epoll-edge",
  "select",
  "poll",
  "io-uring",
  "event-loop",
  "deno-serve",
  "thread-per-conn",
  "c-epoll",
  "c-io-uring",
  "go-net",
  "rust-tokio",
  "java-nio",
  "node-http",
  "python-asyncio",
  "nginx",
];
const QUICK_SERVERS = ["epoll", "epoll-edge", "io-uring", "c-threads"];
const CONNECTIONS = 100;
// At this rate a core that serves is idle between requests, so that most of them wake it: calls are shared by few.
const RATE = { perS: 40_000, servers: ["epoll", "io-uring", "c-epoll", "c-io-uring", "rust-tokio"] };
export const METRICS = ["system_calls_per_request", "context_switches_per_request"] as const;

const HOW = {
  perf: "counted by perf, in slices of one server",
  strace: "counted by strace, in slices of one server; it slows the server, so that more requests wait for each call",
};

/** How it is counted. */
export interface Extent {
  counter: Counter;
  servers: readonly string[];
  connections: number;
  /** Of an open loop, requests/s; null: each connection asks again as soon as it is answered. */
  ratePerS: number | null;
  /** Slices of one server, and their length: one is counted, the next is without a counter, for the switches. */
  slices: number;
  seconds: number;
}

/** What the rows of a server are called. */
const variantOf = (server: string, ratePerS: number | null) =>
  ratePerS === null ? server : `${server} at ${count(ratePerS)}/s`;

async function ofServer(server: string, extent: Extent, { signal }: ProbePlan) {
  const { counter, connections, ratePerS, slices, seconds } = extent;
  const rows = rowsOf(NAME, variantOf(server, ratePerS));
  return await orMissing([rows], METRICS, { signal }, async () => {
    await using rig = await Rig.start({ server, signal });
    await rig.climber()(connections);
    await rig.closed(seconds, seconds);
    const load = async () => void await (ratePerS === null ? rig.closed(seconds) : rig.open(ratePerS, seconds));
    const calls: number[] = [];
    const switches: number[] = [];
    const answered = async () => (await rig.generator.totals()).answered;
    for (let slice = 0; slice < slices; slice++) {
      const pids = processTree(rig.server.pid);
      if (pids === null) throw new CannotProbe(`${server} has ended`);
      const from = await answered();
      const counted = await countSystemCalls(counter, pids, load);
      calls.push(counted / (await answered() - from));
      const before = rig.look().context_switches;
      const start = await answered();
      await load();
      switches.push((rig.look().context_switches - before) / (await answered() - start));
    }
    return [
      rows.of(METRICS[0], calls, HOW[counter]),
      rows.of(METRICS[1], switches, "in slices of one server"),
    ];
  });
}

/** Measures one server after the other. */
export const measureSystemCalls = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(
    extent.servers,
    plan,
    (server) => variantOf(server, extent.ratePerS),
    (server) => ofServer(server, extent, plan),
  );

export const systemCalls: Probe = {
  name: NAME,
  title: "System calls and context switches for each request",
  obstacle: async () => linuxOnly() ?? (await counterHere() === null ? COUNTER_REMEDY : null),
  run: async (plan) => {
    const counter = await counterHere();
    if (counter === null) throw new Error(COUNTER_REMEDY);
    const common = { counter, connections: CONNECTIONS, ratePerS: null };
    if (plan.quick) {
      return await measureSystemCalls({ ...common, servers: QUICK_SERVERS, slices: 1, seconds: 0.2 }, plan);
    }
    const whole = { ...common, slices: RUNS, seconds: 0.15 };
    return [
      ...await measureSystemCalls({ ...whole, servers: SERVERS }, plan),
      ...await measureSystemCalls({ ...whole, servers: RATE.servers, ratePerS: RATE.perS }, plan),
    ];
  },
};
