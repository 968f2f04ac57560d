import { assertEquals } from "@std/assert";
import { readCgroup, readThrottling } from "./cgroup.ts";

const from = (files: Record<string, string>) => (path: string) => {
  const text = files[path];
  if (text === undefined) throw new Deno.errors.NotFound(path);
  return text;
};

Deno.test("version 2: the smallest limit on the way to the root counts, less what is used there", () => {
  const read = from({
    "/proc/self/cgroup": "0::/user.slice/lab\n",
    "/sys/fs/cgroup/user.slice/lab/memory.max": "max\n",
    "/sys/fs/cgroup/user.slice/memory.max": "1000000\n",
    "/sys/fs/cgroup/user.slice/memory.current": "250000\n",
    "/sys/fs/cgroup/user.slice/lab/pids.max": "512\n",
    "/sys/fs/cgroup/user.slice/lab/pids.current": "12\n",
    "/sys/fs/cgroup/user.slice/lab/cpu.max": "150000 100000\n",
    "/sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
  });
  assertEquals(readCgroup(read), {
    memory_available_bytes: 750_000,
    memory_max_bytes: 1_000_000,
    pids_available: 500,
    pids_max: 512,
    cpu_quota_cores: 1.5,
  });
});

Deno.test("version 1: a limit of the largest number is none, and quota -1 is none", () => {
  const read = from({
    "/proc/self/cgroup": "4:memory:/box\n8:pids:/\n1:cpu,cpuacct:/box\n0::/\n",
    "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": "600000000\n",
    "/sys/fs/cgroup/memory/box/memory.usage_in_bytes": "100000000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "-1\n",
    "/sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
  });
  assertEquals(readCgroup(read), {
    memory_available_bytes: 500_000_000,
    memory_max_bytes: 600_000_000,
    pids_available: null,
    pids_max: null,
    cpu_quota_cores: null,
  });
});

Deno.test("without limits everything is null", () => {
  assertEquals(Object.values(readCgroup(from({ "/proc/self/cgroup": "0::/\n" }))), [null, null, null, null, null]);
});

Deno.test("throttling is counted in both versions", () => {
  const v2 = {
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/cpu.stat": "usage_usec 9\nnr_throttled 4\nthrottled_usec 70\n",
  };
  assertEquals(readThrottling(from(v2)), { periods: 4, throttled_us: 70 });
  const v1 = {
    "/proc/self/cgroup": "1:cpu:/\n",
    "/sys/fs/cgroup/cpu/cpu.stat": "nr_throttled 4\nthrottled_time 70000\n",
  };
  assertEquals(readThrottling(from(v1)), { periods: 4, throttled_us: 70 });
  assertEquals(readThrottling(from({ "/proc/self/cgroup": "0::/\n" })), null);
  const above = {
    "/proc/self/cgroup": "0::/box/app\n",
    "/sys/fs/cgroup/box/app/cpu.stat": "usage_usec 9\nnr_throttled 0\nthrottled_usec 0\n",
    "/sys/fs/cgroup/box/cpu.stat": "usage_usec 9\nnr_throttled 4\nthrottled_usec 70\n",
  };
  assertEquals(readThrottling(from(above)), { periods: 4, throttled_us: 70 }, "the quota stands in the group above");
});

Deno.test({ name: "the groups of this process can be read", ignore: Deno.build.os !== "linux" }, () => {
  const { memory_max_bytes, memory_available_bytes } = readCgroup();
  assertEquals(memory_max_bytes === null, memory_available_bytes === null);
});
