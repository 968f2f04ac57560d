import { assert, assertEquals, assertMatch } from "@std/assert";
import { find } from "../../lib/catalogue/catalogue.ts";
import { connectionsFor } from "../../lib/results/conventions.ts";
import { cpusHere } from "../../lib/run/setup.ts";
import { planScaling } from "../../lib/sampling/cores.ts";
import type { Found } from "../../lib/results/findings.ts";
import { boundOfSpeedUp, describeScalingRows, scalingTable, speedUps } from "../../lib/tables/scaling.ts";
import { found, scaled, storedOf } from "../../lib/testing/fixtures.ts";
import { type Round, rowOf, scale, sharesIn, threadShares } from "./scaling.ts";

const plan = { steps: [[0], [0, 1]], load: [0, 1], shared: true };
const task = { subject: find("multi-reactor"), plan, path: "/work/100", connections: 100 };
const side = (requests_per_s: number, shares: number[], findings: Found[] = []): Round["one"] => ({
  requests_per_s,
  cpu_us_per_request: 110,
  shares,
  sharesOf: "requests",
  findings,
});
const round = (speedUp: number): Round => ({
  one: side(9000, [1]),
  many: side(9000 * speedUp, [0.55, 0.45]),
  speedUpLog: Math.log(speedUp),
  cpuLog: 0,
  findings: [],
});

Deno.test("the row of a step has the ratio over rounds with its interval, and the shares of its loops", () => {
  const rounds = [1.7, 1.8, 1.9, 1.8, 1.75, 1.85, 1.8].map(round);
  const one = rowOf(task, [0], rounds, null);
  assertEquals([one.cores, one.speed_up, one.speed_up_low, one.requests_per_s, one.shares], [1, 1, null, 9000, [1]]);
  const two = rowOf(task, [0, 1], rounds, null);
  assertEquals([two.cores, two.server_cores, two.load_cores, two.shared, two.rounds], [2, "0-1", "0-1", true, 7]);
  assertEquals([two.speed_up, two.speed_up_low, two.speed_up_high].map((of) => of!.toFixed(2)), [
    "1.80",
    "1.70",
    "1.90",
  ]);
  assertEquals([two.cpu_ratio, two.shares, two.reason], [1, [0.55, 0.45], null]);
  const few = rowOf(task, [0, 1], rounds.slice(0, 3), null);
  assertEquals([few.speed_up_low, few.speed_up_high], [null, null]);
  const none = rowOf(task, [0, 1], [], "it needs gcc");
  assertEquals([none.speed_up, none.requests_per_s, none.shares, none.reason], [null, null, [], "it needs gcc"]);
});

Deno.test("the table fits 80 columns, names who is excluded, and ends with the speed-ups", () => {
  const rows = storedOf(
    scaled("multi-reactor", [1.8, 1.7, 1.9], [0.55, 0.45]),
    scaled("go-net", [1.9, 1.8, 2], [0.5, 0.5]),
  ).studies.scaling[0]!.rows;
  const out = { ...rowOf(task, [0], [], "it has no /work"), server: "nginx" };
  const { table, sentences } = describeScalingRows([...rows, out], 80);
  assert(table.split("\n").every((line) => line.length <= 80), table);
  assertMatch(sentences.join("\n"), /^nginx is excluded: it has no \/work\.$/m);
  assertEquals(
    sentences.at(-1),
    "Requests/s against one core: go-net ≥ × 1.90 [1.80, 2.00] on 2 cores; multi-reactor ≥ × 1.80 [1.70, 1.90] on 2 cores.",
  );
  assertEquals(speedUps([out]), null);
  const markdown = scalingTable({ rows: [...rows, out], command: "deno task scaling", quick: false });
  assertMatch(markdown, /\| multi-reactor \| 2 \| 16 200 \| ≥ 1\.80 \[1\.70, 1\.90\] \|/);
});

Deno.test("each row has the findings of its own side, and a side that was limited makes the speed-up a bound", () => {
  const bound = [found("multi-reactor", "client_bound")];
  const rounds = [1.4, 1.4, 1.4].map((speedUp) => ({ ...round(speedUp), many: side(12_600, [0.5, 0.5], bound) }));
  const own = { ...task, plan: { ...plan, load: [2], shared: false } };
  const [one, two] = [[0], [0, 1]].map((cores) => rowOf(own, cores, rounds, null));
  assertEquals([one!.findings, two!.findings], [[], bound]);
  assertEquals([boundOfSpeedUp(one!, one), boundOfSpeedUp(two!, one)], [null, "at least"]);
  const limited = { ...one!, findings: bound };
  assertEquals(boundOfSpeedUp(two!, limited), null); // both are lower bounds
  assertEquals(boundOfSpeedUp({ ...two!, findings: [] }, limited), "at most");
  assertEquals(boundOfSpeedUp({ ...two!, findings: [] }, one), null);
  const { table, sentences } = describeScalingRows([one!, two!], 80);
  assertMatch(table, /≥ 1\.40/);
  assertEquals(sentences[1], "client_bound: multi-reactor on 2 cores.");
});

Deno.test("shares of loops add up; of threads those that did not serve are left out, however many serve", () => {
  assertEquals(sharesIn([30, 0, 10]), [0.75, 0.25, 0]);
  assertEquals(sharesIn([0, 0]), []);
  assertEquals(threadShares(Array(100).fill(7)).length, 100); // a hundredth each, of a hundred processes
  assertEquals(threadShares([500, 480, 1, 2, 0]).length, 2);
});

Deno.test("of two loops a hundred connections are enough, of more each needs more", () => {
  assertEquals([1, 2, 4, 8, 64].map(connectionsFor), [0, 100, 400, 1200, 19_200]);
});

const here = Deno.build.os === "linux" ? planScaling(cpusHere(), true) : null;

Deno.test({
  name: "a loop for each server core answers, and tells its share of the requests; what cannot run here has its reason",
  ignore: here === null,
  fn: async () => {
    const cores = here!.steps.slice(0, 2);
    const extent = { rounds: 1, slices: 2, seconds: 0.5, settleSeconds: 0.5 };
    const real = { ...task, plan: { ...here!, steps: cores }, connections: 8 };
    const missing = { ...real, subject: find("iocp") };
    const rounds: string[] = [];
    const never = new AbortController().signal;
    const { rows, failures } = await scale(
      [real, missing],
      extent,
      never,
      (_, many, nth) => rounds.push(`${many} ${nth}`),
    );
    assertEquals(rounds, ["2 1", "2 2"].slice(0, Math.max(1, rounds.length))); // made again where others disturb it
    assertEquals(failures.map(({ subject, ended }) => [subject.name, ended]), [["iocp", "skipped"]]);
    const [one, two] = rows;
    assertEquals([one!.server, one!.cores, one!.shares_of, one!.shares], ["multi-reactor", 1, "requests", [1]]);
    assertEquals([two!.cores, two!.shares_of, two!.rounds > 0], [2, "requests", true]);
    assert(two!.shares.length <= 2 && Math.abs(two!.shares.reduce((sum, of) => sum + of, 0) - 1) < 0.02);
    assert(two!.requests_per_s! > 0 && two!.speed_up! > 0 && two!.cpu_us_per_request! > 50);
    assertMatch(rows.at(-1)!.reason!, /Windows/);
  },
});

Deno.test({
  name: "a server that does not count by loops shows the CPU time of its threads",
  ignore: here === null,
  fn: async () => {
    const cores = here!.steps.slice(0, 2);
    const extent = { rounds: 1, slices: 2, seconds: 0.5, settleSeconds: 0.5 };
    const pool = { ...task, subject: find("reactor-pool"), plan: { ...here!, steps: cores }, connections: 8 };
    const { rows } = await scale([pool], extent, new AbortController().signal);
    const two = rows.at(-1)!;
    assertEquals([two.server, two.cores, two.shares_of], ["reactor-pool", 2, "cpu"]);
    assert(two.shares.length >= 2 && two.shares.every((of, i) => of <= (two.shares[i - 1] ?? 1)), two.shares.join());
  },
});

Deno.test("one round that counts and that others disturbed makes the ratios inconclusive", () => {
  const taken = [found("multi-reactor", "foreign_load")];
  const disturbed = { ...round(1.8), many: side(16_200, [0.5, 0.5], taken), findings: taken };
  const rows = [[0], [0, 1]].map((cores) => rowOf(task, cores, [round(1.8), round(1.8), disturbed], null));
  assertEquals(rows.map(({ findings }) => findings), [[], taken]);
  const { table, sentences } = describeScalingRows(rows, 80);
  assertMatch(table, /110\.00 +– /);
  assert(sentences.includes("multi-reactor: inconclusive: others used the machine."), sentences.join("\n"));
});
