import { assert, assertEquals } from "@std/assert";
import { FAMILY } from "../../../lib/charts/theme.ts";
import { looksOf } from "./servers.ts";

Deno.test("two servers differ in colour and mark, also where they are of one family", () => {
  for (const family of Object.keys(FAMILY)) {
    for (const other of Object.keys(FAMILY)) {
      const [first, second] = looksOf([{ name: "a", family }, { name: "b", family: other }]);
      for (const theme of ["light", "dark"] as const) assert(first!.colour[theme] !== second!.colour[theme], family);
      assert(first!.mark !== second!.mark);
    }
    const [alone] = looksOf([{ name: "a", family }]);
    assertEquals(alone!.colour, { light: FAMILY[family]!.light, dark: FAMILY[family]!.dark });
  }
});
