import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { crossings, type Load, outOf, weigh } from "../../lib/advice/model.ts";
import { type Beside, collect, type Facts, type Point, untried } from "../../lib/advice/facts.ts";
import { atMost, mixedSeconds, usualSeconds } from "../../lib/results/duration.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { advise, describeAdvice } from "./answer.ts";
import { checkOf, coverage, isHardlySeen, makersOf } from "./commands.ts";
import {
  compared,
  exists,
  found,
  held,
  loaded,
  overWire,
  type Piece,
  probed,
  run,
  storedOf,
} from "../../lib/testing/fixtures.ts";

const sure = (us: number) => ({ us, low: us, high: us });
const line = (...points: [connections: number, us: number][]): Point[] =>
  points.map(([connections, us]) => ({ connections, ...sure(us) }));
const facts = (name: string, more: Partial<Facts>): Facts => ({
  name,
  held: 20_000,
  limit: "descriptors",
  setting: null,
  reach: more.held ?? 20_000,
  memory: MEMORY,
  cpu: line([100, 10]),
  isWired: false,
  wait: [],
  beside: [],
  isQuick: false,
  results: [],
  ...more,
});
/** What heavy requests of some sizes do: how long the light ones wait, and what handing over costs, in µs. */
const sizes = (...of: [heavyUs: number, waitUs: number, handoverUs?: number][]): Beside[] => [
  { heavyUs: 0, wait: sure(0), handover: sure(0) },
  ...of.map(([heavyUs, waitUs, handoverUs = 0]) => ({ heavyUs, wait: sure(waitUs), handover: sure(handoverUs) })),
];
/** Light requests wait for heavy ones. */
const BLOCKED = sizes([50_000, 40_000]);
const load = (more: Partial<Load>): Load => ({ connections: 100, cpuUs: 0, idlePercent: 0, ...more });
const best = (all: Facts[], more: Partial<Load>) => weigh(all, load(more))[0]?.name ?? null;

/** The best changes exactly between the two numbers. */
function assertCrossing(
  all: Facts[],
  axis: keyof Load,
  at: number,
  [from, to]: [string | null, string | null],
  more = {},
) {
  assertEquals([best(all, { ...more, [axis]: at - 1 }), best(all, { ...more, [axis]: at })], [from, to]);
  assertEquals(crossings(all, load(more), axis).filter((crossing) => crossing.at === at), [{ at, from, to, told: at }]);
}

Deno.test("a loop is the best until its heavy requests block longer than a pool's light ones wait, and the pool from there on", () => {
  const loop = facts("loop", { cpu: line([100, 5]), beside: BLOCKED });
  // Up to 1 250 µs light requests wait in the pool as long as in the loop.
  const after = (us: number, handover = 0) => sizes([us / 0.8, us, handover], [50_000, us, handover]);
  const pool = facts("pool", { cpu: line([100, 10]), beside: after(1000) });
  // 5 + 0.8 x > 10 + 1000 from x = 1256.25 on
  assertCrossing([loop, pool], "cpuUs", 1257, ["loop", "pool"]);
  const [, behind] = weigh([loop, pool], load({ cpuUs: 500 })); // as long as in the loop, which is cheaper
  assertEquals([behind!.name, behind!.waitUs], ["pool", 400]);
  // Handing over costs 40 µs more: 5 + 0.8 x > 50 + 1000 from x = 1306.25 on
  assertCrossing([loop, { ...pool, beside: after(1000, 40) }], "cpuUs", 1307, ["loop", "pool"]);
  const slower = facts("pool", { cpu: line([100, 10]), beside: after(2000) });
  assertCrossing([loop, slower], "cpuUs", 2507, ["loop", "pool"]);
});

Deno.test("between two measured sizes of heavy requests the wait lies on a line, and beyond the largest it grows in proportion", () => {
  const pool = facts("pool", { beside: sizes([1000, 100, 8], [51_000, 1100, 8]) });
  const at = [0, 500, 1000, 26_000, 51_000, 102_000].map((cpuUs) => weigh([pool], load({ cpuUs }))[0]!);
  assertEquals(at.map(({ waitUs }) => waitUs), [0, 50, 100, 600, 1100, 2200]);
  assertEquals(at.map(({ cpuUs }) => cpuUs), [10, 14, 18, 18, 18, 18]);
});

Deno.test("no request costs less than nothing, however wide the bounds of handing over are", () => {
  const beside = sizes([1000, 100]).map((of) => ({ ...of, handover: { us: 8, low: -50, high: 60 } }));
  const [choice] = weigh([facts("pool", { beside })], load({ cpuUs: 1000 }));
  assertEquals([choice!.lowUs, choice!.totalUs, choice!.highUs], [100, 118, 170]);
});

Deno.test("who was not measured beside heavy requests has no part in where they change the answer", () => {
  const loop = facts("loop", { cpu: line([100, 5]), beside: BLOCKED });
  const pool = facts("pool", { cpu: line([100, 10]), beside: sizes([1250, 1000], [50_000, 1000]) });
  const unmixed = facts("unmixed", { cpu: line([100, 1]) });
  assertEquals(best([loop, pool, unmixed], {}), "unmixed");
  assertEquals(crossings([loop, pool, unmixed], load({}), "cpuUs"), [{
    at: 1257,
    from: "loop",
    to: "pool",
    told: 1257,
  }]);
});

Deno.test("the answer changes at the number of connections that one of two holds", () => {
  const few = facts("threads", { cpu: line([100, 5]), held: 1627 });
  const many = facts("loop", { cpu: line([100, 10]) });
  assertCrossing([few, many], "connections", 1628, ["threads", "loop"]);
  assertCrossing([few, many], "connections", 20_001, ["loop", null]);
});

Deno.test("between two measured numbers the cost lies on a line, and the answer changes where two lines cross", () => {
  const rising = facts("rising", { cpu: line([100, 5], [1000, 15]) });
  const flat = facts("flat", { cpu: line([100, 10], [1000, 10]) });
  // 5 + (n - 100) / 90 = 10 at n = 550
  assertCrossing([rising, flat], "connections", 551, ["rising", "flat"]);
  assertEquals(crossings([rising, flat], load({}), "connections").map(({ at }) => at), [551, 20_001]);
});

Deno.test("beyond what was measured the nearest figure stands, and that is said", () => {
  const rising = facts("rising", { cpu: line([100, 5], [1000, 15]), beside: BLOCKED });
  const at = (connections: number, more: Partial<Load> = {}) => weigh([rising], load({ connections, ...more }))[0]!;
  assertEquals([at(10).cpuUs, at(100).cpuUs, at(1000).cpuUs, at(9000).cpuUs], [5, 5, 15, 15]);
  assertEquals([at(100).notes, at(1000).notes], [[], []]);
  assertEquals(at(9000).notes, ["CPU time was measured at 100 to 1 000 active connections, not at 9 000"]);
  assertEquals(at(9000, { idlePercent: 95 }).notes, []);
  assertMatch(at(500, { cpuUs: 50_001 }).notes.join(), /requests of at most 50 000 µs/);
});

Deno.test("who looks at idle connections is the best only while these cost less than another's requests", () => {
  const wait = line([10, 1], [100, 10], [10_000, 1000]);
  const poll = facts("poll", { cpu: line([100, 5]), wait });
  const loop = facts("loop", { cpu: line([100, 10]) });
  assertEquals(best([poll, loop], { connections: 10_000 }), "poll");
  // The line rises by 0.1 µs a connection: 5 µs are 50 idle ones of 100 to 10 000.
  assertCrossing([poll, loop], "idlePercent", 6, ["poll", "loop"], { connections: 1000 });
  const [first] = weigh([poll], load({ connections: 1000, idlePercent: 50 }));
  assert(Math.abs(first!.idleUs - 50) < 1e-6, String(first!.idleUs));
});

Deno.test("a crossing tells from where on the intervals lie apart, and that they never do", () => {
  const wide = (us: number, by: number): Beside[] => [
    { heavyUs: 0, wait: sure(0), handover: sure(0) },
    { heavyUs: 10_000, wait: { us, low: us - by, high: us + by }, handover: sure(0) },
  ];
  const loop = facts("loop", { cpu: line([100, 5]), beside: wide(8000, 0) });
  const pool = facts("pool", { cpu: line([100, 10]), beside: wide(4000, 2000) });
  // 5 + 0.8 x > 10 + 0.4 x from x = 12.5 on; 5 + 0.8 x > 10 + 0.6 x from x = 25 on
  const [first] = crossings([loop, pool], load({}), "cpuUs");
  assertEquals(first, { at: 13, from: "loop", to: "pool", told: 26 });
  const text = (...all: Facts[]) => describeAdvice(advise(all, [], load({})), 200);
  assertStringIncludes(
    text(loop, pool),
    "from 13 µs of CPU on: pool instead of loop; the figures tell them apart from 26 µs of CPU on",
  );
  const unclear = facts("pool", { cpu: line([100, 10]), beside: wide(4000, 4100) });
  assertStringIncludes(text(loop, unclear), "pool instead of loop; nowhere do the figures tell them apart");
});

Deno.test("the best is the lowest, and those that the figures do not distinguish from it are named", () => {
  const wide = (us: number): Point[] => [{ connections: 100, us, low: us - 2, high: us + 2 }];
  const all = [facts("simple", { cpu: wide(8) }), facts("costly", { cpu: wide(11) }), facts("fast", { cpu: wide(6) })];
  const advice = advise(all, [], load({}));
  assertEquals(advice.choices.map(({ name }) => name), ["fast", "simple", "costly"]);
  assertEquals(advice.alike, ["simple"]);
  const text = describeAdvice(advice, 200);
  assertStringIncludes(text, "Not distinguishable from: simple (from easy to hard).");
  assertStringIncludes(text, "of CPU: fast or simple: not told apart\n");
  const three = advise([...all, facts("other", { cpu: wide(7) })], [], load({}));
  assertStringIncludes(describeAdvice(three, 200), "of CPU: fast, simple or other: not told apart\n");
  assertEquals(advise(all.slice(1), [], load({})).alike, []);
});

Deno.test("who cannot do it, or is not known to, is out with the reason, and with the command that would tell", () => {
  const all = [
    facts("broke", { held: 50 }),
    facts("unasked", { held: 50, limit: null }),
    facts("unmixed", {}),
    facts("mixed", { beside: BLOCKED }),
  ];
  assertEquals(weigh(all, load({ cpuUs: 10 })).map(({ name }) => name), ["mixed"]);
  const [broke, unasked, unmixed, ...none] = outOf(all, load({ cpuUs: 10 }));
  assertEquals([broke!.why, broke!.command], ["it holds 50: descriptors", null]);
  assertEquals(unasked!.command, "deno task exp unasked --scenario hold --connections 100");
  assertEquals(unmixed!.names, ["unmixed"]);
  assertEquals(unmixed!.command, "deno task compare epoll unmixed --scenario mixed --rate 200 --work 0,500,5000,50000");
  assertEquals(unmixed!.time, atMost(mixedSeconds(1)));
  assertEquals(none, []);
});

/** A run that held 10 000, and what follows from it. */
const SIZES = { connections: 10_000, pss_bytes: 21e6, user_bytes_per_conn: 100, kernel_bytes_per_conn: 3900 };
const MEMORY = { processBytes: 2e7, connectionBytes: 100, kernelBytes: 3900 };

Deno.test("facts come from whole stored figures: ratios to one floor, else the newest single run; peers are left out", () => {
  const cpu = ["throughput", 100, "cpu_us_per_request"] as [ScenarioOf, number, string];
  const stored = storedOf(
    ...[exists("epoll"), exists("poll"), exists("c-epoll")],
    held("epoll", 10_000, SIZES),
    held("poll", 900),
    loaded("poll", { cpu_us_per_request: 8 }),
    loaded("poll", { cpu_us_per_request: 20 }, 1000),
    held("c-epoll", 10_000),
    compared(cpu, ["epoll", "c-epoll"], [1.1, 1, 1.2], { reference_value: 6 }),
    compared(cpu, ["poll", "c-epoll"], [2, 1.9, 2.1], { reference_value: 10 }),
    held("select", 900),
    compared(cpu, ["select", "c-epoll"], [1, 1, 1], { rounds: 3 }), // too few
    compared(cpu, ["select", "c-epoll"], [1, 1, 1], { findings: [found("select", "foreign_load")] }), // others disturbed it
    ...[{ heavy_us: 0, p99: 100, cpu: 40 }, { heavy_us: 50_000, p99: 40_000, cpu: 600 }].flatMap((
      { heavy_us, p99, cpu },
    ) => [
      compared(["mixed", 100, "p99_us"], ["poll", "epoll"], [0.5, 0.4, 0.6], { reference_value: p99, heavy_us }),
      compared(["mixed", 100, "cpu_us_per_request"], ["poll", "epoll"], [1.05, 1.02, 1.1], {
        reference_value: cpu,
        heavy_us,
      }),
    ]),
    // Half of what they reach: the wait is longer where more clients wait.
    ...["p99_us", "cpu_us_per_request"].map((metric) =>
      compared(["mixed", 100, metric], ["poll", "epoll"], [9, 8, 10], { reference_value: 9e5, rate_per_s: 700 })
    ),
  );
  Object.assign(stored.experiments.find(({ name }) => name === "c-epoll")!, { peer: true });
  const { known, unknown } = collect(stored);
  assertEquals([known, unknown].map((all) => all.map(({ name }) => name)), [["epoll", "poll"], ["select"]]);
  const [epoll, poll] = known;
  assertEquals([epoll!.held, epoll!.limit, epoll!.memory], [10_000, null, MEMORY]);
  assertEquals([poll!.held, poll!.limit], [900, "it broke"]);
  // The floor is the median of 6 and 10.
  assertEquals(epoll!.cpu.map(({ us }) => us.toFixed(3)), ["8.800"]);
  assertEquals(poll!.cpu.map(({ connections, us, low }) => [connections, us, low]), [[100, 16, 15.2], [1000, 20, 15]]);
  // What is so beside requests that burn nothing is taken away: 39 900 of 40 000, 19 950 of 20 000; 30 − 2 µs of CPU.
  assertEquals([epoll, poll].map((of) => of!.beside.map(({ heavyUs, wait }) => [heavyUs, wait.us])), [
    [[0, 0], [50_000, 39_900]],
    [[0, 0], [50_000, 19_950]],
  ]);
  assertEquals([epoll, poll].map((of) => Math.round(of!.beside[1]!.handover.us)), [0, 28]);
  const { low, high } = poll!.beside[1]!.wait;
  assertEquals([low, high], [15_940, 23_960]); // at worst for both
});
type ScenarioOf = "throughput";

Deno.test("a server with kernel bypass costs its ratio over the wire, times what the other costs over loopback", () => {
  const core = ["throughput", 100, "core_us_per_request"] as [ScenarioOf, number, string];
  const cpu = ["throughput", 100, "cpu_us_per_request"] as [ScenarioOf, number, string];
  const wired = run("xdp", "throughput", { wire: "veth" }, { cpu_us_per_request: 1 });
  const pieces = [
    ...[exists("epoll"), exists("xdp"), exists("c-epoll"), held("epoll", 10_000), wired],
    run("xdp", "hold", { connections: 10_000, wire: "veth" }, { answered: 10_000 }),
    compared(cpu, ["epoll", "c-epoll"], [1.1, 1, 1.2], { reference_value: 10 }),
  ];
  const notYet = collect(storedOf(...pieces)).unknown.find(({ name }) => name === "xdp");
  assertEquals([notYet?.command, notYet?.time], ["deno task compare c-epoll xdp", atMost(usualSeconds("throughput"))]);
  const over = [
    overWire(compared(core, ["xdp", "c-epoll"], [0.6, 0.5, 0.7], { reference_value: 30 })),
    overWire(compared(cpu, ["xdp", "c-epoll"], [0.3, 0.3, 0.3], { reference_value: 20 })),
    probed("c10m", "10000000 connections", "held", 10_000_000),
  ];
  const { known } = collect(storedOf(...pieces, ...over));
  const xdp = known.find(({ name }) => name === "xdp")!;
  assertEquals(xdp.cpu, [{ connections: 100, us: 6, low: 5, high: 7 }]);
  assertEquals([xdp.held, xdp.limit, xdp.isWired], [10_000_000, null, true]);
  assertEquals(weigh(known, load({})).map(({ name }) => name), ["xdp", "epoll"]);
  assertMatch(weigh(known, load({}))[0]!.notes.join(), /xdp was measured over a veth pair/);
  assertEquals(weigh(known, load({ connections: 1e6 })).map(({ name }) => name), ["xdp"]);
});

Deno.test("an architecture that lacks a figure is named with the command that makes it", () => {
  const { known, unknown } = collect(storedOf(exists("epoll"), held("epoll", 10_000), loaded("poll", {})));
  assertEquals(known, []);
  assertEquals(unknown, [
    { name: "epoll", command: "deno task exp epoll --scenario throughput", time: null },
    { name: "poll", command: "deno task exp poll", time: "one to three minutes" },
  ]);
});

Deno.test("the answer names the best, the runner-up, the reason and the crossings", () => {
  const loop = facts("loop", { cpu: line([100, 5]), beside: BLOCKED });
  const pool = facts("pool", { cpu: line([100, 10]), beside: sizes([1250, 1000], [50_000, 1000]) });
  const advice = advise(
    [loop, pool],
    [{ name: "new", command: "deno task exp new", time: "a minute" }],
    load({
      cpuUs: 50_000,
    }),
    ["newer", "newest"],
  );
  const text = describeAdvice(advice, 200);
  assertStringIncludes(text, "of CPU: pool\n");
  assertStringIncludes(
    text,
    "pool: a request costs 10.00 µs of CPU, beside requests of 50.0 ms the light ones wait 1.0 ms longer",
  );
  assertStringIncludes(text, "Runner-up: loop");
  assertStringIncludes(text, "from 1 257 µs of CPU on: pool instead of loop");
  assertStringIncludes(text, "new: it is not measured (a minute)\n    deno task exp new");
  assertStringIncludes(
    text,
    "newer, newest: no run is stored; deno task exp <name> measures one (one to three minutes)",
  );
  const none = describeAdvice(advise([loop], [], load({ connections: 1e6 })));
  assertMatch(none, /0 µs of\sCPU: nothing that was measured can do it\./);
  assertStringIncludes(text, "one µs of waiting counts as much as one µs of CPU.");
  const words = (of: string) => of.split(/\s+/).filter((word) => !/^-+$/.test(word)).join(" ");
  assertEquals(words(describeAdvice(advice, 80)), words(text)); // in narrow lines it says the same
});

Deno.test("the answer fits a terminal of 80 columns, but for commands, which are copied", () => {
  const names = ["event-loop-fair", "io-uring-direct", "process-per-conn", "thread-per-conn", "reactor-pool"];
  const loops = names.map((name, i) => facts(name, { cpu: line([100, 5 + i], [1000, 15]), beside: BLOCKED }));
  const pool = facts("pool", { cpu: line([100, 10]), beside: sizes([1250, 1000], [50_000, 1000]) });
  const unmixed = names.map((name) => facts(`${name}-again`, {}));
  const asked = load({ connections: 9000, cpuUs: 60_000, idlePercent: 5 });
  const text = describeAdvice(advise([...loops, pool, ...unmixed], [], asked));
  const long = text.split("\n").filter((line) => line.length > 80);
  assertEquals(long.filter((line) => !/^( {4}|Check it here: )deno task /.test(line)), []);
  for (const heading of ["Caveats\n  ", "Not weighed\n  "]) assertStringIncludes(text, heading);
});

Deno.test("servers that push are not weighed against those that answer requests, whatever is stored of them", () => {
  const { known, unknown } = collect(storedOf(exists("ws-epoll", "push"), run("ws-epoll", "broadcast", {}, {})));
  assertEquals([known, unknown], [[], []]);
});

const CPU = ["throughput", 100, "cpu_us_per_request"] as [ScenarioOf, number, string];

/** Comparisons as studies of their own, the oldest first. */
function withStudies(base: readonly Piece[], ...studies: { pieces: readonly Piece[]; quick?: boolean }[]): Stored {
  const stored = storedOf(...base);
  const comparison = studies.flatMap(({ pieces, quick = false }, i) =>
    storedOf(...pieces).studies.comparison.map((study) => ({
      ...study,
      quick,
      time: `2025-02-0${i + 1}T12:00:00.000Z`,
    }))
  );
  return { ...stored, studies: { ...stored.studies, comparison } };
}
const knownOf = (stored: Stored, name: string) => collect(stored).known.find((of) => of.name === name)!;

Deno.test("the reference of a comparison lies between the lowest and the highest of its pairs", () => {
  const two = storedOf(
    ...[held("epoll", 10_000), held("poll", 10_000), held("select", 10_000)],
    compared(CPU, ["poll", "epoll"], [2, 1.9, 2.1], { reference_value: 9 }),
    compared(CPU, ["select", "epoll"], [1.05, 1.02, 1.1], { reference_value: 12 }),
  );
  assertEquals(knownOf(two, "epoll").cpu, [{ connections: 100, us: 10.5, low: 9, high: 12 }]);
  assertEquals(advise(collect(two).known, [], load({})).alike, ["select"]);
  const text = describeAdvice(advise(collect(two).known, [], load({})), 200);
  assertMatch(text, /^epoll .* 10\.5 \[9\.0, 12\.0\] µs$/m);
});

Deno.test("the reference of a single pair has no interval, and another figure of it goes before", () => {
  const base = [held("epoll", 10_000), held("poll", 10_000)];
  const pair = { pieces: [compared(CPU, ["poll", "epoll"], [1.3, 1.2, 1.4], { reference_value: 7 })] };
  const single = withStudies(base, pair);
  const { known } = collect(single);
  assertMatch(describeAdvice(advise(known, [], load({})), 200), /^epoll .* 7\.0 µs$/m);
  assertEquals(advise(known, [], load({})).alike, []); // the ratio tells them apart
  const wider = { pieces: [compared(CPU, ["epoll", "c-epoll"], [1.1, 1, 1.2], { reference_value: 10 })] };
  const figure = knownOf(withStudies(base, wider, pair), "epoll").cpu[0]!;
  assertEquals([figure.low, figure.high], [10, 12]);
});

Deno.test("a quick study counts only where there is no full one, and then that is said", () => {
  const base = [held("epoll", 10_000), held("poll", 10_000)];
  const of = (reference_value: number, connections = 100) =>
    compared(["throughput", connections, "cpu_us_per_request"], ["poll", "c-epoll"], [1, 0.9, 1.1], {
      reference_value,
    });
  const full = { pieces: [of(10)] };
  const later = { pieces: [of(30)], quick: true };
  const poll = knownOf(withStudies(base, full, later), "poll");
  assertEquals([poll.cpu.map(({ us }) => us), poll.isQuick], [[10], false]);
  const note = "a figure of poll is from a quick study: there is no full one";
  const notes = (stored: Stored) => weigh([knownOf(stored, "poll")], load({}))[0]!.notes;
  assertEquals(notes(withStudies(base, full, later)), []);
  assertEquals(notes(withStudies(base, later)), [note]);
  const more = withStudies(base, full, { pieces: [of(30, 1000)], quick: true });
  assertEquals(knownOf(more, "poll").cpu.map(({ us }) => us), [10, 30]);
  assertEquals(notes(more), [note]);
});

/** How the light requests of the pool wait for heavy ones of a size, and what it needs for that more than the loop, as ratios. */
const beside = (heavy_us: number, ratio: number, more: { connections?: number; reference?: string } = {}): Piece[] =>
  ["p99_us", "cpu_us_per_request"].map((metric) =>
    compared(
      ["mixed", more.connections ?? 100, metric],
      ["reactor-pool", more.reference ?? "epoll"],
      [ratio, ratio, ratio],
      { reference_value: 1000, heavy_us },
    )
  );

Deno.test("of each size of heavy requests a full study counts before a quick one, and one with requests that burn nothing before", () => {
  const base = [held("reactor-pool", 10_000), loaded("reactor-pool", { cpu_us_per_request: 10 })];
  const waits = (...studies: { pieces: Piece[]; quick?: boolean }[]) =>
    knownOf(withStudies(base, ...studies), "reactor-pool").beside.map(({ heavyUs, wait }) => [heavyUs, wait.us]);
  const full = { pieces: [...beside(0, 1), ...beside(5000, 3)] };
  const quick = { pieces: [...beside(0, 1), ...beside(500, 2), ...beside(5000, 9)], quick: true };
  assertEquals(waits(full, quick), [[0, 0], [500, 1000], [5000, 2000]]);
  const check = { pieces: beside(5000, 7, { connections: 10_000 }) };
  assertEquals(waits(full, check), [[0, 0], [5000, 2000]]);
  assertEquals(waits(check), [[0, 0], [5000, 7000]]);
  // What is subtracted was measured at the same number of connections.
  const crowd = { connections: 10_000 };
  const both = { pieces: [...beside(0, 1), ...beside(5000, 7, crowd), ...beside(0, 4, crowd), ...beside(5000, 3)] };
  assertEquals(waits(both), [[0, 0], [5000, 2000]]);
  // What handing over costs is the difference to a loop.
  const other = {
    pieces: [...beside(0, 1, { reference: "thread-per-conn" }), ...beside(5000, 9, { reference: "poll" })],
  };
  assertEquals(waits(full, other), [[0, 0], [5000, 2000]]);
});

Deno.test("the loop that all are compared with hands nothing over, however its pairs differ", () => {
  const mixed = (metric: string, candidate: string, heavy_us: number, reference_value: number) =>
    compared(["mixed", 100, metric], [candidate, "epoll"], [1, 1, 1], { reference_value, heavy_us });
  const rows = [["reactor-pool", 1], ["poll", 2]].flatMap(([name, by]) =>
    [0, 5000].flatMap((us) => [
      mixed("p99_us", String(name), us, (100 + us) * Number(by)),
      mixed("cpu_us_per_request", String(name), us, 50 * Number(by)),
    ])
  );
  const stored = storedOf(held("epoll", 10_000), loaded("epoll", { cpu_us_per_request: 10 }), ...rows);
  const [, heavy] = knownOf(stored, "epoll").beside;
  assertEquals(heavy!.handover, { us: 0, low: 0, high: 0 });
  assertEquals(heavy!.wait, { us: 7500, low: 4900, high: 10_100 });
});

Deno.test("where heavy requests keep a loop busy for hardly more than a hundredth of the time, p99 does not show them, and that is said", () => {
  assertEquals([0, 500, 5000, 9999, 10_000, 50_000].map(isHardlySeen), [false, true, true, true, false, false]);
  const loop = facts("loop", { cpu: line([100, 5]), beside: BLOCKED });
  const pool = facts("pool", { cpu: line([100, 10]), beside: sizes([1250, 1000], [50_000, 1000]) });
  const text = (cpuUs: number, ...all: Facts[]) => describeAdvice(advise(all, [], load({ cpuUs })), 400);
  assertStringIncludes(
    text(5000, loop, pool),
    "At 200 requests/s, the rate of these waits, requests of 5.0 ms keep a loop busy for 1.00 % of the time, so that p99 hardly " +
      "sees them: the last command of this answer measures at the rate that you have",
  );
  for (const shown of [text(50_000, loop, pool), text(5000, loop)]) assert(!shown.includes("hardly sees"), shown);
});

Deno.test("the answer ends with the comparison that checks it, and says how long that takes", () => {
  const pair = ["best", "second", "third"].map((name) => ({ name, memory: null }));
  const commandOf = (more: Partial<Load>) => checkOf(pair, load({ connections: 10_000, ...more }))!.command;
  const compare = "deno task compare second best";
  const crowd = "--connections 10000";
  assertEquals(
    commandOf({ cpuUs: 5000, idlePercent: 99 }),
    `${compare} --scenario mixed --rate 2000 --work 5000 ${crowd}`,
  );
  assertEquals(commandOf({ cpuUs: 50_000 }), `${compare} --scenario mixed --rate 200 --work 50000 ${crowd}`);
  assertEquals(commandOf({ cpuUs: 0.4 }), `${compare} --scenario mixed --rate 10000 --work 1 ${crowd}`);
  assertEquals(commandOf({ idlePercent: 99 }), `${compare} --scenario rate --rate 200 ${crowd}`);
  assertEquals(commandOf({}), `${compare} ${crowd}`);
  assertEquals(checkOf(pair.slice(0, 1), load({})), null);
  const all = [facts("loop", { cpu: line([100, 5]) }), facts("pool", {})];
  const text = (more: Partial<Load>) => describeAdvice(advise(all, [], load(more)), 200);
  const time = atMost(usualSeconds("rate"));
  assert(
    text({ idlePercent: 50 }).endsWith(
      `\n\nThis takes ${time}. Put your own rate in place of 200.\n` +
        "Check it here: deno task compare pool loop --scenario rate --rate 200 --connections 100",
    ),
  );
  assertStringIncludes(text({}), `\nThis takes ${atMost(usualSeconds("throughput"))}.\nCheck it here: `);
});

Deno.test("what this machine lacks of the three that an answer needs is named with its commands, and no more than that", () => {
  const makers = ["epoll", "reactor-pool", "thread-per-conn"];
  const measured = (name: string) => [held(name, 10_000), loaded(name, { cpu_us_per_request: 10 })];
  const all = [...makers, "poll"].map((name) => exists(name));
  const heavy = load({ cpuUs: 5000 });
  const none = storedOf(...all);
  const mixed =
    "deno task compare epoll reactor-pool thread-per-conn --scenario mixed --rate 200 --work 0,500,5000,50000";
  const exps = makers.map((name) => `deno task exp ${name}`);
  assertEquals([coverage(none, heavy), makersOf(none, heavy).lines], [[], [...exps, mixed]]);
  assertEquals(makersOf(none, heavy).seconds, 3 * 180 + mixedSeconds(2));
  assertEquals(makersOf(none, load({})), { lines: exps, seconds: 3 * 180 });
  const some = storedOf(...all, ...measured("epoll"), held("reactor-pool", 10_000));
  assertEquals(coverage(some, heavy), ["figures of epoll"]);
  assertEquals(makersOf(some, heavy).lines, [
    "deno task exp reactor-pool --scenario throughput",
    "deno task exp thread-per-conn",
    mixed,
  ]);
  const full = storedOf(
    ...all,
    ...makers.flatMap(measured),
    ...makers.slice(1).flatMap((name) =>
      ["p99_us", "cpu_us_per_request"].map((metric) => compared(["mixed", 100, metric], [name, "epoll"], [1, 1, 1]))
    ),
  );
  assertEquals(coverage(full, load({})), makers.map((name) => `figures of ${name}`));
  assertEquals(coverage(full, heavy).length, 6);
  assertEquals(makersOf(full, heavy).lines, []);
});

Deno.test("what was tried on a machine and cannot run there is not asked for again", () => {
  const all = ["epoll", "reactor-pool", "thread-per-conn"].map((name) => exists(name));
  const stored = storedOf(...all, run("thread-per-conn", "hold", {}, {}));
  const skipped = { ...stored, results: stored.results.map((result) => ({ ...result, ended: "skipped" as const })) };
  assertEquals(makersOf(skipped, load({ cpuUs: 5000 })).lines, [
    "deno task exp epoll",
    "deno task exp reactor-pool",
    "deno task compare epoll reactor-pool --scenario mixed --rate 200 --work 0,500,5000,50000",
  ]);
  assertEquals(coverage(skipped, load({ cpuUs: 5000 })), ["figures of thread-per-conn", "waits in thread-per-conn"]);
});

Deno.test("architectures of which nothing is stored are named, but for peers, push and those of another system", () => {
  const stored = storedOf(
    ...["epoll", "poll", "c-epoll", "iocp"].map((name) => exists(name)),
    exists("ws-epoll", "push"),
  );
  const change = (name: string, more: Record<string, unknown>) =>
    Object.assign(stored.experiments.find((of) => of.name === name)!, more);
  change("c-epoll", { peer: true });
  change("iocp", { requires: [{ os: "windows", kernel: null }] });
  assertEquals(untried(stored), ["epoll", "poll"]);
  const ran = storedOf(exists("poll"), held("epoll", 900));
  assertEquals(untried(ran), ["poll"]);
});
