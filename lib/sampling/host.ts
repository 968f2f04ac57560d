/**
 * What machine a measurement was made on: the facts without which its numbers mean little. Names and serial numbers are
 * not among them, so results can be published.
 *
 * @module
 */
import { cpus } from "node:os";
import { getSystemErrorName } from "node:util";
import { parseLimits } from "./proc_parse.ts";
import { readProc } from "./procfs.ts";
import { bytes } from "../text/format.ts";

/** The kernel's settings that decide how many connections a host holds: their names as sysctl(8) has them. */
export const SYSCTLS = [
  "fs.file-max",
  "fs.nr_open",
  "kernel.io_uring_disabled",
  "kernel.pid_max",
  "kernel.threads-max",
  "net.core.somaxconn",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.tcp_max_syn_backlog",
  "net.ipv4.tcp_mem",
  "net.ipv4.tcp_rmem",
  "net.ipv4.tcp_wmem",
  "vm.max_map_count",
] as const;
/** One of {@linkcode SYSCTLS}. */
export type Sysctl = typeof SYSCTLS[number];

/** Facts of one host, ready to be written as JSON. Null: the system does not tell. */
export interface HostFacts {
  os: string;
  arch: string;
  /** The release of the kernel, as `uname -r` has it. */
  kernel: string;
  /** The model name of the processor. */
  cpu: string | null;
  /** Logical processors that this process may use: affinity and the quota of a container are counted in. */
  cores: number;
  memory_bytes: number;
  /** The size of a page: the unit of `net.ipv4.tcp_mem`. */
  page_bytes: number | null;
  deno: string;
  v8: string;
  /** Of this process, and so of what it starts. On Linux null means unlimited. */
  limits: { nofile_soft: number | null; nofile_hard: number | null; nproc: number | null };
  /**
   * Whether io_uring_setup(2) gives a ring to this process: `available`, or the name of the errno with which it
   * refuses.
   */
  io_uring: string | null;
  /** A setting of several numbers is an array of them. Null: this kernel has no such setting. */
  sysctls: Record<Sysctl, number | number[] | null>;
}

/** Reads one setting after the other. `read` reads a file of /proc. */
export function readSysctls(read: (path: string) => string): HostFacts["sysctls"] {
  const settings = {} as HostFacts["sysctls"];
  for (const name of SYSCTLS) settings[name] = readSysctl(read, `/proc/sys/${name.replaceAll(".", "/")}`);
  return settings;
}

function readSysctl(read: (path: string) => string, path: string): number | number[] | null {
  try {
    const numbers = read(path).trim().split(/\s+/).map(Number);
    return numbers.length === 1 ? numbers[0]! : numbers;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return null;
    throw error;
  }
}

const SYS_IO_URING_SETUP = 425; // <asm-generic/unistd.h>, the same on x86-64 and aarch64
const IO_URING_PARAMS_BYTES = 120; // struct io_uring_params, <linux/io_uring.h>

/** What only libc can tell. A ring is asked for, because a filter of a container can refuse what the sysctl allows. */
function askLibc(): Pick<HostFacts, "page_bytes" | "io_uring"> {
  const libc = Deno.dlopen("libc.so.6", {
    getpagesize: { parameters: [], result: "i32" },
    syscall: { parameters: ["isize", "usize", "buffer"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  });
  try {
    const { getpagesize, syscall, close, __errno_location } = libc.symbols;
    const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(__errno_location()!, 4));
    const ring = Number(syscall(BigInt(SYS_IO_URING_SETUP), 1n, new Uint8Array(IO_URING_PARAMS_BYTES)));
    const refusal = errno[0]!;
    if (ring >= 0) close(ring); // nothing was submitted to it: there is nothing that could fail
    return { page_bytes: getpagesize(), io_uring: ring >= 0 ? "available" : getSystemErrorName(-refusal) };
  } finally {
    libc.close();
  }
}

/** What is told on Linux alone. */
function linuxFacts(): Pick<HostFacts, "page_bytes" | "io_uring" | "limits" | "sysctls"> {
  const { nofileSoft, nofileHard, nprocSoft } = parseLimits(readProc("/proc/self/limits"));
  return {
    ...askLibc(),
    limits: { nofile_soft: nofileSoft, nofile_hard: nofileHard, nproc: nprocSoft },
    sysctls: readSysctls(readProc),
  };
}

/** The same facts, where nothing of it is told. */
export const UNTOLD: Pick<HostFacts, "page_bytes" | "io_uring" | "limits" | "sysctls"> = {
  page_bytes: null,
  io_uring: null,
  limits: { nofile_soft: null, nofile_hard: null, nproc: null },
  sysctls: Object.fromEntries(SYSCTLS.map((name) => [name, null])) as HostFacts["sysctls"],
};

/** Tells a start of this machine from others; null where the system has no such id. Needs `--allow-read`. */
export const bootId = (): string | null =>
  Deno.build.os === "linux" ? readProc("/proc/sys/kernel/random/boot_id").trim() : null;

/**
 * Collects the facts of this host. Needs `--allow-sys=cpus,osRelease,systemMemoryInfo` and, on Linux, `--allow-ffi`.
 *
 * @example
 * ```ts
 * const { cores, kernel, sysctls } = hostFacts();
 * console.log(cores, kernel, sysctls["net.core.somaxconn"]);
 * ```
 */
export function hostFacts(): HostFacts {
  return {
    os: Deno.build.os,
    arch: Deno.build.arch,
    kernel: Deno.osRelease(),
    cpu: cpus()[0]?.model.trim() || null,
    cores: navigator.hardwareConcurrency,
    memory_bytes: Deno.systemMemoryInfo().total,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    ...(Deno.build.os === "linux" ? linuxFacts() : UNTOLD),
  };
}

/** A machine in words. */
export const machine = ({ cpu, cores, memory_bytes, os, kernel, deno }: HostFacts): string =>
  `${cpu ?? "unknown CPU"}, ${cores} cores, ${bytes(memory_bytes)}, ${os} ${kernel}, Deno ${deno}`;
