import { assertEquals, assertThrows } from "@std/assert";
import {
  countCpus,
  parseContextSwitches,
  parseCpu,
  parseCpuList,
  parseCpuTimes,
  parseKb,
  parseLimits,
  parseOwnTicks,
  parseSlabinfo,
  parseStat,
  type ProcessStat,
  sumKb,
  treeOf,
} from "./proc_parse.ts";

// All texts were captured on Linux 6.18, x86-64, and cut to what matters.

const stat = (comm: string) =>
  `8842 (${comm}) Z 8841 8832 3496 0 -1 4227148 30 512 0 0 50 7 120 34 20 0 1 0 166048 0 0 18446744073709551615 0 0 0\n`;

Deno.test("user and kernel time are fields 14 and 15 of a stat line, whatever the name of the process is", () => {
  const fields = Array.from({ length: 50 }, (_, i) => i + 3).map((number) => number === 3 ? "S" : String(number));
  assertEquals(parseOwnTicks(`7 (a) b) ${fields.join(" ")}\n`), { user: 14, kernel: 15 });
});

Deno.test("a stat line gives the pid, the name, the state, the parent and the time of children waited for", () => {
  assertEquals(parseStat(stat("sh")), {
    pid: 8842,
    comm: "sh",
    state: "Z",
    ppid: 8841,
    waitedForTicks: 154,
    waitedForFaults: 512,
    ignoresChildren: false,
  });
});

for (const comm of ["tmux: server", "(sd-pam)", "a) R 1 (b", "", ") ", "two\nlines"]) {
  Deno.test(`a process named ${JSON.stringify(comm)} does not shift the fields of its stat line`, () => {
    const { pid, state, ppid, waitedForTicks, comm: parsed } = parseStat(stat(comm));
    assertEquals([pid, parsed, state, ppid, waitedForTicks], [8842, comm, "Z", 8841, 154]);
  });
}

Deno.test("a text that is no stat line is refused", () => {
  for (const text of ["", "8842 sh Z 1", "8842 (sh) Z 1 2", ") 8842 ("]) {
    assertThrows(() => parseStat(text), Error, "Not a line of /proc/PID/stat");
  }
});

const process = (pid: number, ppid: number): ProcessStat => ({
  pid,
  ppid,
  comm: "x",
  state: "S",
  waitedForTicks: 0,
  waitedForFaults: 0,
  ignoresChildren: false,
});
const pidsOf = (all: ProcessStat[], root: number) => treeOf(all, root).map(({ pid }) => pid);

Deno.test("a tree is its root and all descendants, level by level, and nobody else", () => {
  const all = [process(1, 0), process(2, 1), process(3, 1), process(4, 2), process(5, 4), process(6, 3), process(7, 2)];
  assertEquals(pidsOf(all, 2), [2, 4, 7, 5]);
  assertEquals(pidsOf(all, 5), [5]);
});

Deno.test("a child with a smaller pid than its parent is found, pids start again when they are used up", () => {
  assertEquals(pidsOf([process(12, 32_000), process(32_000, 1)], 32_000), [32_000, 12]);
});

Deno.test("the tree of a root that is not there is empty, even if somebody still names it as parent", () => {
  assertEquals(pidsOf([process(3, 2)], 2), []);
});

Deno.test("a root that became its own descendant, because its pid was reused, does not make the walk endless", () => {
  assertEquals(pidsOf([process(2, 4), process(3, 2), process(4, 3)], 2), [2, 3, 4]);
});

const cpuTimes = `cpu  3854 12 3588 256514 386 9 578 25 100 3
cpu0 1333 0 1531 129213 8 0 272 6 0 0
cpu1 2520 12 2056 127300 377 9 305 18 100 3
cpu10 1 0 0 2 0 0 0 4 0 0
intr 202658 0 0
ctxt 2523586
`;

Deno.test("the CPU time of the host is given in µs, guest time is not counted twice", () => {
  assertEquals(parseCpuTimes(cpuTimes), {
    busy: 80_410_000,
    irq: 90_000,
    softirq: 5_780_000,
    steal: 250_000,
    total: 2_649_660_000,
  });
});

Deno.test("the CPU time of one CPU is its own: 1 is not 10", () => {
  assertEquals(parseCpuTimes(cpuTimes, 1), {
    busy: 49_020_000,
    irq: 90_000,
    softirq: 3_050_000,
    steal: 180_000,
    total: 1_325_970_000,
  });
  assertEquals(parseCpuTimes(cpuTimes, 10), { busy: 10_000, irq: 0, softirq: 0, steal: 40_000, total: 70_000 });
});

Deno.test("a CPU that is not there, or was switched off, has no time", () => {
  assertEquals(parseCpuTimes(cpuTimes, 2), null);
  assertEquals(parseCpuTimes(cpuTimes.replace(/^cpu1 .*\n/m, ""), 1), null);
});

Deno.test("the CPUs of a host are counted, and lists of them are read", () => {
  assertEquals(countCpus(cpuTimes), 3);
  assertEquals([parseCpuList("0-2,8\n"), parseCpuList("5"), parseCpuList("")], [[0, 1, 2, 8], [5], []]);
});

Deno.test("a process that ignores SIGCHLD is found by its stat line", () => {
  const fields = (ignored: number) => ["S", 8841, ...Array(28).fill(0), ignored, 2, 0].join(" ");
  const ignores = (ignored: number) => parseStat(`8842 (sh) ${fields(ignored)}`).ignoresChildren;
  assertEquals([ignores(65_536), ignores(16_781_312), ignores(4096)], [true, false, false]); // SIGCHLD is bit 16
});

Deno.test("meminfo and smaps_rollup are read in bytes, lines without a unit are passed over", () => {
  const smaps = `555d77fe4000-7ffcf104e000 ---p 00000000 00:00 0                          [rollup]
Rss:                1612 kB
Pss:                 242 kB
Private_Clean:        40 kB
Private_Dirty:       112 kB
`;
  assertEquals(parseKb(smaps), { Rss: 1_650_688, Pss: 247_808, Private_Clean: 40_960, Private_Dirty: 114_688 });
  const meminfo = `MemTotal:       24682416 kB
Active(anon):       1596 kB
HugePages_Total:       0
Slab:             138900 kB
`;
  assertEquals(parseKb(meminfo), { MemTotal: 25_274_793_984, "Active(anon)": 1_634_304, Slab: 142_233_600 });
});

Deno.test("context switches of a thread are those that it wanted and those that it did not", () => {
  const status = `Name:	voluntary_ctxt_switches: 7
Threads:	1
Mems_allowed_list:	0
voluntary_ctxt_switches:	150
nonvoluntary_ctxt_switches:	2
`;
  assertEquals(parseContextSwitches(status), 152);
});

Deno.test("slabinfo gives each cache by its name, also a name with a parenthesis or a dash", () => {
  const slabinfo = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
ext4_groupinfo(4k)     10     21    192   21    1 : tunables    0    0    0 : slabdata      1      1      0
TCP                 247    260   2368   13    8 : tunables    0    0    0 : slabdata     20     20      0
kmalloc-128         1411   2816    128   32    1 : tunables    0    0    0 : slabdata     44     44      0
`;
  assertEquals(parseSlabinfo(slabinfo), {
    "ext4_groupinfo(4k)": { activeObjects: 10, objectBytes: 192 },
    "TCP": { activeObjects: 247, objectBytes: 2368 },
    "kmalloc-128": { activeObjects: 1411, objectBytes: 128 },
  });
});

const limits = `Limit                     Soft Limit           Hard Limit           Units     
Max core file size        0                    unlimited            bytes     
Max processes             96343                unlimited            processes 
Max open files            1024                 20000                files     
Max nice priority         0                    0                    
`;

Deno.test("limits tell descriptors and processes, unlimited is null", () => {
  assertEquals(parseLimits(limits), { nofileSoft: 1024, nofileHard: 20_000, nprocSoft: 96_343 });
  const free = limits.replace("96343    ", "unlimited").replace("20000    ", "unlimited");
  assertEquals(parseLimits(free), { nofileSoft: 1024, nofileHard: null, nprocSoft: null });
});

Deno.test("a limit that is missing is named", () => {
  assertThrows(() => parseLimits("Limit   Soft Limit\n"), Error, 'No line "Max open files"');
});

Deno.test("the family, model and stepping of the processor are read where the architecture has them", () => {
  const text =
    "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n";
  assertEquals(parseCpu(text), { family: 25, model: 17, stepping: 1 });
  assertEquals(parseCpu("processor\t: 0\nCPU implementer\t: 0x41\n"), { family: null, model: null, stepping: null });
});

Deno.test("without smaps_rollup the mappings of smaps are summed up", () => {
  const smaps = `55d0a000-55d0b000 r--p 00000000 08:01 12  /bin/x
Size:                  4 kB
Rss:                   4 kB
Pss:                   2 kB
VmFlags: rd mr
7f00a000-7f00b000 rw-p 00000000 00:00 0
Size:                  8 kB
Rss:                   8 kB
Pss:                   8 kB
`;
  assertEquals(sumKb(smaps), { Size: 12_288, Rss: 12_288, Pss: 10_240 });
  assertEquals(sumKb(""), {});
});
