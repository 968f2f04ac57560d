import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { find } from "../../catalogue/catalogue.ts";
import { unlessGone } from "../../sampling/process.ts";
import { listProc, readProc } from "../../sampling/procfs.ts";
import { experimentCommand, type Server, startServer } from "../../server/server.ts";
import { PATIENCE_MS, until } from "../../testing/client.ts";
import { measureMillion, METRICS, million } from "./million.ts";
import { MillionChild } from "./child.ts";

const ignore = Deno.build.os !== "linux" || await million.obstacle() !== null;
const LIMIT = 256;
const RINGS = 3;
const SLOTS = 200;
const ALL = RINGS * SLOTS;
const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));
const prlimit = [`--nofile=${LIMIT}`];

/** Client processes that this process has started and that are still there. */
function workers(): string[] {
  return listProc("/proc").filter((name) => /^\d+$/.test(name)).filter((pid) => {
    const parent = unlessGone(() => /^PPid:\s+(\d+)$/m.exec(readProc(`/proc/${pid}/status`))?.[1]);
    return Number(parent) === Deno.pid &&
      unlessGone(() => readProc(`/proc/${pid}/cmdline`))?.includes(WORKER);
  });
}

const options = (signal = new AbortController().signal) => ({ prlimit, signal });

/** A server and a client of all connections. */
async function pair(stack: AsyncDisposableStack) {
  const command = experimentCommand(find("io-uring-direct"), ["--host", "0.0.0.0"]);
  const server = stack.use(await startServer(command, { prlimit }));
  const client = stack.use(await MillionChild.start({ rings: RINGS, slots: SLOTS, port: server.port }, options()));
  return { server, client };
}

/** Waits until the server holds so many connections. */
async function holds(server: Server, open: number): Promise<void> {
  const isSo = () => {
    Deno.kill(server.leaderPid, "SIGUSR1");
    return JSON.parse(server.lastLine()).open === open;
  };
  await until(isSo, PATIENCE_MS, `${open} connections`);
}

Deno.test({
  name: "more connections are held and answered than the process may open descriptors, and no client stays behind",
  ignore,
  fn: async () => {
    const said: string[] = [];
    const plan = {
      quick: true,
      signal: new AbortController().signal,
      onProgress: (what: string) => void said.push(what),
    };
    const rows = await measureMillion({ goal: ALL, rings: RINGS, slots: SLOTS, restMs: 0, prlimit }, plan);
    assertEquals(rows.map(({ metric }) => metric), [...METRICS]);
    assert(rows.every(({ probe, variant }) => probe === million.name && variant === `io_uring ${ALL}`));
    const value = (metric: typeof METRICS[number]) => rows.find((row) => row.metric === metric)!.value!;
    assert(ALL > LIMIT);
    assertEquals([value("answered"), value("connected"), value("nofile_limit")], [ALL, ALL, LIMIT]);
    assert(value("server_descriptors") < LIMIT, "the connections are not among them");
    assert(value("connect_seconds") > 0 && value("server_pss_bytes") > 0);
    assertEquals(value("kernel_bytes_per_conn"), null, "so few do not stand out");
    assert(said.some((what) => what.includes(`of ${ALL} connections`)), said.join("\n"));
    assertEquals(workers(), []);
  },
});

Deno.test({
  name: "what a killed client held is free again, and the server takes as many once more",
  ignore,
  fn: async () => {
    await using stack = new AsyncDisposableStack();
    const { server, client } = await pair(stack);
    assertEquals((await client.run({ connect: ALL })).connected, ALL);
    await holds(server, ALL);
    await client.kill();
    await holds(server, 0);
    await using second = await MillionChild.start({ rings: RINGS, slots: SLOTS, port: server.port }, options());
    assertEquals((await second.run({ connect: ALL + 1 })).connected, ALL, "no more than there are slots");
    assertEquals((await second.run({ ask: true })).answered, ALL);
    assertEquals((await second.run({ ask: true })).answered, ALL, "and again");
    assertEquals(second.state.errors, {});
    await holds(server, ALL);
  },
});

Deno.test({
  name: "a client says what it has lost when the server is gone, and goes on",
  ignore,
  fn: async () => {
    await using stack = new AsyncDisposableStack();
    const { server, client } = await pair(stack);
    await client.run({ connect: SLOTS });
    await server.stop();
    const { answered, connected, errors } = await client.run({ ask: true });
    assertEquals([answered, connected], [0, 0]);
    assertEquals(Object.values(errors).reduce((sum, times) => sum + times, 0), SLOTS, JSON.stringify(errors));
    const again = await client.run({ ask: true });
    assertEquals([again.done, again.answered], [3, 0]);
  },
});

Deno.test({
  name: "a client ends with its stdin, and with its parent also where somebody else holds its stdin open",
  ignore,
  fn: async () => {
    const config = JSON.stringify({ rings: 1, slots: 1, port: 1 });
    const deno = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--allow-ffi", WORKER, config];
    const script = `exec 3<&0; "$@" <&3 & wait`; // the stdin of sh(1) becomes that of the worker
    for (const words of [deno, ["sh", "-c", script, "sh", ...deno]]) {
      const pipes = { stdin: "piped", stdout: "piped" } as const;
      const parent = new Deno.Command(words[0]!, { ...pipes, args: words.slice(1) }).spawn();
      const output = parent.stdout.pipeThrough(new TextDecoderStream()).getReader();
      assertStringIncludes((await output.read()).value!, `"connected":0`);
      if (words === deno) await parent.stdin.close();
      else parent.kill("SIGKILL");
      assertEquals((await output.read()).done, true, "the pipe ends once nobody holds it any more");
      assertEquals((await parent.status).success, words === deno);
      if (words !== deno) await parent.stdin.close();
    }
  },
});

Deno.test({
  name: "a client that cannot have its table says which call failed and why, and an abort ends one that runs",
  ignore,
  fn: async () => {
    const config = { rings: 1, slots: LIMIT + 1, port: 1 };
    const error = await assertRejects(() => MillionChild.start(config, options()), Error);
    assertStringIncludes(error.message, `Cannot register a table of ${LIMIT + 1} descriptors: EMFILE (24)`);
    const abort = new AbortController();
    await using client = await MillionChild.start({ ...config, slots: 1 }, options(abort.signal));
    abort.abort();
    await assertRejects(() => client.until(({ done }) => done > 0), Error, "The client ended by SIGTERM");
    await client.kill();
    assertEquals(workers(), []);
  },
});

Deno.test({
  name: "what this machine has not the memory for is a row without a value that says so",
  ignore,
  fn: async () => {
    const plan = { quick: false, signal: new AbortController().signal, onProgress: () => {} };
    const rows = await measureMillion({ goal: 1e12, rings: 2, slots: 5e11, restMs: 0 }, plan);
    assertEquals(rows.map(({ metric, value }) => [metric, value]), METRICS.map((metric) => [metric, null]));
    assertStringIncludes(rows[0]!.note!, "are available");
    const small = await measureMillion({ goal: 1e6, rings: 1e6, slots: 1, restMs: 0 }, plan);
    assertStringIncludes(small[0]!.note!, "would take 1 000 000 rings");
  },
});
