import { assert, assertEquals } from "@std/assert";
import { hostCpuUs } from "./process.ts";
import { foreignShare, readClocks } from "./foreign.ts";

const clocks = (busyUs: number, ownUs: number) => ({ busyUs, totalUs: 1000, ownUs });
const START = { busyUs: 0, totalUs: 0, ownUs: 0 };

Deno.test("what is busy and not this process's own is foreign, from 0 to 1", () => {
  assertEquals(foreignShare(START, clocks(500, 300)), 0.2);
  assertEquals(foreignShare(START, clocks(500, 520)), 0); // ticks of 10 ms
  assertEquals(foreignShare(START, clocks(1000, 0)), 1);
  assertEquals(foreignShare(null, clocks(500, 300)), null);
  assertEquals(foreignShare(START, START), null);
});

Deno.test({
  name: "the CPU time of a process that was started and has ended is no other's",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const before = readClocks(false)!;
    const burns = "const end = performance.now() + 1000; while (performance.now() < end);";
    const { success } = await new Deno.Command(Deno.execPath(), { args: ["eval", "--no-lock", burns] }).output();
    assert(success);
    const after = readClocks(false)!;
    const share = (after.ownUs - before.ownUs) / (after.totalUs - before.totalUs);
    assert(after.ownUs - before.ownUs > 100_000, `${share} of all cores`); // however little a busy machine leaves it
    assert(after.busyUs - before.busyUs >= after.ownUs - before.ownUs - 50_000);
  },
});

Deno.test({
  name: "interrupts that have an account of their own are nobody's",
  ignore: Deno.build.os !== "linux",
  fn: () => {
    const from = hostCpuUs()!;
    const apart = readClocks(true)!;
    const to = hostCpuUs()!;
    const without = ({ busy, irq, softirq }: typeof from) => busy - irq - softirq;
    assert(to.softirq > 0, "a machine with a network has had some");
    assert(without(from) <= apart.busyUs && apart.busyUs <= without(to), JSON.stringify([from, apart, to]));
  },
});
