import { assert, assertEquals, assertLess, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { find } from "../../../lib/catalogue/catalogue.ts";
import { networkObstacle } from "../../../lib/network/namespaces.ts";
import { processTree, unlessGone } from "../../../lib/sampling/process.ts";
import { linkProc, listProc } from "../../../lib/sampling/procfs.ts";
import type { SoakRow } from "../../../lib/results/rows.ts";
import { readCustom } from "../../../lib/server/custom.ts";
import { PATIENCE_MS, until } from "../../../lib/testing/client.ts";
import { namespaces } from "../../../lib/testing/traces.ts";
import { project, RunningTask } from "../../../lib/testing/task.ts";
import { CLIENTS } from "../crowd.ts";
import { CROWD } from "../fault.ts";
import { type Fault, FAULTS } from "../faults.ts";
import { MIN_POINTS, type Quantity } from "./judge.ts";
import { faultsFor, turnsOf } from "./plan.ts";
import { soak } from "./soak.ts";

const ignore = Deno.build.os !== "linux";
const obstacle = await networkObstacle();
const { signal } = new AbortController();

const programOf = (code: string) => readCustom({ name: "mine" }, [Deno.execPath(), "eval", "--no-lock", code], []);

/** A server that does something at each request. */
const server = (does: string) =>
  programOf(
    `const kept = [];
     let n = 0;
     Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () => {
       ${does}
       return new Response("Hello World");
     });`,
  );

/** A server that does something with each piece that it receives, and answers what it takes for a request. */
const pieceServer = (does: string) =>
  programOf(
    `const answer = new TextEncoder().encode("HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\nx");
     let n = 0;
     async function serve(connection) {
       const buffer = new Uint8Array(4096);
       try {
         for (let got = await connection.read(buffer); got !== null; got = await connection.read(buffer)) {
           const text = new TextDecoder().decode(buffer.subarray(0, got));
           ${does}
           await connection.write(answer);
         }
       } catch { /* the client has gone */ } finally {
         connection.close();
       }
     }
     const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")) });
     for await (const connection of listener) serve(connection);`,
  );

/** A seed of a soak that begins with a fault. */
function seedOf(id: string, faults: readonly Fault[]): number {
  for (let seed = 1;; seed++) if (turnsOf(faults, seed).next().value.fault?.id === id) return seed;
}

const SECONDS = 20;
const QUICK = FAULTS.filter(({ id }) => id === "fragments"); // it asks little, so that a leak has not killed its server
/** What a soak finds with enough points: on a busy machine one takes longer until it has them. */
const verdicts = async (does: string, seconds = SECONDS): Promise<{ rows: SoakRow[]; rising: Quantity[] }> => {
  const plan = { minutes: seconds / 60, seed: 1, signal, quietSeconds: 0.2, faults: QUICK };
  const rows = await soak(server(does), plan);
  const isShort = rows.some(({ values }) => values.length < 2 * MIN_POINTS);
  if (isShort && seconds < 9 * SECONDS) return await verdicts(does, 3 * seconds);
  return { rows, rising: rows.filter(({ verdict }) => verdict === "rising").map(({ quantity }) => quantity) };
};

const LEAKS: Record<string, string> = {
  descriptors: `if (n++ % 20 === 0) kept.push(Deno.openSync("/dev/null"));`,
  memory: `kept.push(new Uint8Array(20_000).fill(1));`,
};
for (const [quantity, does] of Object.entries(LEAKS)) {
  Deno.test({
    name: `a server that leaks ${quantity} is found within seconds`,
    ignore,
    fn: async () => {
      const { rows, rising } = await verdicts(does);
      const row = rows.find((one) => one.quantity === quantity)!;
      assert(rising.includes(quantity as typeof rising[number]), JSON.stringify(row));
      assert(row.requests > 0 && row.values.length === row.at_s.length);
    },
  });
}

Deno.test({
  name: "a server that keeps nothing has no leak",
  ignore,
  fn: async () => {
    const { rows, rising } = await verdicts("");
    const counts = rows.filter(({ quantity }) => quantity === "descriptors" || quantity === "threads");
    assertEquals(counts.map(({ verdict }) => verdict), ["flat", "flat"], JSON.stringify(rows));
    assert(!rising.includes("memory"), JSON.stringify(rows));
  },
});

Deno.test({
  name: "a server that ends is a finding",
  ignore,
  fn: async () => {
    const { rows } = await verdicts(`if (kept.push(1) === 100) Deno.exit(3);`);
    assertEquals(rows[0]!.broken, "the server ended with exit code 3");
  },
});

const brief = { minutes: 0.05, signal, quietSeconds: 0.5 };

Deno.test({
  name: "visitors that are turned away are counted, and end no soak",
  ignore,
  fn: async () => {
    const isVisit = `text.includes("Connection: close")`;
    const turnsAway = pieceServer(`if (${isVisit}) break;`);
    const [row] = await soak(turnsAway, { ...brief, seed: 1, faults: [] });
    assert(row!.visits > 0 && row!.visits_failed === row!.visits, JSON.stringify(row));
    assertEquals([row!.unanswered, row!.broken], [0, null]);
  },
});

Deno.test({
  name: "answers that are lost under a fault are counted, and the server is broken",
  ignore,
  fn: async () => {
    const forgetsHalves = pieceServer(`if (!text.endsWith("\\r\\n\\r\\n")) break;`);
    const [row] = await soak(forgetsHalves, { ...brief, seed: seedOf("fragments", QUICK), faults: QUICK });
    assert(row!.faults.includes("fragments") && row!.owed > 0 && row!.lost === row!.owed, JSON.stringify(row));
    assertEquals(row!.broken, `${row!.lost} of ${row!.owed} answers under faults did not come`);
  },
});

Deno.test({
  name: "a fault that cannot be done to a server is passed over in each turn, and named once",
  ignore,
  fn: async () => {
    const faults = FAULTS.filter(({ id }) => id === "worker-killed");
    const leftOut: string[] = [];
    const turns: (string | undefined)[] = [];
    const stop = new AbortController();
    const soaking = soak(find("epoll"), {
      minutes: 1,
      seed: 1,
      quietSeconds: 0.1,
      faults,
      signal: stop.signal,
      onTurn({ fault }) {
        if (turns.filter((id) => id !== undefined).length === 2) stop.abort(new Error("two turns had the fault"));
        turns.push(fault?.id);
      },
      onLeftOut: ({ id }, reason) => leftOut.push(`${id}: ${reason}`),
    });
    await assertRejects(() => soaking, Error, "two turns had the fault");
    assertEquals(leftOut, ["worker-killed: one process holds all connections: there is no worker to kill"]);
  },
});

Deno.test({
  name: "a server with kernel bypass is soaked too, and its network is gone behind it",
  ignore: obstacle !== null,
  fn: async () => {
    const before = [await namespaces("thread-self"), processTree(Deno.pid)];
    const faults = FAULTS.filter(({ id }) => id === "half-close");
    const [row] = await soak(find("xdp"), { ...brief, seed: seedOf("half-close", faults), faults });
    assert(row!.requests > 0 && row!.visits > 0 && row!.owed > 0, JSON.stringify(row));
    assertEquals([row!.unanswered, row!.visits_failed, row!.lost, row!.broken], [0, 0, 0, null]);
    assertEquals([await namespaces("thread-self"), processTree(Deno.pid)], before);
  },
});

/** How many sockets a process has: a server and its clients have one each for a connection. */
function socketsOf(pid: string): number {
  const descriptors = unlessGone(() => listProc(`/proc/${pid}/fd`)) ?? [];
  const links = descriptors.map((fd) => unlessGone(() => linkProc(`/proc/${pid}/fd/${fd}`)) ?? "");
  return links.filter((link) => link.startsWith("socket:")).length;
}

const SLOW_HEADS_MS = 10_000; // so long the fault takes at the least

Deno.test({
  name: "SIGINT ends a soak in the middle of a fault that takes long",
  ignore,
  fn: async () => {
    using dir = project();
    const seed = seedOf("slow-heads", faultsFor(find("epoll"), FAULTS, true));
    const args = ["epoll", "--minutes", "1", "--seed", String(seed), "--no-save"];
    await using running = new RunningTask("soak", args, dir.path);
    await running.hear(/^epoll: slow-heads/m);
    const isThere = () => running.pids().some((pid) => socketsOf(pid) >= CLIENTS + CROWD);
    await until(isThere, PATIENCE_MS, "the clients of the fault to be connected");
    const fromMs = performance.now();
    running.signal("SIGINT");
    const { code, stderr } = await running.end();
    assertEquals(code, 130, stderr);
    assertLess(performance.now() - fromMs, SLOW_HEADS_MS / 2);
    assertEquals(running.leftovers(), []);
  },
});

Deno.test("equal seeds make equal turns, and others make others", () => {
  const first = (seed: number) => {
    const turns = turnsOf(FAULTS, seed);
    return Array.from({ length: 50 }, () => turns.next().value).map(({ fault, seed }) => `${fault?.id} ${seed}`);
  };
  assertEquals(first(7), first(7));
  assert(first(7).join() !== first(8).join());
  assert(first(7).some((turn) => turn.startsWith("undefined")) && new Set(first(7)).size > 10);
});

Deno.test("no fault of a soak ends its server, needs what is not known, or asks for what is not promised", () => {
  const epoll = faultsFor(find("epoll"), FAULTS, true);
  assert(epoll.length > 5 && epoll.every(({ ends }) => !ends));
  assert(faultsFor(find("epoll"), FAULTS, false).every(({ needsPid }) => !needsPid));
  const blocking = faultsFor(find("blocking"), FAULTS, true);
  assert(blocking.every(({ abilities }) => !abilities.includes("serve-others")));
  const netty = faultsFor(find("java-netty"), FAULTS, true).map(({ id }) => id); // it may be late, and loses nothing
  for (const id of ["slow-readers", "pipelines"]) assert(netty.includes(id), netty.join());
});

Deno.test({
  name: "the command prints its seed, a table, the rule and one sentence; a few points are inconclusive",
  ignore,
  fn: async () => {
    using dir = project();
    await using running = new RunningTask("soak", ["epoll", "--minutes", "0.05", "--seed", "3", "--no-save"], dir.path);
    const { code, stdout, stderr } = await running.end();
    assertEquals(code, 3, stdout + stderr);
    assertStringIncludes(stderr, "Seed 3.");
    assertMatch(stdout, /^epoll +memory +unclear /m);
    assertMatch(stdout.replaceAll("\n", " "), /flat: over the second half .* Unclear after \d+ faults? at 1 server/);
  },
});
