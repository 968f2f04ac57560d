/** The probes of those who wait: for a worker, for accept(2), for something to do. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { cpuUsage } from "node:process";
import { find } from "../catalogue/catalogue.ts";
import { isInstalled, obstacleTo } from "../catalogue/tools.ts";
import { measureBacklog } from "./backlog.ts";
import { measureDescriptors } from "./descriptors.ts";
import { cpuPercent, measureIdleCpu } from "./idle_cpu.ts";
import type { ProbeRow } from "./probe.ts";
import { measureProxy } from "./proxy.ts";
import { measureQueue } from "./queue.ts";
import { measureStatsLine } from "./stats_line.ts";
import { measureThreadCount } from "./thread_count.ts";

const ignore = Deno.build.os !== "linux";
const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
const brief = (rows: ProbeRow[]) => rows.map(({ variant, metric, value }) => `${variant} ${metric} ${value}`);

Deno.test({
  name: "two workers answer two connections, and the third waits",
  ignore,
  fn: async () => {
    const extent = { workers: 2, silenceMs: 1000, runs: 1, sizes: { prefork: [2, 3], "worker-pool": [2, 4] } };
    const rows = await measureQueue(extent, plan);
    const memory = rows.filter(({ metric }) => metric === "pss_bytes");
    assertEquals(memory.map(({ variant }) => variant), ["prefork 2", "worker-pool 2"]);
    for (const { value, variant } of memory) assert(value! > 2 ** 20 && value! < 2 ** 30, `${variant}: ${value} bytes`);
    assertEquals(brief(rows.filter(({ metric }) => metric !== "pss_bytes")), [
      "prefork 2 answered 2",
      "prefork 2 waiting 0",
      "prefork 2 connected 2",
      "prefork 3 answered 2",
      "prefork 3 waiting 1",
      "prefork 3 connected 3",
      "worker-pool 2 answered 2",
      "worker-pool 2 waiting 0",
      "worker-pool 2 connected 2",
      "worker-pool 4 answered 2",
      "worker-pool 4 waiting 2",
      "worker-pool 4 connected 4",
    ]);
  },
});

Deno.test({
  name: "a server that accepts none gets its backlog and one more completed, and no other",
  ignore,
  fn: async () => {
    assertEquals(brief(await measureBacklog({ backlogs: [8, 16], runs: 1 }, plan)), [
      "8 completed 9",
      "16 completed 17",
    ]);
  },
});

Deno.test({
  name: "a server that may open few descriptors answers fewer clients than that, and with enough of them all",
  ignore: ignore || !await isInstalled("prlimit"),
  fn: async () => {
    const [few, enough, clients] = [64, 1024, 80];
    const rows = await measureDescriptors({ limits: [few, enough], clients, silenceMs: 3000, runs: 1 }, plan);
    const value = (limit: number, metric: string) =>
      rows.find((row) => row.variant === String(limit) && row.metric === metric)?.value ?? NaN;
    assert(value(few, "answered") > 0 && value(few, "answered") < few, `${value(few, "answered")} were answered`);
    assertEquals([value(few, "connected"), value(enough, "answered")], [clients, clients]);
  },
});

const noProxy = ignore ? "not on this system" : await obstacleTo(find("nginx-proxy"));
Deno.test({
  name: `clients of a proxy take two places of its table each${noProxy === null ? "" : ` (${noProxy})`}`,
  ignore: noProxy !== null,
  fn: async () => {
    const connections = 100;
    const rows = await measureProxy({ connections, runs: 1 }, plan);
    const [answered, connected] = rows.map(({ value }) => value);
    assertEquals(connected, connections);
    assert(
      answered! > 0.3 * connections && answered! <= 0.5 * connections,
      `${answered} of ${connections}: ${rows[0]!.note}`,
    );
  },
});

Deno.test({
  name: "the share of a core is CPU time over time: no less than what was burnt meanwhile, no more than what was used",
  ignore,
  fn: async () => {
    const usedMs = () => cpuUsage().user / 1000 + cpuUsage().system / 1000;
    const usedBefore = usedMs();
    const before = performance.now();
    const measuring = cpuPercent(Deno.pid, 0.05, plan.signal);
    const usedFrom = usedMs();
    const from = performance.now();
    while (usedMs() < usedFrom + 100);
    const burntMs = usedMs() - usedFrom;
    const burningMs = performance.now() - from;
    const percent = await measuring;
    const least = 100 * burntMs / (performance.now() - before);
    const most = 100 * (usedMs() - usedBefore) / burningMs;
    assert(percent >= least && percent <= most, `${percent} % is not from ${least} to ${most}`);
  },
});

Deno.test({
  name: "a server is measured while its clients are silent, and while they ask",
  ignore,
  fn: async () => {
    const rows = await measureIdleCpu({ servers: ["epoll"], connections: 3, runs: 1, seconds: 0.2 }, plan);
    assertEquals(rows.map(({ metric }) => metric), ["cpu_percent", "cpu_percent_at_rate"]);
    const [silent, asked] = rows;
    assert(silent!.value! >= 0 && silent!.value! < 100, `${silent!.value} %`);
    assert(asked!.value! > 0 && asked!.value! < 100, `${asked!.value} %`);
  },
});

Deno.test({
  name: "a line of counts has its cost; of a server that shows none it is not known",
  ignore,
  fn: async () => {
    const rows = await measureStatsLine({ sizes: { epoll: [3], "deno-serve": [3] }, lines: 3, runs: 1 }, plan);
    assertEquals(
      rows.map(({ variant, metric }) => `${variant} ${metric}`),
      ["epoll 3", "deno-serve 3"].flatMap((of) =>
        ["cpu_us_first", "cpu_us", "wait_us"].map((metric) => `${of} ${metric}`)
      ),
    );
    const [, cpu, wait, none] = rows;
    assert(cpu!.value! < wait!.value!, `${cpu!.value} µs of CPU time within ${wait!.value} µs`);
    assertEquals([none!.value, none!.note], [null, "deno-serve: shows no counts"]);
  },
});

Deno.test({
  name: "the cost of a request is measured with more and more connections; where a server stops, the rows before stay",
  ignore,
  fn: async () => {
    const sizes = { epoll: [2, 5], blocking: [1, 3], iocp: [1, 2] };
    const rows = await measureThreadCount({ sizes, ratePerS: 200, runs: 1, seconds: 0.2 }, plan);
    const names = Object.entries(sizes).flatMap(([server, sizes]) => sizes.map((size) => `${server} ${size}`));
    assertEquals(
      rows.map(({ variant, metric }) => `${variant} ${metric}`),
      names.flatMap((name) => [`${name} cpu_us_per_request`, `${name} context_switches_per_request`]),
    );
    for (const { variant, value, note } of rows) {
      const why = variant === "blocking 3" ? /got no answer/ : variant.startsWith("iocp") ? /needs Windows/ : null;
      if (why === null) assert(value! > 0 && value! < 100_000, `${variant}: ${value}`);
      else {
        assertEquals(value, null);
        assertMatch(note!, why);
      }
    }
  },
});

Deno.test({
  name: "a thread for each connection is switched to for each request",
  ignore: ignore || await obstacleTo(find("c-threads")) !== null,
  fn: async () => {
    const rows = await measureThreadCount({ sizes: { "c-threads": [4] }, ratePerS: 200, runs: 1, seconds: 0.3 }, plan);
    const switches = rows.find(({ metric }) => metric === "context_switches_per_request")!.value!;
    assert(switches > 0.5 && switches < 3, `${switches} switches`);
  },
});
