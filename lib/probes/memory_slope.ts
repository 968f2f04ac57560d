/**
 * What one more thread or process takes: the slope between two numbers of them, so that what the program needs anyway
 * drops out.
 *
 * @module
 */
import { processTree, unlessGone } from "../sampling/process.ts";
import { parseKb } from "../sampling/proc_parse.ts";
import { readProc } from "../sampling/procfs.ts";
import type { Sample } from "../sampling/sampler.ts";
import { CannotProbe, Rig } from "./rig.ts";

/** One variant. */
export interface Grower {
  variant: string;
  /** The experiment. */
  server: string;
  /** Whether its threads or processes come with the connections, or are made beforehand, as `--workers` says. */
  grows: "connections" | "workers";
  /** Limits of the server in the words of prlimit(1). */
  prlimit?: string[];
  /** What is counted: the slope is for each of these. */
  unit: "threads" | "processes";
}

/** Bytes for each thread or process. */
export interface Slope {
  virtual: number;
  rss: number;
  pss: number;
  pageTables: number;
  /** Null where others of the host started or ended threads meanwhile: the kernel tells of all together. */
  kernelStack: number | null;
  /** Objects of the kernel that cannot be given back, such as task_struct and mm_struct. Null as above. */
  slab: number | null;
}

/** What a process tree takes, and the stacks of all threads of the host in the kernel. */
interface Look extends Sample {
  virtual_bytes: number;
  page_table_bytes: number;
  kernel_stack_bytes: number;
  slab_bytes: number;
  host_threads: number;
}

/** Requests on each connection before the look: each thread has served and has its buffers, and code is compiled. */
const ROUNDS = 3;

/** So many threads of others may have come or gone, as a share of those that are measured. */
const FOREIGN_SHARE = 0.02;

function lookAt(rig: Rig): Look {
  const sample = rig.look();
  const pids = processTree(rig.server.pid) ?? [];
  const statuses = pids.map((pid) => unlessGone(() => parseKb(readProc(`/proc/${pid}/status`))) ?? {});
  const host = parseKb(readProc("/proc/meminfo"));
  const sum = (name: string) => statuses.reduce((total, status) => total + (status[name] ?? 0), 0);
  return {
    ...sample,
    virtual_bytes: sum("VmSize"),
    page_table_bytes: sum("VmPTE"),
    kernel_stack_bytes: host.KernelStack ?? 0,
    slab_bytes: host.SUnreclaim ?? 0,
    host_threads: Number(/ \d+\/(\d+) /.exec(readProc("/proc/loadavg"))?.[1]), // running/all threads, see proc(5)
  };
}

/** The files of a program are shared by all that run it, and how many do changes from moment to moment: not in it. */
const pssOf = ({ pss_anon_bytes, pss_bytes }: Sample) => pss_anon_bytes ?? pss_bytes;

function between(low: Look, high: Look, { server, unit }: Grower): Slope {
  const more = high[unit] - low[unit];
  if (more <= 0) throw new CannotProbe(`${server} has ${high[unit]} ${unit}, and had ${low[unit]} with less to do`);
  const foreign = high.host_threads - low.host_threads - (high.threads - low.threads);
  const isQuiet = Math.abs(foreign) <= more * FOREIGN_SHARE;
  return {
    virtual: (high.virtual_bytes - low.virtual_bytes) / more,
    rss: (high.rss_bytes - low.rss_bytes) / more,
    pss: (pssOf(high) - pssOf(low)) / more,
    pageTables: (high.page_table_bytes - low.page_table_bytes) / more,
    kernelStack: isQuiet ? (high.kernel_stack_bytes - low.kernel_stack_bytes) / more : null,
    slab: isQuiet ? (high.slab_bytes - low.slab_bytes) / more : null,
  };
}

/**
 * Measures one slope, with connections that have all been answered.
 *
 * @param sizes The two numbers of connections.
 * @throws {StartError} If the server cannot run here.
 * @throws {CannotProbe} If it does not hold the connections, or does not grow with them.
 */
export async function memorySlope(grower: Grower, sizes: readonly [number, number], signal: AbortSignal) {
  const { server, prlimit = [], grows } = grower;
  const looks: Look[] = [];
  const look = async (rig: Rig) => {
    for (let round = 0; round < ROUNDS; round++) await rig.generator.ask();
    looks.push(lookAt(rig));
  };
  if (grows === "connections") {
    await using rig = await Rig.start({ server, prlimit, signal });
    const climb = rig.climber();
    for (const size of sizes) {
      await climb(size);
      await look(rig);
    }
  } else {
    for (const size of sizes) {
      await using rig = await Rig.start({ server, args: ["--workers", String(size)], prlimit, signal });
      await rig.climber()(size);
      await look(rig);
    }
  }
  return between(looks[0]!, looks[1]!, grower);
}
