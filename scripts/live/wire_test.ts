import { assertEquals } from "@std/assert";
import { readWanted, recent } from "./wire.ts";

const LIMITS = { connections: 500, rate_per_s: 1000 };

Deno.test("what a page wants is read within the limits", () => {
  const read = (value: unknown) => readWanted(JSON.stringify(value), LIMITS);
  assertEquals(read({ connections: 500, rate_per_s: null }), { connections: 500, rate_per_s: null });
  assertEquals(read({ connections: 1, rate_per_s: 1000 }), { connections: 1, rate_per_s: 1000 });
});

Deno.test("what cannot be wanted is refused, with what is wrong about it", () => {
  const whole = (name: string, max: string) => ({ wrong: `${name} is not a whole number from 1 to ${max}` });
  const read = (value: unknown) => readWanted(JSON.stringify(value), LIMITS);
  for (const connections of [0, 501, 1.5, "3", null, -1, [3]]) {
    assertEquals(read({ connections, rate_per_s: null }), whole("connections", "500"));
  }
  for (const rate_per_s of [0, 1001, "all"]) {
    assertEquals(read({ connections: 1, rate_per_s }), whole("rate_per_s", "1 000"));
  }
  assertEquals(read({ connections: 1, rate_per_s: null, host: "x" }), { wrong: "host: unknown field" });
  assertEquals(read({ rate_per_s: null }), { wrong: "connections: missing" });
  assertEquals(read(null), { wrong: "the value: expected Object, found null" });
  assertEquals(readWanted("{", LIMITS), { wrong: "it is not JSON" });
});

Deno.test("a page keeps the rounds of two minutes", () => {
  const rounds = Array.from({ length: 300 }, (_, i) => [{ elapsed_s: i + 1 }, { elapsed_s: i + 1 }]);
  assertEquals(recent(rounds).map(([, second]) => second!.elapsed_s), Array.from({ length: 120 }, (_, i) => i + 181));
  assertEquals(recent([]), []);
});
