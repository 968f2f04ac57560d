import { assert, assertEquals } from "@std/assert";
import { counterHere, countSystemCalls, perfTotal, straceTotal } from "./syscall_count.ts";
import { measureSystemCalls, METRICS } from "./system_calls.ts";

const counter = await counterHere();
const ignore = Deno.build.os !== "linux" || counter === null;

Deno.test("the count is found in what perf and strace say, and nothing in what they say without one", () => {
  assertEquals(perfTotal("sh: warning\n12345,,raw_syscalls:sys_enter,201783136,100.00,,\n"), 12345);
  assertEquals(perfTotal("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), null);
  const table = `strace: Process 12 attached
strace: Process 12 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.70    0.000116           0       400           recvfrom
 38.30    0.000072          18         4         1 epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.000188           0       404         1 total
`;
  assertEquals(straceTotal(table), 404);
  assertEquals(straceTotal(table.replace("        1 total", " total")), 404);
  assertEquals(straceTotal("strace: Process 12 attached\n"), null);
});

Deno.test({
  name: "the counter sees the calls of a process while the load runs: reads and writes of cat",
  ignore,
  fn: async () => {
    await using cat = new Deno.Command("cat", { stdin: "piped", stdout: "piped" }).spawn();
    const writer = cat.stdin.getWriter();
    const reader = cat.stdout.getReader();
    const times = 50;
    const echo = async () => {
      await writer.write(new Uint8Array(1));
      await reader.read();
    };
    await echo(); // it runs
    const counted = await countSystemCalls(counter!, [cat.pid], async () => {
      for (let i = 0; i < times; i++) await echo();
    });
    await writer.close();
    await reader.cancel();
    await cat.status;
    // The read(2) in which it waits at the beginning may be counted or not, and so the one at the end.
    assert(Math.abs(counted - 2 * times) <= 2, `${counted} calls`);
  },
});

Deno.test({
  name: "epoll takes two system calls a request and a share of a third, a missing server says why",
  ignore,
  fn: async () => {
    const extent = {
      counter: counter!,
      servers: ["epoll", "iocp"],
      connections: 4,
      slices: 2,
      seconds: 1,
      ratePerS: null,
    };
    const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
    const rows = await measureSystemCalls(extent, plan);
    assertEquals(rows.map(({ variant, metric }) => `${variant} ${metric}`), [
      ...METRICS.map((metric) => `epoll ${metric}`),
      ...METRICS.map((metric) => `iocp ${metric}`),
    ]);
    const [calls, switches, none] = rows;
    assert(calls!.value! > 2 && calls!.value! < 4, `${calls!.value} calls`); // recv, send, epoll_wait and some looks at signals
    assertEquals([calls!.runs, calls!.low], [2, null]);
    assert(switches!.value! > 0 && switches!.value! < 3, `${switches!.value} switches`);
    assertEquals([none!.value, none!.runs], [null, 0]);
    assert(none!.note!.startsWith("iocp needs Windows"), none!.note!);
  },
});

Deno.test({
  name: "at a rate the rows say which, and few requests share a call: io_uring enters for each",
  ignore,
  fn: async () => {
    const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
    const extent = { counter: counter!, servers: ["io-uring"], connections: 4, slices: 2, seconds: 1 };
    const [calls] = await measureSystemCalls({ ...extent, ratePerS: 1000 }, plan);
    assertEquals(calls!.variant, "io-uring at 1 000/s");
    const [shared] = await measureSystemCalls({ ...extent, connections: 100, ratePerS: null }, plan);
    assert(calls!.value! > shared!.value!, `${calls!.value} calls, ${shared!.value} where a hundred wait`);
  },
});
