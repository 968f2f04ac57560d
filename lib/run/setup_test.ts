import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UsageError } from "../cli/errors.ts";
import type { Cpu } from "../sampling/cores.ts";
import { find } from "../catalogue/catalogue.ts";
import {
  coresOf,
  describeCores,
  describeScaling,
  onePair,
  readSetup,
  setupFlags,
  setupOf,
  workersOn,
} from "./setup.ts";

const cpus = (...ids: number[]): Cpu[] => ids.map((id) => ({ id, siblings: [id], package: 0, capacity: null }));

/** Physical cores with two hardware threads each, numbered as most servers do: 0 and n, 1 and n + 1, … */
const threaded = (cores: number): Cpu[] =>
  Array.from({ length: 2 * cores }, (_, id) => {
    const first = id % cores;
    return { id, siblings: [first, first + cores], package: 0, capacity: null };
  });
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

Deno.test("by default the server has half of the physical cores and the load the other half; on two one each", () => {
  assertEquals(coresOf({}, cpus(0, 1)), { server: [0], load: [1] });
  assertEquals(coresOf({}, cpus(0, 1, 2, 3)), { server: [0, 1], load: [2, 3] });
  assertEquals(coresOf({}, threaded(4)), { server: [0, 1], load: [2, 3] });
  assertEquals(coresOf({}, cpus(...range(0, 64))), { server: range(0, 32), load: range(32, 64) });
  assertEquals(coresOf({}, threaded(32)), { server: range(0, 16), load: range(16, 32) });
  assertEquals(coresOf({}, cpus(5)), null);
  assertEquals(coresOf({}, []), null);
});

Deno.test("of a cpuset only the cores in it are used, and a core of which it has one thread counts as a whole one", () => {
  const inSet = threaded(8).filter(({ id }) => [2, 3, 10, 6].includes(id)); // 2 and 10 are one core
  assertEquals(coresOf({}, inSet), { server: [2, 3], load: [6] });
  assertEquals(workersOn(find("multi-reactor"), coresOf({}, inSet)!.server.length), ["--workers", "2"]);
});

Deno.test("named cores win over the plan, and what needs one core for each side has it on any machine", () => {
  assertEquals(coresOf({ server_cores: "0", load_cores: "2-3" }, cpus(0, 1, 2, 3)), { server: [0], load: [2, 3] });
  assertEquals(onePair(cpus(0, 1)), { server_cores: "0", load_cores: "1" });
  assertEquals(onePair(cpus(...range(0, 8))), { server_cores: "0", load_cores: "4" });
  assertEquals(onePair(cpus(5)), {});
});

Deno.test("cores that are named as the plan has them are the default", () => {
  assertEquals(readSetup({ "server-cores": "0", "load-cores": "1" }, cpus(0, 1)), {});
  assertEquals(readSetup({ "server-cores": "0-1" }, cpus(0, 1, 2, 3)), {});
  assertEquals(readSetup({ "load-cores": "3,2", head: "minimal" }, cpus(0, 1, 2, 3)), { head: "minimal" });
});

Deno.test("what is not named stays at its default; what is named can be named again", () => {
  assertEquals(readSetup({}, cpus(0, 1)), {});
  const setup = readSetup({ "server-cores": "0,2-3", "load-cores": "1", head: "minimal" }, cpus(0, 1, 2, 3));
  assertEquals(setup, { server_cores: "0,2-3", load_cores: "1", head: "minimal" });
  assertEquals(setupFlags(setup), ["--server-cores", "0,2-3", "--load-cores", "1", "--head", "minimal"]);
  assertEquals(setupOf({ ...setup }), setup);
});

Deno.test("the side that is not named gets the cores that are left", () => {
  assertEquals(readSetup({ "server-cores": "1" }, cpus(0, 1)), { server_cores: "1", load_cores: "0" });
  assertEquals(readSetup({ "load-cores": "0" }, cpus(0, 1, 2)), { server_cores: "1-2", load_cores: "0" });
});

Deno.test("cores that are not there, overlap, or are no list are refused with the cause", () => {
  const refused = (flags: Parameters<typeof readSetup>[0], says: string, of = cpus(0, 1)) =>
    assertThrows(() => readSetup(flags, of), UsageError, says);
  refused({ "server-cores": "7" }, "Core 7 is not among those of this process: 0-1.");
  refused({ "server-cores": "0-1", "load-cores": "1" }, "--server-cores and --load-cores overlap: core 1");
  refused({ "server-cores": "0-1" }, "No core is left for the other side.");
  for (const text of ["x", "1-", "-1", "3-1", "0,,1", "99999"]) {
    refused({ "load-cores": text }, `--load-cores ${text} is not a list of cores such as 0,2-3.`);
  }
  refused({ "load-cores": "0" }, "Cores can be named on Linux only", []);
  refused({ head: "usual" }, "--head usual is none of minimal, client, browser.");
});

Deno.test("a server that has a worker for each core gets as many as it has cores; others have a number of their own", () => {
  assertEquals(workersOn(find("multi-reactor"), 3), ["--workers", "3"]);
  assertEquals(workersOn(find("reactor-pool"), 1), ["--workers", "1"]);
  for (const name of ["prefork", "worker-pool", "epoll", "go-net"]) assertEquals(workersOn(find(name), 3), [], name);
});

Deno.test("how scaling shares out the cores is one sentence", () => {
  assertStringIncludes(describeScaling(cpus(0, 1)), "1, 2 server cores of 0-1; the load runs on the same cores");
  assertStringIncludes(describeScaling(cpus(0, 1, 2, 3)), "1, 2, 3 server cores of 0-2; the load runs on core 3");
  assertStringIncludes(describeScaling(cpus(5)), "needs two physical cores");
});

Deno.test("the plan of cores is one sentence", () => {
  assertStringIncludes(describeCores(cpus(0, 1)), "the server runs on core 0 and the load on core 1");
  const four = "the server runs on cores 0-1 and the load on cores 2-3";
  assertStringIncludes(describeCores(cpus(0, 1, 2, 3)), four);
  assertStringIncludes(describeCores(threaded(4)), four);
  assertStringIncludes(describeCores(cpus(0, 1, 2)), "the server runs on cores 0-1 and the load on core 2");
  assertStringIncludes(describeCores(cpus(5)), "share it");
  assertStringIncludes(
    describeCores(threaded(1)),
    "They are two hardware threads of one core, so that each slows the other.",
  );
});
