/**
 * How many system calls a request takes, and how often the server's threads are switched for it.
 *
 * @module
 */
import { processTree } from "../proc.ts";
import { CannotProbe, orMissing, Rig } from "./rig.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { type Counter, COUNTER_REMEDY, counterHere, countSystemCalls } from "./syscall_count.ts";

const NAME = "system-calls";
const SERVERS = [
  ...["epoll", "epoll-edge", "select", "poll", "io-uring", "event-loop", "deno-serve", "thread-per-conn", "c-epoll"],
  ...["c-io-uring", "go-net", "rust-tokio", "java-nio", "node-http", "python-asyncio", "nginx"],
];
const QUICK_SERVERS = ["epoll", "epoll-edge", "io-uring", "c-threads"];
const CONNECTIONS = 100;
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
  /** Slices of one server, and their length: one is counted, the next is without a counter, for the switches. */
  slices: number;
  seconds: number;
}

async function ofServer(server: string, { counter, connections, slices, seconds }: Extent, { signal }: ProbePlan) {
  const rows = rowsOf(NAME, server);
  return await orMissing([rows], METRICS, { signal }, async () => {
    await using rig = await Rig.start({ server, signal });
    await rig.climber()(connections);
    await rig.closed(seconds, seconds);
    const calls: number[] = [], switches: number[] = [];
    const answered = async () => (await rig.generator.totals()).answered;
    for (let slice = 0; slice < slices; slice++) {
      const pids = processTree(rig.server.pid);
      if (pids === null) throw new CannotProbe(`${server} has ended`);
      const from = await answered();
      const counted = await countSystemCalls(counter, pids, async () => void await rig.closed(seconds));
      calls.push(counted / (await answered() - from));
      const before = rig.look().context_switches, start = await answered();
      await rig.closed(seconds);
      switches.push((rig.look().context_switches - before) / (await answered() - start));
    }
    return [
      rows.of(METRICS[0], calls, HOW[counter]),
      rows.of(METRICS[1], switches, "in slices of one server"),
    ];
  });
}

/** Measures one server after the other, in a closed loop. */
export const measureSystemCalls = (extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(extent.servers, plan, (server) => server, (server) => ofServer(server, extent, plan));

export const systemCalls: Probe = {
  name: NAME,
  title: "System calls and context switches for each request",
  obstacle: async () => linuxOnly() ?? (await counterHere() === null ? COUNTER_REMEDY : null),
  run: async (plan) => {
    const counter = await counterHere();
    if (counter === null) throw new Error(COUNTER_REMEDY);
    const common = { counter, connections: CONNECTIONS };
    return await measureSystemCalls(
      plan.quick
        ? { ...common, servers: QUICK_SERVERS, slices: 1, seconds: 0.2 }
        : { ...common, servers: SERVERS, slices: RUNS, seconds: 0.15 },
      plan,
    );
  },
};
