/**
 * What the windows of a load tell about the validity of their figures.
 *
 * @module
 */
import { coreSharesOf, interruptSharesOf, sharesOf, type Slice, type Window } from "../load/generator.ts";
import type { Evidence } from "../results/findings.ts";
import { readThrottling } from "../sampling/cgroup.ts";
import { type Cpu, readCpus } from "../sampling/cores.ts";
import { irqTimeAccounting } from "../sampling/irq.ts";
import { Histogram } from "../timing/histogram.ts";

/** Whether interrupts are missing in CPU times here; read once, as it cannot change. */
let irqApart: boolean | undefined;

/**
 * The share of its core that the busiest process of the load generator had work for: spinning until a request is due is none.
 * A full one limits the load, and idle ones beside it would hide that in a mean.
 *
 * @param irqApart Interrupts have an account of their own (see irqTimeAccounting): to each process what they took of its core is
 * added. How busy the core was would not do: that has the spinning in it.
 */
export function generatorShare(
  windows: readonly Pick<Window, "client_busy_us" | "seconds" | "cores">[],
  irqApart = false,
): number | null {
  const hadUs = windows.reduce((sum, { seconds }) => sum + seconds * 1e6, 0);
  const processes = Math.max(0, ...windows.map(({ client_busy_us }) => client_busy_us.length));
  if (hadUs <= 0 || processes === 0) return null;
  const interrupts = irqApart ? interruptSharesOf(windows, "client") : []; // process i is pinned to the i-th core of the load
  const usedBy = (i: number) => windows.reduce((sum, { client_busy_us }) => sum + (client_busy_us[i] ?? 0), 0);
  const shares = Array.from({ length: processes }, (_, i) => usedBy(i) / hadUs + (interrupts[i] ?? 0));
  return irqApart ? Math.min(Math.max(...shares), 1) : Math.max(...shares);
}

/** How many cores of the load had no process that took part; null where the load is not pinned to cores of this host. */
export function loadCoresLeft(windows: readonly Pick<Window, "cores" | "client_processes">[]): number | null {
  const cores = new Set(windows.flatMap((window) => window.cores.filter(({ client }) => client).map(({ cpu }) => cpu)));
  const used = Math.max(0, ...windows.map(({ client_processes }) => client_processes));
  return cores.size === 0 ? null : Math.max(0, cores.size - used);
}

/** Latenesses of all windows in one histogram; null where none was an open loop. */
function latenessOf(windows: readonly Window[]): Histogram | null {
  const all = windows.flatMap(({ lateness }) => lateness === null || lateness.count === 0 ? [] : [lateness]);
  return all.length === 0 ? null : all.reduce((sum, each) => sum.merge(each), new Histogram());
}

/** How late requests left although a connection was idle, in µs; nulls where there was no open loop. */
export function lateness(windows: readonly Window[]): { late_p50_us: number | null; late_p99_us: number | null } {
  const all = latenessOf(windows);
  return { late_p50_us: all?.percentile(50) ?? null, late_p99_us: all?.percentile(99) ?? null };
}

/** The larger of two shares; null where both are. */
const larger = (a: number | null | undefined, b: number | null | undefined): number | null =>
  a == null ? b ?? null : b == null ? a : Math.max(a, b);

/** So much of one of several stretches is a burst: it decides the upper percentiles of all, however little of their time it is. */
const BURST_SHARE = 0.5;

type Measured = Slice & Partial<Pick<Window, "slices">>;

/** The shortest stretches that are known. */
const stretchesOf = (windows: readonly Measured[]): readonly Slice[] =>
  windows.flatMap((window): readonly Slice[] =>
    window.slices === undefined || window.slices.length === 0 ? [window] : window.slices
  );

/** A share of all windows together, and that of their worst stretch where it is a burst. */
interface Taken {
  all: number | null;
  burst: number | null;
}

/** Shares of one stretch are a few per cent off, as the kernel counts in ticks of 10 ms: less than a burst says nothing there. */
function takenOf(windows: readonly Measured[], share: (of: readonly Slice[]) => number | null): Taken {
  const stretches = stretchesOf(windows);
  const worst = Math.max(0, ...stretches.map((stretch) => share([stretch]) ?? 0));
  return { all: share(windows), burst: stretches.length > 1 && worst >= BURST_SHARE ? worst : null };
}

/**
 * The CPU time that others used of the pinned cores, whichever had more. Of the host, where a side is pinned to none: it may run
 * on those of the other side too, and would seem to be a stranger there.
 */
function foreignOver(windows: readonly Slice[], irqApart: boolean): number | null {
  const [server, client] = (["server", "client"] as const).map((side) => coreSharesOf(windows, side, irqApart));
  const isFree = (server === null && client === null) ||
    windows.some(({ own_cpu: { server_us, client_us } }) =>
      (server === null && (server_us ?? 0) > 0) || (client === null && client_us > 0)
    );
  return isFree ? sharesOf(windows, irqApart).foreign : larger(server?.foreign, client?.foreign);
}

/** What others used of the cores. */
export const foreignIn = (windows: readonly Measured[], irqApart: boolean): Taken =>
  takenOf(windows, (of) => foreignOver(of, irqApart));

/** What the hypervisor gave of them to other guests. */
export const stealIn = (windows: readonly Measured[]): Taken =>
  takenOf(windows, (of) => {
    const [server, client] = (["server", "client"] as const).map((side) => coreSharesOf(of, side));
    return server === null && client === null ? sharesOf(of).steal : larger(server?.steal, client?.steal);
  });

type FromWindows = Pick<
  Evidence,
  | "generatorCoreShare"
  | "loadCoresLeft"
  | "serverCoreShare"
  | "lateP99Us"
  | "stealShare"
  | "foreignShare"
  | "stealBurst"
  | "foreignBurst"
  | "irqApart"
  | "reconnects"
  | "closesAfter"
  | "sharedCore"
>;

/** The logical processors that may be used; read once, as taskset(1) of a running lab is no case. */
let cpusHere: Cpu[] | undefined;

/** What the cores of both sides have in common. Where one side is pinned to none, it is not known, unless there is only one. */
export function sharedCoreOf(
  windows: readonly Pick<Window, "cores">[],
  cpus: readonly Cpu[],
): Evidence["sharedCore"] {
  if (cpus.length === 1) return "core";
  const cores = windows.flatMap((window) => window.cores);
  if (cores.some(({ server, client }) => server && client)) return "core";
  const siblingsOf = (id: number) => cpus.find((cpu) => cpu.id === id)?.siblings ?? [];
  const load = new Set(cores.filter(({ client }) => client).map(({ cpu }) => cpu));
  const isShared = cores.some(({ cpu, server }) => server && siblingsOf(cpu).some((other) => load.has(other)));
  return isShared ? "siblings" : null;
}

/**
 * The evidence that windows of one load have in them. Foreign load and steal are those of the cores that server and
 * generator are pinned to, whichever had more; of the whole host where they are not pinned.
 */
export function evidenceOf(windows: readonly Window[]): FromWindows {
  irqApart ??= irqTimeAccounting() === true;
  cpusHere ??= Deno.build.os === "linux" ? readCpus() : [];
  const answered = windows.some(({ requests }) => requests > 0); // an empty window shows nothing
  const server = coreSharesOf(windows, "server", irqApart);
  const [foreign, steal] = [foreignIn(windows, irqApart), stealIn(windows)];
  return {
    generatorCoreShare: answered ? generatorShare(windows, irqApart) : null,
    loadCoresLeft: loadCoresLeft(windows),
    serverCoreShare: !answered || server === null ? null : irqApart ? server.busy : server.own,
    lateP99Us: lateness(windows).late_p99_us,
    stealShare: steal.all,
    foreignShare: foreign.all,
    stealBurst: steal.burst,
    foreignBurst: foreign.burst,
    irqApart,
    reconnects: windows.reduce((sum, window) => sum + window.reconnects, 0),
    closesAfter: windows.at(-1)?.closes_after ?? null,
    sharedCore: sharedCoreOf(windows, cpusHere),
  };
}

/** Measures for how much of a stretch of time the control group was throttled. */
export function throttleMeter(): () => number | null {
  const read = () => Deno.build.os === "linux" ? readThrottling() : null;
  const from = read();
  const startMs = performance.now();
  return () => {
    const to = read();
    if (from === null || to === null) return null;
    return (to.throttled_us - from.throttled_us) / 1000 / (performance.now() - startMs);
  };
}
