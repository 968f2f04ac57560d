/** What c10m says before, during and after a run; and a run of a few thousand connections where namespaces can be made. */
import { assertEquals, assertLess, assertMatch, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { networkObstacle } from "../../lib/network/namespaces.ts";
import type { Progress } from "./client.ts";
import { type Outcome, parseWrk, progressLine } from "./measure.ts";
import { memoryObstacle, neededBytes } from "./memory.ts";
import { failuresOf, rowsOf, summary } from "./report.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const GIB = 2 ** 30;
const obstacle = await networkObstacle();

const progress = (change: Partial<Progress>): Progress => ({
  ...{
    event: "progress",
    mode: "native",
    done: 0,
    lost: 0,
    answered: 0,
    held: null,
    seconds: 0,
    packets: {},
    losses: {},
  },
  ...change,
});

const outcome: Outcome = {
  connections: 1000,
  mode: "generic",
  phases: [{ name: "connect and ask", seconds: 2, done: 1000, serverCpuUs: 5.25, clientCpuUs: 6 }],
  held: 998,
  answered: 1998,
  lost: 2,
  losses: { ECONNRESET: 2 },
  serverErrors: {},
  kernelClient: { alone: { requestsPerS: 1000.4, p99Us: 900 }, beside: { requestsPerS: 900, p99Us: 1200 } },
  retransmissions: 7,
  serverBytesPerConnection: 20.04,
};

Deno.test("as many connections fit as the refusal of too many says", () => {
  assertEquals(memoryObstacle(10_000_000, 4 * GIB), null);
  const refusal = memoryObstacle(1_000_000_000, 4 * GIB)!;
  const fit = Number(/--connections (\d+) at most/.exec(refusal)?.[1]);
  assertEquals([memoryObstacle(fit, 4 * GIB), memoryObstacle(fit + 1, 4 * GIB) === null], [null, false]);
  assertLess(neededBytes(fit), 4 * GIB);
});

Deno.test("progress tells how many, how fast, and how long it will take", () => {
  assertEquals(progressLine("ask", progress({}), 1000), "ask: 0 of 1 000, 0/s");
  const line = progressLine("ask", progress({ done: 600, lost: 100, losses: { ECONNRESET: 100 }, seconds: 2 }), 1000);
  assertEquals(line, "ask: 600 of 1 000, 300/s, 1 s left, 100 lost (ECONNRESET)");
});

Deno.test("the summary ends in a sentence with what was held, answered and lost, and why", () => {
  assertMatch(summary(outcome), /^connect and ask +2\.0 s +500\/s .*server 5\.3, client 6\.0$/m);
  assertMatch(summary(outcome), /^wrk beside +900 requests\/s, p99 1 200 µs$/m);
  assertMatch(summary(outcome), /held 998 of 1 000 .* 1 998 requests; 2 were lost \(ECONNRESET 2\); 20\.0 bytes/);
});

Deno.test("whatever is missing of a run makes it fail, each for itself", () => {
  const whole: Outcome = { ...outcome, held: 1000, answered: 2000, lost: 0, losses: {} };
  assertEquals(failuresOf(whole), []);
  const [phase] = whole.phases;
  const short: [Partial<Outcome>, string][] = [
    [{ lost: 1 }, "1 connections were lost"],
    [{ held: 999 }, "1 were not held"],
    [{ answered: 1990 }, "10 requests were not answered"],
    [{ phases: [phase!, { ...phase!, name: "close", done: 998 }] }, 'in "close" 2 did not do it'],
  ];
  for (const [change, says] of short) {
    assertEquals(failuresOf({ ...whole, ...change }), [says]);
    assertMatch(summary({ ...whole, ...change }), RegExp(`^failed: ${says}$`, "m"));
  }
});

Deno.test("what wrk says is read in µs, and an error is none of it", () => {
  const said =
    "  Latency Distribution\n     50%  727.00us\n     99%   21.22ms\n  5 requests in 5.00s\nRequests/sec:  41546.72\n";
  assertEquals(parseWrk(said), { requestsPerS: 41_546.72, p99Us: 21_220 });
  assertThrows(() => parseWrk(said + "  Socket errors: connect 0, read 1\n"));
});

Deno.test("each figure is a row with a name that says its unit", () => {
  const rows = rowsOf(outcome);
  assertEquals(rows.map(({ metric, value }) => [metric, value]), [
    ["connect_and_ask_seconds", 2],
    ["connect_and_ask_server_cpu_us_per_connection", 5.25],
    ["connect_and_ask_client_cpu_us_per_connection", 6],
    ["held", 998],
    ["answered", 1998],
    ["lost", 2],
    ["retransmissions", 7],
    ["server_bytes_per_connection", 20.04],
    ["wrk_alone_requests_per_s", 1000.4],
    ["wrk_alone_p99_us", 900],
    ["wrk_beside_requests_per_s", 900],
    ["wrk_beside_p99_us", 1200],
  ]);
});

Deno.test({
  name: `5 000 connections are held, answered twice and closed${obstacle === null ? "" : ` (${obstacle})`}`,
  ignore: obstacle !== null,
  async fn() {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, "--connections", "5000", "--hold", "0", "--no-save", "--json"],
      cwd: ROOT,
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const { held, answered, lost } = JSON.parse(new TextDecoder().decode(stdout)) as Outcome;
    assertEquals([held, answered, lost], [5000, 10_000, 0]);
  },
});
