import { assert, assertEquals } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { obstacleTo } from "../catalogue/tools.ts";
import { processMemory, threadMemory } from "./memory.ts";
import { memorySlope } from "./memory_slope.ts";

const MIB = 2 ** 20;
const PAGE = 4096;
const signal = new AbortController().signal;
const linux = Deno.build.os === "linux";

Deno.test({
  name: "a thread's stack is address space: what its limit says, of which little becomes memory",
  ignore: !linux || await obstacleTo(find("c-threads")) !== null,
  fn: async () => {
    const common = { server: "c-threads", grows: "connections", unit: "threads" } as const;
    const small = await memorySlope({ ...common, variant: "1", prlimit: [`--stack=${MIB}`] }, [4, 20], signal);
    const large = await memorySlope({ ...common, variant: "4", prlimit: [`--stack=${4 * MIB}`] }, [4, 20], signal);
    assertEquals(small.virtual, MIB + PAGE); // with the guard page, see pthread_attr_setguardsize(3)
    assertEquals(large.virtual, 4 * MIB + PAGE);
    for (const { rss, pss, kernelStack } of [small, large]) {
      assert(rss >= PAGE && rss < MIB / 4, `${rss} bytes of memory`);
      assert(pss <= rss, `${pss} of ${rss} bytes`);
      assert(kernelStack === null || Math.abs(kernelStack) < MIB, `${kernelStack} bytes in the kernel`);
    }
  },
});

Deno.test({
  name: "a forked process shares most of its memory, whether it came with a connection or before",
  ignore: !linux,
  fn: async () => {
    for (const [server, grows] of [["process-per-conn", "connections"], ["prefork", "workers"]] as const) {
      const { rss, pss, pageTables, slab } = await memorySlope(
        { variant: server, server, grows, unit: "processes" },
        [2, 8],
        signal,
      );
      assert(pss > PAGE && pss < rss / 4, `${server}: ${pss} of ${rss} bytes are its own`);
      assert(pageTables >= PAGE && pageTables < rss, `${server}: ${pageTables} bytes of page tables`);
      assert(slab === null || Number.isFinite(slab), `${server}: ${slab} bytes of other objects in the kernel`);
    }
  },
});

Deno.test("both probes say where they cannot run, and bear the names by which their rows are found", () => {
  assertEquals([threadMemory.name, processMemory.name], ["thread-memory", "process-memory"]);
  assertEquals(threadMemory.obstacle() === null, linux);
});
