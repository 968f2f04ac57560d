import { assert, assertEquals } from "@std/assert";
import { measureLateness, METRICS } from "./lateness.ts";

Deno.test(
  "lateness and latency have a distribution with sleep and with spin",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
    const rows = await measureLateness({ server: "epoll", runs: 1, seconds: 0.3 }, plan);
    assertEquals(rows.map(({ variant, metric }) => `${variant} ${metric}`), [
      ...METRICS.map((metric) => `sleep ${metric}`),
      ...METRICS.map((metric) => `spin ${metric}`),
    ]);
    const value = (variant: string, metric: string) =>
      rows.find((row) => row.variant === variant && row.metric === metric)!.value!;
    for (const variant of ["sleep", "spin"]) {
      assert(value(variant, "late_p50_us") <= value(variant, "late_p99_us"), variant);
      assert(
        value(variant, "latency_p50_us") > 0 && value(variant, "latency_p50_us") <= value(variant, "latency_p99_9_us"),
      );
      // What leaves late is answered late: the latency counts from the due time.
      assert(value(variant, "late_p99_9_us") <= value(variant, "latency_p99_9_us"), variant);
    }
  },
);
