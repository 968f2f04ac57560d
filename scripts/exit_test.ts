/** What a command ends with: its code, and one sentence where the cause is known. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { find } from "../lib/catalogue/catalogue.ts";
import { isInstalled, obstacleTo } from "../lib/catalogue/tools.ts";
import { machineOf } from "../lib/results/machine.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import { unlessGone } from "../lib/sampling/process.ts";
import { readProc } from "../lib/sampling/procfs.ts";
import { until } from "../lib/testing/client.ts";
import { filesIn, project, RunningTask, runTask } from "../lib/testing/task.ts";

const ignore = Deno.build.os !== "linux";
const canPin = await isInstalled("taskset") && await isInstalled("setpriv") && navigator.hardwareConcurrency > 1;
const hasClients = canPin && await isInstalled("wrk");
const ABSENT = await obstacleTo(find("kqueue")) === null ? "iocp" : "kqueue"; // one of the two runs elsewhere only
const noStack = (stderr: string) => assert(!/^ {4}at /m.test(stderr) && !stderr.includes("\x1b"), stderr);

Deno.test("what cannot run here ends with 69 in every command, and nothing is stored as a figure", async () => {
  using dir = project();
  const cases: [string, string[]][] = [
    ["exp", [ABSENT, "--quick", "--no-save"]],
    ["stress", [ABSENT, "--no-save"]],
    ["faults", [ABSENT, "--fault", "fragments,pipelines", "--no-save"]],
    ["compare", ["event-loop", ABSENT, "--rounds", "1", "--no-save"]],
    ["sweep", [ABSENT, "--no-save"]],
    ["live", [ABSENT, "--no-open"]],
  ];
  for (const [task, args] of cases) {
    const { code, stderr } = await runTask(task, args, dir.path);
    assertEquals(code, 69, `${task}: ${stderr}`);
    noStack(stderr);
  }
});

/** A custom server that takes connections and never answers. */
const SILENT = [
  ...["--", Deno.execPath(), "eval", "--no-lock"],
  `for await (const _ of Deno.listen({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")) })) {}`,
];

Deno.test({
  name: "a run in which nothing was answered ends with 1",
  ignore,
  fn: async () => {
    using dir = project();
    const size = ["--scenario", "hold", "--connections", "1", "--no-save"];
    const { code, stdout } = await runTask("measure", ["--name", "silent", ...size, ...SILENT], dir.path);
    assertEquals(code, 1, stdout);
    assertMatch(stdout, /limited/);
  },
});

Deno.test({
  name: "a server that does not answer fails the faults with 1, and what cannot be done to one that runs is skipped",
  ignore,
  fn: async () => {
    using dir = project();
    const faults = ["--fault", "fragments", "--no-save"];
    const silent = await runTask("faults", ["--name", "silent", ...faults, ...SILENT], dir.path);
    assertEquals(silent.code, 1, silent.stderr);
    assertMatch(silent.stdout, /silent, fragments: answers that were owed are lost/);
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("anything"));
    const url = `http://127.0.0.1:${server.addr.port}`;
    const named = ["--fault", "fragments,sigterm-under-load,disk-full,sigstop-sigcont", "--no-save"];
    const { code, stdout, stderr } = await runTask("faults", ["--name", "mine", "--url", url, ...named], dir.path);
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /^mine +fragments +survived/m);
    assertMatch(stdout, /sigterm-under-load: it would end a server/);
    assertMatch(stdout, /disk-full: it must exist before the server starts/);
    assertMatch(stdout, /sigstop-sigcont: the process of the server is not known/);
    await server.shutdown();
  },
});

/** It does not read PORT. */
const OTHER_PORT = `Deno.serve({ hostname: "127.0.0.1", port: 0 }, () => new Response("x"))`;

Deno.test({
  name: "faults find a server that does not get ready before the first cell, say what to do, and end with 1",
  ignore,
  fn: async () => {
    using dir = project();
    const elsewhere = ["--", Deno.execPath(), "eval", "--no-lock", OTHER_PORT];
    const { code, stdout, stderr } = await runTask("faults", ["--name", "mine", "--no-save", ...elsewhere], dir.path);
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr.replaceAll("\n", " "), /^Nothing was measured: mine listens on .* say --port \d+/);
    assertEquals(/mine, [a-z-]+: /.test(stderr), false, stderr);
  },
});

Deno.test("flags of a server of one's own are refused where there is none, and names beside it", async () => {
  using dir = project();
  for (const task of ["faults", "soak", "sweep"]) {
    for (const flag of ["--name", "--pid", "--port"]) {
      const { code, stderr } = await runTask(task, ["epoll", flag, "1"], dir.path);
      assertEquals(code, 2, `${task} ${flag}: ${stderr}`);
      assertStringIncludes(stderr, `${flag} belongs to a server of your own`);
    }
    const both = await runTask(task, ["epoll", "--name", "mine", "--url", "http://127.0.0.1:1"], dir.path);
    assertEquals(both.code, 2, both.stderr);
    assertStringIncludes(both.stderr, "Unexpected epoll");
  }
});

Deno.test({
  name: "ab ends with 70 where a side cannot be started, whichever it is, and is no verdict",
  ignore,
  fn: async () => {
    using dir = project();
    const good = `${Deno.execPath()} eval --no-lock 'Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), ` +
      `onListen() {} }, () => new Response("x"))' $PORT`;
    for (const sides of [["./missing", "./missing"], [good, "./missing"], ["./missing", good]]) {
      const args = ["--quick", ...sides.flatMap((side) => ["--cmd", side])];
      const { code, stdout, stderr } = await runTask("ab", args, dir.path);
      assertEquals([code, stdout], [70, ""], stderr);
      assertMatch(stderr, /^Nothing can be compared: [ab] ended with exit code 127 before it listened on port \d+/);
      noStack(stderr);
    }
  },
});

Deno.test({
  name: "ab ends with 1 where B answers by another status, be it always or now and then, and with 70 where A does",
  ignore,
  fn: async () => {
    using dir = project();
    const serves = (answer: string) =>
      `${Deno.execPath()} eval --no-lock 'let n = 0; Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), ` +
      `onListen() {} }, () => ${answer})' $PORT`;
    const good = serves(`new Response("x")`);
    const cases: [answer: string, telling: RegExp][] = [
      [`new Response("x", { status: 404 })`, /were answered by status 404/],
      [`new Response("x", { status: ++n % 500 ? 200 : 503 })`, /http_503/],
    ];
    const ab = (...sides: string[]) =>
      runTask("ab", ["--quick", ...sides.flatMap((side) => ["--cmd", side])], dir.path);
    for (const [answer, telling] of cases) {
      const { code, stdout, stderr } = await ab(good, serves(answer));
      assertEquals(code, 1, stdout + stderr);
      assertMatch(stdout, telling);
      noStack(stderr);
    }
    const absent = serves(`new Response("x", { status: 404 })`);
    for (const sides of [[absent, good], [absent, absent]] as const) {
      const { code, stdout, stderr } = await ab(...sides);
      assertEquals([code, stdout], [70, ""], stderr);
      assertMatch(stderr, /^Nothing can be compared: a is asked for \/: connections were answered by status 404\.$/m);
    }
  },
});

Deno.test({
  name: "where nothing can be stored a command says so in one sentence before the load, and ends with 70",
  ignore,
  fn: async () => {
    using dir = project();
    Deno.removeSync(join(dir.path, "results"));
    Deno.writeTextFileSync(join(dir.path, "results"), "in the way");
    const cases: [string, string[]][] = [
      ["exp", ["epoll"]],
      ["measure", ["--name", "mine", ...SILENT]],
      ["stress", ["epoll"]],
      ["faults", ["epoll"]],
      ["soak", ["epoll"]],
      ["compare", ["epoll", "poll"]],
      ["probe", ["system-calls"]],
      ["readiness", []],
      ["regress", ["--experiments", "poll"]],
      ...(hasClients ? [["crosscheck", []] as [string, string[]]] : []),
    ];
    for (const [task, args] of cases) {
      const { code, stdout, stderr } = await runTask(task, args, dir.path);
      assertEquals([code, stdout], [70, ""], `${task}: ${stderr}`);
      assertMatch(stderr, /^Cannot store\s.*results/m, task);
      noStack(stderr);
    }
  },
});

Deno.test({
  name: "where storing fails after the load the figures are shown all the same, and the code is 70",
  ignore,
  fn: async () => {
    using dir = project();
    const args = ["epoll", "--scenario", "throughput", "--connections", "2", "--seconds", "1"];
    await using running = new RunningTask("exp", args, dir.path);
    await running.hear(/^throughput 2: /m); // it has looked whether there is room
    Deno.removeSync(join(dir.path, "results"), { recursive: true });
    Deno.writeTextFileSync(join(dir.path, "results"), "in the way");
    const { code, stdout, stderr } = await running.end();
    assertEquals(code, 70, stderr);
    assertMatch(stdout, /^throughput +2 /m);
    assertMatch(stderr, /Cannot store\s/);
    assert(!/^([\w-]+: )\1/m.test(stderr), stderr); // the title begins with the name already
    noStack(stderr);
  },
});

/** Kills the servers of a task that are of this experiment, as soon as they run, until the task has ended. */
async function killEach(running: RunningTask, experiment: string): Promise<void> {
  const isServer = (line: string) => line.startsWith(Deno.execPath()) && line.includes(`experiments/${experiment}.ts`);
  await until(
    () => {
      for (const pid of running.pids()) {
        if (isServer(unlessGone(() => readProc(`/proc/${pid}/cmdline`)) ?? "")) {
          unlessGone(() => Deno.kill(Number(pid), "SIGKILL"));
        }
      }
      return running.hasEnded;
    },
    60_000,
    "the end of the task",
  );
}

Deno.test({
  name: "compare ends with 1 where a server is killed in a round, and says which of the two it was",
  ignore,
  fn: async () => {
    for (const victim of ["poll", "epoll"]) {
      using dir = project();
      const few = ["--rounds", "100", "--connections", "2", "--seconds", "0.5", "--quick", "--no-save"];
      await using running = new RunningTask("compare", ["epoll", "poll", ...few], dir.path);
      await running.hear(/round 1 of 100: /);
      await killEach(running, victim);
      const { code, stdout, stderr } = await running.end();
      assertEquals(code, 1, stderr);
      assertMatch(stdout, /^ +poll: excluded after \d+ rounds?: /m);
      const ofReference = /^poll is excluded because the reference failed: epoll: /m;
      assertEquals(ofReference.test(stderr), victim === "epoll", stderr);
      noStack(stderr);
    }
  },
});

Deno.test({
  name: "what any command has measured is shown where its own folder cannot be made after the load, with 70",
  ignore,
  fn: async () => {
    const cases: [task: string, args: string[], folder: string, shown: RegExp][] = [
      ["stress", ["epoll", "--seconds", "1"], "epoll", /^epoll +10 \+ 10 /m],
      [
        "compare",
        ["epoll", "poll", "--rounds", "1", "--connections", "2", "--seconds", "0.5", "--quick"],
        "studies",
        /^poll +/m,
      ],
      ["probe", ["backlog", "--quick"], "studies", /^backlog +128 +completed/m],
      ["readiness", ["--sizes", "10,20", "--batches", "7"], "studies", /^epoll_wait +10 /m],
    ];
    for (const [task, args, name, shown] of cases) {
      using dir = project();
      const machine = join(dir.path, "results", machineOf(hostFacts()));
      Deno.mkdirSync(machine);
      Deno.writeTextFileSync(join(machine, name), "in the way"); // there is room, as the look before the load finds
      const { code, stdout, stderr } = await runTask(task, args, dir.path);
      assertEquals(code, 70, `${task}: ${stderr}`);
      assertMatch(stdout, shown, task);
      assertMatch(stderr, /^Cannot store\sresults\/.*\.json:\s/m, task);
      noStack(stderr);
    }
  },
});

/** A stand-in for h2load: the first time it prints what version 1.52 prints, and then what it is given. */
const fakeH2load = (later: string) =>
  `#!/bin/sh
if [ "$1" = --version ]; then exit 0; fi
if [ -e "$0.ran" ]; then ${later}; exit 0; fi
: >"$0.ran"
cat <<'END'
finished in 4.00s, 25852.00 req/s, 1.23MB/s
requests: 51704 total, 51804 started, 51704 done, 51704 succeeded, 0 failed, 0 errored, 0 timeout
                     min         max         mean         sd        +/- sd
time for request:       78us     39.31ms      3.86ms      4.03ms    85.35%
END
`;

/** Starts crosscheck in a project, with such a stand-in before all other programs. */
function crosscheck(dir: string, rounds: number, later: string): RunningTask {
  const tools = join(dir, "tools");
  Deno.mkdirSync(tools);
  Deno.writeTextFileSync(join(tools, "h2load"), fakeH2load(later), { mode: 0o755 });
  const args = ["epoll", "--connections", "2", "--rounds", String(rounds), "--seconds", "1"];
  return new RunningTask("crosscheck", args, dir, { PATH: `${tools}:${Deno.env.get("PATH")}` });
}

Deno.test({
  name: "a client of crosscheck that prints what nobody can read is left out from then on, and other turns are kept",
  ignore: ignore || !canPin,
  fn: async () => {
    using dir = project();
    await using running = crosscheck(dir.path, 2, `echo "Requests: many"`);
    const { code, stdout, stderr } = await running.end();
    assertEquals(code, 1, stderr);
    for (const row of ["1 +lab", "1 +h2load", "2 +lab"]) assertMatch(stdout, new RegExp(`^ +${row} `, "m"));
    assert(!/^ +2 +h2load /m.test(stdout), stdout);
    assertMatch(stderr, /^h2load is left out from round 2 on: h2load prints what this lab cannot read/m);
    assertEquals(filesIn(dir.path, ".json").length, 1);
    noStack(stderr);
  },
});

Deno.test({
  name: "a server that is killed under crosscheck costs that turn, and the rounds before it are shown and stored",
  ignore: ignore || !canPin,
  fn: async () => {
    using dir = project();
    await using running = crosscheck(dir.path, 9, "sleep 1");
    await running.hear(/^Round 1 of 9 is over\.$/m);
    await killEach(running, "epoll");
    const { code, stdout, stderr } = await running.end();
    assertEquals(code, 1, stderr);
    assertMatch(stdout, /^ +1 +lab /m);
    assertMatch(stderr, /^lab is left out from round \d on: /m);
    assertEquals(filesIn(dir.path, ".json").length, 1);
    noStack(stderr);
  },
});

Deno.test({
  name: "a probe writes its copies into results/.tmp, whatever TMPDIR says, and removes them",
  ignore,
  fn: async () => {
    using dir = project();
    const { code, stderr } = await runTask("probe", ["backlog", "--quick", "--no-save"], dir.path, {
      TMPDIR: "/var/tmp",
    });
    assertEquals(code, 0, stderr);
    assertEquals(filesIn(dir.path, ".ts"), []);
  },
});
