/**
 * Takes apart the texts of /proc: pure functions, so that they can be tested anywhere on captured text. The formats are
 * those of proc(5) and of Documentation/filesystems/proc.rst in the Linux source.
 *
 * @module
 */

/**
 * µs of one tick: /proc counts CPU time in USER_HZ, 100 a second on all processors that Deno runs on (<asm/param.h>).
 */
export const TICK_US = 10_000;

/** Some fields of /proc/PID/stat. */
export interface ProcessStat {
  pid: number;
  /** The name of the program, at most 15 bytes, of any characters. */
  comm: string;
  /** R running, S sleeping, D waiting for a device, T stopped, Z ended and not waited for, X dead. */
  state: string;
  ppid: number;
  /** CPU time, user and system, of children that were waited for (and of theirs), in ticks. */
  waitedForTicks: number;
  /** Page faults of children that were waited for: each process makes some, so that it rises with every one that ends. */
  waitedForFaults: number;
  /** It ignores SIGCHLD: the kernel forgets its children as they end, and their CPU time with them. */
  ignoresChildren: boolean;
}

const SIGCHLD = 17; // <asm-generic/signal.h>

/**
 * Reads /proc/PID/stat. The second field, `comm`, stands in parentheses and may itself hold spaces, parentheses and
 * line breaks: it ends at the last `)` of the text, and only behind that are fields separated by spaces.
 *
 * @throws {Error} If the text is no stat line.
 */
export function parseStat(text: string): ProcessStat {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const fields = text.slice(close + 2).split(" "); // fields[0] is field 3 in the numbering of proc_pid_stat(5)
  if (open < 0 || close < open || fields.length < 18) throw new Error(`Not a line of /proc/PID/stat: ${text}`);
  const field = (number: number) => Number(fields[number - 3]);
  return {
    pid: Number(text.slice(0, open)),
    comm: text.slice(open + 1, close),
    state: fields[0]!,
    ppid: field(4),
    waitedForTicks: field(16) + field(17), // cutime and cstime
    waitedForFaults: field(11), // cminflt
    ignoresChildren: (field(33) & 1 << (SIGCHLD - 1)) !== 0, // sigignore, the first 31 signals
  };
}

/** CPU time of a process in user mode and in the kernel, in ticks, from /proc/PID/stat. */
export function parseOwnTicks(text: string): { user: number; kernel: number } {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" "); // as in parseStat
  return { user: Number(fields[14 - 3]), kernel: Number(fields[15 - 3]) };
}

/**
 * Picks a process and all its descendants out of the processes of a host, level by level, the root first. Empty if the
 * root is not among them.
 */
export function treeOf(all: readonly ProcessStat[], rootPid: number): ProcessStat[] {
  // The lines were read one after the other, and a pid may have been reused meanwhile: a root that has become its
  // own descendant must not make the walk endless.
  const byParent = Map.groupBy(all.filter(({ pid }) => pid !== rootPid), ({ ppid }) => ppid);
  const tree = all.filter(({ pid }) => pid === rootPid);
  for (const { pid } of tree) tree.push(...byParent.get(pid) ?? []); // the list grows while it is walked
  return tree;
}

/** CPU time of a host or of one CPU in µs, counted in ticks of 10 ms. */
export interface CpuUs {
  /** user + nice + system + irq + softirq; guest time is a part of user and not added again. */
  busy: number;
  /** Of `busy`: interrupts, and work that they have put off, such as the receiving half of the network stack. */
  irq: number;
  softirq: number;
  /** Ready to run, but the hypervisor ran another guest. */
  steal: number;
  /** `busy`, `steal` and idle. */
  total: number;
}

/** Reads the CPU times of /proc/stat: of all CPUs together, or of one. Null if the text has no such CPU. */
export function parseCpuTimes(text: string, cpu?: number): CpuUs | null {
  const line = new RegExp(`^cpu${cpu ?? ""} +(.*)$`, "m").exec(text)?.[1];
  if (line === undefined) return null;
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = line.split(" ").map(
    (ticks) => Number(ticks) * TICK_US,
  );
  const busy = user + nice + system + irq + softirq;
  return { busy, irq, softirq, steal, total: busy + steal + idle + iowait };
}

/** How many CPUs a text of /proc/stat has. */
export const countCpus = (text: string): number => text.match(/^cpu\d+ /gm)?.length ?? 0;

/** Reads a list of CPUs as the kernel writes it, such as `0-3,8`. */
export const parseCpuList = (text: string): number[] =>
  text.trim().split(",").filter((range) => range !== "").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });

/**
 * Reads a file of lines `Name:  123 kB` (meminfo, smaps_rollup): bytes by name. Lines of another form are passed over.
 */
export function parseKb(text: string): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const [, name, kb] of text.matchAll(/^(\S+):\s+(\d+) kB$/gm)) bytes[name!] = Number(kb) * 1024;
  return bytes;
}

/**
 * Sums up such lines over the mappings of /proc/PID/smaps, as smaps_rollup has them. `Pss_Anon` is not in it: what a mapping
 * has of anonymous memory is known without what it shares.
 */
export function sumKb(text: string): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const [, name, kb] of text.matchAll(/^(\S+):\s+(\d+) kB$/gm)) {
    bytes[name!] = (bytes[name!] ?? 0) + Number(kb) * 1024;
  }
  return bytes;
}

/**
 * Context switches of one thread, voluntary (it waited) and involuntary (its time was over), from
 * /proc/PID/task/TID/status.
 */
export function parseContextSwitches(text: string): number {
  let switches = 0;
  for (const [, count] of text.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm)) switches += Number(count);
  return switches;
}

/** One cache of the kernel's slab allocator: objects of one kind and size, side by side in whole pages. */
export interface SlabCache {
  /** Objects in use. (Free ones in a slab that a CPU is about to fill are counted too: some dozens a CPU.) */
  activeObjects: number;
  objectBytes: number;
}

/** Reads /proc/slabinfo (version 2.1): the caches by name. */
export function parseSlabinfo(text: string): Record<string, SlabCache> {
  const caches: Record<string, SlabCache> = {};
  for (const [, name, active, size] of text.matchAll(/^([^#\s]\S*)\s+(\d+)\s+\d+\s+(\d+)\s+\d+\s+\d+ : /gm)) {
    caches[name!] = { activeObjects: Number(active), objectBytes: Number(size) };
  }
  return caches;
}

/** Limits of a process, as `ulimit` shows them; null: unlimited. */
export interface ProcessLimits {
  nofileSoft: number | null;
  nofileHard: number | null;
  nprocSoft: number | null;
}

/**
 * Reads /proc/PID/limits.
 *
 * @throws {Error} If a limit is missing.
 */
export function parseLimits(text: string): ProcessLimits {
  const limit = (name: string, column: 1 | 2) => {
    const value = new RegExp(`^${name} +(\\S+) +(\\S+)`, "m").exec(text)?.[column];
    if (value === undefined) throw new Error(`No line "${name}" in /proc/PID/limits`);
    return value === "unlimited" ? null : Number(value);
  };
  return {
    nofileSoft: limit("Max open files", 1),
    nofileHard: limit("Max open files", 2),
    nprocSoft: limit("Max processes", 1),
  };
}

/** What /proc/cpuinfo says of the first processor. Null: other architectures than x86 have no such line. */
export function parseCpu(text: string): { family: number | null; model: number | null; stepping: number | null } {
  const read = (name: string) => {
    const value = new RegExp(`^${name}\\s*:\\s*(\\d+)\\s*$`, "m").exec(text)?.[1];
    return value === undefined ? null : Number(value);
  };
  return { family: read("cpu family"), model: read("model"), stepping: read("stepping") };
}
