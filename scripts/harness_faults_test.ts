/**
 * What befalls the program that measures: each fault ends in one clear sentence with the right exit code, and leaves
 * nothing running.
 *
 * Other files try the rest. lib/server/server_test.ts and subject_test.ts: a server that crashes, never gets ready, says
 * something else, or whose port is taken. scripts/exit_test.ts: nothing can be stored. lib/results/*_test.ts: damaged, newer
 * and half-written files. lib/regress/regress_test.ts: two runs at once. scripts/kills_test.ts: SIGKILL at any moment, in the
 * middle of a fault, and while it writes.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { isInstalled } from "../lib/catalogue/tools.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { million } from "../lib/probes/million/million.ts";
import { machineOf } from "../lib/results/machine.ts";
import type { FaultRow } from "../lib/results/rows.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import { readProc } from "../lib/sampling/procfs.ts";
import { until } from "../lib/testing/client.ts";
import { cacheFor, folder } from "../lib/testing/folder.ts";
import { filesIn, project, ROOT, RunningTask } from "../lib/testing/task.ts";

const ignore = Deno.build.os !== "linux";
const succeeds = (command: string, ...args: string[]) =>
  !ignore && new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
const HAS_MOUNTS = succeeds("sh", "-c", "unshare --mount true");
const HAS_USERS = succeeds("sh", "-c", "unshare --user true");
const HAS_PYTHON = await isInstalled("python3");
const PATIENCE_MS = 30_000;
const SIGNALLED = 128; // a code above it is of a process that a signal has ended

const LOAD = ["--scenario", "throughput", "--connections", "2", "--seconds", "0.3"];

/** What a task is run in, beside its own words. */
interface Around {
  env?: Record<string, string>;
  within?: readonly string[];
  cwd?: string;
  /** Whether it lacks descriptors or memory. */
  isStarved?: boolean;
}

/** Runs a task to its end, and sees that nothing of it runs any more and that no stack trace was shown. */
async function outcome(
  task: string,
  args: readonly string[],
  { env = {}, within = [], cwd, isStarved = false }: Around = {},
) {
  using dir = project();
  // Where a limit makes Deno fail, it takes the cache for damaged and deletes it: here that is one of its own.
  const own = isStarved ? { DENO_DIR: cacheFor(join(dir.path, "cache")) } : {};
  await using running = new RunningTask(task, args, cwd ?? dir.path, { ...own, ...env }, within);
  const { code, stdout, stderr } = await running.end();
  await until(() => running.leftovers().length === 0, PATIENCE_MS, `${running.leftovers()} to be gone`);
  assert(!/^ {4}at /m.test(stderr) && !stderr.includes("\x1b"), stderr);
  return { code, stdout, stderr, text: `${stdout}${stderr}`.replaceAll(/\s+/g, " ") };
}

const test = (name: string, fn: () => Promise<void>, can = !ignore) => Deno.test({ name, ignore: !can, fn });

/** The cache of this Deno. */
function denoDir(): string {
  const { stdout } = new Deno.Command(Deno.execPath(), { args: ["info", "--json", "--no-config"] }).outputSync();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

/** A server in Python: on a port it answers each request, each connection in a thread. */
const SERVER = `
import os, signal, socket, sys, threading, time
def serve(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    def answer(client):
        while data := client.recv(65536):
            client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\nx" * data.count(b"\\r\\n\\r\\n"))
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
port = int(os.environ["PORT"])
`;

interface OddServer {
  how: string;
  code: string;
  exit: number;
  says: RegExp;
}

const DAEMONIZE = `
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
`;

const ODD_SERVERS: OddServer[] = [
  {
    how: "daemonizes before it listens",
    code: `${DAEMONIZE}\ntime.sleep(1)\nserve(port)`,
    exit: EXIT.failed,
    says:
      /ended with exit code 0 before its port \d+, .*a server that goes to the background is to stay in the foreground/,
  },
  {
    how: "serves from a daemon, while its leader stays",
    code: `if os.fork(): signal.pause()\nos.setsid()\nserve(port)`,
    exit: EXIT.ok,
    says: /mine: answered/,
  },
  {
    how: "crashes under load",
    code: `threading.Timer(0.7, os.abort).start()\nserve(port)`,
    exit: EXIT.failed,
    says: /mine: nothing was measured, the server ended during the run by SIGABRT/,
  },
  {
    how: "listens elsewhere, and ends",
    code: `threading.Timer(0.2, lambda: os._exit(3)).start()\nserve(0)`,
    exit: EXIT.failed,
    says: /ended with exit code 3 before it listened on port \d+/,
  },
  {
    how: "runs out of memory",
    code: `import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))\nx = b"x" * 2**29`,
    exit: EXIT.failed,
    says: /ended with exit code 1 before it listened on port \d+, .*: MemoryError/,
  },
  {
    how: "is killed, as by the kernel when memory is gone",
    code: `threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\nserve(port)`,
    exit: EXIT.failed,
    says: /mine: nothing was measured, the server ended during the run by SIGKILL/,
  },
  {
    how: "takes connections and hangs",
    code: `listener = socket.create_server(("127.0.0.1", port))\nsignal.pause()`,
    exit: EXIT.failed,
    says: /limited/,
  },
];

for (const { how, code, exit, says } of ODD_SERVERS) {
  test(`a server that ${how} ends in one sentence, and nothing of it is left`, async () => {
    const seconds = ["--scenario", "throughput", "--connections", "2", "--seconds", "2"];
    const words = ["--name", "mine", ...seconds, "--no-save", "--", "python3", "-c", `${SERVER}${code}`];
    const { code: ended, text } = await outcome("measure", words);
    assertEquals(ended, exit, text);
    assertMatch(text, says);
  }, HAS_PYTHON);
}

test("two harnesses at once both end well, and each stores its own file", async () => {
  using dir = project();
  const both = await Promise.all([1, 2].map(() => outcome("exp", ["epoll", ...LOAD], { cwd: dir.path })));
  for (const { code, text } of both) assertEquals(code, EXIT.ok, text);
  assertEquals(filesIn(dir.path, ".json").length, 2);
  assertEquals(filesIn(dir.path, ".tmp"), []);
});

const LINK = `ln -s "$(command -v "$1")" "$2"`;
const FEW_TOOLS = ["sh", "setpriv", "taskset", "ps", "grep", "sleep", "env"];

test("without a toolchain an experiment is skipped with what to install, and the code is 69", async () => {
  using tools = folder();
  for (const name of FEW_TOOLS) await new Deno.Command("sh", { args: ["-c", LINK, "sh", name, tools.path] }).output();
  const env = { PATH: tools.path, XDG_CACHE_HOME: join(tools.path, "cache"), DENO_DIR: denoDir() };
  for (const name of ["c-epoll", "go-net", "nginx"]) {
    const { code, text } = await outcome("exp", [name, ...LOAD, "--no-save"], { env });
    assertEquals(code, EXIT.unavailable, text);
    assertMatch(text, /nothing was measured, .*(install|is missing|not installed)/, name);
  }
});

test("a read-only checkout measures with --no-save, and says what to do without it", async () => {
  using dir = project();
  const readOnly = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"`;
  const within = ["unshare", "--mount", "sh", "-c", readOnly, dir.path];
  const free = await outcome("exp", ["epoll", ...LOAD, "--no-save"], { cwd: dir.path, within });
  assertEquals(free.code, EXIT.ok, free.text);
  for (const [task, ...args] of [["exp", "epoll", ...LOAD], ["stress", "epoll"], ["faults", "epoll"]]) {
    const { code, stdout, text } = await outcome(task!, args, { cwd: dir.path, within });
    assertEquals([code, stdout], [EXIT.harness, ""], text);
    assertMatch(
      text,
      /Cannot store in results: Read-only file system.*Make the folder writable, or measure with --no-save/,
    );
  }
  const copies = await outcome("probe", ["backlog", "--quick", "--no-save"], { cwd: dir.path, within });
  assertEquals(copies.code, EXIT.unavailable, copies.text);
}, HAS_MOUNTS);

/** Runs behind a `results` that is a disk of its own with so many bytes left. */
const onFullDisk = (dir: string, bytes: number) => {
  const script = `mount -t tmpfs -o size=64k none "$0/results" && head -c 64k /dev/zero >"$0/results/filler"; ` +
    `truncate -s $((65536 - ${bytes})) "$0/results/filler"; "$@"; code=$?; ls -A "$0/results" >&2; exit $code`;
  return ["unshare", "--mount", "sh", "-c", script, dir];
};

test("a full disk is found before the load, and nothing is left on it", async () => {
  using dir = project();
  const { code, stdout, text } = await outcome("exp", ["epoll", ...LOAD], {
    cwd: dir.path,
    within: onFullDisk(dir.path, 0),
  });
  assertEquals([code, stdout], [EXIT.harness, ""], text);
  assertMatch(text, /Cannot store in results: No space left on device.*--no-save\. filler $/);
}, HAS_MOUNTS);

test("a disk that fills up under load costs no figure: they are shown, and the code is 70", async () => {
  using dir = project();
  const args = ["epoll", "--scenario", "throughput", "--connections", "2,3,4,5,6", "--seconds", "0.2"];
  const { code, stdout, text } = await outcome("exp", args, { cwd: dir.path, within: onFullDisk(dir.path, 8192) });
  assertEquals(code, EXIT.harness, text);
  assertMatch(stdout, /^throughput +6 /m);
  assertMatch(text, /Cannot store .*No space left on device/);
  assert(!text.includes(".tmp"), text);
}, HAS_MOUNTS);

test("without HOME commands run as ever", async () => {
  const within = ["env", "--unset=HOME"];
  for (const [task, ...args] of [["exp", "epoll", ...LOAD, "--no-save"], ["list"], ["doctor"]]) {
    const { code, text } = await outcome(task!, args, { within, env: { DENO_DIR: denoDir() } });
    assertEquals(code, EXIT.ok, text);
  }
});

test("with 64 descriptors a run says that these are the limit, and is no verdict on the server", async () => {
  const within = ["prlimit", "--nofile=64"];
  const cases: string[][] = [
    ["exp", "epoll", ...LOAD],
    ["compare", "epoll", "poll", "--rounds", "1", "--connections", "2", "--seconds", "0.5", "--quick"],
    ["sweep", "epoll", "--connections", "2", "--rates", "100", "--seconds", "1"],
  ];
  for (const [task, ...args] of cases) {
    const { code, text } = await outcome(task!, [...args, "--no-save"], { within, isStarved: true });
    assertEquals(code, EXIT.failed, text);
    assertMatch(text, /stopped at 0 of 2: descriptors, limit 64 per process/, task);
  }
});

test("a probe that can measure nothing here says why, stores no empty study, and ends with 1", async () => {
  using dir = project();
  const within = ["prlimit", "--nofile=1024"]; // far fewer connections for a ring than a million needs
  const { code, text } = await outcome("probe", ["million"], { cwd: dir.path, within });
  assertEquals(code, EXIT.failed, text);
  assertMatch(text, /a ring may have 1 024 connections here/);
  assertEquals(filesIn(dir.path, ".json"), []);
}, await million.obstacle() === null);

test("where no pipe can be opened the sentence names the limit, and the code is 70", async () => {
  const { code, text } = await outcome("exp", ["epoll", ...LOAD, "--no-save"], {
    within: ["prlimit", "--nofile=24"],
    isStarved: true,
  });
  assertEquals(code, EXIT.harness, text);
  assertStringIncludes(text, "raise the limit of descriptors (ulimit -n)");
});

test("a user who is not root measures, and what needs root says so with 69", async () => {
  const within = ["unshare", "--user"];
  const { code, text } = await outcome("exp", ["epoll", ...LOAD, "--no-save"], { within });
  assertEquals(code, EXIT.ok, text);
  for (const [task, ...args] of [["exp", "xdp", "--no-save"], ["c10m", "--connections", "1000", "--no-save"]]) {
    const { code, text } = await outcome(task!, args, { within });
    assertEquals(code, EXIT.unavailable, text);
    assertMatch(text, /network namespaces need root/, task);
  }
}, HAS_USERS);

test(
  "a user who is not root puts servers under faults, and those that need root are skipped with the reason",
  async () => {
    const ofRoot = {
      "half-open": "a network of its own cannot be made: EPERM",
      "disk-full": "a table of mounts of its own cannot be made: EPERM",
    };
    const faults = ["descriptors-exhausted", "processes-exhausted", "sigstop-sigcont", ...Object.keys(ofRoot)];
    const args = ["epoll", "--fault", faults.join(), "--json", "--no-save"];
    const { code, stdout, text } = await outcome("faults", args, { within: ["unshare", "--user"] });
    const rows: FaultRow[] = JSON.parse(stdout);
    assertEquals(rows.map(({ fault }) => fault), faults, text);
    const skipped = rows.filter(({ verdict }) => verdict === "skipped").map(({ fault, reason }) => [fault, reason]);
    assertEquals([Object.fromEntries(skipped), code], [ofRoot, EXIT.ok], text);
  },
  HAS_USERS,
);

test("two campaigns of faults at once would be each other's load: the second ends at once, with 70", async () => {
  using dir = project();
  const journal = join(dir.path, "results", machineOf(hostFacts()), "faults-run.jsonl");
  await using first = new RunningTask("faults", ["epoll", "--fault", "slow-heads"], dir.path);
  await first.hear(/^epoll, slow-heads: /m);
  const { code, stdout, text } = await outcome("faults", ["poll", "--fault", "fragments"], { cwd: dir.path });
  assertEquals([code, stdout], [EXIT.harness, ""], text);
  assertMatch(text, /Another run measures into \S+faults-run\.jsonl: wait for its end, or stop it\./);
  first.signal("SIGINT");
  assertEquals((await first.end()).code, EXIT.interrupted);
  assertEquals(existsSync(`${journal}.lock`), false);
});

test("the process of another user is refused in one sentence, before the load", async () => {
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("Hello World"));
  const words = ["--name", "mine", "--url", `http://127.0.0.1:${server.addr.port}`, "--pid", String(Deno.pid)];
  const { code, text } = await outcome("measure", [...words, ...LOAD, "--no-save"], { within: ["unshare", "--user"] });
  assertEquals(code, EXIT.failed, text);
  assertMatch(text, /process \d+ belongs to another user: measure as that user, or leave out --pid/);
}, HAS_USERS);

/**
 * Runs words in a control group of its own with a limit, in version 1 or 2: controller, the files of the limit, its value. The
 * group goes with the last of its processes, which may outlive the words by a moment.
 */
const IN_GROUP = `
controller=$1 old=$2 new=$3 limit=$4
shift 4
at=$(sed -n "s/^[0-9]*:$controller://p" /proc/self/cgroup)
if [ -n "$at" ]; then parent=/sys/fs/cgroup/$controller$at file=$old
else parent=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) file=$new; fi
group=$parent/c10k-test-$$
mkdir "$group" || exit 1
if echo "$limit" >"$group/$file"; then
  sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
  code=$?
else code=1; fi
tries=0
until rmdir "$group" 2>/dev/null || [ $tries -ge 100 ]; do tries=$((tries + 1)); sleep 0.05; done
exit $code`;
const inGroup = (...of: [controller: string, old: string, recent: string, limit: number]): string[] => [
  "sh",
  "-c",
  IN_GROUP,
  "sh",
  ...of.map(String),
];
const IN_GIBIBYTE = inGroup("memory", "memory.limit_in_bytes", "memory.max", 2 ** 30);
const OF_THOUSAND = inGroup("pids", "pids.max", "pids.max", 1000);
const canRun = ([command, ...words]: string[]) => succeeds(command!, ...words, "true");

test("in a container with less memory than the host a run ends there by the guard, and doctor names it", async () => {
  const doctor = await outcome("doctor", ["--json"], { within: IN_GIBIBYTE });
  const { limits }: { limits: { what: string; value: string }[] } = JSON.parse(doctor.stdout);
  assertEquals(limits.find(({ what }) => what === "memory.max")?.value, "1 GiB");
  const hold = ["--scenario", "hold", "--connections", "2000", "--seconds", "0"];
  const { code, text } = await outcome("exp", ["thread-per-conn", ...hold, "--no-save"], { within: IN_GIBIBYTE });
  assertEquals(code, EXIT.ok, text); // neither the harness nor the server was killed
  assertMatch(text, /limited, stopped at \d+ of 2 000: memory, [\d.]+ MiB per connection; 2 000 would need/);
}, canRun(IN_GIBIBYTE));

test("at the limit of processes a run ends by the guard, and the harness needs no process more", async () => {
  const doctor = await outcome("doctor", ["--json"], { within: OF_THOUSAND });
  const { limits }: { limits: { what: string; value: string }[] } = JSON.parse(doctor.stdout);
  assertEquals(limits.find(({ what }) => what === "pids.max")?.value.replace(/\s/, ""), "1000");
  const hold = ["--scenario", "hold", "--connections", "3000", "--seconds", "0"];
  const { code, text } = await outcome("exp", ["c-threads", ...hold, "--no-save"], { within: OF_THOUSAND });
  assertEquals(code, EXIT.ok, text);
  assertMatch(text, /limited, stopped at \d+ of 3 000: processes and threads, 1 per connection, limit \d+ \(pids\.max/);
}, canRun(OF_THOUSAND) && await isInstalled("cc"));

test("where io_uring is forbidden its servers end with 69 and the cause, and nothing stands in for them", async () => {
  using dir = folder();
  const wrapper = join(dir.path, "forbid.ts");
  const module = new URL("./faults/kernel.ts", import.meta.url).href;
  Deno.writeTextFileSync(
    wrapper,
    `import { forbidIoUring } from ${JSON.stringify(module)};
     forbidIoUring(); // to all that is started from now on
     const [command, ...args] = Deno.args;
     const { code } = await new Deno.Command(command, { args, stdin: "null" }).spawn().status;
     Deno.exit(code);`,
  );
  const within = [Deno.execPath(), "run", "--allow-all", "--no-check", "--config", join(ROOT, "deno.json"), wrapper];
  const cause = /cannot run here: io_uring, \w[\w ]*: EPERM \(1\), kernel\.io_uring_disabled or seccomp forbids it/;
  const hasCompiler = await isInstalled("cc");
  for (const name of ["io-uring", "io-uring-direct", ...(hasCompiler ? ["c-io-uring"] : [])]) {
    const { code, text } = await outcome("exp", [name, ...LOAD, "--no-save"], { within });
    assertEquals(code, EXIT.unavailable, text);
    assertMatch(text, cause, name);
  }
  const few = ["--rounds", "1", "--connections", "2", "--seconds", "0.5", "--quick", "--no-save"];
  const compared = await outcome("compare", ["epoll", "io-uring", ...few], { within });
  assertEquals(compared.code, EXIT.unavailable, compared.text);
  assertMatch(compared.text, cause);
}, !ignore && /^Seccomp:/m.test(readProc("/proc/self/status")));

test("a checkout whose path has spaces and umlauts measures, with compilers and with copies of sources", async () => {
  using dir = folder();
  const checkout = join(dir.path, "Prüf stand 'ä'");
  const copy = `mkdir "$1" "$1/results" && cp -r lib scripts experiments deno.json deno.lock "$1"`;
  await new Deno.Command("sh", { args: ["-c", copy, "sh", checkout], cwd: ROOT }).output();
  const command = (task: string, ...args: string[]) =>
    new Deno.Command(Deno.execPath(), { args: ["task", task, ...args], cwd: checkout, env: { NO_COLOR: "1" } })
      .output();
  const hasCompiler = await isInstalled("cc");
  const cases: string[][] = [
    ["exp", "multi-reactor", ...LOAD],
    ...(hasCompiler ? [["exp", "c-epoll", ...LOAD]] : []),
    ["probe", "backlog", "--quick"],
  ];
  for (const [task, ...args] of cases) {
    const { code, stderr } = await command(task!, ...args);
    assertEquals(code, EXIT.ok, new TextDecoder().decode(stderr));
  }
  assertEquals(filesIn(join(checkout, "results"), ".json").length, cases.length);
});

/** Runs its words on a terminal of 60 columns. No word has a quotation mark in it. */
const ON_TERMINAL = `line=; for word; do line="$line '$word'"; done; exec script -qec "stty cols 60;$line" /dev/null`;

test("a terminal of 60 columns gets no line that is wider", async () => {
  const cases: string[][] = [
    ["exp", "epoll", ...LOAD],
    ["stress", "epoll", "--seconds", "1"],
    ["faults", "epoll", "--fault", "fragments,worker-killed"], // the second is skipped with a reason
  ];
  for (const [task, ...args] of cases) {
    using dir = project();
    const within = ["sh", "-c", ON_TERMINAL, "sh"];
    await using running = new RunningTask(task!, [...args, "--no-save"], dir.path, {}, within);
    const { code, stdout } = await running.end();
    assertEquals(code, EXIT.ok, stdout);
    const lines = stripVTControlCharacters(stdout).split(/[\r\n]+/)
      .filter((line) => !/cache (database|file)/.test(line)); // Deno's own, where another Deno was killed
    assert(lines.some((line) => [...line].length > 40), stdout);
    for (const line of lines) assert([...line].length <= 60, line);
  }
}, succeeds("sh", "-c", "command -v script && command -v stty"));

test("a reader that closes its pipe early gets what it wanted, and no stack trace", async () => {
  const cases: string[][] = [["exp", "epoll", ...LOAD, "--no-save"], ["list"], ["doctor"], ["exp", "--help"]];
  for (const [task, ...args] of cases) {
    const shell = `{ "$@"; echo "code $?" >&2; } | head -n 1`;
    const { stdout, text } = await outcome(task!, args, { within: ["sh", "-c", shell, "sh"] });
    assertEquals(stdout.split("\n").length, 2, stdout);
    assertMatch(text, /code 0 $/, task);
    assert(!/EPIPE|[Bb]roken pipe/.test(text), text);
  }
});

test("damaged, newer and half-written files are named and passed over; CRLF and a time in the future are read", async () => {
  using dir = project();
  const { code, text } = await outcome("exp", ["epoll", ...LOAD], { cwd: dir.path });
  assertEquals(code, EXIT.ok, text);
  const [path] = filesIn(dir.path, ".json");
  const good = Deno.readTextFileSync(path!);
  const beside = (name: string) => join(path!, "..", name);
  const ahead = new Date(Date.now() + 10 * 365 * 86_400_000).toISOString();
  const files: Record<string, string> = {
    "1-half.json": good.slice(0, 800),
    "2-newer.json": good.replace(/"schema": \d+/, '"schema": 99'),
    "3-empty.json": "",
    "4-other.json": "[]",
    "5-crlf.json": good.replaceAll("\n", "\r\n"),
    "6-future.json": good.replace(/"time": "[^"]+"/, `"time": "${ahead}"`),
    "7-killed.json.tmp": good.slice(0, 800),
  };
  for (const [name, content] of Object.entries(files)) Deno.writeTextFileSync(beside(name), content);
  const shown = await outcome("advise", ["--connections", "100"], { cwd: dir.path });
  assertEquals(shown.code, EXIT.failed, shown.text); // no figures of `hold`
  for (const name of ["1-half", "2-newer", "3-empty", "4-other"]) {
    assertMatch(shown.stderr, new RegExp(`^Skipped .*${name}.json: `, "m"));
  }
  for (const name of ["5-crlf", "6-future", "7-killed"]) assert(!shown.stderr.includes(name), shown.stderr);
  const next = await outcome("exp", ["epoll", ...LOAD], { cwd: dir.path });
  assertEquals(next.code, EXIT.ok, next.text);
  assertEquals(filesIn(dir.path, ".tmp"), []);
});

test("a name of the reference machine with CRLF is read", async () => {
  using dir = project();
  const machine = machineOf(hostFacts());
  Deno.writeTextFileSync(join(dir.path, "results", "reference"), `${machine}\r\n`);
  const { text } = await outcome("advise", ["--connections", "100"], { cwd: dir.path });
  assert(!text.includes("the reference machine"), text);
});

test("a load generator that cannot keep up weakens the figure, and the run says so", async () => {
  // A server in C needs less CPU time for a request than the generator does.
  const load = ["--scenario", "throughput", "--connections", "100", "--seconds", "1"];
  const { code, text } = await outcome("exp", ["c-epoll", ...load, "--no-save"]);
  assertEquals(code, EXIT.ok, text);
  // It has all of its core; or others had a part of that, which is another reason why it cannot keep up.
  const full =
    /(client_bound|both_bound), (the busiest process of the load generator used \d+ % of its core|with \d+ process)/;
  const taken = /(foreign_load, processes outside of the run used|steal, steal time was) \d+ %/;
  assert(full.test(text) || taken.test(text), text);
  assertMatch(text, /throughput (as|is) a lower bound|the throughput is what the server can do/);
}, await isInstalled("cc") && navigator.hardwareConcurrency > 1);

test("a harness that runs out of memory under load ends, and leaves nothing running", async () => {
  using dir = project();
  const env = { DENO_DIR: cacheFor(join(dir.path, "cache")) };
  const load = ["--scenario", "throughput", "--connections", "2,3,4,5,6,7,8", "--seconds", "0.3"];
  await using running = new RunningTask("exp", ["epoll", ...load, "--no-save"], dir.path, env);
  await running.hear(/^throughput 2: /m);
  const harness = running.pids().find((pid) => readProc(`/proc/${pid}/cmdline`).includes("scripts/exp.ts"));
  // It gets no page more, as it has reserved more than that already; and no server can start within it.
  assert(succeeds("prlimit", `--pid=${harness}`, `--as=${100 * 2 ** 20}:`));
  const { code, stdout, stderr } = await running.end();
  assert(code !== EXIT.ok, stdout + stderr);
  // V8 ends its process by a signal, most often with a word on memory; else it was a server that got none.
  const ofServer = /^ {2}throughput \d: crashed, Ended .* before it was ready:/m;
  if (code < SIGNALLED) assertMatch(stdout + stderr, ofServer);
  await until(() => running.leftovers().length === 0, PATIENCE_MS, `${running.leftovers()} to be gone`);
}, succeeds("sh", "-c", "command -v prlimit"));
