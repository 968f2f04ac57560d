import { assert, assertEquals } from "@std/assert";
import { measureGenerator, METRICS } from "./generator.ts";
import { counterHere } from "./syscall_count.ts";

const counter = Deno.build.os === "linux" ? await counterHere() : null;

Deno.test({
  name: "the generator's calls and what rings could save of its CPU time are measured",
  ignore: counter === null,
  fn: async () => {
    const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
    const extent = { counter: counter!, connections: 4, runs: 1, seconds: 1, calls: 10_000 };
    const rows = await measureGenerator(extent, plan);
    assertEquals(rows.map(({ metric }) => metric), [...METRICS]);
    const [cpu, kernel, calls, empty, saved] = rows.map(({ value }) => value!);
    assert(cpu! > 0 && kernel! >= 0 && kernel! <= 100, `${cpu} ${kernel}`);
    assert(calls! >= 2, `${calls}: a request is sent and its answer is read`);
    assert(empty! > 0 && Math.abs(saved! - 100 * calls! * empty! / cpu!) < 1e-6);
  },
});
