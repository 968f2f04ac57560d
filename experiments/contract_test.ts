/** The contract of the experiments: header, command line, what is said on stdout and stderr, and how they stop. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { basename, join } from "node:path";
import { catalogue } from "../lib/catalogue.ts";
import { experimentCommand, type Server, startServer } from "../lib/server.ts";
import { BrokenPromise, type Client, head, listens, until } from "../lib/testing/client.ts";
import { ABILITIES, type Check, hello, type Lab, run, testAll } from "../lib/testing/contract.ts";

const HALF = 20; // bytes of a head that are sent before SIGTERM
const REFUSED_MS = 300; // how long a stopping server is watched until it refuses connections
const STOP_TRIES = 5, STOP_LATE_MS = 700;

/** Runs the experiment with options that end it at once, or without the permissions of its `@run` line. */
function runToEnd({ experiment, args }: Lab, options: string[], permitted = true) {
  const { command, args: [...words] } = experimentCommand(experiment, [...args, ...options]);
  const isPermission = (word: string) => word.startsWith("--allow");
  return run(command, permitted ? words : words.filter((word) => !isPermission(word)));
}

const COMMAND_LINE: Check[] = [{
  says: "runs alone in an empty folder, started by exactly its @run line, and serves curl",
  needs: "curl",
  async holds({ experiment: { path, run: line, peer } }) {
    const folder = await Deno.makeTempDir();
    try {
      // A peer's source stands beside its launcher, so a peer stays where it is.
      if (!peer) await Deno.copyFile(path, join(folder, basename(path)));
      const [, ...words] = line.split(" ").map((word, i, all) => all[i - 1] === "--port" ? "0" : word);
      if (!words.includes("--port")) words.push("--port", "0");
      const cwd = peer ? join(path, "..") : folder;
      await using server = await startServer({ command: Deno.execPath(), args: words, cwd });
      const { code, stdout } = await run("curl", ["-sS", `http://127.0.0.1:${server.port}/`]);
      assertEquals([code, stdout], [0, "Hello World"]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
}, {
  says: "says on one line that it is ready: under its name, with its port and its process",
  holds({ experiment: { name }, shared: { ready, port, pid } }) {
    const { io, ...rest } = ready;
    assertEquals(rest, { event: "ready", experiment: name, port, pid });
    assert(io === undefined || ["io_uring", "epoll"].includes(io), `io: ${io}`);
    return Promise.resolve();
  },
}, {
  says: "shows a URL to try on stderr",
  async holds({ shared, patienceMs }) {
    const url = `http://127.0.0.1:${shared.port}/`;
    await until(() => shared.stderrTail().includes(url), patienceMs, `${url} on stderr`);
  },
}, {
  says: "writes nothing but JSON on stdout: one line when it is ready, one when it has stopped",
  async holds(lab) {
    const { command, args } = experimentCommand(lab.experiment, lab.args);
    await using child = new Deno.Command(command, { args, stdout: "piped", stderr: "null" }).spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), lab.patienceMs); // ends what is not ready, or does not stop
    let text = "";
    try {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
        if (!text.includes("\n") && part.includes("\n")) child.kill("SIGTERM");
        text += part;
      }
    } finally {
      clearTimeout(timer);
    }
    const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    const [ready, stopped] = lines;
    assertEquals(lines.length, 2, text);
    assertEquals(Object.keys(ready!).filter((key) => key !== "io"), ["event", "experiment", "port", "pid"]);
    assertEquals(stopped, { event: "stopped", accepted: 0, served: 0, errors: {} });
  },
}, {
  says: "ends with one sentence and exit code 1 if the port is in use",
  id: "see-port-in-use",
  async holds(lab) {
    const { code, stdout, stderr } = await runToEnd(lab, ["--port", String(lab.shared.port)]);
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr, /^[^\n]*(EADDRINUSE|AddrInUse)[^\n]*\n$/);
    assertMatch(stderr, RegExp(`:${lab.shared.port}\\b`));
  },
}, {
  says: "ends with its usage and exit code 2 if it does not know a flag or cannot use a value",
  async holds(lab) {
    for (const options of [["--nonsense"], ["extra"], ["--port", "65536"], ["--port", "-1"], ["--port", "8o"]]) {
      const { code, stdout, stderr } = await runToEnd(lab, options);
      assertEquals([code, stdout], [2, ""], options.join(" "));
      assertMatch(stderr, /^Usage: /m);
      assertEquals(/^ +at /m.test(stderr), false, `a stack trace: ${stderr}`);
    }
  },
}, {
  says: "ends with one sentence and exit code 69 if it is not permitted what it needs",
  async holds(lab) {
    const { code, stdout, stderr } = await runToEnd(lab, [], false);
    assertEquals([code, stdout], [69, ""], stderr);
    assertMatch(stderr, /^[^\n]+ cannot run here: [^\n]+\n$/);
  },
}];

/** Has a server stop that holds half a request, and runs `then` once it takes no more connections; null if that is late. */
async function stopHolding(lab: Lab, server: Server, then: (client: Client) => Promise<void>) {
  using client = await lab.connect(server.port);
  hello(await client.ask("/"));
  await client.send(head("/").slice(0, HALF));
  await lab.turn(server.port);
  const start = performance.now();
  const exit = server.stop();
  while (performance.now() - start < REFUSED_MS && await listens(server.port)) await delay(5);
  if (performance.now() - start > STOP_LATE_MS) return null;
  await then(client);
  return exit; // not awaited here, so that the client closes first
}

/** Only a second is left for `then`, so where a busy machine took too much of it the whole is tried again. */
async function whileStopping(lab: Lab, then: (client: Client, server: Server) => Promise<void>) {
  for (let tries = 1; tries <= STOP_TRIES; tries++) {
    await using server = await lab.fresh();
    const exit = await stopHolding(lab, server, (client) => then(client, server));
    if (exit !== null) return exit;
  }
  throw new Error(
    `This machine was too busy: ${STOP_TRIES} times it took over ${STOP_LATE_MS} ms to see a server stop.`,
  );
}

const STOPPING: Check[] = [{
  says: "answers on SIGTERM what is in flight, closes, and exits with 0",
  id: "stop-in-flight",
  async holds(lab) {
    const { stopped, code, signal } = await whileStopping(lab, async (client) => {
      await client.send(head("/").slice(HALF));
      hello(await client.answer());
      await assertRejects(() => client.ask("/"), BrokenPromise); // one more answer, and no other
    });
    assertEquals([code, signal, stopped === null], [0, null, false]);
  },
}, {
  says: "closes idle connections on SIGTERM and exits with 0",
  async holds(lab) {
    await using server = await lab.fresh();
    using served = await lab.connect(server.port);
    hello(await served.ask("/"));
    using _silent = await lab.connect(server.port);
    await lab.turn(server.port);
    const { stopped, code, signal } = await server.stop();
    assertEquals([code, signal, stopped?.errors], [0, null, {}]);
    await served.ended();
  },
}, {
  says: "ends at once with exit code 1 at a second signal",
  id: "second-signal",
  async holds(lab) {
    const { code, signal } = await whileStopping(lab, async (_, server) => {
      try {
        Deno.kill(server.pid, "SIGINT"); // which signal it is does not matter
      } catch (error) {
        throw new BrokenPromise(`It has ended although half a request was in flight: ${error}`);
      }
      await server.exited; // the client stays until then: half a request is still in flight
    });
    assertEquals([code, signal], [1, null]);
  },
}, {
  says: "tells in its last line truly what it accepted, served and refused",
  id: "count",
  async holds(lab) {
    await using server = await lab.fresh();
    const sessions: [requests: string[], statuses: number[]][] = [
      [[head("/"), head("/x"), head("/", "POST"), head("/work/1"), head("/work/100001")], [200, 404, 405, 200, 404]],
      [[head("/", "GET", "Connection: close")], [200]],
      [["GET /\r\n\r\n"], [400]],
      [[head("/", "GET", `X: ${"x".repeat(8192)}`)], [431]],
      [[head("/").repeat(10)], Array(10).fill(200)],
      [[], []],
    ];
    for (const [requests, statuses] of sessions) {
      using client = await lab.connect(server.port);
      for (const request of requests) await client.send(request);
      for (const status of statuses) assertEquals((await client.answer()).status, status);
      await client.finish();
      await client.ended();
    }
    const { stopped } = await server.stop();
    const errors = { 400: 1, 404: 2, 405: 1, 431: 1 };
    assertEquals(stopped, { event: "stopped", accepted: sessions.length, served: 13, errors });
  },
}];

const experiments = catalogue();

Deno.test("every experiment is compared with others that exist", () => {
  const names = experiments.map(({ name }) => name);
  for (const { name, compare } of experiments) {
    for (const other of compare) assert(names.includes(other) && other !== name, `${name}: @compare ${other}`);
  }
});

Deno.test("what a header says it cannot is something that the contract asks for", () => {
  for (const { name, cannot } of experiments) {
    const unknown = Object.keys(cannot).filter((id) => !ABILITIES.some((ability) => ability === id));
    assertEquals(unknown, [], `${name}: @cannot knows ${ABILITIES.join(" ")}`);
  }
});

await testAll([...COMMAND_LINE, ...STOPPING]);
