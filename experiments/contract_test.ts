/** The contract of the experiments: header, command line, what is said on stdout and stderr, and how they stop. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { basename, join } from "node:path";
import { catalogue, speaksHttp } from "../lib/catalogue/catalogue.ts";
import { type Server, startServer } from "../lib/server/server.ts";
import { isInstalled } from "../lib/catalogue/tools.ts";
import { BrokenPromise, type Client, head, listens, until, within } from "../lib/testing/client.ts";
import { ABILITIES } from "../lib/testing/abilities.ts";
import { type Check, hello, inItsSecond, type Lab, run, testAll } from "../lib/testing/contract.ts";

const DIE_WITH_US = ["setpriv", "--pdeathsig", "KILL"];
const HALF = 20; // bytes of a head that are sent before SIGTERM
const REFUSED_MS = 300; // how long a stopping server is watched until it refuses connections

/** Runs the experiment with options that end it at once, or without the permissions of its `@run` line. */
function runToEnd(lab: Lab, options: string[], permitted = true) {
  const { command, args, env } = lab.command(options);
  const isPermission = (word: string) => word.startsWith("--allow");
  return run(command, permitted ? args : args.filter((word) => !isPermission(word)), { ...(env && { env }) });
}

const COMMAND_LINE: Check[] = [{
  says: "runs alone in an empty folder, started by exactly its @run line, and serves curl",
  needs: "curl",
  async holds(lab) {
    const { experiment: { path, run: line, peer } } = lab;
    const folder = await Deno.makeTempDir();
    try {
      // A peer's source stands beside its launcher, so a peer stays where it is.
      if (!peer) await Deno.copyFile(path, join(folder, basename(path)));
      const [, ...words] = line.split(" ").map((word, i, all) => all[i - 1] === "--port" ? "0" : word);
      if (!words.includes("--port")) words.push("--port", "0");
      const cwd = peer ? join(path, "..") : folder;
      await using server = await startServer(lab.here({ command: Deno.execPath(), args: words, cwd }));
      const { code, stdout } = await run("curl", ["-sS", "--noproxy", "*", `http://127.0.0.1:${server.port}/`]);
      assertEquals([code, stdout], [0, "Hello World"]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
}, {
  says: "says on one line that it is ready: under its name, with its port and its process",
  speaks: "any",
  holds({ experiment: { name }, shared: { ready, port, pid }, wine }) {
    const { io, ...rest } = ready;
    // Under Wine the id is one of Windows, of which Linux knows nothing.
    assertEquals(rest, { event: "ready", experiment: name, port, pid: wine === null ? pid : ready.pid });
    assert(io === undefined || ["io_uring", "epoll"].includes(io), `io: ${io}`);
    return Promise.resolve();
  },
}, {
  says: "shows a URL to try on stderr",
  speaks: "any",
  async holds({ experiment, shared, patienceMs }) {
    const url = `${speaksHttp(experiment) ? "http" : "ws"}://127.0.0.1:${shared.port}/`;
    await until(() => shared.stderrTail().includes(url), patienceMs, `${url} on stderr`);
  },
}, {
  says: "writes nothing but JSON on stdout: one line when it is ready, one when it has stopped",
  speaks: "any",
  stops: true,
  async holds(lab) {
    const { command, args, env, stopSignal } = lab.command();
    // Here startServer, which reads stdout itself, is not behind it: if this test is killed, the kernel ends the server.
    const [first, ...words] = [...(await isInstalled("setpriv") ? DIE_WITH_US : []), command, ...args];
    await using child = new Deno.Command(first!, { args: words, ...(env && { env }), stdout: "piped", stderr: "null" })
      .spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), lab.patienceMs); // ends what is not ready, or does not stop
    let text = "";
    try {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
        if (!text.includes("\n") && part.includes("\n")) child.kill(stopSignal);
        text += part;
      }
    } finally {
      clearTimeout(timer);
    }
    const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
    const [ready, stopped] = lines;
    assertEquals(lines.length, 2, text);
    assertEquals(Object.keys(ready!).filter((key) => key !== "io" && key !== "mode"), [
      "event",
      "experiment",
      "port",
      "pid",
    ]);
    // `loops` where there are several event loops; no bytes where a library has the sockets.
    const { loops: _, delivered, bytes_in = 0, bytes_out = 0, ...rest } = stopped!;
    assertEquals(delivered, speaksHttp(lab.experiment) ? undefined : 0);
    assertEquals([bytes_in, bytes_out], [0, 0]);
    assertEquals(rest, { event: "stopped", accepted: 0, served: 0, errors: {} });
  },
}, {
  says: "ends with one sentence and exit code 1 if the port is in use",
  speaks: "any",
  id: "see-port-in-use",
  async holds(lab) {
    const { code, stdout, stderr } = await runToEnd(lab, ["--port", String(lab.shared.port)]);
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr, /^[^\n]*(EADDRINUSE|AddrInUse)[^\n]*\n$/);
    assertMatch(stderr, RegExp(`:${lab.shared.port}\\b`));
  },
}, {
  says: "ends with its usage and exit code 2 if it does not know a flag or cannot use a value",
  speaks: "any",
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
  speaks: "any",
  async holds(lab) {
    const { code, stdout, stderr } = await runToEnd(lab, [], false);
    assertEquals([code, stdout], [69, ""], stderr);
    assertMatch(stderr, /^[^\n]+ cannot run here: [^\n]+\n$/);
  },
}];

/** Has a server stop that holds half a request, and sends the rest once no more connections are taken. */
async function stopHolding(lab: Lab, server: Server, asks: () => void) {
  using client = await lab.connect(server.port);
  hello(await client.ask("/"));
  await client.send(head("/").slice(0, HALF));
  await lab.taken(client, server.port);
  asks();
  const start = performance.now();
  const exit = server.stop();
  while (performance.now() - start < REFUSED_MS && await listens(server.port)) await delay(5);
  await client.send(head("/").slice(HALF));
  const answer = await client.answer();
  hello(answer);
  if (!lab.cannot("last-says-close")) assertEquals(answer.fields.get("connection"), "close");
  await assertRejects(() => client.ask("/"), BrokenPromise); // one more answer, and no other
  return exit; // not awaited here, so that the client closes first
}

/** Gives work for two seconds to a server where half a request is not in flight. */
async function keepBusy(lab: Lab, port: number, clients: DisposableStack): Promise<void> {
  let first: Client | null = null;
  for (let i = 0; i < 20; i++) {
    const client = clients.use(await lab.connect(port));
    await client.send(head(lab.work(100_000)));
    first ??= client;
  }
  hello(await first!.answer());
}

/** What is sent on one connection after the other, and how many answers there are. */
const VISITS: [text: string, answers: number][] = [
  [head("/") + head("/x") + head("/", "POST") + head("/work/1") + head("/work/100001"), 5],
  [head("/", "GET", "Connection: close"), 1],
  ["GET / HTTP/1.1 twice\r\n\r\n", 1],
  [head("/", "GET", `X: ${"x".repeat(8192)}`), 1],
  [head("/").repeat(10), 10],
  ["", 0],
];

/** Returns how often each status was seen, and what the server reported of it. */
async function visit(lab: Lab) {
  await using server = await lab.fresh();
  const seen: Record<number, number> = {};
  for (const [text, answers] of VISITS) {
    using client = await lab.connect(server.port);
    await client.send(text);
    for (let i = 0; i < answers; i++) {
      const { status } = await client.answer();
      seen[status] = (seen[status] ?? 0) + 1;
    }
    await client.finish();
    await client.ended();
  }
  const { stopped } = await server.stop();
  return { seen, stopped };
}

const STOPPING: Check[] = [{
  says: "answers on SIGTERM what is in flight, closes, and exits with 0",
  id: "stop-in-flight",
  stops: true,
  holds: (lab) =>
    inItsSecond(lab, async (server, asks) => {
      const { stopped, code, signal } = await stopHolding(lab, server, asks);
      assertEquals([code, signal, stopped?.served], [0, null, lab.cannot("serve-others") ? 2 : 3]);
    }),
}, {
  says: "closes idle connections on SIGTERM and exits with 0",
  stops: true,
  async holds(lab) {
    await using server = await lab.fresh();
    using served = await lab.connect(server.port);
    hello(await served.ask("/"));
    using _silent = await lab.connect(server.port);
    await lab.taken(served, server.port);
    const { stopped, code, signal } = await server.stop();
    assertEquals([code, signal, stopped?.errors], [0, null, {}]);
    await served.ended();
  },
}, {
  says: "ends at once with exit code 1 at a second signal",
  id: "second-signal",
  stops: true,
  async holds(lab) {
    await using server = await lab.fresh();
    using clients = new DisposableStack();
    const half = clients.use(await lab.connect(server.port));
    hello(await half.ask("/"));
    await half.send(head("/").slice(0, HALF)); // holds up the first signal for a second
    if (lab.cannot("stop-in-flight")) await keepBusy(lab, server.port, clients);
    else await lab.taken(half, server.port);
    const { stopSignal = "SIGTERM" } = lab.command();
    Deno.kill(server.leaderPid, stopSignal);
    // Of another number, or later: so that the kernel does not take the two for one.
    if (stopSignal === "SIGINT") {
      await until(async () => !await listens(server.port), lab.patienceMs, "the first signal to be heard");
    }
    Deno.kill(server.leaderPid, "SIGINT");
    const { code, signal } = await within(server.exited, lab.patienceMs, "the end of the server");
    assertEquals([code, signal], [1, null]);
  },
}, {
  says: "tells in its last line truly how many requests it answered with 200",
  stops: true,
  async holds(lab) {
    const { seen, stopped } = await visit(lab);
    assertEquals(stopped?.served, seen[200]);
  },
}, {
  says: "tells in its last line truly how many connections it accepted",
  id: "count-accepted",
  stops: true,
  async holds(lab) {
    const { stopped } = await visit(lab);
    assertEquals(stopped?.accepted, VISITS.length);
  },
}, {
  says: "tells in its last line truly what it refused",
  id: "count-errors",
  stops: true,
  async holds(lab) {
    const { seen: { 200: _, ...errors }, stopped } = await visit(lab);
    assertEquals(stopped?.errors, errors);
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
