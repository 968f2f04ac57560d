import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { StartError } from "../server/server.ts";
import { steps, visit } from "./visits.ts";

const ignore = Deno.build.os !== "linux";

Deno.test({
  name:
    "one thread that blocks answers a client only after the one before has left; an event loop does not wait for that",
  ignore,
  fn: async () => {
    const plan = { clients: 3, staySeconds: 0.2 };
    const waits = (await visit(find("blocking"), plan)).map(({ answered_s }) => answered_s!);
    for (const i of [1, 2]) assert(waits[i]! - waits[i - 1]! >= 0.19, `answered after ${waits} s`); // timers may be early
    const together = (await visit(find("epoll"), { clients: 3, staySeconds: 2 })).map((of) => of.answered_s!);
    assert(Math.max(...together) - Math.min(...together) < 2, `one waited until another had left: ${together} s`);
  },
});

Deno.test({
  name: "two workers answer two clients before the third",
  ignore,
  fn: async () => {
    const visits = await visit(find("prefork"), { clients: 3, staySeconds: 0.3, args: ["--workers", "2"] });
    const [first, second, third] = visits.map(({ answered_s }) => answered_s!).sort((a, b) => a - b);
    assert(third! - Math.min(first!, second!) >= 0.29, `answered after ${[first, second, third]} s`);
    for (const { connected_s, answered_s } of visits) assert(connected_s <= answered_s!);
  },
});

Deno.test("what cannot run here is skipped, and says why; no client at all is an error", async () => {
  const epoll = find("epoll");
  const elsewhere = { ...epoll, requires: [{ os: "windows" as const, kernel: null }] };
  if (Deno.build.os !== "windows") {
    const error = await assertRejects(() => visit(elsewhere, { clients: 1, staySeconds: 0 }), StartError);
    assertEquals((error as StartError).failure.ended, "skipped");
  }
  await assertRejects(() => visit(epoll, { clients: 0, staySeconds: 0 }), RangeError, "0 clients");
});

Deno.test("answers that come together are one step; a client without one makes none", () => {
  const visits = [0, 0.02, 1.03, 1.01, null, 2].map((answered_s) => ({ connected_s: 0, answered_s }));
  assertEquals(steps(visits, 1), 3);
  assertEquals(steps([{ connected_s: 0, answered_s: null }], 1), 0);
});
