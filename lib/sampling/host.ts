/**
 * What machine a measurement was made on: the facts without which its numbers mean little. Names and serial numbers are
 * not among them, so results can be published.
 *
 * @module
 */
import { cpus } from "node:os";
import { getSystemErrorName } from "node:util";
import * as v from "valibot";
import { parseCpu, parseLimits } from "./proc_parse.ts";
import { readProc } from "./procfs.ts";
import { bytes } from "../text/format.ts";

/** A schema with what it says: the format document is generated from both. */
const described = <S extends v.GenericSchema>(schema: S, says: string) => v.pipe(schema, v.description(says));

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

const numberOrNull = v.nullable(v.number());

/** The limits of one process. */
export const LIMITS = v.strictObject({
  nofile_soft: described(
    numberOrNull,
    "open descriptors of a process; each connection is one. `null` on Linux: unlimited",
  ),
  nofile_hard: described(numberOrNull, "how far a process may raise that by itself"),
  nproc: described(numberOrNull, "processes and threads of the user"),
});

const SYSCTL_SAYS: Record<Sysctl, string> = {
  "fs.file-max": "open files of the whole host",
  "fs.nr_open": "the highest `nofile` that anybody may set",
  "kernel.io_uring_disabled": "0: allowed, 1: for privileged processes only, 2: forbidden",
  "kernel.pid_max": "the highest process or thread id, and so the highest number of them",
  "kernel.threads-max": "threads of the whole host",
  "net.core.somaxconn": "the longest accept queue, whatever backlog a server asks for",
  "net.ipv4.ip_local_port_range": "the ports of clients: how many connections one address can make to one server",
  "net.ipv4.tcp_max_syn_backlog": "handshakes that may be half done",
  "net.ipv4.tcp_mem": "memory of all TCP buffers, in pages: low, pressure, high",
  "net.ipv4.tcp_rmem": "receive buffer of one connection, in bytes: minimum, default, maximum",
  "net.ipv4.tcp_wmem": "send buffer of one connection, in bytes: minimum, default, maximum",
  "vm.max_map_count": "memory mappings of one process; each thread takes a few",
};
const setting = v.nullable(v.union([v.number(), v.array(v.number())]));

/** The settings of the kernel. */
export const SETTINGS = v.strictObject(
  Object.fromEntries(SYSCTLS.map((name) => [name, described(setting, SYSCTL_SAYS[name])])) as unknown as Record<
    Sysctl,
    typeof setting
  >,
);

/** Facts of one host, ready to be written as JSON. Null: the system does not say. */
export const HOST = v.strictObject({
  os: described(v.string(), "`linux`, `darwin` or `windows`"),
  arch: described(v.string(), "`x86_64` or `aarch64`"),
  kernel: described(v.string(), "its release, as `uname -r` prints it"),
  cpu: described(v.nullable(v.string()), "the model name of the processor"),
  cpu_family: described(
    numberOrNull,
    "its family, as /proc/cpuinfo has it: virtual machines often hide the model name",
  ),
  cpu_model: described(numberOrNull, "its model number"),
  cpu_stepping: described(numberOrNull, "its stepping"),
  cores: described(v.number(), "logical processors that the run could use: affinity and quota are counted in"),
  memory_bytes: described(v.number(), "memory of the machine"),
  page_bytes: described(numberOrNull, "the size of a page, which is the unit of `net.ipv4.tcp_mem`"),
  deno: described(v.string(), "the version of the runtime"),
  v8: described(v.string(), "the version of its engine"),
  limits: described(LIMITS, "what one process may use: see [Limits](#limits)"),
  io_uring: described(
    v.nullable(v.string()),
    "`available`, or the name of the errno with which io_uring_setup(2) refuses a ring",
  ),
  sysctls: described(SETTINGS, "settings of the kernel that limit connections: see [Sysctls](#sysctls)"),
});
export type HostFacts = v.InferOutput<typeof HOST>;

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

/** Facts from libc. It asks for a ring, because the filter of a container can refuse what the sysctl allows. */
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

/** Facts that only Linux gives. */
type LinuxFacts = Pick<
  HostFacts,
  "cpu_family" | "cpu_model" | "cpu_stepping" | "page_bytes" | "io_uring" | "limits" | "sysctls"
>;

function linuxFacts(): LinuxFacts {
  const { nofileSoft, nofileHard, nprocSoft } = parseLimits(readProc("/proc/self/limits"));
  const { family, model, stepping } = parseCpu(readProc("/proc/cpuinfo"));
  return {
    ...askLibc(),
    cpu_family: family,
    cpu_model: model,
    cpu_stepping: stepping,
    limits: { nofile_soft: nofileSoft, nofile_hard: nofileHard, nproc: nprocSoft },
    sysctls: readSysctls(readProc),
  };
}

/** The same on other systems. */
export const NOT_AVAILABLE: LinuxFacts = {
  cpu_family: null,
  cpu_model: null,
  cpu_stepping: null,
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
    ...(Deno.build.os === "linux" ? linuxFacts() : NOT_AVAILABLE),
  };
}

/** A machine in words. */
export const describeHost = ({ cpu, cores, memory_bytes, os, kernel, deno }: HostFacts): string =>
  `${cpu ?? "unknown CPU"}, ${cores} cores, ${bytes(memory_bytes)}, ${os} ${kernel}, Deno ${deno}`;
