import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { createGuard } from "../run/guard.ts";
import { hostFacts } from "../sampling/host.ts";
import { readCustom } from "./custom.ts";
import { runStep } from "../run/step.ts";
import { StartError } from "./server.ts";
import { type CustomServer, repeat, startSubject, type Subject } from "./subject.ts";

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
  assertEquals([result.experiment, result.family, result.ended, result.reason], ["mine", "own", "ok", null]);
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

Deno.test("a command that ends, a command that is not there and an address where nothing listens are told", async () => {
  const reasonOf = async (subject: Subject) => (await measure(subject)).reason!;
  assertStringIncludes(await reasonOf(own("console.error('no config'); Deno.exit(3)")), "ended with exit code 3");
  assertStringIncludes(await reasonOf(own("console.error('no config'); Deno.exit(3)")), "no config");
  const absent = await reasonOf({ ...own(""), words: ["no-such-program-7f3a"] });
  assertStringIncludes(absent, Deno.build.os === "windows" ? "cannot be started" : "ended with exit code 127");
  assertStringIncludes(await reasonOf({ ...own(""), words: null, port: 1 }), "nothing listens on 127.0.0.1:1.");
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

Deno.test("a server that does not come up is told of once a second", async () => {
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
  "a server around the kernel is not started where there is no network of its own",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const error = await assertRejects(() => startSubject(find("xdp")), StartError, "needs a network of its own");
    assertEquals(error.failure.ended, "skipped");
  },
);
