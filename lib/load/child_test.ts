import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { deadline } from "@std/async";
import { fileURLToPath } from "node:url";
import { UsageError } from "../cli/errors.ts";
import { LoadGenerator } from "./generator.ts";
import type { Command, EngineConfig, Reply } from "./types.ts";
import { processTree } from "../sampling/process.ts";
import { readProc } from "../sampling/procfs.ts";
import { until } from "../testing/client.ts";
import { ENGINES } from "../testing/engines.ts";
import { FakeServer, HELLO } from "../testing/fake_server.ts";

const LINUX = Deno.build.os === "linux";
const PATIENCE_MS = 30_000; // only something broken lets it pass
/** A loop that ends long after the test. */
const long = (clockUs: number): Command => {
  const endUs = clockUs + 600e6;
  return { name: "closed", options: { startUs: clockUs, fromUs: clockUs, toUs: endUs, endUs, path: null } };
};

const server = () => new FakeServer(({ write }) => write(HELLO));
const gone = (pid: number) => until(() => processTree(pid) === null, PATIENCE_MS, `the end of process ${pid}`);

/** load_main.ts by itself, without what load_child.ts puts around it; `before` is run in the shell that becomes it. */
function bareProcess(config: Partial<EngineConfig> & { port: number }, before = "") {
  const whole: EngineConfig = {
    engine: "epoll",
    addresses: ["127.0.0.1"],
    host: "lab",
    head: "client",
    method: "GET",
    path: "/",
    cpu: null,
    spinUs: 0,
    index: 0,
    processes: 1,
    ports: null,
    ...config,
  };
  const main = fileURLToPath(new URL("./main.ts", import.meta.url));
  const words = [Deno.execPath(), "run", "--allow-ffi", "--allow-net=127.0.0.1", main, JSON.stringify(whole)];
  const process = new Deno.Command("sh", {
    args: ["-c", `${before}\nexec "$@"`, "sh", ...words],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = process.stdin.getWriter();
  const output = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  /** The next line. */
  const reply = async (): Promise<Reply> => {
    while (!text.includes("\n")) {
      const { value, done } = await deadline(output.read(), PATIENCE_MS);
      if (done) throw new Error("The process ended.");
      text += value;
    }
    const end = text.indexOf("\n") + 1;
    const line = text.slice(0, end);
    text = text.slice(end);
    return JSON.parse(line);
  };
  const give = (command: Command) => input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
  const end = async () => {
    await input.close();
    const status = await deadline(process.status, PATIENCE_MS);
    while (!(await output.read()).done);
    return status;
  };
  return { pid: process.pid, reply, give, end };
}

for (const engine of ENGINES) {
  Deno.test({
    name: `a generator whose stdin ends in the middle of a loop ends (${engine})`,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      await using fake = server();
      const child = bareProcess({ engine, port: fake.port });
      const ready = await child.reply();
      assert("ready" in ready);
      await child.give({ name: "connect", options: { count: 2, timeoutMs: 1000 } });
      const connected = await child.reply() as { done: { connected: number } };
      assertEquals(connected.done.connected, 2);
      await child.give(long(ready.clockUs));
      assert("progress" in await child.reply()); // the loop runs
      assertEquals((await child.end()).code, 0);
    },
  });
}

const SETPRIV = LINUX && new Deno.Command("sh", { args: ["-c", "setpriv --pdeathsig KILL true"] }).outputSync().success;

// A process that stands still cannot see the end of stdin: the kernel has to end it.
for (const [how, ignore] of [["runs", !LINUX], ["stands still", !SETPRIV]] as const) {
  Deno.test({ name: `a generator that ${how} ends with its parent, even if that is killed`, ignore }, async () => {
    await using fake = server();
    const script = `
      import { LoadGenerator } from ${JSON.stringify(new URL("./generator.ts", import.meta.url).href)};
      const onProgress = () => console.log(generator.pid);
      const generator = await LoadGenerator.start({ host: "127.0.0.1", port: ${fake.port} }, { onProgress });
      await generator.connect(1);
      await generator.closed({ seconds: 600 });`;
    const url = `data:text/typescript,${encodeURIComponent(script)}`;
    const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
    const args = ["run", "--allow-all", "--config", config, url];
    const parent = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
    const output = parent.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const pid = parseInt((await deadline(output.read(), PATIENCE_MS)).value!);
    assert(processTree(pid) !== null);
    if (how === "stands still") Deno.kill(pid, "SIGSTOP");
    parent.kill("SIGKILL");
    await parent.status;
    await output.cancel();
    await gone(pid);
  });
}

for (const engine of ENGINES) {
  Deno.test(`stopping ends a command that runs, and all later ones (${engine})`, async () => {
    await using fake = server();
    const { promise: runs, resolve } = Promise.withResolvers<void>();
    const generator = await LoadGenerator.start({ host: "127.0.0.1", port: fake.port }, {
      engine,
      onProgress: () => resolve(),
    });
    await generator.connect(1);
    const running = assertRejects(() => generator.closed({ seconds: 600 }), Error, "The load generator was stopped");
    await runs;
    await generator.stop();
    await running;
    await assertRejects(() => generator.totals(), Error, "The load generator was stopped");
    await generator.stop();
    if (LINUX) assertEquals(processTree(generator.pid), null);
  });
}

Deno.test({
  name: "a generator that is killed says so, in the command that runs and in later ones",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using fake = server();
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: fake.port }, {
      onProgress: () => Deno.kill(generator.pid, "SIGKILL"),
    });
    await generator.connect(1);
    await assertRejects(() => generator.closed({ seconds: 600 }), Error, "The load generator ended by SIGKILL");
    await assertRejects(() => generator.totals(), Error, "The load generator ended by SIGKILL");
  },
});

const allowedCores = (pid: number) => /^Cpus_allowed_list:\s*(.*)$/m.exec(readProc(`/proc/${pid}/status`))![1];

Deno.test({
  name: "a generator runs on the cores it is given, with taskset or without",
  ignore: !LINUX || navigator.hardwareConcurrency < 2,
}, async () => {
  await using fake = server();
  for (const engine of ENGINES) {
    await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: fake.port }, { engine, cpu: 0 });
    assertEquals(allowedCores(generator.pid), "0");
  }
  await using two = await LoadGenerator.start({ host: "127.0.0.1", port: fake.port }, { cpus: [0, 1] });
  assertEquals(two.pids.map(allowedCores), ["0", "1"]);
  const bare = bareProcess({ port: fake.port, cpu: 0 });
  await bare.reply();
  assertEquals(allowedCores(bare.pid), "0");
  await bare.end();
});

Deno.test({ name: "a core that is not there is an error that says so", ignore: !LINUX }, async () => {
  const start = () => LoadGenerator.start({ host: "127.0.0.1", port: 1 }, { cpu: 1000 });
  assertStringIncludes(
    (await assertRejects(start, Error, "The load generator ended with exit code")).message,
    "nvalid",
  );
});

Deno.test(
  { name: "at its own limit of descriptors a generator makes no further attempt", ignore: !LINUX },
  async () => {
    await using fake = server();
    const child = bareProcess({ port: fake.port }, "ulimit -n 100");
    await child.reply();
    await child.give({ name: "connect", options: { count: 1000, timeoutMs: 5000 } });
    const { done } = await child.reply() as {
      done: { connected: number; failed: number; errors: Record<string, number> };
    };
    assert(done.connected > 20 && done.connected < 100);
    assertEquals([done.failed, done.errors], [1000 - done.connected, { EMFILE: 1000 - done.connected }]);
    await child.end();
  },
);

Deno.test("only loopback is asked, unless the host is allowed by the name it was given", async () => {
  const refused = [
    { host: "192.0.2.1", port: 80 }, // a network for documentation, RFC 5737
    { host: "192.0.2.1", port: 80, allow: "192.0.2.2" },
    { host: "128.0.0.1", port: 80 },
    { host: "0.0.0.0", port: 80 },
    { host: "2001:db8::1", port: 80 },
    { host: "[2001:db8::1]", port: 80 },
  ];
  for (const target of refused) {
    await assertRejects(
      () => LoadGenerator.start(target),
      UsageError,
      `${target.host.replace(/[\[\]]/g, "")} is not this machine`,
    );
  }
  await assertRejects(
    () => LoadGenerator.start({ host: "no-such-host.invalid", port: 80 }),
    UsageError,
    "Cannot resolve",
  );
  await using allowed = await LoadGenerator.start({ host: "192.0.2.1", port: 80, allow: "192.0.2.1" });
  assertEquals((await allowed.totals()).connections, 0);
});

Deno.test("numbers out of range are refused by name", async () => {
  await assertRejects(() => LoadGenerator.start({ host: "127.0.0.1", port: 70_000 }), UsageError, "port 70000");
  await using generator = await LoadGenerator.start({ host: "127.0.0.1", port: 1 });
  const refused = {
    "count 0": () => generator.connect(0),
    "count 1.5": () => generator.connect(1.5),
    "window 0": () => generator.ask({ window: 0 }),
    "seconds NaN": () => generator.closed({ seconds: NaN }),
    "rate 0": () => generator.open({ rate: 0, seconds: 1 }),
    "heavyShare 2": () => generator.open({ rate: 1, seconds: 1, heavyShare: 2, heavyPath: "/work/1" }),
    "heavyShare needs": () => generator.open({ rate: 1, seconds: 1, heavyShare: 0.5 }),
    "path": () => generator.closed({ seconds: 1, path: "no path" }),
    'path "of all"': () => LoadGenerator.start({ host: "127.0.0.1", port: 1 }, { path: "of all" }),
    "heavyPath": () => generator.open({ rate: 1, seconds: 1, heavyShare: 0.5, heavyPath: "/ HTTP/1.1\r\n" }),
    "concurrency 0": () => generator.churn({ concurrency: 0, seconds: 1 }),
    "slow -1": () => generator.slow({ slow: -1, rate: 1, seconds: 1 }),
  };
  for (const [message, give] of Object.entries(refused)) await assertRejects(give, UsageError, message);
});
