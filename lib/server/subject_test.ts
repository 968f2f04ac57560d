import { assert, assertEquals, assertGreater, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { createGuard } from "../run/guard.ts";
import { hostFacts } from "../sampling/host.ts";
import { processTree, unlessGone } from "../sampling/process.ts";
import { listProc, readProc } from "../sampling/procfs.ts";
import { readCustom } from "./custom.ts";
import { runStep } from "../run/step.ts";
import { StartError } from "./server.ts";
import { type CustomServer, repeat, startSubject, type Subject } from "./subject.ts";
import { until } from "../testing/client.ts";

/** A server that knows nothing of this project: it says nothing, and listens where PORT says, after a while. */
const FOREIGN = `
  await new Promise((resolve) => setTimeout(resolve, 50));
  Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () =>
    new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("chunk")); c.close(); } })));`;
const words = (code: string) => [Deno.execPath(), "eval", "--no-lock", code];
const own = (code: string): CustomServer => readCustom({ name: "mine" }, words(code), []);

const measure = (subject: Subject) =>
  runStep({
    experiment: subject,
    host: hostFacts(),
    step: { scenario: "throughput", parameters: { connections: 5, seconds: 0.3, warmup_seconds: 0 } },
    guard: createGuard(),
    signal: new AbortController().signal,
    onProgress: () => {},
  });

Deno.test("a custom server is measured like an experiment, answers in chunks included, and ends with the run", async () => {
  const subject = own(FOREIGN);
  const result = await measure(subject);
  assertEquals([result.experiment, result.family, result.ended, result.reason], ["mine", "custom", "ok", null]);
  assert(result.metrics.requests_per_s! > 0);
  if (Deno.build.os === "linux") assert(result.metrics.cpu_us_per_request! > 0 && result.metrics.pss_bytes! > 0);
  assertStringIncludes(result.command, `deno task measure --name mine --scenario throughput`);
  assertStringIncludes(result.command, ` -- ${Deno.execPath()} eval`);
  const server = await startSubject(subject);
  const { port } = server; // each start has a port of its own, which is free then
  await server[Symbol.asyncDispose]();
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port }), Deno.errors.ConnectionRefused);
});

Deno.test("of a server that runs already CPU and memory are null unless its process is named, and it runs on", async () => {
  const abort = new AbortController();
  const options = { hostname: "127.0.0.1", port: 0, signal: abort.signal, onListen() {} };
  const server = Deno.serve(options, () => new Response("Hello"));
  const url = `http://127.0.0.1:${server.addr.port}`;
  const { ended, metrics } = await measure(readCustom({ name: "mine", url }, null, []));
  assertEquals([ended, metrics.cpu_us_per_request, metrics.pss_bytes, metrics.threads], ["ok", null, null, null]);
  assert(metrics.requests_per_s! > 0);
  if (Deno.build.os === "linux") {
    const named = await measure(readCustom({ name: "mine", url, pid: String(Deno.pid) }, null, []));
    assert(named.metrics.cpu_us_per_request! > 0 && named.metrics.pss_bytes! > 0);
  }
  assertEquals(await (await fetch(url)).text(), "Hello");
  abort.abort();
  await server.finished;
});

Deno.test("a command that ends, a command that is not there and an address where nothing listens are reported", async () => {
  const reasonOf = async (subject: Subject) => (await measure(subject)).reason!;
  assertStringIncludes(await reasonOf(own("console.error('no config'); Deno.exit(3)")), "ended with exit code 3");
  assertStringIncludes(await reasonOf(own("console.error('no config'); Deno.exit(3)")), "no config");
  const absent = await reasonOf({ ...own(""), words: ["no-such-program-7f3a"] });
  assertStringIncludes(absent, Deno.build.os === "windows" ? "cannot be started" : "ended with exit code 127");
  assertStringIncludes(
    await reasonOf({ ...own(""), words: null, host: "127.0.0.1", port: 1 }),
    "nothing listens on 127.0.0.1:1.",
  );
});

Deno.test("a command that never listens is ended, and a port that is taken is not measured in its place", async () => {
  const slow = own("setInterval(() => {}, 1000)");
  const error = await assertRejects(() => startSubject(slow, { readyTimeoutMs: 300 }), StartError);
  assertEquals(error.failure.ended, "not_ready");
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const taken = { ...own(FOREIGN), port: listener.addr.port };
  await assertRejects(() => startSubject(taken), StartError, "is in use already");
});

Deno.test({
  name: "a stored command line starts the same command when it is pasted into a shell",
  ignore: Deno.build.os === "windows", // sh
  fn: async () => {
    const words = ["sh", "-c", 'exec node "/a b/odd.mjs" plain', "it's", "$HOME"];
    const line = repeat(readCustom({ name: "q", port: "80" }, words, []), ["--scenario", "hold"]);
    const { stdout } = await new Deno.Command("sh", { args: ["-c", `printf '%s\\0' ${line}`] }).output();
    const read = new TextDecoder().decode(stdout).split("\0").slice(0, -1);
    const flags = ["deno", "task", "measure", "--name", "q", "--scenario", "hold", "--port", "80", "--"];
    assertEquals(read, [...flags, ...words]);
  },
});

Deno.test("a server that does not come up is reported once per second", async () => {
  const seconds: number[] = [];
  const options = { readyTimeoutMs: 2500, onWait: (waited: number) => void seconds.push(waited) };
  await assertRejects(
    () => startSubject(own("setInterval(() => {}, 1000)"), options),
    StartError,
    "does not listen on",
  );
  assertGreater(seconds.length, 0);
  for (const [i, second] of seconds.entries()) assertGreater(second, i + 0.99); // later on a busy machine
});

Deno.test(
  "a server with kernel bypass is not started where there is no network of its own",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const error = await assertRejects(() => startSubject(find("xdp")), StartError, "needs a network of its own");
    assertEquals(error.failure.ended, "skipped");
  },
);

/** A server of a few lines, at a host and a port; `before` runs first. */
const hello = (host: string, port: string, before = "") =>
  `${before}
  Deno.serve({ hostname: ${
    JSON.stringify(host)
  }, port: Number(${port}), onListen() {} }, () => new Response("Hello"));`;
const PORT = `Deno.env.get("PORT")`;
const onLinux = { ignore: Deno.build.os !== "linux" }; // /proc/net/tcp

/** A port that was free a moment ago. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test(
  "a server that listens on ::1 only is measured there, whether it is started or runs already",
  onLinux,
  async () => {
    const result = await measure(own(hello("::1", PORT)));
    assertEquals([result.ended, result.reason], ["ok", null]);
    assertGreater(result.metrics.cpu_us_per_request!, 0);
    using listener = Deno.listen({ hostname: "::1", port: 0 });
    const { port } = listener.addr;
    const at = (host: string) => startSubject(readCustom({ name: "mine", url: `http://${host}:${port}` }, null, []));
    for (const host of ["[::1]", "localhost"]) assertEquals((await at(host)).host, "::1");
    const error = await assertRejects(() => at("127.0.0.1"), StartError);
    assertStringIncludes(
      error.failure.reason,
      `nothing listens on 127.0.0.1:${port}. A server listens on [::1]:${port}`,
    );
  },
);

Deno.test(
  "a command that listens on another port than PORT is refused with that port within seconds",
  onLinux,
  async () => {
    const port = freePort();
    const from = performance.now();
    const error = await assertRejects(() => startSubject(own(hello("127.0.0.1", String(port)))), StartError);
    assert(performance.now() - from < 15_000, "far less than the minute that a server has to get ready");
    assertEquals(error.failure.ended, "not_ready");
    assertStringIncludes(error.failure.reason, `mine listens on 127.0.0.1:${port}, and not on port `);
    assertStringIncludes(error.failure.reason, `say --port ${port}`);
    const paired = { ...own(hello("127.0.0.1", String(port))), isPaired: true as const };
    const ofTwo = await assertRejects(() => startSubject(paired), StartError);
    assertMatch(ofTwo.failure.reason, /: two run at a time, so let it listen on the port in PORT$/);
  },
);

Deno.test(
  "a command that listens on an address that is not loopback is refused with that address",
  onLinux,
  async () => {
    const error = await assertRejects(() => startSubject(own(hello("127.0.0.9", PORT))), StartError);
    assertStringIncludes(error.failure.reason, "mine listens on 127.0.0.9:");
    assertStringIncludes(error.failure.reason, "let it listen on 127.0.0.1");
  },
);

Deno.test("a command that listens on a Unix socket only is refused with its path", onLinux, async () => {
  const path = `/tmp/${crypto.randomUUID()}.sock`;
  const code = `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} }); setInterval(() => {}, 1000);`;
  const error = await assertRejects(() => startSubject(own(code)), StartError);
  await Deno.remove(path);
  assertStringIncludes(error.failure.reason, `mine listens on the Unix socket ${path}, and not on port `);
});

Deno.test(
  "another process that shares the port is named, and the figures are not called the server's own",
  onLinux,
  async () => {
    const port = freePort();
    const shared = JSON.stringify({ hostname: "127.0.0.1", port, reusePort: true });
    const code = `Deno.serve({ ...${shared}, onListen: () => console.log("up") }, () => new Response("Hello"));`;
    const args = ["eval", "--unstable-net", "--no-lock", code];
    await using server = await startSubject(
      readCustom({ name: "mine", port: String(port) }, [Deno.execPath(), ...args], []),
    );
    assertEquals(server.otherListener, null);
    await using other = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
    const reader = other.stdout.getReader();
    await reader.read(); // it listens as well
    const url = `http://127.0.0.1:${port}`;
    const named = await startSubject(readCustom({ name: "mine", url, pid: String(server.pid) }, null, []));
    await reader.cancel();
    assertEquals(named.pid, server.pid);
    assertStringIncludes(named.otherListener!, `process ${other.pid} (`);
    assertStringIncludes(named.otherListener!, `listens on port ${port} as well, and takes a part of the connections`);
  },
);

Deno.test(
  "where the user names the port, one that another socket has meanwhile is no reason to end",
  onLinux,
  async () => {
    const [early, late] = [freePort(), freePort()];
    const code = hello(
      "127.0.0.1",
      String(late),
      `Deno.listen({ hostname: "127.0.0.1", port: ${early} });
    await new Promise((resolve) => setTimeout(resolve, 2000));`,
    );
    const subject = readCustom({ name: "mine", port: String(late) }, words(code), []);
    await using server = await startSubject(subject);
    assertEquals(server.port, late);
  },
);

Deno.test(
  "a stranger on the port of a command is measured without CPU time and memory, and named",
  onLinux,
  async () => {
    const port = freePort();
    const subject = readCustom({ name: "mine", port: String(port) }, words("setInterval(() => {}, 1000)"), []);
    const before = processTree(Deno.pid)!.length;
    const starting = startSubject(subject);
    // It binds the port after the look whether it is free, and before the wait for it ends.
    await until(() => processTree(Deno.pid)!.length > before + 1, 10_000, "the command to be started");
    using _ = Deno.listen({ hostname: "127.0.0.1", port });
    await using server = await starting;
    assertEquals(server.pid, null);
    assertStringIncludes(server.otherListener!, `process ${Deno.pid} (`);
    assertStringIncludes(
      server.otherListener!,
      "is no part of the server: CPU time and memory of the server are not known",
    );
  },
);

Deno.test("the process of an address is that of its listening socket, or a finding says so", onLinux, async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${listener.addr.port}`;
  const named = async (pid: number) =>
    await startSubject(readCustom({ name: "mine", url, pid: String(pid) }, null, []));
  assertEquals([(await named(Deno.pid)).pid, (await named(Deno.pid)).otherListener], [Deno.pid, null]);
  await using stranger = await startSubject(own(hello("127.0.0.1", PORT)));
  const { pid, otherListener } = await named(stranger.pid!);
  assertEquals(pid, null);
  assertStringIncludes(otherListener!, `process ${Deno.pid} (`);
});

Deno.test(
  "a result of a stranger on the port has no CPU time and no memory, and a finding that names the stranger",
  onLinux,
  async () => {
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("Hello"));
    await using bystander = await startSubject(own(hello("127.0.0.1", PORT)));
    const named = { name: "mine", url: `http://127.0.0.1:${server.addr.port}`, pid: String(bystander.pid) };
    const { ended, metrics, findings } = await measure(readCustom(named, null, []));
    assertEquals([ended, metrics.cpu_us_per_request, metrics.pss_bytes, metrics.threads], ["ok", null, null, null]);
    assertStringIncludes(findings.find(({ id }) => id === "other_listener")!.sentence, `process ${Deno.pid} (`);
  },
);

/** Starts `sh -c script` as a server; its words can use $DENO and $HELLO. */
const shell = (script: string) =>
  readCustom({ name: "mine" }, [
    "env",
    `DENO=${Deno.execPath()}`,
    `HELLO=${hello("127.0.0.1", PORT)}`,
    "sh",
    "-c",
    script,
  ], []);

Deno.test("a command that goes to the background is named, and what it has left is ended", onLinux, async () => {
  // As a daemon does: a session of its own, and the parent ends at once.
  const script = `setsid "$DENO" eval --no-lock "$HELLO" >/dev/null 2>&1 & exit 0`;
  const error = await assertRejects(() => startSubject(shell(script)), StartError);
  assertEquals(error.failure.ended, "crashed");
  assertStringIncludes(error.failure.reason, "is to stay in the foreground");
  assertEquals(strays(), []);
});

Deno.test("a process that has left the session of its server is ended with it", onLinux, async () => {
  {
    await using server = await startSubject(shell(`setsid "$DENO" eval --no-lock "$HELLO" & wait`));
    assertEquals(await fetch(`http://127.0.0.1:${server.port}`).then((answer) => answer.text()), "Hello");
    assertEquals(strays().length, 1);
  }
  assertEquals(strays(), []);
});

Deno.test("a server that wipes its environment is known by its open descriptor, and ended", onLinux, async () => {
  const script = `setsid env -i PORT=$PORT HOME="$HOME" "$DENO" eval --no-lock "$HELLO" & wait`;
  {
    await using server = await startSubject(shell(script));
    assertEquals(await fetch(`http://127.0.0.1:${server.port}`).then((answer) => answer.text()), "Hello");
  }
  assertEquals(strays(), []);
});

/** Living processes that run the server of `shell`. */
const strays = () =>
  listProc("/proc").filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    const line = unlessGone(() => readProc(`/proc/${pid}/cmdline`)) ?? "";
    return line.startsWith(`${Deno.execPath()}\0eval`) && line.includes(hello("127.0.0.1", PORT));
  });
