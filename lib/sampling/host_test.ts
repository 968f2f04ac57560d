import { assert, assertEquals, assertGreater, assertMatch, assertThrows } from "@std/assert";
import { hostFacts, NOT_AVAILABLE, readSysctls, SYSCTLS } from "./host.ts";
import { sizeProc } from "./procfs.ts";

const ignore = Deno.build.os !== "linux";

Deno.test("the facts survive a way through JSON unchanged", () => {
  const facts = hostFacts();
  assertEquals(JSON.parse(JSON.stringify(facts)), facts);
});

Deno.test("what every system tells is there", () => {
  const { os, arch, kernel, cores, memory_bytes, deno, v8 } = hostFacts();
  assertEquals([os, arch, deno, v8], [Deno.build.os, Deno.build.arch, Deno.version.deno, Deno.version.v8]);
  assertMatch(kernel, /^\d/);
  assertGreater(cores, 0);
  assertGreater(memory_bytes, 2 ** 28);
});

Deno.test({ name: "on Linux the limits, the page size and the state of io_uring are known", ignore }, () => {
  const { limits, page_bytes, io_uring } = hostFacts();
  assert(limits.nofile_hard === null || limits.nofile_hard >= limits.nofile_soft!);
  assert([4096, 16_384, 65_536].includes(page_bytes!));
  assertMatch(io_uring!, /^(available|E[A-Z]+)$/);
});

Deno.test({ name: "asking for the facts leaves no descriptor open", ignore }, () => {
  hostFacts();
  const before = sizeProc("/proc/self/fd");
  hostFacts();
  assertEquals(sizeProc("/proc/self/fd"), before);
});

Deno.test({ name: "on Linux the settings are those of sysctl", ignore }, () => {
  const { sysctls } = hostFacts();
  const [low, high] = sysctls["net.ipv4.ip_local_port_range"] as number[];
  assert(low! >= 1 && low! < high! && high! <= 65_535);
  for (const name of ["net.core.somaxconn", "kernel.threads-max", "kernel.pid_max", "fs.nr_open"] as const) {
    assertGreater(sysctls[name] as number, 0, name);
  }
});

Deno.test("a setting is a number or several; one that the kernel lacks or does not show is null", () => {
  const settings = readSysctls((path) => {
    if (path === "/proc/sys/net/ipv4/tcp_mem") return "287832\t383779\t575664\n";
    if (path === "/proc/sys/kernel/threads-max") return "192686\n";
    if (path === "/proc/sys/fs/file-max") throw new Deno.errors.PermissionDenied(path);
    throw new Deno.errors.NotFound(path);
  });
  assertEquals(settings["net.ipv4.tcp_mem"], [287_832, 383_779, 575_664]);
  assertEquals(settings["kernel.threads-max"], 192_686);
  assertEquals(settings["fs.file-max"], null);
  assertEquals(settings["kernel.io_uring_disabled"], null);
  assertEquals(Object.keys(settings), [...SYSCTLS]);
});

Deno.test("any other failure to read a setting is not hidden", () => {
  const broken = () => {
    throw new Error("EIO");
  };
  assertThrows(() => readSysctls(broken), Error, "EIO");
});

Deno.test({ name: "elsewhere than on Linux what is not known is null", ignore: !ignore }, () => {
  const { cpu_family, cpu_model, cpu_stepping, page_bytes, io_uring, limits, sysctls } = hostFacts();
  assertEquals({ cpu_family, cpu_model, cpu_stepping, page_bytes, io_uring, limits, sysctls }, NOT_AVAILABLE);
});
