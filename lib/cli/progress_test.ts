import { assertEquals } from "@std/assert";
import { fit } from "./progress.ts";

Deno.test("a line is cut so that a terminal shows it on one row", () => {
  assertEquals(fit("hold 100: ask", 60), "hold 100: ask");
  assertEquals(fit("x".repeat(61), 60).length, 59);
  assertEquals(fit("ä".repeat(10), 5), "äää…");
});
