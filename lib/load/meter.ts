/**
 * CPU time beside a load: read by the process that drives the generators, and never in the loop of one, which would be late
 * meanwhile. To read a tree of processes takes a millisecond or more.
 *
 * @module
 */
import { allowedCpus, cpuReading, knownCpuReading, monotonicUs, processCpuUs } from "../sampling/process.ts";
import { countCpus, type CpuUs, parseCpuTimes } from "../sampling/proc_parse.ts";
import { readProc } from "../sampling/procfs.ts";
import type { CoreTimes, CpuTimes, Slice, Timing, Window } from "./types.ts";

/** Host and generators at one moment. */
interface Around {
  /** The text of /proc/stat; null on a system without it, and where nobody of them is on this host. */
  stat: string | null;
  clientUs: number;
  kernelUs: number;
}

/**
 * All clocks at an edge of a window. The host is read first and last: between two readings it counts nothing of the reading
 * itself.
 */
export interface Reading {
  first: Around;
  last: Around;
  serverUs: number | null;
  /** When the server was read. */
  atUs: number;
  /** The processes of the server, and the CPU time of those that have ended. */
  pids: readonly number[];
  endedUs: number;
}

/** The readings at both edges of a window, and those between them. */
export interface Readings {
  from: Reading;
  between: readonly Reading[];
  to: Reading;
}

/** When load was on the server, and the window in it. */
export interface Span {
  fromUs: number;
  toUs: number;
  loadFromUs: number;
  loadToUs: number;
}

type Times = Pick<Window, "server_cpu_us" | "host_cpu" | "cores" | "own_cpu">;

const SLICE_US = 500_000;
/** In less the kernel counts too few ticks of 10 ms: so where the load ends early, or this process was late. */
const MIN_SLICE_US = SLICE_US / 4;
/** More processes take too long to be read within a window. */
export const MAX_LOOKED_AT = 16;

const HAS_STAT = Deno.build.os === "linux";

const timesOf = ({ busy, irq, softirq, steal, total }: CpuUs, before: CpuUs): CpuTimes => ({
  busy_us: busy - before.busy,
  irq_us: irq - before.irq,
  softirq_us: softirq - before.softirq,
  steal_us: steal - before.steal,
  total_us: total - before.total,
});

/** Between two texts of /proc/stat: the host, or one of its CPUs; null where one of the texts does not have it. */
function between(from: string | null, to: string | null, cpu?: number): CpuTimes | null {
  const before = from === null ? null : parseCpuTimes(from, cpu);
  const after = to === null ? null : parseCpuTimes(to, cpu);
  return before === null || after === null ? null : timesOf(after, before);
}

/** Cores that a process is pinned to: fewer than all of them. */
function pinned(cpus: readonly number[] | null): readonly number[] {
  if (cpus === null || !HAS_STAT) return [];
  return cpus.length < countCpus(readProc("/proc/stat")) ? cpus : [];
}

/** Reads the clocks at the edges of windows, and between them. */
export class Meter {
  /** The cores of either side. */
  readonly serverCpus: readonly number[];
  /** Server or generator are on this host: else its CPU time says nothing of them. */
  readonly #isHere: boolean;

  /**
   * @param serverPid The root of the server's process tree; null: not known.
   * @param clients The processes of the generator.
   * @param clientCpus The cores that these are pinned to.
   * @param kernelThreads Those of the kernel that work for the server alone.
   */
  constructor(
    readonly serverPid: number | null,
    readonly clients: readonly number[],
    readonly clientCpus: readonly number[],
    readonly kernelThreads: readonly number[] = [],
  ) {
    this.#isHere = serverPid !== null || clients.length > 0;
    this.serverCpus = pinned(serverPid === null ? null : allowedCpus(serverPid));
  }

  #around(): Around {
    const usedBy = (pids: readonly number[]) => pids.reduce((sum, pid) => sum + (processCpuUs(pid) ?? 0), 0);
    return {
      stat: HAS_STAT && this.#isHere ? readProc("/proc/stat") : null,
      clientUs: usedBy(this.clients),
      kernelUs: usedBy(this.kernelThreads),
    };
  }

  read(): Reading {
    const first = this.#around();
    const server = this.serverPid === null ? null : cpuReading(this.serverPid);
    return {
      first,
      serverUs: server?.us ?? null,
      atUs: server?.atUs ?? monotonicUs(),
      pids: server?.pids ?? [],
      endedUs: server?.endedUs ?? 0,
      last: this.#around(),
    };
  }

  /**
   * Reads the clocks at both edges of a window, and every half second between them: what others take in one of them decides
   * the upper percentiles, and is little of a long window. Of a server with many processes nothing is read between.
   *
   * @param ended The load is over.
   */
  async readAt(fromUs: number, toUs: number, ended: Promise<unknown>): Promise<Readings> {
    let isOver = false;
    void ended.then(() => isOver = true);
    await sleepUntil(fromUs, ended);
    const from = this.read();
    const between: Reading[] = [];
    const last = from.pids.length > MAX_LOOKED_AT ? fromUs : toUs - SLICE_US / 2;
    for (let atUs = fromUs + SLICE_US; atUs < last && !isOver; atUs += SLICE_US) {
      await sleepUntil(atUs, ended);
      if (!isOver) between.push(this.#look(from.pids));
    }
    await sleepUntil(toUs, ended);
    return { from, between, to: this.read() };
  }

  #look(pids: readonly number[]): Reading {
    const server = pids.length === 0 ? null : knownCpuReading(pids);
    const around = this.#around();
    return {
      first: around,
      serverUs: server?.us ?? null,
      atUs: server?.atUs ?? monotonicUs(),
      pids,
      endedUs: server?.endedUs ?? 0,
      last: around,
    };
  }

  /** The times of a window and of its slices; these are none where processes of the server began or ended meanwhile. */
  times({ from, between, to }: Readings, span: Span): Times & Pick<Window, "slices"> {
    const isLong = (a: Reading, b: Reading) => b.atUs - a.atUs >= MIN_SLICE_US;
    const all = [from, ...between.filter((look, i) => isLong(between[i - 1] ?? from, look) && isLong(look, to)), to];
    const isKnown = between.length > 0 && to.endedUs === from.endedUs && to.pids.length === from.pids.length &&
      to.pids.every((pid) => from.pids.includes(pid));
    const slices = all.slice(1).map((next, i): Slice => {
      const span = { fromUs: all[i]!.atUs, toUs: next.atUs, loadFromUs: -Infinity, loadToUs: Infinity };
      const { host_cpu, cores, own_cpu } = this.between(all[i]!, next, span);
      return { host_cpu, cores, own_cpu };
    });
    return { ...this.between(from, to, span), slices: isKnown ? slices : [] };
  }

  /**
   * The times of a window. The readings are a little off its edges, but under the same load: so the CPU time of the server is that
   * of the time between them in which there was load, by its length, times the length of the window.
   */
  between(from: Reading, to: Reading, { fromUs, toUs, loadFromUs, loadToUs }: Span): Times {
    const loadedUs = Math.min(to.atUs, loadToUs) - Math.max(from.atUs, loadFromUs);
    const serverUs = from.serverUs === null || to.serverUs === null ? null : to.serverUs - from.serverUs;
    const known = serverUs !== null && serverUs >= 0 && loadedUs > 0;
    const cores = [...new Set([...this.serverCpus, ...this.clientCpus])].sort((a, b) => a - b);
    return {
      server_cpu_us: known ? serverUs * (toUs - fromUs) / loadedUs : null,
      host_cpu: between(from.last.stat, to.first.stat),
      cores: cores.flatMap((cpu): CoreTimes[] => {
        const times = between(from.last.stat, to.first.stat, cpu);
        const sides = { cpu, server: this.serverCpus.includes(cpu), client: this.clientCpus.includes(cpu) };
        return times === null ? [] : [{ ...sides, ...times }];
      }),
      own_cpu: {
        server_us: known ? serverUs : null,
        client_us: to.first.clientUs - from.last.clientUs,
        beside_us: to.first.kernelUs - from.last.kernelUs,
      },
    };
  }
}

/** The load of a timing with a window in it. */
export const spanOf = ({ startUs, endUs }: Pick<Timing, "startUs" | "endUs">, fromUs: number, toUs: number): Span => ({
  fromUs,
  toUs,
  loadFromUs: startUs,
  loadToUs: endUs,
});

/** Waits until a time of `monotonicUs`, or until `over`. */
export async function sleepUntil(us: number, over: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const time = new Promise<void>((resolve) => timer = setTimeout(resolve, Math.max(us - monotonicUs(), 0) / 1e3));
  await Promise.race([time, over]);
  clearTimeout(timer);
}

/** Shares of the host's CPU time, 0 to 1, over all of some windows; null where they do not tell. */
export interface Shares {
  /** What the hypervisor gave to other guests. */
  steal: number | null;
  /** What others used than server and generator, and than a server of the lab that waits for its turn. */
  foreign: number | null;
}

/**
 * The shares over all windows of a run. The kernel counts in ticks of 10 ms, so that a short window may seem to have used less than
 * its processes did: what is summed first and bounded once has no bias.
 *
 * @param irqApart Interrupts have an account of their own (see irqTimeAccounting): they are nobody's CPU time, and not foreign.
 */
export function sharesOf(windows: readonly Pick<Window, "host_cpu" | "own_cpu">[], irqApart = false): Shares {
  let steal = 0;
  let foreign = 0;
  let total = 0;
  let server: number | null = 0;
  for (const { host_cpu: host, own_cpu: own } of windows) {
    if (host === null) return { steal: null, foreign: null };
    steal += host.steal_us;
    total += host.total_us;
    const interrupts = irqApart ? host.irq_us + host.softirq_us : 0;
    foreign += host.busy_us - interrupts - own.client_us - (own.beside_us ?? 0);
    server = server === null || own.server_us === null ? null : server + own.server_us;
  }
  if (total <= 0) return { steal: null, foreign: null };
  const share = (us: number) => Math.min(Math.max(us / total, 0), 1);
  return { steal: share(steal), foreign: server === null ? null : share(foreign - server) };
}

/** Shares of the time of the cores that one side is pinned to, 0 to 1, over all of some windows. */
export interface CoreShares {
  /** What ran on them, interrupts included. */
  busy: number;
  softirq: number;
  /** What the hypervisor gave to other guests. */
  steal: number;
  /** What the side itself used; null where its CPU time is not known. */
  own: number | null;
  /** What neither server nor generator used; null where the CPU time of one that may run there is not known. */
  foreign: number | null;
}

/**
 * How busy the cores of the server, or of the generator, were, and by whom. Null where they are not pinned, or the system does not
 * tell. As in {@linkcode sharesOf}, what is summed first and bounded once has no bias.
 *
 * @param irqApart Interrupts have an account of their own (see irqTimeAccounting): they are nobody's CPU time, and not foreign.
 */
export function coreSharesOf(
  windows: readonly Pick<Window, "cores" | "own_cpu">[],
  side: "server" | "client",
  irqApart = false,
): CoreShares | null {
  const sum = { busy: 0, softirq: 0, steal: 0, total: 0, interrupts: 0, beside: 0 };
  const used: Record<"server" | "client", number | null> = { server: 0, client: 0 };
  const shared = { server: false, client: false };
  for (const { cores, own_cpu } of windows) {
    used.client! += own_cpu.client_us;
    used.server = used.server === null || own_cpu.server_us === null ? null : used.server + own_cpu.server_us;
    sum.beside += own_cpu.beside_us ?? 0;
    for (const core of cores.filter((each) => each[side])) {
      sum.busy += core.busy_us;
      sum.softirq += core.softirq_us;
      sum.interrupts += core.softirq_us + core.irq_us;
      sum.steal += core.steal_us;
      sum.total += core.total_us;
      shared.server ||= core.server;
      shared.client ||= core.client;
    }
  }
  if (sum.total <= 0) return null;
  const share = (us: number) => Math.min(Math.max(us / sum.total, 0), 1);
  const parties = (["server", "client"] as const).filter((party) => shared[party]).map((party) => used[party]);
  const known = parties.every((us) => us !== null);
  const own = used[side];
  const others = (irqApart ? sum.interrupts : 0) + (shared.server ? sum.beside : 0);
  const ours = parties.reduce<number>((total, us) => total + (us ?? 0), others);
  return {
    busy: share(sum.busy),
    softirq: share(sum.softirq),
    steal: share(sum.steal),
    own: own === null ? null : share(own),
    foreign: known ? share(sum.busy - ours) : null,
  };
}

/** The shares of interrupts of the time of each core of one side, 0 to 1, in the order of the windows' cores. */
export function interruptSharesOf(windows: readonly Pick<Window, "cores">[], side: "server" | "client"): number[] {
  const cores = windows.flatMap((window) => window.cores.filter((core) => core[side]));
  const sum = (own: readonly CoreTimes[], of: (core: CoreTimes) => number) =>
    own.reduce((total, core) => total + of(core), 0);
  return [...Map.groupBy(cores, ({ cpu }) => cpu).values()].map((own) => {
    const total = sum(own, ({ total_us }) => total_us);
    return total > 0 ? Math.min(sum(own, ({ irq_us, softirq_us }) => irq_us + softirq_us) / total, 1) : 0;
  });
}
