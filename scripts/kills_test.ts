/**
 * SIGKILL of the program that measures, at random moments: the next run finds nothing of it left.
 *
 * deno test -A --lock=scripts/all.lock scripts/kills_test.ts -- --kills=200 --seed=7
 */
import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { join } from "node:path";
import { find } from "../lib/catalogue/catalogue.ts";
import { isInstalled } from "../lib/catalogue/tools.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { networkObstacle } from "../lib/network/namespaces.ts";
import { mustStore } from "../lib/results/durable_file.ts";
import { unlessGone } from "../lib/sampling/process.ts";
import { readProc } from "../lib/sampling/procfs.ts";
import { experimentCommand, startServer } from "../lib/server/server.ts";
import { seededRandom } from "../lib/timing/random.ts";
import { HAS_BROKER } from "../lib/testing/broker.ts";
import { listens, until } from "../lib/testing/client.ts";
import { folder } from "../lib/testing/folder.ts";
import { isInhabited, namespaces } from "../lib/testing/traces.ts";
import { filesIn, project, ROOT, RunningTask, runTask } from "../lib/testing/task.ts";

const IS_LINUX = Deno.build.os === "linux";
const KILLS = 6; // the usual tests have time for a few
const PATIENCE_MS = 60_000;
/** So long after its start a task is killed at the latest: most take longer, with starting Deno, and others are tried again. */
const LATEST_MS = 2500;
/** The same of tasks whose faults begin later than that. */
const LATEST_OF: Record<string, number> = { faults: 4000, soak: 6000 };

const flag = (name: string, fallback: number): number => {
  const given = Deno.args.find((arg) => arg.startsWith(`--${name}=`));
  return given === undefined ? fallback : Number(given.slice(name.length + 3));
};

const OWN_SERVER = [Deno.execPath(), "eval", "--no-lock"];
const CODE =
  `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () => new Response("x"))`;
const WRITES = ["--scenario", "throughput", "--connections", "1,2,3,4,5,6,7,8", "--seconds", "0.05"];

type Task = [task: string, ...args: string[]];

/** What is killed: tasks that start processes, make namespaces, mounts and control groups, stop servers, or write. */
const TASKS: Task[] = [
  ["exp", "epoll", ...WRITES], // it stores a file every 300 ms
  ["exp", "prefork", "--scenario", "hold", "--connections", "4", "--quick"],
  ["measure", "--name", "mine", ...WRITES, "--", "sh", "-c", `setsid "$@" & wait`, "sh", ...OWN_SERVER, CODE],
  ["stress", "multi-reactor", "--seconds", "5"],
  ["compare", "epoll", "poll", "--rounds", "10", "--connections", "2", "--seconds", "0.5", "--quick"],
  ["faults", "epoll", "--fault", "fragments,rst-storm"],
  ["faults", "epoll", "--fault", "processes-exhausted,memory-limited"], // control groups
  ["faults", "epoll", "--fault", "half-open,disk-full,clock-stepped"], // a network, a mount, a library
  ["faults", "epoll", "--fault", "sigstop-sigcont"],
  ["soak", "epoll", "--minutes", "1"],
  ["probe", "backlog", "--quick"], // it has a temporary folder
  ["regress", "--experiments", "poll", "--quick"],
];
const WITH_NAMESPACES: Task[] = [
  ["exp", "xdp", "--scenario", "hold", "--connections", "10", "--quick"],
  ["faults", "xdp", "--fault", "fragments,slow-readers"],
  ["soak", "xdp", "--minutes", "1"],
];
/** What starts a broker. */
const FLEET: Task = ["fleet", "--agents", "4", "--windows", "1000", "--no-save"];
/** Servers with a folder of their own where TMPDIR says, by the program that they need. */
const WITH_FOLDERS: Record<string, Task> = {
  nginx: ["exp", "nginx", "--scenario", "hold", "--connections", "4", "--quick"],
  apache2: ["exp", "apache-prefork", "--scenario", "hold", "--connections", "4", "--quick"],
};

/** What a task holds in the kernel at a moment. */
interface Held {
  pids: string[];
  namespaces: string[];
  /** The inodes of its sockets. */
  sockets: string[];
}

const OWN_NAMESPACE = (await namespaces("self"))[0];

async function heldBy(running: RunningTask): Promise<Held> {
  const pids = running.pids();
  const spaces = new Set((await Promise.all(pids.map((pid) => namespaces(pid)))).flat());
  spaces.delete(OWN_NAMESPACE!);
  spaces.delete(""); // of a process that has ended meanwhile
  const links = await shell(`ls -l ${pids.map((pid) => `/proc/${pid}/fd`).join(" ")}`);
  return {
    pids,
    namespaces: [...spaces],
    sockets: [...links.matchAll(/socket:\[(\d+)\]/g)].map(([, inode]) => inode!),
  };
}

async function shell(script: string): Promise<string> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script], stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}

/** How many of these sockets still listen: their state is 0A. The file has megabytes where many connections have ended. */
async function listening(inodes: readonly string[]): Promise<number> {
  const all = (await shell(`awk '$4 == "0A" { print $10 }' /proc/net/tcp`)).split("\n");
  return inodes.filter((inode) => all.includes(inode)).length;
}

/** A project, and a folder in it that TMPDIR names to all that runs there. */
function lab() {
  const dir = project();
  const tmp = join(dir.path, "tmp");
  Deno.mkdirSync(tmp);
  return { path: dir.path, env: { TMPDIR: tmp }, [Symbol.dispose]: () => dir[Symbol.dispose]() };
}

/** The temporary files and folders of a project; the mutex of the folders stays. */
const temporaries = (dir: string): string[] => [
  ...filesIn(dir, ".tmp"),
  ...filesIn(join(dir, "results"), "").filter((path) => path.includes("/.tmp/") && !path.endsWith("/mutex")),
  ...[...Deno.readDirSync(join(dir, "tmp"))].map(({ name }) => name),
];

/** The control groups that these processes have made: their names say by whom. */
async function groupsOf(owners: ReadonlySet<string>): Promise<string[]> {
  const found = await shell("find /sys/fs/cgroup -type d -name 'c10k-faults-*'");
  return found.split("\n").filter((path) => owners.has(/c10k-faults-(\d+)/.exec(path)?.[1] ?? ""));
}

/** Kills a task at once, and waits until nothing of it is left. */
async function killNow(running: RunningTask, what: string): Promise<Held> {
  const held = await heldBy(running);
  running.signal("SIGKILL");
  const gone = async () =>
    running.pids().length === 0 && await listening(held.sockets) === 0 && !await isInhabited(held.namespaces);
  await until(gone, PATIENCE_MS, `${what} to be gone`);
  return held;
}

/** Kills a task after so many ms. Null: it had come to its end before, and well. */
async function kill([task, ...args]: Task, afterMs: number, dir: ReturnType<typeof lab>): Promise<Held | null> {
  await using running = new RunningTask(task, args, dir.path, dir.env);
  await delay(afterMs);
  try {
    return await killNow(running, `${task} ${args.join(" ")}, killed after ${afterMs} ms,`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended
    const { code, stderr } = await running.end();
    assert(code !== EXIT.harness && code !== EXIT.usage, stderr);
    return null;
  }
}

/** Runs what sweeps up behind killed tasks: a measurement, the faults, and a server with a folder of its own. */
async function runNext(dir: ReturnType<typeof lab>, withFolder: readonly Task[]): Promise<void> {
  const hold: Task = ["exp", "epoll", "--scenario", "hold", "--connections", "1", "--quick"];
  for (const [task, ...args] of [hold, ...withFolder.slice(0, 1)]) {
    const { code, stderr } = await runTask(task, args, dir.path, dir.env);
    assertEquals(code, EXIT.ok, stderr);
  }
  const { code, stderr } = await runTask("faults", ["epoll", "--fault", "fragments"], dir.path, dir.env);
  assert(code === EXIT.ok || code === EXIT.failed, stderr); // the verdict is another matter
}

Deno.test({
  name:
    "a harness that is killed at random moments leaves no process, port, namespace, control group or temporary file to the next run",
  ignore: !IS_LINUX,
  fn: async () => {
    using dir = lab();
    const kills = flag("kills", KILLS);
    const seed = flag("seed", Date.now() % 1_000_000);
    const random = seededRandom(seed);
    const withFolder: Task[] = [];
    for (const [program, task] of Object.entries(WITH_FOLDERS)) if (await isInstalled(program)) withFolder.push(task);
    const tasks = [...TASKS, ...(await networkObstacle() === null ? WITH_NAMESPACES : []), ...withFolder];
    if (HAS_BROKER) tasks.push(FLEET);
    const sum = { kills: 0, seed, processes: 0, sockets: 0, namespaces: 0, groups: 0, temporaries: 0 };
    const owners = new Set<string>();
    for (let tries = 0; sum.kills < kills && tries < 2 * kills; tries++) {
      const task = tasks[Math.floor(random() * tasks.length)]!;
      const held = await kill(task, Math.floor(random() * (LATEST_OF[task[0]] ?? LATEST_MS)), dir);
      if (held === null) continue;
      for (const pid of held.pids) owners.add(pid);
      sum.kills++;
      sum.processes += held.pids.length;
      sum.sockets += held.sockets.length;
      sum.namespaces += held.namespaces.length;
      sum.groups = (await groupsOf(owners)).length;
      sum.temporaries += temporaries(dir.path).length;
    }
    assertEquals(sum.kills, kills);
    await runNext(dir, withFolder);
    const after = [...temporaries(dir.path), ...await groupsOf(owners)];
    console.log(
      `Killed, with what was there at that moment: ${JSON.stringify(sum)}. After the next run: ${after.length} left.`,
    );
    assertEquals(after, []);
    const shown = await runTask("advise", ["--connections", "1"], dir.path);
    assert(!shown.stderr.includes("Skipped"), shown.stderr); // what was stored is whole
  },
});

Deno.test({
  name: "a broker ends with the process that has started it, at once and at whatever moment",
  ignore: !IS_LINUX || !HAS_BROKER,
  fn: async () => {
    using dir = lab();
    const [task, ...args] = FLEET;
    for (const moment of [/^/, /^Window 1 /m]) { // as soon as there is a broker, and while it has work
      await using running = new RunningTask(task, args, dir.path, dir.env);
      await running.hear(moment);
      const words = (pid: string) => unlessGone(() => readProc(`/proc/${pid}/cmdline`)) ?? "";
      const hasBroker = () => running.pids().some((pid) => /^(\S*\/)?nats-server\0/.test(words(pid)));
      await until(hasBroker, PATIENCE_MS, "the broker to start");
      const { pids, sockets } = await killNow(running, task);
      assert(pids.length > 1 && sockets.length > 0);
    }
  },
});

/** The namespaces that threads of a task are in, beside this one. */
async function spacesOfThreads(pids: readonly string[]): Promise<string[]> {
  const spaces = await Promise.all(pids.map((pid) => namespaces(`${pid}/task/[0-9]*`)));
  return spaces.flat().filter((space) => space !== "" && space !== OWN_NAMESPACE);
}
const isStopped = (pid: string) => / T /.test(unlessGone(() => readProc(`/proc/${pid}/stat`)) ?? "");

/** Ends well where this user may make a control group that limits processes: in version 2 a parent has to hand that down. */
const LIMIT_PROCESSES = `
path=$(sed -n 's/^[0-9]*:\\([^:]*,\\)*pids[^:]*://p' /proc/self/cgroup)
if [ -n "$path" ]; then parent=/sys/fs/cgroup/pids$path
else
  parent=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
  parent=\${parent%/}
  until grep -qw pids "$parent/cgroup.subtree_control"; do
    if [ "$parent" = /sys/fs/cgroup ]; then exit 1; fi
    parent=\${parent%/*}
  done
fi
group=$parent/c10k-may-$$
mkdir "$group" || exit 1
sh -c 'echo $$ > "$1/cgroup.procs"' sh "$group" && echo 100 > "$group/pids.max"
may=$?
rmdir "$group"
exit $may`;

async function mayLimitProcesses(): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", LIMIT_PROCESSES], stderr: "null" }).output();
  return success;
}

/** Faults that not everybody may do. */
const MAY: Record<string, boolean> = {
  "processes-exhausted": IS_LINUX && await mayLimitProcesses(),
  "half-open": await networkObstacle() === null,
};
const cannotTry = (fault: string) => !IS_LINUX || MAY[fault] === false;

/** Waits until a fault is being done, as `isDone` sees it. */
async function untilDone(running: RunningTask, fault: string, isDone: () => Promise<boolean> | boolean): Promise<void> {
  await until(async () => running.hasEnded || await isDone(), PATIENCE_MS, `${fault} to be done`);
  assert(!running.hasEnded, running.hasEnded ? (await running.end()).stdout : "");
}

/** What each fault has changed while it is done, as a task shows it. */
const CHANGES: Record<string, (pids: readonly string[]) => Promise<boolean>> = {
  "processes-exhausted": async (pids) => (await groupsOf(new Set(pids))).length > 0,
  "half-open": async (pids) => (await spacesOfThreads(pids)).length > 0,
  "sigstop-sigcont": (pids) => Promise.resolve(pids.some(isStopped)),
};

for (const [fault, isThere] of Object.entries(CHANGES)) {
  Deno.test({
    name: `a harness that is killed in the middle of ${fault} leaves nothing of it to the next run`,
    ignore: cannotTry(fault),
    fn: async () => {
      using dir = lab();
      await using running = new RunningTask("faults", ["epoll", "--fault", fault, "--no-save"], dir.path, dir.env);
      await untilDone(running, fault, () => isThere(running.pids()));
      const spaces = await spacesOfThreads(running.pids());
      const { pids } = await killNow(running, fault);
      assertEquals(await isInhabited(spaces), false);
      await runNext(dir, []);
      assertEquals([...temporaries(dir.path), ...await groupsOf(new Set(pids))], []);
    },
  });
}

/** What a fault may change of a process: whether it stands still, its limits, and its control groups. */
const stateOf = (pid: string) =>
  `stopped: ${isStopped(pid)}\n${readProc(`/proc/${pid}/limits`)}${readProc(`/proc/${pid}/cgroup`)}`;

/** A port that nothing listens on now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

for (const fault of ["sigstop-sigcont", "descriptors-exhausted", "processes-exhausted"]) {
  Deno.test({
    name: `a server of somebody's own is as it was once the harness is killed in the middle of ${fault}`,
    ignore: cannotTry(fault),
    fn: async () => {
      using dir = lab();
      const port = freePort();
      const { command, ...rest } = experimentCommand(find("epoll"), ["--port", String(port)]); // it outlives EMFILE
      await using server = new Deno.Command(command, { ...rest, stdout: "null", stderr: "null" }).spawn();
      using _killed = { [Symbol.dispose]: () => server.kill("SIGKILL") }; // one that stands still hears nothing else
      await until(() => listens(port), PATIENCE_MS, "the server to listen");
      const pid = String(server.pid);
      const before = stateOf(pid);
      const own = ["--name", "mine", "--url", `http://127.0.0.1:${port}`, "--pid", pid];
      await using running = new RunningTask("faults", [...own, "--fault", fault, "--no-save"], dir.path, dir.env);
      const isAsBefore = () => stateOf(pid) === before;
      await untilDone(running, fault, () => !isAsBefore());
      const { pids } = await killNow(running, fault);
      await until(isAsBefore, PATIENCE_MS, "the server to be as it was");
      const killed = new Set(pids);
      await until(async () => (await groupsOf(killed)).length === 0, PATIENCE_MS, "its control groups to be gone");
    },
  });
}

/** Launchers that make a folder, by the program that they start. */
const LAUNCHERS: Record<string, string[]> = {
  nginx: ["nginx", "nginx-proxy", "nginx-proxy-keepalive"],
  apache2: ["apache-event", "apache-prefork"],
};
/** The folder of a launcher that is being made has no lock for a moment: so long after that its maker was killed. */
const OLD_MS = 2 * 60_000;

for (const [program, names] of Object.entries(LAUNCHERS)) {
  const ignore = !IS_LINUX || !await isInstalled(program);
  for (const name of names) {
    Deno.test({
      name: `${name} removes what was left by launchers that were killed, and nothing else`,
      ignore,
      fn: async () => {
        using dir = folder();
        const make = (folder: string, ageMs: number) => {
          Deno.mkdirSync(join(dir.path, folder));
          const time = new Date(Date.now() - ageMs);
          Deno.utimeSync(join(dir.path, folder), time, time);
        };
        make("c10k-peer-old", OLD_MS); // killed before it had its lock
        make("c10k-peer-new", 0);
        make("c10k-other", OLD_MS);
        make("c10k-peer-free", 0); // killed later: the kernel has let go of its lock
        Deno.writeTextFileSync(join(dir.path, "c10k-peer-free", "lock"), "");
        const command = experimentCommand(find(name), ["--port", "0"]);
        await using _server = await startServer({ ...command, env: { TMPDIR: dir.path } });
        const left = [...Deno.readDirSync(dir.path)].map(({ name }) => name).filter((left) => left.startsWith("c10k-"));
        const isOwn = (left: string) => left.startsWith(`c10k-peer-${name}-`);
        assert(left.some(isOwn), left.join());
        assertEquals(left.filter((left) => !isOwn(left)).sort(), ["c10k-other", "c10k-peer-new"]);
      },
    });
  }
}

const WRITERS = 10;

Deno.test({
  name: "a writer that is killed while it writes leaves the old file or the new one, whole, and nothing beside it",
  ignore: !IS_LINUX,
  fn: async () => {
    using dir = folder();
    const path = join(dir.path, "a.json");
    const module = new URL("../lib/results/durable_file.ts", import.meta.url).href;
    const script = `
      import { store } from ${JSON.stringify(module)};
      console.log("ready");
      for (let i = 0;; i++) await store(${JSON.stringify(path)}, String(i % 10).repeat(4_000_000));`;
    const file = join(dir.path, "write.mjs");
    Deno.writeTextFileSync(file, script);
    const args = ["run", "-A", "--no-check", "--config", join(ROOT, "deno.json"), file];
    let torn = 0;
    for (let i = 0; i < WRITERS; i++) {
      const child = new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "null" }).spawn();
      const reader = child.stdout.getReader();
      assert(!(await reader.read()).done, "the writer has not begun");
      await until(() => filesIn(dir.path, ".tmp").length > 0, PATIENCE_MS, "a write to be under way");
      child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
      torn += filesIn(dir.path, ".tmp").length;
      await mustStore(dir.path);
      assertEquals(filesIn(dir.path, ".tmp"), []);
      const text = filesIn(dir.path, "a.json").length === 0 ? "" : Deno.readTextFileSync(path);
      assert(text === "" || (text.length === 4_000_000 && new Set(text).size === 1), `${text.length} characters`);
    }
    console.log(`Of ${WRITERS} writers ${torn} were killed in mid-write.`);
    assert(torn > 0);
  },
});
