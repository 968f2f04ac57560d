import { assert, assertEquals } from "@std/assert";
import { formatDocument } from "./format.ts";

const stored = () => Deno.readTextFileSync(new URL("../../results/FORMAT.md", import.meta.url));

Deno.test("results/FORMAT.md is what the schemas generate: deno task readme writes it", () => {
  assertEquals(stored(), formatDocument());
});

Deno.test("every field of every stored format has a description", () => {
  const undescribed = formatDocument().split("\n").filter((line) => /^\| `[^`]+` \|\s*\|$/.test(line));
  assertEquals(undescribed, []);
  assert(formatDocument().split("\n").filter((line) => line.startsWith("| `")).length > 100);
});
