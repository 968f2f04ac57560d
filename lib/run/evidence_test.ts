import { assertEquals } from "@std/assert";
import { sharedCoreOf } from "./evidence.ts";
import type { Cpu } from "../sampling/cores.ts";
import type { CoreTimes } from "../load/generator.ts";

const NONE = { busy_us: 0, irq_us: 0, softirq_us: 0, steal_us: 0, total_us: 0 };
const core = (cpu: number, side: "server" | "client" | "both"): CoreTimes => ({
  ...{ ...NONE, cpu },
  server: side !== "client",
  client: side !== "server",
});
const cpu = (id: number, siblings = [id]): Cpu => ({ id, siblings, package: 0, capacity: null });

Deno.test("a core that both sides run on is found, and so are two hardware threads of one", () => {
  const apart = [{ cores: [core(0, "server"), core(1, "client")] }];
  assertEquals(sharedCoreOf(apart, [cpu(0), cpu(1)]), null);
  assertEquals(sharedCoreOf(apart, [cpu(0, [0, 1]), cpu(1, [0, 1])]), "siblings");
  assertEquals(sharedCoreOf(apart, [cpu(0, [0, 2]), cpu(1, [1, 3])]), null);
  assertEquals(sharedCoreOf([{ cores: [core(1, "both")] }], [cpu(0), cpu(1)]), "core");
});

Deno.test("with one core to run on both share it, pinned or not; with several it is not known where none is pinned", () => {
  assertEquals(sharedCoreOf([{ cores: [] }], [cpu(3)]), "core");
  assertEquals(sharedCoreOf([{ cores: [] }], [cpu(0), cpu(1)]), null);
  assertEquals(sharedCoreOf([], []), null);
});
