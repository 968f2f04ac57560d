import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { type Experiment, find } from "../../lib/catalogue/catalogue.ts";
import { hostFacts } from "../../lib/sampling/host.ts";
import { machineOf } from "../../lib/results/machine.ts";
import { readResults, writeResult } from "../../lib/results/results.ts";
import { stress } from "./stress.ts";

const ignore = Deno.build.os !== "linux";
const host = hostFacts();
const PLAN = { seconds: 1.5, warmupSeconds: 0.5, onProgress: () => {} };

async function inFolder(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await body(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** A server that answers, ends and counts as the contract has it; `finish` is run where a connection has ended. */
const fake = (finish: string) => `
  const counts = { accepted: 0, served: 0, errors: {} };
  const answer = new TextEncoder().encode("HTTP/1.1 200 OK\\r\\nContent-Length: 11\\r\\n\\r\\nHello World");
  const kept = [];
  async function serve(conn, n) {
    const buffer = new Uint8Array(1024), decoder = new TextDecoder();
    let text = "";
    try {
      for (let got = await conn.read(buffer); got !== null; got = await conn.read(buffer)) {
        text += decoder.decode(buffer.subarray(0, got));
        if (!text.endsWith("\\r\\n\\r\\n")) continue;
        text = "";
        counts.served++;
        await conn.write(answer);
      }
    } catch { /* a reset */ }
    ${finish}
  }
  Deno.addSignalListener("SIGTERM", () => {
    console.log(JSON.stringify({ event: "stopped", ...counts }));
    Deno.exit(0);
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(JSON.stringify({ event: "ready", experiment: "fake", port: listener.addr.port, pid: Deno.pid }));
  for (;;) {
    try {
      serve(await listener.accept(), counts.accepted++);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotConnected)) throw error; // reset before it was accepted
    }
  }`;

async function withFake(finish: string, body: (experiment: Experiment) => Promise<void>): Promise<void> {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/fake.ts`, fake(finish));
    const run = "deno run --allow-net=127.0.0.1 fake.ts --port 8080";
    await body({ ...find("event-loop"), name: "fake", path: `${dir}/fake.ts`, run });
  });
}

Deno.test("epoll passes: all is answered, counted alike on both sides, and given back", { ignore }, async () => {
  const result = await stress(find("epoll"), host, PLAN);
  const found = result.stress!;
  assertEquals([result.ended, result.reason, found.broken], ["ok", null, []]);
  assertEquals([result.scenario, result.parameters.connections, result.parameters.staying], ["stress", 20, 10]);
  assertEquals([found.unanswered, found.unended, found.errors, result.metrics.lost], [0, 0, {}, 0]);
  assert(found.resets > 0 && found.half_closes > 0 && found.requests - found.answered <= found.resets);
  const planned = found.requests * 0.01; // in the warm-up and in the load, each rounded
  assert(Math.abs(found.resets - planned) <= 2 && Math.abs(found.half_closes - planned) <= 2);
  assert(found.answered <= found.served! && found.served! <= found.answered + found.resets);
  assert(found.descriptors_after <= found.descriptors_before + 2 && found.threads_after <= found.threads_before);
  assertEquals([found.pss_anon_bytes.length, found.level], [4, null]);
  await inFolder(async (dir) => {
    await writeResult(result, dir);
    assertEquals(await readResults(dir, machineOf(host)), { results: [result], passedOver: [] });
  });
});

Deno.test("a server that leaks a descriptor with every twentieth connection is caught", { ignore }, async () => {
  const leak = `if (n % 20 === 0) kept.push(Deno.listen({ hostname: "127.0.0.1", port: 0 })); conn.close();`;
  await withFake(leak, async (experiment) => {
    const { ended, reason, stress: found } = await stress(experiment, host, { ...PLAN, restMs: 1000 });
    assertEquals(ended, "limited");
    assertGreater(found!.descriptors_after, found!.descriptors_before + 2);
    assertStringIncludes(reason!, `it has ${found!.descriptors_after} descriptors at rest`);
  });
});

Deno.test("the same server without the leak passes", { ignore }, async () => {
  await withFake("conn.close();", async (experiment) => {
    const { ended, reason } = await stress(experiment, host, PLAN);
    assertEquals([ended, reason], ["ok", null]);
  });
});

Deno.test("a server that counts more than it was asked for is caught", { ignore }, async () => {
  await withFake("counts.served += 2; conn.close();", async (experiment) => {
    const { ended, stress: found } = await stress(experiment, host, PLAN);
    assertEquals([ended, found!.broken.length], ["limited", 1]);
    assertStringIncludes(found!.broken[0]!, "more than its clients have answers");
  });
});

Deno.test("a server that dies under stress has crashed, and its last words are the reason", { ignore }, async () => {
  await withFake(
    "if (n === 100) { console.error('no more of this'); Deno.exit(3); } conn.close();",
    async (experiment) => {
      const { ended, reason, stress: found } = await stress(experiment, host, PLAN);
      assertEquals([ended, found], ["crashed", undefined]);
      assertStringIncludes(reason!, "exit code 3: no more of this");
    },
  );
});

Deno.test("an experiment of another system is skipped without being started", async () => {
  const requires = [{ os: Deno.build.os === "windows" ? "darwin" : "windows", kernel: null } as const];
  const { ended, stress: found } = await stress({ ...find("event-loop"), requires }, host, PLAN);
  assertEquals([ended, found], ["skipped", undefined]);
});
