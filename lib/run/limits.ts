/**
 * Turns the facts of a host into what they mean for the experiments: which limit caps which size of which scenario, and
 * the line that would raise it.
 *
 * @module
 */
import { bytes, count } from "../text/format.ts";
import { isInstalled } from "../catalogue/tools.ts";
import { DESCRIPTOR_RESERVE } from "./guard.ts";
import type { HostFacts, Sysctl } from "../sampling/host.ts";
import type { CgroupLimits } from "../sampling/cgroup.ts";
import { readProc } from "../sampling/procfs.ts";
import { MEMORY_SHARE } from "../results/conventions.ts";

/** One limit. */
export interface Row {
  what: string;
  value: string;
  /** What it caps, in words. */
  caps: string;
  /** The most connections that it lets any scenario hold; null: it caps something else, or the system does not tell. */
  connections: number | null;
  /** The line to type that raises it, or what else helps; empty where nothing needs to be done. */
  raise: string;
}

/** What stands where the system has no answer. */
export const NOT_AVAILABLE = "not available on this system";
/** Kernel memory of an idle connection with both its ends, found by holding 8 000: see `kernelSocketBytes`. */
const CONNECTION_BYTES = 8 * 1024;
/** What a Web Worker takes beside its thread, found by starting 250 of them in Deno 2.9: a figure to plan with. */
const WORKER = { descriptors: 6, mappings: 35, bytes: 7.4 * 1024 * 1024 };
/** Source addresses of 127/8, without its first and last: the load generator goes on to the next when one is full. */
const LOOPBACK_SOURCES = 2 ** 24 - 2;
/**
 * The most that RLIMIT_NOFILE can be set to, unless fs.nr_open says otherwise: its default, NR_OPEN of <linux/fs.h>.
 */
const NR_OPEN = 1024 * 1024;
/**
 * What the tables count on where a limit is shared by all connections: the number that the problem is named after.
 */
const C10K = 10_000;

/** The one number of a setting that has only one. */
const single = (value: number | number[] | null) => typeof value === "number" ? value : null;

const untold = (what: string): Row => ({ what, value: NOT_AVAILABLE, caps: "", connections: null, raise: "" });

/** A row about one number that the system may not tell. */
function told(what: string, value: number | null, row: (value: number) => Omit<Row, "what" | "value">): Row {
  return value === null ? untold(what) : { what, value: count(value), ...row(value) };
}

function machineRows({ cores, cpu, memory_bytes, kernel, os }: HostFacts): Row[] {
  const workers = Math.floor(memory_bytes * MEMORY_SHARE / WORKER.bytes);
  return [
    {
      what: "cores",
      value: `${cores}${cpu === null ? "" : ` × ${cpu}`}`,
      caps: cores > 1
        ? "server and load generator have cores of their own"
        : "server and load generator share one: throughput and latency depend on both",
      connections: null,
      raise: cores > 1 ? "" : "a machine with two cores or more",
    },
    {
      what: "memory",
      value: bytes(memory_bytes),
      caps: `${MEMORY_SHARE * 100} % of it are used: thread-per-conn ≤ ${count(workers)}`,
      connections: Math.floor(memory_bytes * MEMORY_SHARE / CONNECTION_BYTES),
      raise: "a machine with more",
    },
    { what: "kernel", value: `${os} ${kernel}`, caps: "which experiments run", connections: null, raise: "" },
  ];
}

/** Limits of the control group, of which a container has some: those that are set. */
function containerRows(limits: CgroupLimits): Row[] {
  const { memory_max_bytes: memory, memory_available_bytes: left, pids_max, pids_available, cpu_quota_cores } = limits;
  const raise = "a larger limit of the container or unit";
  return [
    ...(memory === null || left === null ? [] : [{
      what: "memory.max",
      value: bytes(memory),
      caps: `${bytes(left)} are left, of which ${MEMORY_SHARE * 100} % are used`,
      connections: Math.floor(left * MEMORY_SHARE / CONNECTION_BYTES),
      raise,
    }]),
    ...(pids_max === null || pids_available === null ? [] : [{
      what: "pids.max",
      value: count(pids_max),
      caps: `processes and threads: thread-per-conn, process-per-conn ≤ ${count(pids_available)}`,
      connections: null,
      raise,
    }]),
    ...(cpu_quota_cores === null ? [] : [{
      what: "cpu.max",
      value: `${count(cpu_quota_cores, 2)} cores`,
      caps: "server and load together; above it both are stopped for a while, which a run calls throttled",
      connections: null,
      raise,
    }]),
  ];
}

function ioUringRow({ io_uring, sysctls }: HostFacts): Row {
  const what = "io_uring";
  if (io_uring === null) return untold(what);
  if (io_uring === "available") {
    return { what, value: io_uring, caps: "io-uring has its rings", connections: null, raise: "" };
  }
  const off = single(sysctls["kernel.io_uring_disabled"]) ?? 0;
  const raise: Record<string, string> = {
    ENOSYS: "a kernel from 5.1 on that was built with CONFIG_IO_URING",
    EPERM: off > 0
      ? "sudo sysctl -w kernel.io_uring_disabled=0"
      : "a filter forbids it; in a container: --security-opt seccomp=unconfined",
    ENOMEM: "sudo prlimit --pid $$ --memlock=unlimited",
  };
  const value = off > 0 ? `${io_uring}, disabled = ${off}` : io_uring;
  const caps = "io-uring cannot run";
  return { what, value, caps, connections: null, raise: raise[io_uring] ?? "see io_uring_setup(2)" };
}

/** A limit that setrlimit(2) sets. On Linux, where all of them are known, null is none. */
function limitRow(os: string, what: string, value: number | null, row: (value: number) => Omit<Row, "what" | "value">) {
  if (value !== null || os !== "linux") return told(what, value, row);
  return { what, value: "unlimited", caps: "", connections: null, raise: "" };
}

function descriptorRow({ os, limits, sysctls }: HostFacts): Row {
  const ceiling = single(sysctls["fs.nr_open"]) ?? NR_OPEN;
  return limitRow(os, "descriptors per process", limits.nofile_hard, (descriptors) => {
    const connections = descriptors - DESCRIPTOR_RESERVE;
    const workers = Math.floor(connections / (1 + WORKER.descriptors));
    return {
      caps: `hold ≤ ${count(connections)} per process, thread-per-conn ≤ ${count(workers)}`,
      connections,
      raise: `sudo prlimit --pid $$ --nofile=${ceiling}`,
    };
  });
}

function processRows(facts: HostFacts): Row[] {
  const { os, limits } = facts;
  return [
    descriptorRow(facts),
    limitRow(os, "threads per user", limits.nproc, (threads) => ({
      caps: `not for root: thread-per-conn, process-per-conn ≤ ${count(threads)}`,
      connections: null,
      raise: "sudo prlimit --pid $$ --nproc=unlimited",
    })),
  ];
}

/** Settings of the kernel that count connections, threads or mappings. */
function settingRows(setting: (name: Sysctl) => number | null): Row[] {
  return [
    told("fs.file-max", setting("fs.file-max"), (files) => ({
      caps: `open files of the host, two per connection: hold ≤ ${count(Math.floor(files / 2))}`,
      connections: Math.floor(files / 2),
      raise: `sudo sysctl -w fs.file-max=${10 * files}`,
    })),
    told("kernel.threads-max", setting("kernel.threads-max"), (threads) => ({
      caps: `threads of the host: thread-per-conn ≤ ${count(threads)}`,
      connections: null,
      raise: `sudo sysctl -w kernel.threads-max=${10 * threads}`,
    })),
    told("kernel.pid_max", setting("kernel.pid_max"), (pids) => ({
      caps: `threads and processes of the host: thread-per-conn, process-per-conn ≤ ${count(pids)}`,
      connections: null,
      raise: "sudo sysctl -w kernel.pid_max=4194304",
    })),
    told("vm.max_map_count", setting("vm.max_map_count"), (mappings) => ({
      caps: `${WORKER.mappings} mappings per Worker: thread-per-conn ≤ ${
        count(Math.floor(mappings / WORKER.mappings))
      }`,
      connections: null,
      raise: `sudo sysctl -w vm.max_map_count=${WORKER.mappings * 2 * C10K}`,
    })),
    told("net.core.somaxconn", setting("net.core.somaxconn"), (backlog) => ({
      caps: `connections in the accept queue ≤ ${count(backlog)}; further clients try again after 1 s`,
      connections: null,
      raise: "sudo sysctl -w net.core.somaxconn=65535",
    })),
  ];
}

function portRow({ sysctls }: HostFacts): Row {
  const what = "net.ipv4.ip_local_port_range";
  const range = sysctls[what];
  if (!Array.isArray(range)) return untold(what);
  const [low = 0, high = 0] = range;
  const ports = high - low + 1;
  return {
    what,
    value: `${low}–${high}`,
    caps: `hold ≤ ${count(ports)} from one source address; 127/8 has ${count(LOOPBACK_SOURCES)} of them`,
    connections: ports * LOOPBACK_SOURCES,
    raise: 'sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"',
  };
}

function bufferRow({ sysctls, page_bytes }: HostFacts): Row {
  const what = "net.ipv4.tcp_mem";
  const pages = sysctls[what];
  if (!Array.isArray(pages) || page_bytes === null) return untold(what);
  const total = pages.at(-1)! * page_bytes;
  return {
    what,
    value: `${pages.join(" ")} pages`,
    caps: `unread bytes ≤ ${bytes(total)} in all, ${bytes(total / C10K / 2)} at each end of ${count(C10K)} connections`,
    connections: null,
    raise: `sudo sysctl -w net.ipv4.tcp_mem="${pages.map((limit) => 4 * limit).join(" ")}"`,
  };
}

/**
 * Says of each limit of a host what it caps and how to raise it.
 *
 * @param container The limits of the control group, where there is one.
 *
 * @example
 * ```ts
 * for (const { what, value, caps } of diagnose(hostFacts())) console.log(what, value, caps);
 * ```
 */
export function diagnose(facts: HostFacts, container: CgroupLimits | null = null): Row[] {
  return [
    ...machineRows(facts),
    ...(container === null ? [] : containerRows(container)),
    ioUringRow(facts),
    ...processRows(facts),
    ...settingRows((name) => single(facts.sysctls[name])),
    portRow(facts),
    bufferRow(facts),
  ];
}

/** What this user may change. */
export interface Rights {
  root: boolean;
  sudo: boolean;
  /** CAP_SYS_RESOURCE: the limits of processes may be raised. */
  limits: boolean;
  /** /proc/sys may be written: in a container it is often read-only, also for root. */
  sysctls: boolean;
}

const CAP_SYS_RESOURCE = 24n; // <linux/capability.h>

/** Reads the rights of this process; `read` reads a file of /proc. */
export function readRights(read: (path: string) => string, uid: number | null, sudo: boolean): Rights {
  const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(read("/proc/self/status"))?.[1] ?? "0"}`);
  const isReadOnly = /^\S+ \/proc\/sys \S+ ro\b/m.test(read("/proc/self/mounts"));
  return {
    root: uid === 0,
    sudo,
    limits: (capabilities >> CAP_SYS_RESOURCE & 1n) === 1n,
    sysctls: !isReadOnly,
  };
}

/** The line that raises a limit as this user can type it, or who can. */
export function adviceFor(raise: string, { root, sudo, limits, sysctls }: Rights): string {
  if (!raise.startsWith("sudo ")) return raise;
  const command = raise.slice("sudo ".length);
  if (!root) return sudo ? raise : `as root: ${command}`;
  const isAllowed = command.startsWith("sysctl") ? sysctls : limits;
  return isAllowed ? command : `outside of this container: ${command}`;
}

/** What this user may change here; all of it where the system does not tell. */
export async function rightsHere(): Promise<Rights> {
  const sudo = await isInstalled("sudo");
  if (Deno.build.os === "linux") return readRights(readProc, Deno.uid(), sudo);
  return { root: false, sudo, limits: true, sysctls: true };
}

/** How the guard says that there were too few descriptors. */
const OF_DESCRIPTORS = /: descriptors, limit |more descriptors than the limit/;

/**
 * How to raise the limit of descriptors, in lines, where that is what stopped a run; else none.
 *
 * @param reasons Why runs ended, as the guard says it.
 */
export function howToRaise(reasons: readonly (string | null)[], facts: HostFacts, rights: Rights): string[] {
  if (!reasons.some((reason) => reason !== null && OF_DESCRIPTORS.test(reason))) return [];
  const { raise } = descriptorRow(facts);
  if (raise === "") return [];
  return [
    "To raise the limit of descriptors (deno task doctor shows all limits):",
    `  ${adviceFor(raise, rights)}`,
  ];
}
