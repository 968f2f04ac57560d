/** Whatever a command measures: a signal ends it in one way, and what was finished is kept. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { isInstalled } from "../lib/catalogue/tools.ts";
import { networkObstacle } from "../lib/network/namespaces.ts";
import { BrokerProcess, HAS_BROKER } from "../lib/testing/broker.ts";
import { urlOf } from "../lib/testing/fleet.ts";
import { filesIn, project, RunningTask } from "../lib/testing/task.ts";

const ignore = Deno.build.os !== "linux";
const hasNamespaces = await networkObstacle() === null;
const hasWire = navigator.hardwareConcurrency >= 2 && hasNamespaces;
const hasClients = await isInstalled("wrk") && await isInstalled("taskset") && await isInstalled("setpriv");

interface Case {
  task: string;
  args: string[];
  /** What it says once a round is finished. */
  finished: RegExp;
  /** What it then shows on stdout. */
  shown: RegExp;
  /** How the name of a file in results/ ends that keeps the round; null: the command stores nothing. */
  stored: string | null;
  ignore?: boolean;
}

const CASES: Case[] = [
  {
    task: "exp",
    args: ["epoll", "--scenario", "throughput", "--connections", "2,3,4,5,6,7", "--seconds", "0.2"],
    finished: /^throughput 3: /m,
    shown: /^throughput +2 /m,
    stored: ".json",
  },
  {
    task: "measure",
    args: [
      ...["--name", "mine", "--scenario", "throughput", "--connections", "2,3,4,5,6,7", "--seconds", "0.2", "--"],
      ...[Deno.execPath(), "eval", "--no-lock"],
      `Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () => new Response("x"))`,
    ],
    finished: /^throughput 3: /m,
    shown: /^throughput +2 /m,
    stored: ".json",
  },
  {
    task: "stress",
    args: ["epoll", "poll", "select", "--seconds", "1"],
    finished: /^epoll is over: ok\./m,
    shown: /^epoll +10 \+ 10 /m,
    stored: ".json",
  },
  {
    task: "soak",
    args: ["epoll", "poll", "--minutes", "0.1", "--seed", "1"],
    finished: /^poll: /m,
    shown: /^epoll +memory /m,
    stored: ".json",
  },
  {
    task: "soak",
    args: ["poll", "xdp", "--minutes", "0.1", "--seed", "1"],
    finished: /^xdp: /m,
    shown: /^poll +memory /m,
    stored: ".json",
    ignore: !hasNamespaces,
  },
  {
    task: "faults",
    args: ["epoll", "poll", "--fault", "fragments,slow-heads,half-close,pipelines,slow-readers"],
    finished: /^epoll, fragments is over: survived\.$/m,
    shown: /^epoll +fragments +survived /m,
    stored: ".json",
  },
  {
    task: "compare",
    args: ["epoll", "poll", "--rounds", "100", "--connections", "2", "--seconds", "0.5", "--quick"],
    finished: /round 1 of 100: /,
    shown: /^poll +/m,
    stored: ".json",
  },
  {
    task: "sweep",
    args: [
      ...["--name", "mine", "--slo", "p99=1s", "--rates", "10,600", "--rounds", "100"],
      ...["--connections", "10", "--seconds", "3", "--quick", "--", Deno.execPath(), "eval", "--no-lock"],
      `let last = Promise.resolve();
       Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, async () => {
         last = last.then(() => new Promise((resolve) => setTimeout(resolve, 5)));
         await last;
         return new Response("x");
       });`, // it answers up to 200 requests/s
    ],
    finished: /^mine, round 1: /m,
    // The round that was broken off is named, and gives no capacity.
    shown: /^(?![^]*the capacity)[^]*unfinished: round 1\.\n[^]*^mine: 10 requests\/s meet p99=1s, 600 do not\.$/m,
    stored: ".json",
  },
  {
    task: "sweep",
    args: ["epoll", "--connections", "2", "--rates", "100,110,120,130,140,150,160,170,180,190", "--seconds", "1"],
    finished: /^epoll, ladder: 100\/s/m,
    shown: /^epoll +ladder +100 /m,
    stored: ".json",
  },
  {
    task: "scaling",
    args: ["multi-reactor", "--rounds", "100", "--connections", "2", "--seconds", "0.5", "--quick"],
    finished: /round 1 of 100: /,
    shown: /^multi-reactor +1 /m,
    stored: ".json",
    ignore: navigator.hardwareConcurrency < 2,
  },
  {
    task: "probe",
    args: ["backlog", "idle-cpu", "--quick"],
    finished: /^backlog is over\.$/m,
    shown: /^backlog +128 +completed/m,
    stored: ".json",
  },
  {
    task: "readiness",
    args: ["--sizes", "10,20,30,40,50,60,70,80", "--batches", "7"],
    finished: /^20 descriptors…$/m,
    shown: /^epoll_wait +10 /m,
    stored: ".json",
  },
  {
    task: "crosscheck",
    args: ["epoll", "--connections", "2", "--rounds", "100", "--seconds", "1"],
    finished: /^Round 1 of 100 is over\.$/m,
    shown: /^ +1 +lab /m,
    stored: ".json",
    ignore: !hasClients || navigator.hardwareConcurrency < 2,
  },
  {
    task: "c10m",
    args: ["--connections", "4000000"],
    finished: /^connect and ask: /m,
    shown: /^$/,
    stored: null,
    ignore: !hasWire,
  },
  {
    task: "ab",
    args: ["epoll", "--v8-flags=--no-opt", "--rounds", "100", "--connections", "2", "--quick"],
    finished: /round 1 of 100, /,
    shown: /no verdict\. Interrupted after \d+ rounds?[:,] /,
    stored: null,
  },
  {
    task: "fleet",
    args: ["--agents", "4", "--windows", "1000"],
    finished: /^Window 2 of 1000…$/m,
    shown: /^$/,
    stored: null,
    ignore: !HAS_BROKER,
  },
  {
    task: "regress",
    args: ["--experiments", "poll", "--quick"],
    finished: /^poll: round 1 of 10, /m,
    shown: /^$/,
    stored: "regress-run.jsonl",
  },
  {
    task: "selftest:regress",
    args: ["--quick"],
    finished: /^epoll-again: round 1 of /m,
    shown: /^$/,
    stored: "selftest-run.jsonl",
  },
];

for (const [i, { task, args, finished, shown, stored, ignore: cannot = false }] of CASES.entries()) {
  const signal = i % 2 === 0 ? "SIGINT" : "SIGTERM";
  Deno.test({
    name: `${signal} ends ${task} ${
      args[0]
    } with 130: its finished rounds are shown and stored, and nothing is left running`,
    ignore: ignore || cannot,
    fn: async () => {
      using dir = project();
      await using running = new RunningTask(task, args, dir.path);
      await running.hear(finished);
      running.signal(signal);
      const { code, stdout, stderr } = await running.end();
      assertEquals(code, 130, stderr);
      assertMatch(stdout, shown);
      assertMatch(stdout + stderr, /Interrupted/);
      assert(!/^ {4}at /m.test(stderr), stderr); // no stack trace
      assertEquals(running.leftovers(), []);
      if (stored !== null) assert(filesIn(dir.path, stored).length > 0, `no ${stored} in results/`);
      assertEquals(filesIn(dir.path, ".tmp"), []);
    },
  });
}

Deno.test({
  name: "SIGTERM ends claims with 130: the task that it runs is interrupted too, and what is stored is judged",
  ignore,
  fn: async () => {
    using dir = project();
    const probe = "deno run --allow-read --allow-write probe.ts";
    Deno.writeTextFileSync(`${dir.path}/deno.json`, JSON.stringify({ tasks: { probe } }));
    const program = `
      Deno.addSignalListener("SIGTERM", () => {
        Deno.writeTextFileSync("ended.txt", "");
        Deno.exit(130);
      });
      console.error("it measures");
      setInterval(() => {}, 1000);`;
    Deno.writeTextFileSync(`${dir.path}/probe.ts`, program);
    await using running = new RunningTask("claims", ["--only", "T-switch,C-pooling"], dir.path);
    await running.hear(/^it measures$/m);
    running.signal("SIGTERM");
    const { code, stdout, stderr } = await running.end();
    assertEquals(code, 130, stderr);
    assertMatch(stdout, /^T-switch +not measured yet/m);
    assert(Deno.statSync(`${dir.path}/ended.txt`).isFile); // its signal was passed on, and its end waited for
    assertEquals(running.leftovers(), []);
    assertEquals(stderr.match(/^it measures$/gm)!.length, 1); // the next one was not begun
  },
});

Deno.test({
  name: "SIGTERM ends an agent that waits for a run with 130, and nothing is left running",
  ignore: ignore || !HAS_BROKER,
  fn: async () => {
    using dir = project();
    await using broker = await BrokerProcess.start();
    await using running = new RunningTask("agent", ["--nats", urlOf(broker)], dir.path);
    await running.hear(/ waits at /);
    running.signal("SIGTERM");
    const { code, stderr } = await running.end();
    assertEquals(code, 130, stderr);
    assertMatch(stderr, /^Interrupted\.$/m);
    assertEquals(running.leftovers(), []);
  },
});
