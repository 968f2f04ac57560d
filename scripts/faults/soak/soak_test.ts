import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { find } from "../../../lib/catalogue/catalogue.ts";
import { readCustom } from "../../../lib/server/custom.ts";
import { project, RunningTask } from "../../../lib/testing/task.ts";
import { FAULTS } from "../faults.ts";
import { faultsFor, turnsOf } from "./plan.ts";
import { soak } from "./soak.ts";

const ignore = Deno.build.os !== "linux";
const { signal } = new AbortController();

/** A server that does something at each request. */
const server = (does: string) =>
  readCustom({ name: "mine" }, [
    ...[Deno.execPath(), "eval", "--no-lock"],
    `const kept = [];
     let n = 0;
     Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () => {
       ${does}
       return new Response("Hello World");
     });`,
  ], []);

const SECONDS = 20;
const QUICK = FAULTS.filter(({ id }) => id === "fragments"); // it asks little, so that a leak has not killed its server
const verdicts = async (does: string) => {
  const plan = { minutes: SECONDS / 60, seed: 1, signal, quietSeconds: 0.2, faults: QUICK };
  const rows = await soak(server(does), plan);
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
