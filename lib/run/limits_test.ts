import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Guard } from "./guard.ts";
import {
  adviceFor,
  diagnose,
  howToRaise,
  NOT_AVAILABLE as UNTOLD_VALUE,
  readRights,
  type Rights,
  type Row,
} from "./limits.ts";
import { type HostFacts, hostFacts, NOT_AVAILABLE } from "../sampling/host.ts";

const NO_LIMITS = { nofile_soft: null, nofile_hard: null, nproc: null };

/** A made-up Linux host; the limits differ from each other so that none can be taken for another. */
const LINUX: HostFacts = {
  os: "linux",
  arch: "x86_64",
  kernel: "6.1.0",
  cpu: "Abacus 3000",
  cpu_family: 25,
  cpu_model: 17,
  cpu_stepping: 1,
  cores: 4,
  memory_bytes: 16 * 2 ** 30,
  page_bytes: 4096,
  deno: "2.9.6",
  v8: "15.0",
  limits: { nofile_soft: 1024, nofile_hard: 20_064, nproc: 63_000 },
  io_uring: "available",
  sysctls: {
    "fs.file-max": 1_600_000,
    "fs.nr_open": 1_048_577,
    "kernel.io_uring_disabled": 0,
    "kernel.pid_max": 32_768,
    "kernel.threads-max": 127_000,
    "net.core.somaxconn": 4096,
    "net.ipv4.ip_local_port_range": [32_768, 60_999],
    "net.ipv4.tcp_max_syn_backlog": 512,
    "net.ipv4.tcp_mem": [100_000, 200_000, 400_000],
    "net.ipv4.tcp_rmem": [4096, 131_072, 6_291_456],
    "net.ipv4.tcp_wmem": [4096, 16_384, 4_194_304],
    "vm.max_map_count": 70_000,
  },
};
const rowOf = (what: string, facts: HostFacts = LINUX): Row => diagnose(facts).find((row) => row.what === what)!;
const withSysctl = (change: Partial<HostFacts["sysctls"]>) => ({ ...LINUX, sysctls: { ...LINUX.sysctls, ...change } });

Deno.test("the limits of a container are rows, where they are set", () => {
  const none = {
    memory_max_bytes: null,
    memory_available_bytes: null,
    pids_max: null,
    pids_available: null,
    cpu_quota_cores: null,
  };
  assertEquals(diagnose(LINUX, none), diagnose(LINUX));
  const small = {
    memory_max_bytes: 2 ** 30,
    memory_available_bytes: 2 ** 29,
    pids_max: 500,
    pids_available: 480,
    cpu_quota_cores: 1.5,
  };
  const rows = diagnose(LINUX, small).filter(({ what }) => what.includes("."));
  const own = rows.filter(({ what }) => ["memory.max", "pids.max", "cpu.max"].includes(what));
  assertEquals(own.map(({ value }) => value), ["1 GiB", "500", "1.50 cores"]);
  assertEquals(own[0]!.connections, Math.floor(2 ** 29 * 0.7 / 8192));
  assertStringIncludes(own[1]!.caps, "≤ 480");
});

Deno.test("descriptors cap hold at the limit without a reserve, and threads at a seventh", () => {
  const { value, caps, connections, raise } = rowOf("descriptors per process");
  assertEquals([value, connections], ["20 064", 20_000]);
  assertEquals(caps, "hold ≤ 20 000 per process, thread-per-conn ≤ 2 857");
  assertEquals(raise, "sudo prlimit --pid $$ --nofile=1048577");
});

Deno.test("where fs.nr_open is not shown, its default is the ceiling of descriptors", () => {
  const facts = withSysctl({ "fs.nr_open": null });
  assertStringIncludes(rowOf("descriptors per process", facts).raise, "--nofile=1048576");
});

Deno.test("open files of the host are two per connection", () => {
  assertEquals(rowOf("fs.file-max").connections, 800_000);
  assertStringIncludes(rowOf("fs.file-max").caps, "hold ≤ 800 000");
});

Deno.test("threads, pids and mappings cap thread-per-conn, each with its own number", () => {
  assertStringIncludes(rowOf("threads per user").caps, "thread-per-conn, process-per-conn ≤ 63 000");
  assertStringIncludes(rowOf("kernel.threads-max").caps, "thread-per-conn ≤ 127 000");
  assertStringIncludes(rowOf("kernel.pid_max").caps, "thread-per-conn, process-per-conn ≤ 32 768");
  assertStringIncludes(rowOf("vm.max_map_count").caps, "thread-per-conn ≤ 2 000");
  assertStringIncludes(rowOf("memory").caps, "thread-per-conn ≤ 1 549"); // 70 % of 16 GiB by 7.4 MiB
});

Deno.test("ports count for each source address", () => {
  const { value, caps, connections } = rowOf("net.ipv4.ip_local_port_range");
  assertEquals(value, "32768–60999");
  assertStringIncludes(caps, "hold ≤ 28 232 from one source address");
  assertEquals(connections, 28_232 * (2 ** 24 - 2));
});

Deno.test("tcp_mem is printed in bytes, with the page size of the host", () => {
  assertMatch(rowOf("net.ipv4.tcp_mem").caps, /≤ 1\.5\d? GiB in all, 80 KiB at each end of 10 000 connections/);
  const large = rowOf("net.ipv4.tcp_mem", { ...LINUX, page_bytes: 65_536 });
  assertMatch(large.caps, /≤ 24\.4\d? GiB in all/);
});

Deno.test("io_uring: who refuses it decides what to do", () => {
  assertEquals([rowOf("io_uring").caps, rowOf("io_uring").raise], ["io-uring has its rings", ""]);
  const off = rowOf("io_uring", { ...withSysctl({ "kernel.io_uring_disabled": 2 }), io_uring: "EPERM" });
  assertEquals([off.value, off.raise], ["EPERM, disabled = 2", "sudo sysctl -w kernel.io_uring_disabled=0"]);
  assertStringIncludes(rowOf("io_uring", { ...LINUX, io_uring: "EPERM" }).raise, "seccomp=unconfined");
  const old = rowOf("io_uring", { ...withSysctl({ "kernel.io_uring_disabled": null }), io_uring: "ENOSYS" });
  assertEquals([old.value, old.caps], ["ENOSYS", "io-uring cannot run"]);
  assertStringIncludes(old.raise, "5.1");
  assertEquals(rowOf("io_uring", { ...LINUX, io_uring: "EIO" }).raise, "see io_uring_setup(2)");
});

Deno.test("a single core is shared by server and load generator, and the row says so", () => {
  assertEquals(rowOf("cores").value, "4 × Abacus 3000");
  assertStringIncludes(rowOf("cores", { ...LINUX, cores: 1, cpu: null }).caps, "share one");
  assertEquals(rowOf("cores", { ...LINUX, cores: 1, cpu: null }).value, "1");
});

Deno.test("no limit is unlimited on Linux", () => {
  const facts = { ...LINUX, limits: { nofile_soft: null, nofile_hard: null, nproc: null } };
  for (const what of ["descriptors per process", "threads per user"]) {
    assertEquals(rowOf(what, facts), { what, value: "unlimited", caps: "", connections: null, raise: "" });
  }
});

Deno.test("every capped row of a Linux host says how to raise it", () => {
  for (const row of diagnose(LINUX)) {
    if (row.caps.includes("≤")) assert(row.raise !== "", row.what);
    assert(row.value !== UNTOLD_VALUE, row.what);
  }
});

Deno.test("a system that reports little has the same rows, and says of each that it is not available", () => {
  const mac: HostFacts = { ...LINUX, os: "darwin", kernel: "24.1.0", ...NOT_AVAILABLE };
  const rows = diagnose(mac);
  assertEquals(rows.map(({ what }) => what), diagnose(LINUX).map(({ what }) => what));
  const told = rows.filter(({ value }) => value !== UNTOLD_VALUE).map(({ what }) => what);
  assertEquals(told, ["cores", "memory", "kernel"]);
  for (const { value, caps, raise } of rows) if (value === UNTOLD_VALUE) assertEquals([caps, raise], ["", ""]);
});

Deno.test("the facts of this host can be read", () => {
  for (const { caps, value, raise } of diagnose(hostFacts())) {
    assert(!/NaN|undefined|Infinity/.test(caps + value + raise), caps);
  }
});

Deno.test("advice is a line that this user can type, or names who can", () => {
  const all: Rights = { root: true, sudo: false, limits: true, sysctls: true };
  const [prlimit, sysctl] = ["sudo prlimit --nofile=9", "sudo sysctl -w a=1"];
  const of = (rights: Partial<Rights>) => [prlimit, sysctl].map((raise) => adviceFor(raise!, { ...all, ...rights }));
  assertEquals(of({}), ["prlimit --nofile=9", "sysctl -w a=1"]);
  assertEquals(of({ limits: false }), ["outside of this container: prlimit --nofile=9", "sysctl -w a=1"]);
  assertEquals(of({ sysctls: false }), ["prlimit --nofile=9", "outside of this container: sysctl -w a=1"]);
  assertEquals(of({ root: false, sudo: true }), [prlimit, sysctl]);
  assertEquals(of({ root: false })[0], "as root: prlimit --nofile=9");
  assertEquals(adviceFor("a machine with more", all), "a machine with more");
});

Deno.test("rights are read from the capabilities and the mounts of this process", () => {
  const host = (capabilities: string, mounts: string) => (path: string) =>
    path.endsWith("status") ? `Uid:\t0\nCapEff:\t${capabilities}\n` : `proc /proc proc rw 0 0\n${mounts}`;
  const whole = readRights(host("000001ffffffffff", ""), 0, false);
  assertEquals(whole, { root: true, sudo: false, limits: true, sysctls: true });
  const caged = readRights(host("00000000a80425fb", "proc /proc/sys proc ro,nosuid 0 0\n"), 0, false);
  assertEquals(caged, { root: true, sudo: false, limits: false, sysctls: false });
});

Deno.test("what the limit of descriptors stopped says how to raise it, and what something else stopped does not", () => {
  const rights: Rights = { root: true, sudo: false, limits: true, sysctls: true };
  const line = "  prlimit --pid $$ --nofile=1048577";
  const guard = new Guard({ memAvailableBytes: 16e9, descriptorLimit: 20_000 });
  for (const reason of [guard.explain(19_936, 20_000), guard.refuses(0, 20_000)]) {
    const lines = howToRaise([null, reason], LINUX, rights);
    assertStringIncludes(lines[0]!, "deno task doctor");
    assertEquals(lines.slice(1), [line]);
  }
  assertEquals(howToRaise([null, "stopped at 1 900 of 10 000: memory"], LINUX, rights), []);
  assertEquals(howToRaise([guard.explain(19_936, 20_000)], { ...LINUX, os: "darwin", limits: NO_LIMITS }, rights), []);
});
