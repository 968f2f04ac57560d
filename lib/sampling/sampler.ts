/**
 * What a server and its connections take at one moment: processes, threads, descriptors, memory of the process and
 * memory of the kernel. A sample costs some milliseconds a process, so it belongs at plateaus, never into a timed
 * slice.
 *
 * @module
 */
import { readCgroup } from "./cgroup.ts";
import { processCpuUs, processTree, unlessGone } from "./process.ts";
import { parseContextSwitches, parseKb, parseSlabinfo, parseStat, sumKb } from "./proc_parse.ts";
import { countProcLines, listProc, readProc, sizeProc } from "./procfs.ts";

/** One look at a process tree and at the host. All sums are over the whole tree. */
export interface Sample {
  processes: number;
  threads: number;
  descriptors: number;
  /** Pages in memory, each counted in full in every process that maps it: over a tree, shared ones count many times. */
  rss_bytes: number;
  /** Pages in memory, shared ones divided by the number of processes that map them: the one that can be added up. */
  pss_bytes: number;
  /**
   * The part of PSS that belongs to no file: heaps, stacks, copied pages. Null before Linux 5.3. For a difference
   * between two samples it is the better figure: the program's own text is a part of PSS too, and that part moves by
   * megabytes when any other process that runs the same program starts or ends.
   */
  pss_anon_bytes: number | null;
  /** Areas of memory that a process has mapped; of several processes the most: the kernel's limit is for each of them. */
  mappings: number;
  /**
   * Voluntary and involuntary, of the threads that live: what ended threads had is gone from /proc. So the difference of two
   * samples is {@linkcode switchesBetween} and no other.
   */
  context_switches: number;
  /** The ids of these threads. */
  thread_ids: readonly number[];
  /** CPU time of threads that have ended, as far as their processes live; null where the system does not tell. */
  ended_threads_us: number | null;
  /** Page faults of child processes that have ended and were waited for. */
  ended_children_faults: number;
  /** See {@linkcode kernelSocketBytes}. Of the whole host. */
  kernel_socket_bytes: number | null;
  /** What can be had without swapping, of the whole host: free pages and those that the kernel would give back. */
  mem_available_bytes: number;
}

// Found by holding 4 000 and 8 000 connections on Linux 6.18: slab objects that grow by one or more a connection, of
// both ends. TCP 2 × 2368 bytes, sock_inode_cache 2 × 832; for each end in an epoll set eventpoll_epi 128,
// eventpoll_pwq 64 and ep_head 16; for the client's port tcp_bind_bucket and tcp_bind2_bucket 128 each; for each
// request at work in an io_uring io_kiocb 256. Answered requests leave nothing behind: buffers are freed once they are
// read. What comes from kmalloc-96 or kmalloc-512 says nothing of who asked for it.
const COUNTED = [
  "TCP",
  "TCPv6",
  "sock_inode_cache",
  "eventpoll_epi",
  "eventpoll_pwq",
  "ep_head",
  "tcp_bind_bucket",
  "tcp_bind2_bucket",
  "io_kiocb",
];
// Of these a socket has exactly one each, but so has every file, and every name somebody looks up in /proc adds a
// dentry that stays. Measured, they would tell of the measuring: they are computed from the number of sockets.
const ONE_PER_SOCKET = ["filp", "dentry", "lsm_file_cache", "lsm_inode_cache"];

/** The memory of all sockets in a text of /proc/slabinfo, in bytes, as {@linkcode kernelSocketBytes} defines it. */
export function socketBytesOf(slabinfo: string): number {
  const caches = parseSlabinfo(slabinfo);
  const sockets = caches.sock_inode_cache?.activeObjects ?? 0;
  const counted = COUNTED.map((name) => (caches[name]?.activeObjects ?? 0) * (caches[name]?.objectBytes ?? 0));
  const computed = ONE_PER_SOCKET.map((name) => sockets * (caches[name]?.objectBytes ?? 0));
  return [...counted, ...computed].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Memory that the kernel holds for the sockets of this host, in bytes; null where the system does not tell. None of it
 * is in a process's RSS. A single value means little: differences do.
 *
 * Divided by the connections made between two calls, the difference is the cost of one connection with **both** its
 * ends, as client and server stand on the same host. The server's share is the half. The ends differ a little: the
 * client's has 256 bytes for its port, the server's has none; each has 208 for the epoll set it is in, if it is in one.
 * So for a server with epoll the half is 128 bytes (3 %) too much, for one that blocks in read(2) 232 bytes (6 %).
 *
 * Not in it: bytes that wait in socket buffers, threads' stacks and page tables. Caches of equal size may share a name
 * (`eventpoll_pwq` is often found as `anon_vma_chain`): what does not go by its own name is left out, 64 bytes a
 * watched end at most. So are some 600 bytes from kmalloc for each multishot receive of an io_uring. Ports of
 * connections that are in TIME_WAIT come free after 60 s, 256 bytes each: close with a reset, or wait.
 *
 * Only root may read /proc/slabinfo. For others it is `Slab:` of /proc/meminfo, all the kernel's caches: other files
 * and processes are in it, and it takes thousands of connections to stand out.
 *
 * @example
 * ```ts
 * const before = kernelSocketBytes()!;
 * // … 1 000 connections …
 * const serverBytesPerConnection = (kernelSocketBytes()! - before) / 1000 / 2;
 * ```
 */
export function kernelSocketBytes(): number | null {
  return Deno.build.os === "linux" ? kernelBytesBy(readProc) : null;
}

/** What {@linkcode kernelSocketBytes} does, over any function that reads a file of /proc. */
export function kernelBytesBy(read: typeof readProc): number | null {
  try {
    return socketBytesOf(read("/proc/slabinfo"));
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotFound)) throw error;
    return parseKb(read("/proc/meminfo")).Slab ?? null;
  }
}

/** TCP sockets that the kernel has made and not freed yet, of the whole host; null where it does not tell. */
export function tcpSockets(): number | null {
  if (Deno.build.os !== "linux") return null;
  const text = unlessGone(() => readProc("/proc/net/sockstat")) ?? "";
  const [, number] = /^TCP:.* alloc (\d+)/m.exec(text) ?? [];
  return number === undefined ? null : Number(number);
}

/** Open descriptors of a process. */
function descriptorsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  // Listing the folder makes the kernel keep a dentry and an inode for each descriptor, 900 bytes: the measuring would
  // be seen in what is measured. Since Linux 6.2 the size of the folder tells the number; before, it is 0.
  return sizeProc(folder) || listProc(folder).length;
}

/** CPU time of a thread in µs; null where the kernel has no schedstat. */
function threadUs(pid: number, tid: string): number | null {
  const text = unlessGone(() => readProc(`/proc/${pid}/task/${tid}/schedstat`));
  return text === null ? null : parseInt(text) / 1e3;
}

/** CPU time of each living thread of a process tree in µs, by its id. Empty if it has ended, or where the system does not tell. */
export function threadTimes(rootPid: number): Map<number, number> {
  const times = new Map<number, number>();
  for (const pid of processTree(rootPid) ?? []) {
    for (const tid of unlessGone(() => listProc(`/proc/${pid}/task`)) ?? []) {
      const us = threadUs(pid, tid);
      if (us !== null) times.set(Number(tid), us);
    }
  }
  return times;
}

function sampleThread(pid: number, tid: string) {
  const switches = unlessGone(() => parseContextSwitches(readProc(`/proc/${pid}/task/${tid}/status`)));
  return switches === null ? null : { tid: Number(tid), switches, us: threadUs(pid, tid) };
}

const addOrNull = (sum: number | null, more: number | null): number | null =>
  sum === null || more === null ? null : sum + more;

/** Whether the kernel sums up the mappings of a process itself: since Linux 4.14, and not in gVisor. */
let hasRollup: boolean | undefined;

/** Memory of a process in bytes, by the names of /proc/PID/smaps_rollup. */
function memoryOf(pid: number): Record<string, number> {
  hasRollup ??= unlessGone(() => readProc("/proc/self/smaps_rollup")) !== null;
  return hasRollup ? parseKb(readProc(`/proc/${pid}/smaps_rollup`)) : sumKb(readProc(`/proc/${pid}/smaps`));
}

/** What one process takes. The names are those of Sample. */
function sampleProcess(pid: number) {
  const memory = memoryOf(pid);
  const threads = listProc(`/proc/${pid}/task`).map((tid) => sampleThread(pid, tid)).filter((each) => each !== null);
  const livingUs = threads.reduce<number | null>((sum, { us }) => addOrNull(sum, us), 0);
  const allUs = processCpuUs(pid); // threads that have ended included
  return {
    processes: 1,
    threads: threads.length,
    descriptors: descriptorsOf(pid),
    rss_bytes: memory.Rss ?? 0,
    pss_bytes: memory.Pss ?? 0,
    pss_anon_bytes: memory.Pss_Anon ?? null,
    mappings: countProcLines(`/proc/${pid}/maps`),
    context_switches: threads.reduce((sum, { switches }) => sum + switches, 0),
    thread_ids: threads.map(({ tid }) => tid),
    ended_threads_us: allUs === null || livingUs === null ? null : allUs - livingUs,
    ended_children_faults: parseStat(readProc(`/proc/${pid}/stat`)).waitedForFaults,
  };
}

/**
 * Takes a sample of a process, all its descendants and the host. Null if the process has ended, or on a system without
 * /proc. A descendant that ends while it is looked at is passed over.
 *
 * @throws {Deno.errors.PermissionDenied} If a process of the tree belongs to another user.
 *
 * @example
 * ```ts
 * const { pss_bytes, threads } = sample(server.pid)!;
 * ```
 */
export function sample(rootPid: number): Sample | null {
  const all = (processTree(rootPid) ?? []).map((pid) => ({ pid, found: unlessGone(() => sampleProcess(pid)) }));
  if (all.length === 0 || all[0]!.found === null) return null;
  const found = all.map(({ found }) => found).filter((process) => process !== null);
  const sum = (key: Exclude<keyof typeof found[number], "pss_anon_bytes" | "thread_ids" | "ended_threads_us">) =>
    found.reduce((total, process) => total + process[key], 0);
  return {
    processes: sum("processes"),
    threads: sum("threads"),
    descriptors: sum("descriptors"),
    rss_bytes: sum("rss_bytes"),
    pss_bytes: sum("pss_bytes"),
    pss_anon_bytes: found.reduce<number | null>((total, { pss_anon_bytes }) => addOrNull(total, pss_anon_bytes), 0),
    mappings: Math.max(...found.map((process) => process.mappings)),
    context_switches: sum("context_switches"),
    thread_ids: found.flatMap(({ thread_ids }) => thread_ids),
    ended_threads_us: found.reduce<number | null>(
      (total, { ended_threads_us }) => addOrNull(total, ended_threads_us),
      0,
    ),
    ended_children_faults: sum("ended_children_faults"),
    kernel_socket_bytes: kernelSocketBytes(),
    mem_available_bytes: Math.min(
      parseKb(readProc("/proc/meminfo")).MemAvailable!,
      readCgroup().memory_available_bytes ?? Infinity,
    ),
  };
}

/** CPU time of ended threads may seem to grow by so much, because a thread ran while it was read. */
const RAN_MEANWHILE_US = 2000;

/**
 * Context switches of a process tree between two samples. Null if a thread or process has ended meanwhile: its switches went
 * with it, and the sum over the others would be too low by an unknown number.
 */
export function switchesBetween(before: Sample, after: Sample): number | null {
  const living = new Set(after.thread_ids);
  if (before.thread_ids.some((tid) => !living.has(tid))) return null;
  // Those that came and went in between are in neither sample.
  if (after.ended_children_faults !== before.ended_children_faults) return null;
  const [from, to] = [before.ended_threads_us, after.ended_threads_us];
  if (from !== null && to !== null && to - from > RAN_MEANWHILE_US) return null;
  return after.context_switches - before.context_switches;
}
