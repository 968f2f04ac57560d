/**
 * SIGKILL of the program that measures, at random moments: the next run finds nothing of it left.
 *
 * deno test -A --lock=scripts/all.lock scripts/kills_test.ts -- --kills=200 --seed=7
 */
import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { join } from "node:path";
import { EXIT } from "../lib/cli/exit.ts";
import { networkObstacle } from "../lib/network/namespaces.ts";
import { mustStore } from "../lib/results/durable_file.ts";
import { seededRandom } from "../lib/timing/random.ts";
import { until } from "../lib/testing/client.ts";
import { folder } from "../lib/testing/folder.ts";
import { isInhabited, namespaces } from "../lib/testing/traces.ts";
import { filesIn, project, ROOT, RunningTask, runTask } from "../lib/testing/task.ts";

const KILLS = 6; // the usual tests have time for a few
const PATIENCE_MS = 15_000;
/** So long after its start a task is killed at the latest: each of them takes longer, with starting Deno. */
const LATEST_MS = 2500;

const flag = (name: string, fallback: number): number => {
  const given = Deno.args.find((arg) => arg.startsWith(`--${name}=`));
  return given === undefined ? fallback : Number(given.slice(name.length + 3));
};

const OWN_SERVER = [Deno.execPath(), "eval", "--no-lock"];
const CODE =
  `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () => new Response("x"))`;
const WRITES = ["--scenario", "throughput", "--connections", "1,2,3,4,5,6,7,8", "--seconds", "0.05"];

/** What is killed: everything that starts processes, makes namespaces, or writes. */
const TASKS: [task: string, ...args: string[]][] = [
  ["exp", "epoll", ...WRITES], // it stores a file every 300 ms
  ["exp", "prefork", "--scenario", "hold", "--connections", "4", "--quick"],
  ["measure", "--name", "mine", ...WRITES, "--", "sh", "-c", `setsid "$@" & wait`, "sh", ...OWN_SERVER, CODE],
  ["stress", "multi-reactor", "--seconds", "5"],
  ["compare", "epoll", "poll", "--rounds", "10", "--connections", "2", "--seconds", "0.1", "--quick"],
  ["faults", "epoll", "--fault", "fragments,rst-storm"],
  ["probe", "backlog", "--quick"], // it has a temporary folder
  ["regress", "--experiments", "poll", "--quick"],
];
const WITH_NAMESPACES: typeof TASKS = [["exp", "xdp", "--scenario", "hold", "--connections", "10", "--quick"]];

/** What a task holds in the kernel at a moment. */
interface Held {
  processes: number;
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
    processes: pids.length,
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

/** The temporary files and folders below a folder of results; the mutex of the folders stays. */
const temporaries = (dir: string): string[] => [
  ...filesIn(dir, ".tmp"),
  ...filesIn(join(dir, "results"), "").filter((path) => path.includes("/.tmp/") && !path.endsWith("/mutex")),
];

/** Kills a task after so many ms, and waits until nothing of it is left. Null: it had come to its end before, and well. */
async function kill([task, ...args]: typeof TASKS[number], afterMs: number, dir: string): Promise<Held | null> {
  await using running = new RunningTask(task, args, dir);
  await delay(afterMs);
  const held = await heldBy(running);
  try {
    running.signal("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended
    const { code, stderr } = await running.end();
    assert(code !== EXIT.harness && code !== EXIT.usage, stderr);
    return null;
  }
  const gone = async () =>
    running.pids().length === 0 && await listening(held.sockets) === 0 && !await isInhabited(held.namespaces);
  await until(gone, PATIENCE_MS, `${task} ${args.join(" ")} to be gone, killed after ${afterMs} ms`);
  return held;
}

Deno.test({
  name:
    "a harness that is killed at random moments leaves no process, port, namespace or temporary file to the next run",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const kills = flag("kills", KILLS);
    const seed = flag("seed", Date.now() % 1_000_000);
    const random = seededRandom(seed);
    const tasks = await networkObstacle() === null ? [...TASKS, ...WITH_NAMESPACES] : TASKS;
    const sum = { kills: 0, seed, processes: 0, sockets: 0, namespaces: 0, temporaries: 0 };
    for (let tries = 0; sum.kills < kills && tries < 2 * kills; tries++) {
      const task = tasks[Math.floor(random() * tasks.length)]!;
      const held = await kill(task, Math.floor(random() * LATEST_MS), dir.path);
      if (held === null) continue;
      sum.kills++;
      sum.processes += held.processes;
      sum.sockets += held.sockets.length;
      sum.namespaces += held.namespaces.length;
      sum.temporaries += temporaries(dir.path).length;
    }
    assertEquals(sum.kills, kills);
    const next = await runTask("exp", ["epoll", "--scenario", "hold", "--connections", "1", "--quick"], dir.path);
    assertEquals(next.code, EXIT.ok, next.stderr);
    const after = temporaries(dir.path).length;
    console.log(
      `Killed, with what was there at that moment: ${JSON.stringify(sum)}. After the next run: ${after} files.`,
    );
    assertEquals(after, 0);
    const shown = await runTask("advise", ["--connections", "1"], dir.path);
    assert(!shown.stderr.includes("Skipped"), shown.stderr); // what was stored is whole
  },
});

const WRITERS = 10;

Deno.test({
  name: "a writer that is killed while it writes leaves the old file or the new one, whole, and nothing beside it",
  ignore: Deno.build.os !== "linux",
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
