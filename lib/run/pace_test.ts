import { assertEquals } from "@std/assert";
import { Pace } from "./pace.ts";

Deno.test("the time that is left is that of the plan first, then that of the points until now", () => {
  let nowMs = 0;
  const plan = { rates: [1, 2, 3, 4], seconds: 8, warmupSeconds: 0.5 };
  const pace = new Pace({ ladders: 2, bisections: 4, together: 0 }, plan, () => nowMs); // 24 points of 10 s
  assertEquals(pace.left, "about 4 min");
  pace.begin({ ladders: 2, bisections: 4, together: 0 });
  for (let i = 0; i < 4; i++) pace.add();
  nowMs = 4 * 60_000; // a point takes a minute
  assertEquals(pace.left, "about 20 min");
  pace.begin({ ladders: 0, bisections: 4, together: 2 });
  assertEquals(pace.left, "about 16 min");
  for (let i = 0; i < 4; i++) pace.add();
  pace.begin({ ladders: 0, bisections: 2, together: 2 });
  nowMs = 8 * 1000;
  assertEquals(pace.left, "under a minute");
});

Deno.test("bisections that end closer take more points", () => {
  const plan = { rates: null, seconds: 8, warmupSeconds: 0.5 };
  const left = { ladders: 0, bisections: 12, together: 0 };
  assertEquals(new Pace(left, plan).left, "about 8 min"); // four points of 10 s each
  assertEquals(new Pace(left, { ...plan, closeness: 0.005 }).left, "about 14 min");
});
