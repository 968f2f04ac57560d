import { assertEquals, assertGreater, assertGreaterOrEqual, assertThrows } from "@std/assert";
import { listProc } from "./procfs.ts";
import { PATIENCE_MS, until } from "../testing/client.ts";
import { kernelBytesBy, kernelSocketBytes, type Sample, sample, socketBytesOf, switchesBetween } from "./sampler.ts";

const ignore = Deno.build.os !== "linux";

/** Runs `script` in a shell, waits for the first line it prints, hands its pid to `look`, and ends it. */
async function withShell(script: string, look: (pid: number) => void): Promise<number> {
  const child = new Deno.Command("sh", { args: ["-c", script], stdin: "piped", stdout: "piped" }).spawn();
  const lines = child.stdout.getReader();
  try {
    await lines.read();
    look(child.pid);
  } finally {
    await child.stdin.close();
    await lines.cancel();
    await child.status;
  }
  return child.pid;
}

Deno.test({ name: "one process: its thread and its descriptors", ignore }, async () => {
  let before = 0;
  await withShell("echo; read x", (pid) => before = sample(pid)!.descriptors); // a shell also inherits some
  await withShell("exec 7</dev/null 8</dev/null; echo; read x", (pid) => {
    const { processes, threads, descriptors } = sample(pid)!;
    assertEquals({ processes, threads, descriptors }, { processes: 1, threads: 1, descriptors: before + 2 });
    assertEquals(descriptors, listProc(`/proc/${pid}/fd`).length);
  });
});

Deno.test({ name: "memory is the larger the more of what is shared is counted", ignore }, async () => {
  await withShell("echo; read x", (pid) => {
    const { rss_bytes, pss_bytes, pss_anon_bytes } = sample(pid)!;
    assertGreater(rss_bytes, pss_bytes); // libc is mapped by others too
    assertGreater(pss_bytes, pss_anon_bytes!);
    assertGreater(pss_anon_bytes!, 0);
  });
});

Deno.test({ name: "a tree is summed up", ignore }, async () => {
  let one = 0;
  await withShell("echo; read x", (pid) => one = sample(pid)!.rss_bytes);
  await withShell("sh -c 'sh -c \"echo; read x\" <&3; :' 3<&0; :", (pid) => {
    const { processes, threads, rss_bytes, context_switches } = sample(pid)!;
    assertEquals({ processes, threads }, { processes: 3, threads: 3 });
    assertGreater(rss_bytes, 2 * one);
    assertGreaterOrEqual(context_switches, 2); // both parents went to sleep to wait for their child
  });
});

/** A shell that does one thing when it is asked; returns the samples before and after. */
async function around(script: string): Promise<[Sample, Sample]> {
  const child = new Deno.Command("sh", {
    args: ["-c", `echo; read x; ${script}; echo; read x`],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const lines = child.stdout.getReader();
  const input = child.stdin.getWriter();
  await lines.read();
  const before = sample(child.pid)!;
  await input.write(new TextEncoder().encode("\n"));
  await lines.read();
  const after = sample(child.pid)!;
  await input.close();
  await lines.cancel();
  await child.status;
  return [before, after];
}

Deno.test(
  { name: "context switches between two samples are those of all, or null where a process has ended", ignore },
  async () => {
    const [quiet, awake] = await around(":");
    assertGreaterOrEqual(switchesBetween(quiet, awake)!, 1); // it slept until it was asked
    const [before, after] = await around("sh -c :"); // a child that comes and goes in between
    assertEquals([before.processes, after.processes, switchesBetween(before, after)], [1, 1, null]);
  },
);

Deno.test({ name: "context switches are null where a thread has ended in between", ignore }, () => {
  const one = sample(Deno.pid)!;
  assertEquals(switchesBetween(one, { ...one, context_switches: one.context_switches + 5 }), 5);
  assertEquals(switchesBetween(one, { ...one, thread_ids: one.thread_ids.slice(1) }), null);
  const came = { ...one, ended_threads_us: one.ended_threads_us! + 50_000 }; // it came and went
  assertEquals(switchesBetween(one, came), null);
  assertEquals(switchesBetween({ ...one, ended_threads_us: null }, { ...came, ended_threads_us: null }), 0);
});

Deno.test({ name: "CPU time of a thread that has ended is known apart from that of the others", ignore }, async () => {
  const before = sample(Deno.pid)!.ended_threads_us!;
  const code = `import process from "node:process"; const used = () => process.cpuUsage().user;
    const until = used() + 100_000; while (used() < until); postMessage(0); self.close();`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
  URL.revokeObjectURL(url);
  await until(() => sample(Deno.pid)!.ended_threads_us! - before >= 50_000, PATIENCE_MS, "the end of the thread");
});

Deno.test({ name: "every thread is counted", ignore }, async () => {
  const threads = () => sample(Deno.pid)!.threads;
  const before = threads();
  const url = URL.createObjectURL(new Blob(["postMessage(0)"], { type: "text/javascript" }));
  const workers = [1, 2, 3].map(() => new Worker(url, { type: "module" }));
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.onmessage = resolve)));
  assertGreaterOrEqual(threads(), before + 3);
  for (const worker of workers) worker.terminate();
  URL.revokeObjectURL(url);
});

Deno.test({ name: "a process that has ended has no sample", ignore }, async () => {
  assertEquals(sample(await withShell("echo", () => {})), null);
});

Deno.test({ name: "descendants that come and go while they are looked at are passed over", ignore }, async () => {
  const child = new Deno.Command("sh", { args: ["-c", "while :; do sh -c : & sh -c : & wait; done"] }).spawn();
  try {
    let met = 0;
    for (let i = 0; i < 10_000 && met < 20; i++) met += sample(child.pid)!.processes - 1;
    assertGreaterOrEqual(met, 20);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
});

Deno.test({ name: "a sample tells of the host what /proc tells", ignore }, () => {
  const { mem_available_bytes, kernel_socket_bytes } = sample(Deno.pid)!;
  assertGreater(mem_available_bytes, 0);
  assertGreater(kernel_socket_bytes!, 0);
});

const slabinfo = (sockets: number, connections: number) =>
  `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCP            ${2 * connections} 99999   2368   13    8 : tunables    0    0    0 : slabdata     19     19      0
eventpoll_epi  ${2 * connections} 99999    128   32    1 : tunables    0    0    0 : slabdata     22     22      0
sock_inode_cache ${sockets} 99999    832   19    4 : tunables    0    0    0 : slabdata     17     17      0
filp              123456 99999    192   21    1 : tunables    0    0    0 : slabdata     51     51      0
dentry            654321 99999    192   21    1 : tunables    0    0    0 : slabdata   4016   4016      0
proc_inode_cache  777777 99999    696   21    1 : tunables    0    0    0 : slabdata   4016   4016      0
`;

Deno.test("the memory of sockets: those of two ends, one file and one dentry each, and no other files", () => {
  const difference = socketBytesOf(slabinfo(2300, 1100)) - socketBytesOf(slabinfo(300, 100));
  assertEquals(difference, 1000 * 2 * (2368 + 128 + 832 + 192 + 192));
});

Deno.test("a kernel without some of the caches is no failure", () => {
  assertEquals(socketBytesOf("slabinfo - version: 2.1\n"), 0);
});

Deno.test("who may not read slabinfo gets all slabs of the kernel, and null if there are none", () => {
  const asUser = (meminfo: string) => (path: string) => {
    if (path === "/proc/slabinfo") throw new Deno.errors.PermissionDenied("EACCES");
    return meminfo;
  };
  assertEquals(kernelBytesBy(asUser("MemFree:   10 kB\nSlab:   138900 kB\n")), 142_233_600);
  assertEquals(kernelBytesBy(asUser("MemFree:   10 kB\n")), null);
});

Deno.test("any other failure to read slabinfo is not hidden", () => {
  const broken = () => {
    throw new Error("EIO");
  };
  assertThrows(() => kernelBytesBy(broken), Error, "EIO");
});

Deno.test({ name: "a system without /proc gives null", ignore: !ignore }, () => {
  assertEquals([sample(Deno.pid), kernelSocketBytes()], [null, null]);
});
