import { assert, assertEquals } from "@std/assert";
import { measureSwitches, METRICS } from "./context_switch.ts";

Deno.test({
  name: "a switch costs something, the round trip holds two of them and four system calls, in each variant",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const plan = { quick: true, signal: new AbortController().signal, onProgress: () => {} };
    const rounds = 200;
    const start = performance.now();
    const rows = await measureSwitches(1, rounds, plan);
    const elapsedUs = (performance.now() - start) * 1000;
    const variants = ["pipe one-core", "pipe two-cores", "futex one-core", "futex two-cores"];
    assertEquals(
      rows.map(({ variant, metric }) => `${variant} ${metric}`),
      variants.flatMap((variant) => METRICS.map((metric) => `${variant} ${metric}`)),
    );
    const value = (variant: string, metric: string) =>
      rows.find((row) => row.variant === variant && row.metric === metric)!.value!;
    for (const variant of navigator.hardwareConcurrency > 1 ? variants : variants.filter((of) => /one-core/.test(of))) {
      const [roundTrip, calls, switching] = METRICS.map((metric) => value(variant, metric));
      assert(calls! > 0, variant);
      assert(roundTrip! > 0 && roundTrip! * rounds < elapsedUs, `${variant}: ${roundTrip} µs`);
      // Two threads that both run need not sleep: then there is no switch, and nothing that costs more than the calls.
      if (variant.endsWith("one-core")) assert(roundTrip! > 2 * calls!, `${variant}: ${roundTrip} µs, ${calls} µs`);
      assertEquals(switching, roundTrip! / 2 - calls!, variant);
    }
  },
});
