/**
 * The probes `thread-memory` and `process-memory`: the memory that texts name for a stack or a copy, and that
 * which is there.
 *
 * @module
 */
import { type Grower, memorySlope, type Slope } from "./memory_slope.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing } from "./rig.ts";

/** A variant and its two numbers of connections, in a whole run and in a quick one. */
interface Variant extends Grower {
  sizes: readonly [number, number];
  quick: readonly [number, number];
}

const MANY = { sizes: [50, 250], quick: [20, 60] } as const;
const WORKERS = { sizes: [10, 50], quick: [4, 12] } as const; // each takes 30 ms and 7 MiB
const FEW = { sizes: [10, 60], quick: [4, 12] } as const;
const STACK = (bytes: number) => [`--stack=${bytes}`];
const MIB = 2 ** 20;

const thread = (server: string, rest: Partial<Variant> = {}): Variant => ({
  variant: server,
  server,
  grows: "connections",
  unit: "threads",
  ...MANY,
  ...rest,
});
const THREADS: Variant[] = [
  thread("c-threads"), // the stack is what `ulimit -s` says
  thread("c-threads", { variant: "c-threads 8 MiB", prlimit: STACK(8 * MIB) }),
  thread("c-threads", { variant: "c-threads 1 MiB", prlimit: STACK(MIB) }),
  thread("thread-per-conn", WORKERS),
  thread("python-threads"),
  thread("java-threads"),
];

const process = (server: string, grows: Grower["grows"], rest: Partial<Variant> = {}): Variant => ({
  variant: server,
  server,
  grows,
  unit: "processes",
  ...MANY,
  ...rest,
});
const PROCESSES: Variant[] = [
  process("process-per-conn", "connections"),
  process("prefork", "workers"),
  process("apache-prefork", "connections", FEW), // it makes them as connections come, at first one in a second
  process("python-prefork", "workers"),
];

const THREAD_METRICS = {
  virtual_bytes_per_thread: "virtual",
  rss_bytes_per_thread: "rss",
  pss_bytes_per_thread: "pss",
  page_table_bytes_per_thread: "pageTables",
  kernel_stack_bytes_per_thread: "kernelStack",
} as const;
const PROCESS_METRICS = {
  virtual_bytes_per_process: "virtual",
  rss_bytes_per_process: "rss",
  pss_bytes_per_process: "pss",
  page_table_bytes_per_process: "pageTables",
  kernel_stack_bytes_per_process: "kernelStack",
  kernel_slab_bytes_per_process: "slab",
} as const;

const NOTES: Partial<Record<keyof Slope, string>> = {
  pss: "without the pages of files",
  slab:
    "of the whole host, with both ends of the connection where there is one for each; only of runs in which the rest " +
    "of the host kept its number of threads",
  kernelStack: "only of runs in which the rest of the host kept its number of threads",
};

type Metrics = Readonly<Record<string, keyof Slope>>;

/** Measures the slopes of variants, `runs` of each. */
export const measureSlopes = (
  probe: string,
  metrics: Metrics,
  variants: readonly (Grower & { at: readonly [number, number] })[],
  runs: number,
  plan: ProbePlan,
): Promise<ProbeRow[]> =>
  inTurn(variants, plan, ({ variant }) => variant, (variant) => {
    const rows = rowsOf(probe, variant.variant);
    return orMissing([rows], Object.keys(metrics), plan, async () => {
      const slopes: Slope[] = [];
      for (let run = 0; run < runs; run++) slopes.push(await memorySlope(variant, variant.at, plan.signal));
      return Object.entries(metrics).map(([metric, key]) =>
        rows.of(metric, slopes.map((slope) => slope[key]), NOTES[key] ?? null)
      );
    });
  });

const probeOf = (name: string, title: string, metrics: Metrics, variants: Variant[], quickNames: string[]): Probe => ({
  name,
  title,
  obstacle: linuxOnly,
  run: (plan) => {
    const chosen = variants.filter(({ variant }) => !plan.quick || quickNames.includes(variant));
    const sized = chosen.map((variant) => ({ ...variant, at: plan.quick ? variant.quick : variant.sizes }));
    return measureSlopes(name, metrics, sized, plan.quick ? 1 : RUNS, plan);
  },
});

export const threadMemory = probeOf(
  "thread-memory",
  "What a thread takes: address space, memory, stack in the kernel",
  THREAD_METRICS,
  THREADS,
  ["c-threads", "thread-per-conn", "python-threads"],
);

export const processMemory = probeOf(
  "process-memory",
  "What a forked process takes",
  PROCESS_METRICS,
  PROCESSES,
  ["process-per-conn", "prefork", "python-prefork"],
);
