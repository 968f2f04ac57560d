import { assertEquals } from "@std/assert";
import { Guard } from "./guard.ts";
import { hostFacts } from "../sampling/host.ts";
import { ladder, leastSeconds, type LoadBounds, type MeasureOptions, type Step } from "./ladder.ts";
import { type Ended, type Metrics, newResult, type Result } from "../results/results.ts";

const DEFAULT: MeasureOptions = {
  quick: false,
  scenarios: null,
  connections: null,
  seconds: null,
  rate: null,
  slow: null,
  bytes: null,
};
const host = hostFacts();

/** Walks a ladder over a server that holds `capacity` connections and answers 40 000 requests/s. */
async function walk(
  options: Partial<MeasureOptions>,
  capacity = Infinity,
  fails?: Ended,
  more: Partial<Metrics> = {},
): Promise<Step[]> {
  const steps: Step[] = [];
  const runStep = (step: Step): Promise<Result> => {
    steps.push(step);
    const answered = Math.min(step.parameters.connections, capacity);
    const metrics: Partial<Metrics> = { answered, requests_per_s: 40_000, ...more };
    const ended = fails ?? (answered < step.parameters.connections ? "limited" : "ok");
    const reason = ended === "ok" ? null : "it broke";
    const run = { experiment: "epoll", family: "readiness", host, histogram: null, findings: [], command: "" };
    return Promise.resolve(newResult({ ...run, ...step, metrics, ended, reason }));
  };
  const guard = new Guard({ memAvailableBytes: 1e9, descriptorLimit: 1e6 });
  for await (const _ of ladder({ ...DEFAULT, ...options }, runStep, guard)) { /* the steps are what counts */ }
  return steps;
}
const short = (steps: Step[]) => steps.map(({ scenario, parameters }) => `${scenario} ${parameters.connections}`);

Deno.test("a server that holds 10 000 is then loaded over 100 connections, and asked at half of its throughput", async () => {
  const steps = await walk({});
  assertEquals(short(steps), [
    "hold 1",
    "hold 10",
    "hold 100",
    "hold 1000",
    "hold 10000",
    "throughput 100",
    "rate 100",
  ]);
  assertEquals(steps.at(-1)!.parameters.rate_per_s, 20_000);
});

Deno.test("the climb ends where it breaks, and the load takes no more connections than were held", async () => {
  assertEquals(short(await walk({}, 1)), ["hold 1", "hold 10", "throughput 1", "rate 1"]);
  assertEquals(short(await walk({}, 100)).slice(2), ["hold 100", "hold 1000", "throughput 100", "rate 100"]);
});

Deno.test("a server that keeps no connection is loaded over as many clients as another, since they connect again", async () => {
  const steps = await walk({}, 0, "limited", { closes_after: 1 });
  assertEquals(short(steps), ["hold 1", "throughput 100", "rate 100"]);
});

Deno.test("nothing more is tried on a server that does not start, crashes or is skipped", async () => {
  for (const ended of ["crashed", "not_ready", "skipped"] as const) {
    assertEquals(short(await walk({}, Infinity, ended)), ["hold 1"]);
  }
});

Deno.test("what the user asked for replaces the defaults", async () => {
  const steps = await walk({ scenarios: ["hold", "rate", "mixed"], connections: [10, 20], seconds: 3, rate: 500 });
  assertEquals(short(steps), ["hold 10", "hold 20", "rate 10", "mixed 10", "rate 20", "mixed 20"]);
  assertEquals(new Set(steps.map((step) => step.parameters.seconds)), new Set([3]));
  assertEquals(steps.filter((step) => step.scenario !== "hold").map((step) => step.parameters.rate_per_s), [
    500,
    500,
    500,
    500,
  ]);
});

Deno.test("each scenario gets the parameters that it needs", async () => {
  const [mixed, slow, churn] = await walk({ scenarios: ["mixed", "slow", "churn"], connections: [7] });
  assertEquals(mixed!.parameters.heavy_path, "/work/50000");
  assertEquals(slow!.parameters.slow, 7);
  assertEquals(churn!.parameters.rate_per_s, undefined);
});

Deno.test("a quick run climbs for a bounded time, and each of its loads is short", async () => {
  const steps = await walk({ quick: true });
  assertEquals(short(steps), ["hold 100", "hold 1000", "throughput 100", "rate 100"]);
  for (const { scenario, parameters } of steps) {
    if (scenario === "hold") assertEquals(typeof parameters.climb_seconds, "number");
    else assertEquals(parameters.seconds + parameters.warmup_seconds <= 3, true);
  }
});

/** What other hosts lend: one of them with two processes. */
const BOUNDS: LoadBounds = { connections: 50, ratePerS: () => 500, seconds: 60, openOnly: false };

/** Walks a ladder within bounds; returns what was said, too. */
async function walkWithin(options: Partial<MeasureOptions>, bounds: Partial<LoadBounds>) {
  const said: string[] = [];
  const steps = await walk({ ...options, bounds: { ...BOUNDS, ...bounds }, say: (sentence) => said.push(sentence) });
  return { steps, said };
}

Deno.test("a rate, slow clients and a churn are cut to what other hosts lend, and each cut is said", async () => {
  const { steps, said } = await walkWithin({ scenarios: ["throughput", "rate", "slow", "churn"] }, {});
  const found = steps.map((
    { scenario, parameters: { connections, rate_per_s, slow } },
  ) => [scenario, connections, rate_per_s, slow]);
  assertEquals(found, [
    ["throughput", 100, undefined, undefined],
    ["rate", 100, 500, undefined],
    ["slow", 25, 500, 25],
    ["churn", 50, undefined, undefined],
  ]);
  assertEquals(said, [
    "rate: 500 requests/s in place of 20 000 (--max-rate).",
    "slow: 25 connections in place of 100 (--max-connections).",
    "slow: 500 requests/s in place of 1 000 (--max-rate).",
    "churn: 50 connections in place of 100 (--max-connections).",
  ]);
  const part = await walkWithin({ scenarios: ["rate"] }, { ratePerS: () => 62.5 });
  assertEquals(part.steps.map(({ parameters }) => parameters.rate_per_s), [62]);
  const free = await walkWithin({}, { connections: 1e6, ratePerS: () => 1e6 });
  assertEquals([free.said, free.steps.at(-1)!.parameters.rate_per_s], [[], 20_000]);
});

Deno.test("where other hosts bound their rate the usual plan has no closed loop, and says so", async () => {
  const { steps, said } = await walkWithin({ connections: [10] }, { openOnly: true });
  assertEquals(short(steps), ["hold 10", "rate 10"]);
  assertEquals(said, [
    "throughput is left out: a closed loop has no rate, and these agents bound theirs (--max-rate).",
    "rate: 500 requests/s in place of 1 000 (--max-rate).",
  ]);
});

Deno.test("how long a plan takes at least is the time of its windows and their warm-ups", () => {
  assertEquals(leastSeconds(DEFAULT), 1 + (5 + 1) + (10 + 1));
  assertEquals(leastSeconds({ ...DEFAULT, scenarios: ["rate"], connections: [1, 2], seconds: 3 }), 2 * (3 + 1));
  assertEquals(leastSeconds({ ...DEFAULT, bounds: { ...BOUNDS, openOnly: true } }), 1 + (10 + 1));
});
