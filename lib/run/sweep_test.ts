import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { UsageError } from "../cli/errors.ts";
import {
  bisected,
  Bisection,
  capacity,
  capacityRatio,
  COMPARED_CLOSENESS,
  knee,
  nextRate,
  readSlo,
} from "../results/capacity.ts";
import { newResult } from "../results/results.ts";
import type { SweepRow } from "../results/rows.ts";
import { describeCapacities, describeSweep, isUnknown, sweepTable, sweptOf } from "../tables/sweep.ts";
import { HOST } from "../testing/fixtures.ts";
import { seededRandom } from "../timing/random.ts";
import { CannotSweep, sweep, type SweepPlan } from "./sweep.ts";

/** What a made-up server answers at a rate: its p99 is 1 ms at no load and grows without bound towards `limit`, as that of a queue does. */
function answerOf(limit: number, rate: number) {
  const p99_us = rate < limit ? 1000 / (1 - rate / limit) : 1e6;
  return { requests_per_s: Math.min(rate, limit * 0.9), p50_us: p99_us / 4, p99_us, p99_9_us: 2 * p99_us };
}

type Answer = ReturnType<typeof answerOf>;

/** Runs of made-up servers. @param answer Null: it does not run here. */
const runOf =
  (answer: (server: string, rate: number | undefined) => Answer | null): SweepPlan["run"] =>
  (experiment, { scenario, parameters }) => {
    const metrics = answer(experiment, parameters.rate_per_s);
    const end = metrics === null
      ? { ended: "skipped", reason: "it needs gcc" } as const
      : { ended: "ok", reason: null } as const;
    const common = { experiment, family: "readiness", host: HOST, histogram: null, findings: [], command: "" };
    return Promise.resolve(newResult({ ...common, scenario, parameters, metrics: metrics ?? {}, ...end }));
  };

/** Sweeps made-up servers, each with its limit; null: it does not run here. */
async function sweptAll(limits: Record<string, number | null>, more: Partial<SweepPlan> = {}) {
  const rows: SweepRow[] = [];
  const run = runOf((server, rate) => limits[server] == null ? null : answerOf(limits[server], rate ?? limits[server]));
  const plan = { connections: 10, seconds: 1, warmupSeconds: 0, rates: null, slo: null, rounds: 7, seed: 1, setup: {} };
  const onRow = (row: SweepRow) => void rows.push(row);
  const failed = await sweep(Object.keys(limits), { ...plan, quick: false, run, onRow, ...more });
  return { rows, failed };
}

const swept = async (limit: number, more: Partial<SweepPlan> = {}) => (await sweptAll({ epoll: limit }, more)).rows;

Deno.test("an objective is read, and refused where it is none", () => {
  assertEquals(readSlo("p99=5ms"), { percentile: "p99_us", us: 5000, text: "p99=5ms" });
  assertEquals(readSlo("p99.9=0.5s").us, 5e5);
  for (const text of ["p99", "p98=5ms", "p99=0ms", "p99=5", "p99=-1ms"]) assertThrows(() => readSlo(text), UsageError);
});

Deno.test("a ladder ends where the server saturates, and the knee lies before latency bends", async () => {
  const rows = await swept(10_000);
  assert(rows.every(({ round }) => round === 0));
  assertEquals(knee(rows), 8100);
  assertEquals((await swept(10_000, { rates: [1000, 20_000, 30_000] })).map((of) => of.rate_per_s), [1000, 20_000]);
});

Deno.test("the capacity is found by bisection within its closeness, with an interval over the rounds", async () => {
  const slo = readSlo("p99=2ms"); // met up to half of the limit
  const rows = await swept(10_000, { slo });
  const { interval, rounds } = capacity(rows, slo);
  assertEquals(rounds, 7);
  const { estimate, low, high } = interval!;
  assert(low! > 4700 && low! <= 5000 && high! > 5000 && high! < 5300, `${low} to ${high}`);
  assert(low! < estimate && estimate < high!, String(estimate));
  const { table, sentences } = describeSweep(rows, slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80));
  assertMatch(
    sentences.at(-1)!,
    /^epoll: the capacity at p99=2ms is [45] \d{3} requests\/s \(98 % interval 4 \d{3} to 5 \d{3}, 7 rounds\)\.$/,
  );
});

Deno.test("a ladder that lies on one side of the objective goes on; where that does not help there is a bound", async () => {
  const low = readSlo("p99=1us");
  const none = await swept(10_000, { slo: low });
  assertEquals(none.map((of) => of.rate_per_s).toSorted((a, b) => a - b).slice(0, 2), [4, 14]);
  assertStringIncludes(describeSweep(none, low, 80).sentences.at(-1)!, "not even 4 requests/s");
  const high = readSlo("p99=9s");
  const rows = await swept(10_000, { slo: high, rates: [100, 200] });
  assertEquals(rows.length, 2);
  assertStringIncludes(describeSweep(rows, high, 80).sentences.at(-1)!, "at least 200 requests/s");
  assertStringIncludes(describeSweep(rows, null, 80).sentences.at(-1)!, "no knee up to 200 requests/s");
});

Deno.test("a server whose objective lies far below a tenth of its throughput is bisected there", async () => {
  const slo = readSlo("p99=1010us"); // met up to a hundredth of the limit
  const { low, high } = capacity(await swept(10_000, { slo }), slo).interval!;
  assert(low! <= 99 && low! > 94 && high! >= 100 && high! < 106, `${low} to ${high}`);
});

Deno.test("bisection works on ratios, and tries an end that it runs into, and beyond it", () => {
  const between = { low: 100, high: 400 };
  const next = (...tried: [rate: number, isMet: boolean][]) =>
    nextRate(tried.map(([rate, isMet]) => ({ rate, isMet })), between, 0.05);
  assertEquals(next(), 200);
  assertEquals(next([200, true], [400, false]), Math.sqrt(200 * 400));
  assertEquals(next([200, true], [208, false]), null);
  assertEquals(next([104, false]), 100);
  assertEquals(next([104, false], [100, false]), 100 / 1.5);
  assertEquals(next([390, true]), 400);
  assertEquals(next([390, true], [400, true]), 600);
});

Deno.test("the capacity of every round is found also where the ladder was wrong about it", async () => {
  const slo = readSlo("p99=2ms");
  const rates = [1000, 14_000, 16_000];
  let points = 0; // the ladder sees a faster server
  const run = runOf((_, rate) => answerOf(points++ < rates.length ? 30_000 : 10_000, rate!));
  const { rows } = await sweptAll({ epoll: 10_000 }, { slo, rates, run });
  const found = [...bisected(rows, slo).found.values()];
  assertEquals(found.length, 7);
  for (const { met, failed } of found) {
    assert(met! > 4700 && met! <= 5000 && failed! > 5000 && failed! <= met! * 1.05 + 1, `${met} to ${failed}`);
  }
});

Deno.test("several servers have one table and one answer, and one that does not run here is named", async () => {
  const slo = readSlo("p99=2ms");
  const { rows, failed } = await sweptAll({ epoll: 10_000, missing: null, "go-net": 40_000 }, { slo });
  assertEquals(failed.map(({ server, ended }) => [server, ended]), [["missing", "skipped"]]);
  assert(failed[0] instanceof CannotSweep);
  const { table, sentences } = describeSweep(rows, slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80), table);
  assertEquals(table.split("\n").filter((line) => /^(epoll|go-net)/.test(line)).length, 2, table);
  assertMatch(
    sentences.at(-1)!,
    /^Capacity at p99=2ms, requests\/s with 98 % interval: go-net (19|20) \d{3} \[19 \d{3} to 20 \d{3}\]; epoll [45] \d{3} \[4 \d{3} to 5 \d{3}\]\.$/,
  );
});

Deno.test("capacities are compared by rounds, with a verdict", async () => {
  const slo = readSlo("p99=2ms");
  const { rows } = await sweptAll({ epoll: 10_000, same: 10_000, half: 5000, twice: 20_000 }, {
    slo,
    closeness: COMPARED_CLOSENESS,
  });
  const cases = [["same", "not slower", 1], ["half", "slower", 0.5], ["twice", "not slower", 2]] as const;
  for (const [name, says, times] of cases) {
    const { ratio, rounds, verdict } = capacityRatio(rows, "epoll", name, slo);
    assertEquals([rounds, verdict], [7, says], name);
    const { estimate, low, high } = ratio!;
    assert(low! < times && times < high!, `${name}: ${low} to ${high}`);
    assert(low! < estimate && estimate < high!, `${name}: ${estimate}`);
  }
  const { table, sentences } = describeCapacities(rows, "epoll", slo, 80);
  assert(table.split("\n").every((line) => line.length <= 80), table);
  assertMatch(
    sentences[1]!,
    /^half answers × 0\.(49|50)\d \[.*\] of the requests\/s of epoll at p99=2ms, 7 rounds: slower\.$/,
  );
  const few = rows.filter(({ round }) => round < 3);
  const { verdict, reason } = capacityRatio(few, "epoll", "half", slo);
  assertEquals([verdict, reason], ["inconclusive", "too few rounds for an interval"]);
  const weak = rows.map((row): SweepRow => ({ ...row, findings: [{ server: row.server, id: "foreign_load" }] }));
  const half = capacityRatio(weak, "epoll", "half", slo); // it may have failed by others
  assertEquals([half.verdict, half.reason], ["inconclusive", "the capacity of half is a lower bound"]);
  const none = capacityRatio(rows, "epoll", "missing", slo);
  assertEquals([none.ratio, none.rounds, none.verdict], [null, 0, "inconclusive"]);
});

Deno.test("a capacity is a lower bound where the rates that fail may fail by the load", async () => {
  const slo = readSlo("p99=2ms");
  const { rows } = await sweptAll({ epoll: 10_000 }, { slo });
  const weak = (change: (row: SweepRow) => boolean): SweepRow[] =>
    rows.map((row) => change(row) ? { ...row, findings: [{ server: "epoll", id: "client_bound" }] } : row);
  const isBound = (of: SweepRow[]) => sweptOf(of, slo)[0]!.isBound;
  assertEquals(isBound(rows), false);
  assertEquals(isBound(weak(({ round }) => round === 0)), false); // the top of the ladder decides nothing
  assertEquals(isBound(weak(({ rate_per_s }) => rate_per_s <= 5000)), false); // these met it
  const failing = weak(({ rate_per_s }) => rate_per_s > 5000);
  assertEquals(isBound(failing), true);
  const { sentences } = describeSweep(failing, slo, 80);
  assertStringIncludes(sentences.join("\n"), "epoll: what fails may fail by the load generator");
});

Deno.test("where even the lowest rate may have failed by others nothing is known, and nothing is said of the server", async () => {
  const slo = readSlo("p99=1us");
  const rows = await swept(10_000, { slo });
  assertEquals(sweptOf(rows, slo).map(isUnknown), [false]);
  const disturbed = rows.map((row): SweepRow => ({ ...row, findings: [{ server: "epoll", id: "foreign_load" }] }));
  assertEquals(sweptOf(disturbed, slo).map(isUnknown), [true]);
  const { sentences } = describeSweep(disturbed, slo, 80);
  assertMatch(sentences.at(-1)!, /^epoll: inconclusive, as even the lowest rate may have failed by .* measure again/);
  assert(!sentences.join().includes("not even"), sentences.join("\n"));
  assertMatch(sweepTable({ rows: disturbed, command: "x", quick: false }), /^\| epoll \| – \|/m);
});

Deno.test("a stored sweep in Markdown has the capacities and the latencies of the ladders", async () => {
  const slo = readSlo("p99=2ms");
  const { rows } = await sweptAll({ epoll: 10_000, "go-net": 40_000 }, { slo });
  const text = sweepTable({ rows, command: "deno task sweep", quick: false });
  assertMatch(text, /\| go-net \| (19|20) \d{3} \| 19 \d{3} to 20 \d{3} \| 7 \|/);
  assertMatch(text, /\| epoll \| ladder \| 900 \| 900 \|/);
  assertStringIncludes(text, "Reproduce: `deno task sweep`.");
  assertEquals(
    sweepTable({ rows: rows.map((row) => ({ ...row, slo: null })), command: "", quick: true }).includes("98 %"),
    false,
  );
});

/** A row of a bisection at a server with a capacity of 100 requests/s. */
const step = (round: number, rate_per_s: number, more: Partial<SweepRow> = {}): SweepRow => ({
  server: "epoll",
  connections: 10,
  round,
  rate_per_s,
  answered_per_s: rate_per_s,
  p50_us: 1000,
  p99_us: rate_per_s <= 100 ? 1000 : 9000,
  p99_9_us: 9000,
  server_core_share: 0.5,
  ended: "ok",
  slo: "p99=5ms",
  findings: [],
  ...more,
});

const LADDER = [step(0, 50), step(0, 300)];

Deno.test("a round counts where it brackets the capacity; one that was broken off is left out, and that is said", () => {
  const slo = readSlo("p99=5ms");
  const whole = [1, 2].flatMap((round) => [step(round, 100), step(round, 122), step(round, 104)]);
  const cut = [[step(3, 122)], [step(4, 100), step(4, 122)], [step(5, 80)]].flat(); // only failed; too wide; only met
  const { interval, rounds, unfinished } = capacity([...LADDER, ...whole, ...cut], slo);
  assertEquals([interval!.estimate, rounds, unfinished], [Math.sqrt(100 * 104), 2, [3, 4, 5]]);
  const { sentences } = describeSweep([...LADDER, ...whole, ...cut], slo, 80);
  assert(sentences.includes("epoll: left out, as unfinished: rounds 3, 4, 5."), sentences.join("\n"));
  assertEquals(sentences.at(-1), "epoll: the capacity at p99=5ms is 102 requests/s (no interval from 2 rounds).");
  const interrupted = describeSweep([...LADDER, ...cut], slo, 80).sentences;
  assertEquals(interrupted.at(-1), "epoll: 50 requests/s meet p99=5ms, 300 do not.");
  const compared = [...LADDER, ...whole, ...cut].flatMap((row) => [row, { ...row, server: "same" }]);
  assertEquals(capacityRatio(compared, "epoll", "same", slo).rounds, 2);
  const narrow = whole.map((row) => ({ ...row, closeness: 0.005 })); // it was to end closer
  assertEquals(capacity([...LADDER, ...narrow], slo).unfinished, [1, 2]);
});

Deno.test("a bisection that only met is a lower bound, one that only failed an upper one, and neither gives a verdict alone", () => {
  const slo = readSlo("p99=5ms");
  const bracketed = (rounds: number[]) => rounds.flatMap((round) => [step(round, 100), step(round, 104)]);
  const only = (rate: number) => [step(7, rate, { over: true })];
  const { sentences: low } = describeSweep([...LADDER, ...bracketed([1, 2, 3, 4, 5, 6]), ...only(99)], slo, 80);
  assert(low.includes("epoll: no rate failed in round 7: a lower bound."), low.join("\n"));
  assertEquals(low.at(-1), "epoll: the capacity at p99=5ms is ≥ 102 requests/s (98 % interval ≥ 99, 7 rounds).");
  const { sentences: high } = describeSweep([...LADDER, ...bracketed([1, 2, 3, 4, 5, 6]), ...only(105)], slo, 80);
  assert(high.includes("epoll: no rate met the objective in round 7: an upper bound."), high.join("\n"));
  assertEquals(high.at(-1), "epoll: the capacity at p99=5ms is ≤ 102 requests/s (98 % interval < 105, 7 rounds).");
  const rows = [...bracketed([1, 2, 3, 4, 5, 6]), ...only(99)];
  const both = rows.flatMap((row) => [row, { ...row, server: "half", rate_per_s: row.rate_per_s / 2, over: true }])
    .map((row) => row.server === "half" && row.rate_per_s > 50 ? { ...row, p99_us: 9000 } : row);
  const { ratio, verdict, reason } = capacityRatio(both, "epoll", "half", slo);
  assertEquals([ratio!.low, ratio!.high], [0, Infinity]);
  assertEquals([verdict, reason], ["inconclusive", "a round found no more than a bound"]);
});

Deno.test("the steps of a bisection have a bound, which is enough from every bracket that a ladder leaves", () => {
  for (const closeness of [0.05, COMPARED_CLOSENESS]) {
    for (const [low, high] of [[1, 2], [800, 1250], [1000, 60_000], [1, 250_000]] as const) {
      for (const capacity of [low / 4, low, low * 1.3, high / 1.3, high, high * 4].map(Math.round)) {
        const bisection = new Bisection({ low, high }, closeness);
        const rows: SweepRow[] = [];
        for (let rate = bisection.next(); rate !== null; rate = bisection.next()) {
          bisection.answer(rate, rate <= capacity);
          rows.push(step(1, rate, { closeness, p99_us: rate <= capacity ? 1000 : 9000 }));
          assert(rows.length < 40, `${low} to ${high}, ${capacity}`);
        }
        const ended = rows.with(-1, { ...rows.at(-1)!, over: true });
        const { met, failed } = bisected(ended, readSlo("p99=5ms")).found.get(1)!;
        assert((met ?? 0) <= capacity && capacity < failed!, `${met} to ${failed}, not ${capacity}`);
        assertEquals(met === null, capacity < 1); // no rate is lower than 1
      }
    }
  }
});

Deno.test("the rates of two rounds differ by their shifts, which a seed repeats", async () => {
  const slo = readSlo("p99=2ms");
  const first = async (seed: number) => {
    const rows = await swept(10_000, { slo, seed });
    return [1, 2, 3, 4, 5, 6, 7].map((round) => rows.find((row) => row.round === round)!.rate_per_s);
  };
  const rates = await first(7);
  assertEquals(new Set(rates).size, 7);
  assert(Math.max(...rates) / Math.min(...rates) < 1.05, rates.join());
  assertEquals(await first(7), rates);
  assert((await first(8)).join() !== rates.join());
  const bisections = (await swept(10_000, { slo, seed: 7 })).filter(({ round }) => round > 0);
  assert(bisections.every(({ seed, closeness }) => seed === 7 && closeness === 0.05));
  assertEquals(bisections.filter(({ over }) => over).length, 7);
});

Deno.test("servers take turns in an order that a seed repeats, and that shifts no rate", async () => {
  const slo = readSlo("p99=2ms");
  const limits = { epoll: 10_000, poll: 10_000, select: 10_000 };
  const turns = async (seed: number) => {
    const { rows } = await sweptAll(limits, { slo, seed });
    return rows.filter(({ round }) => round > 0);
  };
  const orderOf = (rows: SweepRow[]) => rows.map(({ server }) => server).join();
  const rows = await turns(7);
  assertEquals(await turns(7), rows);
  assert(orderOf(await turns(8)) !== orderOf(rows));
  const firsts = new Set([1, 2, 3, 4, 5, 6, 7].map((round) => rows.find((row) => row.round === round)!.server));
  assert(firsts.size > 1, `${[...firsts]} is always the first one`);
});

/** A normal deviate, by Box and Muller. */
const deviate = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

/** Sweeps of made-up servers whose limits vary by a share from run to run, one for each seed. */
async function* sweptBySeeds(limits: Record<string, number>, share: number, closeness: number) {
  const slo = readSlo("p99=2ms");
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(1000 + seed);
    const run = runOf((server, rate) => {
      const limit = limits[server]! * Math.exp(share * deviate(random));
      return answerOf(limit, rate ?? limit);
    });
    yield { rows: (await sweptAll(limits, { slo, closeness, seed, run })).rows, slo, seed };
  }
}

Deno.test("of 200 seeds none calls an equal server slower, and each one that is 5 % slower", async () => {
  for (const share of [0, 0.003]) {
    const servers = { epoll: 20_011, same: 20_011, slower: 0.95 * 20_011 };
    for await (const { rows, slo, seed } of sweptBySeeds(servers, share, COMPARED_CLOSENESS)) {
      const verdicts = ["same", "slower"].map((name) => capacityRatio(rows, "epoll", name, slo).verdict);
      assert(verdicts[0] !== "slower", `seed ${seed}, noise ${share}: an equal server is slower`);
      assertEquals(verdicts[1], "slower", `seed ${seed}, noise ${share}`);
    }
  }
});

Deno.test("of 200 seeds 97 % have the true capacity in the interval, with noise and without, in steps of both sizes", async () => {
  for (const share of [0, 0.01, 0.05]) {
    for (const closeness of [COMPARED_CLOSENESS, 0.05]) {
      let held = 0;
      for await (const { rows, slo } of sweptBySeeds({ epoll: 20_011 }, share, closeness)) {
        const { low, high } = capacity(rows, slo).interval!;
        if (low! <= 20_011 / 2 && 20_011 / 2 <= high!) held++;
      }
      assert(held >= 194, `${held} of 200 with noise ${share} and closeness ${closeness}`);
    }
  }
});
