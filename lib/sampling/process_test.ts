import { cpuUsage } from "node:process";
import { assert, assertEquals, assertGreaterOrEqual, assertLess, assertThrows } from "@std/assert";
import {
  allowedCpus,
  cpuReading,
  cpuUs,
  hostCpuUs,
  knownCpuReading,
  processTree,
  readableStats,
  unlessGone,
} from "./process.ts";
import { readProc } from "./procfs.ts";

const ignore = Deno.build.os !== "linux";

/** A child that is talked to in lines: `hear` waits for one it prints, `say` sends one, `end` closes its standard input. */
function converse(command: string, args: string[]) {
  const child = new Deno.Command(command, { args, stdin: "piped", stdout: "piped" }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader(); // so short that each comes in one piece
  const stdin = child.stdin.getWriter();
  return {
    pid: child.pid,
    hear: async () => (await lines.read()).value!.trim(),
    say: () => stdin.write(new TextEncoder().encode("\n")),
    end: async () => {
      await stdin.close();
      await lines.cancel();
      await child.status;
    },
  };
}
const shell = (script: string) => converse("sh", ["-c", script]);

/** Burns CPU until the process that runs it has used `ms` milliseconds, and prints its total in µs. */
const burn = (ms: number) =>
  `const used = () => { const { user, system } = process.cpuUsage(); return user + system; };
   while (used() < ${ms * 1000}); console.log(used());`;
const WAIT = "Deno.stdin.readSync(new Uint8Array(1));"; // for a line of the test, or for the end of its input
const DENO = JSON.stringify(Deno.execPath()); // quoted for a shell

Deno.test({ name: "a tree begins with its root and holds children and grandchildren", ignore }, async () => {
  const { pid, hear, end } = shell(`sh -c 'sh -c "echo \\$\\$; read x" <&3; :' 3<&0; :`);
  const grandchild = Number(await hear());
  const tree = processTree(pid)!;
  assertEquals([tree[0], tree.length, tree[2]], [pid, 3, grandchild]);
  assert(processTree(Deno.pid)!.includes(grandchild));
  await end();
});

Deno.test({ name: "a process that has ended has no tree and no CPU time", ignore }, async () => {
  const { pid, hear, end } = shell("echo ready; read x");
  await hear();
  assertEquals(processTree(pid), [pid]);
  await end();
  assertEquals([processTree(pid), cpuUs(pid), knownCpuReading([Deno.pid, pid])], [null, null, null]);
});

Deno.test(
  { name: "of known processes the CPU time is that of their tree, without looking for more", ignore },
  async () => {
    const { pid, hear, end } = shell(`${DENO} eval '${burn(100)}${WAIT}'; :`);
    const own = Number(await hear());
    const found = cpuReading(pid)!;
    assertEquals(found.pids, processTree(pid));
    const { us, pids } = knownCpuReading(found.pids)!;
    assertEquals(pids, found.pids);
    assertGreaterOrEqual(us, Math.max(own, found.us));
    assertLess(knownCpuReading([pid])!.us, own); // the shell alone
    assertEquals(knownCpuReading([])!.us, 0);
    await end();
  },
);

Deno.test({ name: "CPU time agrees with what the process counts itself", ignore }, async () => {
  const { pid, hear, end } = converse(Deno.execPath(), ["eval", burn(200) + WAIT]);
  const own = Number(await hear());
  assertGreaterOrEqual(cpuUs(pid)!, own);
  await end();
});

Deno.test(
  { name: "CPU time of a child is counted while it lives and after it was waited for, once", ignore },
  async () => {
    const { pid, hear, say, end } = shell(`${DENO} eval '${burn(400)}${WAIT}'; echo waited; read x`);
    const own = Number(await hear());
    assertEquals(processTree(pid)!.length, 2);
    const { user, system } = cpuUsage(); // of this process, which is the root of the largest tree
    const alive = cpuUs(pid)!;
    assertGreaterOrEqual(alive, own);
    assertGreaterOrEqual(cpuUs(Deno.pid)!, user + system + alive);
    await say();
    assertEquals(await hear(), "waited");
    assertEquals(processTree(pid), [pid]);
    assertGreaterOrEqual(cpuUs(pid)!, alive - 20_000); // user and system time are each cut to ticks of 10 ms
    assertLess(cpuUs(pid)!, 1.6 * alive); // the end of the child comes on top, but not the child a second time
    await end();
  },
);

Deno.test(
  { name: "CPU time is null where a process ignores SIGCHLD: that of its children would be missing", ignore },
  async () => {
    for (const ignored of [true, false]) {
      const { pid, hear, say, end } = converse("env", [...ignored ? ["--ignore-signal=CHLD"] : [], "cat"]);
      await say();
      await hear(); // it is cat by now
      assertEquals(cpuUs(pid) === null, ignored);
      await end();
    }
  },
);

Deno.test({ name: "the cores that a process may use are those that it was given", ignore }, async () => {
  const { pid, hear, end } = shell("taskset -pc 0 $$ >/dev/null; echo pinned; read x");
  await hear();
  assertEquals(allowedCpus(pid), [0]);
  await end();
});

Deno.test({ name: "CPU time of a thread that has ended stays in the sum", ignore }, async () => {
  const before = cpuUs(Deno.pid)!;
  const code =
    `import process from "node:process"; const used = () => process.cpuUsage().user + process.cpuUsage().system;
    const until = used() + 100_000; while (used() < until); postMessage(0); self.close();`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
  URL.revokeObjectURL(url);
  assertGreaterOrEqual(cpuUs(Deno.pid)! - before, 99_000);
});

Deno.test({ name: "CPU time never runs backwards", ignore }, () => {
  let last = cpuUs(Deno.pid)!;
  for (let i = 0; i < 50; i++) {
    const now = cpuUs(Deno.pid)!;
    assertGreaterOrEqual(now, last);
    last = now;
  }
});

Deno.test({ name: "the host's total is at least busy and steal, and a CPU's is a part of it", ignore }, () => {
  const cpu0 = hostCpuUs(0)!;
  const all = hostCpuUs()!;
  assertGreaterOrEqual(all.total, all.busy + all.steal);
  assertGreaterOrEqual(all.total, cpu0.total);
  assertEquals(hostCpuUs(99_999), null);
});

Deno.test({ name: "only a missing file becomes null, any other error goes on", ignore }, () => {
  assertEquals(unlessGone(() => 7), 7);
  assertEquals(unlessGone(() => Deno.readTextFileSync("missing")), null);
  assertThrows(() => unlessGone(() => JSON.parse("{")), SyntaxError);
});

Deno.test({ name: "a system without /proc gives null", ignore: !ignore }, () => {
  assertEquals([processTree(Deno.pid), cpuUs(Deno.pid), hostCpuUs()], [null, null, null]);
});

Deno.test("processes of others that /proc hides are passed over, as with hidepid", { ignore }, () => {
  const read = (path: string) => {
    if (path === "/proc/1/stat") throw new Deno.errors.PermissionDenied("Cannot open /proc/1/stat: EPERM (1)");
    if (path === "/proc/2/stat") throw new Deno.errors.NotFound("it has ended");
    return readProc(path);
  };
  const stats = readableStats(["1", "2", "self", String(Deno.pid)], read);
  assertEquals(stats.map(({ pid }) => pid), [Deno.pid]);
});
