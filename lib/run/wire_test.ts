/** Runs over a wire: the same scenarios, with server and load in a network namespace each. */
import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { compare } from "../compare/compare.ts";
import { LoadGenerator } from "../load/generator.ts";
import { CLIENT_ADDRESS, type Namespace, networkObstacle } from "../network/namespaces.ts";
import { corePair } from "../sampling/cores.ts";
import { hostFacts } from "../sampling/host.ts";
import { receivers } from "../testing/traces.ts";
import { openBench } from "./bench.ts";
import { createGuard } from "./guard.ts";
import type { Step } from "./ladder.ts";
import { runStep } from "./step.ts";

const obstacle = await networkObstacle();
const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: obstacle === null ? name : `${name} (${obstacle})`, ignore: obstacle !== null, fn });
const signal = new AbortController().signal;
const hasCores = navigator.hardwareConcurrency > 1;
const MOST_RUNS = 10;

const run = (name: string, scenario: Step["scenario"], connections: number, isWired = false) =>
  runStep({
    experiment: find(name),
    isWired,
    host: hostFacts(),
    step: { scenario, parameters: { connections, seconds: 0.3, warmup_seconds: 0.1, rate_per_s: 200 } },
    guard: createGuard(),
    signal,
    onProgress: () => {},
  });

test("xdp holds and answers over a wire, and no kernel memory is called its own", async () => {
  const { ended, reason, metrics, parameters } = await run("xdp", "hold", 2000);
  assertEquals([ended, reason, metrics.answered, parameters.wire], ["ok", null, 2000, "veth"]);
  assertEquals(metrics.kernel_bytes_per_conn, null);
});

for (const [name, isWired] of [["xdp", false], ["epoll", true], ["event-loop", true]] as const) {
  test(`${name} is loaded over a wire, and the busy time of its core counts beside that of its process`, async () => {
    let runs = 0;
    let result = await run(name, "throughput", 4, isWired);
    // Null where the window was over before the machine had time to read the clocks of its cores.
    while (hasCores && result.metrics.core_us_per_request === null && ++runs < MOST_RUNS) {
      result = await run(name, "throughput", 4, isWired);
    }
    const { ended, reason, metrics, parameters } = result;
    assertEquals([ended, reason, parameters.wire], ["ok", null, "veth"]);
    assertGreater(metrics.cpu_us_per_request!, 0);
    if (hasCores) assertGreater(metrics.core_us_per_request!, 0);
  });
}

Deno.test({
  name: "what arrives at a server with kernel bypass is handled by a thread of the kernel on the server's core",
  ignore: obstacle !== null || !hasCores,
  async fn() {
    const before = receivers();
    await using _bench = await openBench(find("xdp"));
    const own = [...receivers()].filter(([pid]) => !before.has(pid));
    const wanted = String(corePair()!.server); // where other tests run, threads of their networks are there too
    assert(own.some(([, cores]) => cores === wanted), JSON.stringify(own));
  },
});

test("over loopback no run has a wire, and no figure of its core", async () => {
  const { metrics, parameters } = await run("epoll", "throughput", 4);
  assertEquals([metrics.core_us_per_request, parameters.wire], [null, undefined]);
});

test("a comparison with xdp runs both over the same kind of wire", async () => {
  const plan = {
    scenario: "throughput",
    connections: 2,
    rounds: 1,
    slices: 2,
    seconds: 0.5,
    settleSeconds: 0.5,
  } as const;
  const { rows, failures } = await compare(find("epoll"), [find("xdp")], {
    ...plan,
    ratePerS: null,
    heavy: null,
    signal,
  });
  assertEquals(failures, []);
  const core = rows.find(({ metric }) => metric === "core_us_per_request")!;
  assertEquals([core.reference, core.candidate], ["epoll", "xdp"]);
  assert(core.rounds > 0); // a second one where others disturb the first
  if (hasCores) assert(core.reference_value! > 0 && core.candidate_value! > 0);
});

Deno.test("an address of the wire is refused from outside of a namespace of the lab, and so is one that only looks like it", async () => {
  const target = { host: CLIENT_ADDRESS, port: 80 };
  const forged = { pid: Deno.pid, command: (command: unknown) => command } as unknown as Namespace;
  for (const within of [{}, { within: forged }]) {
    await assertRejects(() => LoadGenerator.start({ ...target, ...within }), Error, "is not this machine");
  }
});
