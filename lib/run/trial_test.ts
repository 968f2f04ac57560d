import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { describeTrials, limitShown, type LoadTrial, mayRise } from "../results/load_trial.ts";
import { wrongInResult } from "../results/schema.ts";
import { hostFacts } from "../sampling/host.ts";
import { describe } from "../tables/runs.ts";
import { createGuard } from "./guard.ts";
import { cpusHere } from "./setup.ts";
import { runStep } from "./step.ts";
import { numbersUpTo, tryNumbers } from "./trial.ts";

/** A server of so many cores of which it can use `useful`; each process of load keeps `each` of a core busy. */
const serverOf = (cores: number, useful: number, each: number) => (processes: number): Promise<LoadTrial> => {
  const busy = Math.min(useful, processes * each);
  return Promise.resolve({ processes, server_core_share: busy / cores, requests_per_s: 50_000 * busy });
};

Deno.test("processes are added in twos, fours and so on, up to the cores of the load", () => {
  assertEquals(numbersUpTo(2), [1, 2]);
  assertEquals(numbersUpTo(4), [1, 2, 4]);
  assertEquals(numbersUpTo(28), [1, 2, 4, 8, 16, 28]);
});

Deno.test("they are added until the server's share stops rising, or it is full", async () => {
  const numbers = async (...server: Parameters<typeof serverOf>) => {
    const trials = await tryNumbers(numbersUpTo(32), serverOf(...server));
    return [trials.map(({ processes }) => processes), mayRise(trials)];
  };
  assertEquals(await numbers(4, 4, 4), [[1], false]); // one is enough to fill it
  assertEquals(await numbers(4, 3, 1), [[1, 2, 4, 8], false]); // it can use three: eight bring no more than four
  assertEquals(await numbers(32, 32, 0.7), [[1, 2, 4, 8, 16, 32], true]); // the load is the limit
  assertEquals(await numbers(32, 1, 0.6), [[1, 2, 4], false]); // one loop on many cores: from 1.9 to 3.1 points is a rise
});

Deno.test("a trial that cannot be made ends them", async () => {
  const server = serverOf(8, 8, 1);
  const trials = await tryNumbers([1, 2, 4], (processes) => processes < 4 ? server(processes) : Promise.resolve(null));
  assertEquals(trials.map(({ processes }) => processes), [1, 2]);
  assertEquals(await tryNumbers([1, 2], () => Promise.resolve(null)), []);
});

Deno.test("trials are one line, and show the limit only where the last processes still brought more", async () => {
  const rising = await tryNumbers(numbersUpTo(4), serverOf(4, 4, 0.8));
  assertEquals(
    describeTrials(rising),
    "with 1, 2, 4 processes of load the server used 20 %, 40 %, 80 % of its cores and answered 40 000, 80 000, 160 000 " +
      "requests/s: the run has 4",
  );
  assertStringIncludes(limitShown(rising)!, "with 4, the most that was tried, 80 %");
  assertEquals(limitShown(await tryNumbers(numbersUpTo(8), serverOf(4, 3, 1))), null);
  assertEquals(limitShown(rising.slice(0, 1)), null);
  assertEquals([describeTrials([]), limitShown([])], [null, null]);
});

const cpus = cpusHere().map(({ id }) => id);

Deno.test({
  name:
    "a throughput whose load has two cores tries one process, and stores what it saw; with one core nothing is tried",
  ignore: cpus.length < 2,
  fn: async () => {
    const [first, second] = cpus;
    const run = (load_cores: string) =>
      runStep({
        experiment: find("epoll"),
        host: hostFacts(),
        step: {
          scenario: "throughput",
          parameters: { server_cores: String(first), load_cores, connections: 4, seconds: 0.5, warmup_seconds: 0.1 },
        },
        guard: createGuard(),
        signal: new AbortController().signal,
        onProgress() {},
      });
    const two = await run(`${second},${first}`); // one process has a core of its own, the second shares that of the server
    const trials = two.load_trials!;
    assertEquals(trials.map(({ processes }) => processes), trials.length === 1 ? [1] : [1, 2]);
    assert(trials.every((of) => of.server_core_share > 0 && of.requests_per_s > 0), JSON.stringify(trials));
    assertEquals(wrongInResult(two), undefined);
    assertStringIncludes(describe([two]), "Processes of load");
    assert((two.metrics.answered ?? 0) > 0);
    const one = await run(String(second));
    assertEquals(one.load_trials, undefined);
    assert((one.metrics.answered ?? 0) > 0);
  },
});
