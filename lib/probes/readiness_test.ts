import { assert, assertEquals } from "@std/assert";

const linux = Deno.build.os === "linux";

Deno.test({
  name: "each call finds the one connection that is ready at each size, and gets an interval around its cost",
  ignore: !linux,
  async fn() {
    const { measureReadiness } = await import("./readiness.ts");
    const seen: number[] = [];
    const rows = await measureReadiness({ sizes: [3, 40], batches: 7, onSize: (size) => seen.push(size) });
    assertEquals(seen, [3, 40]);
    const expected = [3, 40].flatMap((size) => ["select", "poll", "epoll_wait"].map((call) => `${call} ${size}`));
    assertEquals(rows.map(({ call, descriptors }) => `${call} ${descriptors}`), expected);
    for (const row of rows) {
      assert(0 < row.wait_us_low && row.wait_us_low <= row.wait_us && row.wait_us <= row.wait_us_high, row.call);
      assert(row.foreign_share! >= 0 && row.foreign_share! <= 1, row.call);
      assert(0 < row.turn_us_low && row.turn_us_low <= row.turn_us && row.turn_us <= row.turn_us_high, row.call);
    }
  },
});

Deno.test({
  name: "more connections than descriptors are an error that names both numbers, and no descriptor is left open",
  ignore: !linux,
  async fn() {
    const { measureReadiness } = await import("./readiness.ts");
    const { sample } = await import("../sampling/sampler.ts");
    const before = sample(Deno.pid)!.descriptors;
    let message = "";
    await measureReadiness({ sizes: [1_000_000], batches: 7 }).catch((error: Error) => message = error.message);
    assert(/Cannot watch 1000000 connections|EMFILE/.test(message), message);
    assertEquals(sample(Deno.pid)!.descriptors, before);
  },
});
