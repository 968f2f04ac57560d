import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { type Experiment, find } from "../catalogue/catalogue.ts";
import { createGuard, Guard } from "./guard.ts";
import { cpusHere } from "./setup.ts";
import { hostFacts } from "../sampling/host.ts";
import { labVersion } from "../results/lab.ts";
import type { Step } from "./ladder.ts";
import { processTree } from "../sampling/process.ts";
import { crash, type RunOptions, runStep } from "./step.ts";
import type { Subject } from "../server/subject.ts";
import { describe } from "../tables/runs.ts";
import { until } from "../testing/client.ts";

const linux = Deno.build.os === "linux";
const host = hostFacts();

/** A server of the contract that says `Hello World` to whom `serves` lets it; `n` counts connections, `k` requests. */
const fake = (serves: string, before = "") => `
  ${before}
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(JSON.stringify({ event: "ready", experiment: "fake", port: listener.addr.port, pid: Deno.pid }));
  const answer = new TextEncoder().encode("HTTP/1.1 200 OK\\r\\nContent-Length: 11\\r\\n\\r\\nHello World");
  let n = 0, k = 0;
  for await (const conn of listener) {
    n++;
    (async (n) => {
      const buffer = new Uint8Array(1024);
      while (await conn.read(buffer) !== null) { k++; ${serves} await conn.write(answer); }
    })(n).catch(() => {});
  }`;

async function withFake(source: string, body: (experiment: Experiment) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/fake.ts`, source);
    const run = "deno run --allow-net=127.0.0.1 fake.ts --port 8080";
    await body({ ...find("event-loop"), name: "fake", path: `${dir}/fake.ts`, run });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const step = (scenario: Step["scenario"], connections: number, more = {}, quick = false): Step => ({
  scenario,
  parameters: { connections, seconds: 0.2, warmup_seconds: 0, ...more },
  quick,
});

const options = (experiment: Subject, step: Step): RunOptions => ({
  experiment,
  host,
  step,
  guard: createGuard(),
  onProgress: () => {},
  signal: new AbortController().signal,
});

Deno.test({
  name: "a server is asked for its open connections at the end of a step; one that shows none is not",
  ignore: !linux,
  fn: async () => {
    const counts: [string, number][] = [];
    const onOpen = ({ scenario }: Step, open: number) => void counts.push([scenario, open]);
    for (const name of ["epoll", "deno-serve"]) {
      for (const scenario of ["hold", "throughput"] as const) {
        const { ended } = await runStep({ ...options(find(name), step(scenario, 20)), onOpen });
        assertEquals(ended, "ok");
      }
    }
    assertEquals(counts, [["hold", 20], ["throughput", 20]]);
  },
});

const cpus = linux ? cpusHere().map(({ id }) => id) : [];

Deno.test({
  name:
    "a run in which one of two load processes lost all its connections is limited, and its rate is that of the other",
  ignore: cpus.length < 2,
  fn: () =>
    withFake(
      fake("if (n === 1 && k > 30) return conn.write(new Uint8Array([83, 83, 72, 13, 10]));"),
      async (experiment) => {
        const cores = { server_cores: String(cpus[0]), load_cores: `${cpus[1]},${cpus[0]}` };
        const { ended, reason, metrics } = await runStep(
          options(experiment, step("rate", 2, { rate_per_s: 100, seconds: 0.6, ...cores })),
        );
        assertEquals(ended, "limited");
        assertStringIncludes(reason!, "1 of 2 load processes stopped early (all connections were lost)");
        assert(metrics.requests_per_s! > 50 && metrics.requests_per_s! < 100, `${metrics.requests_per_s}`);
      },
    ),
});

Deno.test({
  name: "hold holds and answers all connections, and its figures are those of the scenario",
  ignore: !linux,
  fn: async () => {
    const result = await runStep(options(find("epoll"), step("hold", 200)));
    assertEquals([result.ended, result.reason], ["ok", null]);
    assertEquals([result.metrics.connections, result.metrics.answered, result.metrics.lost], [200, 200, 0]);
    assertEquals(result.metrics.requests_per_s, null);
    assertGreater(result.metrics.connects_per_s!, 0);
    assertGreater(result.metrics.accepts_per_s!, 0);
    assertGreater(result.metrics.threads!, 0);
    assert(result.histogram !== null);
  },
});

Deno.test({
  name: "throughput and rate tell requests, latency and CPU time of the server",
  ignore: !linux,
  fn: async () => {
    const closed = await runStep(options(find("epoll"), step("throughput", 10)));
    const open = await runStep(options(find("epoll"), step("rate", 10, { rate_per_s: 500 })));
    for (const { ended, reason, metrics } of [closed, open]) {
      // On a busy machine a few of the hundred requests are answered behind the window, which is no fault of the figures.
      const isLate = metrics === open.metrics && /were due and \d+ were answered in time$/.test(String(reason));
      assert(ended === "ok" || isLate, String(reason));
      for (const key of ["requests_per_s", "cpu_us_per_request", "p50_us", "p99_us", "p99_9_us"] as const) {
        assertGreater(metrics[key]!, 0, key);
      }
    }
    assertEquals(closed.metrics.raw_p99_us, null);
    assertEquals(open.metrics.answered, 100);
    assert(open.metrics.raw_p99_us! <= open.metrics.p99_us!, "the raw latency leaves out the wait");
  },
});

Deno.test("a server that leaves connections without an answer is limited, and the reason counts them", async () => {
  await withFake(fake("if (n > 3) continue;"), async (experiment) => {
    const result = await runStep(options(experiment, step("hold", 8)));
    assertEquals(result.ended, "limited");
    assertEquals(result.metrics.answered, 3);
    assertStringIncludes(result.reason!, "got no answer");
  });
});

Deno.test("a server that dies in mid-run has crashed, and its last words are the reason", async () => {
  await withFake(fake("if (k === 20) { console.error('no more of this'); Deno.exit(3); }"), async (experiment) => {
    const result = await runStep(options(experiment, step("hold", 40)));
    assertEquals(result.ended, "crashed");
    assertStringIncludes(result.reason!, "exit code 3: no more of this");
  });
});

Deno.test("a server that says that it cannot run here is skipped, with its sentence", async () => {
  const sentence = "fake cannot run here: it is Tuesday.";
  await withFake(fake("", `console.error(${JSON.stringify(sentence)}); Deno.exit(69);`), async (experiment) => {
    const result = await runStep(options(experiment, step("hold", 1)));
    assertEquals([result.ended, result.reason], ["skipped", sentence]);
  });
});

Deno.test("an experiment of another system is skipped without being started", async () => {
  const requires = [{ os: Deno.build.os === "windows" ? "darwin" : "windows", kernel: null } as const];
  await withFake("Deno.exit(3);", async (experiment) => {
    const run = "deno run -A fake.ts --port 8080";
    const result = await runStep(options({ ...experiment, run, requires }, step("hold", 1)));
    assertEquals(result.ended, "skipped"); // what starts and ends at once would be "not_ready"
    assertEquals(result.metrics.answered, null, "nothing was measured, so there is no zero");
  });
});

Deno.test({
  name: "the guard ends a climb before the memory is used up, and says what the rest would need",
  ignore: !linux,
  fn: async () => {
    const guard = new Guard({ memAvailableBytes: 1, descriptorLimit: 1000 }); // less than any server uses
    const result = await runStep({ ...options(find("epoll"), step("hold", 100)), guard });
    assertEquals(result.ended, "limited");
    assertEquals(result.metrics.answered, 1);
    assertStringIncludes(result.reason!, "stopped at 1 of 100: memory");
  },
});

Deno.test({
  name: "an abort ends the run at once, and nothing that it started is left",
  ignore: !linux,
  fn: async () => {
    const abort = new AbortController();
    const busy = step("throughput", 10, { seconds: 600 });
    const onProgress = ({ progress }: { progress: { answered: number } }) => {
      if (progress.answered > 0) abort.abort(new Error("enough"));
    };
    const before = processTree(Deno.pid)!.length;
    await assertRejects(
      () => runStep({ ...options(find("epoll"), busy), signal: abort.signal, onProgress }),
      Error,
      "enough",
    );
    await until(() => processTree(Deno.pid)!.length <= before, 10_000, "the end of server, generator and watchdog");
  },
});

for (const scenario of ["throughput", "rate"] as const) {
  Deno.test(`a server that dies before the load of ${scenario} begins has crashed too, and is no error of usage`, async () => {
    await withFake(fake("if (k === 5) { console.error('no more of this'); Deno.exit(3); }"), async (experiment) => {
      const result = await runStep(options(experiment, step(scenario, 10, { rate_per_s: 100 })));
      assertEquals(result.ended, "crashed", result.reason ?? "");
      assertStringIncludes(result.reason!, "exit code 3: no more of this");
    });
  });
}

Deno.test({
  name: "an abort ends a run that only waits",
  ignore: !linux,
  fn: async () => {
    const abort = new AbortController();
    const waiting = runStep({ ...options(find("epoll"), step("hold", 2, { seconds: 600 })), signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 1500); // whatever it is at by then
    await assertRejects(() => waiting, Error, "enough");
  },
});

Deno.test("what a server has never answered costs it no memory, whatever the slope says", async () => {
  // So many that both slopes would be reported: over fewer connections they are null as noise anyway.
  await withFake(fake("if (n > 110) continue;"), async (experiment) => {
    const { metrics } = await runStep(options(experiment, step("hold", 1100)));
    assertEquals(metrics.answered, 110);
    assertEquals([metrics.user_bytes_per_conn, metrics.kernel_bytes_per_conn], [null, null]);
  });
});

Deno.test("a quick run and its command say so, a full run and its command do not", async () => {
  const elsewhere = {
    ...find("event-loop"),
    requires: [{ os: Deno.build.os === "windows" ? "darwin" : "windows", kernel: null } as const],
  };
  const saidOf = async (scenario: Step["scenario"], isQuick: boolean) => {
    const { quick, command } = await runStep(options(elsewhere, step(scenario, 5, {}, isQuick)));
    return [quick, command];
  };
  const quick = "deno task exp event-loop --scenario throughput --connections 5 --seconds 0.2 --quick";
  assertEquals(await saidOf("throughput", true), [true, quick]);
  assertEquals(await saidOf("throughput", false), [false, quick.replace(" --quick", "")]);
  assertEquals(await saidOf("hold", true), [true, quick.replace("throughput", "hold")]);
});

Deno.test("a result says which version of the lab and which file served", async () => {
  const requires = [{ os: Deno.build.os === "windows" ? "darwin" : "windows", kernel: null } as const];
  const { lab } = await runStep(options({ ...find("event-loop"), requires }, step("hold", 1)));
  assertEquals(lab, await labVersion(find("event-loop").path));
  const own = { name: "mine", family: "custom", host: "127.0.0.1", port: 1, pid: null, words: null } as const;
  const mine = await runStep(options(own, step("hold", 1)));
  assertEquals([mine.ended, mine.lab], ["not_ready", await labVersion(null)]);
});

Deno.test({
  name: "a run that was limited tells what the server itself counted",
  ignore: !linux,
  async fn() {
    const { ended, reason } = await runStep(options(find("select"), step("hold", 1100, { seconds: 0 })));
    assertEquals(ended, "limited");
    assertStringIncludes(reason!, "were closed without an answer; the server counted ");
    assertStringIncludes(reason!, "FD_SETSIZE");
  },
});

Deno.test("accepted connections are counted by their answers, whatever handshakes the kernel completes before", async () => {
  // Accepts one connection in 20 ms; the kernel has completed the handshakes of all of them at once.
  const slow = fake("").replace("n++;", "n++; await new Promise((resolve) => setTimeout(resolve, 20));");
  await withFake(slow, async (experiment) => {
    const { ended, metrics } = await runStep(options(experiment, step("hold", 40)));
    assertEquals([ended, metrics.answered], ["ok", 40]);
    assert(metrics.accepts_per_s! <= 50, `${metrics.accepts_per_s} accepted per second`);
    assertGreater(metrics.connects_per_s!, metrics.accepts_per_s!);
  });
});

Deno.test({
  name: "attempts to connect that found the accept queue full are a finding of hold",
  ignore: !linux,
  fn: async () => {
    // Accepts one connection in 20 ms, and has room for four that wait.
    const slow = fake("").replace("port: 0", "port: 0, tcpBacklog: 4")
      .replace("n++;", "n++; await new Promise((resolve) => setTimeout(resolve, 20));");
    await withFake(slow, async (experiment) => {
      const { ended, metrics, findings } = await runStep(options(experiment, step("hold", 40)));
      assertEquals([ended, metrics.answered], ["ok", 40]);
      const { sentence } = findings.find(({ id }) => id === "redials")!;
      assert(/^[\d\s]+ attempts? to connect found the accept queue full/.test(sentence), sentence);
    });
  },
});

Deno.test("a server that closes each connection with its answer keeps none, and no connection of it is called lost", async () => {
  await withFake(fake("await conn.write(answer); conn.close(); break;"), async (experiment) => {
    const { ended, reason, metrics, findings } = await runStep(options(experiment, step("hold", 5)));
    assertEquals([ended, metrics.closes_after], ["limited", 1]);
    assertStringIncludes(reason!, "were closed after their answer: nothing is kept alive");
    assertEquals(findings.map(({ id }) => id), []);
  });
});

Deno.test("a server that closes idle connections is limited by the number it closed", async () => {
  await withFake(fake("if (n > 1) setTimeout(() => conn.close(), 300);"), async (experiment) => {
    const { ended, reason, metrics } = await runStep(options(experiment, step("hold", 4, { seconds: 1 })));
    assertEquals([ended, reason, metrics.lost], ["limited", "the server closed 3 connections within 1 s", 3]);
  });
});

Deno.test("an answer that cannot be followed is named by its cause, in hold and in churn", async () => {
  const answer = "HTTP/1.1 200 OK\\r\\nTransfer-Encoding: gzip, chunked\\r\\n\\r\\n";
  const coded = fake(`await conn.write(new TextEncoder().encode("${answer}")); continue;`);
  await withFake(coded, async (experiment) => {
    const held = await runStep(options(experiment, step("hold", 3)));
    assertStringIncludes(held.reason!, "were answered in a transfer coding that was not asked for");
    const churned = await runStep(options(experiment, step("churn", 3, { seconds: 60 })));
    assert(/^1 000 connections in a row failed: [\d ]+ coding$/.test(churned.reason!), String(churned.reason));
    assertEquals([churned.ended, churned.metrics.answered], ["limited", 0]);
  });
});

Deno.test("a server that hangs for the last three tenths of a load has a p99 of at least that wait, in table and JSON", async () => {
  // Five first requests, then 70 of the 100 that are due; from there on nothing is answered.
  await withFake(fake("if (k > 75) continue;"), async (experiment) => {
    const hangs = step("rate", 5, { rate_per_s: 100, seconds: 1 });
    const result = await runStep(options(experiment, hangs));
    assertEquals([result.ended, result.metrics.answered, result.metrics.unanswered], ["limited", 70, 30]);
    assertEquals(result.at_least, ["p99_us", "p99_9_us"]);
    assertEquals(JSON.parse(JSON.stringify(result)).at_least, ["p99_us", "p99_9_us"]);
    assertGreater(result.metrics.p99_us!, 5e6, "they were waited for, and are known to have waited so long");
    assert(result.findings.some(({ id }) => id === "unanswered"));
    assert(/^rate .* ≥ \d+\.\d+ s /m.test(describe([result], 200)), describe([result], 200));
  });
});

Deno.test("a rate that is not reached is limited, with what was due and what came", async () => {
  const slow = fake("await new Promise((resolve) => setTimeout(resolve, 20));"); // 50 per connection and second at the most
  await withFake(slow, async (experiment) => {
    const { ended, reason, findings } = await runStep(options(experiment, step("rate", 1, { rate_per_s: 200 })));
    assertEquals(ended, "limited");
    assert(/^200 requests\/s were due and \d+ were answered in time$/.test(reason!), String(reason));
    assert(findings.some(({ id }) => id === "server_bound"));
  });
});

Deno.test("a server that ends without a failure in a run is asked to stay in the foreground", () => {
  const said = { stderrTail: () => "" };
  assert(crash({ success: true, code: 0, signal: null }, said).includes("must stay in the foreground"));
  assertEquals(
    crash({ success: false, code: 3, signal: null }, said),
    "the server ended during the run with exit code 3",
  );
});
