import { assert, assertEquals, assertLessOrEqual, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { find, runsHere } from "../catalogue/catalogue.ts";
import { experimentCommand, StartError, type StartFailure, startServer } from "./server.ts";

const PATIENCE_MS = 20_000; // only a broken server.ts lets it pass
const onUnix = Deno.build.os === "windows" ? Deno.test.ignore : Deno.test; // sh, ps, groups, signals
const onLinux = Deno.build.os === "linux" ? Deno.test : Deno.test.ignore; // setpriv, prlimit

/** A server that misbehaves in the way that its first argument names. */
const FAKE = `
const [mode] = Deno.args;
const say = (value) => console.log(JSON.stringify(value));
const ready = (port = 1) => say({ event: "ready", experiment: "fake", port, pid: Deno.pid });
const stopped = () => say({ event: "stopped", accepted: 2, served: 3, errors: { 404: 1 } });
const idle = () => new Promise(() => setInterval(() => {}, 1000));
/** A child that only SIGKILL ends; resolves once that is so. */
async function deafChild() {
  const args = ["-c", "trap '' TERM HUP INT; echo deaf; while :; do sleep 1000; done"];
  await new Deno.Command("sh", { args, stdout: "piped" }).spawn().stdout.getReader().read();
}
const modes = {
  async listens() {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await deafChild();
    Deno.addSignalListener("SIGTERM", () => { stopped(); Deno.exit(0); });
    ready(listener.addr.port);
    await idle();
  },
  async deaf() {
    await deafChild();
    Deno.addSignalListener("SIGTERM", () => console.error("no"));
    ready();
    await idle();
  },
  async rubbish() {
    console.log("Starting up ...");
    ready();
    await idle();
  },
  unavailable() {
    console.error("a warning");
    console.error("fake cannot run here: there is no such library.");
    Deno.exit(69);
  },
  fails() {
    console.error("Cannot bind 127.0.0.1:80: EACCES (13), choose a port >= 1024.");
    Deno.exit(1);
  },
  silent: idle,
  floods() {
    Deno.addSignalListener("SIGTERM", () => { console.error("the last words"); stopped(); Deno.exit(0); });
    ready();
    const noise = ("x".repeat(1023) + "\\n").repeat(1024);
    for (let i = 0; i < 4; i++) { console.log(noise); console.error(noise); }
    say("flooded");
    return idle();
  },
  async counts() {
    let asked = 0;
    Deno.addSignalListener("SIGUSR1", () => say({ event: "stats", open: 7, accepted: 9, served: ++asked, errors: {} }));
    ready();
    await idle();
  },
  async crashes() {
    ready();
    Deno.addSignalListener("SIGUSR1", () => { console.error("Oh no."); Deno.exit(3); });
    Deno.kill(Deno.pid, "SIGUSR1");
    await idle();
  },
};
await modes[mode]();
`;

function fake(mode: string) {
  const file = Deno.makeTempFileSync({ suffix: ".js" });
  Deno.writeTextFileSync(file, FAKE);
  const args = ["run", "--no-prompt", "--no-config", "--no-lock", "--allow-net", "--allow-run", file, mode];
  return { command: Deno.execPath(), args, [Symbol.dispose]: () => Deno.removeSync(file) };
}

async function sh(script: string): Promise<string> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** The living processes whose column (pgid, sid, ppid) has this value. A zombie lives no more. */
async function living(column: "pgid" | "sid" | "ppid", value: number): Promise<number[]> {
  const lines = (await sh(`ps -A -o pid= -o ${column}= -o stat=`)).split("\n").map((line) => line.trim().split(/\s+/));
  return lines.filter(([, id, stat]) => id === String(value) && !stat!.startsWith("Z")).map(([pid]) => Number(pid));
}

/** Asks until the answer is yes. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; !await holds();) assert(Date.now() < end, `never came true: ${what}`);
}

const refused = (port: number) =>
  Deno.connect({ hostname: "127.0.0.1", port }).then((connection) => (connection.close(), false), (error) => {
    if (error instanceof Deno.errors.ConnectionRefused) return true;
    throw error;
  });

/** Starts what cannot be started, and asserts that nothing of it is left. */
async function failure(mode: string, readyTimeoutMs?: number): Promise<StartFailure> {
  using command = fake(mode);
  const error = await assertRejects(() => startServer(command, readyTimeoutMs ? { readyTimeoutMs } : {}), StartError);
  assertEquals(await sh(`ps -A -o args= | grep -F -- ${command.args.at(-2)} | grep -v grep`), "");
  return error.failure;
}

onUnix("an experiment starts, serves, and tells at its end what it has served", async () => {
  const experiment = find("epoll");
  if (!runsHere(experiment).runs) return;
  await using server = await startServer(experimentCommand(experiment), { cpu: 0 });
  const response = await fetch(`http://127.0.0.1:${server.port}/`);
  assertEquals(await response.text(), "Hello World");
  assertEquals(server.ready.experiment, "epoll");
  const { stopped, code, signal } = await server.stop();
  const { bytes_in = 0, bytes_out = 0, ...rest } = stopped!;
  assertEquals([rest, code, signal], [{ event: "stopped", accepted: 1, served: 1, errors: {} }, 0, null]);
  assert(bytes_in > 0 && bytes_out > 0, `${bytes_in} ${bytes_out}`);
  assertEquals(await server.stop(), await server.stop());
});

Deno.test("an experiment is started with the permissions of its @run line and without this project's settings", () => {
  const experiment = { ...find("epoll"), run: "deno run --allow-ffi --allow-read=epoll.ts epoll.ts --port 8080" };
  const { args, cwd } = experimentCommand(experiment, ["--workers", "2"]);
  const flags = ["--no-prompt", "--no-config", "--no-lock", "--allow-ffi", "--allow-read=epoll.ts"];
  assertEquals(args, ["run", ...flags, join(cwd, "epoll.ts"), "--port", "0", "--workers", "2"]);
  const copy = experimentCommand({ ...experiment, path: join(cwd, "mine.ts") }); // of another name: not the original
  assertEquals(copy.args, ["run", ...flags, join(cwd, "mine.ts"), "--port", "0"]);
});

onUnix("the server leads a session of its own, and its process is the one that was asked for", async () => {
  using command = fake("floods");
  await using server = await startServer(command);
  assertEquals(server.pid, server.ready.pid);
  assertEquals(await living("sid", server.pid), [server.pid]);
});

onUnix("nothing of the group is left after stop, not even a child that ignores SIGTERM", async () => {
  using command = fake("listens");
  await using server = await startServer(command);
  assert((await living("pgid", server.pid)).length >= 2);
  const { stopped, code } = await server.stop();
  assertEquals([stopped?.served, code], [3, 0]);
  assertEquals(await living("pgid", server.pid), []);
  assert(await refused(server.port));
});

onUnix("a server that ignores SIGTERM is killed with its children, and there is no stopped line", async () => {
  using command = fake("deaf");
  await using server = await startServer(command);
  assertEquals(await server.stop(), { stopped: null, code: 137, signal: "SIGKILL" });
  assertEquals(await living("pgid", server.pid), []);
  assertStringIncludes(server.stderrTail(), "no"); // SIGTERM came first
});

onUnix("a server that cannot run here is skipped with its own sentence", async () => {
  assertEquals(await failure("unavailable"), {
    ended: "skipped",
    reason: "fake cannot run here: there is no such library.",
  });
});

onUnix("a server that ends before it is ready has crashed, and the reason is what it said", async () => {
  assertEquals(await failure("fails"), {
    ended: "crashed",
    reason: "Ended with exit code 1 before it was ready: Cannot bind 127.0.0.1:80: EACCES (13), choose a port >= 1024.",
  });
});

onUnix("a command that does not exist has crashed, and the reason names it", async () => {
  const { failure } = await assertRejects(() => startServer({ command: "no-such-command", args: [] }), StartError);
  assertEquals(failure.ended, "crashed");
  assertStringIncludes(failure.reason, "no-such-command");
});

onUnix("a server whose first line is not the ready line is not ready, and is gone", async () => {
  assertEquals(await failure("rubbish"), {
    ended: "not_ready",
    reason: "Its first line is not the ready line: Starting up ...",
  });
});

onUnix("a server that stays silent is not ready, and is gone", async () => {
  assertEquals(await failure("silent", 300), { ended: "not_ready", reason: "Not ready after 300 ms." });
});

onUnix("a server that floods stdout and stderr never waits for a reader, and its last words are kept", async () => {
  using command = fake("floods");
  await using server = await startServer(command);
  const { stopped } = await server.stop();
  assertEquals(stopped?.accepted, 2);
  assertLessOrEqual(server.stderrTail().length, 8192);
  assert(server.stderrTail().endsWith("the last words\n"));
});

onUnix("the crash of a running server is reported by `exited`, and stop has nothing left to do", async () => {
  using command = fake("crashes");
  await using server = await startServer(command);
  assertEquals((await server.exited).code, 3);
  assertEquals(await server.stop(), { stopped: null, code: 3, signal: null });
  assertEquals(server.stderrTail(), "Oh no.\n");
});

onLinux("prlimit sets the limits of the server", async () => {
  // The shell tells its limit of descriptors as the port.
  const script = `printf '{"event":"ready","experiment":"limit","port":%d,"pid":1}\\n' $(ulimit -n); exec sleep 1000`;
  await using server = await startServer({ command: "sh", args: ["-c", script] }, { prlimit: ["--nofile=77"] });
  assertEquals(server.port, 77);
});

/** Starts a server whose leader waits, while another process, in a session of its own, says that it is ready. */
function startEscaping(before: string) {
  const escape = `printf '{"event":"ready","experiment":"escape","port":1,"pid":%d}\\n' $$; exec sleep 1000`;
  return startServer({ command: "sh", args: ["-c", `${before} setsid sh -c "$1" & wait`, "sh", escape] });
}

onLinux("a process that has left the group ends with it", async () => {
  await using server = await startEscaping("");
  assertEquals((await server.stop()).signal, "SIGTERM");
  assertEquals(await living("sid", server.ready.pid), []);
});

onLinux("a process that left the group and its environment does not hold up stop for ever by its output", async () => {
  await using server = await startEscaping("env -i");
  try {
    assertEquals((await server.stop()).signal, "SIGTERM");
    assertEquals(await living("sid", server.ready.pid), [server.ready.pid]); // nothing tells whose it is
  } finally {
    await sh(`kill -s KILL ${server.ready.pid}`);
  }
});

/** A harness in a process of its own that has started a server with a child: the ids of its processes, and its end. */
async function startHarness(command: { command: string; args: string[] }) {
  const script = `
    import { startServer } from ${JSON.stringify(new URL("./server.ts", import.meta.url).href)};
    const server = await startServer(${JSON.stringify(command)});
    console.log(JSON.stringify({ server: server.pid, port: server.port }));`;
  const args = ["-c", 'exec "$@"', "sh", Deno.execPath(), "eval", "--no-config", "--no-lock", script];
  const harness = new Deno.Command("sh", { args, stdout: "piped" }).spawn();
  const reader = harness.stdout.getReader();
  const { server, port } = JSON.parse(new TextDecoder().decode((await reader.read()).value));
  const [watchdog] = (await living("ppid", harness.pid)).filter((child) => child !== server);
  assert((await living("pgid", server)).length >= 2 && watchdog !== undefined && !await refused(port));
  const kill = async () => {
    harness.kill("SIGKILL");
    await harness.status;
    await reader.cancel();
  };
  return { server, port, watchdog, kill };
}

onUnix("a harness killed with SIGKILL leaves neither the server nor its child nor the watchdog", async () => {
  using command = fake("listens");
  const { server, port, watchdog, kill } = await startHarness({ command: command.command, args: command.args });
  await kill();
  const left = async () => [...await living("pgid", server), ...await living("pgid", watchdog)];
  await until("all are gone", async () => (await left()).length === 0);
  assert(await refused(port));
});

onLinux("the server dies with its harness even where the watchdog was killed before", async () => {
  if (await sh("setpriv --pdeathsig KILL echo can") !== "can") return;
  using command = fake("listens");
  const { server, port, watchdog, kill } = await startHarness({ command: command.command, args: command.args });
  await sh(`kill -s KILL ${watchdog}`);
  await kill();
  await until("the server is gone", async () => !(await living("pgid", server)).includes(server));
  assert(await refused(port));
  await sh(`kill -s KILL -- -${server}`); // its child, for which there was only the watchdog
});

onUnix("a server is asked for its counts, again and again, and no debugger opens", async () => {
  using command = fake("counts");
  await using server = await startServer({ ...command, showsStats: true });
  const [first, same] = await Promise.all([server.stats(), server.stats()]);
  assertEquals(first, { open: 7, accepted: 9, served: 1 });
  assertEquals(same, first, "who asks meanwhile gets the same answer");
  assertEquals((await server.stats())?.served, 2);
  assertEquals(/Debugger listening/.test(server.stderrTail()), false, server.stderrTail());
});

onUnix("a server that shows no counts gets no signal", async () => {
  using command = fake("counts");
  await using server = await startServer(command);
  assertEquals(await server.stats(), null);
  assertEquals(JSON.parse(server.lastLine()).event, "ready");
});
