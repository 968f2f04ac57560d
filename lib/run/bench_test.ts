import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { obstacleTo } from "../catalogue/tools.ts";
import { readCpus } from "../sampling/cores.ts";
import { hostFacts } from "../sampling/host.ts";
import { readProc } from "../sampling/procfs.ts";
import { openBench } from "./bench.ts";
import { createGuard } from "./guard.ts";
import { runStep } from "./step.ts";

const cpus = Deno.build.os === "linux" ? readCpus() : [];
const ignore = cpus.length < 2;
const [first, second] = cpus.map(({ id }) => String(id));

Deno.test({ name: "a server runs on the cores that the user names, one or several", ignore }, async () => {
  const both = cpus.slice(0, 2).map(({ id }) => id).join(",");
  for (const server_cores of [second!, both]) {
    await using bench = await openBench(find("epoll"), { setup: { server_cores, load_cores: first! } });
    const allowed = /^Cpus_allowed:\s*(\S+)$/m.exec(readProc(`/proc/${bench.server.pid}/status`))![1]!;
    const mask = server_cores.split(",").reduce((bits, id) => bits | 1n << BigInt(id), 0n);
    assertEquals(BigInt(`0x${allowed.replaceAll(",", "")}`), mask);
  }
});

Deno.test({ name: "cores and head stand in a result, and in the command that repeats it", ignore }, async () => {
  const setup = { server_cores: second!, load_cores: first!, head: "browser" } as const;
  const parameters = { ...setup, connections: 2, seconds: 0.1, warmup_seconds: 0 };
  const result = await runStep({
    experiment: find("epoll"),
    host: hostFacts(),
    step: { scenario: "throughput", parameters },
    guard: createGuard(),
    signal: new AbortController().signal,
    onProgress() {},
  });
  assertEquals(result.parameters, parameters);
  assert((result.metrics.answered ?? 0) > 0);
  assertStringIncludes(result.command, `--server-cores ${second} --load-cores ${first} --head browser`);
});

const noProxy = ignore ? "needs two cores" : await obstacleTo(find("nginx-proxy"));
Deno.test({
  name: `the backend that a launcher runs beside a proxy is no stranger${noProxy === null ? "" : ` (${noProxy})`}`,
  ignore: noProxy !== null,
  async fn() {
    await using bench = await openBench(find("nginx-proxy"));
    await bench.generator.connect(4);
    const { requests, own_cpu: { server_us, beside_us } } = await bench.generator.closed({ seconds: 0.5 });
    assertGreater(requests, 0);
    assertGreater(beside_us!, server_us! / 10); // it accepts, answers and closes for each request of the proxy
  },
});
