import { assert, assertEquals } from "@std/assert";
import { measureProcesses, METRICS, WARM_SECONDS } from "./processes.ts";

Deno.test(
  "one process and four ask a server alike, and count what it counts, to the last request",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
    const extent = { server: "epoll", connections: 4, ratePerS: 200, runs: 2, seconds: 0.2 };
    const rows = await measureProcesses(extent, plan);
    const variants = ["1 against 1", "1 against 4"];
    assertEquals(
      rows.map(({ variant, metric }) => `${variant} ${metric}`),
      variants.flatMap((variant) => METRICS.map((metric) => `${variant} ${metric}`)),
    );
    const first = 2 * extent.connections; // the first request on each connection
    const asked = first + 2 * 200 * WARM_SECONDS + extent.runs * 4 * 200 * extent.seconds;
    for (const variant of variants) {
      const value = (metric: string) => rows.find((row) => row.variant === variant && row.metric === metric)!.value!;
      assertEquals(
        ["answered", "answered_less_served", "connected_less_accepted"].map(value),
        [asked, 0, 0],
        variant,
      );
      for (const metric of METRICS.slice(0, 4)) assert(value(metric) > 0, `${variant} ${metric}: ${value(metric)}`);
    }
  },
);
