/**
 * What the load generator spends on system calls, and how much of that rings could save: whether an engine by io_uring would
 * make more requests per core than epoll's.
 *
 * A ring takes many requests with one call, so what it saves is at most the way into the kernel and back, for every call. What
 * a call does in there, which is mostly TCP, is the same work by either way.
 *
 * @module
 */
import { parseOwnTicks, TICK_US } from "../sampling/proc_parse.ts";
import { processCpuUs } from "../sampling/process.ts";
import { readProc } from "../sampling/procfs.ts";
import { linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";
import { type Counter, COUNTER_REMEDY, counterHere, countSystemCalls } from "./syscall_count.ts";

const NAME = "generator";
const SERVER = "epoll";
const CONNECTIONS = 100;
export const METRICS = [
  "cpu_us_per_request",
  "kernel_percent",
  "system_calls_per_request",
  "empty_call_us",
  "rings_save_at_most_percent",
] as const;

/** How it is measured. */
export interface Extent {
  counter: Counter;
  connections: number;
  /** Windows without a counter, as many with one, and their length. */
  runs: number;
  seconds: number;
  /** Empty system calls in a row. */
  calls: number;
}

/** CPU time of a process in user mode and in the kernel, in µs. */
function ownTimes(pid: number): { user: number; kernel: number } {
  const { user, kernel } = parseOwnTicks(readProc(`/proc/${pid}/stat`));
  return { user: user * TICK_US, kernel: kernel * TICK_US };
}

/** What the way into the kernel and back takes, in µs: a system call that does nothing there. */
function emptyCallUs(calls: number): number {
  const libc = Deno.dlopen("libc.so.6", { getppid: { parameters: [], result: "i32" } });
  const { getppid } = libc.symbols;
  const call = (times: number) => {
    for (let i = 0; i < times; i++) getppid();
  };
  call(calls / 10); // until it is compiled
  const fromUs = processCpuUs(Deno.pid)!;
  call(calls);
  const us = (processCpuUs(Deno.pid)! - fromUs) / calls;
  libc.close();
  return us;
}

/** One window without a counter, and one with it. */
async function run(rig: Rig, { counter, seconds, calls }: Extent) {
  const { pid } = rig.generator;
  const from = ownTimes(pid);
  const cpuFrom = processCpuUs(pid)!;
  const answered = async () => (await rig.generator.totals()).answered;
  const before = await answered();
  await rig.closed(seconds);
  const requests = await answered() - before;
  const to = ownTimes(pid);
  const cpuUs = (processCpuUs(pid)! - cpuFrom) / requests;
  const kernel = to.kernel - from.kernel;
  const start = await answered();
  const counted = await countSystemCalls(counter, [pid], async () => void await rig.closed(seconds));
  const callsPerRequest = counted / (await answered() - start);
  const emptyUs = emptyCallUs(calls);
  return {
    cpuUs,
    kernelPercent: 100 * kernel / (kernel + to.user - from.user),
    callsPerRequest,
    emptyUs,
    savedPercent: 100 * callsPerRequest * emptyUs / cpuUs,
  };
}

/** Measures the generator at a server that costs less than it does. */
export async function measureGenerator(extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, `epoll engine, ${extent.connections} connections`);
  plan.onProgress("the generator's engine");
  return await orMissing([rows], METRICS, plan, async () => {
    await using rig = await Rig.start({ server: SERVER, signal: plan.signal });
    await rig.climber()(extent.connections);
    await rig.closed(extent.seconds, extent.seconds);
    const runs: Awaited<ReturnType<typeof run>>[] = [];
    for (let i = 0; i < extent.runs; i++) runs.push(await run(rig, extent));
    const found = [
      rows.of(METRICS[0], runs.map(({ cpuUs }) => cpuUs), "of the generator, in a closed loop"),
      rows.of(METRICS[1], runs.map(({ kernelPercent }) => kernelPercent), "of its CPU time: inside of system calls"),
      rows.of(METRICS[2], runs.map(({ callsPerRequest }) => callsPerRequest), `counted by ${extent.counter}`),
      rows.of(METRICS[3], runs.map(({ emptyUs }) => emptyUs), "getppid(2) by FFI: into the kernel and back"),
      rows.of(
        METRICS[4],
        runs.map(({ savedPercent }) => savedPercent),
        "of its CPU time, if a ring made all these calls free",
      ),
    ];
    plan.onRows?.(found);
    return found;
  });
}

export const generator: Probe = {
  name: NAME,
  title: "What the load generator spends on system calls, and what rings could save of it",
  obstacle: async () => linuxOnly() ?? (await counterHere() === null ? COUNTER_REMEDY : null),
  run: async (plan) => {
    const counter = await counterHere();
    if (counter === null) throw new Error(COUNTER_REMEDY);
    const common = { counter, connections: CONNECTIONS };
    return await measureGenerator(
      plan.quick
        ? { ...common, runs: 1, seconds: 0.5, calls: 200_000 }
        : { ...common, runs: RUNS, seconds: 1, calls: 1_000_000 },
      plan,
    );
  },
};
