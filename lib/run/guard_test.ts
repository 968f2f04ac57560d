import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { availableMemory, createGuard, Guard, LentGuard } from "./guard.ts";

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const KIB = 2 ** 10;
/** Of a million connections, far more steps than a sound guard needs. */
const MAX_STEPS = 1000;

/** Numbers in 0..1 that look random and are the same every time (mulberry32). */
function* random(seed: number): Generator<number, never> {
  for (;;) {
    seed = seed + 0x6d2b79f5 | 0;
    let mixed = Math.imul(seed ^ seed >>> 15, 1 | seed);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed);
    yield ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  }
}

interface Host {
  budgetBytes: number;
  descriptorLimit?: number;
  wanted: number;
  cost: (connections: number) => number;
}

/** Climbs as the guard says. Returns the sizes that were held, and why it ended (null: all were held). */
function climb({ budgetBytes, descriptorLimit = Infinity, wanted, cost }: Host, guard?: Guard) {
  guard ??= new Guard({ memAvailableBytes: budgetBytes, descriptorLimit }, 1);
  const sizes = [0];
  while (sizes.at(-1)! < wanted) {
    const held = sizes.at(-1)!;
    const step = guard.next(held, wanted);
    if ("stop" in step) return { sizes, held, stop: step.stop, guard };
    assert(Number.isInteger(step.connect) && step.connect >= 1 && held + step.connect <= wanted, `${step.connect}`);
    sizes.push(held + step.connect);
    guard.observe(held + step.connect, cost(held + step.connect));
    assertLess(sizes.length, MAX_STEPS, "the guard does not come to an end");
  }
  return { sizes, held: wanted, stop: null, guard };
}

Deno.test("where memory is linear, whatever its slope, the budget is never exceeded and it ends", () => {
  const dice = random(1);
  const roll = () => dice.next().value;
  for (let i = 0; i < 2000; i++) {
    const budgetBytes = 2 ** (27 + 13 * roll()); // 128 MiB to 1 TiB
    const slope = 2 ** (40 * roll()) - 1; // nothing to 1 TiB a connection
    const base = 0.4 * budgetBytes * roll();
    const wanted = Math.ceil(10 ** (6 * roll()));
    const cost = (connections: number) => base + slope * connections;
    const { sizes, held, stop } = climb({ budgetBytes, wanted, cost });
    const of = JSON.stringify({ budgetBytes, slope, base, wanted, sizes });
    // What the first connection costs nobody can know before it was made.
    for (const size of sizes.slice(2)) assertLessOrEqual(cost(size), budgetBytes, of);
    if (stop !== null && held > 1) assertGreater(cost(held + 1), 0.999 * budgetBytes, `it stops too early: ${of}`);
  }
});

Deno.test("measuring that is off by some megabytes does not lead over the budget by more than that", () => {
  const dice = random(2);
  for (let i = 0; i < 1000; i++) {
    const budgetBytes = 2 ** (29 + 9 * dice.next().value);
    const slope = 2 ** (10 + 14 * dice.next().value);
    const trueCost = (connections: number) => 50 * MIB + slope * connections;
    const cost = (connections: number) => trueCost(connections) + (dice.next().value - 0.5) * 32 * MIB;
    const { sizes } = climb({ budgetBytes, wanted: 1_000_000, cost });
    for (const size of sizes) assertLessOrEqual(trueCost(size), budgetBytes + 32 * MIB, JSON.stringify(sizes));
  }
});

Deno.test("without any knowledge the first step is a single connection", () => {
  const guard = new Guard({ memAvailableBytes: GIB, descriptorLimit: 1000 });
  assertEquals(guard.next(0, 500), { connect: 1 });
  assertStringIncludes(guard.explain(0, 100), "nothing was observed yet");
  guard.observe(0, 60 * MIB); // a look at the idle server tells nothing of connections
  assertEquals(guard.next(0, 500), { connect: 1 });
});

Deno.test("a cheap architecture on a large host gets all that remain after two looks", () => {
  const { sizes, stop } = climb({ budgetBytes: 16 * GIB, wanted: 10_000, cost: (n) => 60 * MIB + 4 * KIB * n });
  assertEquals(stop, null);
  assertLessOrEqual(sizes.length, 4);
});

Deno.test("close to the limit a step is at most half of the room that is left", () => {
  const { sizes } = climb({ budgetBytes: GIB, wanted: 10_000, cost: (n) => 60 * MIB + MIB * n });
  const room = 964; // (1024 − 60) MiB
  for (let i = 2; i < sizes.length; i++) {
    const held = sizes[i - 1]!;
    const step = sizes[i]! - held;
    assert(step === 1 || step <= (room - held) / 2, `${step} at ${held}`);
  }
  assertEquals(sizes.at(-1), room);
});

Deno.test("the share of the available memory that may be used is 70 % unless another is given", () => {
  const observed = (guard: Guard) => {
    guard.observe(1, 100 * MIB);
    guard.observe(601, 700 * MIB); // 1 MiB each
    return guard.next(601, 602);
  };
  assertEquals(observed(new Guard({ memAvailableBytes: 1001 * MIB / 0.7, descriptorLimit: Infinity })), { connect: 1 });
  assert("stop" in observed(new Guard({ memAvailableBytes: 999 * MIB, descriptorLimit: Infinity })));
  assert("stop" in observed(new Guard({ memAvailableBytes: 1001 * MIB, descriptorLimit: Infinity }, 0.7)));
});

Deno.test("the line has an intercept: what the server takes anyway is not charged to connections", () => {
  const guard = new Guard({ memAvailableBytes: GIB, descriptorLimit: Infinity });
  guard.observe(10, 110 * MIB);
  guard.observe(60, 160 * MIB);
  assertStringIncludes(guard.explain(60, 110), "110 would need 210 MiB");
  guard.observe(35, 135 * MIB); // between the two it changes nothing
  assertStringIncludes(guard.explain(60, 110), "110 would need 210 MiB");
});

Deno.test("memory that falls while connections grow is taken as costing nothing, never as a gain", () => {
  const guard = new Guard({ memAvailableBytes: GIB, descriptorLimit: Infinity });
  guard.observe(10, 110 * MIB);
  guard.observe(60, 100 * MIB);
  assertStringIncludes(guard.explain(60, 1000), "1 000 would need 100 MiB");
});

Deno.test("a server that leaks while its connections stay the same is stopped", () => {
  const guard = new Guard({ memAvailableBytes: GIB, descriptorLimit: Infinity }, 1);
  guard.observe(10, 110 * MIB);
  guard.observe(100, 200 * MIB);
  guard.observe(50, 2 * GIB);
  assert("stop" in guard.next(100, 1000));
});

Deno.test("descriptors end it, with a reserve for what is no connection", () => {
  const host = { budgetBytes: 1e15, descriptorLimit: 20_000, cost: () => 60 * MIB };
  assertEquals(climb({ ...host, wanted: 19_936 }).stop, null);
  const { held, stop } = climb({ ...host, wanted: 100_000 });
  assertEquals(held, 19_936);
  assertEquals(stop, "stopped at 19 936 of 100 000: descriptors, limit 20 000 per process");
});

Deno.test("memory ends it with what a connection costs and what all would need", () => {
  const { stop } = climb({ budgetBytes: 14 * GIB, wanted: 10_000, cost: (n) => 60 * MIB + 7.4 * MIB * n });
  assertMatch(stop!, /^stopped at 1 929 of 10 000: memory, 7\.4 MiB per connection; 10 000 would need 72\.\d GiB$/);
});

Deno.test("asked before anything was observed it says so", () => {
  const guard = new Guard({ memAvailableBytes: GIB, descriptorLimit: 1000 });
  assertEquals(guard.explain(0, 500), "stopped at 0 of 500: nothing was observed yet");
});

Deno.test("what was learnt in a smaller run serves the next, larger one", () => {
  const cost = (connections: number) => 60 * MIB + 7 * MIB * connections;
  const { guard } = climb({ budgetBytes: 14 * GIB, wanted: 100, cost });
  const second = climb({ budgetBytes: 14 * GIB, wanted: 1000, cost }, guard);
  assertEquals(second.sizes, [0, 1000]);
  const third = climb({ budgetBytes: 14 * GIB, wanted: 10_000, cost }, second.guard);
  for (const size of third.sizes) assertLessOrEqual(cost(size), 14 * GIB);
});

Deno.test("the guard of this host lets a first connection through", () => {
  assertEquals(createGuard().next(0, 10), { connect: 1 });
});

Deno.test("a server that maps an area for each connection is stopped before the kernel refuses it one", () => {
  const guard = new Guard({ memAvailableBytes: 64 * GIB, descriptorLimit: 20_000, mappingLimit: 65_530 });
  let held = 0;
  let stop: string | null = null;
  while (stop === null) {
    const step = guard.next(held, 10_000);
    if ("stop" in step) stop = step.stop;
    else guard.observe(held += step.connect, 100 * MIB + held * 7 * MIB, 600 + held * 33);
  }
  assertLess(600 + held * 33, 65_530);
  assertGreater(600 + held * 33, 0.8 * 65_530, `it stops too early: ${stop}`);
  assertMatch(stop, /^stopped at 1 \d{3} of 10 000: memory mappings, 33 per connection.* 65 530 .*would need 68/);
});

Deno.test("a server with a thread per connection is stopped before pids.max refuses one", () => {
  const guard = new Guard({ memAvailableBytes: 1e12, descriptorLimit: 1e6, taskLimit: 600 });
  let held = 0;
  for (;;) {
    const step = guard.next(held, 10_000);
    if ("stop" in step) {
      assertMatch(step.stop, /^stopped at 5\d\d of 10 000: processes and threads, 1 per connection, limit 600 /);
      break;
    }
    held += step.connect;
    assert(held < 600, String(held));
    guard.observe(held, held * 10_000, 0, 12 + held);
  }
});

Deno.test("what is made all at once is refused where it is expected not to fit, and only where enough was seen", () => {
  const seen = (...of: [connections: number, usedBytes: number][]) => {
    const guard = new Guard({ memAvailableBytes: 10 * GIB, descriptorLimit: 20_000 });
    for (const [connections, usedBytes] of of) guard.observe(connections, usedBytes);
    return guard;
  };
  assertEquals(seen().refuses(0, 19_000), null);
  assertMatch(seen().refuses(0, 20_000)!, /^20 000 connections need more descriptors than the limit of 20 000 /);
  const threads = seen([0, 60 * MIB], [500, 3600 * MIB]); // 7 MiB each
  assertEquals(threads.refuses(500, 400), null);
  assertMatch(threads.refuses(500, 5000)!, /^stopped at 500 of 5 500: memory, 7.*MiB per connection/);
  assertEquals(seen([0, 60 * MIB], [10, 130 * MIB]).refuses(10, 5000), null, "10 connections tell little of 5 000");
  const few = new Guard({ memAvailableBytes: 1e12, descriptorLimit: 1e6, taskLimit: 1000 });
  for (const held of [0, 500]) few.observe(held, held * 1000, 0, 12 + held);
  assertMatch(few.refuses(500, 600)!, /^stopped at 500 of 1 100: processes and threads, 1 per connection, limit 1 000/);
  assertMatch(new LentGuard(500, threads).refuses(400, 200)!, /^stopped at 400 of 600: the agents make 500/);
  assertMatch(new LentGuard(500, null).refuses(400, 200)!, /^stopped at 400 of 600: the agents make 500/);
  assertEquals(new LentGuard(500, null).refuses(400, 100), null);
});

Deno.test("in a container its memory counts, where it is less than the host's", () => {
  const host = Deno.systemMemoryInfo().available;
  assertEquals(availableMemory({ memory_available_bytes: 600e6 }), Math.min(600e6, host));
  assertEquals(availableMemory({ memory_available_bytes: null }) > 0, true);
});

Deno.test("connections of other hosts end at what they lend, and earlier where the server's own host says so", () => {
  const far = new LentGuard(500, null);
  assertEquals([far.next(0, 1000), far.next(1, 1000), far.next(1, 300)], [
    { connect: 1 },
    { connect: 499 },
    { connect: 299 },
  ]);
  assertEquals(far.next(500, 1000), { stop: "stopped at 500 of 1 000: the agents make 500 at the most" });
  const near = new LentGuard(500, new Guard({ memAvailableBytes: 1e9, descriptorLimit: 164 }));
  near.observe(1, 1000);
  assertEquals(near.next(100, 1000), { stop: "stopped at 100 of 1 000: descriptors, limit 164 per process" });
});
