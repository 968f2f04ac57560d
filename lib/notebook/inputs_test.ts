import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UsageError } from "../cli/errors.ts";
import { SCENARIOS } from "../results/schema.ts";
import { showing } from "../testing/jupyter.ts";
import { crossingLive } from "./crossing.ts";
import { checkMetric, checkRun, checkSizes, checkWhole, predict } from "./inputs.ts";
import { check, runEach, showFootprints, showVisits, showWaits } from "./lesson.ts";
import { growLive } from "./memory.ts";
import { compareLive } from "./pairs.ts";
import { judgeLive, madeUpNights } from "./regress.ts";
import { run, runLive } from "./run.ts";

// deno-lint-ignore no-explicit-any -- cells have no types
type Any = any;

const wrong = (of: () => unknown, message: string) => void assertThrows(of, UsageError, message);
/** Nothing is shown, so nothing was measured. */
async function refused(cell: () => Promise<unknown>, message: string): Promise<void> {
  const shown = await showing(() => assertRejects(cell, UsageError, message));
  assertEquals(shown, []);
}
const AXIS = { metric: "p99_us", title: "T", label: "l", unit: "us", scale: "log" } as const;

Deno.test("a prediction is a number or null, alone or by its name", () => {
  assertEquals(predict(3), 3);
  assertEquals(predict(null), null);
  assertEquals(predict({ poll: 10, epoll_wait: null }), { poll: 10, epoll_wait: null });
  wrong(
    () => predict({ poll: "hundred" } as Any),
    'Your prediction of poll: "hundred" is no prediction; write a number',
  );
  wrong(() => predict("10" as Any), 'Your prediction: "10" is no prediction');
  wrong(() => predict(NaN), "Your prediction: NaN is no prediction");
});

Deno.test("sizes are whole and rise", () => {
  checkSizes([1, 2, 30]);
  checkSizes([0, 100], 0);
  for (const sizes of [[0, 1], [1, 2.5], [2, 1], [1, 1], [], "10", 10, ["1"]]) {
    wrong(() => checkSizes(sizes), "Sizes are whole numbers from 1 on, each larger than the one before");
  }
  wrong(() => checkWhole("rounds", 1.5), "rounds is 1.5: take a whole number from 1 on.");
});

Deno.test("a scenario is one that there is, and has all that it needs", () => {
  for (const scenario of SCENARIOS) checkRun(scenario, { connections: 10, rate_per_s: 20, seconds: 1 });
  wrong(() => checkRun("mixd" as Any, { connections: 1 }), "Unknown scenario mixd. Did you mean mixed?");
  wrong(() => checkRun("rate", { connections: 1 }), "rate_per_s is undefined: take a number above 0.");
  wrong(
    () => checkRun("mixed", { connections: 1, rate_per_s: 1, heavy_share: 10 }),
    "heavy_share is 10: take a number",
  );
  wrong(() => checkRun("hold", { connections: 0 }), "connections is 0: take a whole number from 1 on.");
  wrong(() => checkRun("hold", { connections: 1, second: 3 } as Any), "hold is asked for: second: unknown field.");
  wrong(() => checkRun("hold", { connections: "1" } as Any), "connections");
  wrong(() => checkMetric("p99"), "Unknown metric p99. Did you mean p99_us?");
});

Deno.test("cells refuse what is wrong before they measure", async () => {
  const load = { connections: 10, ratePerS: null, seconds: 1 };
  const plan = { connections: 10, rounds: 1, title: "T" };
  await refused(() => check("poll", "hundred" as Any, 3, "ratio"), 'poll: "hundred" is no prediction');
  await refused(() => showWaits([0, 1, 2.5]), "Sizes are whole numbers from 1 on");
  await refused(() => showFootprints([["epoll", "pss_bytes"]], [10, 5]), "Sizes are whole numbers");
  await refused(() => showFootprints([["epol", "pss_bytes"]], [5]), "Unknown experiment epol");
  await refused(() => showVisits([{ name: "epoll" }, { name: "epol" }], { clients: 2, staySeconds: 1 }), "epol");
  const numbers = { name: "prefork", args: ["--workers", 2 as Any] };
  await refused(
    () => showVisits([numbers], { clients: 2, staySeconds: 1 }),
    'Options are texts: write "2" in place of 2.',
  );
  await refused(() => showVisits([{ name: "epoll" }], { clients: 101, staySeconds: 1 }), "clients");
  await refused(() => showVisits([{ name: "epoll" }], { clients: 2, staySeconds: "1" as Any }), "staySeconds");
  await refused(() => runEach(["epoll", "epol"], "hold", { connections: 1 }, AXIS), "Unknown experiment epol");
  await refused(() => runEach(["epoll"], "holt" as Any, { connections: 1 }, AXIS), "Unknown scenario holt");
  await refused(() => runEach(["epoll"], "hold", { connections: 1 }, { ...AXIS, metric: "p9" as Any }), "metric p9");
  await refused(() => run("epoll", "holt" as Any, { connections: 1 }), "Unknown scenario holt");
  await refused(() => runLive("epoll", { ...load, connections: 1.5 }), "connections is 1.5");
  await refused(() => runLive("epoll", { ...load, ratePerS: "fast" as Any }), 'ratePerS is "fast"');
  await refused(() => growLive(["epoll"], [5, 5]), "Sizes are whole numbers");
  await refused(() => growLive([], [5]), "The list of servers is empty");
  await refused(() => compareLive("epoll", ["poll"], { ...plan, rounds: 0 }), "rounds is 0");
  await refused(() => compareLive("epoll", ["pol"], plan), "Unknown experiment pol");
  await refused(() => crossingLive("epoll", "reactor-pool", [-1, 100]), "Sizes are whole numbers from 0 on");
  await refused(() => judgeLive("ten" as Any, 8), 'extraPercent is "ten"');
  await refused(() => judgeLive(10, 0, 8), "rounds is 0");
  wrong(() => madeUpNights({ nights: 4.5, from: 2, changePercent: 1, noisePercent: 1 }), "nights is 4.5");
});
