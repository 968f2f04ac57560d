import { assert, assertEquals, assertThrows } from "@std/assert";
import { chooseCores, type Cpu, cpuList, parseCpuList, planCores, planScaling, readCpus } from "./cores.ts";

/** Processors without hardware threads. */
const plain = (...ids: number[]): Cpu[] => ids.map((id) => ({ id, siblings: [id], package: 0, capacity: null }));

/** Physical cores with two hardware threads each: 0 and n, 1 and n + 1, … */
const threaded = (cores: number): Cpu[] =>
  Array.from({ length: 2 * cores }, (_, id) => {
    const first = id % cores;
    return { id, siblings: [first, first + cores], package: 0, capacity: null };
  });

Deno.test("lists of the kernel are read and written", () => {
  assertEquals(parseCpuList("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
  assertEquals(parseCpuList(""), []);
  assertEquals(cpuList([11, 0, 1, 2, 3, 8, 10]), "0-3,8,10-11");
});

Deno.test("half of the cores serve, the rest make the load", () => {
  assertEquals(planCores(plain(0, 1)), { server: [0], load: [1], shared: false, siblings: false });
  assertEquals(planCores(plain(2, 3, 6, 7)), { server: [2, 3], load: [6, 7], shared: false, siblings: false });
  for (const cores of [8, 64]) {
    const { server, load } = planCores(plain(...Array(cores).keys()));
    assertEquals([server.length, load.length, server.at(-1)! + 1, load[0]], [
      cores / 2,
      cores / 2,
      cores / 2,
      cores / 2,
    ]);
  }
});

Deno.test("two hardware threads of one core never work for both sides, nor against each other", () => {
  const plan = planCores(threaded(2));
  assertEquals(plan, { server: [0], load: [1], shared: false, siblings: false });
});

Deno.test("a single core is shared, two hardware threads of a single core are said to be so", () => {
  assertEquals(planCores(plain(5)), { server: [5], load: [5], shared: true, siblings: false });
  assertEquals(planCores(threaded(1)), { server: [0], load: [1], shared: false, siblings: true });
});

Deno.test("fast cores come first on a hybrid processor", () => {
  const hybrid = plain(0, 1, 2, 3).map((cpu) => ({ ...cpu, capacity: cpu.id < 2 ? 400 : 1024 }));
  assertEquals(planCores(hybrid), { server: [2, 3], load: [0, 1], shared: false, siblings: false });
});

Deno.test("servers are scaled over 1, 2, 4 and so on of the cores that the load leaves", () => {
  assertEquals(planScaling(plain(0), true), null);
  assertEquals(planScaling(threaded(1), true), null);
  assertEquals(planScaling(plain(0, 1), true), { steps: [[0], [0, 1]], load: [0, 1], shared: true });
  assertEquals(planScaling(plain(0, 1), false), null); // two cores leave light requests no load of their own
  assertEquals(planScaling(plain(0, 1, 2), true), { steps: [[0], [0, 1]], load: [2], shared: false });
  const eight = [0, 1, 2, 3, 4, 5, 6, 7];
  assertEquals(planScaling(plain(...eight), true), {
    steps: [[0], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]],
    load: [7],
    shared: false,
  });
  assertEquals(planScaling(plain(...eight), false), {
    steps: [[0], [0, 1], [0, 1, 2, 3]],
    load: [4, 5, 6, 7],
    shared: false,
  });
  assertEquals(planScaling(threaded(32), true)!.steps.map(({ length }) => length), [1, 2, 4, 8, 16, 28]);
});

Deno.test("cores that the user names are taken, and must be allowed", () => {
  assertEquals(chooseCores(plain(0, 1, 2), { server: [1] }), {
    server: [1],
    load: [0, 2],
    shared: false,
    siblings: false,
  });
  assertEquals(chooseCores(threaded(2), { server: [0], load: [2] }).siblings, true);
  assertEquals(chooseCores(plain(0, 1), { server: [0, 1], load: [1] }).shared, true);
  assertThrows(
    () => chooseCores(plain(2, 3), { server: [0] }),
    RangeError,
    "Core 0 is not among those of this process: 2-3",
  );
  assertThrows(() => chooseCores(plain(0), { server: [0] }), RangeError, "No core is left");
});

Deno.test("affinity and topology are read; a kernel without topology gives each processor its own core", () => {
  const files: Record<string, string> = {
    "/proc/self/status": "Name:\tdeno\nCpus_allowed_list:\t1,3\n",
    "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "0-1\n",
    "/sys/devices/system/cpu/cpu1/topology/physical_package_id": "1\n",
  };
  const read = (path: string) => {
    const text = files[path];
    if (text === undefined) throw new Deno.errors.NotFound(path);
    return text;
  };
  assertEquals(readCpus(read), [
    { id: 1, siblings: [0, 1], package: 1, capacity: null },
    { id: 3, siblings: [3], package: 0, capacity: null },
  ]);
});

Deno.test({ name: "this process may use a processor at least", ignore: Deno.build.os !== "linux" }, () => {
  assert(readCpus().length >= 1);
});
